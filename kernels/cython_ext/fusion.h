/* What convolutions do to one pixel on load and on store; see kernels/fused.py. Pointers to absent arrays are not read. */
#ifndef NNFAST_FUSION_H
#define NNFAST_FUSION_H

#include <stdint.h>

enum { RELU = 1, RELU6 = 2 };

/* pixel = activation(pixel). NaN stays NaN. */
static inline void activate(float *pixel, int64_t channels, int64_t activation) {
    if (activation == RELU || activation == RELU6)
        for (int64_t c = 0; c < channels; c++) pixel[c] = pixel[c] < 0.0f ? 0.0f : pixel[c];
    if (activation == RELU6)
        for (int64_t c = 0; c < channels; c++) pixel[c] = pixel[c] > 6.0f ? 6.0f : pixel[c];
}

/* pixel = activation(pixel * scale + shift). */
static inline void load_pixel(float *pixel, int64_t channels, int scaled, const float *scale, const float *shift,
                              int64_t activation) {
    if (scaled)
        for (int64_t c = 0; c < channels; c++) pixel[c] = pixel[c] * scale[c] + shift[c];
    activate(pixel, channels, activation);
}

/* target = slope * dy + factor * z + offset, or dy. */
static inline void load_gradient(float *restrict target, const float *dy, int64_t channels, int composed, const float *z,
                                 const float *slope, const float *factor, const float *offset) {
    for (int64_t k = 0; k < channels; k++) target[k] = dy[k];
    if (composed)
        for (int64_t k = 0; k < channels; k++) target[k] = slope[k] * target[k] + factor[k] * z[k] + offset[k];
}

/* Add y - centre and its square to the two rows of sums. */
static inline void finish_pixel(const float *y, int64_t channels, const float *centre, double *restrict sums) {
    for (int64_t k = 0; k < channels; k++) {
        float deviation = y[k] - centre[k];
        sums[k] += deviation;
        sums[channels + k] += deviation * deviation;
    }
}

/* Mask dx by the activation's derivative, then add dx and dx * (x - centre) to the two rows of sums. */
static inline void finish_gradient(float *restrict dx, const float *x, int64_t channels, int scaled, const float *scale,
                                   const float *shift, int64_t activation, int summed, const float *centre,
                                   double *restrict sums) {
    if (activation == RELU || activation == RELU6)
        for (int64_t c = 0; c < channels; c++) {
            float before = scaled ? x[c] * scale[c] + shift[c] : x[c];
            dx[c] = before > 0.0f && (activation == RELU || before < 6.0f) ? dx[c] : 0.0f;
        }
    if (summed)
        for (int64_t c = 0; c < channels; c++) {
            sums[c] += dx[c];
            sums[channels + c] += dx[c] * (x[c] - centre[c]);
        }
}

#endif
