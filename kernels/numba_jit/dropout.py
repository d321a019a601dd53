"""Dropout: task i handles block i of BLOCK elements, and draws its numbers from their positions alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..blocking import BLOCK
from .compiler import kernel
from .exponential import ZERO
from .memory import at, at_most, copy, fill, floats, streams
from .simd import LANES, LINE, FloatPointer, constant, load_vector, splat, store_vector, streaming_store, zero
from .vector import AHEAD, prefetch

# Philox4x32-10: multipliers and key increments.
MULTIPLIERS, INCREMENTS, ROUNDS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85), 10
TWO_32 = 4294967296.0
VECTORS = 8  # drawn at a time: fewer would leave the multipliers waiting for one another
DRAWN = VECTORS * LANES
COUNTERS = DRAWN // 4  # each gives a block of four words
_i32, _i64 = ir.IntType(32), ir.IntType(64)
_WORDS = ir.VectorType(_i64, COUNTERS)


def _all(number: int) -> Any:
    return ir.Constant(_WORDS, [number] * COUNTERS)


def _wide(b: Any, number: Any) -> Any:
    first = b.insert_element(ir.Constant(_WORDS, ir.Undefined), number, ir.Constant(_i32, 0))
    return b.shuffle_vector(first, first, ir.Constant(ir.VectorType(_i32, COUNTERS), [0] * COUNTERS))


def _halves(b: Any, number: Any) -> tuple[Any, Any]:
    """The low and the high word of an int64, each for all counters."""
    low, high = b.and_(number, ir.Constant(_i64, 0xFFFFFFFF)), b.lshr(number, ir.Constant(_i64, 32))
    return _wide(b, low), _wide(b, high)


def _philox(b: Any, words: list[Any], keys: tuple[Any, Any]) -> list[Any]:
    """Ten rounds; words stand in 64 bits, whose upper halves mean nothing."""
    low, bits = _all(0xFFFFFFFF), _all(32)
    for number in range(ROUNDS):
        k0, k1 = (b.add(key, _all(number * step % 2**32)) for key, step in zip(keys, INCREMENTS, strict=True))
        p0, p1 = (b.mul(b.and_(words[2 * i], low), _all(MULTIPLIERS[i])) for i in (0, 1))
        words = [b.xor(b.xor(b.lshr(p1, bits), words[1]), k0), p1, b.xor(b.xor(b.lshr(p0, bits), words[3]), k1), p0]
    return words


@intrinsic
def _drop(typingctx, source, target, around, scale, first, stream, key, threshold):  # type: ignore[no-untyped-def]
    """Drop among `DRAWN` elements by the numbers of the counters `first`, `first` + 1, ...; `around`: see `vector.put`.

    A counter's lower half is the block of four elements, its upper half the stream. The words of each block lie side by
    side in the end.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        b = builder
        source, target, around, scale, first, stream, key, threshold = values
        block = b.add(_wide(b, first), ir.Constant(_WORDS, list(range(COUNTERS))))
        words = _philox(b, [block, b.lshr(block, _all(32)), *_halves(b, stream)], _halves(b, key))
        pairs = [b.or_(b.and_(words[i], _all(0xFFFFFFFF)), b.shl(words[i + 1], _all(32))) for i in (0, 2)]
        limit, factor = splat(b, b.trunc(threshold, _i32), _i32), splat(b, scale)
        results = []
        for place in range(0, DRAWN, LANES):
            order = [counter + side for counter in range(place // 4, (place + LANES) // 4) for side in (0, COUNTERS)]
            chosen = b.shuffle_vector(*pairs, ir.Constant(ir.VectorType(_i32, LANES // 2), order))
            kept = b.icmp_unsigned(">=", b.bitcast(chosen, ir.VectorType(_i32, LANES)), limit)
            x = load_vector(b, b.gep(source, [constant(place)]))
            # Not a product with 0: what is dropped is 0 even where x is infinite or NaN.
            results.append((b.select(kept, b.fmul(x, factor), zero()), b.gep(target, [constant(place)])))
        with b.if_else(b.icmp_signed("!=", around, constant(0))) as (streaming, ordinary):
            with streaming:
                for value, place in results:
                    streaming_store(b, value, place)
            with ordinary:
                for value, place in results:
                    store_vector(b, value, place)
        return context.get_dummy_value()

    numbers = (types.int64, types.float32, types.int64, types.uint64, types.uint64, types.uint64)
    return types.none(FloatPointer, FloatPointer, *numbers), codegen


@kernel
def dropout(x, seed, y, SIZE, p, begin, end):  # type: ignore[no-untyped-def]
    """Elements are read before their places are written, so that y may be x's memory; the last go through a tile."""
    threshold, scale = np.uint64(p * TWO_32), np.float32(1.0 / (1.0 - p))
    key, stream = seed[0], seed[1]
    start, stop, around = begin * BLOCK, at_most(end * BLOCK, SIZE), streams(y, SIZE, LINE)
    if p == 1.0:
        fill(at(y, start), ZERO, stop - start)
        return
    tile = floats(DRAWN)
    for i in range(start, stop, DRAWN):
        rest = stop - i
        if rest < DRAWN:
            fill(tile, ZERO, DRAWN)
            copy(at(x, i), tile, rest)
            _drop(tile, tile, 0, scale, i // 4, stream, key, threshold)
            copy(tile, at(y, i), rest)
        else:
            for line in range(i, i + DRAWN, LINE):
                prefetch(at(x, line + AHEAD))
            _drop(at(x, i), at(y, i), around, scale, i // 4, stream, key, threshold)
