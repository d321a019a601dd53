"""The linear transforms of Winograd's algorithm as vector code: a lane is a channel.

Each is applied to the columns of a tile, then to the rows of the result. The sums of its even and of its odd rows are
shared between the points p and -p.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..winograd import INPUT, OUTPUT, SCALE_0, SCALE_P, SCALE_Q, P, Q
from .simd import (
    LANES,
    VECTOR,
    FloatPointer,
    constant,
    fma,
    i32,
    load_vector,
    masked_load,
    masked_store,
    prefetch,
    store_vector,
    streaming_store,
    tail_mask,
)
from .winograd_tiles import SQUARE, Square, behind

PP, QQ = P * P, Q * Q
KERNEL = 3
Integer = types.int64


class _Vector:
    """A vector of the code being built, with the operators of the formulas below."""

    def __init__(self, b: Any, value: Any) -> None:
        self.b, self.value = b, value

    def __add__(self, other: _Vector) -> _Vector:
        return _Vector(self.b, self.b.fadd(self.value, other.value))

    def __sub__(self, other: _Vector) -> _Vector:
        return _Vector(self.b, self.b.fsub(self.value, other.value))

    def __rmul__(self, factor: float) -> _Vector:
        return _Vector(self.b, self.b.fmul(_constant(factor), self.value))

    def plus(self, factor: float, other: _Vector) -> _Vector:
        """self + factor * other, rounded once."""
        return _Vector(self.b, fma(self.b, _constant(factor), other.value, self.value))


Element = Callable[[int], _Vector]
Finish = Callable[..., tuple[Callable[..., Any], Callable[[], None]]]
Parts = tuple[Callable[[Element], dict[int, _Vector]], ...]


def _constant(number: float) -> ir.Constant:
    return ir.Constant(VECTOR, [number] * LANES)


def _around(even: _Vector, odd: _Vector, first: int) -> dict[int, _Vector]:
    """The rows of the points p and -p."""
    return {first: even + odd, first + 1: even - odd}


# B^T d, A^T m and A g in parts, each of which gives the rows that share their sums and reads only what they need.
_INPUTS: Parts = (
    lambda d: {0: d(4).plus(-(PP + QQ), d(2)).plus(PP * QQ, d(0))},
    lambda d: _around(d(4).plus(-QQ, d(2)), (P * d(3)).plus(-P * QQ, d(1)), 1),
    lambda d: _around(d(4).plus(-PP, d(2)), (Q * d(3)).plus(-Q * PP, d(1)), 3),
    lambda d: {5: d(5).plus(-(PP + QQ), d(3)).plus(PP * QQ, d(1))},
)
_GRADIENTS: Parts = (
    lambda g: {0: g(0)},
    lambda g: _around(g(0).plus(PP, g(2)), (P * g(1)).plus(P * PP, g(3)), 1),
    lambda g: _around(g(0).plus(QQ, g(2)), (Q * g(1)).plus(Q * QQ, g(3)), 3),
    lambda g: {5: g(3)},
)


def _even_outputs(m: Element) -> dict[int, _Vector]:
    even_p, even_q = m(1) + m(2), m(3) + m(4)
    return {0: m(0) + (even_p + even_q), 2: (PP * even_p).plus(QQ, even_q)}


def _odd_outputs(m: Element) -> dict[int, _Vector]:
    odd_p, odd_q = m(1) - m(2), m(3) - m(4)
    return {1: (P * odd_p).plus(Q, odd_q), 3: m(5).plus(P * PP, odd_p).plus(Q * QQ, odd_q)}


_OUTPUTS: Parts = (_even_outputs, _odd_outputs)


def _weights(g: list[_Vector]) -> list[_Vector]:
    """G g."""
    even_p, odd_p = (SCALE_P * g[0]).plus(SCALE_P * PP, g[2]), (SCALE_P * P) * g[1]
    even_q, odd_q = (SCALE_Q * g[0]).plus(SCALE_Q * QQ, g[2]), (SCALE_Q * Q) * g[1]
    return [SCALE_0 * g[0], even_p + odd_p, even_p - odd_p, even_q + odd_q, even_q - odd_q, g[2]]


def _weight_gradients(u: list[_Vector]) -> list[_Vector]:
    """G^T u."""
    even_p, odd_p, even_q, odd_q = u[1] + u[2], u[1] - u[2], u[3] + u[4], u[3] - u[4]
    return [
        (SCALE_0 * u[0]).plus(SCALE_P, even_p).plus(SCALE_Q, even_q), (SCALE_P * P * odd_p).plus(SCALE_Q * Q, odd_q),
        u[5].plus(SCALE_P * PP, even_p).plus(SCALE_Q * QQ, even_q),
    ]  # fmt: skip


def _twice(transform: Any, size: int, element: Any) -> list[_Vector]:
    """``T d T^T`` row by row, where d is size x size and `element(i, j)` loads a vector of it."""
    columns = [transform([element(i, j) for i in range(size)]) for j in range(size)]
    return [value for i in range(len(columns[0])) for value in transform([column[i] for column in columns])]


def _twice_in_parts(parts: Parts, size: int, element: Any) -> Iterator[tuple[int, dict[int, _Vector]]]:
    """Rows of ``T d T^T`` and their numbers, where d is size x size and `element(i, j)` loads a vector of it.

    Elements are loaded again for each part, so that all that is alive fits the registers. That lasts as long as values
    are stored as they come: LLVM moves no load across a store that may write what it reads.
    """
    for part in parts:
        columns = [part(partial(_swapped, element, j)) for j in range(size)]
        for i in columns[0]:
            row = [column[i] for column in columns]
            yield i, {j: value for again in parts for j, value in again(row.__getitem__).items()}


def _swapped(element: Any, j: int, i: int) -> _Vector:
    return element(i, j)


def _load(b: Any, pointer: Any) -> _Vector:
    value = load_vector(b, pointer)
    return _Vector(b, value)


def _store(b: Any, vector: _Vector, pointer: Any) -> None:
    store_vector(b, vector.value, pointer)


def _vectors(b: Any, channels: Any) -> Any:
    """Loop over the vectors that hold so many channels."""
    return cgutils.for_range(b, b.sdiv(b.add(channels, constant(LANES - 1)), constant(LANES)))


def _strided(b: Any, pointer: Any, stride: Any, index: int) -> Any:
    return b.gep(pointer, [b.mul(stride, constant(index))])


def _put_planes(b: Any, parts: Parts, size: int, pixel: Any, planes: Any, plane: Any) -> None:
    for i, row in _twice_in_parts(parts, size, pixel):
        target = behind(b, planes, b.mul(plane, constant(i * INPUT)))
        for j, value in row.items():
            _store(b, value, _strided(b, target, plane, j))


def _gather_code(parts: Parts, size: int, fresh: int) -> Any:
    """Code that transforms a square of pixels to planes; pixels from row `fresh` on may be new to the cache."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        *place, channels, ahead, planes, plane = arguments
        pixels = Square(b, size, *place)
        with _vectors(b, channels) as loop:
            c = b.mul(loop.index, constant(LANES))
            mask = tail_mask(b, b.sub(channels, c))
            pointers = pixels.pointers(c)
            for i, j in product(range(fresh, size), repeat=2):
                prefetch(b, b.gep(pointers(i, j), [ahead]))

            def transform(masked: Any) -> None:
                def pixel(i: int, j: int) -> _Vector:
                    return _Vector(b, masked_load(b, pointers(i, j), masked(i, j)))

                _put_planes(b, parts, size, pixel, b.gep(planes, [c]), plane)

            with b.if_else(pixels.whole) as (inner, border):
                with inner:
                    transform(lambda i, j: mask)
                with border:
                    transform(pixels.masks(mask))
        return context.get_dummy_value()

    return types.void(*SQUARE, Integer, Integer, FloatPointer, Integer), codegen


@intrinsic
def transform_inputs(typingctx, corner, down, right, row, high, column, wide, channels, ahead, planes, plane):  # type: ignore[no-untyped-def]
    """planes = B^T d B of the 6x6 pixels of a `Square`; planes are `plane` elements apart.

    Whole vectors of planes are written: zeros behind the last channel. Pixels `ahead` are fetched into the cache.
    """
    return _gather_code(_INPUTS, INPUT, 1)


def _dense_code(parts: Parts, size: int) -> Any:
    """Code that transforms one vector of a square of pixels that stand side by side, rows `down` elements apart."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        corner, down, planes, plane = arguments
        rows = [behind(b, corner, b.mul(down, constant(i))) for i in range(size)]
        _put_planes(b, parts, size, lambda i, j: _load(b, b.gep(rows[i], [constant(j * LANES)])), planes, plane)
        return context.get_dummy_value()

    return types.void(FloatPointer, Integer, FloatPointer, Integer), codegen


@intrinsic
def transform_dense_inputs(typingctx, corner, down, planes, plane):  # type: ignore[no-untyped-def]
    """One vector of planes = B^T d B of 6x6 vectors, which stand side by side in rows `down` elements apart."""
    return _dense_code(_INPUTS, INPUT)


@intrinsic
def transform_dense_gradients(typingctx, corner, down, planes, plane):  # type: ignore[no-untyped-def]
    """One vector of planes = A g A^T of 4x4 vectors, which stand as those of `transform_dense_inputs`."""
    return _dense_code(_GRADIENTS, OUTPUT)


@intrinsic
def transform_gradients(typingctx, corner, down, right, row, high, column, wide, channels, ahead, planes, plane):  # type: ignore[no-untyped-def]
    """planes = A g A^T of the 4x4 pixels of a `Square`, as `transform_inputs` does it."""
    return _gather_code(_GRADIENTS, OUTPUT, 0)


OUTPUTS = (FloatPointer, Integer, Integer, FloatPointer, *SQUARE, Integer)
"""Types of what `transform_outputs` takes."""


def scatter_code(finish: Finish | None = None) -> Callable[..., Any]:
    """Code that transforms planes to a square of pixels.

    ``finish(b, c, mask, pixels, ahead, *more)`` gives a function that makes what is stored of a row of four values,
    ``row(i, values, masks)``, and another that is called behind the last.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        (planes, plane, channels, bias, *place, ahead), more = arguments[: len(OUTPUTS)], arguments[len(OUTPUTS) :]
        pixels = Square(b, OUTPUT, *place)
        with _vectors(b, channels) as loop:
            c = b.mul(loop.index, constant(LANES))
            mask = tail_mask(b, b.sub(channels, c))
            masks = pixels.masks(mask)
            pointers = pixels.pointers(c)
            change, done = finish(b, c, mask, place, ahead, *more) if finish else (None, None)
            for i, j in product(range(OUTPUT), range(OUTPUT)):
                prefetch(b, b.gep(pointers(i, j), [ahead]), writing=True)
            added = _load(b, b.gep(bias, [c]))
            sources = [behind(b, planes, b.add(c, b.mul(plane, constant(i * INPUT)))) for i in range(INPUT)]

            def element(i: int, j: int) -> _Vector:
                return _load(b, _strided(b, sources[i], plane, j))

            for i, row in _twice_in_parts(_OUTPUTS, INPUT, element):
                values, inside = [(row[j] + added).value for j in range(OUTPUT)], [masks(i, j) for j in range(OUTPUT)]
                if change:
                    values = change(i, values, inside)
                for j, value in enumerate(values):
                    masked_store(b, value, pointers(i, j), inside[j])
            if done:
                done()
        return context.get_dummy_value()

    return codegen


@intrinsic
def transform_outputs(typingctx, planes, plane, channels, bias, corner, down, right, row, high, column, wide, ahead):  # type: ignore[no-untyped-def]
    """The 4x4 pixels of a `Square` = A^T m A + bias of 36 planes, whose vectors are read whole.

    Pixels that are `ahead` are fetched into the cache, for a store waits for its line.
    """
    return types.void(*OUTPUTS), scatter_code()


@intrinsic
def transform_weights(typingctx, taps, tap, ahead, channels, planes, plane, around):  # type: ignore[no-untyped-def]
    """One vector of planes = G g G^T of 3x3 taps `tap` elements apart; zeros behind the last of `channels`.

    Taps that are `ahead` are fetched into the second cache: those of many channels fight for few places of the first.
    With `around` planes are written around the caches.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        taps, tap, ahead, channels, planes, plane, around = arguments
        mask = tail_mask(b, channels)

        def weight(i: int, j: int) -> _Vector:
            place = _strided(b, taps, tap, i * KERNEL + j)
            for lane in (0, LANES - 1):
                prefetch(b, b.gep(place, [b.add(ahead, constant(lane))]), near=False)
            return _Vector(b, masked_load(b, place, mask))

        values = _twice(_weights, KERNEL, weight)
        with b.if_else(b.icmp_signed("!=", around, constant(0))) as (streaming, ordinary):
            with streaming:
                for e, value in enumerate(values):
                    streaming_store(b, value.value, _strided(b, planes, plane, e))
            with ordinary:
                for e, value in enumerate(values):
                    _store(b, value, _strided(b, planes, plane, e))
        return context.get_dummy_value()

    return types.void(FloatPointer, Integer, Integer, Integer, FloatPointer, Integer, Integer), codegen


@intrinsic
def transform_weight_gradients(typingctx, planes, plane, channels, taps, tap):  # type: ignore[no-untyped-def]
    """3x3 taps `tap` elements apart = G^T u G of one vector of 36 planes."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        planes, plane, channels, taps, tap = arguments
        mask = tail_mask(b, channels)
        values = _twice(_weight_gradients, INPUT, lambda i, j: _load(b, _strided(b, planes, plane, i * INPUT + j)))
        for t, value in enumerate(values):
            masked_store(b, value.value, _strided(b, taps, tap, t), mask)
        return context.get_dummy_value()

    return types.void(FloatPointer, Integer, Integer, FloatPointer, Integer), codegen


@intrinsic
def transpose_vectors(typingctx, source, source_row, rows, columns, target):  # type: ignore[no-untyped-def]
    """target[j * LANES + i] = source[i, j] for i and j below LANES; zeros where i >= `rows` or j >= `columns`.

    The columns behind these are fetched into the second cache.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        source, source_row, rows, columns, target = arguments
        vectors = []
        for i in range(LANES):
            count = b.select(b.icmp_signed("<", constant(i), rows), columns, constant(0))
            place = _strided(b, source, source_row, i)
            prefetch(b, b.gep(place, [constant(2 * LANES - 1)]), near=False)
            vectors.append(masked_load(b, place, tail_mask(b, count)))
        distance = 1
        while distance < LANES:
            for i in range(LANES):
                if not i & distance:
                    vectors[i], vectors[i + distance] = _exchange(b, vectors[i], vectors[i + distance], distance)
            distance *= 2
        for j, vector in enumerate(vectors):
            _store(b, _Vector(b, vector), b.gep(target, [constant(j * LANES)]))
        return context.get_dummy_value()

    return types.void(FloatPointer, Integer, Integer, Integer, FloatPointer), codegen


def _exchange(b: Any, first: Any, second: Any, distance: int) -> tuple[Any, Any]:
    """Exchange the blocks off the diagonal of two rows of blocks that are `distance` lanes wide."""

    def shuffle(lanes: list[int]) -> Any:
        return b.shuffle_vector(first, second, ir.Constant(ir.VectorType(i32, LANES), lanes))

    return (shuffle([LANES + lane - distance if lane & distance else lane for lane in range(LANES)]),
            shuffle([LANES + lane if lane & distance else lane + distance for lane in range(LANES)]))  # fmt: skip
