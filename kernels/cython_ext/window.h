/* Windows along one row of an image. `start` is the position of tap 0, negative in the padding; tap t is at
 * start + t * dilation. The taps in [first_tap, end_tap) lie inside; where none does, the range is empty. */
#ifndef NNFAST_WINDOW_H
#define NNFAST_WINDOW_H

#include <stdint.h>
#include <string.h>

static inline int64_t first_tap(int64_t start, int64_t dilation) {
    return start < 0 ? (-start + dilation - 1) / dilation : 0;
}

static inline int64_t end_tap(int64_t start, int64_t dilation, int64_t taps, int64_t size) {
    int64_t end = start < size ? (size - 1 - start) / dilation + 1 : 0;
    return end < taps ? end : taps;
}

/* The taps of a window in one row of `size` pixels, zeros outside; of `pixel` channels each, the first `channels`.
 * `inside` says whether the row itself is in the image. */
static inline void unfold_row(const float *row, int inside, float *target, int64_t start, int64_t dilation,
                              int64_t taps, int64_t size, int64_t pixel, int64_t channels) {
    int64_t first = first_tap(start, dilation), last = end_tap(start, dilation, taps, size);
    if (!inside || first >= last) {
        memset(target, 0, taps * channels * sizeof(float));
        return;
    }
    memset(target, 0, first * channels * sizeof(float));
    if (dilation == 1 && channels == pixel)
        memcpy(target + first * pixel, row + (start + first) * pixel, (last - first) * pixel * sizeof(float));
    else
        for (int64_t t = first; t < last; t++)
            memcpy(target + t * channels, row + (start + t * dilation) * pixel, channels * sizeof(float));
    memset(target + last * channels, 0, (taps - last) * channels * sizeof(float));
}

#endif
