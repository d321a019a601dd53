# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Winograd's convolution F(4x4, 3x3): planes of tiles times planes of weights, see `kernels/winograd.py`.

A task of `winograd` transforms a block of tiles to 36 planes, multiplies each with the transformed weights of one group
of panels of output channels after the other, and transforms the products back while they are in the second cache.
`wide_winograd`, for many channels, transforms the inputs first, and weights where they are used: they are more than the
caches hold. Data gradients are the forward pass with the kernel turned by half a turn.

Loops are those of the fused operations; plain ones change nothing on load and on store.
"""
from libc.stdint cimport int64_t
from libc.string cimport memset

from ...winograd import DEPTH as _DEPTH, PAIR as _PAIR, SHORT as _SHORT, WIDE_WEIGHTS as _WIDE_WEIGHTS

include "blocking.pxi"
include "partials.pxi"
include "sources.pxi"
include "transpose.pxi"

cdef extern from "winograd.h" nogil:
    enum: TILE_OUT, PLANES, LANES
    ctypedef struct image_t:
        source_t source
        int64_t high, wide, channels, top, left
    ctypedef struct result_t:
        float *y
        int64_t high, wide, channels
        const float *bias
        finish_t finish
        float *totals
    void transform_inputs(const image_t *image, int64_t n, int64_t row, int64_t column, int64_t c, int64_t count,
                          int64_t ahead, float *planes, int64_t plane) noexcept
    void transform_gradients(const image_t *image, int64_t n, int64_t row, int64_t column, int64_t c, int64_t count,
                             int64_t ahead, float *planes, int64_t plane) noexcept
    void store_tile(const result_t *out, int64_t n, int64_t row, int64_t column, int64_t c, int64_t count,
                    int64_t ahead, const float *planes, int64_t plane) noexcept
    void transform_weights(const float *taps, int64_t tap, int64_t count, float *planes, int64_t plane) noexcept
    void transform_weight_gradients(const float *planes, int64_t plane, int64_t count, float *taps, int64_t tap) noexcept
    void multiply_tiles(int64_t tiles, int64_t columns, int64_t depth, const float *inputs, int64_t row,
                        const float *weights, float *products) noexcept
    void multiply_run(int64_t tiles, int64_t columns, int64_t depth, const float *inputs, int64_t row,
                      const float *weights, float *products, bint add) noexcept
    void multiply_gradients(int64_t rows, int64_t columns, int64_t tiles, const float *gradients, int64_t row,
                            const float *inputs, float *products, bint add) noexcept

cdef int64_t DEPTH = _DEPTH, PAIR = _PAIR, SHORT = _SHORT, WIDE_WEIGHTS = _WIDE_WEIGHTS
cdef enum:
    EARLY = 6  # tiles between the one that is transformed and the one whose pixels are fetched meanwhile
    SOON = 3  # the same of those that are written
    SUMMED = 16  # tiles, of 16 pixels each, that are added in float32 before their sum is added in double

include "winograd_tiles.pxi"
include "winograd_weights.pxi"
include "winograd_blocks.pxi"
include "winograd_forward.pxi"
include "winograd_data.pxi"
include "winograd_weight.pxi"

ADDRESSES = {
    "winograd_conv2d_forward_weights": <size_t> <void *> &winograd_conv2d_forward_weights,
    "winograd_conv2d_forward": <size_t> <void *> &winograd_conv2d_forward,
    "wide_winograd_conv2d_forward_inputs": <size_t> <void *> &wide_winograd_conv2d_forward_inputs,
    "wide_winograd_conv2d_forward": <size_t> <void *> &wide_winograd_conv2d_forward,
    "winograd_conv2d_backward_data_weights": <size_t> <void *> &winograd_conv2d_backward_data_weights,
    "winograd_conv2d_backward_data": <size_t> <void *> &winograd_conv2d_backward_data,
    "wide_winograd_conv2d_backward_data_inputs": <size_t> <void *> &wide_winograd_conv2d_backward_data_inputs,
    "wide_winograd_conv2d_backward_data": <size_t> <void *> &wide_winograd_conv2d_backward_data,
    "winograd_conv2d_backward_weight": <size_t> <void *> &winograd_conv2d_backward_weight,
    "winograd_conv2d_backward_weight_reduce": <size_t> <void *> &winograd_conv2d_backward_weight_reduce,
}
FUSED = {
    "fused_winograd_conv2d_forward_weights": <size_t> <void *> &fused_winograd_conv2d_forward_weights,
    "fused_winograd_conv2d_forward": <size_t> <void *> &fused_winograd_conv2d_forward,
    "fused_wide_winograd_conv2d_forward_inputs": <size_t> <void *> &fused_wide_winograd_conv2d_forward_inputs,
    "fused_wide_winograd_conv2d_forward": <size_t> <void *> &fused_wide_winograd_conv2d_forward,
    "fused_winograd_conv2d_forward_sums": <size_t> <void *> &fused_winograd_conv2d_forward_sums,
    "fused_wide_winograd_conv2d_forward_sums": <size_t> <void *> &fused_wide_winograd_conv2d_forward_sums,
    "fused_winograd_conv2d_backward_data_weights": <size_t> <void *> &fused_winograd_conv2d_backward_data_weights,
    "fused_winograd_conv2d_backward_data": <size_t> <void *> &fused_winograd_conv2d_backward_data,
    "fused_wide_winograd_conv2d_backward_data_inputs": <size_t> <void *> &fused_wide_winograd_conv2d_backward_data_inputs,
    "fused_wide_winograd_conv2d_backward_data": <size_t> <void *> &fused_wide_winograd_conv2d_backward_data,
    "fused_winograd_conv2d_backward_data_sums": <size_t> <void *> &fused_winograd_conv2d_backward_data_sums,
    "fused_wide_winograd_conv2d_backward_data_sums": <size_t> <void *> &fused_wide_winograd_conv2d_backward_data_sums,
    "fused_winograd_conv2d_backward_weight": <size_t> <void *> &fused_winograd_conv2d_backward_weight,
    "fused_winograd_conv2d_backward_weight_reduce": <size_t> <void *> &fused_winograd_conv2d_backward_weight_reduce,
}
"""Stages of the operations of `fused.pyx`."""
