"""Dropout: task i handles block i of BLOCK elements, and draws its numbers from their positions alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..blocking import BLOCK
from .compiler import inline, kernel
from .exponential import ZERO
from .memory import at, at_most
from .simd import splat
from .vector import AHEAD, LANES, LINE, full, load, load_part, mask, prefetch, store, store_part, where

# Philox4x32-10: multipliers and key increments.
MULTIPLIERS, INCREMENTS, ROUNDS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85), 10
TWO_32 = 4294967296.0
DRAWN = 4 * LANES  # elements drawn at a time: a block of four for every lane
_i32, _i64 = ir.IntType(32), ir.IntType(64)
_WORDS = ir.VectorType(_i64, LANES)


def _all(number: int) -> Any:
    return ir.Constant(_WORDS, [number] * LANES)


def _halves(b: Any, number: Any) -> tuple[Any, Any]:
    """The low and the high word of an int64, each in all lanes."""
    return splat(b, b.and_(number, ir.Constant(_i64, 0xFFFFFFFF)), _i64), splat(
        b, b.lshr(number, ir.Constant(_i64, 32)), _i64
    )


def _philox(b: Any, words: list[Any], keys: tuple[Any, Any]) -> list[Any]:
    """Ten rounds; words stand in 64 bits, whose upper halves mean nothing."""
    low, bits = _all(0xFFFFFFFF), _all(32)
    for number in range(ROUNDS):
        k0, k1 = (b.add(key, _all(number * step % 2**32)) for key, step in zip(keys, INCREMENTS, strict=True))
        p0, p1 = (b.mul(b.and_(words[2 * i], low), _all(MULTIPLIERS[i])) for i in (0, 1))
        words = [b.xor(b.xor(b.lshr(p1, bits), words[1]), k0), p1, b.xor(b.xor(b.lshr(p0, bits), words[3]), k1), p0]
    return words


@intrinsic
def _kept(typingctx, first, stream, key, threshold):  # type: ignore[no-untyped-def]
    """Four masks of the elements that stay, for the blocks of four elements `first`, `first` + 1, ...

    A counter's lower half is the block, its upper half the stream. The words of each block lie side by side in the end.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        b = builder
        block = b.add(splat(b, values[0], _i64), ir.Constant(_WORDS, list(range(LANES))))
        counter = [block, b.lshr(block, _all(32)), *_halves(b, values[1])]
        words = _philox(b, counter, _halves(b, values[2]))
        pairs = [b.or_(b.and_(words[i], _all(0xFFFFFFFF)), b.shl(words[i + 1], _all(32))) for i in (0, 2)]
        limit = splat(b, b.trunc(values[3], _i32), _i32)
        masks = []
        for quarter in range(4):
            places = [
                lane + side for lane in range(quarter * LANES // 4, (quarter + 1) * LANES // 4) for side in (0, LANES)
            ]
            order = ir.Constant(ir.VectorType(_i32, LANES // 2), places)
            drawn = b.bitcast(b.shuffle_vector(*pairs, order), ir.VectorType(_i32, LANES))
            masks.append(b.icmp_unsigned(">=", drawn, limit))
        return context.make_tuple(b, signature.return_type, masks)

    return types.UniTuple(mask, 4)(types.int64, types.uint64, types.uint64, types.uint64), codegen


@inline
def _drop(source, target, kept, scale):  # type: ignore[no-untyped-def]
    # Not a product with 0: what is dropped is 0 even where x is infinite or NaN.
    store(target, where(kept, load(source) * scale, ZERO))


@inline
def _drop_part(source, target, kept, scale, count):  # type: ignore[no-untyped-def]
    store_part(target, where(kept, load_part(source, count, ZERO) * scale, ZERO), count)


@kernel
def dropout(x, seed, y, SIZE, p, begin, end):  # type: ignore[no-untyped-def]
    """A vector is read before its place is written, so that y may be x's memory."""
    threshold, scale = np.uint64(p * TWO_32), np.float32(1.0 / (1.0 - p))
    key, stream = seed[0], seed[1]
    start, stop = begin * BLOCK, at_most(end * BLOCK, SIZE)
    if p == 1.0:
        for i in range(start, stop, LANES):
            store_part(at(y, i), full(ZERO), stop - i)
        return
    for i in range(start, stop, DRAWN):
        k0, k1, k2, k3 = _kept(i // 4, stream, key, threshold)
        source, target = at(x, i), at(y, i)
        for line in range(0, DRAWN, LINE):
            prefetch(at(source, line + AHEAD))
        if i + DRAWN <= stop:
            _drop(source, target, k0, scale)
            _drop(at(source, LANES), at(target, LANES), k1, scale)
            _drop(at(source, 2 * LANES), at(target, 2 * LANES), k2, scale)
            _drop(at(source, 3 * LANES), at(target, 3 * LANES), k3, scale)
        else:
            rest = stop - i
            _drop_part(source, target, k0, scale, rest)
            _drop_part(at(source, LANES), at(target, LANES), k1, scale, rest - LANES)
            _drop_part(at(source, 2 * LANES), at(target, 2 * LANES), k2, scale, rest - 2 * LANES)
            _drop_part(at(source, 3 * LANES), at(target, 3 * LANES), k3, scale, rest - 3 * LANES)
