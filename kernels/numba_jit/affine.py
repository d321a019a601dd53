"""Scales, shifts, activations and sums of branches: task i handles rows [i * ROWS, (i + 1) * ROWS) of (M, C).

Rows of few channels are read side by side as one wide row (see `columns.py`). One code serves all combinations of
absent arrays: a pointer to what is absent points to what is there, and is read in vain. A vector is read before its
place is written, so dx may be dy's memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..fused import NO_ACTIVATION, RELU6
from .columns import (
    CHUNK,
    GROUP,
    PARAMETERS,
    WIDTH,
    Group,
    add_group,
    add_group_to,
    add_parts,
    add_products,
    chunk_rows,
    deviations,
    each,
    fetch,
    fold,
    load_group,
    load_or,
    repeat,
    side_by_side,
    store_group,
    zero_group,
)
from .compiler import inline, kernel
from .exponential import INFINITY, ONE, ZERO
from .memory import at, at_most, doubles, fill, floats, streams
from .simd import LANES, LINE, VECTOR, constant, f32, fma, i1, splat, zero
from .vector import AHEAD, load, load_part, prefetch, put, store_part, where

SIX = np.float32(6.0)
BELOW_SIX = float(np.nextafter(SIX, ZERO))


# ---------------------------------------------------------------- a line of two arrays


@inline
def _map_line(function, a, b, target, count, parameters, around):  # type: ignore[no-untyped-def]
    """target = function(a, b, *parameters, k) for `count` elements, where `parameters` are those of element k."""
    whole = count - count % LINE
    for j in range(0, whole, LINE):
        prefetch(at(a, j + AHEAD))
        prefetch(at(b, j + AHEAD))
        for k in range(j, j + LINE, LANES):
            put(at(target, k), function(load(at(a, k)), load(at(b, k)), k, *parameters), around)
    for j in range(whole, count, LANES):
        left, right = load_part(at(a, j), count - j, ZERO), load_part(at(b, j), count - j, ZERO)
        store_part(at(target, j), function(left, right, j, *parameters), count - j)


@inline
def _set_constants(array, size, c, default, target, columns, wide):  # type: ignore[no-untyped-def]
    """A wide row's constants: the columns from c on of an array, or `default` where it is absent."""
    load_or(array, size, c, default, target, columns)
    repeat(target, columns, wide)


@inline
def _clamp(value, low, high):  # type: ignore[no-untyped-def]
    """NaN stays NaN."""
    value = where(value < low, low, value)
    return where(value > high, high, value)


@inline
def _one_branch(x, r, k, scale, shift, r_scale, r_shift, low, high):  # type: ignore[no-untyped-def]
    return _clamp(x * load(at(scale, k)) + load(at(shift, k)), low, high)


@inline
def _two_branches(x, r, k, scale, shift, r_scale, r_shift, low, high):  # type: ignore[no-untyped-def]
    other = r * load(at(r_scale, k)) + load(at(r_shift, k))
    return _clamp(x * load(at(scale, k)) + load(at(shift, k)) + other, low, high)


@kernel
def affine_forward(  # type: ignore[no-untyped-def]
    x, scale, shift, r, r_scale, r_shift, y, M, C, P, MR, Q, ROWS, activation, begin, end
):  # fmt: skip
    """Line by line."""
    around = streams(y, M * C, C)
    low = -INFINITY if activation == NO_ACTIVATION else ZERO
    high = SIX if activation == RELU6 else INFINITY
    factor, addend = floats(PARAMETERS), floats(PARAMETERS)
    r_factor, r_addend = floats(PARAMETERS), floats(PARAMETERS)
    parameters = factor, addend, r_factor, r_addend, low, high
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, PARAMETERS):
            columns = at_most(C - c, PARAMETERS)
            wide = side_by_side(columns, C, rows, WIDTH)
            _set_constants(scale, P, c, ONE, factor, columns, wide)
            _set_constants(shift, P, c, ZERO, addend, columns, wide)
            _set_constants(r_scale, Q, c, ONE, r_factor, columns, wide)
            _set_constants(r_shift, Q, c, ZERO, r_addend, columns, wide)
            for row in range(0, rows, wide):
                first, count = (part * ROWS + row) * C + c, at_most(rows - row, wide) * columns
                if MR > 0:
                    _map_line(_two_branches, at(x, first), at(r, first), at(y, first), count, parameters, around)
                else:
                    _map_line(_one_branch, at(x, first), at(x, first), at(y, first), count, parameters, around)


@inline
def _composed(dy, z, k, slope, factor, offset):  # type: ignore[no-untyped-def]
    return dy * load(at(slope, k)) + (z * load(at(factor, k)) + load(at(offset, k)))


@kernel
def affine_gradient(dy, z, slope, factor, offset, dx, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """Line by line."""
    around = streams(dx, M * C, C)
    of_dy, of_z, addend = floats(PARAMETERS), floats(PARAMETERS), floats(PARAMETERS)
    parameters = of_dy, of_z, addend
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, PARAMETERS):
            columns = at_most(C - c, PARAMETERS)
            wide = side_by_side(columns, C, rows, WIDTH)
            _set_constants(slope, C, c, ZERO, of_dy, columns, wide)
            _set_constants(factor, C, c, ZERO, of_z, columns, wide)
            _set_constants(offset, C, c, ZERO, addend, columns, wide)
            for row in range(0, rows, wide):
                first, count = (part * ROWS + row) * C + c, at_most(rows - row, wide) * columns
                _map_line(_composed, at(dy, first), at(z, first), at(dx, first), count, parameters, around)


# ---------------------------------------------------------------- the gradient in front of an activation


@intrinsic
def _masked(typingctx, dy, dy2, seen, factor, addend, adds, activation):  # type: ignore[no-untyped-def]
    """dy, and dy2 if it `adds`, where the activation's derivative at seen * factor + addend is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        b, (adds, activation) = builder, values[5:]
        second = splat(b, adds, i1)
        always = splat(b, b.icmp_signed("==", activation, constant(NO_ACTIVATION)), i1)
        six = b.icmp_signed("==", activation, constant(RELU6))
        most = splat(b, b.select(six, ir.Constant(f32, BELOW_SIX), ir.Constant(f32, float("inf"))))
        nothing = ir.Constant(VECTOR, [-0.0] * LANES)

        def build(b: Any, dy: Any, dy2: Any, seen: Any, factor: Any, addend: Any) -> Any:
            before = fma(b, seen, factor, addend)
            inside = b.and_(b.fcmp_ordered(">", before, zero()), b.fcmp_ordered("<=", before, most))
            return b.select(b.or_(inside, always), b.fadd(dy, b.select(second, dy2, nothing)), zero())

        return each(build)(context, b, signature, values[:5])

    return Group(Group, Group, Group, Group, Group, types.boolean, types.int64), codegen


@inline
def _load(sources, j, count, masked, full):  # type: ignore[no-untyped-def]
    """The groups at element j of the arrays, zeros behind `count` if they are `masked`; only of two if not `full`."""
    dy, dy2, seen, z, r = sources
    zeros = zero_group()
    g, s = load_group(at(dy, j), count, masked, zeros), load_group(at(seen, j), count, masked, zeros)
    if not full:
        return g, zeros, s, s, zeros
    return (g, load_group(at(dy2, j), count, masked, zeros), s, load_group(at(z, j), count, masked, zeros),
            load_group(at(r, j), count, masked, zeros))  # fmt: skip


@inline
def _fetch(sources, there, j, full):  # type: ignore[no-untyped-def]
    """Fetch groups of the arrays that are there: asking again for the same line is not free."""
    dy, dy2, seen, z, r = sources
    dy2_there, seen_there, z_there, r_there = there
    fetch(dy, j, 0, GROUP)
    if seen_there:
        fetch(seen, j, 0, GROUP)
    if full and dy2_there:
        fetch(dy2, j, 0, GROUP)
    if full and z_there:
        fetch(z, j, 0, GROUP)
    if full and r_there:
        fetch(r, j, 0, GROUP)


@inline
def _pass_group(sources, dx, j, stride, rows, count, masked, full, rest, ahead, constants, flags, totals):  # type: ignore[no-untyped-def]
    """Columns and rows as in `columns.sums_of_group`, from column j on; what does not exist has a gradient of 0.

    If it is not `full` (a constant), there are no dy2 and r, and z is what the mask is made of.
    """
    there, activation, around = flags
    factor, addend, centre, r_centre = constants
    adds, zeros = full > 0 and there[0], zero_group()
    scale, shift = load_group(at(factor, j), GROUP, 0, zeros), load_group(at(addend, j), GROUP, 0, zeros)
    middle, r_middle = load_group(at(centre, j), GROUP, 0, zeros), load_group(at(r_centre, j), GROUP, 0, zeros)
    sums = products = r_products = zeros
    place = j
    for _ in range(rows):
        _fetch(sources, there, place + ahead, full)
        dy, dy2, seen, z, r = _load(sources, place, count, masked, full)
        g = _masked(dy, dy2, seen, scale, shift, adds, activation)
        store_group(at(dx, place), g, count, masked, around)
        sums, products = add_group(sums, g), add_products(products, g, deviations(z, middle))
        r_products = add_products(r_products, g, deviations(r, r_middle))
        place += stride
    if rest > 0:
        dy, dy2, seen, z, r = _load(sources, place, rest, 1, full)
        g = _masked(dy, dy2, seen, scale, shift, adds, activation)
        store_group(at(dx, place), g, rest, 1, around)
        sums, products = add_group(sums, g), add_products(products, g, deviations(z, middle))
        r_products = add_products(r_products, g, deviations(r, r_middle))
    of_dx, of_z, of_r = totals
    add_group_to(at(of_dx, j), sums)
    add_group_to(at(of_z, j), products)
    if full:
        add_group_to(at(of_r, j), r_products)


@inline
def _pass_chunk(sources, dx, stride, rows, columns, wide, full, ahead, constants, flags, totals):  # type: ignore[no-untyped-def]
    """Write dx, and add to the `wide` * `columns` doubles of each of `totals`."""
    width, step = wide * columns, wide * stride
    whole, rest = rows // wide, rows % wide * columns
    last = width - width % GROUP
    for j in range(0, last, GROUP):
        if full:
            _pass_group(sources, dx, j, step, whole, GROUP, 0, 1, rest - j, ahead, constants, flags, totals)
        else:
            _pass_group(sources, dx, j, step, whole, GROUP, 0, 0, rest - j, ahead, constants, flags, totals)
    if last < width:
        _pass_group(sources, dx, last, step, whole, width - last, 1, 1, rest - last, ahead, constants, flags, totals)


@inline
def _write_sums(lanes, products, there, columns, wide, target, size):  # type: ignore[no-untyped-def]
    """The block's sums, and those of products, 0 if what dx is multiplied with is not `there`."""
    fold(lanes, columns, wide, target)
    if there:
        fold(products, columns, wide, at(target, size))
    else:
        fill(at(target, size), 0.0, columns)


@kernel
def affine_backward(  # type: ignore[no-untyped-def]
    dy, dy2, y, z, scale, shift, centre, r, r_centre, dx, partial, r_partial,
    M, C, M2, MY, MZ, P, E, MR, F, ROWS, activation, begin, end,
):  # fmt: skip
    """Chunk by chunk, group by group: dx is written and added up in one pass.

    What is absent is read from dy, in vain; the commonest case, a mask made of the array that dx is multiplied with,
    has code of its own that does not.
    """
    factor, addend, middle, r_middle = floats(WIDTH), floats(WIDTH), floats(WIDTH), floats(WIDTH)
    sums, products, r_products = doubles(WIDTH), doubles(WIDTH), doubles(WIDTH)
    constants, totals = (factor, addend, middle, r_middle), (sums, products, r_products)
    flags = (M2 > 0, MY > 0 or MZ > 0, MY > 0 and MZ > 0, MR > 0), activation, streams(dx, M * C, C)
    full, scaled = M2 > 0 or F > 0 or (MY > 0 and MZ > 0), P if MY == 0 else 0
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, WIDTH):
            columns = at_most(C - c, WIDTH)
            wide = side_by_side(columns, C, rows, GROUP)
            step = chunk_rows(CHUNK, wide * columns) * wide
            _set_constants(scale, scaled, c, ONE, factor, columns, wide)
            _set_constants(shift, scaled, c, ZERO, addend, columns, wide)
            _set_constants(centre, E, c, ZERO, middle, columns, wide)
            _set_constants(r_centre, F, c, ZERO, r_middle, columns, wide)
            fill(sums, 0.0, WIDTH)
            fill(products, 0.0, WIDTH)
            fill(r_products, 0.0, WIDTH)
            for row in range(0, rows, step):
                first, count = (part * ROWS + row) * C + c, at_most(rows - row, step)
                gradient, inputs = at(dy, first), at(z if MZ > 0 else dy, first)
                other, branch = at(dy2 if M2 > 0 else dy, first), at(r if MR > 0 else dy, first)
                sources = gradient, other, at(y, first) if MY > 0 else inputs, inputs, branch
                _pass_chunk(sources, at(dx, first), C, count, columns, wide, full, step * C, constants, flags, totals)
            if E > 0:
                _write_sums(sums, products, MZ > 0, columns, wide, at(partial, 2 * part * C + c), C)
            if F > 0:
                _write_sums(sums, r_products, MR > 0, columns, wide, at(r_partial, 2 * part * C + c), C)


@kernel
def affine_backward_combine(partial, r_partial, sums, r_sums, E, F, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the blocks in order."""
    add_parts(partial, sums, PARTS, 2 * E)
    add_parts(r_partial, r_sums, PARTS, 2 * F)
