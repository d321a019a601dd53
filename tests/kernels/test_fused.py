"""Fused convolutions: the chain of operations that they replace, exact kinks, NaN, and bounds that are tight."""

from __future__ import annotations

from typing import Any

import nnfast.kernels
import numpy as np
import pytest
from judging import ALL, COMPILED, algorithms, reference_results, run_case
from nnfast.kernels.cases import Case, cases
from nnfast.kernels.fused import NO_ACTIVATION, RELU, RELU6
from nnfast.kernels.launch import run
from nnfast.kernels.ops import OPS
from nnfast.kernels.tolerance import error_bounds, worst_error

Arrays = dict[str, np.ndarray]
FUSED = [case for case in cases() if OPS[case.op].module == "fused"]
SAME = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
NONE = np.zeros(0)


def call(op: str, arrays: Arrays, **attributes: Any) -> Arrays:
    """The float64 reference's outputs."""
    return run(op, arrays, attributes, backend="reference")


def near(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


# ---------------------------------------------------------------- batch norm, ReLU, convolution, batch norm


class Chain:
    """``batch_norm(conv2d(relu(batch_norm(x))))`` by the operations one by one, forward and backward, in float64."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.eps = 1e-5
        self.x, self.dout = rng.standard_normal((3, 6, 5, 4)) + 2.0, rng.standard_normal((3, 6, 5, 7))
        self.w, self.w1, self.b1, self.w2 = (rng.standard_normal(s) for s in ((7, 3, 3, 4), (4,), (4,), (7,)))
        self.first = self.norm(self.x, self.w1, self.b1)
        h = call("relu_forward", {"x": self.first["y"].reshape(self.x.shape)})["y"]
        self.y = call("conv2d_forward", {"x": h, "w": self.w, "b": NONE}, **SAME)["y"]
        self.second = self.norm(self.y, self.w2, np.zeros(7))
        self.of_second = self.norm_backward(self.dout, self.y, self.w2, self.second)
        dy = self.of_second["dx"].reshape(self.y.shape)
        self.dw = call("conv2d_backward_weight", {"x": h, "dy": dy}, kernel_size=(3, 3), **SAME)["dw"]
        dh = call("conv2d_backward_data", {"dy": dy, "w": self.w}, size=(6, 5), **SAME)["dx"]
        self.dx = call("relu_backward", {"dy": dh, "y": h})["dx"]
        self.of_first = self.norm_backward(self.dx, self.x, self.w1, self.first)

    def norm(self, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> Arrays:
        flat = x.reshape(-1, x.shape[3])
        state = {"momentum": np.array([0.1]), "running_mean": np.zeros(0), "running_var": np.zeros(0)}
        return call("batch_norm_forward", {"x": flat, "w": w, "b": b, **state}, eps=self.eps)

    def norm_backward(self, dy: np.ndarray, x: np.ndarray, w: np.ndarray, statistics: Arrays) -> Arrays:
        channels = x.shape[3]
        given = {"dy": dy.reshape(-1, channels), "x": x.reshape(-1, channels), "w": w}
        return call("batch_norm_backward", given | {key: statistics[key] for key in ("mean", "invstd")})

    def load(self) -> Arrays:
        """The first norm as scale and shift."""
        scale = self.w1 * self.first["invstd"]
        return {"scale": scale, "shift": self.b1 - self.first["mean"] * scale}

    def composed(self) -> Arrays:
        """The second norm's gradient as slope, factor and offset."""
        rows, slope = self.y[..., 0].size, self.w2 * self.second["invstd"]
        factor = -slope * self.of_second["dw"] * self.second["invstd"] / rows
        offset = -slope * self.of_second["db"] / rows - factor * self.second["mean"]
        return {"z": self.y, "slope": slope, "factor": factor, "offset": offset}


def test_forward_replaces_norm_activation_convolution_and_statistics() -> None:
    chain = Chain()
    centre = chain.second["mean"] + 0.1
    given = {"x": chain.x, "w": chain.w, "b": NONE, **chain.load(), "centre": centre}
    found = call("fused_conv2d_forward", given, activation=RELU, **SAME)
    near(found["y"], chain.y)
    first, second = found["sums"] / chain.y[..., 0].size
    near(centre + first, chain.second["mean"])
    near(1.0 / np.sqrt(second - first**2 + chain.eps), chain.second["invstd"])


def test_backward_replaces_the_gradients_of_both_norms() -> None:
    chain = Chain()
    given = {"dy": chain.dout, "w": chain.w, **chain.composed(), "x": chain.x, **chain.load()}
    found = call("fused_conv2d_backward_data", given | {"centre": chain.first["mean"]}, activation=RELU, size=(6, 5),
                 **SAME)  # fmt: skip
    near(found["dx"], chain.dx)
    near(found["sums"][0], chain.of_first["db"])
    near(found["sums"][1] * chain.first["invstd"], chain.of_first["dw"])
    given = {"x": chain.x, "dy": chain.dout, **chain.load(), **chain.composed()}
    near(call("fused_conv2d_backward_weight", given, activation=RELU, kernel_size=(3, 3), **SAME)["dw"], chain.dw)


# ---------------------------------------------------------------- what backends might do differently

SETTINGS = {
    "3x3": (16, {"padding": (1, 1), "groups": 1}),
    "depthwise": (17, {"padding": (1, 1), "groups": 17}),
}


def every_algorithm(op: str, backend: str, arrays: Arrays, attributes: dict[str, Any]) -> dict[str, Arrays]:
    """Outputs by algorithm."""
    if backend == "reference":
        return {backend: run(op, arrays, attributes, backend=backend)}
    names = algorithms(Case(op, "", arrays, attributes), backend)
    return {name: run(op, arrays, attributes, backend=backend, algorithm=name) for name in names}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("activation", [RELU, RELU6])
@pytest.mark.parametrize("scaled", [True, False], ids=["scaled", "unscaled"])
@pytest.mark.parametrize("backend", ALL)
def test_derivative_is_zero_at_the_kinks(setting: str, activation: int, scaled: bool, backend: str) -> None:
    c, window = SETTINGS[setting]
    attributes = {"stride": (1, 1), "dilation": (1, 1), **window}
    before = np.random.default_rng(1).choice([-7.0, 0.0, 3.0, 6.0, 7.0], (2, 5, 6, c))
    x = (before - 1.0) * 2.0 if scaled else before
    load = {"scale": np.full(c, 0.5), "shift": np.ones(c)} if scaled else {"scale": NONE, "shift": NONE}
    given = {"dy": np.ones((2, 5, 6, c)), "w": np.ones((c, 3, 3, c // window["groups"])), "x": x, **load}
    given |= dict.fromkeys(("z", "slope", "factor", "offset", "centre"), NONE)
    arrays = {name: value.astype(np.float32) for name, value in given.items()}
    passes = (before > 0) & (before < 6) if activation == RELU6 else before > 0
    results = every_algorithm(
        "fused_conv2d_backward_data", backend, arrays, {"activation": activation, "size": (5, 6), **attributes}
    )
    for name, found in results.items():
        np.testing.assert_array_equal(found["dx"] != 0, passes, err_msg=name)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("activation", [RELU, RELU6])
@pytest.mark.parametrize("backend", ALL)
def test_nan_passes_through_the_activation(setting: str, activation: int, backend: str) -> None:
    c, window = SETTINGS[setting]
    x = np.ones((1, 6, 6, c), np.float32)
    x[0, 2, 3, :] = np.nan
    arrays = {"x": x, "w": np.ones((c, 3, 3, c // window["groups"]), np.float32), "scale": np.ones(c, np.float32)}
    arrays |= {"shift": np.zeros(c, np.float32), "b": NONE.astype(np.float32), "centre": NONE.astype(np.float32)}
    attributes = {"activation": activation, "stride": (1, 1), "dilation": (1, 1), **window}
    for name, found in every_algorithm("fused_conv2d_forward", backend, arrays, attributes).items():
        assert np.isnan(found["y"][0, 1:4, 2:5]).all(), name


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("centre", [1.0583091, 0.3, 0.7654321])
@pytest.mark.parametrize("backend", COMPILED)
def test_sums_of_equal_numbers_are_exact_to_a_few_units(setting: str, centre: float, backend: str) -> None:
    """Each addition rounds the same way: in one chain of 256 they would be off by 20 units."""
    c, window = SETTINGS[setting]
    given = {
        "x": np.zeros((4, 20, 21, c)),
        "w": np.ones((c, 3, 3, c // window["groups"])),
        "centre": np.full(c, centre),
    }
    given |= dict.fromkeys(("b", "scale", "shift"), NONE)
    arrays = {name: value.astype(np.float32) for name, value in given.items()}
    attributes = {"activation": NO_ACTIVATION, "stride": (1, 1), "dilation": (1, 1), **window}
    deviation = -np.float64(np.float32(centre)) * np.ones((4 * 20 * 21, c))
    expected = np.stack([deviation.sum(axis=0), np.square(deviation).sum(axis=0)])
    for name, found in every_algorithm("fused_conv2d_forward", backend, arrays, attributes).items():
        off = np.abs(found["sums"] / expected - 1).max() / np.finfo(np.float32).eps
        assert off <= 12, name


@pytest.mark.parametrize("backend", ALL)
def test_optional_arrays_may_be_left_out(backend: str) -> None:
    x, w = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 3, 2), np.float32)
    y, sums = nnfast.kernels.get("fused_conv2d_forward", backend)(x=x, w=w, activation=0, **SAME)
    assert sums.shape == (2, 0)
    dx, sums = nnfast.kernels.get("fused_conv2d_backward_data", backend)(
        dy=np.ones_like(y), w=w, activation=0, size=(4, 4), **SAME
    )
    assert sums.shape == (2, 0)
    dw = nnfast.kernels.get("fused_conv2d_backward_weight", backend)(
        x=x, dy=np.ones_like(y), activation=0, kernel_size=(3, 3), **SAME
    )
    assert (y[0, 1, 1, 0], dx[0, 1, 1, 0], dw[0, 1, 1, 0]) == pytest.approx((18.0, 27.0, 16.0), rel=1e-5)


def test_an_optional_array_of_another_length_is_refused() -> None:
    x, w = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 3, 2), np.float32)
    for backend in (*COMPILED, "reference"):
        with pytest.raises(ValueError, match="fused_conv2d_forward: centre has 2 elements, expected 0 or 3"):
            nnfast.kernels.get("fused_conv2d_forward", backend)(
                x=x, w=w, centre=np.ones(2, np.float32), activation=0, **SAME
            )


# ---------------------------------------------------------------- the bounds are tight


def off_by(case: Case, changed: Case) -> float:
    """How far the results of another case are from those of `case`, in units of the largest of all bounds."""
    expected, actual, worst = reference_results(case), run_case(changed, "reference", np.float64), np.inf
    for algorithm in {name for backend in COMPILED for name in algorithms(case, backend)}:
        bounds = error_bounds(case.op, case.arrays(np.float64), case.attributes, expected, np.float32, algorithm)
        errors = [worst_error(actual[key].astype(np.float32), expected[key], bounds[key]) for key in expected]
        worst = min(worst, max(errors))
    return worst


def without_one(case: Case, name: str) -> Case:
    """The case with one channel's number, or one weight, set to 0."""
    values = np.array(case.values[name])
    values[tuple(length // 2 for length in values.shape)] = 0.0
    return Case(case.op, case.name, {**case.values, name: values}, case.attributes)


OPERANDS = ("w", "b", "scale", "shift", "slope", "factor", "offset", "centre")


@pytest.mark.parametrize(
    ("case", "name"),
    [
        pytest.param(case, name, id=f"{case.id}-{name}")
        for case in FUSED
        for name in OPERANDS
        if name in case.values and case.values[name].size and case.name not in ("no images", "one of everything")
        # Without sums the derivative's argument plays a part only where its sign changes.
        if not (case.op == "fused_conv2d_backward_data" and name in ("scale", "shift"))
    ],
)
def test_a_result_that_misses_one_operand_is_outside(case: Case, name: str) -> None:
    assert off_by(case, without_one(case, name)) > 5


@pytest.mark.parametrize("case", FUSED, ids=lambda case: case.id)
def test_another_activation_is_outside(case: Case) -> None:
    """ReLU6 for ReLU where something is above 6, nothing for either of them."""
    if case.attributes["activation"] and case.name not in ("no images", "one of everything"):
        other = Case(case.op, case.name, case.values, case.attributes | {"activation": 0})
        assert off_by(case, other) > 100


@pytest.mark.parametrize(
    "case",
    [case for case in FUSED if case.op == "fused_conv2d_forward" and sum(case.attributes["padding"])
     and case.values["x"].size and (case.values["shift"] > 0).any()],
    ids=lambda case: case.id,
)  # fmt: skip
def test_padding_that_is_shifted_and_activated_is_outside(case: Case) -> None:
    """The padding belongs to the image behind the activation, not to x."""
    down, across = case.attributes["padding"]
    x = np.pad(case.values["x"], ((0, 0), (down, down), (across, across), (0, 0)))
    shifted = Case(case.op, case.name, {**case.values, "x": x}, case.attributes | {"padding": (0, 0)})
    assert off_by(case, shifted) > 100
