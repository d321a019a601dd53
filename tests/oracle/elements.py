"""Operations on each element alone, dropout's random numbers, and strided copies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]
WORD = 2**32


def each(function: Callable[..., float], *arrays: np.ndarray) -> np.ndarray:
    """`function` of every element of equally shaped arrays."""
    flat = [array.ravel().tolist() for array in arrays]
    return np.array([function(*values) for values in zip(*flat, strict=True)], float).reshape(arrays[0].shape)


def exponential(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exponential(-x))


def relu_forward(x) -> Arrays:
    return {"y": each(lambda v: 0.0 if v <= 0.0 else v, x)}


def relu_backward(dy, y) -> Arrays:
    return {"dx": each(lambda g, v: 0.0 if v <= 0.0 else g, dy, y)}


def relu6_forward(x) -> Arrays:
    return {"y": each(lambda v: 0.0 if v < 0.0 else 6.0 if v > 6.0 else v, x)}


def relu6_backward(dy, y) -> Arrays:
    return {"dx": each(lambda g, v: g if 0.0 < v < 6.0 else 0.0, dy, y)}


def leaky_relu_forward(x, negative_slope) -> Arrays:
    return {"y": each(lambda v: v if v > 0.0 else negative_slope * v, x)}


def leaky_relu_backward(dy, x, negative_slope) -> Arrays:
    return {"dx": each(lambda g, v: g if v > 0.0 else negative_slope * g, dy, x)}


def sigmoid_forward(x) -> Arrays:
    return {"y": each(sigmoid, x)}


def sigmoid_backward(dy, y) -> Arrays:
    return {"dx": each(lambda g, v: g * v * (1.0 - v), dy, y)}


def tanh_forward(x) -> Arrays:
    return {"y": each(math.tanh, x)}


def tanh_backward(dy, y) -> Arrays:
    return {"dx": each(lambda g, v: g * (1.0 - v) * (1.0 + v), dy, y)}


def add(a, b, alpha) -> Arrays:
    return {"y": each(lambda u, v: u + alpha * v, a, b)}


def mul(a, b) -> Arrays:
    return {"y": each(lambda u, v: u * v, a, b)}


def div(a, b) -> Arrays:
    return {"y": each(lambda u, v: u / v, a, b)}


def scale(x, alpha, beta) -> Arrays:
    return {"y": each(lambda v: alpha * v + beta, x)}


def scale_by(x, factor) -> Arrays:
    return {"y": each(lambda v: v * float(factor[0]), x)}


def clamp(x, low, high) -> Arrays:
    return {"y": each(lambda v: min(max(v, low), high), x)}


def power(x, exponent) -> Arrays:
    return {"y": each(lambda v: math.pow(v, exponent), x)}


def exp(x) -> Arrays:
    return {"y": each(exponential, x)}


def log(x) -> Arrays:
    return {"y": each(math.log, x)}


def fill(y, value) -> Arrays:
    return {"y": each(lambda _: value, y)}


def increment(step) -> Arrays:
    return {"step": np.array([int(step[0]) + 1], np.int64)}


def copy_strided(x, y, shape, x_strides, y_strides, x_offset, y_offset) -> Arrays:
    copied = y.copy()
    for index in itertools.product(*map(range, shape)):
        source = x_offset + sum(i * stride for i, stride in zip(index, x_strides, strict=True))
        target = y_offset + sum(i * stride for i, stride in zip(index, y_strides, strict=True))
        assert source >= 0
        assert target >= 0
        copied[target] = x[source]
    return {"y": copied}


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10: four random words of 32 bits (J. Salmon et al., "Parallel random numbers", 2011)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second % WORD, (first >> 32) ^ c3 ^ k1, first % WORD
        k0, k1 = (k0 + 0x9E3779B9) % WORD, (k1 + 0xBB67AE85) % WORD
    return c0, c1, c2, c3


def dropout(x, seed, p) -> Arrays:
    key, stream = divmod(int(seed[0]), WORD)[::-1], divmod(int(seed[1]), WORD)[::-1]
    limit = math.floor(p * WORD)
    factor = 1.0 / (1.0 - p) if p < 1.0 else 0.0
    y = np.zeros(x.size)
    for i, value in enumerate(x.ravel().tolist()):
        if i % 4 == 0:
            words = philox(((i // 4) % WORD, (i // 4) // WORD, *stream), key)
        y[i] = 0.0 if words[i % 4] < limit else value * factor
    return {"y": y.reshape(x.shape)}
