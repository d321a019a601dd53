"""What the kernels of pooling share: vectors along the channels of a pixel, and how they fetch, read and write.

WIDE vectors of channels pass at once, so that memory is read in long runs and the vectors hide each other's latency;
what is left over passes as single vectors with a mask. Windows jump between rows, of which the hardware's prefetchers
lose track: each fetches its share of what comes next in memory, in order and one line behind the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .simd import (
    LANES,
    LINE,
    constant,
    i32,
    load_vector,
    masked_load,
    masked_store,
    prefetch,
    store_vector,
    streaming_store,
    tail_mask,
)

WIDE = 4
_STORED_TAPS = ir.VectorType(ir.IntType(8), LANES)


def for_channels(b: Any, count: Any, body: Callable[[list[Any], Any], None], wide: int = WIDE) -> None:
    """Emit ``body(offsets, mask)`` for `wide` whole vectors at a time (the mask is None), then one by one."""
    whole = b.sub(count, b.srem(count, constant(wide * LANES)))
    with cgutils.for_range_slice(b, constant(0), whole, constant(wide * LANES)) as (c, _):
        body([b.add(c, constant(j * LANES)) for j in range(wide)], None)
    with cgutils.for_range_slice(b, whole, count, constant(LANES)) as (c, _):
        body([c], tail_mask(b, b.sub(count, c)))


def each(b: Any, kind: Any, times: Any, body: Callable[[Any], None]) -> None:
    """Emit ``body(index)`` so many times: unrolled if `kind`, the type of `times`, is a literal."""
    if isinstance(kind, types.IntegerLiteral):
        for i in range(kind.literal_value):
            body(constant(i))
        return
    with cgutils.for_range(b, times) as loop:
        body(loop.index)


def load(b: Any, pointer: Any, mask: Any) -> Any:
    """A vector, or its lanes of the mask."""
    if mask is None:
        return load_vector(b, pointer)
    return masked_load(b, pointer, mask)


def store(b: Any, value: Any, pointer: Any, mask: Any, around: Any = None, ahead: Any = None) -> None:
    """Write a vector, or its lanes of the mask; `around` the caches if that is true, see `memory.streams`.

    Then all vectors are whole. Else the place `ahead` elements on is fetched, if there is one.
    """
    if around is None and mask is None:
        store_vector(b, value, pointer)
    elif around is None:
        masked_store(b, value, pointer, mask)
    else:
        with b.if_else(around) as (streaming, ordinary):
            with streaming:
                streaming_store(b, value, pointer)
            with ordinary:
                store(b, value, pointer, mask)
                if ahead is not None:
                    prefetch(b, b.gep(pointer, [ahead]), writing=True)


def fetch(b: Any, pointer: Any, size: Any) -> None:
    """Ask for the lines of `size` elements; any address will do."""
    with cgutils.for_range_slice(b, constant(0), size, constant(LINE)) as (i, _):
        prefetch(b, b.gep(pointer, [i]), once=True)


def reach(b: Any, offsets: list[Any], count: Any) -> Any:
    """How many of `count` channels vectors at `offsets` hold."""
    left, most = b.sub(count, offsets[0]), constant(len(offsets) * LANES)
    return b.select(b.icmp_signed("<", left, most), left, most)


def load_taps(b: Any, pointer: Any, mask: Any) -> Any:
    """As `load`, of bytes."""
    if mask is None:
        return b.load(b.bitcast(pointer, _STORED_TAPS.as_pointer()), align=1)
    return masked_load(b, pointer, mask, _STORED_TAPS, align=1)


def store_taps(b: Any, values: list[Any], pointer: Any, mask: Any, around: Any) -> None:
    """As `store`, of the bytes of vectors that lie one behind the other; only WIDE ones pass `around` the caches."""
    if mask is not None:
        masked_store(b, values[0], pointer, mask, align=1)
        return
    while len(values) > 1:
        both = ir.Constant(ir.VectorType(i32, 2 * values[0].type.count), list(range(2 * values[0].type.count)))
        values = [b.shuffle_vector(*pair, both) for pair in zip(values[::2], values[1::2], strict=True)]
    with b.if_else(around) as (streaming, ordinary):
        with streaming:
            streaming_store(b, values[0], pointer, align=values[0].type.count)
        with ordinary:
            b.store(values[0], b.bitcast(pointer, values[0].type.as_pointer()), align=1)
