"""The one table of cases: seeded inputs of every operation, for the tests, for `nnfast compare` and for the benchmarks.

`case.py` says what a case is, `cases_pool.py` has those of pooling. Sizes stand around the lane counts, strides do not
divide, and every operation has a case with more rows or elements than one task handles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .case import LANES, Arrays, Case, Draw, Pair, rounded
from .cases_norm import affine_cases, split_norm_cases
from .cases_pool import pooling
from .convolution import convolved
from .fused import NO_ACTIVATION, RELU, RELU6
from .ops import BLOCK, OPS


@lru_cache(maxsize=1)
def cases() -> tuple[Case, ...]:
    """Every case, in the order of `OPS`.

    Examples
    --------
    >>> {case.op for case in cases()} == set(OPS)
    True
    """
    groups = (_convolution, _fused, _columns, pooling, _linear, _activation, _dropout,
              _arithmetic, _copy_strided, _reduction, _softmax, _losses, _batch_norm, split_norm_cases,
              affine_cases, _optimizers, _gradients)  # fmt: skip
    found = [case for group in groups for case in group()]
    order = {name: position for position, name in enumerate(OPS)}
    return tuple(sorted(found, key=lambda case: order[case.op]))


def cases_of(op: str) -> tuple[Case, ...]:
    """The cases of one operation."""
    return tuple(case for case in cases() if case.op == op)


# ---------------------------------------------------------------- windows


@dataclass(frozen=True)
class _Window:
    """Geometry of a convolution: images, channels, output channels and PyTorch's arguments."""

    n: int
    hw: Pair
    c: int
    k: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = True
    large: bool = False

    @property
    def out(self) -> Pair:
        first, second = (convolved(*item) for item in zip(self.hw, self.kernel, self.stride, self.padding,
                                                          self.dilation, strict=True))  # fmt: skip
        return first, second

    @property
    def attributes(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}


CONVOLUTIONS: dict[str, _Window] = {
    "one of everything": _Window(1, (1, 1), 1, 1, (1, 1)),
    "1x1": _Window(2, (5, 4), 3, 16, (1, 1)),
    "1x1 c17 k33 no bias": _Window(1, (4, 4), 17, 33, (1, 1), bias=False),
    "1x1 many pixels": _Window(2, (12, 13), 20, 40, (1, 1)),
    "1x1 stride 2": _Window(2, (6, 7), 16, 15, (1, 1), (2, 2)),
    "1x1 stride 3x2 padding 1": _Window(1, (7, 6), 3, 4, (1, 1), (3, 2), (1, 1)),
    "3x3 c1 k31": _Window(1, (5, 6), 1, 31, (3, 3), padding=(1, 1)),
    "3x3 c31 k1": _Window(1, (5, 4), 31, 1, (3, 3), padding=(1, 1)),
    "3x3 c16 k16": _Window(2, (5, 6), 16, 16, (3, 3), padding=(1, 1)),
    "3x3 c15 k17 no bias": _Window(1, (5, 5), 15, 17, (3, 3), padding=(1, 1), bias=False),
    "3x3 c33 k65": _Window(1, (3, 4), 33, 65, (3, 3), padding=(1, 1)),
    "3x3 wide row": _Window(1, (3, 37), 4, 16, (3, 3), padding=(1, 1)),
    "3x3 stride 2": _Window(2, (8, 7), 5, 17, (3, 3), (2, 2), (1, 1)),
    "3x3 stride 3 does not divide": _Window(1, (9, 10), 3, 16, (3, 3), (3, 3)),
    "2x2 stride 3 skips pixels": _Window(2, (7, 9), 3, 5, (2, 2), (3, 3)),
    "3x2 stride 1x4, a block of images": _Window(65, (6, 6), 3, 33, (3, 2), (1, 4)),
    "3x2 stride 2x3 padding 0x1": _Window(1, (8, 8), 4, 6, (3, 2), (2, 3), (0, 1)),
    "3x3 dilation 2": _Window(1, (7, 8), 3, 16, (3, 3), (1, 1), (2, 2), (2, 2)),
    "2x3 dilation 3x2 stride 2": _Window(1, (9, 10), 4, 3, (2, 3), (2, 2), (1, 3), (3, 2)),
    "1x3": _Window(1, (4, 5), 3, 4, (1, 3), padding=(0, 1)),
    "5x1": _Window(1, (6, 3), 3, 4, (5, 1), padding=(2, 0)),
    "5x5 c6 k16": _Window(3, (14, 14), 6, 16, (5, 5), padding=(1, 1)),
    "5x5 c4 k7 wide row": _Window(1, (4, 33), 4, 7, (5, 5), padding=(2, 2), bias=False),
    "5x5 c6 k3 very wide rows": _Window(1, (5, 151), 6, 3, (5, 5), padding=(2, 0)),
    "3x5 stride 2x1 dilation 2x1": _Window(2, (9, 9), 3, 16, (3, 5), (2, 1), (2, 2), (2, 1)),
    "4x5 dilation 3x1": _Window(1, (8, 6), 5, 9, (4, 5), padding=(7, 1), dilation=(3, 1)),
    "3x3 c10 k5 padding larger than needed": _Window(1, (3, 2), 10, 5, (3, 3), padding=(4, 5)),
    "7x7 stride 2": _Window(1, (11, 11), 3, 16, (7, 7), (2, 2), (3, 3), bias=False),
    "kernel as large as the input": _Window(3, (5, 4), 3, 17, (5, 4)),
    "kernel larger than the input": _Window(1, (2, 3), 3, 4, (5, 5), padding=(2, 2)),
    "padding larger than needed": _Window(1, (3, 2), 3, 16, (3, 3), padding=(4, 5)),
    "groups 2": _Window(2, (5, 4), 6, 4, (3, 3), padding=(1, 1), groups=2),
    "groups 3 odd": _Window(1, (5, 5), 9, 15, (3, 3), (2, 2), (1, 1), groups=3, bias=False),
    "groups 2 c32 k34": _Window(1, (4, 3), 32, 34, (3, 3), padding=(1, 1), groups=2),
    "depthwise c16": _Window(2, (6, 5), 16, 16, (3, 3), padding=(1, 1), groups=16),
    "depthwise c33": _Window(1, (5, 6), 33, 33, (3, 3), padding=(1, 1), groups=33, bias=False),
    "depthwise c3 5x5 stride 2": _Window(2, (9, 8), 3, 3, (5, 5), (2, 2), (2, 2), groups=3),
    "depthwise c15 dilation 2": _Window(1, (7, 6), 15, 15, (3, 3), (1, 1), (2, 2), (2, 2), groups=15),
    "depthwise c17 1x1 stride 3": _Window(1, (7, 7), 17, 17, (1, 1), (3, 3), groups=17),
    "depthwise c31 padding larger than needed": _Window(1, (3, 3), 31, 31, (3, 2), (2, 1), (4, 3), groups=31),
    "depthwise c5 7x7": _Window(1, (9, 14), 5, 5, (7, 7), padding=(3, 3), groups=5),
    "depthwise many pixels": _Window(2, (33, 17), 4, 4, (3, 3), padding=(1, 1), groups=4),
    "depthwise with multiplier": _Window(2, (4, 5), 4, 12, (3, 3), padding=(1, 1), groups=4),
    "many pixels": _Window(2, (33, 34), 2, 3, (3, 3), padding=(1, 1)),
    "many pixels stride 2": _Window(2, (43, 41), 2, 3, (3, 3), (2, 2), (1, 1)),
    "no images": _Window(0, (4, 4), 3, 5, (3, 3), padding=(1, 1)),
    "deep": _Window(1, (6, 7), 96, 80, (3, 3), padding=(1, 1), large=True),
    "wide": _Window(2, (29, 31), 16, 48, (3, 3), padding=(1, 1), large=True),
    "many tiles c33 k65": _Window(1, (43, 46), 33, 65, (3, 3), padding=(1, 1), large=True),
    "depthwise wide": _Window(3, (30, 29), 40, 40, (3, 3), padding=(1, 1), groups=40, large=True),
}


def _convolution() -> Iterator[Case]:
    for name, g in CONVOLUTIONS.items():
        draw = Draw("conv2d", name)
        x, dy = draw.normal(g.n, *g.hw, g.c), draw.normal(g.n, *g.out, g.k)
        w = draw.normal(g.k, *g.kernel, g.c // g.groups)
        b = draw.normal(g.k if g.bias else 0)
        rest = g.attributes | {"groups": g.groups}
        yield Case("conv2d_forward", name, {"x": x, "w": w, "b": b}, rest, g.large)
        yield Case("conv2d_backward_data", name, {"dy": dy, "w": w}, {"size": g.hw} | rest, g.large)
        yield Case("conv2d_backward_weight", name, {"x": x, "dy": dy}, {"kernel_size": g.kernel} | rest, g.large)


LOAD, COMPOSE, SUM = "load", "compose", "sum"
"""What a case fuses, besides the activation: scale and shift, a composed gradient, sums around a centre."""
ALL = frozenset({LOAD, COMPOSE, SUM})
FUSED: dict[str, tuple[_Window, int, frozenset[str]]] = {
    "one of everything": (_Window(1, (1, 1), 1, 1, (1, 1)), RELU, ALL),
    "nothing fused": (_Window(2, (5, 6), 17, 16, (3, 3), padding=(1, 1)), NO_ACTIVATION, frozenset()),
    "nothing fused depthwise": (
        _Window(1, (5, 6), 17, 17, (3, 3), padding=(1, 1), groups=17), NO_ACTIVATION, frozenset()),
    "3x3 c16 k16 relu": (_Window(2, (5, 6), 16, 16, (3, 3), padding=(1, 1), bias=False), RELU, ALL),
    "3x3 c17 k33 relu6": (_Window(1, (7, 9), 17, 33, (3, 3), padding=(1, 1)), RELU6, ALL),
    "3x3 c33 k31 relu": (_Window(1, (6, 4), 33, 31, (3, 3), padding=(1, 1), bias=False), RELU, ALL),
    "3x3 no padding relu6": (_Window(3, (6, 7), 5, 15, (3, 3)), RELU6, ALL),
    "3x3 padding larger than needed relu": (_Window(1, (3, 2), 3, 16, (3, 3), padding=(4, 5)), RELU, ALL),
    "3x3 relu alone": (_Window(2, (5, 5), 16, 17, (3, 3), padding=(1, 1)), RELU, frozenset()),
    "3x3 relu6 and sums": (_Window(2, (5, 5), 16, 17, (3, 3), padding=(1, 1)), RELU6, frozenset({SUM})),
    "3x3 scale alone": (_Window(1, (6, 5), 16, 17, (3, 3), padding=(1, 1)), NO_ACTIVATION, frozenset({LOAD})),
    "3x3 sums alone": (_Window(1, (6, 5), 16, 17, (3, 3), padding=(1, 1)), NO_ACTIVATION, frozenset({SUM})),
    "3x3 gradient alone": (_Window(1, (6, 5), 16, 17, (3, 3), padding=(1, 1)), NO_ACTIVATION, frozenset({COMPOSE})),
    "3x3 dilation 2 relu": (_Window(1, (7, 8), 3, 16, (3, 3), (1, 1), (2, 2), (2, 2)), RELU, ALL),
    "3x3 stride 2 relu": (_Window(2, (8, 7), 17, 33, (3, 3), (2, 2), (1, 1), bias=False), RELU, ALL),
    "2x2 stride 3 skips pixels relu6": (_Window(2, (7, 9), 3, 5, (2, 2), (3, 3)), RELU6, ALL),
    "1x1 c33 k16 relu": (_Window(2, (5, 4), 33, 16, (1, 1), bias=False), RELU, ALL),
    "1x1 stride 2 relu6": (_Window(2, (6, 7), 16, 31, (1, 1), (2, 2)), RELU6, ALL),
    "5x5 relu": (_Window(1, (7, 6), 6, 16, (5, 5), padding=(2, 2)), RELU, ALL),
    "3x3 c3 k16 long rows, sums alone": (
        _Window(1, (9, 34), 3, 16, (3, 3), padding=(1, 1), bias=False), NO_ACTIVATION, frozenset({SUM})),
    "groups 2 relu6": (_Window(2, (5, 4), 6, 34, (3, 3), padding=(1, 1), groups=2), RELU6, ALL),
    "rows of a linear layer relu": (_Window(33, (1, 1), 31, 17, (1, 1)), RELU, ALL),
    "depthwise c16 relu6": (_Window(2, (6, 5), 16, 16, (3, 3), padding=(1, 1), groups=16, bias=False), RELU6, ALL),
    "depthwise c33 stride 2 relu": (_Window(2, (8, 7), 33, 33, (3, 3), (2, 2), (1, 1), groups=33), RELU, ALL),
    "depthwise c17 5x5 relu6": (_Window(1, (6, 7), 17, 17, (5, 5), padding=(2, 2), groups=17), RELU6, ALL),
    "depthwise c31 5x5 stride 2 relu": (_Window(1, (9, 8), 31, 31, (5, 5), (2, 2), (2, 2), groups=31), RELU, ALL),
    "depthwise relu alone": (_Window(1, (5, 5), 15, 15, (3, 3), padding=(1, 1), groups=15), RELU, frozenset()),
    "depthwise many pixels relu": (_Window(2, (33, 17), 4, 4, (3, 3), padding=(1, 1), groups=4), RELU, ALL),
    "many pixels relu6": (_Window(2, (33, 34), 2, 3, (3, 3), padding=(1, 1)), RELU6, ALL),
    "many pixels stride 2 relu": (_Window(2, (43, 41), 2, 3, (3, 3), (2, 2), (1, 1)), RELU, ALL),
    "no images": (_Window(0, (4, 4), 3, 5, (3, 3), padding=(1, 1)), RELU, ALL),
    "deep relu": (_Window(1, (6, 7), 48, 66, (3, 3), padding=(1, 1), large=True), RELU, ALL),
    "wide relu6": (_Window(2, (29, 31), 16, 48, (3, 3), padding=(1, 1), large=True), RELU6, ALL),
    "many channels relu": (_Window(1, (5, 6), 193, 200, (3, 3), padding=(1, 1), bias=False, large=True), RELU, ALL),
    "deeper than a part of a panel relu6": (
        _Window(1, (4, 5), 231, 230, (3, 3), padding=(1, 1), large=True), RELU6, ALL),
    "1x1 more blocks than tasks relu": (_Window(1, (130, 1025), 1, 2, (1, 1), large=True), RELU, ALL),
    "many tiles relu6": (_Window(2, (43, 49), 17, 33, (3, 3), padding=(1, 1), large=True), RELU6, ALL),
    "many tiles c33 k65 relu": (_Window(1, (43, 46), 33, 65, (3, 3), padding=(1, 1), large=True), RELU, ALL),
}  # fmt: skip


def _fused() -> Iterator[Case]:
    for name, (g, activation, fused) in FUSED.items():
        draw = Draw("fused_conv2d", name)

        def optional(part: str, *shape: int, draw: Draw = draw, fused: frozenset[str] = fused) -> np.ndarray:
            return draw.normal(*shape) if part in fused else np.zeros(0)

        x, dy = draw.normal(g.n, *g.hw, g.c), draw.normal(g.n, *g.out, g.k)
        w, b = draw.normal(g.k, *g.kernel, g.c // g.groups), draw.normal(g.k if g.bias else 0)
        spread = 5.0 if activation == RELU6 else 1.0  # so that some numbers are above 6
        if LOAD not in fused:
            x = rounded(spread * x)
        # Of either sign, and no channel in which every pixel is on the same side of the kink.
        scale = spread * draw.positive(g.c) * draw.rng.choice([-1.0, 1.0], g.c) if LOAD in fused else np.zeros(0)
        load = {"scale": rounded(scale), "shift": rounded(0.3 * optional(LOAD, g.c))}
        gradient = {"z": optional(COMPOSE, *dy.shape)} | {
            key: optional(COMPOSE, g.k) for key in ("slope", "factor", "offset")
        }
        # Around numbers as far from 0 as y itself.
        centre = rounded(spread * math.sqrt(w[:1].size) * optional(SUM, g.k))
        rest = {"activation": activation, **g.attributes, "groups": g.groups}
        yield Case("fused_conv2d_forward", name, {"x": x, "w": w, "b": b, **load, "centre": centre}, rest, g.large)
        seen = x if activation != NO_ACTIVATION or SUM in fused else np.zeros(0)
        yield Case("fused_conv2d_backward_data", name,
                   {"dy": dy, "w": w, **gradient, "x": seen, **load, "centre": optional(SUM, g.c)},
                   {"size": g.hw, **rest}, g.large)  # fmt: skip
        yield Case("fused_conv2d_backward_weight", name, {"x": x, "dy": dy, **load, **gradient},
                   {"kernel_size": g.kernel, **rest}, g.large)  # fmt: skip


def _columns() -> Iterator[Case]:
    chosen = [name for name, g in CONVOLUTIONS.items() if g.groups == 1 and g.c <= 17 and not g.large]
    for name in chosen:
        g, draw = CONVOLUTIONS[name], Draw("im2col", name)
        columns = draw.normal(g.n, *g.out, *g.kernel, g.c)
        yield Case("im2col", name, {"x": draw.normal(g.n, *g.hw, g.c)}, {"kernel_size": g.kernel} | g.attributes)
        yield Case("col2im", name, {"columns": columns}, {"size": g.hw} | g.attributes)


def _linear() -> Iterator[Case]:
    sizes = [
        (1, 1, 1),
        (1, 3, 15),
        (3, 16, 17),
        (15, 17, 16),
        (17, 31, 33),
        (33, 15, 1),
        (31, 1, 31),
        (16, 33, 3),
        (0, 4, 5),
        (113, 3, 129),
        (130, 129, 5),
        (5, 7, 260),
        (226, 2, 7),
        (3, 230, 130),
        (120, 150, 140),
        (1350, 3, 5),
        (2, 1100, 5),
        (5, 3, 1100),
    ]
    for m, i, o in sizes:
        for bias in (True, False):
            name = f"{m}x{i}x{o}{'' if bias else ' no bias'}"
            draw = Draw("linear", name)
            x, w, dy, large = draw.normal(m, i), draw.normal(o, i), draw.normal(m, o), m * i * o > 1_000_000
            yield Case("linear_forward", name, {"x": x, "w": w, "b": draw.normal(o if bias else 0)}, {}, large)
            if bias:
                yield Case("linear_backward_data", name, {"dy": dy, "w": w}, {}, large)
                yield Case("linear_backward_weight", name, {"x": x, "dy": dy}, {}, large)


# ---------------------------------------------------------------- elements

SHAPES: dict[str, tuple[int, ...]] = (
    {"empty": (0,)}
    | {str(length): (length,) for length in LANES}
    | {"4-d": (2, 3, 4, 5), "no dimension": (), "one block": (BLOCK,), "blocks": (2 * BLOCK + 5,)}
)


def _elementwise(
    op: str, values: Callable[[Draw, tuple[int, ...]], Arrays], attributes: Mapping[str, Any] | None = None,
    name: str = "", shapes: tuple[str, ...] = tuple(SHAPES),
) -> Iterator[Case]:  # fmt: skip
    for title in shapes:
        full = f"{title} {name}".strip()
        yield Case(op, full, values(Draw(op, full), SHAPES[title]), attributes or {})


def _spread(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers from tiny to 1000, both signs, and exact zeros; nothing whose exponential is a denormal number."""
    x = draw.normal(*shape) * draw.rng.choice([1e-3, 1.0, 5.0], shape)
    chosen = draw.rng.random(shape)
    x = np.where(chosen < 0.05, draw.rng.choice([0.0, 1000.0, -1000.0, 6.0, 80.0, -80.0], shape), x)
    return rounded(x)


def _gradient_and_output(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Draw, tuple[int, ...]], Arrays]:
    """Inputs of an activation's backward operation, which reads the output."""
    return lambda draw, shape: {"dy": draw.normal(*shape), "y": rounded(function(_spread(draw, shape)))}


def _activation() -> Iterator[Case]:
    outputs: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "relu": lambda x: np.maximum(x, 0.0), "relu6": lambda x: np.clip(x, 0.0, 6.0), "tanh": np.tanh,
        "sigmoid": lambda x: np.where(x >= 0, 1.0, np.exp(-np.abs(x))) / (1.0 + np.exp(-np.abs(x))),
    }  # fmt: skip
    for name, function in outputs.items():
        yield from _elementwise(f"{name}_forward", lambda draw, shape: {"x": _spread(draw, shape)})
        yield from _elementwise(f"{name}_backward", _gradient_and_output(function))
    for slope in (0.01, -0.5, 0.0):
        shapes = tuple(SHAPES) if slope == 0.01 else ("33",)
        name = "" if slope == 0.01 else f"slope {slope}"
        yield from _elementwise("leaky_relu_forward", lambda draw, shape: {"x": _spread(draw, shape)},
                                {"negative_slope": slope}, name, shapes)  # fmt: skip
        yield from _elementwise("leaky_relu_backward",
                                lambda draw, shape: {"dy": draw.normal(*shape), "x": _spread(draw, shape)},
                                {"negative_slope": slope}, name, shapes)  # fmt: skip


def _dropout() -> Iterator[Case]:
    for p in (0.5, 0.1, 0.0, 1.0):
        shapes = tuple(SHAPES) if p == 0.5 else ("33", "4-d")
        yield from _elementwise(
            "dropout",
            lambda draw, shape: {"x": draw.normal(*shape), "seed": draw.rng.integers(0, 2**64, 2, np.uint64)},
            {"p": p},
            "" if p == 0.5 else f"p {p}",
            shapes,
        )


def _arithmetic() -> Iterator[Case]:
    def two(draw: Draw, shape: tuple[int, ...]) -> Arrays:
        return {"a": draw.normal(*shape), "b": draw.normal(*shape)}

    def fraction(draw: Draw, shape: tuple[int, ...]) -> Arrays:
        return {"a": draw.normal(*shape), "b": draw.positive(*shape) * draw.rng.choice([-1.0, 1.0], shape)}

    def positive(draw: Draw, shape: tuple[int, ...]) -> Arrays:
        return {"x": rounded(draw.positive(*shape) * draw.rng.choice([1e-6, 1.0, 1e6], shape))}

    def one(draw: Draw, shape: tuple[int, ...]) -> Arrays:
        return {"x": draw.normal(*shape)}

    few = ("33", "4-d")
    yield from _elementwise("add", two, {"alpha": 1.0})
    yield from _elementwise("add", two, {"alpha": -0.3}, "alpha -0.3", few)
    yield from _elementwise("mul", two)
    yield from _elementwise("div", fraction)
    yield from _elementwise("scale", one, {"alpha": 0.7, "beta": -1.3})
    yield from _elementwise("scale", one, {"alpha": 2.5, "beta": 0.0}, "beta 0", few)
    yield from _elementwise("scale_by", lambda draw, shape: one(draw, shape) | {"factor": draw.normal(1)})
    yield from _elementwise("clamp", one, {"low": -0.3, "high": 0.7})
    yield from _elementwise("clamp", one, {"low": -math.inf, "high": -0.1}, "from below", few)
    yield from _elementwise("clamp", one, {"low": 0.5, "high": -0.5}, "nothing left", few)
    yield from _elementwise("power", positive, {"exponent": 0.3})
    for exponent in (-0.5, 0.5, 1.0, 0.0, -1.0):
        yield from _elementwise("power", positive, {"exponent": exponent}, f"exponent {exponent}", few)
    for exponent in (2.0, 3.0, -2.0):  # whole exponents take negative bases
        yield from _elementwise("power", one, {"exponent": exponent}, f"signed exponent {exponent}", few)
    yield from _elementwise("exp", lambda draw, shape: {"x": rounded(draw.normal(*shape) * 10.0)})
    yield from _elementwise("log", positive)
    yield from _elementwise("fill", lambda draw, shape: {"y": draw.normal(*shape)}, {"value": -1.7})
    for step in (0, 41, 2**40):
        yield Case("increment", f"from {step}", {"step": np.array([step], np.int64)}, {})


def _copy(name: str, x: int, y: int, shape: tuple[int, ...], x_strides: tuple[int, ...], y_strides: tuple[int, ...],
          x_offset: int = 0, y_offset: int = 0) -> Case:  # fmt: skip
    """A strided copy between flat arrays of `x` and `y` elements; leading dimensions of length 1 are added."""
    draw, missing = Draw("copy_strided", name), 6 - len(shape)
    return Case("copy_strided", name, {"x": draw.normal(x), "y": draw.normal(y)},
                {"shape": (1,) * missing + shape, "x_strides": (0,) * missing + x_strides,
                 "y_strides": (0,) * missing + y_strides, "x_offset": x_offset, "y_offset": y_offset})  # fmt: skip


def _copy_strided() -> Iterator[Case]:
    for length in (*LANES, 2 * BLOCK + 5):
        yield _copy(f"row of {length}", length, length, (length,), (1,), (1,))
    yield _copy("one number", 1, 1, (), (), ())
    yield _copy("nothing", 4, 4, (3, 0), (1, 1), (1, 1))
    yield _copy("nothing outside", 4, 4, (0, 3), (1, 1), (1, 1))
    yield _copy("NCHW to NHWC", 120, 120, (2, 4, 5, 3), (60, 5, 1, 20), (60, 15, 3, 1))
    yield _copy("NHWC to NCHW", 120, 120, (2, 3, 4, 5), (60, 1, 15, 3), (60, 20, 5, 1))
    yield _copy("transposed blocks", 130 * 140, 130 * 140, (130, 140), (1, 130), (140, 1))
    yield _copy("many short runs", 3 * 17000, 3 * 17000, (17000, 3), (3, 1), (3, 1))
    yield _copy("flipped", 33, 33, (33,), (-1,), (1,), x_offset=32)
    yield _copy("flipped target", 12, 12, (3, 4), (4, 1), (4, -1), y_offset=3)
    yield _copy("broadcast row", 17, 51, (3, 17), (0, 1), (17, 1))
    yield _copy("broadcast number", 1, 33, (33,), (0,), (1,))
    yield _copy("every third", 48, 16, (16,), (3,), (1,), x_offset=2)
    yield _copy("into every other", 16, 33, (16,), (1,), (2,), y_offset=1)
    yield _copy("into the middle of a plane", 12, 42, (3, 4), (4, 1), (7, 1), y_offset=9)
    yield _copy("six dimensions", 720, 720, (2, 3, 2, 5, 4, 3), (360, 120, 60, 12, 3, 1), (1, 2, 6, 12, 60, 240))


# ---------------------------------------------------------------- reductions

REDUCTIONS = ((1, 1, 1), (1, 33, 1), (3, 16, 1), (2, 17, 3), (1, 31, 16), (5, 1, 7), (2, 3, 15), (0, 3, 4), (3, 4, 0),
              (4, 257, 1), (1, 40000, 1), (1, 5000, 17), (600, 100, 3), (1, 2, 20000), (2, 70, 300))  # fmt: skip


def _reduction() -> Iterator[Case]:
    for a, r, b in (*REDUCTIONS, (1, 300, 4096)):
        name = f"{a}x{r}x{b}"
        draw, large = Draw("reduce", name), a * r * b > 1_000_000
        for op in ("sum", "mean"):
            x, dy = draw.normal(a, r, b), draw.normal(a, b)
            yield Case(f"{op}_forward", name, {"x": x}, {}, large)
            yield Case(f"{op}_backward", name, {"dy": dy}, {"count": r}, large)
            yield Case(f"{op}_forward", name + " far from zero", {"x": rounded(x + 1e4)}, {}, large)
    yield Case("sum_forward", "nothing to add", {"x": np.zeros((2, 0, 3))}, {})
    yield from _elementwise("sum_squares", lambda draw, shape: {"x": draw.normal(*shape)})


ROWS = ((1, 1), (3, 15), (1, 16), (17, 17), (2, 31), (5, 33), (2, 3), (0, 5), (40, 1000), (2, 20000), (20000, 2))


def _logits(draw: Draw, m: int, c: int, kind: str) -> np.ndarray:
    """Logits of a usual size, of +-1000, or with -inf in every row (but never a row of nothing else)."""
    x = draw.normal(m, c)
    if kind == "huge":
        return np.where(draw.rng.random((m, c)) < 0.5, 1000.0, -1000.0) + np.round(x)
    if kind == "minus infinity":
        masked = draw.rng.random((m, c)) < 0.4
        masked[np.arange(m), draw.labels(m, c)] = False
        return np.where(masked, -np.inf, x)
    return x


def _softmax() -> Iterator[Case]:
    for m, c in ROWS:
        for kind in ("", "huge", "minus infinity") if m * c <= BLOCK else ("",):
            name = f"{m}x{c} {kind}".strip()
            draw = Draw("softmax", name)
            x, dy = _logits(draw, m, c, kind), draw.normal(m, c)
            log_y = x - log_sum_exp(x)[:, None]
            yield Case("softmax_forward", name, {"x": x}, {})
            yield Case("log_softmax_forward", name, {"x": x}, {})
            yield Case("softmax_backward", name, {"dy": dy, "y": rounded(np.exp(log_y))}, {})
            yield Case("log_softmax_backward", name, {"dy": dy, "y": rounded(log_y)}, {})


def log_sum_exp(x: np.ndarray) -> np.ndarray:
    """Of every row of a matrix, in float64."""
    if not x.size:
        return np.zeros(len(x))
    top = x.max(axis=1, keepdims=True)
    return (top + np.log(np.exp(x - top).sum(axis=1, keepdims=True)))[:, 0]


IGNORED = -100


def _losses() -> Iterator[Case]:
    variants = [
        ("mean", 1, 0.0, False, 0.0),
        ("sum weighted", 0, 0.0, True, 0.0),
        ("mean smoothed", 1, 0.1, False, 0.0),
        ("mean smoothed weighted ignoring", 1, 0.2, True, 0.3),
        ("sum smoothed ignoring", 0, 1.0, False, 0.3),
        ("mean weighted ignoring", 1, 0.0, True, 0.5),
        ("sum all ignored", 0, 0.0, False, 1.0),
    ]
    for m, c in ROWS:
        chosen = variants if 0 < m * c <= BLOCK else variants[1:4:2] if m else variants[1:2]
        for title, mean, smoothing, weighted, ignored in chosen:
            yield from _loss(f"{m}x{c} {title}", "", m, c, mean, smoothing, weighted, ignored)
    for kind in ("huge", "minus infinity"):
        yield from _loss(f"17x5 {kind}", kind, 17, 5, 1, 0.0, False, 0.2)
    yield from _loss("17x5 huge smoothed", "huge", 17, 5, 1, 0.1, True, 0.2)


def _loss(
    name: str, kind: str, m: int, c: int, mean: int, smoothing: float, weighted: bool, ignored: float
) -> Iterator[Case]:
    draw = Draw("loss", name)
    x, target = _logits(draw, m, c, kind), draw.labels(m, c)
    if m and kind == "minus infinity":
        target = x.argmax(axis=1)  # the loss is finite
    kept = draw.rng.random(m) >= ignored
    if m and ignored < 1.0:
        kept[0] = True
    target = np.where(kept, target, IGNORED)
    weight = draw.positive(c if weighted else 0)
    of_target = np.where(kept, weight[np.where(kept, target, 0)] if weighted else 1.0, 0.0)
    lse = log_sum_exp(x)
    rest = {"ignore_index": IGNORED}
    common = {"target": target.astype(np.int64), "weight": weight}
    yield Case("cross_entropy_forward", name, {"x": x, **common}, rest | {"label_smoothing": smoothing, "mean": mean})
    log_y = rounded(x - lse[:, None])
    yield Case("nll_loss_forward", name, {"x": log_y, **common}, rest | {"mean": mean})
    common["normaliser"] = np.array([of_target.sum() if mean else 1.0])
    for reduction, length in (("reduced", 1), ("each", m)) if m != 1 else (("reduced", 1),):
        if reduction == "each":
            common["normaliser"] = np.ones(1)
        dy = draw.normal(length)
        yield Case("cross_entropy_backward", f"{name} {reduction}", {"dy": dy, "x": x, "lse": rounded(lse), **common},
                   rest | {"label_smoothing": smoothing})  # fmt: skip
        yield Case("nll_loss_backward", f"{name} {reduction}", {"dy": dy, **common}, rest | {"classes": c})


def _batch_norm() -> Iterator[Case]:
    sizes = [(2, 1), (3, 3), (9, 15), (7, 16), (9, 17), (2, 31), (33, 33), (5000, 8), (40000, 1), (40, 1000)]
    for m, c in sizes:
        yield from _norm(f"{m}x{c}", m, c)
    yield from _norm("300x4096", 300, 4096, large=True)
    for m, c in ((33, 17), (5000, 8), (40000, 1)):
        yield from _norm(f"{m}x{c} mean 1e4", m, c, offset=1e4)
    yield from _norm("33x17 plain", 33, 17, weight=False, bias=False, running=False)
    yield from _norm("33x17 no bias", 33, 17, bias=False)
    yield from _norm("33x17 no weight", 33, 17, weight=False, eps=1e-3, momentum=1.0)
    yield from _norm("33x17 constant", 33, 17, spread=0.0, momentum=0.0)
    yield from _norm("33x17 narrow", 33, 17, offset=3.0, spread=1e-3)


def _norm(
    name: str,
    m: int,
    c: int,
    offset: float = 0.0,
    spread: float = 1.0,
    weight: bool = True,
    bias: bool = True,
    running: bool = True,
    eps: float = 1e-5,
    momentum: float = 0.1,
    large: bool = False,
) -> Iterator[Case]:
    draw = Draw("batch_norm", name)
    x = rounded(offset + spread * draw.positive(c) * draw.normal(m, c) + draw.normal(c))
    dy = draw.normal(m, c)
    w, b = draw.normal(c if weight else 0), draw.normal(c if bias else 0)
    mean, var = rounded(x.mean(axis=0)), rounded(x.var(axis=0))
    seen = {"running_mean": rounded(mean + draw.normal(c)), "running_var": rounded(draw.positive(c) * (var + 0.01))}
    kept = seen if running else {key: np.zeros(0) for key in seen}
    yield Case("batch_norm_forward", name, {"x": x, "w": w, "b": b, "momentum": np.array([momentum]), **kept},
               {"eps": eps}, large)  # fmt: skip
    yield Case("batch_norm_inference", name, {"x": x, "w": w, "b": b, **seen}, {"eps": eps}, large)
    invstd = rounded(1.0 / np.sqrt(var + eps))
    yield Case("batch_norm_backward", name, {"dy": dy, "x": x, "w": w, "mean": mean, "invstd": invstd}, {}, large)
    yield Case("batch_norm_inference_backward", name, {"dy": dy, "x": x, "w": w, **seen}, {"eps": eps}, large)


# ---------------------------------------------------------------- optimizers

# operation: its state, its attributes with PyTorch's defaults, what variants change
OPTIMIZERS: dict[str, tuple[tuple[str, ...], dict[str, Any], dict[str, dict[str, Any]]]] = {
    "sgd_step": (
        (),
        {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": 0, "maximize": 0},
        {
            "momentum": {"momentum": 0.9},
            "dampening": {"momentum": 0.9, "dampening": 0.3},
            "decay": {"weight_decay": 0.01},
            "nesterov": {"momentum": 0.9, "nesterov": 1, "weight_decay": 0.01},
            "maximize": {"maximize": 1},
            "maximize all": {"momentum": 0.8, "dampening": 0.1, "weight_decay": 0.1, "maximize": 1},
        },
    ),
    "adam_step": (
        ("exp_avg", "exp_avg_sq"),
        {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "maximize": 0},
        {
            "decay": {"weight_decay": 0.1},
            "maximize": {"maximize": 1, "weight_decay": 0.1},
            "betas": {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3},
        },
    ),
    "adamw_step": (
        ("exp_avg", "exp_avg_sq"),
        {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01, "maximize": 0},
        {
            "no decay": {"weight_decay": 0.0},
            "maximize": {"maximize": 1},
            "betas": {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.1},
        },
    ),
    "adagrad_step": (
        ("sum",),
        {"lr_decay": 0.0, "eps": 1e-10, "weight_decay": 0.0, "maximize": 0},
        {"rate decay": {"lr_decay": 0.1}, "decay": {"weight_decay": 0.1, "eps": 1e-2}, "maximize": {"maximize": 1}},
    ),
    "rmsprop_step": (
        ("square_avg",),
        {"alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "maximize": 0},
        {
            "momentum": {"momentum": 0.9},
            "centered": {"centered": True},
            "decay": {"weight_decay": 0.1, "eps": 1e-2},
            "centered momentum": {"centered": True, "momentum": 0.5, "alpha": 0.9},
            "maximize": {"maximize": 1},
        },
    ),
    "adadelta_step": (
        ("square_avg", "acc_delta"),
        {"rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "maximize": 0},
        {"decay": {"weight_decay": 0.1}, "rho": {"rho": 0.5, "eps": 1e-2}, "maximize": {"maximize": 1}},
    ),
}


def _optimizers() -> Iterator[Case]:
    for op, (state, defaults, variants) in OPTIMIZERS.items():
        for title in SHAPES:
            yield _step(op, f"{title} step 5", SHAPES[title], 5, state, defaults)
        for title, changes in variants.items():
            for step in (1, 5):
                yield _step(op, f"33 {title} step {step}", (33,), step, state, defaults | changes)
        first = next(iter(variants))
        yield _step(op, f"blocks {first} step 2", SHAPES["blocks"], 2, state, defaults | variants[first])
        yield _step(op, "33 step 1", (33,), 1, state, defaults)
        yield _step(op, "33 step 100000", (33,), 100_000, state, defaults)


def _gradients() -> Iterator[Case]:
    for count in (0, 1, 3, 16, 62):
        for title, max_norm in (("clipped", 0.5), ("kept", 1e3)):
            draw = Draw("gradient_norm", f"{count} {title}")
            yield Case("gradient_norm", f"{count} {title}", {"squares": draw.positive(count)}, {"max_norm": max_norm})
        for losses in (0, 1, 17):
            draw = Draw("finite", f"{count} {losses}")
            values = {"squares": draw.positive(count), "losses": draw.normal(losses)}
            yield Case("finite", f"{count} squares {losses} losses", values, {})


def _step(
    op: str, name: str, shape: tuple[int, ...], step: int, state: tuple[str, ...], attributes: dict[str, Any]
) -> Case:
    draw, size = Draw(op, name), math.prod(shape)
    values = {
        "g": draw.normal(*shape),
        "lr": np.array([0.03]),
        "step": np.array([step], np.int64),
        "p": draw.normal(*shape),
    }
    for key in state:
        first = draw.normal(*shape)  # first moments have either sign, the others none
        values[key] = (first if key == "exp_avg" else np.abs(first)) * float(step > 1)
    centered = attributes.get("centered", False)
    if op in ("sgd_step", "rmsprop_step"):
        values["momentum_buffer"] = draw.normal(size if attributes["momentum"] else 0) * float(step > 1)
    if op == "rmsprop_step":
        values["grad_avg"] = draw.normal(size if centered else 0) * float(step > 1)
        if centered:  # a mean of squares is never below the square of the mean
            values["square_avg"] = rounded(values["square_avg"] + 1.1 * values["grad_avg"].reshape(shape) ** 2)
    return Case(op, name, values, {key: value for key, value in attributes.items() if key != "centered"})
