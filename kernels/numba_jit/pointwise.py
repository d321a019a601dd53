"""Convolution as the matrix products of `linear.py`: 1x1, and weight gradients of few pixels and many channels.

With a stride the pixels that a 1x1 kernel sees are gathered first; for a larger kernel all windows are unfolded.
"""

from __future__ import annotations

from ..blocking import PANEL
from .compiler import kernel
from .im2col import unfold_row
from .linear import multiply, pack_columns, pack_transposed
from .memory import at, copy


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
def panels_conv2d_backward_weight_gather(  # type: ignore[no-untyped-def]
    x, gathered, stride, padding, dilation, H, W, C, OH, OW, R, S, UNFOLDED, begin, end
):  # fmt: skip
    """The windows of x, unless they are its pixels; task i unfolds row i of the N * OH rows."""
    for task in range(begin, end):
        n, oh = task // OH, task % OH
        for ow in range(OW):
            target = at(gathered, (task * OW + ow) * UNFOLDED)
            for r in range(R):
                h = oh * stride[0] - padding[0] + r * dilation[0]
                unfold_row(at(x, (n * H + h) * W * C), 0 <= h < H, at(target, r * S * C), ow * stride[1] - padding[1],
                           dilation[1], S, W, C, C)  # fmt: skip


@kernel
def panels_conv2d_backward_weight_pack(x, gathered, packed, UNFOLDED, PIXELS, GATHERED, begin, end):  # type: ignore[no-untyped-def]
    """The windows in panels of taps and channels."""
    pack_columns(at(gathered, 0) if GATHERED > 0 else at(x, 0), packed, PIXELS, UNFOLDED, begin, end)


@kernel
def panels_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, packed, gathered, staged, places, shifts, dw, K, UNFOLDED, PIXELS, GATHERED, ROWS, COLUMNS, DEPTH, PACKS,
    begin, end,
):  # fmt: skip
    """dw = dy^T windows(x) over pixels."""
    b, panel, row = at(packed, 0), PIXELS * PANEL, PANEL
    if PACKS == 0:
        b, panel, row = at(gathered, 0) if GATHERED > 0 else at(x, 0), PANEL, UNFOLDED
    multiply(at(dy, 0), K, 1, b, panel, row, at(dw, 0), at(dy, 0), 0, staged, places, shifts, K, UNFOLDED, PIXELS, ROWS,
             COLUMNS, DEPTH, begin, end)  # fmt: skip
