"""What plain and fused convolutions by blocks of im2col share: products, weights as these take them, and sums."""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

include "blocking.pxi"
include "gemm.pxi"
include "partials.pxi"
include "transpose.pxi"
include "window.pxi"


cdef inline void pack_turned(const float *w, float *packed, int64_t K, int64_t KG, int64_t DEPTH, int64_t begin,
                             int64_t end) noexcept nogil:
    """packed[g, (r, s, c), k] = w[g * KG + k, r, s, c]; a task packs PACKED channels, group by group."""
    cdef int64_t k = begin * PACKED, last = min(end * PACKED, K), count
    while k < last:
        count = min(last - k, KG - k % KG)
        transpose(w + k * DEPTH, DEPTH, packed + k // KG * DEPTH * KG + k % KG, KG, count, DEPTH)
        k += count


cdef inline void pack_taps(const float *w, float *packed, int64_t K, int64_t KG, int64_t TAPS, int64_t CG,
                           int64_t begin, int64_t end) noexcept nogil:
    """packed[g, (r, s), k, c] = w[g * KG + k, r, s, c]; a task packs PACKED channels."""
    cdef int64_t t, k
    for k in range(begin * PACKED, min(end * PACKED, K)):
        for t in range(TAPS):
            memcpy(packed + ((k // KG * TAPS + t) * KG + k % KG) * CG, w + (k * TAPS + t) * CG, CG * sizeof(float))
