"""What the fused kernels do to strips of pixels on load and to tiles on store; see `kernels/fused.py`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..blocking import PANEL
from ..fused import NO_ACTIVATION
from ..winograd import OUTPUT
from .fusion import bounds, clamp
from .simd import LANES, FloatPointer, constant, fma, masked_load, masked_store, prefetch, splat, tail_mask, zero
from .winograd_tiles import SQUARE, Square

L = types.int64


def _run_code(
    pixel_code: Any, context: Any, b: Any, target: Any, pixels: Any, step: Any, channels: Any, pitch: Any
) -> Any:
    """Store `pixel_code(place, c, mask)` for every vector c of every pixel; sources are `step` elements a pixel."""
    with (
        cgutils.for_range(b, pixels) as pixel,
        cgutils.for_range_slice(b, constant(0), channels, constant(LANES)) as (c, _),
    ):
        mask = tail_mask(b, b.sub(channels, c))
        value = pixel_code(b.add(b.mul(pixel.index, step), c), c, mask)
        masked_store(b, value, b.gep(target, [b.add(b.mul(pixel.index, pitch), c)]), mask)
    return context.get_dummy_value()


@intrinsic
def change_pixels(typingctx, x, ahead, target, pixels, step, channels, pitch, scaled, scale, shift, activation):  # type: ignore[no-untyped-def]
    """target = activation(x * scale + shift) for a run of pixels `step` apart, to pixels `pitch` apart.

    What is `ahead` of them is fetched into the cache.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, ahead, target, pixels, step, channels, pitch, scaled, scale, shift, activation = arguments
        low, high = bounds(b, activation)
        there = splat(b, b.icmp_signed("!=", scaled, constant(0)), ir.IntType(1))

        def pixel_code(place: Any, c: Any, mask: Any) -> Any:
            prefetch(b, b.gep(x, [b.add(place, ahead)]))
            active = b.and_(mask, there)
            ones = ir.Constant(low.type, [1.0] * LANES)
            factor = b.select(there, masked_load(b, b.gep(scale, [c]), active), ones)
            value = fma(b, masked_load(b, b.gep(x, [place]), mask), factor, masked_load(b, b.gep(shift, [c]), active))
            return clamp(b, value, low, high)

        return _run_code(pixel_code, context, b, target, pixels, step, channels, pitch)

    return types.void(FloatPointer, L, FloatPointer, L, L, L, L, L, FloatPointer, FloatPointer, L), codegen


@intrinsic
def change_gradients(typingctx, dy, z, ahead, target, pixels, step, channels, pitch, slope, factor, offset):  # type: ignore[no-untyped-def]
    """target = slope * dy + factor * z + offset for a run of pixels `step` apart, to pixels `pitch` apart.

    What is `ahead` of them is fetched into the cache.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        dy, z, ahead, target, pixels, step, channels, pitch, slope, factor, offset = arguments

        def pixel_code(place: Any, c: Any, mask: Any) -> Any:
            for source in (dy, z):
                prefetch(b, b.gep(source, [b.add(place, ahead)]))
            of_dy, of_z, addend = (masked_load(b, b.gep(item, [c]), mask) for item in (slope, factor, offset))
            value = fma(b, masked_load(b, b.gep(z, [place]), mask), of_z, addend)
            return fma(b, masked_load(b, b.gep(dy, [place]), mask), of_dy, value)

        return _run_code(pixel_code, context, b, target, pixels, step, channels, pitch)

    F = FloatPointer
    return types.void(F, F, L, F, L, L, L, L, F, F, F), codegen


def _add_tile(b: Any, totals: Any, c: Any, mask: Any, pixel_code: Any) -> None:
    """Add the two vectors that `pixel_code(i, j)` gives for every pixel to those of `totals`, row by row."""
    places = [b.gep(totals, [c]), b.gep(totals, [b.add(c, constant(PANEL))])]
    sums = [masked_load(b, place, mask) for place in places]
    for i in range(OUTPUT):
        terms = [pixel_code(i, j) for j in range(OUTPUT)]
        for t in range(2):
            pairs = [b.fadd(terms[0][t], terms[1][t]), b.fadd(terms[2][t], terms[3][t])]
            sums[t] = b.fadd(sums[t], b.fadd(*pairs))
    for place, value in zip(places, sums, strict=True):
        masked_store(b, value, place, mask)


@intrinsic
def add_moments(typingctx, corner, down, right, row, high, column, wide, channels, centre, totals):  # type: ignore[no-untyped-def]
    """Add y - centre and its square of the 4x4 pixels of a `Square` to the (2, PANEL) floats of `totals`."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        *place, channels, centre, totals = arguments
        pixels = Square(b, OUTPUT, *place)
        with cgutils.for_range_slice(b, constant(0), channels, constant(LANES)) as (c, _):
            mask = tail_mask(b, b.sub(channels, c))
            pointers, masks = pixels.pointers(c), pixels.masks(mask)
            middle = masked_load(b, b.gep(centre, [c]), mask)

            def pixel_code(i: int, j: int) -> tuple[Any, Any]:
                inside = masks(i, j)
                value = masked_load(b, pointers(i, j), inside)
                deviation = b.select(inside, b.fsub(value, middle), zero())
                return deviation, b.fmul(deviation, deviation)

            _add_tile(b, totals, c, mask, pixel_code)
        return context.get_dummy_value()

    return types.void(*SQUARE, L, FloatPointer, FloatPointer), codegen


@intrinsic
def mask_gradients(  # type: ignore[no-untyped-def]
    typingctx, dx, corner, down, right, row, high, column, wide, ahead, channels, scale, shift, activation, centre,
    totals,
):  # fmt: skip
    """Mask 4x4 pixels by the derivative at x * scale + shift, where x is a `Square` and dx stands as x does.

    Then add dx and dx * (x - centre) to the (2, PANEL) floats of `totals`. Pixels of x `ahead` are fetched early.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        dx, *place, ahead, channels, scale, shift, activation, centre, totals = arguments
        pixels, gradients = Square(b, OUTPUT, *place), Square(b, OUTPUT, dx, *place[1:])
        low, high = bounds(b, activation)
        always = splat(b, b.icmp_signed("==", activation, constant(NO_ACTIVATION)), ir.IntType(1))
        with cgutils.for_range_slice(b, constant(0), channels, constant(LANES)) as (c, _):
            mask = tail_mask(b, b.sub(channels, c))
            pointers, targets, masks = pixels.pointers(c), gradients.pointers(c), pixels.masks(mask)
            factor, addend, middle = (masked_load(b, b.gep(item, [c]), mask) for item in (scale, shift, centre))

            def pixel_code(i: int, j: int) -> tuple[Any, Any]:
                pointer, inside = pointers(i, j), masks(i, j)
                prefetch(b, b.gep(pointer, [ahead]))
                value = masked_load(b, pointer, inside)
                before = fma(b, value, factor, addend)
                passes = b.and_(b.fcmp_ordered(">", before, low), b.fcmp_ordered("<", before, high))
                target = targets(i, j)
                gradient = b.select(b.or_(passes, always), masked_load(b, target, inside), zero())
                masked_store(b, gradient, target, inside)
                return gradient, b.fmul(gradient, b.fsub(value, middle))

            _add_tile(b, totals, c, mask, pixel_code)
        return context.get_dummy_value()

    return types.void(FloatPointer, *SQUARE, L, L, FloatPointer, FloatPointer, L, FloatPointer, FloatPointer), codegen
