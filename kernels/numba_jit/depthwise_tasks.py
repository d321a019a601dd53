"""The tasks of depthwise convolutions: bands of rows of some images, for the plain kernels and the fused ones.

A band is passed a few rows at a time, each for one vector of channels after the other, so that memory is read row by
row. A batch is (array, rows, columns), and what `batch` gives if it is written. The tuples `load`, `compose` and
`store`, which say what is fused, are those of `depthwise_vectors.py`, and `window` is that of `depthwise_rows.py`.
"""

from __future__ import annotations

from .compiler import inline
from .depthwise_gradients import correlate, spread
from .depthwise_rows import slide
from .memory import at_most, streams
from .simd import LANES

SEGMENT = 64
"""Columns of a stretch: four rows of it are 256 terms, the most that are added in float32 at once."""


@inline
def _own_code(window):  # type: ignore[no-untyped-def]
    """3 or 5 if windows are of a size and stride that has code of its own, else 0."""
    R, S, down, across, dilation_down, dilation = window
    plain = R == S and down == across and dilation_down == 1 and dilation == 1
    return R if plain and (R == 3 or R == 5) and (down == 1 or down == 2) else 0


@inline
def _slide_any(taps, channel, image, window, stretch, packed, bias, target, rows, load, store):  # type: ignore[no-untyped-def]
    if taps == 3 and window[2] == 2:
        slide(3, 2, channel, image, window, stretch, packed, bias, target, rows, load, store)
    elif taps == 5 and window[2] == 2:
        slide(5, 2, channel, image, window, stretch, packed, bias, target, rows, load, store)
    else:
        _slide_by_one(taps, channel, image, window, stretch, packed, bias, target, rows, load, store)


@inline
def _slide_by_one(taps, channel, image, window, stretch, packed, bias, target, rows, load, store):  # type: ignore[no-untyped-def]
    if taps == 3:
        slide(3, 1, channel, image, window, stretch, packed, bias, target, rows, load, store)
    elif taps == 5:
        slide(5, 1, channel, image, window, stretch, packed, bias, target, rows, load, store)
    else:
        slide(0, 0, channel, image, window, stretch, packed, bias, target, rows, load, store)


@inline
def _sum_windows(function, images, window, padding, packed, bias, targets, band, load, store):  # type: ignore[no-untyped-def]
    x, H, W = images
    y, OH, OW, large = targets
    taps, K = _own_code(window), packed[1]
    step = 1 if taps == 0 else 4 if taps == 3 else 2
    for n in range(band[0], band[1]):
        image, target = (x, n * H * W * K, H, W, K), (y, n * OH * OW * K, OH, OW, K, large)
        for oh in range(band[2], band[3], step):
            rows = (oh, at_most(band[3] - oh, step))
            for ow in range(0, OW, SEGMENT):
                stretch = (oh * window[2] - padding[0], -padding[1], ow, at_most(OW - ow, SEGMENT))
                for c in range(0, K, LANES):
                    function(taps, c, image, window, stretch, packed, bias, target, rows, load, store)


@inline
def band_of(task, N, height, IMAGES, BAND, BANDS):  # type: ignore[no-untyped-def]
    """(first image, last + 1, first row, last + 1) of a task."""
    image, row = task // BANDS * IMAGES, task % BANDS * BAND
    return image, at_most(image + IMAGES, N), row, at_most(row + BAND, height)


@inline
def batch(array, N, rows, columns, K, read):  # type: ignore[no-untyped-def]
    """Images to be written: (array, rows, columns, whether to write around the caches).

    The `read` pixels of each image that they are computed from take their place in the caches, too.
    """
    return array, rows, columns, streams(array, N * (rows * columns + read) * K, K)


@inline
def forward(images, window, padding, packed, bias, targets, band, load, store):  # type: ignore[no-untyped-def]
    """A band of targets = bias + the sums over windows of images; `packed` is (weights, K), `bias` (array, B)."""
    _sum_windows(_slide_any, images, window, padding, packed, bias, targets, band, load, store)


@inline
def _spread(taps, channel, image, window, stretch, padding, packed, target, rows, load, store):  # type: ignore[no-untyped-def]
    if taps == 3:
        spread(3, channel, image, window, stretch, padding, packed, target, rows, load, store)
    elif taps == 5:
        spread(5, channel, image, window, stretch, padding, packed, target, rows, load, store)
    else:
        spread(0, channel, image, window, stretch, padding, packed, target, rows, load, store)


@inline
def backward_data(gradients, window, padding, packed, targets, band, load, store):  # type: ignore[no-untyped-def]
    """A band of targets (dx) = the sums over the windows of gradients that see each pixel.

    With stride 1 they are sums over windows of the gradients, with the kernel turned by half a turn.
    """
    R, S, down, across, dilation_down, dilation = window
    if down == 1 and across == 1:
        around = dilation_down * (R - 1) - padding[0], dilation * (S - 1) - padding[1]
        _sum_windows(_slide_by_one, gradients, window, around, packed, (packed[0], 0), targets, band, load, store)
        return
    dy, OH, OW = gradients
    dx, H, W, large = targets
    taps, K = _own_code(window), packed[1]
    # With code of its own: pairs of rows and of columns, counted with the padding, so that the first may be outside.
    size = 2 if taps > 0 else 1
    above, left = (padding[0], padding[1]) if taps > 0 else (0, 0)
    first, last = left // size, (left + W - 1) // size + 1
    for n in range(band[0], band[1]):
        image, target = (dy, n * OH * OW * K, OH, OW, K), (dx, n * H * W * K, H, W, K, large)
        for row in range((band[2] + above) // size, (band[3] + above - 1) // size + 1):
            for column in range(first, last, SEGMENT // size):
                stretch = (row, column, at_most(last - column, SEGMENT // size))
                for c in range(0, K, LANES):
                    _spread(taps, c, image, window, stretch, padding, packed, target, (band[2], band[3]), load, store)


@inline
def _correlate(taps, channel, image, window, stretch, gradient, row, partial, load, compose):  # type: ignore[no-untyped-def]
    if taps == 3 and window[2] == 1:
        correlate(3, 1, channel, image, window, stretch, gradient, row, partial, load, compose)
    elif taps == 3:
        correlate(3, 2, channel, image, window, stretch, gradient, row, partial, load, compose)
    elif taps == 5 and window[2] == 1:
        correlate(5, 1, channel, image, window, stretch, gradient, row, partial, load, compose)
    elif taps == 5:
        correlate(5, 2, channel, image, window, stretch, gradient, row, partial, load, compose)
    else:
        correlate(0, 0, channel, image, window, stretch, gradient, row, partial, load, compose)


@inline
def backward_weight(images, window, padding, gradients, partial, first, last, load, compose):  # type: ignore[no-untyped-def]
    """partial += the products of windows and gradients in the fours of rows [first, last), counted over all images."""
    x, H, W = images
    dy, OH, OW = gradients
    taps, K = _own_code(window), partial[1]
    step = 1 if taps != 3 else 4 if window[2] == 1 else 2
    quads = (OH + 3) // 4
    for quad in range(first, last):
        n, top = quad // quads, quad % quads * 4
        image, gradient = (x, n * H * W * K, H, W, K), (dy, n * OH * OW * K, OH, OW, K)
        for oh in range(top, at_most(top + 4, OH), step):
            for ow in range(0, OW, SEGMENT):
                stretch = (oh * window[2] - padding[0], -padding[1], ow, at_most(OW - ow, SEGMENT))
                for c in range(0, K, LANES):
                    _correlate(taps, c, image, window, stretch, gradient, oh, partial, load, compose)
