"""Draws a case of any operation from a seed: sizes around lane counts, tiles and blocks, strides that do not divide.

``draw(op, algorithm, seed)`` is always the same case. Values come from the table of cases wherever it makes them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from nnfast.kernels import cases as table
from nnfast.kernels import cases_norm
from nnfast.kernels.cases import Case, Draw, rounded
from nnfast.kernels.operation import Operation
from nnfast.kernels.ops import BLOCK, OPS
from random_windows import (
    PRODUCTS,
    Drawn,
    Numbers,
    Rng,
    adaptive_pool,
    channels,
    columns,
    convolution,
    fused,
    fused_pool,
    near,
    one_of,
    pool,
    rows,
)

TRIES = 10_000


def draw(op: str, algorithm: str, seed: int) -> Case:
    """The case of that seed, which suits the algorithm."""
    name = f"{algorithm} random {seed}"
    rng = np.random.default_rng([zlib.crc32(f"{op} {algorithm}".encode()), seed])
    for _ in range(TRIES):
        drawn = GENERATORS[op](rng, Draw(op, name), OPS[op], algorithm)
        if drawn is not None:
            case = drawn if isinstance(drawn, Case) else Case(op, name, *drawn)
            shapes = {item.name: case.values[item.name].shape for item in OPS[op].inputs + OPS[op].updates}
            if OPS[op].algorithms[algorithm].suits(OPS[op].bind(shapes, case.attributes)):
                return case
    raise AssertionError(f"{op} {algorithm}: no suitable shape in {TRIES} tries")


def describe(case: Case) -> str:
    """Shapes and attributes, enough to see what a failing case is about."""
    shapes = ", ".join(f"{name} {value.shape}" for name, value in case.values.items())
    return f"{shapes}; {', '.join(f'{name} {value}' for name, value in case.attributes.items())}"


# ---------------------------------------------------------------- matrices and reductions


def _linear(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn | None:
    m, i, o = (one_of(rng, channels(rng, True), near(rng, 14, 16), near(rng, 128)) for _ in range(3))
    m = 0 if rng.random() < 0.02 else m
    if m * i * o > PRODUCTS[True] // 10:
        return None
    x, w, dy = values.normal(m, i), values.normal(o, i), values.normal(m, o)
    if op.name == "linear_forward":
        return {"x": x, "w": w, "b": values.normal(o if rng.integers(2) else 0)}, {}
    return ({"dy": dy, "w": w} if op.name == "linear_backward_data" else {"x": x, "dy": dy}), {}


def _reduction(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn | None:
    lengths = (1, int(rng.integers(1, 40)), near(rng, 16, 20), int(rng.integers(1, 5000)))
    a, r, b = (one_of(rng, *lengths) for _ in range(3))
    a = 0 if rng.random() < 0.02 else a
    if a * r * b > 4 * BLOCK:
        return None
    if op.name.endswith("forward"):
        return {"x": rounded(values.normal(a, r, b) + one_of(rng, 0.0, 100.0))}, {}
    return {"dy": values.normal(a, b)}, {"count": r}


def _softmax(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn:
    m, c = rows(rng)
    x = table._logits(values, m, c, one_of(rng, "", "", "huge", "minus infinity"))
    if op.name.endswith("forward"):
        return {"x": x}, {}
    log_y = x - table.log_sum_exp(x)[:, None]
    return {"dy": values.normal(m, c), "y": rounded(log_y if op.name.startswith("log") else np.exp(log_y))}, {}


def _loss(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Case | None:
    m, c = rows(rng)
    smoothing, ignored = one_of(rng, 0.0, 0.1, 1.0), one_of(rng, 0.0, 0.3, 0.9)
    name = f"{algorithm} random {rng.integers(2**62)}"
    found = table._loss(name, "", m, c, int(rng.integers(2)), smoothing, bool(rng.integers(2)), ignored)
    suitable = [case for case in found if case.op == op.name]
    return one_of(rng, *suitable) if m else None


def _norm(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Case | None:
    m, c = rows(rng)
    if m < 2:
        return None
    weight, bias, running = (bool(rng.integers(2)) for _ in range(3))
    name = f"{algorithm} random {rng.integers(2**62)}"
    found = table._norm(name, m, c, one_of(rng, 0.0, 3.0), 1.0, weight, bias, running, momentum=rng.random())
    return next(case for case in found if case.op == op.name)


def _split_norm(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Case | None:
    m, c = rows(rng)
    weight, bias = (bool(rng.integers(2)) for _ in range(2))
    offset, spread, momentum = one_of(rng, 0.0, 3.0, 1e4), one_of(rng, 1.0, 1.0, 0.0), rng.random()
    name = f"{algorithm} random {rng.integers(2**62)}"
    found = cases_norm.split_norm(name, m, c, offset, spread, weight, bias, momentum=momentum)
    return next((case for case in found if case.op == op.name), None)


def _affine(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Case:
    """Every combination of what may be absent, except an activation of nothing."""
    (m, c), activation = rows(rng), int(rng.integers(3))
    parts = {part for part in cases_norm.JOINED if rng.integers(2)} | ({one_of(rng, "y", "z")} if activation else set())
    found = cases_norm.affine(f"{algorithm} random {rng.integers(2**62)}", m, c, activation, parts)
    return next(case for case in found if case.op == op.name)


# ---------------------------------------------------------------- elements


def shape(rng: Rng) -> Numbers:
    """A shape of 0 to 4 dimensions, whose elements stand around lanes, tiles and blocks."""
    kind = rng.random()
    if kind < 0.3:
        return tuple(int(length) for length in rng.integers(1, 8, rng.integers(0, 5)))
    if kind < 0.7:
        return (int(rng.integers(0, 140)),)
    return (near(rng, one_of(rng, 64, 256, 1024, 1024, BLOCK), 3) + int(rng.integers(0, 20)),)


def _of(attributes: Callable[[Rng], Mapping[str, Any]], **arrays: Callable[[Draw, Numbers], np.ndarray]) -> Any:
    """A generator of an elementwise operation from one of attributes and one of each array."""

    def generate(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn:
        drawn = shape(rng)
        return {name: make(values, drawn) for name, make in arrays.items()}, dict(attributes(rng))

    return generate


def _normal(values: Draw, shape: Numbers) -> np.ndarray:
    return values.normal(*shape)


def _positive(values: Draw, shape: Numbers) -> np.ndarray:
    return values.positive(*shape)


def _signed(values: Draw, shape: Numbers) -> np.ndarray:
    return values.positive(*shape) * values.rng.choice([-1.0, 1.0], shape)


def _output(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Draw, Numbers], np.ndarray]:
    return lambda values, shape: rounded(function(table._spread(values, shape)))


def _seed(values: Draw, shape: Numbers) -> np.ndarray:
    return values.rng.integers(0, 2**64, 2, np.uint64)


def _nothing(rng: Rng) -> dict[str, Any]:
    return {}


def _slope(rng: Rng) -> dict[str, Any]:
    return {"negative_slope": float(rng.uniform(-0.5, 0.5))}


def _copy_strided(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Case:
    """Between a source and a target whose dimensions stand in any order, with gaps, turned round, or repeated."""
    lengths = [int(length) for length in rng.integers(1, 9, rng.integers(0, 7))]
    if lengths and rng.random() < 0.5:
        lengths[rng.integers(len(lengths))] = one_of(rng, 0, near(rng, 16), near(rng, 64, 8))
    sides = []
    for repeats in (True, False):
        strides, step, first = [0] * len(lengths), one_of(rng, 1, 1, 2), int(rng.integers(0, 4))
        for axis in rng.permutation(len(lengths)):
            if repeats and rng.random() < 0.15:
                continue
            strides[axis] = step * one_of(rng, 1, 1, -1)
            first += max(0, -strides[axis]) * max(0, lengths[axis] - 1)
            step *= max(1, lengths[axis]) + one_of(rng, 0, 0, 1)
        last = first + sum(max(0, by) * max(0, length - 1) for by, length in zip(strides, lengths, strict=True))
        sides.append((last + 1 + int(rng.integers(0, 3)), tuple(strides), first))
    (x, x_strides, x_offset), (y, y_strides, y_offset) = sides
    name = f"{algorithm} random {rng.integers(2**62)}"
    return table._copy(name, x, y, tuple(lengths), x_strides, y_strides, x_offset, y_offset)


def _increment(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn:
    return {"step": rng.integers(0, 2**40, 1)}, {}


def _optimizer(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Case:
    state, defaults, variants = table.OPTIMIZERS[op.name]
    attributes = defaults | one_of(rng, {}, *variants.values())
    name, step = f"{algorithm} random {rng.integers(2**62)}", int(rng.integers(1, 30))
    return table._step(op.name, name, shape(rng), step, state, attributes)


def _exponent(rng: Rng) -> dict[str, Any]:
    return {"exponent": one_of(rng, -2.0, -0.5, 0.0, 0.3, 0.5, 1.0, 2.0, 3.0)}


def _alpha(rng: Rng) -> dict[str, Any]:
    return {"alpha": one_of(rng, 1.0, -0.3, float(rng.standard_normal()))}


def _limits(rng: Rng) -> dict[str, Any]:
    return {"low": one_of(rng, -np.inf, float(rng.standard_normal())), "high": float(rng.standard_normal())}


def _gradient_norm(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn:
    return {"squares": values.positive(int(rng.integers(0, 70)))}, {"max_norm": float(rng.exponential(5.0))}


def _finite(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn:
    return {"squares": values.positive(int(rng.integers(0, 70))), "losses": values.normal(int(rng.integers(0, 40)))}, {}


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, 1.0, np.exp(-np.abs(x))) / (1.0 + np.exp(-np.abs(x)))


GENERATORS: dict[str, Callable[[Rng, Draw, Operation, str], Drawn | Case | None]] = {
    **dict.fromkeys(("conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight"), convolution),
    **dict.fromkeys(("fused_conv2d_forward", "fused_conv2d_backward_data", "fused_conv2d_backward_weight"), fused),
    **dict.fromkeys(("im2col", "col2im"), columns),
    **dict.fromkeys(("max_pool2d_forward", "max_pool2d_backward", "avg_pool2d_forward", "avg_pool2d_backward"), pool),
    **dict.fromkeys(("fused_max_pool2d_forward", "fused_max_pool2d_backward"), fused_pool),
    **dict.fromkeys(("adaptive_avg_pool2d_forward", "adaptive_avg_pool2d_backward"), adaptive_pool),
    **dict.fromkeys(("linear_forward", "linear_backward_data", "linear_backward_weight"), _linear),
    **dict.fromkeys(("sum_forward", "sum_backward", "mean_forward", "mean_backward"), _reduction),
    **dict.fromkeys(("softmax_forward", "softmax_backward", "log_softmax_forward", "log_softmax_backward"), _softmax),
    **dict.fromkeys(
        ("cross_entropy_forward", "cross_entropy_backward", "nll_loss_forward", "nll_loss_backward"), _loss
    ),
    **dict.fromkeys(
        ("batch_norm_forward", "batch_norm_inference", "batch_norm_backward", "batch_norm_inference_backward"), _norm
    ),
    **dict.fromkeys(
        (
            "channel_sums",
            "batch_norm_statistics",
            "batch_norm_running",
            "batch_norm_scale",
            "batch_norm_gradient",
            "channel_gradient",
        ),
        _split_norm,
    ),
    **dict.fromkeys(("affine_forward", "affine_backward", "affine_gradient"), _affine),
    **dict.fromkeys(table.OPTIMIZERS, _optimizer),
    **dict.fromkeys(
        ("relu_forward", "relu6_forward", "sigmoid_forward", "tanh_forward"), _of(_nothing, x=table._spread)
    ),
    "relu_backward": _of(_nothing, dy=_normal, y=_output(lambda x: np.maximum(x, 0.0))),
    "relu6_backward": _of(_nothing, dy=_normal, y=_output(lambda x: np.clip(x, 0.0, 6.0))),
    "sigmoid_backward": _of(_nothing, dy=_normal, y=_output(_sigmoid)),
    "tanh_backward": _of(_nothing, dy=_normal, y=_output(np.tanh)),
    "leaky_relu_forward": _of(_slope, x=table._spread),
    "leaky_relu_backward": _of(_slope, dy=_normal, x=table._spread),
    "dropout": _of(lambda rng: {"p": one_of(rng, 0.0, 1.0, float(rng.random()))}, x=_normal, seed=_seed),
    "add": _of(_alpha, a=_normal, b=_normal),
    "mul": _of(_nothing, a=_normal, b=_normal),
    "div": _of(_nothing, a=_normal, b=_signed),
    "scale": _of(lambda rng: _alpha(rng) | {"beta": float(rng.standard_normal())}, x=_normal),
    "scale_by": _of(_nothing, x=_normal, factor=lambda values, shape: values.normal(1)),
    "clamp": _of(_limits, x=_normal),
    "sum_squares": _of(_nothing, x=_normal),
    "gradient_norm": _gradient_norm,
    "finite": _finite,
    "power": _of(_exponent, x=_positive),
    "exp": _of(_nothing, x=lambda values, shape: rounded(10.0 * values.normal(*shape))),
    "log": _of(_nothing, x=_positive),
    "fill": _of(lambda rng: {"value": float(rng.standard_normal())}, y=_normal),
    "copy_strided": _copy_strided,
    "increment": _increment,
}
"""How the cases of each operation are drawn; None where a draw was no legal case."""
