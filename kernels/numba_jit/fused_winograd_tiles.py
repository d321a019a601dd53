"""What the fused kernels do to pixels on load and to tiles on store; see `kernels/fused.py`."""

from __future__ import annotations

from itertools import product
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..blocking import PANEL
from ..winograd import OUTPUT
from .fusion import activation_of, passing
from .simd import (
    LANES,
    FloatPointer,
    constant,
    fma,
    load_vector,
    masked_load,
    opaque,
    prefetch,
    store_vector,
    tail_mask,
    zero,
)
from .winograd_tiles import Square
from .winograd_transforms import OUTPUTS, scatter_code

L = types.int64


def _stage_code(
    b: Any, sources: list[Any], ahead: Any, target: Any, pixels: Any, step: Any, mask: Any, of: Any
) -> None:
    """Vectors of `target` = ``of(*vectors)`` of pixels `step` elements apart; what is `ahead` is fetched early.

    Places go on step by step: LLVM would keep one for each of the pixels of a loop that it unrolls over an index.
    """
    slots = [cgutils.alloca_once_value(b, source) for source in sources]
    with cgutils.for_range(b, pixels) as pixel:
        places = [b.load(slot) for slot in slots]
        for place in places:
            prefetch(b, b.gep(place, [ahead]))
        value = of(*(masked_load(b, place, mask) for place in places))
        store_vector(b, value, b.gep(target, [b.mul(pixel.index, constant(LANES))]))
        for slot, place in zip(slots, places, strict=True):
            b.store(opaque(b, b.gep(place, [step])), slot)


@intrinsic
def stage_pixels(typingctx, x, ahead, target, pixels, step, channels, scaled, scale, shift, activation):  # type: ignore[no-untyped-def]
    """Vectors of `target` = activation(x * scale + shift) of a run of pixels; zeros behind the last of `channels`."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, ahead, target, pixels, step, channels, *rest = arguments
        mask = tail_mask(b, channels)
        activated = activation_of(b, *rest)(constant(0), mask)
        _stage_code(b, [x], ahead, target, pixels, step, mask, activated)
        return context.get_dummy_value()

    F = FloatPointer
    return types.void(F, L, F, L, L, L, L, F, F, L), codegen


@intrinsic
def stage_gradients(typingctx, dy, z, ahead, target, pixels, step, channels, slope, factor, offset):  # type: ignore[no-untyped-def]
    """Vectors of `target` = the composed gradient of a run of pixels; zeros behind the last of `channels`."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        dy, z, ahead, target, pixels, step, channels, *numbers = arguments
        mask = tail_mask(b, channels)
        of_dy, of_z, addend = (masked_load(b, item, mask) for item in numbers)
        _stage_code(b, [dy, z], ahead, target, pixels, step, mask,
                    lambda dy, z: fma(b, dy, of_dy, fma(b, z, of_z, addend)))  # fmt: skip
        return context.get_dummy_value()

    F = FloatPointer
    return types.void(F, F, L, F, L, L, L, F, F, F), codegen


class _Sums:
    """Two vectors of the (2, PANEL) floats of `totals`, to which u and u * v of a tile's pixels are added by rows."""

    def __init__(self, b: Any, totals: Any, c: Any) -> None:
        self.b = b
        self.places = [b.gep(totals, [c]), b.gep(totals, [b.add(c, constant(PANEL))])]
        self.sums = [load_vector(b, place) for place in self.places]

    def add(self, u: list[Any], v: list[Any]) -> None:
        b = self.b
        pairs = [b.fadd(u[j], u[j + 1]) for j in (0, 2)]
        products = [fma(b, u[j + 1], v[j + 1], b.fmul(u[j], v[j])) for j in (0, 2)]
        for t, terms in enumerate((pairs, products)):
            self.sums[t] = b.fadd(self.sums[t], b.fadd(*terms))

    def done(self) -> None:
        for place, value in zip(self.places, self.sums, strict=True):
            store_vector(self.b, value, place)


def _moments(b: Any, c: Any, mask: Any, place: Any, ahead: Any, centre: Any, totals: Any) -> Any:
    sums, middle = _Sums(b, totals, c), load_vector(b, b.gep(centre, [c]))

    def row(i: int, values: list[Any], inside: list[Any]) -> list[Any]:
        deviations = [b.select(inside[j], b.fsub(values[j], middle), zero()) for j in range(OUTPUT)]
        sums.add(deviations, deviations)
        return values

    return row, sums.done


@intrinsic
def transform_outputs_and_add(  # type: ignore[no-untyped-def]
    typingctx, planes, plane, channels, bias, corner, down, right, row, high, column, wide, ahead, centre, totals
):
    """As `transform_outputs`; adds y - centre and its square to the (2, PANEL) floats of `totals`."""
    return types.void(*OUTPUTS, FloatPointer, FloatPointer), scatter_code(_moments)


def _masked(
    b: Any, c: Any, mask: Any, place: Any, ahead: Any, x: Any, scale: Any, shift: Any, activation: Any, centre: Any,
    totals: Any,
) -> Any:  # fmt: skip
    pointers = Square(b, OUTPUT, x, *place[1:]).pointers(c)
    for i, j in product(range(OUTPUT), repeat=2):
        prefetch(b, b.gep(pointers(i, j), [ahead]))
    passes = passing(b, activation)
    factor, addend, middle = (load_vector(b, b.gep(item, [c])) for item in (scale, shift, centre))
    sums = _Sums(b, totals, c)

    def row(i: int, values: list[Any], inside: list[Any]) -> list[Any]:
        gradients, deviations = [], []
        for j in range(OUTPUT):
            value = masked_load(b, pointers(i, j), inside[j])
            passed = passes(fma(b, value, factor, addend))
            gradient = b.select(b.and_(inside[j], passed), values[j], zero())
            gradients.append(gradient)
            deviations.append(b.fsub(value, middle))
        sums.add(gradients, deviations)
        return gradients

    return row, sums.done


@intrinsic
def transform_outputs_and_mask(  # type: ignore[no-untyped-def]
    typingctx, planes, plane, channels, bias, corner, down, right, row, high, column, wide, ahead, x, scale, shift,
    activation, centre, totals,
):  # fmt: skip
    """As `transform_outputs`, of dx masked by the derivative at x * scale + shift; x is the corner's place in x.

    Adds dx and dx * (x - centre) to the (2, PANEL) floats of `totals`.
    """
    F = FloatPointer
    return types.void(*OUTPUTS, F, F, F, L, F, F), scatter_code(_masked)
