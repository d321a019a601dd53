"""What a depthwise convolution loads and stores, one vector of channels at a time; for code built from LLVM IR.

A source gives the vector of a pixel, a sink takes one. The plain ones are memory as it stands. The fused ones do on the
way what `kernels/fused.py` says: they work on vectors that are in registers anyway. Which of them is meant follows from
the number of arguments that come with an image: see `source` and `sink`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from .fusion import add_to_doubles, bounds, clamp, passing
from .simd import (
    LANES,
    LINE,
    MASK,
    VECTOR,
    Accumulator,
    constant,
    fma,
    load_vector,
    masked_load,
    masked_store,
    prefetch,
    store_vector,
    streaming_store,
    zero,
)

SCALARISED = 4  # lanes of processors without masked loads
_NONE = ir.Constant(MASK, [0] * LANES)


def inside(b: Any, index: Any, limit: Any) -> Any:
    """Whether 0 <= index < limit."""
    return b.icmp_unsigned("<", index, limit)


def only_if(b: Any, condition: Any, mask: Any) -> Any:
    """The mask, or no lanes."""
    return b.select(condition, mask, _NONE)


def _optional(b: Any, pointer: Any, present: Any, mask: Any, otherwise: float) -> Any:
    """One number a channel, or `otherwise` where there are none."""
    vector = masked_load(b, pointer, only_if(b, present, mask))
    return b.select(present, vector, ir.Constant(VECTOR, [otherwise] * LANES))


@dataclass(frozen=True)
class Place:
    """Where an image's first vector stands: the array, the offset in it, and which channel it is."""

    array: Any
    offset: Any
    channel: Any

    def start(self, b: Any, array: Any = None) -> Any:
        """Pointer to the first vector, or to the same place of another array."""
        return b.gep(array or self.array, [b.add(self.offset, self.channel)])


def _load(b: Any, pointer: Any, mask: Any) -> Any:
    """`masked_load`; where processors have none, whole vectors need not be taken apart."""
    if LANES > SCALARISED:
        return masked_load(b, pointer, mask)
    result, bits = Accumulator(b), ir.IntType(LANES)
    whole = b.icmp_unsigned("==", b.bitcast(mask, bits), ir.Constant(bits, -1))
    with b.if_else(whole) as (all_lanes, some_lanes):
        with all_lanes:
            result.set(load_vector(b, pointer))
        with some_lanes:
            result.set(masked_load(b, pointer, mask))
    return result.get()


# ---------------------------------------------------------------- sources


class _Plain:
    """The memory of an image."""

    def __init__(self, b: Any, place: Place, mask: Any, rest: list[Any]) -> None:
        self.b, self.pointer = b, place.start(b)

    def load(self, offset: Any, mask: Any) -> Any:
        """The vector at an offset from the image's start; zeros outside the mask, where nothing is read."""
        return _load(self.b, self.b.gep(self.pointer, [offset]), mask)

    def expect(self, offset: Any) -> None:
        """Have the line at an offset from the image's start come nearer."""
        prefetch(self.b, self.b.gep(self.pointer, [offset]))


class _Activated(_Plain):
    """activation(x * scale + shift)"""

    def __init__(self, b: Any, place: Place, mask: Any, rest: list[Any]) -> None:
        super().__init__(b, place, mask, rest)
        scale, shift, scaled, activation = rest
        scale, shift = (b.gep(item, [place.channel]) for item in (scale, shift))
        present = b.icmp_signed(">", scaled, constant(0))
        self.scale, self.shift = _optional(b, scale, present, mask, 1.0), _optional(b, shift, present, mask, 0.0)
        self.low, self.high = bounds(b, activation)

    def load(self, offset: Any, mask: Any) -> Any:
        b = self.b
        value = fma(b, super().load(offset, mask), self.scale, self.shift)
        return b.select(mask, clamp(b, value, self.low, self.high), zero())


class _Composed(_Plain):
    """slope * dy + factor * z + offset"""

    def __init__(self, b: Any, place: Place, mask: Any, rest: list[Any]) -> None:
        super().__init__(b, place, mask, rest)
        z, slope, factor, offset, composed = rest
        slope, factor, offset = (b.gep(item, [place.channel]) for item in (slope, factor, offset))
        present = b.icmp_signed(">", composed, constant(0))
        self.slope, self.factor = _optional(b, slope, present, mask, 1.0), _optional(b, factor, present, mask, 0.0)
        self.offset = _optional(b, offset, present, mask, 0.0)
        self.z, self.z_mask = b.select(present, place.start(b, z), self.pointer), only_if(b, present, mask)

    def load(self, offset: Any, mask: Any) -> Any:
        b = self.b
        value = fma(b, super().load(offset, mask), self.slope, self.offset)
        value = fma(b, _load(b, b.gep(self.z, [offset]), self.z_mask), self.factor, value)
        return b.select(mask, value, zero())

    def expect(self, offset: Any) -> None:
        super().expect(offset)
        prefetch(self.b, self.b.gep(self.z, [offset]))


def source(b: Any, place: Place, mask: Any, rest: list[Any]) -> _Plain:
    """How to load an image: `rest` is (), (scale, shift, P, activation) or (z, slope, factor, offset, G).

    `mask` has the channels that there are.
    """
    return {0: _Plain, 4: _Activated, 5: _Composed}[len(rest)](b, place, mask, rest)


# ---------------------------------------------------------------- sinks


class _Memory:
    """Memory that takes results as they are."""

    def __init__(self, b: Any, place: Place, mask: Any, whole: Any, around: Any, rest: list[Any]) -> None:
        self.b, self.pointer, self.mask, self.whole = b, place.start(b), mask, whole
        self.around = b.and_(around, whole)

    def store(self, offset: Any, value: Any) -> None:
        """Write the vector at an offset from the image's start."""
        address = self.b.gep(self.pointer, [offset])
        if LANES < LINE:  # neighbours are written much later, and parts of lines are not worth going around caches
            self._store(value, address)
            return
        with self.b.if_else(self.around) as (around, through):
            with around:
                streaming_store(self.b, value, address)
            with through:
                self._store(value, address)

    def _store(self, value: Any, address: Any) -> None:
        b = self.b
        with b.if_else(self.whole) as (whole, tail):  # masked stores take many times longer on some processors
            with whole:
                store_vector(b, value, address)
            with tail:
                masked_store(b, value, address, self.mask)

    def expect(self, offset: Any) -> None:
        """Have the line at an offset from the image's start come nearer, to be written."""
        with self.b.if_then(self.b.not_(self.around)):
            prefetch(self.b, self.b.gep(self.pointer, [offset]), writing=True)

    def finish(self) -> None:
        """Called once at the end of a stretch of rows."""


class _Summed(_Memory):
    """Adds two sums up in float32, and their totals to doubles."""

    def _start(self, place: Place, centre: Any, sums: Any, channels: Any) -> None:
        b = self.b
        self.sums, self.channels = b.gep(sums, [place.channel]), channels
        self.summed = b.icmp_signed(">", channels, constant(0))
        self.centre = _optional(b, b.gep(centre, [place.channel]), self.summed, self.mask, 0.0)
        self.first, self.second = Accumulator(self.b), Accumulator(self.b)
        self.first.set(zero())
        self.second.set(zero())

    def _add(self, value: Any, one: Any, other: Any) -> None:
        self.first.set(self.b.fadd(self.first.get(), value))
        self.second.set(fma(self.b, one, other, self.second.get()))

    def finish(self) -> None:
        with self.b.if_then(self.summed):
            add_to_doubles(self.b, self.first.get(), self.sums, self.mask)
            add_to_doubles(self.b, self.second.get(), self.b.gep(self.sums, [self.channels]), self.mask)


class _Deviations(_Summed):
    """Adds up y - centre and its square."""

    def __init__(self, b: Any, place: Place, mask: Any, whole: Any, around: Any, rest: list[Any]) -> None:
        super().__init__(b, place, mask, whole, around, rest)
        centre, sums, channels = rest
        self._start(place, centre, sums, channels)

    def store(self, offset: Any, value: Any) -> None:
        super().store(offset, value)
        deviation = self.b.fsub(value, self.centre)
        self._add(deviation, deviation, deviation)


class _Masked(_Summed):
    """Stores dx where the activation passes x * scale + shift, 0 elsewhere; adds up dx and dx * (x - centre)."""

    def __init__(self, b: Any, place: Place, mask: Any, whole: Any, around: Any, rest: list[Any]) -> None:
        super().__init__(b, place, mask, whole, around, rest)
        x, images, scale, shift, scaled, activation, centre, sums, channels = rest
        self._start(place, centre, sums, channels)
        scale, shift = (b.gep(item, [place.channel]) for item in (scale, shift))
        present = b.icmp_signed(">", scaled, constant(0))
        self.scale, self.shift = _optional(b, scale, present, mask, 1.0), _optional(b, shift, present, mask, 0.0)
        self.passes = passing(b, activation)
        there = b.icmp_signed(">", images, constant(0))
        self.x, self.x_mask = b.select(there, place.start(b, x), self.pointer), only_if(b, there, mask)

    def store(self, offset: Any, value: Any) -> None:
        b = self.b
        x = _load(b, b.gep(self.x, [offset]), self.x_mask)
        value = b.select(self.passes(fma(b, x, self.scale, self.shift)), value, zero())
        super().store(offset, value)
        self._add(value, value, b.fsub(x, self.centre))

    def expect(self, offset: Any) -> None:
        super().expect(offset)
        prefetch(self.b, self.b.gep(self.x, [offset]))


def sink(b: Any, place: Place, mask: Any, whole: Any, around: Any, rest: list[Any]) -> _Memory:
    """How to store an image.

    `rest` is (), (centre, sums, E) or, for a gradient, (x, NX, scale, shift, P, activation, centre, sums, E). `whole`
    says that the mask has all lanes, `around` to go around the caches.
    """
    return {0: _Memory, 3: _Deviations, 9: _Masked}[len(rest)](b, place, mask, whole, around, rest)
