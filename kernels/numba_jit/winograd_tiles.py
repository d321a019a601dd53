"""Where the pixels of a tile stand, and the matrix product of a plane of tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..blocking import PANEL
from ..winograd import OUTPUT, SHORT
from .compiler import inline
from .memory import at, at_most
from .simd import (
    LANES,
    LINE,
    VECTOR,
    FloatPointer,
    constant,
    fma,
    i1,
    i64,
    load_vector,
    opaque,
    prefetch,
    splat,
    store_vector,
    zero,
)

LONG, TALL, MIDDLE = (24, 12, 8) if LANES == 16 else (SHORT, SHORT, SHORT)
"""Rows of the larger register tiles of a product; LONG where they are one vector wide."""
EARLY, SOON = 6, 3  # tiles between the one that is transformed and the one whose pixels, or whose results' places, are
# fetched into the cache meanwhile
CHAIN = 256  # products that are added before they meet the sum; 256 x 32 weights stay in the first cache


@intrinsic(prefer_literal=True)
def _tile(typingctx, rows, vectors, asks, depth, a, a_row, a_depth, b, c, add):  # type: ignore[no-untyped-def]
    """c[rows, vectors * LANES] = (c if add) + a[rows, depth] b[depth, vectors * LANES]; b and c have PANEL columns.

    Whole vectors without masks. The loop is built of phis, its pointers step by step: LLVM unrolls a loop over an
    index, and runs out of registers. If the literal `asks` is 1, each step asks for as many elements of the rows that
    come next as it reads: all of them where rows of `depth` elements stand one behind the other.
    """
    tile_rows, tile_vectors = rows.literal_value, vectors.literal_value

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, _, depth, a, a_row, a_depth, b, c, add = arguments
        steps = [builder.mul(a_row, constant(i)) for i in range(4)]
        starts = [builder.gep(a, [builder.mul(a_row, constant(i))]) for i in range(0, tile_rows, 4)]
        targets = [[builder.gep(c, [constant(i * PANEL + j * LANES)]) for j in range(tile_vectors)]
                   for i in range(tile_rows)]  # fmt: skip
        for target in targets:
            for pointer in target:
                prefetch(builder, pointer, writing=True)
        following_rows = builder.gep(a, [builder.mul(a_row, constant(tile_rows))])
        entry = builder.block
        loop, done = builder.append_basic_block("depth"), builder.append_basic_block("done")
        empty = builder.icmp_signed("<=", depth, constant(0))
        builder.cbranch(empty, done, loop)
        with builder.goto_block(loop):
            count = builder.phi(i64)
            count.add_incoming(depth, entry)
            a_at = [builder.phi(a.type) for _ in starts]
            b_at = builder.phi(b.type)
            b_at.add_incoming(b, entry)
            sums = [[builder.phi(VECTOR) for _ in range(tile_vectors)] for _ in range(tile_rows)]
            for phi, start in zip(a_at, starts, strict=True):
                phi.add_incoming(start, entry)
            if asks.literal_value:
                ahead = builder.mul(builder.sub(depth, count), constant(tile_rows))
                prefetch(builder, builder.gep(following_rows, [ahead]))
            b_vectors = [load_vector(builder, builder.gep(b_at, [constant(j * LANES)])) for j in range(tile_vectors)]
            results = []
            for i in range(tile_rows):
                scalar = splat(builder, builder.load(builder.gep(a_at[i // 4], [steps[i % 4]])))
                results.append([fma(builder, scalar, b_vectors[j], sums[i][j]) for j in range(tile_vectors)])
            for row, result in zip(sums, results, strict=True):
                for phi, value in zip(row, result, strict=True):
                    phi.add_incoming(zero(), entry)
                    phi.add_incoming(value, loop)
            for phi in a_at:
                phi.add_incoming(builder.gep(phi, [a_depth]), loop)
            b_at.add_incoming(builder.gep(b_at, [constant(PANEL)]), loop)
            left = builder.sub(count, constant(1))
            count.add_incoming(left, loop)
            builder.cbranch(builder.icmp_signed(">", left, constant(0)), loop, done)
        builder.position_at_end(done)
        finals = [[builder.phi(VECTOR) for _ in result] for result in results]
        for row, result in zip(finals, results, strict=True):
            for phi, value in zip(row, result, strict=True):
                phi.add_incoming(zero(), entry)
                phi.add_incoming(value, loop)
        adding = builder.icmp_signed("!=", add, constant(0))
        with builder.if_else(adding) as (then, otherwise):
            with then:
                for target, final in zip(targets, finals, strict=True):
                    for pointer, value in zip(target, final, strict=True):
                        store_vector(builder, builder.fadd(load_vector(builder, pointer), value), pointer)
            with otherwise:
                for target, final in zip(targets, finals, strict=True):
                    for pointer, value in zip(target, final, strict=True):
                        store_vector(builder, value, pointer)
        return context.get_dummy_value()

    L = types.int64
    return types.void(rows, vectors, asks, L, FloatPointer, L, L, FloatPointer, FloatPointer, L), codegen


def behind(b: Any, pointer: Any, elements: Any) -> Any:
    """The pointer `elements` further, as a value whose origin LLVM does not know.

    Else it would keep each of some 36 pointers of a tile on the stack and step them from tile to tile.
    """
    return opaque(b, b.gep(pointer, [elements]))


class Square:
    """size x size pixels of an image, for code being built: their places, and masks of those inside the image.

    Pixel (i, j) stands ``i * down + j * right`` elements behind `corner`, which is pixel (`row`, `column`) of an image
    of `high` x `wide` pixels and may lie outside of it.
    """

    def __init__(
        self, b: Any, size: int, corner: Any, down: Any, right: Any, row: Any, high: Any, column: Any, wide: Any
    ) -> None:
        self.b, self.corner, self.down, self.right = b, corner, down, right
        self.rows = [self._inside(row, i, high) for i in range(size)]
        self.columns = [self._inside(column, j, wide) for j in range(size)]
        self.whole = b.and_(b.and_(self.rows[0], self.rows[-1]), b.and_(self.columns[0], self.columns[-1]))

    def _inside(self, first: Any, index: int, count: Any) -> Any:
        return self.b.icmp_unsigned("<", self.b.add(first, constant(index)), count)

    def pointers(self, c: Any) -> Callable[[int, int], Any]:
        """Where channel `c` of pixel (i, j) stands, or would stand: a function of (i, j)."""
        b, size = self.b, len(self.rows)
        rows = [behind(b, self.corner, b.add(c, b.mul(self.down, constant(i)))) for i in range(size)]
        return lambda i, j: b.gep(rows[i], [b.mul(self.right, constant(j))])

    def masks(self, mask: Any) -> Callable[[int, int], Any]:
        """`mask` for pixels inside the image, nothing for those outside: a function of (i, j)."""
        b = self.b
        rows = [b.and_(mask, splat(b, inside, i1)) for inside in self.rows]
        columns = [splat(b, inside, i1) for inside in self.columns]
        return lambda i, j: b.and_(rows[i], columns[j])


Integer = types.int64
SQUARE = (FloatPointer, *[Integer] * 6)
"""Types of what a `Square` is built of."""


@inline
def place(tile, TH, TW):  # type: ignore[no-untyped-def]
    """Image, row and column, in tiles, of a tile."""
    return tile // (TH * TW), tile // TW % TH, tile % TW


@inline
def following(n, th, tw, TH, TW):  # type: ignore[no-untyped-def]
    """The place of the tile behind one."""
    tw += 1
    if tw == TW:
        tw = 0
        th += 1
    if th == TH:
        th = 0
        n += 1
    return n, th, tw


@inline
def further(n, th, tw, tiles, TH, TW):  # type: ignore[no-untyped-def]
    """The place of the tile a few `tiles` behind one: so many steps take less time than the divisions of `place`."""
    for _ in range(tiles):
        n, th, tw = following(n, th, tw, TH, TW)
    return n, th, tw


@inline
def pixel(n, th, tw, high, wide):  # type: ignore[no-untyped-def]
    """How many pixels stand before a tile's first output in images of high x wide pixels."""
    return (n * high + th * OUTPUT) * wide + tw * OUTPUT


@intrinsic
def _fetch_pixels(typingctx, first, right, channels):  # type: ignore[no-untyped-def]
    """Bring the channels of OUTPUT pixels `right` elements apart to the second cache."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        first, right, channels = arguments
        with cgutils.for_range_slice(b, constant(0), channels, constant(LINE)) as (c, _):
            for j in range(OUTPUT):
                prefetch(b, b.gep(first, [b.add(b.mul(right, constant(j)), c)]), near=False)
        return context.get_dummy_value()

    return types.void(FloatPointer, Integer, Integer), codegen


@inline
def fetch_row(x, image, n, th, tw, row, c, count):  # type: ignore[no-untyped-def]
    """Bring `count` channels, from c on, of a row of a tile of x to the second cache; x is like `image`."""
    _, high, wide, channels, _, _ = image
    start = pixel(n, th, tw, high, wide) + row * wide
    _fetch_pixels(at(x, start * channels + c), channels, count)


@inline
def multiply_tiles(tiles, columns, depth, inputs, row, weights, products):  # type: ignore[no-untyped-def]
    """products[tiles, PANEL] = inputs[tiles, depth] weights[depth, PANEL], as many columns as are needed.

    The number of tiles is a multiple of SHORT.
    """
    for first in range(0, depth if depth > 0 else 1, CHAIN):
        multiply(0, tiles, columns, at_most(depth - first, CHAIN), at(inputs, first), row, 1,
                 at(weights, first * PANEL), products, first)  # fmt: skip


@inline
def multiply(asks, rows, columns, depth, a, a_row, a_depth, b, c, add):  # type: ignore[no-untyped-def]
    """c[rows, PANEL] = (c if add) + a[rows, depth] b[depth, PANEL], as many columns as are needed.

    The number of rows is a multiple of SHORT. `asks` is a literal, see `_tile`.
    """
    for j in range(0, columns, 2 * LANES):
        two = columns - j > LANES
        b_at = at(b, j)
        i = 0
        while i < rows:
            left = rows - i
            a_at, c_at = at(a, i * a_row), at(c, i * PANEL + j)
            if not two and left >= LONG:
                _tile(LONG, 1, asks, depth, a_at, a_row, a_depth, b_at, c_at, add)
                i += LONG
            elif left >= TALL and left != 2 * MIDDLE:
                if two:
                    _tile(TALL, 2, asks, depth, a_at, a_row, a_depth, b_at, c_at, add)
                else:
                    _tile(TALL, 1, asks, depth, a_at, a_row, a_depth, b_at, c_at, add)
                i += TALL
            elif left >= MIDDLE:
                if two:
                    _tile(MIDDLE, 2, asks, depth, a_at, a_row, a_depth, b_at, c_at, add)
                else:
                    _tile(MIDDLE, 1, asks, depth, a_at, a_row, a_depth, b_at, c_at, add)
                i += MIDDLE
            else:
                if two:
                    _tile(SHORT, 2, asks, depth, a_at, a_row, a_depth, b_at, c_at, add)
                else:
                    _tile(SHORT, 1, asks, depth, a_at, a_row, a_depth, b_at, c_at, add)
                i += SHORT
