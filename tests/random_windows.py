"""Draws convolutions and poolings for `random_cases.py`, and the sizes that everything is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from nnfast.kernels import cases as table
from nnfast.kernels import cases_pool, winograd
from nnfast.kernels.cases import Draw
from nnfast.kernels.launch import run
from nnfast.kernels.operation import Operation
from nnfast.kernels.ops import BLOCK, OPS
from nnfast.kernels.pooling import pooled

Numbers = tuple[int, ...]
Drawn = tuple[dict[str, np.ndarray], dict[str, Any]]
Rng = np.random.Generator
PRODUCTS = {False: 2_000_000, True: 20_000_000}
"""The most products of a convolution or matrix product, by whether it is one of the few large ones."""


def one_of(rng: Rng, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def near(rng: Rng, multiple: int, most: int = 3) -> int:
    """A multiple of a number, or one beside it."""
    return max(1, int(multiple * rng.integers(1, most + 1) + rng.integers(-1, 2)))


def channels(rng: Rng, large: bool = False) -> int:
    """A number of channels around the lane counts and panels."""
    return one_of(rng, int(rng.integers(1, 18)), near(rng, one_of(rng, 8, 16, 32, 64 if large else 16)))


def rows(rng: Rng) -> tuple[int, int]:
    """(rows, classes or channels) of a matrix, sometimes of more than one block."""
    while True:
        m = one_of(rng, int(rng.integers(0, 40)), near(rng, 16), int(rng.integers(1, 5000)))
        c = one_of(rng, channels(rng), channels(rng, True), int(rng.integers(1, 3000)))
        if m * c <= 3 * BLOCK:
            return m, c


def pair(rng: Rng, low: int, high: int) -> tuple[int, int]:
    first, second = (int(rng.integers(low, high + 1)) for _ in range(2))
    return (first, first) if rng.random() < 0.5 else (first, second)


# ---------------------------------------------------------------- convolution


def _groups(rng: Rng, algorithm: str, large: bool) -> tuple[int, int, int]:
    """(channels, output channels, groups)."""
    kind = {"depthwise": "depthwise", "panels": "one", "narrow": "narrow"}.get(algorithm)
    kind = "one" if algorithm in winograd.FORMS else kind
    kind = kind or one_of(rng, "one", "one", "groups", "depthwise", "multiplier")
    if kind == "narrow":
        return int(rng.integers(1, 12)), int(rng.integers(1, 18)), 1
    if kind == "one":
        return channels(rng, large or algorithm == "wide_winograd"), channels(rng, True), 1
    if kind == "groups":
        groups = int(rng.integers(2, 5))
        return groups * channels(rng), groups * channels(rng), groups
    c = max(2, channels(rng, large))
    return c, c * (1 if kind == "depthwise" else int(rng.integers(2, 4))), c


def _geometry(rng: Rng, op: str, algorithm: str) -> table._Window | None:
    """A convolution that may suit the algorithm; None if its image is smaller than its kernel or too much work."""
    large = rng.random() < 0.25
    c, k, groups = _groups(rng, algorithm, large)
    three = algorithm in winograd.FORMS
    kernel = (3, 3) if three else pair(rng, 1, 7)
    stride, dilation = ((1, 1), (1, 1)) if three else (pair(rng, 1, 3), pair(rng, 1, 3))
    padding = pair(rng, 0, 3)
    if algorithm == "panels" and op != "conv2d_backward_weight":
        kernel, padding = (1, 1), (0, 0)
        stride = (1, 1) if op == "conv2d_backward_data" else stride
    if algorithm == "narrow":
        kernel, dilation = (kernel[0], one_of(rng, 3, 5)), (dilation[0], 1)
        stride = (1 if op == "conv2d_backward_data" else stride[0], 1)
    hw = (int(rng.integers(1, 40)), int(rng.integers(1, 70))) if large else pair(rng, 1, 14)
    n = 0 if rng.random() < 0.02 else int(rng.integers(1, 4))
    window = table._Window(
        n, hw, c, k, kernel, stride, padding, dilation, groups, bias=bool(rng.integers(2)), large=large
    )
    oh, ow = window.out
    products = n * oh * ow * k * kernel[0] * kernel[1] * c // groups
    return window if min(oh, ow) > 0 and products <= PRODUCTS[large] else None


def convolution(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn | None:
    g = _geometry(rng, op.name, algorithm)
    if g is None:
        return None
    x, dy = values.normal(g.n, *g.hw, g.c), values.normal(g.n, *g.out, g.k)
    w, b = values.normal(g.k, *g.kernel, g.c // g.groups), values.normal(g.k if g.bias else 0)
    window = g.attributes | {"groups": g.groups}
    if op.name.endswith("forward"):
        return {"x": x, "w": w, "b": b}, window
    if op.name.endswith("backward_data"):
        return {"dy": dy, "w": w}, window | {"size": g.hw}
    return {"x": x, "dy": dy}, window | {"kernel_size": g.kernel}


def _eighths(rng: Rng, *shape: int) -> np.ndarray:
    """Numbers whose products with powers of two, and sums, are exact: no rounding moves them across a kink."""
    return np.round(8.0 * rng.standard_normal(shape)) / 8.0


def fused(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn | None:
    """Every combination of what may be absent: scale and shift, gradient composition, mask, centre."""
    drawn = convolution(rng, values, op, algorithm)
    if drawn is None:
        return None
    arrays, attributes = drawn
    load, gradient, sums = (bool(rng.integers(2)) for _ in range(3))
    activation = int(rng.integers(3))
    forward, data = op.name.endswith("forward"), op.name.endswith("backward_data")
    k = (arrays["w"] if "w" in arrays else arrays["dy"].T).shape[0]
    c = arrays["w"].shape[3] * attributes["groups"] if "w" in arrays else arrays["x"].shape[3]
    if data:
        needed = activation or sums
        arrays["x"] = _eighths(rng, len(arrays["dy"]), *attributes["size"], c) if needed else np.zeros(0)
        load = load and bool(activation)
    else:
        arrays["x"] = _eighths(rng, *arrays["x"].shape)
    arrays["scale"] = rng.choice([-2.0, -0.5, 0.5, 1.0, 2.0], c if load else 0)
    arrays["shift"] = _eighths(rng, c if load else 0)
    if not forward:
        arrays["z"] = values.normal(*arrays["dy"].shape) if gradient else np.zeros(0)
        arrays |= {name: values.normal(k if gradient else 0) for name in ("slope", "factor", "offset")}
    if forward or data:
        arrays["centre"] = values.normal((k if forward else c) if sums else 0)
    return arrays, attributes | {"activation": activation}


def columns(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn | None:
    g = _geometry(rng, "im2col", "im2col")
    if g is None or g.groups > 1:
        return None
    if op.name == "im2col":
        return {"x": values.normal(g.n, *g.hw, g.c)}, g.attributes | {"kernel_size": g.kernel}
    return {"columns": values.normal(g.n, *g.out, *g.kernel, g.c)}, g.attributes | {"size": g.hw}


# ---------------------------------------------------------------- pooling


def pool(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn | None:
    kernel, stride, hw, c = pair(rng, 1, 7), pair(rng, 1, 3), pair(rng, 1, 14), channels(rng, rng.random() < 0.1)
    beside = rng.random() < 0.3  # windows side by side
    if beside:
        stride = kernel = one_of(rng, (2, 2), kernel)
        hw = (hw[0], one_of(rng, hw[1], near(rng, 128 * kernel[1], 2)))
    maximum, ceil_mode, n = op.name.startswith("max"), int(rng.integers(2)), int(rng.integers(0, 4))
    dilation = pair(rng, 1, 3) if maximum and not beside else (1, 1)
    padding = tuple(0 if beside else int(rng.integers(0, min(3, length // 2) + 1)) for length in kernel)
    geometry = list(zip(hw, kernel, stride, padding, dilation, strict=True))
    out = [pooled(*item, ceil_mode) for item in geometry]
    if min(out) < 1 or not all(map(_every_window_meets_the_image, geometry, out)):
        return None
    window: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "padding": padding}
    window |= {"dilation": dilation} if maximum else {"count_include_pad": int(rng.integers(2))}
    x = values.normal(n, *hw, c)
    if op.name.endswith("forward"):
        return {"x": np.round(x) if maximum and rng.integers(2) else x}, window | {"ceil_mode": ceil_mode}
    arrays = {"dy": values.normal(n, *out, c)}
    if maximum:
        forward = run("max_pool2d_forward", {"x": x}, window | {"ceil_mode": ceil_mode}, backend="reference")
        arrays["argmax"] = forward["argmax"]
    return arrays, window | {"size": hw}


def fused_pool(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn | None:
    """Every combination of what may be absent; windows often side by side, for which there are loops of their own."""
    drawn = pool(rng, values, OPS[op.name.removeprefix("fused_")], algorithm)
    if drawn is None:
        return None
    arrays, attributes = drawn
    activation, load, images, sums = int(rng.integers(3)), *(bool(rng.integers(2)) for _ in range(3))
    attributes |= {"activation": activation}
    if op.name.endswith("forward"):
        n, *hw, c = arrays["x"].shape
        found, loaded = cases_pool.fused_images(values, n, (hw[0], hw[1]), c, activation, load)
        return {"x": found, **loaded}, attributes
    n, _, _, c = arrays["dy"].shape
    arrays["y"] = cases_pool.pooled_output(values, activation, arrays["dy"].shape)
    arrays["x"] = values.normal(n, *attributes["size"], c) if images else np.zeros(0)
    return arrays | {"centre": values.normal(c if sums else 0)}, attributes


def _every_window_meets_the_image(geometry: Numbers, out: int) -> bool:
    size, kernel, stride, padding, dilation = geometry
    return all(any(0 <= o * stride - padding + r * dilation < size for r in range(kernel)) for o in range(out))


def adaptive_pool(rng: Rng, values: Draw, op: Operation, algorithm: str) -> Drawn:
    n, hw, c, out = int(rng.integers(0, 4)), pair(rng, 1, 12), channels(rng, rng.random() < 0.1), pair(rng, 1, 12)
    if op.name.endswith("forward"):
        return {"x": values.normal(n, *hw, c)}, {"output_size": out}
    return {"dy": values.normal(n, *out, c)}, {"size": hw}
