"""What tiles of a fused convolution do with their results while these are in registers; see `kernels/fused.py`.

An epilogue is `Moments`, `Masking`, or () where there is nothing to do. The sums of each tile are added up in float32
over a block, then in double.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from .compiler import inline
from .exponential import ZERO
from .fusion import passing
from .memory import fill
from .simd import (
    LANES,
    VECTOR,
    Accumulator,
    constant,
    fma,
    i1,
    masked_load,
    masked_store,
    prefetch,
    splat,
    zero,
)


class Moments(NamedTuple):
    """Add the sums of C - centre and of its square over rows to the (2, channels) floats of `sums`."""

    centre: Any
    sums: Any
    channels: Any


class Masking(NamedTuple):
    """Mask C by the derivative of an activation at x * scale + shift; add the sums of C and of C * (x - centre).

    No sums are added where `E` is 0. x has the shape of all of C.
    """

    centre: Any
    sums: Any
    channels: Any
    E: Any
    x: Any
    P: Any
    scale: Any
    shift: Any
    activation: Any


@inline
def add_block(sums, total, E):  # type: ignore[no-untyped-def]
    """Add the (2, E) floats of a block to the doubles of a task, and set them to 0."""
    for i in range(2 * E):
        total[i] += sums[i]
    fill(sums, ZERO, 2 * E)


def _optional(b: Any, memory: Any, place: Any, present: Any, mask: Any, default: float) -> Any:
    """One number a channel, or the default where there are none."""
    present = splat(b, present, i1)
    numbers = masked_load(b, b.gep(memory, [place]), b.and_(mask, present))
    return b.select(present, numbers, ir.Constant(VECTOR, [default] * LANES))


Change = Callable[[Any, Any], tuple[Any, Any, Any]]
"""What becomes of a result, and the u and v whose sum and product's sum are added up, given it and its place."""
Store = Callable[[int, int, Any], None]
"""Stores a vector, given its row and its number in the row."""


class Finish:
    """The code of an epilogue for a tile: `values` are those of its tuple."""

    def __init__(self, b: Any, values: list[Any], start: Any, column: Any, masks: list[Any]) -> None:
        self.b, self.start, self.masks = b, start, masks
        self.channels = [b.add(column, constant(j * LANES)) for j in range(len(masks))]
        self.moments = Moments(*values) if len(values) == len(Moments._fields) else None
        self.masking = Masking(*values) if len(values) == len(Masking._fields) else None

    def expect(self, place: Any) -> None:
        """Have what the row of C at a place needs come nearer."""
        if self.masking:
            for channel in self.channels:
                prefetch(self.b, self._like(self.masking.x, place, channel))

    def _like(self, array: Any, place: Any, channel: Any) -> Any:
        """Pointer into an array of C's shape."""
        return self.b.gep(array, [self.b.add(self.b.add(self.start, place), channel)])

    def write(self, sums: list[list[Accumulator]], places: list[Any], counted: list[Any], store: Store) -> None:
        """Store what becomes of a tile's rows; `counted` has a condition for each, or None: whether sums have it.

        One vector of all rows comes after the other, so that each result leaves its register as soon as it is used.
        """
        for j in range(len(self.masks)):
            change = self._masked(self.masking, j) if self.masking else self._deviating(j)
            self._add(change, [row[j] for row in sums], places, counted, store, j)

    def _deviating(self, j: int) -> Change:
        assert self.moments
        b = self.b
        middle = masked_load(b, b.gep(self.moments.centre, [self.channels[j]]), self.masks[j])

        def change(value: Any, place: Any) -> tuple[Any, Any, Any]:
            deviation = b.fsub(value, middle)
            return value, deviation, deviation

        return change

    def _masked(self, of: Masking, j: int) -> Change:
        b, mask, channel = self.b, self.masks[j], self.channels[j]
        adds, scales = b.icmp_signed("!=", of.E, constant(0)), b.icmp_signed("!=", of.P, constant(0))
        passes = passing(b, of.activation)
        factor = _optional(b, of.scale, channel, scales, mask, 1.0)
        addend = _optional(b, of.shift, channel, scales, mask, 0.0)
        middle = _optional(b, of.centre, channel, adds, mask, 0.0)

        def change(value: Any, place: Any) -> tuple[Any, Any, Any]:
            x = masked_load(b, self._like(of.x, place, channel), mask)
            value = b.select(passes(fma(b, x, factor, addend)), value, zero())
            return value, value, b.fsub(x, middle)

        return change

    def _add(
        self, change: Change, rows: list[Accumulator], places: list[Any], counted: list[Any],
        store: Store, j: int,
    ) -> None:  # fmt: skip
        """Change and store a vector of all rows, and add their u and u * v; even and odd rows do not wait."""
        b, adding = self.b, self.moments or self.masking
        assert adding
        first, second = [zero(), zero()], [zero(), zero()]
        for i, (row, place, there) in enumerate(zip(rows, places, counted, strict=True)):
            value, u, v = change(row.get(), place)
            store(i, j, value)
            if there is not None:
                there = splat(b, there, i1)
                u, v = b.select(there, u, zero()), b.select(there, v, zero())
            first[i % 2], second[i % 2] = b.fadd(first[i % 2], u), fma(b, u, v, second[i % 2])
        adds = self.masks[j]
        if self.masking:
            adds = b.and_(adds, splat(b, b.icmp_signed("!=", self.masking.E, constant(0)), i1))
        for total, place in ((first, self.channels[j]), (second, b.add(adding.channels, self.channels[j]))):
            at_sum = b.gep(adding.sums, [place])
            both = b.fadd(masked_load(b, at_sum, adds), b.fadd(*total))
            masked_store(b, both, at_sum, adds)
