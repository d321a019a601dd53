"""Windows over images: im2col, its adjoint, and the walk over a window's taps that convolution and pooling share.

A window has ``R x S`` taps. Output pixel ``(oh, ow)`` looks through tap ``(r, s)`` at row
``oh * stride - padding + r * dilation`` of the image and at the column given likewise; what lies outside is padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

Pair = tuple[int, int]


class Window(NamedTuple):
    """A window's geometry; every pair is (height, width), in pixels except `kernel_size`, in taps."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair


def pad(x: np.ndarray, output_size: Pair, window: Window, value: float = 0.0) -> np.ndarray:
    """Surround the images with `value`: by the padding, and further where windows hang over it (ceil mode).

    Parameters
    ----------
    x : (N, H, W, C) images.
    output_size : (OH, OW), how many windows there are.
    window : their geometry.
    value : what lies outside the images.

    Returns
    -------
    (N, at least padding + H, at least padding + W, C) : pixel (h, w) of `x` is at (h + padding, w + padding).
    """
    margins = []
    for size, count, taps, stride, before, dilation in zip(x.shape[1:3], output_size, *window, strict=True):
        reach = (count - 1) * stride + (taps - 1) * dilation + 1
        margins.append((before, max(0, reach - before - size)))
    return np.pad(x, [(0, 0), *margins, (0, 0)], constant_values=value)


def unpad(canvas: np.ndarray, size: Pair, padding: Pair) -> np.ndarray:
    """The view of the (H, W) = `size` images inside what `pad` returned."""
    return canvas[:, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


def walk_taps(canvas: np.ndarray, output_size: Pair, window: Window) -> Iterator[tuple[int, int, np.ndarray]]:
    """Every tap (r, s) in order, with the view (N, OH, OW, C) of what all windows see through it.

    Parameters
    ----------
    canvas : images as `pad` returned them for the same `output_size` and `window`.
    output_size : (OH, OW).
    window : the windows' geometry.
    """
    (height, width), (row_stride, column_stride) = output_size, window.stride
    for r in range(window.kernel_size[0]):
        top = r * window.dilation[0]
        for s in range(window.kernel_size[1]):
            left = s * window.dilation[1]
            rows = slice(top, top + height * row_stride, row_stride)
            columns = slice(left, left + width * column_stride, column_stride)
            yield r, s, canvas[:, rows, columns]


def im2col(x: np.ndarray, columns: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
    """Copy every window out of the images, so that a convolution becomes a matrix product.

    ``columns[n, oh, ow, r, s, c] = x[n, oh*stride - padding + r*dilation, ow*stride - padding + s*dilation, c]``,
    and 0 where that lies outside `x`. Nothing is summed or rounded.

    Parameters
    ----------
    x : (N, H, W, C) images.
    columns : (N, OH, OW, R, S, C), written.
    kernel_size : (R, S), in taps.
    stride, padding, dilation : pairs, in pixels.

    Notes
    -----
    `torch.nn.functional.unfold` up to the order of axes. K. Chellapilla, S. Puri, P. Simard, "High Performance
    Convolutional Neural Networks for Document Processing", 2006.
    """
    window = Window(kernel_size, stride, padding, dilation)
    output_size = columns.shape[1], columns.shape[2]
    for r, s, seen in walk_taps(pad(x, output_size, window), output_size, window):
        columns[:, :, :, r, s] = seen


def col2im(columns: np.ndarray, x: np.ndarray, size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
    """Add every window back into the images: the adjoint of `im2col`.

    ``x[n, h, w, c]`` is the sum of ``columns[n, oh, ow, r, s, c]`` over all ``oh, ow, r, s`` whose window shows the
    pixel: ``h = oh*stride - padding + r*dilation`` and ``w`` likewise; 0 for a pixel that no window shows.

    Parameters
    ----------
    columns : (N, OH, OW, R, S, C).
    x : (N, H, W, C), written whole.
    size : (H, W), in pixels.
    stride, padding, dilation : pairs, in pixels.

    Notes
    -----
    `torch.nn.functional.fold` up to the order of axes.
    """
    _, height, width, taps_down, taps_across, _ = columns.shape
    window = Window((taps_down, taps_across), stride, padding, dilation)
    canvas = pad(np.zeros_like(x), (height, width), window)
    for r, s, seen in walk_taps(canvas, (height, width), window):
        seen += columns[:, :, :, r, s]
    x[...] = unpad(canvas, size, padding)
