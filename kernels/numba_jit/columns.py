"""Sums over the rows of a matrix, column by column, in vectors.

Four vectors of columns, a group, are summed at a time over the rows of a chunk: in registers, in float32; the chunk's
result is added to doubles. Rows of few columns are read side by side as one wide row, so that every group is filled;
the columns that mean the same are folded in the end. While a chunk is added, the next one is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiler import inline
from .memory import at, at_most, copy, doubles, fill, floats
from .simd import LANES, LINE, VECTOR, constant, load_vector, store_vector, streaming_store, zero
from .vector import add_in_double, partial_load, partial_store, prefetch, vector

WIDTH = 256  # the most columns handled at a time
GROUP = 4 * LANES  # columns whose sums stay in registers
CHUNK = 4096  # elements of a chunk: 16 KB, so that the next one has room in L1 as well
PARAMETERS = 1024  # columns of a wide row whose constants stay in L1


@inline
def side_by_side(columns, stride, rows, width):  # type: ignore[no-untyped-def]
    """How many rows are read as one of up to `width` columns: one where only part of a row's columns is handled."""
    return at_most(width // columns, rows) if columns == stride and 2 * columns <= width else 1


@inline
def chunk_rows(size, width):  # type: ignore[no-untyped-def]
    """Rows in a chunk of about `size` elements, at most 256: so many numbers may be added in float32."""
    return at_most(size // width, 256)


@inline
def fold(lanes, columns, wide, sums):  # type: ignore[no-untyped-def]
    """Set the double `sums` to the `wide` results of every column."""
    copy(lanes, sums, columns)
    for side in range(1, wide):
        first = side * columns
        for j in range(columns):
            sums[j] += lanes[first + j]


# ---------------------------------------------------------------- groups: tuples of four vectors

Group = types.UniTuple(vector, 4)


def each(build: Callable[..., Any]) -> Callable[..., Any]:
    """Code that makes a group of several, vector by vector."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        groups = [cgutils.unpack_tuple(builder, value, 4) for value in values]
        made = [build(builder, *vectors) for vectors in zip(*groups, strict=True)]
        return context.make_tuple(builder, Group, made)

    return codegen


@intrinsic
def add_group(typingctx, group, other):  # type: ignore[no-untyped-def]
    """group + other."""
    return Group(Group, Group), each(lambda b, left, right: b.fadd(left, right))


@intrinsic
def deviations(typingctx, group, centre):  # type: ignore[no-untyped-def]
    """group - centre."""
    return Group(Group, Group), each(lambda b, left, right: b.fsub(left, right))


@intrinsic
def add_products(typingctx, group, left, right):  # type: ignore[no-untyped-def]
    """group + left * right."""
    return Group(Group, Group, Group), each(lambda b, sums, one, two: b.fadd(sums, b.fmul(one, two)))


@intrinsic
def zero_group(typingctx):  # type: ignore[no-untyped-def]
    """Four vectors of zeros."""
    return Group(), lambda context, builder, signature, values: context.make_tuple(builder, Group, [zero()] * 4)


@intrinsic
def load_group(typingctx, line, count, masked, default):  # type: ignore[no-untyped-def]
    """A group of columns; if it is `masked` (a constant), those from `count` on are those of `default`."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        b = builder
        address, number, condition, other = values
        places = [b.gep(address, [constant(i * LANES)]) for i in range(4)]
        with b.if_else(b.icmp_signed("!=", condition, constant(0))) as (then, otherwise):
            with then:
                defaults = cgutils.unpack_tuple(b, other, 4)
                counts = [b.sub(number, constant(i * LANES)) for i in range(4)]
                parts = [partial_load(b, *each) for each in zip(places, counts, defaults, strict=True)]
                from_parts = b.block
            with otherwise:
                wholes = [load_vector(b, place) for place in places]
                from_wholes = b.block
        loaded = []
        for part, whole in zip(parts, wholes, strict=True):
            either = b.phi(VECTOR)
            either.add_incoming(part, from_parts)
            either.add_incoming(whole, from_wholes)
            loaded.append(either)
        return context.make_tuple(b, Group, loaded)

    return Group(line, types.int64, types.int64, Group), codegen


@intrinsic
def store_group(typingctx, line, group, count, masked, around):  # type: ignore[no-untyped-def]
    """Write a group of columns, `around` the caches if that is not 0; if it is `masked` (a constant), only `count`."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        b = builder
        address, group, number, condition, streaming = values
        stored = [(b.gep(address, [constant(i * LANES)]), value, b.sub(number, constant(i * LANES)))
                  for i, value in enumerate(cgutils.unpack_tuple(b, group, 4))]  # fmt: skip
        with b.if_else(b.icmp_signed("!=", condition, constant(0))) as (then, otherwise):
            with then:
                for place, value, left in stored:
                    partial_store(b, place, value, left)
            with otherwise, b.if_else(b.icmp_signed("!=", streaming, constant(0))) as (past, ordinary):
                with past:
                    for place, value, _ in stored:
                        streaming_store(b, value, place)
                with ordinary:
                    for place, value, _ in stored:
                        store_vector(b, value, place)
        return context.get_dummy_value()

    return types.none(line, Group, types.int64, types.int64, types.int64), codegen


@intrinsic
def add_group_to(typingctx, sums, group):  # type: ignore[no-untyped-def]
    """Add a group to the doubles behind a pointer."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        for i, part in enumerate(cgutils.unpack_tuple(builder, values[1], 4)):
            add_in_double(builder, builder.gep(values[0], [constant(i * LANES)]), part)
        return context.get_dummy_value()

    return types.none(sums, Group), codegen


@inline
def fetch(line, ahead, first, stop):  # type: ignore[no-untyped-def]
    """Fetch what lies `ahead` of the columns from `first` to `stop` of a line."""
    for k in range(first, stop, LINE):
        prefetch(at(line, ahead + k))


@inline
def sums_of_group(source, stride, rows, count, masked, rest, ahead, fetched):  # type: ignore[no-untyped-def]
    """Sums of `count` columns over `rows` wide rows, and over one more of which only `rest` columns exist."""
    sums = zeros = zero_group()
    line = source
    for _ in range(rows):
        fetch(line, ahead, 0, fetched)
        sums = add_group(sums, load_group(line, count, masked, zeros))
        line = at(line, stride)
    return add_group(sums, load_group(line, rest, 1, zeros)) if rest > 0 else sums


@inline
def add_rows(source, stride, rows, columns, wide, ahead, fetched, sums):  # type: ignore[no-untyped-def]
    """Add a chunk to the `wide` * `columns` double `sums` (which have room for whole groups).

    Of every group, the first `fetched` of the columns that lie `ahead` are fetched meanwhile.
    """
    width, step = wide * columns, wide * stride
    whole, rest = rows // wide, rows % wide * columns
    last = width - width % GROUP
    for j in range(0, last, GROUP):
        add_group_to(at(sums, j), sums_of_group(at(source, j), step, whole, GROUP, 0, rest - j, ahead, fetched))
    if last < width:
        tail = sums_of_group(at(source, last), step, whole, width - last, 1, rest - last, ahead, fetched)
        add_group_to(at(sums, last), tail)


# ---------------------------------------------------------------- sums of products


@inline
def load_or(array, size, c, default, target, columns):  # type: ignore[no-untyped-def]
    """`columns` numbers of an array from `c` on, or `default` where the array is absent."""
    if size > 0:
        copy(at(array, c), target, columns)
    else:
        fill(target, default, columns)


@inline
def add_parts(partial, sums, parts, size):  # type: ignore[no-untyped-def]
    """sums = the `size` sums of all parts, added in order."""
    total = at(sums, 0)
    fill(total, 0.0, size)
    for part in range(parts):
        more = at(partial, part * size)
        for j in range(size):
            total[j] += more[j]


@inline
def repeat(numbers, columns, wide):  # type: ignore[no-untyped-def]
    """Repeat the first `columns` numbers for every one of `wide` rows side by side."""
    for side in range(1, wide):
        copy(numbers, at(numbers, side * columns), columns)


@inline
def _moments_of_group(source, stride, rows, count, masked, rest, ahead, first, centre, sums, squares):  # type: ignore[no-untyped-def]
    """Columns and rows as in `sums_of_group`; what does not exist deviates by 0."""
    c = load_group(centre, GROUP, 0, zero_group())
    s = q = zero_group()
    line = source
    for _ in range(rows):
        fetch(line, ahead, first, GROUP)
        d = deviations(load_group(line, count, masked, c), c)
        s, q = add_group(s, d), add_products(q, d, d)
        line = at(line, stride)
    if rest > 0:
        d = deviations(load_group(line, rest, 1, c), c)
        s, q = add_group(s, d), add_products(q, d, d)
    add_group_to(sums, s)
    add_group_to(squares, q)


@inline
def add_deviations(source, stride, rows, columns, wide, ahead, first, centre, sums, squares):  # type: ignore[no-untyped-def]
    """Add to the `wide` * `columns` doubles the deviations from `centre` and their squares over a chunk.

    Of every group, the columns from `first` on that lie `ahead` are fetched meanwhile.
    """
    width, step = wide * columns, wide * stride
    whole, rest = rows // wide, rows % wide * columns
    for j in range(0, width - GROUP + 1, GROUP):
        line, c, s, q = at(source, j), at(centre, j), at(sums, j), at(squares, j)
        _moments_of_group(line, step, whole, GROUP, 0, rest - j, ahead, first, c, s, q)
    j = width - width % GROUP
    if j < width:
        line, c, s, q = at(source, j), at(centre, j), at(sums, j), at(squares, j)
        _moments_of_group(line, step, whole, width - j, 1, rest - j, ahead, first, c, s, q)


@inline
def _products_of_group(dy, x, stride, rows, count, masked, rest, ahead, centre, sums, products):  # type: ignore[no-untyped-def]
    c = load_group(centre, GROUP, 0, zero_group())
    s = q = zeros = zero_group()
    gradient, line = dy, x
    for _ in range(rows):
        fetch(gradient, ahead, 0, GROUP)
        fetch(line, ahead, 0, GROUP)
        g = load_group(gradient, count, masked, zeros)
        s, q = add_group(s, g), add_products(q, g, deviations(load_group(line, count, masked, c), c))
        gradient, line = at(gradient, stride), at(line, stride)
    if rest > 0:
        g = load_group(gradient, rest, 1, zeros)
        s, q = add_group(s, g), add_products(q, g, deviations(load_group(line, rest, 1, c), c))
    add_group_to(sums, s)
    add_group_to(products, q)


@inline
def sum_gradients(dy, x, stride, rows, columns, wide, ahead, centre, sums, products):  # type: ignore[no-untyped-def]
    """Add to the `wide` * `columns` doubles the sums of dy and of dy * (x - centre) over a chunk."""
    width, step = wide * columns, wide * stride
    whole, rest = rows // wide, rows % wide * columns
    for j in range(0, width - GROUP + 1, GROUP):
        g, line, c, s, q = at(dy, j), at(x, j), at(centre, j), at(sums, j), at(products, j)
        _products_of_group(g, line, step, whole, GROUP, 0, rest - j, ahead, c, s, q)
    j = width - width % GROUP
    if j < width:
        g, line, c, s, q = at(dy, j), at(x, j), at(centre, j), at(sums, j), at(products, j)
        _products_of_group(g, line, step, whole, width - j, 1, rest - j, ahead, c, s, q)


@inline
def sum_blocks(add, sources, centre, partial, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """Two sums a column of each block of ROWS rows, those of a chunk by ``add(sources, first, ...)``."""
    middle, lanes, second = floats(WIDTH), doubles(WIDTH), doubles(WIDTH)
    for part in range(begin, end):
        rows = at_most(M - part * ROWS, ROWS)
        for c in range(0, C, WIDTH):
            columns = at_most(C - c, WIDTH)
            wide = side_by_side(columns, C, rows, GROUP)
            step = chunk_rows(CHUNK, wide * columns) * wide
            copy(at(centre, c), middle, columns)
            repeat(middle, columns, wide)
            fill(lanes, 0.0, WIDTH)
            fill(second, 0.0, WIDTH)
            for row in range(0, rows, step):
                first, count = (part * ROWS + row) * C + c, at_most(rows - row, step)
                add(sources, first, C, count, columns, wide, step * C, middle, lanes, second)
            fold(lanes, columns, wide, at(partial, 2 * part * C + c))
            fold(second, columns, wide, at(partial, (2 * part + 1) * C + c))
