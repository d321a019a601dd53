/* Which taps of a window lie inside its input: those in [first_tap, end_tap). `start` is the position of tap 0,
 * negative in the padding; tap t is at start + t * dilation. Where no tap is inside, the range is empty. */
#ifndef NNFAST_WINDOW_H
#define NNFAST_WINDOW_H

#include <stdint.h>

static inline int64_t first_tap(int64_t start, int64_t dilation) {
    return start < 0 ? (-start + dilation - 1) / dilation : 0;
}

static inline int64_t end_tap(int64_t start, int64_t dilation, int64_t taps, int64_t size) {
    int64_t end = start < size ? (size - 1 - start) / dilation + 1 : 0;
    return end < taps ? end : taps;
}

#endif
