"""Results beyond the caches: what is written around them has the bits of what is written through them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nnfast.kernels import OPS
from nnfast.kernels.binding import ALIGNMENT
from nnfast.kernels.fused import RELU, RELU6
from nnfast.kernels.launch import bind, run
from nnfast.kernels.numba_jit.memory import STREAMED
from nnfast.kernels.operation import DTYPES

ROWS, CLASSES = 4101, 1024  # the last task has fewer rows
SMALL, LARGE = (17, 31, 33, 64), (17, 62, 66, 64)  # batches of images
WINDOW = {"stride": (2, 2), "padding": (0, 0)}
Arrays = dict[str, np.ndarray]


def _drawn(*shape: int) -> np.ndarray:
    return -np.random.default_rng(len(shape)).random(shape, np.float32)


def _rows(*names: str) -> Callable[[], Arrays]:
    return lambda: {name: _drawn(ROWS, CLASSES) for name in names}


def _images(**shapes: tuple[int, ...]) -> Callable[[], Arrays]:
    return lambda: {name: _drawn(*shape) for name, shape in shapes.items()}


def _normed(*images: str, **rest: int) -> Callable[[], Arrays]:
    """Arrays of a batch norm over 64 channels: large ones, and others with so many numbers."""
    pixels = math.prod(LARGE[:3])
    few = {"w": 64} | rest
    return lambda: {name: _drawn(pixels, 64) for name in images} | {name: -_drawn(size) for name, size in few.items()}


def _affine(*images: str, **rest: int) -> Callable[[], Arrays]:
    """Arrays over 64 channels: large ones, and positive ones with so many numbers, so that no activation gives 0."""
    pixels = math.prod(LARGE[:3])
    return lambda: {name: _drawn(pixels, 64) for name in images} | {name: -_drawn(size) for name, size in rest.items()}


def _dropped() -> Arrays:
    return {"x": _drawn(ROWS, CLASSES), "seed": np.array([1, 2], np.uint64)}


def _losses() -> Arrays:
    target = np.random.default_rng(0).integers(0, CLASSES, ROWS)
    lse, normaliser = np.full(ROWS, 8.0, np.float32), np.ones(1)
    return {"dy": _drawn(ROWS), "x": _drawn(ROWS, CLASSES), "target": target, "weight": _drawn(CLASSES), "lse": lse,
            "normaliser": normaliser}  # fmt: skip


def _winners() -> Arrays:
    return {"dy": _drawn(*SMALL), "argmax": np.random.default_rng(0).integers(0, 4, SMALL, np.uint8)}


ONE_BY_ONE = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "activation": 1}
CASES: dict[str, tuple[Callable[[], Arrays], dict[str, Any]]] = {
    "relu_forward": (_rows("x"), {}),
    "relu_backward": (_rows("dy", "y"), {}),
    "tanh_forward": (_rows("x"), {}),
    "add": (_rows("a", "b"), {"alpha": 0.5}),
    "dropout": (_dropped, {"p": 0.5}),
    "softmax_forward": (_rows("x"), {}),
    "softmax_backward": (_rows("dy", "y"), {}),
    "log_softmax_forward": (_rows("x"), {}),
    "log_softmax_backward": (_rows("dy", "y"), {}),
    "cross_entropy_backward": (_losses, {"ignore_index": 3, "label_smoothing": 0.1}),
    "batch_norm_inference": (_normed("x", b=64, running_mean=64, running_var=64), {"eps": 2.0}),
    "batch_norm_backward": (_normed("dy", "x", mean=64, invstd=64), {}),
    "batch_norm_inference_backward": (_normed("dy", "x", running_mean=64, running_var=64), {"eps": 2.0}),
    "affine_forward": (
        _affine("x", "r", scale=64, shift=64, r_scale=64, r_shift=64), {"activation": RELU6}),
    "affine_backward": (
        _affine("dy", "dy2", "z", "r", y=0, scale=64, shift=64, centre=64, r_centre=64), {"activation": RELU}),
    "affine_gradient": (_affine("dy", "z", slope=64, factor=64, offset=64), {}),
    "max_pool2d_forward": (
        _images(x=(17, 124, 132, 64)), {"kernel_size": (2, 2), **WINDOW, "dilation": (1, 1), "ceil_mode": 0}),
    "max_pool2d_backward": (
        _winners, {"kernel_size": (2, 2), **WINDOW, "dilation": (1, 1), "size": LARGE[1:3]}),
    "scale_by": (lambda: {"x": _drawn(ROWS, CLASSES), "factor": _drawn(1)}, {}),
    "clamp": (_rows("x"), {"low": -0.5, "high": -0.25}),
    "fused_max_pool2d_forward": (
        _images(x=(17, 124, 132, 64), scale=(64,), shift=(64,)),
        {"activation": RELU, "kernel_size": (2, 2), **WINDOW, "dilation": (1, 1), "ceil_mode": 0}),
    "fused_max_pool2d_backward": (
        lambda: _winners() | {"y": -_drawn(*SMALL) - 0.5, "x": _drawn(*LARGE), "centre": _drawn(64)},
        {"activation": RELU, "kernel_size": (2, 2), **WINDOW, "dilation": (1, 1), "size": LARGE[1:3]}),
    "avg_pool2d_forward": (
        _images(x=(17, 124, 132, 64)), {"kernel_size": (2, 2), **WINDOW, "ceil_mode": 0, "count_include_pad": 1}),
    "avg_pool2d_backward": (
        _images(dy=SMALL), {"kernel_size": (2, 2), **WINDOW, "size": LARGE[1:3], "count_include_pad": 1}),
    "fused_conv2d_forward": (
        _images(x=(*LARGE[:3], 3), w=(64, 1, 1, 3), b=(64,), scale=(3,), shift=(3,), centre=(64,)), ONE_BY_ONE),
    "fused_conv2d_backward_data": (
        _images(dy=(*LARGE[:3], 3), z=(*LARGE[:3], 3), w=(3, 1, 1, 64), slope=(3,), factor=(3,), offset=(3,), x=LARGE,
                scale=(64,), shift=(64,), centre=(64,)), {"size": LARGE[1:3], **ONE_BY_ONE}),
    "adaptive_avg_pool2d_forward": (_images(x=LARGE), {"output_size": (62, 65)}),
    "adaptive_avg_pool2d_backward": (_images(dy=SMALL), {"size": LARGE[1:3]}),
}  # fmt: skip


@pytest.mark.parametrize("op", CASES)
def test_large_results_have_the_same_bits_wherever_they_begin(op: str) -> None:
    arrays, attributes = CASES[op][0](), CASES[op][1]
    assert arrays.keys() == {array.name for array in OPS[op].inputs}
    results = []
    for offset in (0, 1):  # only memory that begins at a cache line is written around the caches
        outputs, kept = {}, []
        for array, shape in bind(op, arrays, attributes).outputs:
            dtype, size = np.dtype(DTYPES[array.dtype]), math.prod(shape)
            memory = np.full(size * dtype.itemsize + 3 * ALIGNMENT, 0xAB, np.uint8)
            start = -memory.ctypes.data % ALIGNMENT + ALIGNMENT + offset * dtype.itemsize
            stop = start + size * dtype.itemsize
            outputs[array.name] = memory[start:stop].view(dtype).reshape(shape)
            kept += [memory[:start], memory[stop:]]
        run(op, arrays, attributes, outputs, "numba")
        assert all((memory == 0xAB).all() for memory in kept)
        results.append(outputs)
    assert results[0][OPS[op].outputs[0].name].size >= STREAMED
    for name, value in results[0].items():
        np.testing.assert_array_equal(value.view(np.uint8), results[1][name].view(np.uint8))
        assert np.isfinite(value).all()
