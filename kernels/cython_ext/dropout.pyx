# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Dropout with a counter-based generator: an element's fate follows from the seed and its index alone."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

include "elements.pxi"

cdef int64_t BLOCK
from ...blocking import BLOCK

cdef extern from "philox.h" nogil:
    enum:
        DRAWN  # elements whose fate is drawn at a time; BLOCK is a multiple of it
    void draw(const uint64_t *seed, uint64_t first, float *drawn) noexcept

cdef extern from "exponential.h" nogil:
    int32_t bits_of_float(float value) noexcept
    float float_of_bits(int32_t bits) noexcept


cdef struct Dropout:
    const float *x
    const uint64_t *seed
    float *y
    int64_t SIZE
    double p


cdef inline float copied(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i]


cdef inline float kept(const inputs_t *of, int64_t i) noexcept nogil:
    """x times p where the bits of b, as a whole number, exceed those of q."""
    cdef float scaled = of.a[i] * of.p
    return scaled if <uint32_t> bits_of_float(of.b[i]) > <uint32_t> bits_of_float(of.q) else <float> 0


cdef void dropout(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Task i handles elements [i * BLOCK, (i + 1) * BLOCK): random words to the stack, then a selection."""
    cdef const Dropout *a = <const Dropout *> args
    cdef float words[DRAWN]
    cdef uint64_t threshold = <uint64_t> (a.p * 4294967296.0)
    # Of 2**32 words the last one to drop: fits 32 bits even where p = 1 drops all.
    cdef uint32_t last = <uint32_t> (threshold - 1)
    cdef inputs_t inputs
    cdef bint around = streams(a.y, a.SIZE, DRAWN)
    cdef int64_t first = begin * BLOCK, stop = min(end * BLOCK, a.SIZE)
    if threshold == 0:
        map_one(copied, a.x, 0, 0, a.y, a.SIZE, first, stop)
        return
    inputs.b, inputs.p, inputs.q = words, <float> (1.0 / (1.0 - a.p)), float_of_bits(<int32_t> last)
    while first < stop:
        draw(a.seed, first // 4, words)
        inputs.a = a.x + first
        map_elements(kept, 2, inputs, a.y + first, around, min(DRAWN, stop - first))
        first += DRAWN


ADDRESSES = {"dropout": <size_t> <void *> dropout}
