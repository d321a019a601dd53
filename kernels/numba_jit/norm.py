"""Batch normalisation: task i handles rows [i * ROWS, (i + 1) * ROWS) of the (M, C) input.

Rows of few channels are read side by side as one wide row (see `columns.py`). Sums run in float32 over a chunk of wide
rows that stays in L1, are joined in double, and blocks are combined in order. The last pass takes the blocks from the
last one on, of which most is still in a cache.
"""

from __future__ import annotations

import numpy as np

from .columns import (
    CHUNK,
    GROUP,
    PARAMETERS,
    WIDTH,
    add_deviations,
    add_rows,
    chunk_rows,
    fold,
    load_or,
    repeat,
    side_by_side,
    sum_blocks,
    sum_gradients,
)
from .compiler import inline, kernel
from .exponential import ONE, ZERO, sqrt
from .memory import at, at_most, copy, doubles, fill, floats, streams
from .simd import LINE
from .split_norm import (  # noqa: F401 - stages of this module's operations
    batch_norm_gradient,
    batch_norm_running,
    batch_norm_scale,
    batch_norm_statistics,
    channel_gradient,
    channel_sums,
    channel_sums_combine,
)
from .vector import AHEAD, LANES, load, load_part, prefetch, put, store_part

# ---------------------------------------------------------------- statistics


@inline
def _combine(mean, squares, other_mean, other_squares, columns, count, other):  # type: ignore[no-untyped-def]
    """Chan, Golub and LeVeque 1979: join the mean and sum of squares of `count` rows with those of `other` rows."""
    share = other / np.float64(count + other)
    both = share * count
    for j in range(columns):
        delta = other_mean[j] - mean[j]
        mean[j] += delta * share
        squares[j] += other_squares[j] + delta * delta * both


@inline
def _chunk_moments(source, C, rows, columns, wide, ahead, centre, lanes, second, mean, squares):  # type: ignore[no-untyped-def]
    """Set `mean` and `squares` to a chunk's mean and sum of squared deviations; the second pass reads L1.

    Deviations are taken from the mean rounded to float32 (`centre`), and what that misses is put right in double. Each
    pass fetches half of the next chunk.
    """
    share = 1.0 / rows
    fill(lanes, 0.0, WIDTH)
    add_rows(source, C, rows, columns, wide, ahead, GROUP // 2, lanes)
    fold(lanes, columns, wide, mean)
    for j in range(columns):
        centre[j] = np.float32(mean[j] * share)
    repeat(centre, columns, wide)
    fill(lanes, 0.0, WIDTH)
    fill(second, 0.0, WIDTH)
    add_deviations(source, C, rows, columns, wide, ahead, GROUP // 2, centre, lanes, second)
    fold(lanes, columns, wide, mean)
    fold(second, columns, wide, squares)
    for j in range(columns):
        rest = mean[j] * share
        squares[j] -= rest * mean[j]
        mean[j] = centre[j] + rest


@kernel
def batch_norm_forward_statistics(x, partial, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """Mean and sum of squared deviations of each block; within it, chunks are combined in order."""
    centre, lanes, second = floats(WIDTH), doubles(WIDTH), doubles(WIDTH)
    mean, squares = doubles(WIDTH), doubles(WIDTH)
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, WIDTH):
            columns = at_most(C - c, WIDTH)
            wide = side_by_side(columns, C, rows, GROUP)
            step = chunk_rows(CHUNK, wide * columns) * wide
            part_mean, part_squares = at(partial, 2 * part * C + c), at(partial, (2 * part + 1) * C + c)
            fill(part_mean, 0.0, columns)
            fill(part_squares, 0.0, columns)
            for row in range(0, rows, step):
                count = at_most(rows - row, step)
                source = at(x, (part * ROWS + row) * C + c)
                _chunk_moments(source, C, count, columns, wide, step * C, centre, lanes, second, mean, squares)
                _combine(part_mean, part_squares, mean, squares, columns, row, count)


@kernel
def batch_norm_forward_combine(  # type: ignore[no-untyped-def]
    partial, momentum, running_mean, running_var, mean, invstd, M, C, CR, ROWS, PARTS, eps, begin, end
):  # fmt: skip
    """One task joins the blocks in order, in the place of the first one."""
    total, squares = at(partial, 0), at(partial, C)
    for part in range(1, PARTS):
        count = at_most(M - part * ROWS, ROWS)
        _combine(total, squares, at(partial, 2 * part * C), at(partial, (2 * part + 1) * C), C, part * ROWS, count)
    keep, take = 1.0 - momentum[0], momentum[0]
    for c in range(C):
        mean[c] = np.float32(total[c])
        invstd[c] = np.float32(1.0 / sqrt(squares[c] / M + eps))
    if CR > 0:
        for c in range(C):
            running_mean[c] = np.float32(keep * running_mean[c] + take * total[c])
            running_var[c] = np.float32(keep * running_var[c] + take * (squares[c] / (M - 1)))


# ---------------------------------------------------------------- forward


@inline
def _normalise_part(line, result, count, centre, slope, offset):  # type: ignore[no-untyped-def]
    value = (load_part(line, count, ZERO) - load(centre)) * load(slope) + load(offset)
    store_part(result, value, count)


@inline
def _normalise(source, target, C, rows, columns, centre, slope, offset, around):  # type: ignore[no-untyped-def]
    """Write rows of the target; subtracting first keeps the digits of data far from 0."""
    wide = side_by_side(columns, C, rows, WIDTH)
    repeat(centre, columns, wide)
    repeat(slope, columns, wide)
    repeat(offset, columns, wide)
    for row in range(0, rows, wide):
        line, result = at(source, row * C), at(target, row * C)
        count = at_most(rows - row, wide) * columns
        whole = count - count % LINE
        for j in range(0, whole, LINE):
            prefetch(at(line, j + AHEAD))
            for k in range(j, j + LINE, LANES):
                value = (load(at(line, k)) - load(at(centre, k))) * load(at(slope, k)) + load(at(offset, k))
                put(at(result, k), value, around)
        for j in range(whole, count, LANES):
            _normalise_part(at(line, j), at(result, j), count - j, at(centre, j), at(slope, j), at(offset, j))


@kernel
def batch_norm_forward(x, w, b, y, mean, invstd, M, C, CW, CB, ROWS, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """(x - mean) * (invstd * w) + b."""
    centre, slope, offset = floats(PARAMETERS), floats(PARAMETERS), floats(PARAMETERS)
    for task in range(begin, end):
        part = PARTS - 1 - task
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, PARAMETERS):
            columns = at_most(C - c, PARAMETERS)
            copy(at(mean, c), centre, columns)
            load_or(w, CW, c, ONE, slope, columns)
            load_or(b, CB, c, ZERO, offset, columns)
            scale = at(invstd, c)
            for j in range(columns):
                slope[j] *= scale[j]
            first = part * ROWS * C + c
            _normalise(at(x, first), at(y, first), C, rows, columns, centre, slope, offset, streams(y, M * C, C))


@kernel
def batch_norm_inference(  # type: ignore[no-untyped-def]
    x, w, b, running_mean, running_var, y, M, C, CW, CB, ROWS, eps, begin, end
):  # fmt: skip
    """As in training, with the running statistics."""
    small = np.float32(eps)
    centre, slope, offset = floats(PARAMETERS), floats(PARAMETERS), floats(PARAMETERS)
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, PARAMETERS):
            columns = at_most(C - c, PARAMETERS)
            copy(at(running_mean, c), centre, columns)
            load_or(w, CW, c, ONE, slope, columns)
            load_or(b, CB, c, ZERO, offset, columns)
            variance = at(running_var, c)
            for j in range(columns):
                slope[j] /= sqrt(variance[j] + small)
            first = part * ROWS * C + c
            _normalise(at(x, first), at(y, first), C, rows, columns, centre, slope, offset, streams(y, M * C, C))


# ---------------------------------------------------------------- backward


@inline
def _add_gradients(sources, first, C, count, columns, wide, ahead, middle, lanes, second):  # type: ignore[no-untyped-def]
    dy, x = sources
    sum_gradients(at(dy, first), at(x, first), C, count, columns, wide, ahead, middle, lanes, second)


@kernel
def batch_norm_backward_sums(dy, x, mean, invstd, partial, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """The sums of dy and of dy * xhat of each block."""
    sum_blocks(_add_gradients, (dy, x), mean, partial, M, C, ROWS, begin, end)
    for part in range(begin, end):
        products = at(partial, (2 * part + 1) * C)
        for c in range(C):
            products[c] *= invstd[c]


@inline
def _combine_gradients(partial, dw, db, C, PARTS):  # type: ignore[no-untyped-def]
    sums, products = at(partial, 0), at(partial, C)
    for part in range(1, PARTS):
        more = at(partial, 2 * part * C)
        for j in range(2 * C):
            sums[j] += more[j]
    for c in range(C):
        db[c] = np.float32(sums[c])
        dw[c] = np.float32(products[c])


@kernel
def batch_norm_backward_combine(partial, dw, db, C, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the blocks in order, in the place of the first one."""
    _combine_gradients(partial, dw, db, C, PARTS)


@inline
def _gradient(g, line, centre, slope, fall, shift):  # type: ignore[no-untyped-def]
    return load(slope) * (g - load(shift) - (line - load(centre)) * load(fall))


@inline
def _write_gradient(dy, x, dx, count, centre, slope, fall, shift, around):  # type: ignore[no-untyped-def]
    """Write `count` elements of wide rows of dx."""
    whole = count - count % LINE
    for j in range(0, whole, LINE):
        prefetch(at(dy, j + AHEAD))
        prefetch(at(x, j + AHEAD))
        for k in range(j, j + LINE, LANES):
            value = _gradient(load(at(dy, k)), load(at(x, k)), at(centre, k), at(slope, k), at(fall, k), at(shift, k))
            put(at(dx, k), value, around)
    for j in range(whole, count, LANES):
        g, line = load_part(at(dy, j), count - j, ZERO), load_part(at(x, j), count - j, ZERO)
        value = _gradient(g, line, at(centre, j), at(slope, j), at(fall, j), at(shift, j))
        store_part(at(dx, j), value, count - j)


@kernel
def batch_norm_backward(dy, x, w, mean, invstd, dx, dw, db, M, C, CW, ROWS, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """w * invstd * (dy - db / M - (x - mean) * (invstd * dw / M))."""
    share, around = 1.0 / M, streams(dx, M * C, C)
    centre, slope, fall, shift = floats(PARAMETERS), floats(PARAMETERS), floats(PARAMETERS), floats(PARAMETERS)
    for task in range(begin, end):
        part = PARTS - 1 - task
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, PARAMETERS):
            columns = at_most(C - c, PARAMETERS)
            wide = side_by_side(columns, C, rows, WIDTH)
            copy(at(mean, c), centre, columns)
            load_or(w, CW, c, ONE, slope, columns)
            scale, weight_gradient, bias_gradient = at(invstd, c), at(dw, c), at(db, c)
            for j in range(columns):
                slope[j] *= scale[j]
                fall[j] = np.float32(np.float64(scale[j]) * weight_gradient[j] * share)
                shift[j] = np.float32(np.float64(bias_gradient[j]) * share)
            repeat(centre, columns, wide)
            repeat(slope, columns, wide)
            repeat(fall, columns, wide)
            repeat(shift, columns, wide)
            for row in range(0, rows, wide):
                first, count = (part * ROWS + row) * C + c, at_most(rows - row, wide) * columns
                _write_gradient(at(dy, first), at(x, first), at(dx, first), count, centre, slope, fall, shift, around)


@kernel
def batch_norm_inference_backward(  # type: ignore[no-untyped-def]
    dy, x, w, running_mean, running_var, dx, partial, M, C, CW, ROWS, eps, begin, end
):  # fmt: skip
    """dy times a constant a channel, and the sums of dy and of dy * xhat of each block; a chunk is read twice."""
    small = np.float32(eps)
    centre, zero, slope, offset = floats(WIDTH), floats(WIDTH), floats(WIDTH), floats(WIDTH)
    lanes, second = doubles(WIDTH), doubles(WIDTH)
    fill(zero, ZERO, WIDTH)
    fill(offset, ZERO, WIDTH)
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, WIDTH):
            columns = at_most(C - c, WIDTH)
            wide = side_by_side(columns, C, rows, GROUP)
            step = chunk_rows(CHUNK, wide * columns) * wide
            variance = at(running_var, c)
            copy(at(running_mean, c), centre, columns)
            repeat(centre, columns, wide)
            load_or(w, CW, c, ONE, slope, columns)
            for j in range(columns):
                slope[j] /= sqrt(variance[j] + small)
            fill(lanes, 0.0, WIDTH)
            fill(second, 0.0, WIDTH)
            for row in range(0, rows, step):
                first, count = (part * ROWS + row) * C + c, at_most(rows - row, step)
                sum_gradients(at(dy, first), at(x, first), C, count, columns, wide, step * C, centre, lanes, second)
                _normalise(at(dy, first), at(dx, first), C, count, columns, zero, slope, offset, streams(dx, M * C, C))
            sums, products = at(partial, 2 * part * C + c), at(partial, (2 * part + 1) * C + c)
            fold(lanes, columns, wide, sums)
            fold(second, columns, wide, products)
            for j in range(columns):
                products[j] *= 1.0 / sqrt(variance[j] + eps)


@kernel
def batch_norm_inference_backward_combine(partial, dw, db, C, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the blocks in order, in the place of the first one."""
    _combine_gradients(partial, dw, db, C, PARTS)
