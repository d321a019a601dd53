"""Convolution as the matrix products of `linear.py`: 1x1, and weight gradients of few pixels and many channels.

With a stride the pixels that a 1x1 kernel sees are gathered first; a weight gradient packs unfolded windows.
"""

from __future__ import annotations

from ..blocking import PACKED, PANEL
from .compiler import kernel
from .im2col import unfold_row
from .linear import multiply, pack_columns, pack_rows, pack_transposed
from .memory import at, at_most, copy


@kernel
def panels_conv2d_forward_gather(x, gathered, stride, H, W, C, OH, OW, begin, end):  # type: ignore[no-untyped-def]
    """The pixels of x that meet an output pixel, if not all do; task i gathers row i of the N * OH rows."""
    for task in range(begin, end):
        row = at(x, (task // OH * H + task % OH * stride[0]) * W * C)
        for ow in range(OW):
            copy(at(row, ow * stride[1] * C), at(gathered, (task * OW + ow) * C), C)


@kernel
def panels_conv2d_forward_pack(w, packed, C, K, begin, end):  # type: ignore[no-untyped-def]
    """The weights, turned, in panels of output channels."""
    pack_transposed(at(w, 0), packed, C, K, begin, end)


@kernel
def panels_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, packed, gathered, staged, places, shifts, y, C, K, B, PIXELS, GATHERED, ROWS, COLUMNS, DEPTH, begin, end
):  # fmt: skip
    """y = x w^T + b over pixels."""
    a = at(gathered, 0) if GATHERED > 0 else at(x, 0)
    multiply(a, C, 0, at(packed, 0), C * PANEL, PANEL, at(y, 0), at(b, 0), B, staged, places,
             shifts, PIXELS, K, C, ROWS, COLUMNS, DEPTH, begin, end)  # fmt: skip


@kernel
def panels_conv2d_backward_data_pack(w, packed, C, K, begin, end):  # type: ignore[no-untyped-def]
    """The weights as they are, in panels of input channels."""
    pack_columns(at(w, 0), packed, K, C, begin, end)


@kernel
def panels_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, w, packed, staged, places, shifts, dx, C, K, PIXELS, ROWS, COLUMNS, DEPTH, PACKS, begin, end
):  # fmt: skip
    """dx = dy w over pixels."""
    b, panel, row = at(packed, 0), K * PANEL, PANEL
    if PACKS == 0:
        b, panel, row = at(w, 0), PANEL, C
    multiply(at(dy, 0), K, 0, b, panel, row, at(dx, 0), at(dy, 0), 0, staged, places, shifts, PIXELS, C, K, ROWS,
             COLUMNS, DEPTH, begin, end)  # fmt: skip


@kernel
def panels_conv2d_backward_weight_pack(  # type: ignore[no-untyped-def]
    x, windows, packed, stride, padding, dilation, H, W, C, OH, OW, R, S, UNFOLDED, PIXELS, BAND, begin, end
):  # fmt: skip
    """The windows of x, unless they are its pixels, in panels of taps and channels; a task packs PACKED of them."""
    if BAND == 0:
        pack_columns(at(x, 0), packed, PIXELS, UNFOLDED, begin, end)
        return
    for first in range(begin * PACKED, at_most(end * PACKED, PIXELS), BAND):
        count = at_most(PIXELS - first, BAND)
        for i in range(count):
            n, oh, ow = (first + i) // (OH * OW), (first + i) // OW % OH, (first + i) % OW
            for r in range(R):
                h = oh * stride[0] - padding[0] + r * dilation[0]
                unfold_row(at(x, (n * H + h) * W * C), 0 <= h < H, at(windows, i * UNFOLDED + r * S * C),
                           ow * stride[1] - padding[1], dilation[1], S, W, C, C)  # fmt: skip
        pack_rows(at(windows, 0), packed, first, count, PIXELS, UNFOLDED)


@kernel
def panels_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, packed, staged, places, shifts, dw, K, UNFOLDED, PIXELS, ROWS, COLUMNS, DEPTH, PACKS, begin, end
):  # fmt: skip
    """dw = dy^T windows(x) over pixels."""
    b, panel, row = at(packed, 0), PIXELS * PANEL, PANEL
    if PACKS == 0:
        b, panel, row = at(x, 0), PANEL, UNFOLDED
    multiply(at(dy, 0), K, 1, b, panel, row, at(dw, 0), at(dy, 0), 0, staged, places, shifts, K, UNFOLDED, PIXELS, ROWS,
             COLUMNS, DEPTH, begin, end)  # fmt: skip
