"""Batch normalisation: task i handles rows [i * ROWS, (i + 1) * ROWS) of the (M, C) input.

Rows of few channels are read side by side as one wide row (see `reduce.py`). Sums run in float32 over a chunk of wide
rows that stays in L1, are joined in double, and blocks are combined in order.
"""

from __future__ import annotations

import numpy as np

from .compiler import inline, kernel
from .exponential import ONE, ZERO, sqrt
from .memory import at, at_most, copy, doubles, fill, floats
from .reduce import WIDTH, add_rows, fold, side_by_side

CHUNK = 32  # wide rows: 32 KB


@inline
def _repeat(numbers, columns, wide):  # type: ignore[no-untyped-def]
    """Repeat the first `columns` numbers for every one of `wide` rows side by side."""
    for side in range(1, wide):
        copy(numbers, at(numbers, side * columns), columns)


# ---------------------------------------------------------------- statistics


@inline
def _add_deviations(source, stride, rows, columns, wide, centre, sums, squares):  # type: ignore[no-untyped-def]
    for row in range(0, rows, wide):
        line = at(source, row * stride)
        for j in range(at_most(rows - row, wide) * columns):
            deviation = line[j] - centre[j]
            sums[j] += deviation
            squares[j] += deviation * deviation


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
def _chunk_moments(source, C, rows, columns, wide, centre, lanes, second, mean, squares):  # type: ignore[no-untyped-def]
    """Set `mean` and `squares` to a chunk's mean and sum of squared deviations; the second pass reads L1.

    Deviations are taken from the mean rounded to float32 (`centre`), and what that misses is put right in double.
    """
    add_rows(source, C, rows, columns, wide, lanes)
    fill(mean, 0.0, columns)
    fold(lanes, columns, wide, mean)
    for j in range(columns):
        centre[j] = np.float32(mean[j] / rows)
    _repeat(centre, columns, wide)
    fill(lanes, ZERO, WIDTH)
    fill(second, ZERO, WIDTH)
    _add_deviations(source, C, rows, columns, wide, centre, lanes, second)
    fill(mean, 0.0, columns)
    fill(squares, 0.0, columns)
    fold(lanes, columns, wide, mean)
    fold(second, columns, wide, squares)
    for j in range(columns):
        rest = mean[j] / rows
        squares[j] -= rest * mean[j]
        mean[j] = centre[j] + rest


@kernel
def batch_norm_forward_statistics(x, partial, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """Mean and sum of squared deviations of each block; within it, chunks are combined in order."""
    centre, lanes, second = floats(WIDTH), floats(WIDTH), floats(WIDTH)
    mean, squares = doubles(WIDTH), doubles(WIDTH)
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, WIDTH):
            columns = at_most(C - c, WIDTH)
            wide = side_by_side(columns, C, rows)
            part_mean, part_squares = at(partial, 2 * part * C + c), at(partial, (2 * part + 1) * C + c)
            fill(part_mean, 0.0, columns)
            fill(part_squares, 0.0, columns)
            for row in range(0, rows, CHUNK * wide):
                count = at_most(rows - row, CHUNK * wide)
                source = at(x, (part * ROWS + row) * C + c)
                _chunk_moments(source, C, count, columns, wide, centre, lanes, second, mean, squares)
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
def _load_or(array, size, c, default, target, columns):  # type: ignore[no-untyped-def]
    """`columns` numbers of an array from `c` on, or `default` where the array is absent."""
    if size > 0:
        copy(at(array, c), target, columns)
    else:
        fill(target, default, columns)


@inline
def _normalise(source, target, C, rows, columns, centre, slope, offset):  # type: ignore[no-untyped-def]
    """Write rows of the target; subtracting first keeps the digits of data far from 0."""
    wide = side_by_side(columns, C, rows)
    _repeat(centre, columns, wide)
    _repeat(slope, columns, wide)
    _repeat(offset, columns, wide)
    for row in range(0, rows, wide):
        line, result = at(source, row * C), at(target, row * C)
        for j in range(at_most(rows - row, wide) * columns):
            result[j] = (line[j] - centre[j]) * slope[j] + offset[j]


@kernel
def batch_norm_forward(x, w, b, y, mean, invstd, M, C, CW, CB, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """(x - mean) * (invstd * w) + b."""
    centre, slope, offset = floats(WIDTH), floats(WIDTH), floats(WIDTH)
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, WIDTH):
            columns = at_most(C - c, WIDTH)
            copy(at(mean, c), centre, columns)
            _load_or(w, CW, c, ONE, slope, columns)
            _load_or(b, CB, c, ZERO, offset, columns)
            scale = at(invstd, c)
            for j in range(columns):
                slope[j] *= scale[j]
            first = part * ROWS * C + c
            _normalise(at(x, first), at(y, first), C, rows, columns, centre, slope, offset)


@kernel
def batch_norm_inference(  # type: ignore[no-untyped-def]
    x, w, b, running_mean, running_var, y, M, C, CW, CB, ROWS, eps, begin, end
):  # fmt: skip
    """As in training, with the running statistics."""
    centre, slope, offset = floats(WIDTH), floats(WIDTH), floats(WIDTH)
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, WIDTH):
            columns = at_most(C - c, WIDTH)
            copy(at(running_mean, c), centre, columns)
            _load_or(w, CW, c, ONE, slope, columns)
            _load_or(b, CB, c, ZERO, offset, columns)
            variance = at(running_var, c)
            for j in range(columns):
                slope[j] = np.float32(slope[j] / sqrt(variance[j] + eps))
            first = part * ROWS * C + c
            _normalise(at(x, first), at(y, first), C, rows, columns, centre, slope, offset)


# ---------------------------------------------------------------- backward


@inline
def _sum_gradients(dy, x, C, rows, columns, wide, centre, sums, products):  # type: ignore[no-untyped-def]
    """Add to the doubles the sums of dy and of dy * (x - centre) over `rows` rows."""
    lanes, second = floats(WIDTH), floats(WIDTH)
    for start in range(0, rows, CHUNK * wide):
        stop = at_most(rows, start + CHUNK * wide)
        fill(lanes, ZERO, WIDTH)
        fill(second, ZERO, WIDTH)
        for row in range(start, stop, wide):
            gradient, line = at(dy, row * C), at(x, row * C)
            for j in range(at_most(stop - row, wide) * columns):
                lanes[j] += gradient[j]
                second[j] += gradient[j] * (line[j] - centre[j])
        fold(lanes, columns, wide, sums)
        fold(second, columns, wide, products)


@kernel
def batch_norm_backward_sums(dy, x, mean, invstd, partial, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """The sums of dy and of dy * xhat of each block."""
    centre = floats(WIDTH)
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, WIDTH):
            columns = at_most(C - c, WIDTH)
            wide = side_by_side(columns, C, rows)
            sums, products = at(partial, 2 * part * C + c), at(partial, (2 * part + 1) * C + c)
            fill(sums, 0.0, columns)
            fill(products, 0.0, columns)
            copy(at(mean, c), centre, columns)
            _repeat(centre, columns, wide)
            first = part * ROWS * C + c
            _sum_gradients(at(dy, first), at(x, first), C, rows, columns, wide, centre, sums, products)
            scale = at(invstd, c)
            for j in range(columns):
                products[j] *= scale[j]


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


@kernel
def batch_norm_backward(dy, x, w, mean, invstd, dx, dw, db, M, C, CW, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """w * invstd * (dy - db / M - (x - mean) * (invstd * dw / M))."""
    centre, slope, fall, shift = floats(WIDTH), floats(WIDTH), floats(WIDTH), floats(WIDTH)
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, WIDTH):
            columns = at_most(C - c, WIDTH)
            wide = side_by_side(columns, C, rows)
            copy(at(mean, c), centre, columns)
            _load_or(w, CW, c, ONE, slope, columns)
            scale, weight_gradient, bias_gradient = at(invstd, c), at(dw, c), at(db, c)
            for j in range(columns):
                slope[j] *= scale[j]
                fall[j] = np.float32(np.float64(scale[j]) * weight_gradient[j] / M)
                shift[j] = np.float32(np.float64(bias_gradient[j]) / M)
            _repeat(centre, columns, wide)
            _repeat(slope, columns, wide)
            _repeat(fall, columns, wide)
            _repeat(shift, columns, wide)
            for row in range(part * ROWS, part * ROWS + rows, wide):
                first = row * C + c
                gradient, line, result = at(dy, first), at(x, first), at(dx, first)
                for j in range(at_most(part * ROWS + rows - row, wide) * columns):
                    result[j] = slope[j] * (gradient[j] - shift[j] - (line[j] - centre[j]) * fall[j])


@kernel
def batch_norm_inference_backward(  # type: ignore[no-untyped-def]
    dy, x, w, running_mean, running_var, dx, partial, M, C, CW, ROWS, eps, begin, end
):  # fmt: skip
    """dy times a constant a channel, and the sums of dy and of dy * xhat of each block."""
    centre, slope, zero = floats(WIDTH), floats(WIDTH), floats(WIDTH)
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, WIDTH):
            columns = at_most(C - c, WIDTH)
            wide = side_by_side(columns, C, rows)
            variance = at(running_var, c)
            sums, products = at(partial, 2 * part * C + c), at(partial, (2 * part + 1) * C + c)
            fill(sums, 0.0, columns)
            fill(products, 0.0, columns)
            copy(at(running_mean, c), centre, columns)
            _repeat(centre, columns, wide)
            first = part * ROWS * C + c
            _sum_gradients(at(dy, first), at(x, first), C, rows, columns, wide, centre, sums, products)
            _load_or(w, CW, c, ONE, slope, columns)
            for j in range(columns):
                invstd = 1.0 / sqrt(variance[j] + eps)
                products[j] *= invstd
                slope[j] = np.float32(slope[j] * invstd)
            fill(centre, ZERO, columns)
            fill(zero, ZERO, columns)
            _normalise(at(dy, first), at(dx, first), C, rows, columns, centre, slope, zero)


@kernel
def batch_norm_inference_backward_combine(partial, dw, db, C, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the blocks in order, in the place of the first one."""
    _combine_gradients(partial, dw, db, C, PARTS)
