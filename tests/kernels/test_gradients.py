"""Each backward operation is the gradient of its forward one: central differences in float64, adjoints in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judging import COMPILED, run_case
from nnfast.kernels.cases import IGNORED, Case, cases_of
from nnfast.kernels.fused import RELU6
from nnfast.kernels.launch import run
from nnfast.kernels.ops import OPS
from nnfast.kernels.tolerance import error_bounds

Arrays = dict[str, np.ndarray]
STEP = 1e-5
TOLERANCE = 1e-7  # of the gradient's size: third derivatives times STEP squared, and cancellation, 1e-16 / STEP


def call(op: str, arrays: Mapping[str, np.ndarray], **attributes: Any) -> Arrays:
    """The reference's outputs and updates; `arrays` stay as they are."""
    copies = {name: np.array(value) for name, value in arrays.items()}
    return run(op, copies, attributes, backend="reference")


@dataclass(frozen=True)
class Gradient:
    """A function of named arrays, and its gradient given dy (the gradient with respect to the function's value)."""

    name: str
    values: Arrays
    forward: Callable[[Arrays], np.ndarray]
    backward: Callable[[Arrays, np.ndarray], Arrays]
    small: bool = True


def pick(values: Mapping[str, np.ndarray], *names: str) -> Arrays:
    return {name: values[name] for name in names}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Distinct numbers of both signs, at least 0.02 apart from each other and from 0: no kink is near."""
    count = int(np.prod(shape))
    steps = np.arange(1, count + 1) - (count + 1) // 2
    return (np.random.default_rng(seed).permutation(np.where(steps > 0, steps, steps - 1)) * 0.02 + 0.005).reshape(
        shape
    )


GEOMETRIES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((1, 4, 3, 2), (2, 3, 2, 2), {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}),
    "stride 2x1 padding 1": (
        (2, 5, 4, 2),
        (3, 3, 3, 2),
        {"stride": (2, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1},
    ),
    "dilation groups": (
        (1, 6, 5, 4),
        (6, 2, 2, 2),
        {"stride": (1, 2), "padding": (1, 0), "dilation": (2, 3), "groups": 2},
    ),
    "depthwise": ((1, 4, 5, 3), (3, 3, 3, 1), {"stride": (1, 2), "padding": (1, 2), "dilation": (1, 1), "groups": 3}),
    "1x1 stride 3": (
        (2, 7, 6, 3),
        (2, 1, 1, 3),
        {"stride": (3, 3), "padding": (0, 0), "dilation": (1, 1), "groups": 1},
    ),
}


def convolution(name: str, large: bool) -> Gradient:
    x_shape, w_shape, attributes = GEOMETRIES[name]
    if large:
        x_shape = (3, x_shape[1] + 6, x_shape[2] + 7, x_shape[3])

    def backward(v: Arrays, dy: np.ndarray) -> Arrays:
        return {
            "x": call("conv2d_backward_data", {"dy": dy, "w": v["w"]}, size=x_shape[1:3], **attributes)["dx"],
            "w": call("conv2d_backward_weight", {"x": v["x"], "dy": dy}, kernel_size=w_shape[1:3], **attributes)["dw"],
            "b": call("sum_forward", {"x": dy.reshape(1, -1, dy.shape[3])})["y"][0],
        }

    return Gradient(
        f"conv2d {name}",
        {"x": numbers(*x_shape), "w": numbers(*w_shape, seed=1), "b": numbers(w_shape[0])},
        lambda v: call("conv2d_forward", v, **attributes)["y"],
        backward,
        not large,
    )


def fused(name: str, large: bool) -> Gradient:
    """A scaled, shifted and activated convolution, then slope * y; `test_fused.py` has the other terms of dy."""
    x_shape, w_shape, attributes = GEOMETRIES[name]
    if large:
        x_shape = (3, x_shape[1] + 6, x_shape[2] + 7, x_shape[3])
    c, k = x_shape[3], w_shape[0]
    none, activation = np.zeros(0), {"activation": RELU6, **attributes}
    load = {"scale": numbers(c) * 100.0, "shift": np.full(c, 0.503)}
    slope = numbers(k, seed=2)

    def backward(v: Arrays, dy: np.ndarray) -> Arrays:
        composed = {"z": np.ones(dy.shape), "slope": slope, "factor": np.zeros(k), "offset": np.zeros(k)}
        images = {"dy": dy, "w": v["w"], **composed, "x": v["x"], **load, "centre": none}
        weights = {"x": v["x"], "dy": dy, **load, **composed}
        dx = call("fused_conv2d_backward_data", images, size=x_shape[1:3], **activation)["dx"]
        return {
            "x": dx * load["scale"],
            "w": call("fused_conv2d_backward_weight", weights, kernel_size=w_shape[1:3], **activation)["dw"],
        }

    def forward(v: Arrays) -> np.ndarray:
        return slope * call("fused_conv2d_forward", {**v, "b": none, **load, "centre": none}, **activation)["y"]

    values = {"x": numbers(*x_shape), "w": numbers(*w_shape, seed=1)}
    return Gradient(f"fused {name}", values, forward, backward, not large)


def pooling(large: bool) -> list[Gradient]:
    shape = (3, 17, 16, 5) if large else (1, 5, 6, 2)
    window = {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)}
    dilated = window | {"dilation": (1, 2)}
    found = []

    def maximum_backward(v: Arrays, dy: np.ndarray) -> Arrays:
        argmax = call("max_pool2d_forward", v, ceil_mode=1, **dilated)["argmax"]
        return {"x": call("max_pool2d_backward", {"dy": dy, "argmax": argmax}, size=shape[1:3], **dilated)["dx"]}

    found.append(
        Gradient(
            "max_pool2d",
            {"x": numbers(*shape)},
            lambda v: call("max_pool2d_forward", v, ceil_mode=1, **dilated)["y"],
            maximum_backward,
            not large,
        )
    )
    activated = dilated | {"activation": RELU6}
    load = {
        "scale": 40.0 * (1.0 + np.arange(shape[3])) * (-1.0) ** np.arange(shape[3]),
        "shift": np.full(shape[3], 3.3),
    }

    def fused_forward(v: Arrays) -> Arrays:
        return call("fused_max_pool2d_forward", v | load, ceil_mode=1, **activated)

    def fused_backward(v: Arrays, dy: np.ndarray) -> Arrays:
        given = {"dy": dy, **fused_forward(v), "x": np.zeros(0), "centre": np.zeros(0)}
        return {"x": load["scale"] * call("fused_max_pool2d_backward", given, size=shape[1:3], **activated)["dx"]}

    found.append(
        Gradient("fused_max_pool2d", {"x": numbers(*shape)}, lambda v: fused_forward(v)["y"], fused_backward, not large)
    )
    for ceil_mode, include in ((0, 0), (1, 0), (0, 1), (1, 1)):
        found.append(
            Gradient(
                f"avg_pool2d ceil {ceil_mode} include {include}",
                {"x": numbers(*shape)},
                lambda v, c=ceil_mode, i=include: call(
                    "avg_pool2d_forward", v, ceil_mode=c, count_include_pad=i, **window
                )["y"],
                lambda v, dy, i=include: {
                    "x": call("avg_pool2d_backward", {"dy": dy}, size=shape[1:3], count_include_pad=i, **window)["dx"]
                },
                not large,
            )
        )
    found.append(
        Gradient(
            "adaptive_avg_pool2d",
            {"x": numbers(*shape)},
            lambda v: call("adaptive_avg_pool2d_forward", v, output_size=(3, 4))["y"],
            lambda v, dy: {"x": call("adaptive_avg_pool2d_backward", {"dy": dy}, size=shape[1:3])["dx"]},
            not large,
        )
    )
    return found  # fmt: skip


def rows(large: bool) -> list[Gradient]:
    m, c = (33, 17) if large else (4, 3)
    x = {"x": numbers(m, c)}
    target = np.random.default_rng(0).integers(0, c, m)
    target[1] = IGNORED
    weight = 0.5 + np.arange(c) / c
    found = [
        Gradient(
            "linear",
            {"x": numbers(m, c), "w": numbers(5, c, seed=1), "b": numbers(5)},
            lambda v: call("linear_forward", v)["y"],
            lambda v, dy: {
                "x": call("linear_backward_data", {"dy": dy, "w": v["w"]})["dx"],
                "w": call("linear_backward_weight", {"x": v["x"], "dy": dy})["dw"],
                "b": call("sum_forward", {"x": dy[None]})["y"][0],
            },
            not large,
        ),
        *(
            Gradient(
                op,
                x,
                lambda v, op=op: call(f"{op}_forward", v)["y"],
                lambda v, dy, op=op: {
                    "x": call(f"{op}_backward", {"dy": dy, "y": call(f"{op}_forward", v)["y"]})["dx"]
                },
                not large,
            )
            for op in ("softmax", "log_softmax", "relu", "relu6", "sigmoid", "tanh")
        ),
        Gradient(
            "relu6 around 6",
            {"x": numbers(m, c) + 6.0},
            lambda v: call("relu6_forward", v)["y"],
            lambda v, dy: {"x": call("relu6_backward", {"dy": dy, "y": call("relu6_forward", v)["y"]})["dx"]},
            not large,
        ),
        Gradient(
            "leaky_relu",
            x,
            lambda v: call("leaky_relu_forward", v, negative_slope=0.2)["y"],
            lambda v, dy: {"x": call("leaky_relu_backward", {"dy": dy, **v}, negative_slope=0.2)["dx"]},
            not large,
        ),
        *(
            Gradient(
                op,
                {"x": numbers(2, m, c)},
                lambda v, op=op: call(f"{op}_forward", v)["y"],
                lambda v, dy, op=op: {"x": call(f"{op}_backward", {"dy": dy}, count=m)["dx"]},
                not large,
            )
            for op in ("sum", "mean")
        ),
        Gradient(
            "dropout",
            x | {},
            lambda v: call("dropout", v | {"seed": np.array([7, 9], np.uint64)}, p=0.4)["y"],
            lambda v, dy: {"x": call("dropout", {"x": dy, "seed": np.array([7, 9], np.uint64)}, p=0.4)["y"]},
            not large,
        ),
    ]
    for mean, smoothing, weighted in (
        (1, 0.0, False),
        (1, 0.3, True),
        (0, 1.0, True),
        (None, 0.2, True),
        (None, 0.0, False),
    ):
        labels = {"target": target, "weight": weight if weighted else np.zeros(0)}
        found.append(loss("cross_entropy", x, labels, mean, {"label_smoothing": smoothing}, not large))
        if smoothing < 1.0:
            found.append(loss("nll_loss", x, labels, mean, {}, not large))
    return found


def loss(op: str, x: Arrays, labels: Arrays, mean: int | None, options: dict[str, float], small: bool) -> Gradient:
    """A loss with its mean (1), its sum (0), or one value for each row (None)."""
    title = f"{op} {'each' if mean is None else 'mean' if mean else 'sum'} {options} weights {labels['weight'].size}"
    attributes = {"ignore_index": IGNORED, **options}

    def forward(v: Arrays) -> np.ndarray:
        results = call(f"{op}_forward", v | labels, mean=mean or 0, **attributes)
        return results["loss" if mean is None else "y"]

    def backward(v: Arrays, dy: np.ndarray) -> Arrays:
        results = call(f"{op}_forward", v | labels, mean=mean or 0, **attributes)
        given = {"dy": dy, **labels, "normaliser": results["normaliser"]}
        if op == "nll_loss":
            return {"x": call("nll_loss_backward", given, classes=v["x"].shape[1], ignore_index=IGNORED)["dx"]}
        return {"x": call("cross_entropy_backward", given | v | {"lse": results["lse"]}, **attributes)["dx"]}

    return Gradient(title, x, forward, backward, small)


def norms(large: bool) -> list[Gradient]:
    m, c = (40, 17) if large else (5, 2)
    values = {"x": numbers(m, c) * 10.0, "w": numbers(c) + 1.0, "b": numbers(c)}
    seen = {"running_mean": numbers(c), "running_var": np.abs(numbers(c)) + 0.5}
    state = {"momentum": np.array([0.1]), "running_mean": np.zeros(0), "running_var": np.zeros(0)}

    def backward(v: Arrays, dy: np.ndarray) -> Arrays:
        results = call("batch_norm_forward", v | state, eps=1e-3)
        given = {"dy": dy, **pick(v, "x", "w"), **pick(results, "mean", "invstd")}
        gradients = call("batch_norm_backward", given)
        return {"x": gradients["dx"], "w": gradients["dw"], "b": gradients["db"]}

    def inference_backward(v: Arrays, dy: np.ndarray) -> Arrays:
        gradients = call("batch_norm_inference_backward", {"dy": dy, **pick(v, "x", "w"), **seen}, eps=1e-3)
        return {"x": gradients["dx"], "w": gradients["dw"], "b": gradients["db"]}

    return [
        Gradient(
            "batch_norm", values, lambda v: call("batch_norm_forward", v | state, eps=1e-3)["y"], backward, not large
        ),
        Gradient(
            "batch_norm_inference",
            values,
            lambda v: call("batch_norm_inference", v | seen, eps=1e-3)["y"],
            inference_backward,
            not large,
        ),
    ]


def joined(large: bool) -> list[Gradient]:
    """Two branches behind their scales and shifts, by what the activation gave and by what went in."""
    shape = (300, 19) if large else (3, 4)
    c, none, activation = shape[1], np.zeros(0), {"activation": RELU6}
    load = {"scale": numbers(c) * 100.0, "shift": np.full(c, 0.503)}
    other = {"r_scale": numbers(c, seed=3) * 100.0, "r_shift": np.full(c, 0.709)}
    alone = {"r": none, "r_scale": none, "r_shift": none}

    def backward(dy: np.ndarray, **seen: np.ndarray) -> np.ndarray:
        absent = dict.fromkeys(("y", "z", "scale", "shift", "centre", "r", "r_centre"), none)
        return call("affine_backward", absent | {"dy": 0.5 * dy, "dy2": 0.5 * dy, **seen}, **activation)["dx"]

    def forward(v: Arrays) -> np.ndarray:
        return call("affine_forward", alone | load | v | (other if "r" in v else {}), **activation)["y"]

    def both_backward(v: Arrays, dy: np.ndarray) -> Arrays:
        dx = backward(dy, y=forward(v))
        return {"x": dx * load["scale"], "r": dx * other["r_scale"]}

    values = {"x": numbers(*shape), "r": numbers(*shape, seed=1)}
    return [
        Gradient("affine of two", values, forward, both_backward, not large),
        Gradient("affine of one", pick(values, "x"), forward,
                 lambda v, dy: {"x": load["scale"] * backward(dy, z=v["x"], **load)}, not large),
    ]  # fmt: skip


def gradients(large: bool) -> list[Gradient]:
    convolutions = [make(name, large) for make in (convolution, fused) for name in GEOMETRIES]
    return [*convolutions, *pooling(large), *rows(large), *norms(large), *joined(large)]


def difference(gradient: Gradient, dy: np.ndarray, name: str, direction: np.ndarray) -> float:
    """Central difference of <dy, forward> along a direction of one array."""
    ahead, behind = (gradient.forward({**gradient.values, name: gradient.values[name] + sign * STEP * direction})
                     for sign in (1.0, -1.0))  # fmt: skip
    return float((dy * (ahead - behind)).sum() / (2.0 * STEP))


@pytest.mark.parametrize("gradient", gradients(large=False), ids=lambda gradient: gradient.name)
def test_gradient_in_every_direction(gradient: Gradient) -> None:
    dy = np.random.default_rng(3).standard_normal(gradient.forward(gradient.values).shape)
    for name, exact in gradient.backward(gradient.values, dy).items():
        numeric = np.zeros_like(exact)
        for index in np.ndindex(exact.shape):
            direction = np.zeros_like(exact)
            direction[index] = 1.0
            numeric[index] = difference(gradient, dy, name, direction)
        scale = np.abs(dy).max() + np.abs(exact).max()
        np.testing.assert_allclose(exact, numeric, rtol=0, atol=TOLERANCE * scale, err_msg=f"{gradient.name}: {name}")


@pytest.mark.parametrize("gradient", gradients(large=True), ids=lambda gradient: gradient.name)
def test_gradient_in_a_random_direction(gradient: Gradient) -> None:
    rng = np.random.default_rng(4)
    dy = rng.standard_normal(gradient.forward(gradient.values).shape)
    for name, exact in gradient.backward(gradient.values, dy).items():
        direction = rng.standard_normal(exact.shape)
        numeric, terms = difference(gradient, dy, name, direction), np.abs(exact * direction).sum() + np.abs(dy).max()
        assert abs((exact * direction).sum() - numeric) <= TOLERANCE * terms, f"{gradient.name}: {name}"


def test_every_backward_operation_is_checked() -> None:
    """The list above is complete: the names of all backward operations appear in this file."""
    text = Path(__file__).read_text()
    pairs = {"sum", "mean", "softmax", "log_softmax", "relu", "relu6", "sigmoid", "tanh", "cross_entropy"}
    missing = [name for name in OPS if "_backward" in name and f'"{name}"' not in text
               and name.removesuffix("_backward") not in pairs]  # fmt: skip
    assert not missing


# ---------------------------------------------------------------- adjoints: <A x, y> == <x, A' y>

# forward, its linear input, output; adjoint, its input, output
ADJOINTS = [
    ("conv2d_forward", "x", "y", "conv2d_backward_data", "dy", "dx"),
    ("conv2d_forward", "w", "y", "conv2d_backward_weight", "dy", "dw"),
    ("im2col", "x", "columns", "col2im", "columns", "x"),
    ("linear_forward", "x", "y", "linear_backward_data", "dy", "dx"),
    ("linear_forward", "w", "y", "linear_backward_weight", "dy", "dw"),
    ("avg_pool2d_forward", "x", "y", "avg_pool2d_backward", "dy", "dx"),
    ("sum_forward", "x", "y", "sum_backward", "dy", "dx"),
    ("mean_forward", "x", "y", "mean_backward", "dy", "dx"),
]


@pytest.mark.parametrize("backend", [*COMPILED, "reference"])
@pytest.mark.parametrize(
    ("forward", "x", "y", "backward", "dy", "dx"), ADJOINTS, ids=[f"{row[0]}-{row[3]}" for row in ADJOINTS]
)
def test_backward_is_the_adjoint(forward: str, x: str, y: str, backward: str, dy: str, dx: str, backend: str) -> None:
    others = {case.name: case for case in cases_of(backward)}
    pairs = [(case, others[case.name]) for case in cases_of(forward) if case.name in others and not case.large]
    assert len(pairs) > 10
    for first, second in pairs:
        # The second argument of a bilinear operation (weights, images) must be the same one; a bias is no part of it.
        shared = {name: first.values[name] for name in second.values if name in first.values and name != dy}
        first = Case(
            first.op,
            first.name,
            {**first.values, **({"b": first.values["b"][:0]} if "b" in first.values else {})},
            first.attributes,
        )
        second = Case(second.op, second.name, {**second.values, **shared}, second.attributes)
        assert_adjoint(first, x, y, second, dy, dx, backend)


def assert_adjoint(first: Case, x: str, y: str, second: Case, dy: str, dx: str, backend: str) -> None:
    ax, aty = run_case(first, backend)[y], run_case(second, backend)[dx]
    one, other = first.values[x].astype(np.float64), second.values[dy].astype(np.float64)
    allowed = 0.0
    for case, output, factor in ((first, y, other), (second, dx, one)):
        exact = run_case(case, "reference", np.float64)
        bounds = error_bounds(case.op, case.arrays(np.float64), case.attributes, exact, np.float32)[output]
        allowed += float((bounds * np.abs(factor)).sum())
    left, right = float((ax.astype(np.float64) * other).sum()), float((one * aty.astype(np.float64)).sum())
    assert abs(left - right) <= allowed + 1e-12 * (np.abs(ax) * np.abs(other)).sum(), f"{first.id}: {left} != {right}"


@pytest.mark.parametrize("backend", [*COMPILED, "reference"])
def test_max_pool_backward_sends_each_gradient_to_its_maximum(backend: str) -> None:
    """<y, dy> == <x, dx>, for y is made of elements of x."""
    for case in cases_of("max_pool2d_forward"):
        forward = run_case(case, backend)
        dy = np.random.default_rng(5).standard_normal(forward["y"].shape).astype(np.float32)
        window = {name: value for name, value in case.attributes.items() if name != "ceil_mode"}
        size = case.values["x"].shape[1:3]
        dx = run(
            "max_pool2d_backward", {"dy": dy, "argmax": forward["argmax"]}, {"size": size, **window}, backend=backend
        )["dx"]
        left, right = (forward["y"].astype(np.float64) * dy).sum(), (case.values["x"].astype(np.float64) * dx).sum()
        assert left == pytest.approx(right, abs=float(1e-6 * np.abs(forward["y"] * dy).sum())), case.id


@pytest.mark.parametrize("backend", COMPILED)
def test_adaptive_average_is_its_backwards_adjoint(backend: str) -> None:
    for case in cases_of("adaptive_avg_pool2d_forward"):
        y = run_case(case, backend)["y"]
        dy = np.random.default_rng(6).standard_normal(y.shape).astype(np.float32)
        x = case.values["x"]
        dx = run("adaptive_avg_pool2d_backward", {"dy": dy}, {"size": x.shape[1:3]}, backend=backend)["dx"]
        assert (y.astype(np.float64) * dy).sum() == pytest.approx(
            (x.astype(np.float64) * dx).sum(), abs=1e-6 * max(1.0, float((np.abs(y) * np.abs(dy)).sum()))
        ), case.id
