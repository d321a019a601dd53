# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Dropout with a counter-based generator: an element's fate follows from the seed and its index alone."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef int64_t BLOCK
from ...blocking import BLOCK

cdef enum:
    COUNTERS = 64  # Philox blocks in one go
    WORDS = 256  # four a block; 1 KB of stack


cdef inline void philox(const uint64_t *seed, uint64_t first, uint32_t *words) noexcept nogil:
    """The words of Philox4x32-10 blocks [first, first + COUNTERS): word k of block j is words[4 * j + k]."""
    cdef uint32_t c0, c1, c2, c3, key0, key1
    cdef uint64_t product0, product1
    cdef int64_t j
    cdef int round
    cdef uint32_t seed0 = <uint32_t> seed[0], seed1 = <uint32_t> (seed[0] >> 32)
    cdef uint32_t stream0 = <uint32_t> seed[1], stream1 = <uint32_t> (seed[1] >> 32)
    # BLOCK and COUNTERS divide 2**32, so all counters of a run have the same high half.
    cdef uint32_t low = <uint32_t> first, high = <uint32_t> (first >> 32)
    for j in range(COUNTERS):
        c0, c1, c2, c3 = low + <uint32_t> j, high, stream0, stream1
        key0, key1 = seed0, seed1
        for round in range(10):
            product0 = <uint64_t> c0 * <uint32_t> 0xD2511F53
            product1 = <uint64_t> c2 * <uint32_t> 0xCD9E8D57
            c0 = <uint32_t> (product1 >> 32) ^ c1 ^ key0
            c1 = <uint32_t> product1
            c2 = <uint32_t> (product0 >> 32) ^ c3 ^ key1
            c3 = <uint32_t> product0
            key0 += <uint32_t> 0x9E3779B9
            key1 += <uint32_t> 0xBB67AE85
        words[4 * j] = c0
        words[4 * j + 1] = c1
        words[4 * j + 2] = c2
        words[4 * j + 3] = c3


cdef struct Dropout:
    const float *x
    const uint64_t *seed
    float *y
    int64_t SIZE
    double p


cdef void dropout(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Task i handles elements [i * BLOCK, (i + 1) * BLOCK): random words to the stack, then a selection."""
    cdef const Dropout *a = <const Dropout *> args
    cdef const float *x
    cdef float *y
    cdef uint32_t words[WORDS]
    cdef uint64_t threshold = <uint64_t> (a.p * 4294967296.0)
    # Of 2**32 words the last one to drop: fits 32 bits even where p = 1 drops all. With p = 0 none is dropped.
    cdef uint32_t last = <uint32_t> (threshold - 1)
    cdef float scale = <float> (1.0 / (1.0 - a.p)), kept
    cdef int64_t run, j, count
    for run in range(begin * BLOCK // WORDS, (min(end * BLOCK, a.SIZE) + WORDS - 1) // WORDS):
        x, y = a.x + run * WORDS, a.y + run * WORDS
        count = min(WORDS, a.SIZE - run * WORDS)
        if threshold == 0:
            for j in range(count):
                y[j] = x[j]
        else:
            philox(a.seed, <uint64_t> run * COUNTERS, words)
            for j in range(count):
                kept = x[j] * scale
                y[j] = kept if words[j] > last else <float> 0


ADDRESSES = {"dropout": <size_t> <void *> dropout}
