"""Dropout: task i handles block i of BLOCK elements, and draws its numbers from their positions alone."""

from __future__ import annotations

import numpy as np

from ..ops import BLOCK
from .compiler import inline, kernel
from .exponential import ZERO
from .memory import TILE, at, at_most, copy, floats

# Philox4x32-10: multipliers and key increments. Words stand in 64 bits, where a product of two keeps both its halves.
MULTIPLIER_0, MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
INCREMENT_0, INCREMENT_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
WORD, WORD_BITS = np.uint64(0xFFFFFFFF), np.uint64(32)
TWO_32 = 4294967296.0


@inline
def _draw_factors(tile, first, blocks, stream, key, threshold, scale):  # type: ignore[no-untyped-def]
    """Set four elements of the tile for each of the counters `first`, `first` + 1, ...; 0 for those to drop.

    A counter's upper half is the stream. The rounds stand in the loop itself: called, they would not vectorise.
    """
    for j in range(blocks):
        counter = first + np.uint64(j)
        w0, w1, w2, w3 = counter & WORD, counter >> WORD_BITS, stream & WORD, stream >> WORD_BITS
        k0, k1 = key & WORD, key >> WORD_BITS
        for _ in range(10):
            product_0, product_1 = MULTIPLIER_0 * w0, MULTIPLIER_1 * w2
            w0, w1 = (product_1 >> WORD_BITS) ^ w1 ^ k0, product_1 & WORD
            w2, w3 = (product_0 >> WORD_BITS) ^ w3 ^ k1, product_0 & WORD
            k0, k1 = (k0 + INCREMENT_0) & WORD, (k1 + INCREMENT_1) & WORD
        tile[4 * j] = ZERO if w0 < threshold else scale
        tile[4 * j + 1] = ZERO if w1 < threshold else scale
        tile[4 * j + 2] = ZERO if w2 < threshold else scale
        tile[4 * j + 3] = ZERO if w3 < threshold else scale


@kernel
def dropout(x, seed, y, SIZE, p, begin, end):  # type: ignore[no-untyped-def]
    """A tile first holds each element's factor, then the result, so that y may be x's memory."""
    tile = floats(TILE)
    threshold, scale = np.uint64(p * TWO_32), np.float32(1.0 / (1.0 - p))
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        _draw_factors(tile, np.uint64(start // 4), (count + 3) // 4, seed[1], seed[0], threshold, scale)
        source = at(x, start)
        for i in range(count):
            # Not the product: what is dropped is 0 even where x is infinite or NaN.
            tile[i] = source[i] * tile[i] if tile[i] != ZERO else ZERO
        copy(tile, at(y, start), count)
