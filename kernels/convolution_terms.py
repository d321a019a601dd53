"""The terms of a convolution's rounding errors, for `tolerance.py`: plain, by Winograd's algorithm, and fused.

A sum of products has the sum of their absolute values as its terms. Winograd's algorithm adds other products: those of
transformed tiles, of which large ones cancel in the last transform. Its terms are those of the sums in each of the 36
planes, and the errors of the transformed operands in them. A transform adds up numbers whose errors have random signs,
so that the squares of the errors add up; terms of one sum may be alike, so that their absolute values do. An element's
bound knows what stands in its own tile and nothing of other tiles.

A fused convolution adds the error of what it loads, propagated through the convolution, which is linear; its sums over
pixels may add up the errors of all pixels, for these may share a sign. An activation's derivative jumps: where its
argument is as close to the jump as that argument's own error, either value is right.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from . import winograd
from .fused import NO_ACTIVATION, RELU6
from .reference import conv
from .rounding import CHUNK, ROUNDINGS, grow

Terms = dict[str, np.ndarray]
Call = SimpleNamespace

# ---------------------------------------------------------------- Winograd


def _both(matrix: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    """``matrix @ tile @ matrix.T`` over the last two axes."""
    return matrix @ tiles @ matrix.T


def _tiles(images: np.ndarray, padding: tuple[int, int], count: tuple[int, int], size: int) -> np.ndarray:
    """Square tiles of images, a tile's outputs apart, from `padding` pixels outside on: (tiles, C, size, size)."""
    n, height, width, channels = images.shape
    rows, columns = (winograd.OUTPUT * (number - 1) + size for number in count)
    (top, left), (skip_rows, skip_columns) = ([max(0, sign * p) for p in padding] for sign in (1, -1))
    framed = np.zeros((n, max(rows, top + height), max(columns, left + width), channels))
    framed[:, top : top + height - skip_rows, left : left + width - skip_columns] = images[:, skip_rows:, skip_columns:]
    windows = np.lib.stride_tricks.sliding_window_view(framed[:, :rows, :columns], (size, size), axis=(1, 2))
    apart = windows[:, :: winograd.OUTPUT, :: winograd.OUTPUT]
    return apart.reshape(-1, channels, size, size)


def _count(height: int, width: int) -> tuple[int, int]:
    return -(-height // winograd.OUTPUT), -(-width // winograd.OUTPUT)


def _spread(matrix: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    """The error of ``matrix @ tile @ matrix.T`` for independent errors of each element, given and returned."""
    return np.sqrt(_both(matrix**2, tiles**2))


def _transformed(matrix: np.ndarray, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Absolute values of transformed tiles, and their terms: two arrays of planes (36 in 6 x 6, tiles, C)."""
    values, terms = np.abs(_both(matrix, tiles)), ROUNDINGS * _spread(matrix, tiles)
    return values.transpose(2, 3, 0, 1), terms.transpose(2, 3, 0, 1)


def _products(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Terms of the matrix products of transformed tiles, plane by plane."""
    (a, of_a), (b, of_b) = first, second
    return grow(a.shape[3]) * (a @ b) + of_a @ b + a @ of_b


def _turned(planes: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return planes[0].swapaxes(2, 3), planes[1].swapaxes(2, 3)


def _winograd(images: np.ndarray, w: np.ndarray, padding: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Terms of the images (N, *size, K) that the algorithm computes with the weights (K, 3, 3, C)."""
    down, across = _count(*size)
    inputs = _transformed(winograd.B_TRANSPOSED, _tiles(images, padding, (down, across), winograd.INPUT))
    weights = _transformed(winograd.G, w.transpose(0, 3, 1, 2))
    outputs = _spread(winograd.A_TRANSPOSED, _products(inputs, _turned(weights)).transpose(2, 3, 0, 1))
    n, k, step = len(images), len(w), winograd.OUTPUT
    whole = outputs.reshape(n, down, across, k, step, step).transpose(0, 1, 4, 2, 5, 3)
    return whole.reshape(n, down * step, across * step, k)[:, : size[0], : size[1]]


def _winograd_weight(x: np.ndarray, dy: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    """Terms of the weights' gradient (K, 3, 3, C) that the transposed algorithm computes."""
    count = _count(*dy.shape[1:3])
    inputs = _transformed(winograd.B_TRANSPOSED, _tiles(x, padding, count, winograd.INPUT))
    gradients = _transformed(winograd.A_TRANSPOSED.T, _tiles(dy, (0, 0), count, winograd.OUTPUT))
    products = _products(_turned(gradients), inputs).transpose(2, 3, 0, 1)
    return _spread(winograd.G.T, products).transpose(0, 2, 3, 1)


# ---------------------------------------------------------------- sums of |terms| of the three convolutions


def _forward(call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The convolution of given numbers."""
    s = call.sizes
    y = np.empty((s.N, s.OH, s.OW, s.K))
    conv.conv2d_forward(x, w, b, y, call.stride, call.padding, call.dilation, call.groups)
    return y


def _backward_data(call: Call, dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    s = call.sizes
    dx = np.empty((s.N, s.H, s.W, s.C))
    conv.conv2d_backward_data(dy, w, dx, call.size, call.stride, call.padding, call.dilation, call.groups)
    return dx


def _backward_weight(call: Call, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    s = call.sizes
    dw = np.empty((s.K, s.R, s.S, s.CG))
    conv.conv2d_backward_weight(x, dy, dw, call.kernel_size, call.stride, call.padding, call.dilation, call.groups)
    return dw


def _forward_terms(call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Terms of the convolution's own sums, in units of eps."""
    s = call.sizes
    if call.algorithm in winograd.FORMS:
        terms = _winograd(x, w, call.padding, (s.OH, s.OW))
        return terms + ROUNDINGS * np.abs(b) if len(b) else terms
    return grow(s.R * s.S * s.CG + 1) * _forward(call, np.abs(x), np.abs(w), np.abs(b))


def _backward_data_terms(call: Call, dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    s = call.sizes
    if call.algorithm in winograd.FORMS:
        turned = w[:, ::-1, ::-1].transpose(3, 1, 2, 0)
        outside = s.R - 1 - call.padding[0], s.S - 1 - call.padding[1]
        return _winograd(dy, turned, outside, (s.H, s.W))
    return grow(s.R * s.S * s.KG) * _backward_data(call, np.abs(dy), np.abs(w))


def _backward_weight_terms(call: Call, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    s = call.sizes
    if call.algorithm in winograd.FORMS:
        return _winograd_weight(x, dy, call.padding)
    return grow(s.N * s.OH * s.OW) * _backward_weight(call, np.abs(x), np.abs(dy))


# ---------------------------------------------------------------- plain


def conv2d_forward(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs, as `tolerance.py` wants them."""
    return {"y": _forward_terms(call, a.x, a.w, a.b)}


def conv2d_backward_data(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs."""
    return {"dx": _backward_data_terms(call, a.dy, a.w)}


def conv2d_backward_weight(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs."""
    return {"dw": _backward_weight_terms(call, a.x, a.dy)}


# ---------------------------------------------------------------- fused


def argument(x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``x * scale + shift``, or x where these are absent, and its terms in units of eps."""
    if not len(scale):
        return x, np.zeros(x.shape)
    return x * scale + shift, ROUNDINGS * (np.abs(x * scale) + np.abs(shift))


def _image(call: Call, a: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    """The images that the convolution sees, and their terms."""
    before, terms = argument(a.x, a.scale, a.shift)
    if call.activation == NO_ACTIVATION:
        return before, terms
    return np.clip(before, 0.0, 6.0 if call.activation == RELU6 else np.inf), terms


def _gradient(a: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    """The gradient that the convolution sees, and its terms."""
    if not len(a.slope):
        return a.dy, np.zeros(a.dy.shape)
    parts = a.slope * a.dy, a.factor * a.z, a.offset
    return parts[0] + parts[1] + parts[2], ROUNDINGS * (np.abs(parts[0]) + np.abs(parts[1]) + np.abs(parts[2]))


def summed(call: Call, values: np.ndarray, terms: np.ndarray, weight: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Terms of sums over pixels: of `values`, and of ``values * weight``, whose derivative by them is `change`.

    They are added in the type that is computed in, chunk by chunk, and chunks in double.
    """
    pixels = tuple(range(values.ndim - 1))
    count = math.prod(values.shape[:-1])
    growth = grow(CHUNK) + grow(count) * np.finfo(np.float64).eps / call.unit
    return np.stack([
        terms.sum(axis=pixels) + growth * np.abs(values).sum(axis=pixels),
        (terms * change).sum(axis=pixels) + growth * np.abs(values * weight).sum(axis=pixels),
    ])  # fmt: skip


def masked(
    call: Call, gradient: np.ndarray, terms: np.ndarray, before: np.ndarray, of_before: np.ndarray
) -> np.ndarray:
    """Terms of a gradient with its own `terms` behind an activation of `before`, which has the terms `of_before`.

    Where the argument is so close to a kink that rounding may move it across, the whole gradient may be missing.
    """
    top = 6.0 if call.activation == RELU6 else np.inf
    close = (np.minimum(np.abs(before), np.abs(before - top)) <= call.unit * of_before) & (of_before > 0)
    inside = np.where((before > 0) & (before < top), terms, 0.0)
    return np.where(close, terms + np.abs(gradient) / call.unit, inside)


def fused_conv2d_forward(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs."""
    x, loaded = _image(call, a)
    y = _forward_terms(call, x, a.w, a.b) + _forward(call, loaded, np.abs(a.w), np.zeros(0))
    if not len(a.centre):
        return {"y": y}
    deviation = e.y - a.centre
    return {"y": y, "sums": summed(call, deviation, y, deviation, 2.0 * np.abs(deviation))}


def fused_conv2d_backward_data(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs."""
    gradient, loaded = _gradient(a)
    dx = _backward_data_terms(call, gradient, a.w) + _backward_data(call, loaded, np.abs(a.w))
    if call.activation != NO_ACTIVATION:
        dx = masked(call, _backward_data(call, gradient, a.w), dx, *argument(a.x, a.scale, a.shift))
    if not len(a.centre):
        return {"dx": dx}
    deviation = np.abs(a.x - a.centre)
    return {"dx": dx, "sums": summed(call, e.dx, dx, deviation, deviation)}


def fused_conv2d_backward_weight(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs."""
    (x, of_x), (gradient, of_gradient) = _image(call, a), _gradient(a)
    dw = _backward_weight_terms(call, x, gradient)
    dw += _backward_weight(call, of_x, np.abs(gradient)) + _backward_weight(call, np.abs(x), of_gradient)
    return {"dw": dw}
