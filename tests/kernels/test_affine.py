"""Batch norms in pieces: what they make together, NaN, exact kinks, and results in the memory of an input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judging import ALL, COMPILED, run_case
from nnfast.kernels.cases import Case, cases_of
from nnfast.kernels.fused import NO_ACTIVATION, RELU, RELU6
from nnfast.kernels.launch import run

Arrays = dict[str, np.ndarray]
NONE = np.zeros(0, np.float32)
FORWARD = dict.fromkeys(("scale", "shift", "r", "r_scale", "r_shift"), NONE)
BACKWARD = dict.fromkeys(("dy2", "y", "z", "scale", "shift", "centre", "r", "r_centre"), NONE)


def call(op: str, backend: str, arrays: Arrays, **attributes: Any) -> Arrays:
    return run(op, arrays, attributes, backend=backend)


# ---------------------------------------------------------------- batch norm, ReLU


class Chain:
    """``relu(batch_norm(x))`` by the operations one by one, forward and backward, with a mean far from 0."""

    rows, channels, eps = 500, 19, 1e-3

    def __init__(self, backend: str) -> None:
        rng, self.backend, c = np.random.default_rng(0), backend, self.channels
        self.x = (rng.standard_normal((self.rows, c)) + 300.0).astype(np.float32)
        self.dy = rng.standard_normal((self.rows, c)).astype(np.float32)
        self.w, self.b, self.centre = (rng.standard_normal(c).astype(np.float32) for _ in range(3))
        self.centre += np.float32(300.0)
        self.momentum = {"momentum": np.array([0.3])}
        self.running = {"running_mean": np.zeros(c, np.float32), "running_var": np.ones(c, np.float32)}

    def whole(self) -> tuple[Arrays, Arrays]:
        given = {"x": self.x, "w": self.w}
        forward = call("batch_norm_forward", self.backend, given | {"b": self.b} | self.momentum | self.running,
                       eps=self.eps)  # fmt: skip
        dy = np.where(forward["y"] > 0, self.dy, np.float32(0.0))
        statistics = {key: forward[key] for key in ("mean", "invstd")}
        return forward, call("batch_norm_backward", self.backend, {"dy": dy} | given | statistics)

    def pieces(self) -> tuple[Arrays, Arrays]:
        sums = call("channel_sums", self.backend, {"x": self.x, "centre": self.centre})["sums"]
        given = {"sums": sums, "centre": self.centre, "w": self.w, "b": self.b}
        norm = call("batch_norm_statistics", self.backend, given, count=self.rows, eps=self.eps)
        given = {"mean": norm["mean"], "var": norm["var"]} | self.momentum | self.running
        call("batch_norm_running", self.backend, given, count=self.rows)
        load = {"scale": norm["scale"], "shift": norm["shift"]}
        norm["y"] = call("affine_forward", self.backend, FORWARD | {"x": self.x} | load, activation=RELU)["y"]
        given = BACKWARD | {"dy": self.dy, "z": self.x, "centre": norm["mean"]} | load
        masked = call("affine_backward", self.backend, given, activation=RELU)
        given = {"sums": masked["sums"], "w": self.w, "mean": norm["mean"], "invstd": norm["invstd"]}
        results = call("batch_norm_gradient", self.backend, given, count=self.rows)
        composed = {key: results[key] for key in ("slope", "factor", "offset")}
        results["dx"] = call("affine_gradient", self.backend, {"dy": masked["dx"], "z": self.x} | composed)["dx"]
        bias = call("channel_gradient", self.backend, {"sums": masked["sums"]})["db"]
        np.testing.assert_array_equal(bias, results["db"])
        return norm, results


@pytest.mark.parametrize("backend", ALL)
def test_the_pieces_are_a_batch_norm_with_its_gradient(backend: str) -> None:
    whole, pieces = Chain("reference"), Chain(backend)
    (forward, backward), (norm, results) = whole.whole(), pieces.pieces()
    for name in ("mean", "invstd"):
        np.testing.assert_allclose(norm[name], forward[name], rtol=1e-6)
    # x * scale + shift cancels: numbers near 300 have an error of 2e-5.
    np.testing.assert_allclose(norm["y"], np.maximum(forward["y"], 0.0), rtol=0, atol=3e-4)
    for name, value in whole.running.items():
        np.testing.assert_allclose(pieces.running[name], value, rtol=1e-6)
    for name in ("dx", "dw", "db"):
        size = np.abs(backward[name]).max()
        np.testing.assert_allclose(results[name], backward[name], rtol=0, atol=1e-4 * size, err_msg=name)


# ---------------------------------------------------------------- NaN, infinity, kinks


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("branch", ["x", "r"])
@pytest.mark.parametrize("activation", [NO_ACTIVATION, RELU, RELU6])
def test_nan_passes_forward(backend: str, branch: str, activation: int) -> None:
    images = {name: np.ones((5, 17), np.float32) for name in ("x", "r")}
    images[branch][3, 16] = np.nan
    y = call("affine_forward", backend, FORWARD | images, activation=activation)["y"]
    np.testing.assert_array_equal(np.argwhere(np.isnan(y)), [[3, 16]])


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("judge", ["y", "z"])
@pytest.mark.parametrize(("activation", "passes"), [
    (NO_ACTIVATION, [1, 1, 1, 1, 1, 1, 1, 1]), (RELU, [0, 0, 0, 1, 1, 1, 1, 0]), (RELU6, [0, 0, 0, 1, 1, 0, 0, 0])
])  # fmt: skip
def test_the_derivative_at_kinks_infinity_and_nan(backend: str, judge: str, activation: int, passes: list[int]) -> None:
    seen = np.array([[-np.inf, -0.0, 0.0, 1e-30, np.nextafter(np.float32(6), np.float32(0)), 6.0, np.inf, np.nan]] * 9,
                    np.float32)  # fmt: skip
    dy = np.full(seen.shape, 3.0, np.float32)
    dx = call("affine_backward", backend, BACKWARD | {"dy": dy, judge: seen}, activation=activation)["dx"]
    np.testing.assert_array_equal(dx, 3.0 * np.array([passes] * 9))


@pytest.mark.parametrize("backend", ALL)
def test_gradients_that_are_nan_or_infinite_pass_and_are_cut_off(backend: str) -> None:
    y, dy = np.ones((4, 17), np.float32), np.ones((4, 17), np.float32)
    y[:2, 5] = 0.0
    dy[:, 5] = np.nan, np.inf, np.inf, 1.0
    given = BACKWARD | {"dy": dy, "y": y, "z": y, "centre": np.zeros(17, np.float32)}
    results = call("affine_backward", backend, given, activation=RELU)
    np.testing.assert_array_equal(results["dx"][:, 5], [0.0, 0.0, np.inf, 1.0])
    np.testing.assert_array_equal(np.argwhere(~np.isfinite(results["sums"])), [[0, 5], [1, 5]])


@pytest.mark.parametrize("backend", ALL)
def test_nan_in_the_sums_stays_in_its_channel(backend: str) -> None:
    sums, centre = np.ones((2, 3)), np.zeros(3, np.float32)
    sums[:, 1] = np.nan
    given = {"sums": sums, "centre": centre, "w": NONE, "b": NONE}
    norm = call("batch_norm_statistics", backend, given, count=2, eps=1.0)
    for name, value in norm.items():
        np.testing.assert_array_equal(np.isnan(value), [False, True, False], err_msg=name)


# ---------------------------------------------------------------- in place


def _in_place() -> list[Any]:
    found = [(case, name) for op in ("affine_backward", "affine_gradient") for case in cases_of(op)
             for name in ("dy", "dy2") if case.values.get(name, NONE).size]  # fmt: skip
    return [pytest.param(*item, id=f"{item[0].id}-{item[1]}") for item in found]


@pytest.mark.parametrize(("case", "name"), _in_place())
@pytest.mark.parametrize("backend", [*COMPILED, "reference"])
def test_the_gradient_may_be_written_over_what_comes_in(case: Case, name: str, backend: str) -> None:
    apart, arrays = run_case(case, backend), case.arrays()
    results = run(case.op, arrays, case.attributes, outputs={"dx": arrays[name]}, backend=backend)
    for key, value in apart.items():
        np.testing.assert_array_equal(results[key], value, err_msg=key)
