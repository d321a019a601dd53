"""What convolutions do to their operands on load and to their results on store; see `kernels/fused.py`.

All work on runs of pixels that lie one behind the other, in vectors along the channels. To be finished, a run is passed
once for every vector of channels while it is in cache; sums run in float32 over at most `CHUNK` pixels and go on in
double. `finishing.py` does the same with results that are still in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..fused import NO_ACTIVATION, RELU6
from .compiler import inline
from .memory import at, at_most, fill
from .simd import (
    LANES,
    VECTOR,
    Accumulator,
    FloatPointer,
    constant,
    f32,
    fma,
    load_vector,
    masked_load,
    masked_store,
    splat,
    store_vector,
    tail_mask,
    zero,
)

CHUNK = 256
SIDE = 4
DoublePointer = types.CPointer(types.float64)
_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
L = types.int64


def clamp(b: Any, value: Any, low: Any, high: Any) -> Any:
    """NaN stays NaN."""
    value = b.select(b.fcmp_ordered("<", value, low), low, value)
    return b.select(b.fcmp_ordered(">", value, high), high, value)


def bounds(b: Any, activation: Any) -> tuple[Any, Any]:
    """The range of an activation's values: all numbers, [0, inf) or [0, 6]."""
    infinite, none = float("inf"), b.icmp_signed("==", activation, constant(NO_ACTIVATION))
    six = b.icmp_signed("==", activation, constant(RELU6))
    low = b.select(none, ir.Constant(f32, -infinite), ir.Constant(f32, 0.0))
    high = b.select(six, ir.Constant(f32, 6.0), ir.Constant(f32, infinite))
    return splat(b, low), splat(b, high)


def passing(b: Any, activation: Any) -> Callable[[Any], Any]:
    """Gives the lanes of what an activation was applied to in which its derivative is 1; in all others it is 0."""
    low, _ = bounds(b, activation)
    six = b.icmp_signed("==", activation, constant(RELU6))
    high = splat(b, b.select(six, ir.Constant(f32, 6.0), ir.Constant(f32, float("nan"))))  # NaN: no limit
    always = splat(b, b.icmp_signed("==", activation, constant(NO_ACTIVATION)), ir.IntType(1))

    def passes(before: Any) -> Any:
        between = b.and_(b.fcmp_ordered(">", before, low), b.fcmp_unordered("<", before, high))
        return b.or_(between, always)

    return passes


def activation_of(
    b: Any, scaled: Any, scale: Any, shift: Any, activation: Any
) -> Callable[[Any, Any], Callable[[Any], Any]]:
    """Gives, for a vector of channels and its mask or None, what makes ``activation(value * scale + shift)`` of values.

    LLVM sees that this changes nothing where the constants `scaled` and `activation` say so.
    """
    low, high = bounds(b, activation)
    there = splat(b, b.icmp_signed("!=", scaled, constant(0)), ir.IntType(1))

    def of_channels(c: Any, mask: Any) -> Callable[[Any], Any]:
        active = there if mask is None else b.and_(mask, there)
        factor, addend = (
            b.select(there, masked_load(b, b.gep(numbers, [c]), active), ir.Constant(low.type, [default] * LANES))
            for numbers, default in ((scale, 1.0), (shift, -0.0))
        )
        return lambda value: clamp(b, fma(b, value, factor, addend), low, high)

    return of_channels


Code = Callable[[Any], None]


def _each_vector(b: Any, pixels: Any, channels: Any, of_channels: Callable[[Any, Any], Code]) -> None:
    """Call what ``of_channels(channel, mask)`` gives, where a whole vector has None for a mask, with its places.

    Memory is read as it stands: pixel by pixel, with the constants of channels from the first cache. Those of a single
    vector stay in registers.
    """
    with b.if_else(b.icmp_signed("<=", channels, constant(LANES))) as (one, more):
        with one:
            code = of_channels(constant(0), tail_mask(b, channels))
            with cgutils.for_range(b, pixels) as pixel:
                code(b.mul(pixel.index, channels))
        with more:
            several, whole = (b.sub(channels, b.srem(channels, constant(size))) for size in (SIDE * LANES, LANES))
            mask, tail = tail_mask(b, b.sub(channels, whole)), b.icmp_signed("<", whole, channels)
            with cgutils.for_range(b, pixels) as pixel:
                row = b.mul(pixel.index, channels)
                with cgutils.for_range_slice(b, constant(0), several, constant(SIDE * LANES)) as (first, _):
                    for i in range(SIDE):
                        c = b.add(first, constant(i * LANES))
                        of_channels(c, None)(b.add(row, c))
                with cgutils.for_range_slice(b, several, whole, constant(LANES)) as (c, _):
                    of_channels(c, None)(b.add(row, c))
                with b.if_then(tail):
                    of_channels(whole, mask)(b.add(row, whole))


def _load(b: Any, memory: Any, place: Any, mask: Any) -> Any:
    """A vector, whole where there is no mask."""
    pointer = b.gep(memory, [place])
    return load_vector(b, pointer) if mask is None else masked_load(b, pointer, mask)


def _store(b: Any, value: Any, memory: Any, place: Any, mask: Any) -> None:
    """Write a vector, whole where there is no mask."""
    pointer = b.gep(memory, [place])
    if mask is None:
        store_vector(b, value, pointer)
    else:
        masked_store(b, value, pointer, mask)


@intrinsic
def load_pixels(typingctx, source, target, pixels, channels, scaled, scale, shift, activation):  # type: ignore[no-untyped-def]
    """target = activation(source * scale + shift) for a run of pixels; no scale and shift if `scaled` is 0."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        source, target, pixels, channels, scaled, scale, shift, activation = arguments
        low, high = bounds(b, activation)

        def activate(c: Any, mask: Any) -> Code:
            return lambda place: _store(b, clamp(b, _load(b, source, place, mask), low, high), target, place, mask)

        def scale_and_activate(c: Any, mask: Any) -> Code:
            factor, addend = _load(b, scale, c, mask), _load(b, shift, c, mask)

            def code(place: Any) -> None:
                value = fma(b, _load(b, source, place, mask), factor, addend)
                _store(b, clamp(b, value, low, high), target, place, mask)

            return code

        with b.if_else(b.icmp_signed("!=", scaled, constant(0))) as (scales, only_activates):
            with scales:
                _each_vector(b, pixels, channels, scale_and_activate)
            with only_activates:
                _each_vector(b, pixels, channels, activate)
        return context.get_dummy_value()

    return types.void(FloatPointer, FloatPointer, L, L, L, FloatPointer, FloatPointer, L), codegen


@intrinsic
def load_gradients(typingctx, dy, z, target, pixels, channels, slope, factor, offset):  # type: ignore[no-untyped-def]
    """target = slope * dy + factor * z + offset for a run of pixels."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        dy, z, target, pixels, channels, slope, factor, offset = arguments

        def compose(c: Any, mask: Any) -> Code:
            of_dy, of_z, addend = (_load(b, item, c, mask) for item in (slope, factor, offset))

            def code(place: Any) -> None:
                value = fma(b, _load(b, z, place, mask), of_z, addend)
                _store(b, fma(b, _load(b, dy, place, mask), of_dy, value), target, place, mask)

            return code

        _each_vector(b, pixels, channels, compose)
        return context.get_dummy_value()

    F = FloatPointer
    return types.void(F, F, F, L, L, F, F, F), codegen


def add_to_doubles(b: Any, total: Any, place: Any, mask: Any) -> None:
    """Add a vector of float32 to as many doubles."""
    before = masked_load(b, place, mask, _DOUBLES, align=8)
    masked_store(b, b.fadd(before, b.fpext(total, _DOUBLES)), place, mask, align=8)


def _add_pixels(b: Any, pixels: Any, code: Callable[[Any], tuple[Any, Any]], places: list[Any], mask: Any) -> None:
    """Add the sums over pixels of u and of u * v, where ``code(pixel)`` gives (u, v), to doubles at `places`.

    SIDE sums are added side by side: they do not wait for each other, and round less.
    """
    sums = [[Accumulator(b), Accumulator(b)] for _ in range(SIDE)]
    for first, second in sums:
        first.set(zero())
        second.set(zero())

    def add(pixel: Any, first: Accumulator, second: Accumulator) -> None:
        u, v = code(pixel)
        first.set(b.fadd(first.get(), u))
        second.set(fma(b, u, v, second.get()))

    whole = b.sub(pixels, b.srem(pixels, constant(SIDE)))
    with cgutils.for_range_slice(b, constant(0), whole, constant(SIDE)) as (pixel, _):
        for i, pair in enumerate(sums):
            add(b.add(pixel, constant(i)), *pair)
    with cgutils.for_range_slice(b, whole, pixels, constant(1)) as (pixel, _):
        add(pixel, *sums[0])
    for place, terms in zip(places, zip(*sums, strict=True), strict=True):
        add_to_doubles(b, reduce(b.fadd, [term.get() for term in terms]), place, mask)


@intrinsic
def _add_moments(typingctx, y, pixels, channels, centre, sums):  # type: ignore[no-untyped-def]
    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        y, pixels, channels, centre, sums = arguments
        with cgutils.for_range_slice(b, constant(0), channels, constant(LANES)) as (c, _):
            mask = tail_mask(b, b.sub(channels, c))
            middle = masked_load(b, b.gep(centre, [c]), mask)

            def deviation(pixel: Any) -> tuple[Any, Any]:
                value = masked_load(b, b.gep(y, [b.add(b.mul(pixel, channels), c)]), mask)
                return (b.fsub(value, middle),) * 2

            _add_pixels(b, pixels, deviation, [b.gep(sums, [c]), b.gep(sums, [b.add(channels, c)])], mask)
        return context.get_dummy_value()

    return types.void(FloatPointer, L, L, FloatPointer, DoublePointer), codegen


@inline
def finish_forward(y, pixels, channels, E, centre, sums):  # type: ignore[no-untyped-def]
    """Add the sums of y - centre and of its square over a run of pixels to the (2, channels) doubles of `sums`."""
    if E > 0:
        for first in range(0, pixels, CHUNK):
            _add_moments(at(y, first * channels), at_most(pixels - first, CHUNK), channels, centre, sums)


@intrinsic
def _mask_and_add(typingctx, dx, x, pixels, channels, scaled, scale, shift, activation, summed, centre, sums):  # type: ignore[no-untyped-def]
    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        dx, x, pixels, channels, scaled, scale, shift, activation, summed, centre, sums = arguments
        passes = passing(b, activation)
        adds, scales = b.icmp_signed("!=", summed, constant(0)), b.icmp_signed("!=", scaled, constant(0))
        with cgutils.for_range_slice(b, constant(0), channels, constant(LANES)) as (c, _):
            mask = tail_mask(b, b.sub(channels, c))
            active = b.and_(mask, splat(b, scales, ir.IntType(1)))
            factor = b.select(splat(b, scales, ir.IntType(1)), masked_load(b, b.gep(scale, [c]), active),
                              ir.Constant(VECTOR, [1.0] * LANES))  # fmt: skip
            addend = masked_load(b, b.gep(shift, [c]), active)
            middle = masked_load(b, b.gep(centre, [c]), b.and_(mask, splat(b, adds, ir.IntType(1))))

            def mask_gradient(pixel: Any) -> tuple[Any, Any]:
                place = b.add(b.mul(pixel, channels), c)
                value = masked_load(b, b.gep(x, [place]), mask)
                before = fma(b, value, factor, addend)
                at_dx = b.gep(dx, [place])
                gradient = b.select(passes(before), masked_load(b, at_dx, mask), zero())
                masked_store(b, gradient, at_dx, mask)
                return gradient, b.fsub(value, middle)

            with b.if_else(adds) as (sums_too, only_mask):
                with sums_too:
                    places = [b.gep(sums, [c]), b.gep(sums, [b.add(channels, c)])]
                    _add_pixels(b, pixels, mask_gradient, places, mask)
                with only_mask, cgutils.for_range(b, pixels) as pixel:
                    mask_gradient(pixel.index)
        return context.get_dummy_value()

    F = FloatPointer
    return types.void(F, F, L, L, L, F, F, L, L, F, DoublePointer), codegen


@inline
def finish_gradient(dx, x, pixels, channels, P, scale, shift, activation, E, centre, sums):  # type: ignore[no-untyped-def]
    """Mask a run of dx by the activation's derivative at x * scale + shift; add the sums of dx and dx * (x - centre).

    Without an activation and without sums there is nothing to do, and `x` is absent.
    """
    if activation != NO_ACTIVATION or E > 0:
        for first in range(0, pixels, CHUNK):
            start = first * channels
            _mask_and_add(at(dx, start), at(x, start), at_most(pixels - first, CHUNK), channels, P, scale, shift,
                          activation, E, centre, sums)  # fmt: skip


@inline
def add_tasks(task_sums, sums, tasks, E):  # type: ignore[no-untyped-def]
    """sums = the (2, E) sums of all tasks, added in order."""
    fill(sums, 0.0, 2 * E)
    for task in range(tasks):
        own = at(task_sums, task * 2 * E)
        for i in range(2 * E):
            sums[i] += own[i]
