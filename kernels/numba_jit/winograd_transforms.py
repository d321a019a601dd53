"""The linear transforms of Winograd's algorithm as vector code: a lane is a channel.

Each is applied to the columns of a tile, then to the rows of the result. The sums of its even and of its odd rows are
shared between the points p and -p.
"""

from __future__ import annotations

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
    f32,
    fma,
    i32,
    masked_load,
    masked_store,
    prefetch,
    streaming_store,
    tail_mask,
)

PP, QQ = P * P, Q * Q
KERNEL = 3
Integer = types.int64
AddressPointer = types.CPointer(types.int64)


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


def _constant(number: float) -> ir.Constant:
    return ir.Constant(VECTOR, [number] * LANES)


def _inputs(d: list[_Vector]) -> list[_Vector]:
    """B^T d."""
    even_p, odd_p = d[4].plus(-QQ, d[2]), (P * d[3]).plus(-P * QQ, d[1])
    even_q, odd_q = d[4].plus(-PP, d[2]), (Q * d[3]).plus(-Q * PP, d[1])
    return [
        d[4].plus(-(PP + QQ), d[2]).plus(PP * QQ, d[0]), even_p + odd_p, even_p - odd_p, even_q + odd_q, even_q - odd_q,
        d[5].plus(-(PP + QQ), d[3]).plus(PP * QQ, d[1]),
    ]  # fmt: skip


def _outputs(m: list[_Vector]) -> list[_Vector]:
    """A^T m."""
    even_p, odd_p, even_q, odd_q = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [
        m[0] + (even_p + even_q), (P * odd_p).plus(Q, odd_q), (PP * even_p).plus(QQ, even_q),
        m[5].plus(P * PP, odd_p).plus(Q * QQ, odd_q),
    ]  # fmt: skip


def _gradients(g: list[_Vector]) -> list[_Vector]:
    """A g."""
    even_p, odd_p = g[0].plus(PP, g[2]), (P * g[1]).plus(P * PP, g[3])
    even_q, odd_q = g[0].plus(QQ, g[2]), (Q * g[1]).plus(Q * QQ, g[3])
    return [g[0], even_p + odd_p, even_p - odd_p, even_q + odd_q, even_q - odd_q, g[3]]


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


def _load(b: Any, pointer: Any) -> _Vector:
    value = b.load(b.bitcast(pointer, VECTOR.as_pointer()))
    value.align = 4
    return _Vector(b, value)


def _store(b: Any, vector: _Vector, pointer: Any) -> None:
    b.store(vector.value, b.bitcast(pointer, VECTOR.as_pointer())).align = 4


def _vectors(b: Any, channels: Any) -> Any:
    """Loop over the vectors that hold so many channels."""
    return cgutils.for_range(b, b.sdiv(b.add(channels, constant(LANES - 1)), constant(LANES)))


def _strided(b: Any, pointer: Any, stride: Any, index: int) -> Any:
    return b.gep(pointer, [b.mul(stride, constant(index))])


def _gather_code(transform: Any, size: int) -> Any:
    """Code of ``(places, channels, planes, plane)``: size x size pixels at addresses to planes."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        places, channels, ahead, planes, plane = arguments
        with _vectors(b, channels) as loop:
            c = b.mul(loop.index, constant(LANES))
            mask = tail_mask(b, b.sub(channels, c))

            def pixel(i: int, j: int) -> _Vector:
                address = b.load(b.gep(places, [constant(i * size + j)]))
                pointer = b.gep(b.inttoptr(address, f32.as_pointer()), [c])
                if j >= size - OUTPUT:
                    prefetch(b, b.gep(pointer, [ahead]))
                return _Vector(b, masked_load(b, pointer, mask))

            target = b.gep(planes, [c])
            for e, value in enumerate(_twice(transform, size, pixel)):
                _store(b, value, _strided(b, target, plane, e))
        return context.get_dummy_value()

    return types.void(AddressPointer, Integer, Integer, FloatPointer, Integer), codegen


@intrinsic
def transform_inputs(typingctx, places, channels, ahead, planes, plane):  # type: ignore[no-untyped-def]
    """planes = B^T d B of the 6x6 pixels at the addresses `places`; planes are `plane` elements apart.

    Whole vectors of planes are written: zeros behind the last channel. Pixels `ahead` are fetched into the cache.
    """
    return _gather_code(_inputs, INPUT)


@intrinsic
def transform_gradients(typingctx, places, channels, ahead, planes, plane):  # type: ignore[no-untyped-def]
    """planes = A g A^T of the 4x4 pixels at the addresses `places`, as `transform_inputs` does it."""
    return _gather_code(_gradients, OUTPUT)


@intrinsic
def transform_outputs(typingctx, planes, plane, channels, bias, places, ahead):  # type: ignore[no-untyped-def]
    """The 4x4 pixels at the addresses `places` = A^T m A + bias of 36 planes, whose vectors are read whole.

    Pixels that are `ahead` are fetched into the cache, for a store waits for its line.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        planes, plane, channels, bias, places, ahead = arguments
        with _vectors(b, channels) as loop:
            c = b.mul(loop.index, constant(LANES))
            mask = tail_mask(b, b.sub(channels, c))
            source = b.gep(planes, [c])
            added = _load(b, b.gep(bias, [c]))
            values = _twice(_outputs, INPUT, lambda i, j: _load(b, _strided(b, source, plane, i * INPUT + j)))
            for e, value in enumerate(values):
                pointer = b.gep(b.inttoptr(b.load(b.gep(places, [constant(e)])), f32.as_pointer()), [c])
                prefetch(b, b.gep(pointer, [ahead]), writing=True)
                masked_store(b, (value + added).value, pointer, mask)
        return context.get_dummy_value()

    return types.void(FloatPointer, Integer, Integer, FloatPointer, AddressPointer, Integer), codegen


@intrinsic
def transform_weights(typingctx, taps, tap, ahead, channels, planes, plane, around):  # type: ignore[no-untyped-def]
    """One vector of planes = G g G^T of 3x3 taps `tap` elements apart; zeros behind the last of `channels`.

    Taps that are `ahead` are fetched into the cache; with `around` planes are written around the caches.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        taps, tap, ahead, channels, planes, plane, around = arguments
        mask = tail_mask(b, channels)

        def weight(i: int, j: int) -> _Vector:
            place = _strided(b, taps, tap, i * KERNEL + j)
            prefetch(b, b.gep(place, [ahead]))
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
    """target[j * LANES + i] = source[i, j] for i and j below LANES; zeros where i >= `rows` or j >= `columns`."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        source, source_row, rows, columns, target = arguments
        vectors = []
        for i in range(LANES):
            count = b.select(b.icmp_signed("<", constant(i), rows), columns, constant(0))
            vectors.append(masked_load(b, _strided(b, source, source_row, i), tail_mask(b, count)))
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
