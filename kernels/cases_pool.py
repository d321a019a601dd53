"""Cases of pooling, plain and fused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .case import Case, Draw, Pair, rounded
from .fused import NO_ACTIVATION, RELU, RELU6
from .pooling import pooled

# name: n, hw, c, kernel, stride, padding, dilation, ceil_mode
POOLS: dict[str, tuple[int, Pair, int, Pair, Pair, Pair, Pair, int]] = {
    "one of everything": (1, (1, 1), 1, (1, 1), (1, 1), (0, 0), (1, 1), 0),
    "2x2": (2, (6, 4), 16, (2, 2), (2, 2), (0, 0), (1, 1), 0),
    "2x2 does not divide": (2, (7, 5), 3, (2, 2), (2, 2), (0, 0), (1, 1), 0),
    "2x2 ceil": (1, (7, 5), 17, (2, 2), (2, 2), (0, 0), (1, 1), 1),
    "3x3 stride 2 padding 1": (2, (8, 7), 15, (3, 3), (2, 2), (1, 1), (1, 1), 0),
    "3x3 stride 2 padding 1 ceil": (1, (8, 7), 33, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    "3x3 stride 1": (1, (5, 6), 31, (3, 3), (1, 1), (1, 1), (1, 1), 0),
    "2x3 stride 3x2 ceil": (1, (8, 6), 4, (2, 3), (3, 2), (1, 1), (1, 1), 1),
    "kernel as large as the input": (3, (5, 4), 17, (5, 4), (1, 1), (0, 0), (1, 1), 0),
    "stride larger than kernel": (1, (9, 8), 5, (2, 2), (4, 3), (0, 0), (1, 1), 0),
    "ceil drops a window in the padding": (1, (4, 4), 3, (2, 2), (3, 3), (1, 1), (1, 1), 1),
    "1x1 stride 2": (1, (5, 5), 16, (1, 1), (2, 2), (0, 0), (1, 1), 0),
    "many rows": (5, (13, 4), 2, (3, 2), (2, 1), (1, 1), (1, 1), 0),
    "no images": (0, (4, 4), 3, (2, 2), (2, 2), (0, 0), (1, 1), 0),
    "2x2 of many channels": (2, (6, 4), 80, (2, 2), (2, 2), (0, 0), (1, 1), 0),
    "2x2 of 64 channels": (1, (5, 7), 64, (2, 2), (2, 2), (0, 0), (1, 1), 0),
    "3x3 stride 2 of many channels": (2, (8, 7), 81, (3, 3), (2, 2), (1, 1), (1, 1), 0),
    "5x4 side by side, many channels": (2, (10, 8), 145, (5, 4), (5, 4), (0, 0), (1, 1), 0),
}
DILATED_POOLS = {
    "dilation 2": (1, (7, 8), 16, (3, 3), (1, 1), (1, 1), (2, 2), 0),
    "dilation 2x3 stride 2 ceil": (2, (9, 10), 3, (2, 3), (2, 2), (0, 1), (2, 3), 1),
}


def _valid_tap(draw: Draw, size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> np.ndarray:
    """For every output position a random tap of its window that lies inside the input."""
    taps = [[r for r in range(kernel) if 0 <= o * stride - padding + r * dilation < size] for o in range(out)]
    return np.array([draw.rng.choice(inside) for inside in taps], int)


def _valid_taps(
    draw: Draw, n: int, hw: Pair, c: int, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: int
) -> np.ndarray:
    """Winners for every window: taps inside the image, the same ones in every channel."""
    rows, columns = (
        _valid_tap(draw, item[0], pooled(*item, ceil_mode), *item[1:])
        for item in zip(hw, kernel, stride, padding, dilation, strict=True)
    )
    taps = (rows[:, None] * kernel[1] + columns)[None, :, :, None]
    return np.broadcast_to(taps, (n, len(rows), len(columns), c)).astype(np.uint8)


def _max_pool() -> Iterator[Case]:
    for name, (n, hw, c, kernel, stride, padding, dilation, ceil_mode) in (POOLS | DILATED_POOLS).items():
        draw = Draw("max_pool2d", name)
        window = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        x = draw.normal(n, *hw, c)
        yield Case("max_pool2d_forward", name, {"x": x}, window | {"ceil_mode": ceil_mode})
        # Few different values: most windows hold their maximum several times, and the first one must win.
        yield Case("max_pool2d_forward", name + " ties", {"x": np.round(x)}, window | {"ceil_mode": ceil_mode})
        yield Case("max_pool2d_forward", name + " negative", {"x": -np.abs(x) - 1}, window | {"ceil_mode": ceil_mode})
        argmax = _valid_taps(draw, n, hw, c, kernel, stride, padding, dilation, ceil_mode)
        yield Case("max_pool2d_backward", name, {"dy": draw.normal(*argmax.shape), "argmax": argmax},
                   {"size": hw} | window)  # fmt: skip


def _avg_pool() -> Iterator[Case]:
    for name, (n, hw, c, kernel, stride, padding, _, ceil_mode) in POOLS.items():
        for include in (0, 1):
            draw = Draw("avg_pool2d", name)
            out = [pooled(*item, 1, ceil_mode) for item in zip(hw, kernel, stride, padding, strict=True)]
            window = {"kernel_size": kernel, "stride": stride, "padding": padding}
            title = f"{name} {'with' if include else 'without'} padding"
            yield Case("avg_pool2d_forward", title, {"x": draw.normal(n, *hw, c)},
                       window | {"ceil_mode": ceil_mode, "count_include_pad": include})  # fmt: skip
            yield Case("avg_pool2d_backward", title, {"dy": draw.normal(n, *out, c)},
                       {"size": hw} | window | {"count_include_pad": include})  # fmt: skip


def _adaptive_pool() -> Iterator[Case]:
    for n, hw, c, out in (
        (1, (1, 1), 1, (1, 1)),
        (2, (7, 5), 17, (1, 1)),
        (1, (6, 4), 16, (3, 2)),
        (2, (7, 5), 3, (3, 2)),
        (1, (5, 9), 15, (4, 7)),
        (1, (3, 2), 33, (5, 4)),
        (1, (6, 6), 31, (6, 6)),
        (5, (13, 2), 2, (4, 1)),
        (2, (7, 5), 145, (1, 1)),
        (1, (10, 12), 80, (2, 2)),
        (0, (4, 4), 3, (2, 2)),
    ):
        name = "{}x{}x{}x{} to {}x{}".format(n, *hw, c, *out)
        draw = Draw("adaptive_avg_pool2d", name)
        yield Case("adaptive_avg_pool2d_forward", name, {"x": draw.normal(n, *hw, c)}, {"output_size": out})
        yield Case("adaptive_avg_pool2d_backward", name, {"dy": draw.normal(n, *out, c)}, {"size": hw})


# ---------------------------------------------------------------- fused

LOAD, IMAGES, SUM = "load", "images", "sum"
"""What a case fuses, besides the activation: scale and shift, the images that sums of products need, sums."""
ALL = frozenset({LOAD, IMAGES, SUM})
WIDE_POOLS = {
    "2x2 of 144 channels": (1, (4, 10), 144, (2, 2), (2, 2), (0, 0), (1, 1), 0),
    "2x2 in wide rows": (1, (4, 262), 64, (2, 2), (2, 2), (0, 0), (1, 1), 0),
    "3x3 stride 2 padding 1 in wide rows": (1, (3, 300), 17, (3, 3), (2, 2), (1, 1), (1, 1), 0),
}
VARIANTS: dict[str, tuple[int, frozenset[str]]] = {
    "relu": (RELU, ALL),
    "relu6": (RELU6, ALL),
    "no activation": (NO_ACTIVATION, ALL),
    "nothing fused": (NO_ACTIVATION, frozenset()),
    "relu alone": (RELU, frozenset()),
    "relu6 without images": (RELU6, frozenset({SUM})),
}
VARIED = ("2x2 of many channels", "2x2 does not divide", "3x3 stride 2 padding 1", "3x3 stride 2 of many channels")
"""Pools of which there are all variants; of the others there is the first one."""


def eighths(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Numbers whose products with powers of two, and sums, are exact: rounding makes and breaks no ties."""
    return np.round(8.0 * rng.standard_normal(shape)) / 8.0


def fused_images(
    draw: Draw, n: int, hw: Pair, c: int, activation: int, scaled: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images, and their scale and shift: some numbers are below 0, some above 6 for ReLU6."""
    spread = 4.0 if activation == RELU6 else 1.0
    x = eighths(draw.rng, n, *hw, c)
    if not scaled:
        return spread * x, {"scale": np.zeros(0), "shift": np.zeros(0)}
    return x, {"scale": spread * draw.rng.choice([-2.0, -1.0, 0.5, 1.0], c), "shift": eighths(draw.rng, c)}


def pooled_output(draw: Draw, activation: int, shape: tuple[int, ...]) -> np.ndarray:
    """What an activation may have left, its limits not seldom; absent without one."""
    if activation == NO_ACTIVATION:
        return np.zeros(0)
    return rounded(np.clip(4.0 * draw.normal(*shape), 0.0, 6.0 if activation == RELU6 else np.inf))


def _fused_pool() -> Iterator[Case]:
    for pool, geometry in (POOLS | DILATED_POOLS | WIDE_POOLS).items():
        for title in VARIANTS if pool in VARIED else ("relu",):
            yield from _fused(f"{pool} {title}", *geometry, *VARIANTS[title])


def _fused(
    name: str, n: int, hw: Pair, c: int, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: int,
    activation: int, fused: frozenset[str],
) -> Iterator[Case]:  # fmt: skip
    draw = Draw("fused_max_pool2d", name)
    window = {"activation": activation, "kernel_size": kernel, "stride": stride, "padding": padding,
              "dilation": dilation}  # fmt: skip
    x, load = fused_images(draw, n, hw, c, activation, LOAD in fused)
    yield Case("fused_max_pool2d_forward", name, {"x": x, **load}, window | {"ceil_mode": ceil_mode})
    each = [_valid_taps(draw, n, hw, 1, kernel, stride, padding, dilation, ceil_mode) for _ in range(c)]
    argmax = np.concatenate(each, axis=3)
    values = {
        "dy": draw.normal(*argmax.shape),
        "argmax": argmax,
        "y": pooled_output(draw, activation, argmax.shape),
        "x": draw.normal(n, *hw, c) if IMAGES in fused else np.zeros(0),
        "centre": draw.normal(c if SUM in fused else 0),
    }
    yield Case("fused_max_pool2d_backward", name, values, {"size": hw} | window)


def pooling() -> Iterator[Case]:
    """Every case of pooling."""
    for group in (_max_pool, _avg_pool, _adaptive_pool, _fused_pool):
        yield from group()
