# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Direct convolution: windows, read where they stand, times panels of weights; the weight gradient is the same turned.

A task copies a block of images with their padding into scratch. There every window is the same pattern (`shifts`) from
a place of its own (`places`), which is what `window_gemm` multiplies. What needs no padding is read in place.

Each pass is written for the fused operation. The plain one is the same without what it changes on load and on store.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

include "tiles.pxi"
include "windows.pxi"

cdef enum:
    AHEAD = 24  # pixels of a gradient that are asked for before they are needed: about the time that memory takes

include "direct_forward.pxi"
include "direct_data.pxi"
include "direct_weight.pxi"

ADDRESSES = {
    "direct_conv2d_forward_pack": <size_t> <void *> &direct_conv2d_forward_pack,
    "direct_conv2d_forward": <size_t> <void *> &direct_conv2d_forward,
    "direct_conv2d_backward_data_pack": <size_t> <void *> &direct_conv2d_backward_data_pack,
    "direct_conv2d_backward_data": <size_t> <void *> &direct_conv2d_backward_data,
    "direct_conv2d_backward_weight": <size_t> <void *> &direct_conv2d_backward_weight,
    "direct_conv2d_backward_weight_reduce": <size_t> <void *> &direct_conv2d_backward_weight_reduce,
}
FUSED = {
    "fused_direct_conv2d_forward_pack": <size_t> <void *> &fused_direct_conv2d_forward_pack,
    "fused_direct_conv2d_forward": <size_t> <void *> &fused_direct_conv2d_forward,
    "fused_direct_conv2d_forward_sums": <size_t> <void *> &fused_direct_conv2d_forward_sums,
    "fused_direct_conv2d_backward_data_pack": <size_t> <void *> &fused_direct_conv2d_backward_data_pack,
    "fused_direct_conv2d_backward_data": <size_t> <void *> &fused_direct_conv2d_backward_data,
    "fused_direct_conv2d_backward_data_sums": <size_t> <void *> &fused_direct_conv2d_backward_data_sums,
    "fused_direct_conv2d_backward_weight": <size_t> <void *> &fused_direct_conv2d_backward_weight,
    "fused_direct_conv2d_backward_weight_reduce": <size_t> <void *> &fused_direct_conv2d_backward_weight_reduce,
}
"""Stages of the operations of `fused.pyx`."""
