"""Convolutions of stride 1 with few channels: tiles along a row of pixels, which share what they see.

The forward pass and the weight gradient take at most `NARROW` output channels, one vector of the widest registers, and
copy the images that a task sees with their padding. The data gradient takes few input channels: its vector are the taps
and channels of a kernel row, which stand side by side in dx too. Neighbouring pixels overlap there, so each adds to a
row of its own; these are then added up.
"""

from __future__ import annotations

from ..blocking import NARROW, PANEL
from .compiler import inline, kernel
from .direct import stage_windows
from .direct_weight import reduce_parts
from .exponential import ZERO
from .fusion import finish_forward, load_gradients
from .memory import at, at_most, copy, doubles, fill, streams
from .narrow_tiles import (
    Gradients,
    Output,
    Planes,
    Totals,
    Window,
    ask_for,
    convolve_columns,
    copy_pixels,
    correlate_planes,
    gather_rows,
    spread_columns,
)
from .simd import LANES
from .transpose import transpose

WIDE = LANES == 16
# Columns of dy that a data gradient takes at once.
MANY, SOME, FEW = {16: (12, 8, 4), 8: (3, 2, 1), 4: (1, 1, 1)}[LANES]
VECTORS = PANEL // LANES
AHEAD = 24  # pixels of dy that are asked for before they are needed
PLANES_OF_3, PLANES_OF_5 = (9, 5) if WIDE else (3, 2)


@inline
def _stage(  # type: ignore[no-untyped-def]
    x, staged, first, images, top, rows, H, W, C, HP, WP, R, S, stride, padding, dilation, P, scale, shift, activation
):  # fmt: skip
    """Copy what `rows` output rows see: as `stage_windows`, but all rows at once where nothing else is to be done."""
    if P > 0 or activation > 0:
        stage_windows(x, staged, first, images, top, rows, H, W, C, HP, WP, R, S, stride, padding, dilation, P, scale,
                      shift, activation)  # fmt: skip
        return
    fill(at(staged, 0), ZERO, images * HP * WP * C)
    h = top * stride[0] - padding[0]
    above = -h if h < 0 else 0
    seen = at_most((rows - 1) * stride[0] + (R - 1) * dilation[0] + 1, H - h)
    for image in range(images):
        copy_pixels(at(x, ((first + image) * H + h + above) * W * C), W * C,
                    at(staged, ((image * HP + above) * WP + padding[1]) * C), WP * C, seen - above, W * C,
                    images * rows * stride[0] * W * C)  # fmt: skip


# ---------------------------------------------------------------- forward


@inline
def _convolve_row(taps, OW, window, output):  # type: ignore[no-untyped-def]
    """A row of output pixels; `taps` is a literal."""
    column = 0
    while column < OW:
        left = OW - column
        seen = Window(at(window.a, column * window.C), window.pitch, window.R, window.C, window.w)
        computed = Output(at(output.y, column * output.K), output.K, output.channels, output.biased, output.bias,
                          output.streams)  # fmt: skip
        if not WIDE or left <= 8:
            count = 8
            convolve_columns(8, taps, left, seen, computed)
        elif left > 24 or 12 < left <= 16:
            count = 16
            convolve_columns(16, taps, left, seen, computed)
        else:
            count = 12
            convolve_columns(12, taps, left, seen, computed)
        column += count


@inline
def convolve(  # type: ignore[no-untyped-def]
    x, b, packed, staged, y, stride, padding, dilation, N, H, W, C, K, R, S, B, OH, OW, IMAGES, BAND, BANDS, HP, WP, P,
    scale, shift, activation, E, centre, task_sums, begin, end,
):  # fmt: skip
    """Forward convolution of blocks `begin` to `end`, with what `fused.py` declares on load and store."""
    around = streams(y, N * OH * OW * K, K) if E == 0 else 0
    pitch = WP * C
    for task in range(begin, end):
        first, top = task // BANDS * IMAGES, task % BANDS * BAND
        images, rows = at_most(IMAGES, N - first), at_most(BAND, OH - top)
        _stage(at(x, 0), staged, first, images, top, rows, H, W, C, HP, WP, R, S, stride, padding, dilation, P, scale,
               shift, activation)  # fmt: skip
        result = at(y, (first * OH + top) * OW * K)
        for image in range(images):
            for row in range(rows):
                a = at(staged, (image * HP + row * stride[0]) * pitch)
                target = at(result, (image * OH + row) * OW * K)
                for k in range(0, K, LANES):
                    window = Window(a, dilation[0] * pitch, R, C, at(packed, k))
                    output = Output(at(target, k), K, K - k, B, at(b, k), around)
                    if S == 3:
                        _convolve_row(3, OW, window, output)
                    else:
                        _convolve_row(5, OW, window, output)
        finish_forward(result, images * rows * OW, K, E, centre, at(task_sums, task * 2 * E))


@inline
def pack_forward(w, packed, C, K, R, S):  # type: ignore[no-untyped-def]
    """packed[r, c, s, k] = w[k, r, s, c]."""
    for r in range(R):
        for s in range(S):
            transpose(at(w, (r * S + s) * C), R * S * C, at(packed, (r * C * S + s) * NARROW), S * NARROW, K, C)


@kernel
def narrow_conv2d_forward_pack(w, packed, C, K, R, S, begin, end):  # type: ignore[no-untyped-def]
    """One task turns the weights."""
    pack_forward(w, packed, C, K, R, S)


@kernel
def narrow_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, packed, staged, y, stride, padding, dilation, N, H, W, C, K, R, S, B, OH, OW, IMAGES, BAND, BANDS, HP, WP,
    begin, end,
):  # fmt: skip
    """A task computes BAND output rows of IMAGES images."""
    convolve(x, b, packed, staged, y, stride, padding, dilation, N, H, W, C, K, R, S, B, OH, OW, IMAGES, BAND, BANDS,
             HP, WP, 0, at(b, 0), at(b, 0), 0, 0, at(b, 0), doubles(1), begin, end)  # fmt: skip


# ---------------------------------------------------------------- data gradient


@inline
def _columns(left, OW):  # type: ignore[no-untyped-def]
    """How many columns of the `left` ones of a row are taken next; some are taken twice where that is faster."""
    if OW >= MANY and left > SOME:
        return MANY
    return SOME if OW >= SOME and left > FEW else FEW


@inline
def _spread(count, a, packed, taps, target, turn, apart, C, OW, K, S, WIDTH):  # type: ignore[no-untyped-def]
    """`count` (a literal) columns of dy and of the rows above them; see `spread_columns`."""
    spread_columns(count, VECTORS, taps, K, a, -apart * OW * K, K, packed, S * C, target, turn, S, WIDTH, C)


@inline
def _spread_row(a, packed, taps, sums, apart, C, OW, K, S, WIDTH):  # type: ignore[no-untyped-def]
    """A row of dx, tap by tap in the S rows of `sums`, from `taps` rows of dy: the lowest, at `a`, is the first."""
    column = 0
    while column < OW:
        count = _columns(OW - column, OW)
        column = at_most(column, OW - count)
        from_a, target, turn = at(a, column * K), at(sums, column * C), column % S
        if count == MANY:
            _spread(MANY, from_a, packed, taps, target, turn, apart, C, OW, K, S, WIDTH)
        elif count == SOME:
            _spread(SOME, from_a, packed, taps, target, turn, apart, C, OW, K, S, WIDTH)
        else:
            _spread(FEW, from_a, packed, taps, target, turn, apart, C, OW, K, S, WIDTH)
        column += count


@kernel
def narrow_conv2d_backward_data_pack(w, packed, C, K, R, S, begin, end):  # type: ignore[no-untyped-def]
    """packed[r, k, (s, c)] = w[k, r, s, c] in rows of PANEL; one task."""
    fill(at(packed, 0), ZERO, R * K * PANEL)
    for r in range(R):
        for k in range(K):
            copy(at(w, (k * R + r) * S * C), at(packed, (r * K + k) * PANEL), S * C)


@kernel
def narrow_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, packed, sums, dx, padding, dilation, N, H, W, C, OH, OW, K, R, S, IMAGES, BAND, BANDS, WIDTH, begin, end
):  # fmt: skip
    """A task computes BAND rows of IMAGES images."""
    apart = dilation[0]
    for task in range(begin, end):
        first, top = task // BANDS * IMAGES, task % BANDS * BAND
        images, rows = at_most(IMAGES, N - first), at_most(BAND, H - top)
        fill(at(sums, 0), ZERO, rows * S * WIDTH)  # what no pixel writes
        for image in range(first, first + images):
            for row in range(rows):
                low = top + row + padding[0]  # the row of dy that the first tap meets
                skipped = (low - OH + apart) // apart if low >= OH else 0
                taps = at_most(R, low // apart + 1) - skipped
                a = at(dy, (image * OH + low - skipped * apart) * OW * K)
                ask_for(at(dy, (image * OH + low + 1) * OW * K), OW * K)  # what the next row meets first
                _spread_row(a, at(packed, skipped * K * PANEL), taps, at(sums, row * S * WIDTH), apart, C, OW, K, S,
                            WIDTH)  # fmt: skip
            for row in range(rows):
                source, target = at(sums, row * S * WIDTH + padding[1] * C), at(dx, (image * H + top + row) * W * C)
                if S == 3:
                    gather_rows(3, source, WIDTH, target, W * C)
                else:
                    gather_rows(5, source, WIDTH, target, W * C)


# ---------------------------------------------------------------- weight gradient


@inline
def correlate(  # type: ignore[no-untyped-def]
    x, dy, staged, gradients, places, shifts, partial, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, DEPTH,
    IMAGES, BAND, BANDS, BLOCKS, HP, WP, PARTS, P, scale, shift, activation, z, G, slope, factor, offset, begin, end,
):  # fmt: skip
    """Weight gradient of tasks `begin` to `end`, with what `fused.py` declares on load."""
    pitch, count = WP * C, R * C
    from_places, to_places, row_shifts = at(places, 0), at(places, count), at(shifts, 0)
    for i in range(count):
        from_places[i] = i // C * dilation[0] * pitch + i % C
        to_places[i] = (i // C * S * C + i % C) * PANEL
    for task in range(begin, end):
        total = at(partial, task * DEPTH * PANEL)
        start, stop = task * BLOCKS // PARTS, (task + 1) * BLOCKS // PARTS
        if start == stop:
            fill(total, ZERO, DEPTH * PANEL)
        for block in range(start, stop):
            first, top = block // BANDS * IMAGES, block % BANDS * BAND
            images, rows = at_most(IMAGES, N - first), at_most(BAND, OH - top)
            _stage(at(x, 0), staged, first, images, top, rows, H, W, C, HP, WP, R, S, stride, padding, dilation, P,
                   scale, shift, activation)  # fmt: skip
            for i in range(images * rows):
                row_shifts[i] = (i // rows * HP + i % rows * stride[0]) * pitch
            gradient = at(dy, (first * OH + top) * OW * K)
            later = at(gradient, AHEAD * K)
            if G > 0:
                load_gradients(gradient, at(z, (first * OH + top) * OW * K), gradients, images * rows * OW, K, slope,
                               factor, offset)  # fmt: skip
                later, gradient = at(gradient, images * rows * OW * K), gradients
            for k in range(0, K, LANES):
                of_block = Gradients(at(gradient, k), later, K, K - k, images * rows, OW)
                i = 0
                while i < count:
                    planes = Planes(at(staged, 0), at(from_places, i), C, row_shifts)
                    totals = Totals(at(total, k), at(to_places, i), C * PANEL, block - start)
                    if S == 3:
                        correlate_planes(3, PLANES_OF_3, count - i, planes, of_block, totals)
                        i += PLANES_OF_3
                    else:
                        correlate_planes(5, PLANES_OF_5, count - i, planes, of_block, totals)
                        i += PLANES_OF_5


@kernel
def narrow_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, staged, places, shifts, partial, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, DEPTH, IMAGES, BAND,
    BANDS, BLOCKS, HP, WP, PARTS, begin, end,
):  # fmt: skip
    """A task sums over one run of blocks."""
    none = at(x, 0)
    correlate(x, dy, staged, none, places, shifts, partial, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S,
              DEPTH, IMAGES, BAND, BANDS, BLOCKS, HP, WP, PARTS, 0, none, none, 0, none, 0, none, none, none, begin,
              end)  # fmt: skip


@kernel
def narrow_conv2d_backward_weight_reduce(partial, dw, K, DEPTH, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """The sum of the partial results, turned."""
    reduce_parts(partial, dw, K, K, DEPTH, 1, 1, PARTS, begin, end)
