"""Dropout with counter-based random numbers: element i's fate is a function of the seed and of i alone.

So the same elements are dropped on any number of threads and in every backend, and the backward pass draws them again
from the seed instead of keeping a mask.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # the golden ratio and sqrt(3) - 1, as fractions of 2**32
LOW_WORD = 0xFFFFFFFF
WORD_BITS = 32

Words = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _multiply(constant: np.uint64, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The high and the low word of a 32 x 32 bit product."""
    product = constant * words
    return product >> np.uint64(WORD_BITS), product & np.uint64(LOW_WORD)


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Philox4x32-10: four random 32-bit words for every counter, a bijection of counters for every key.

    Parameters
    ----------
    counter : four arrays of uint64, all of one shape, that hold 32-bit words; the least significant word first.
    key : two 32-bit words.

    Returns
    -------
    Four such arrays.

    Notes
    -----
    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
    """
    for number in range(ROUNDS):
        key0, key1 = ((word + number * step) & LOW_WORD for word, step in zip(key, KEY_STEPS, strict=True))
        high0, low0 = _multiply(MULTIPLIERS[0], counter[0])
        high1, low1 = _multiply(MULTIPLIERS[1], counter[2])
        counter = (high1 ^ counter[1] ^ np.uint64(key0), low1, high0 ^ counter[3] ^ np.uint64(key1), low0)
    return counter


def random_words(size: int, seed: np.ndarray) -> np.ndarray:
    """The 32-bit words (in uint64) that `dropout` compares, for elements 0 to ``size - 1``.

    Element i has word ``i % 4`` of block ``i // 4``. A block's counter is (block low, block high, seed[1] low,
    seed[1] high), the key is (seed[0] low, seed[0] high), where low and high are the halves of 64 bits.

    Parameters
    ----------
    size : how many.
    seed : (2,) uint64.
    """
    block = np.arange(-(-size // 4), dtype=np.uint64)
    key, stream = int(seed[0]), int(seed[1])
    counter = (
        block & np.uint64(LOW_WORD),
        block >> np.uint64(WORD_BITS),
        np.full_like(block, stream & LOW_WORD),
        np.full_like(block, stream >> WORD_BITS),
    )
    words = philox4x32(counter, (key & LOW_WORD, key >> WORD_BITS))
    return np.stack(words, axis=-1).reshape(-1)[:size]


def dropout(x: np.ndarray, seed: np.ndarray, y: np.ndarray, p: float) -> None:
    """Set each element to 0 with probability `p` and scale the others so that the expected value stays.

    ``y[i] = 0 if word(i) < floor(p * 2**32) else x[i] / (1 - p)``, with i the element's place in memory order and the
    words of `random_words`. The factor ``1 / (1 - p)`` is computed in float64 and rounded to x's type once. A dropped
    element is exactly 0, whatever x is there; ``p = 1`` drops all. The gradient is the same operation on dy with the
    same seed.

    Parameters
    ----------
    x : any shape.
    seed : (2,) uint64: the generator's key, and which of its streams to use (one per call, say).
    y : written; may be x's memory.
    p : the probability, 0 to 1.

    Notes
    -----
    `torch.nn.functional.dropout` with ``training=True``, but other random numbers. N. Srivastava, G. Hinton,
    A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    2014.
    """
    threshold = np.uint64(p * 2.0**WORD_BITS)
    kept = (random_words(x.size, seed) >= threshold).reshape(x.shape)
    factor = x.dtype.type(1 / (1 - p)) if p < 1 else x.dtype.type(0)
    result = np.zeros_like(x)
    np.multiply(x, factor, out=result, where=kept)
    y[...] = result
