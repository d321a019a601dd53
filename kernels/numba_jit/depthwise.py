"""Depthwise convolution (one input and one output channel a group): the channels are the vector.

`depthwise_tasks.py` passes over the images, `depthwise_rows.py` computes.
"""

from __future__ import annotations

from .compiler import inline, kernel
from .depthwise_tasks import backward_data, backward_weight, band_of, batch, forward
from .exponential import ZERO
from .memory import at, fill


@inline
def pack(w, packed, K, TAPS, turned):  # type: ignore[no-untyped-def]
    """packed[(r, s), k] = w[k, r, s, 0]; with `turned`, taps stand in reverse order."""
    for t in range(TAPS):
        source, target = at(w, TAPS - 1 - t if turned else t), at(packed, t * K)
        for k in range(K):
            target[k] = source[k * TAPS]


@inline
def add_parts(partial, dw, K, TAPS, PARTS):  # type: ignore[no-untyped-def]
    """dw[k, r, s, 0] = the partial sums added in order."""
    total = at(partial, 0)
    for part in range(1, PARTS):
        addend = at(partial, part * TAPS * K)
        for i in range(TAPS * K):
            total[i] += addend[i]
    for k in range(K):
        target = at(dw, k * TAPS)
        for t in range(TAPS):
            target[t] = total[t * K + k]


@kernel
def depthwise_conv2d_forward_pack(w, packed, K, TAPS, begin, end):  # type: ignore[no-untyped-def]
    """packed[(r, s), k] = w[k, r, s, 0], in one task."""
    for _ in range(begin, end):
        pack(w, packed, K, TAPS, False)


@kernel
def depthwise_conv2d_backward_data_pack(w, packed, K, TAPS, stride, begin, end):  # type: ignore[no-untyped-def]
    """packed[(r, s), k] = w[k, r, s, 0], in one task; turned by half a turn for stride 1."""
    for _ in range(begin, end):
        pack(w, packed, K, TAPS, stride[0] == 1 and stride[1] == 1)


@kernel
def depthwise_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, packed, y, stride, padding, dilation, N, H, W, K, R, S, B, OH, OW, IMAGES, BAND, BANDS, begin, end,
):  # fmt: skip
    """A task computes BAND rows of IMAGES images."""
    window = (R, S, stride[0], stride[1], dilation[0], dilation[1])
    for task in range(begin, end):
        band = band_of(task, N, OH, IMAGES, BAND, BANDS)
        result = batch(at(y, 0), N, OH, OW, K, H * W)
        forward((at(x, 0), H, W), window, padding, (at(packed, 0), K), (at(b, 0), B), result, band, (), ())


@kernel
def depthwise_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, packed, dx, stride, padding, dilation, N, OH, OW, H, W, K, R, S, IMAGES, BAND, BANDS, begin, end,
):  # fmt: skip
    """A task computes BAND rows of dx of IMAGES images."""
    window = (R, S, stride[0], stride[1], dilation[0], dilation[1])
    for task in range(begin, end):
        band = band_of(task, N, H, IMAGES, BAND, BANDS)
        result = batch(at(dx, 0), N, H, W, K, OH * OW)
        backward_data((at(dy, 0), OH, OW), window, padding, (at(packed, 0), K), result, band, (), ())


@kernel
def depthwise_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, partial, stride, padding, dilation, N, H, W, OH, OW, K, R, S, TAPS, PARTS, begin, end,
):  # fmt: skip
    """A task sums over one run of fours of output rows."""
    window = (R, S, stride[0], stride[1], dilation[0], dilation[1])
    fours = N * ((OH + 3) // 4)
    for part in range(begin, end):
        sums = at(partial, part * TAPS * K)
        fill(sums, ZERO, TAPS * K)
        backward_weight((at(x, 0), H, W), window, padding, (at(dy, 0), OH, OW), (sums, K), part * fours // PARTS,
                        (part + 1) * fours // PARTS, (), ())  # fmt: skip


@kernel
def depthwise_conv2d_backward_weight_reduce(partial, dw, K, TAPS, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """dw[k, r, s, 0] = the partial sums added in order, in one task."""
    for _ in range(begin, end):
        add_parts(partial, dw, K, TAPS, PARTS)
