/* What pooling does with one window, or with one pixel of a gradient, for all channels: GROUP of them at a time, then
 * vector by vector. What a window accumulates stays in registers. */
#ifndef NNFAST_POOLING_H
#define NNFAST_POOLING_H

#include <math.h>

#include "elements.h"

/* Tap numbers are bytes in memory and as wide as float32 in registers, as masks are. */
INLINE ints load_taps(const int partial, const uint8_t *p, int64_t count) {
#if LANES == 16
    const __m128i taps = partial ? _mm_maskz_loadu_epi8((__mmask16)_bzhi_u32(0xFFFF, (uint32_t)count), p)
                                 : _mm_loadu_si128((const __m128i *)p);
    return (ints)_mm512_cvtepu8_epi32(taps);
#else
    uint8_t some[LANES] = {0};
    for (int i = 0; partial && i < LANES; i++)
        if (i < count) some[i] = p[i];
    p = partial ? some : p;
#if LANES == 8
    return (ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#elif LANES == 4
    return (ints){p[0], p[1], p[2], p[3]};
#else
    return *p;
#endif
#endif
}

INLINE void store_taps(const int partial, uint8_t *p, ints value, int64_t count) {
#if LANES == 16
    const __m128i taps = _mm512_cvtepi32_epi8((__m512i)value);
    if (partial) _mm_mask_storeu_epi8(p, (__mmask16)_bzhi_u32(0xFFFF, (uint32_t)count), taps);
    else _mm_storeu_si128((__m128i *)p, taps);
#else
    int32_t lane[LANES];
    memcpy(lane, &value, sizeof value);
    for (int i = 0; i < LANES; i++)
        if (!partial || i < count) p[i] = (uint8_t)lane[i];
#endif
}

INLINE ints where_taps(ints holds, ints a, ints b) {
#if LANES > 1
    return (holds & a) | (~holds & b);
#else
    return holds ? a : b;
#endif
}

INLINE vec load_some(const int partial, const float *p, int64_t count) {
    return partial ? load_part(p, count) : load(p);
}

INLINE void put_some(const int partial, float *p, vec value, int around, int64_t count) {
    if (partial) store_part(p, value, count);
    else put(p, value, around);
}

/* Call `body` for all `channels`: `c` is the first one of so many vectors, and `left` are there. */
#define FOR_CHANNELS(channels, body)                                           \
    do {                                                                       \
        int64_t c = 0, left;                                                   \
        for (; left = (channels) - c, left >= GROUP; c += GROUP) body(4, 0);   \
        for (; left = (channels) - c, left >= LANES; c += LANES) body(1, 0);   \
        if (left > 0) body(1, 1);                                              \
    } while (0)

/* ---------------------------------------------------------------- forward */

typedef struct {
    int64_t rows, columns;  /* pixels inside the image, */
    int64_t row_step, step; /* so many elements apart */
    int64_t tap, row_taps;  /* the first one's number, and how many a full row has */
    int64_t ahead;          /* elements to the window that is read later, and fetched */
    int64_t channels;
    int around;
} window_t;

/* What becomes of pixels before they are compared: x * scale + shift, between two bounds; NaN stays NaN. */
typedef struct {
    int scaled;
    const float *scale, *shift;
    float low, high;
} activated_t;

INLINE void compete(const int activated, const int square, const int vectors, const int partial, const float *x,
                    const window_t *of, const activated_t *load_as, int64_t c, int64_t left, float *y,
                    uint8_t *argmax) {
    const int64_t rows = square ? square : of->rows, columns = square ? square : of->columns;
    vec best[4], scale[4], shift[4];
    ints taps[4], here = (int32_t)of->tap - (ints){0};
    UNROLL for (int j = 0; j < vectors; j++) {
        best[j] = splat(-(float)INFINITY);
        taps[j] = here;
        if (activated) {
            const int64_t k = c + j * LANES, count = left - j * LANES;
            scale[j] = load_as->scaled ? load_some(partial, load_as->scale + k, count) : splat(1);
            shift[j] = load_as->scaled ? load_some(partial, load_as->shift + k, count) : splat(0);
        }
    }
    for (int64_t row = 0; row < rows; row++) {
        const float *pixel = x + row * of->row_step + c;
        for (int64_t column = 0; column < columns; column++) {
            UNROLL for (int j = 0; j < vectors; j++) {
                vec value = load_some(partial, pixel + j * LANES, left - j * LANES);
                fetch(pixel + j * LANES + of->ahead);
                if (activated) {
                    value = value * scale[j] + shift[j];
                    value = less(splat(load_as->high), greater(splat(load_as->low), value));
                }
                const ints better = (value > best[j]) | (value != value);
                best[j] = where(better, value, best[j]);
                taps[j] = where_taps(better, here, taps[j]);
            }
            here += 1;
            pixel += of->step;
        }
        here += (int32_t)(of->row_taps - columns);
    }
    UNROLL for (int j = 0; j < vectors; j++) {
        put_some(partial, y + c + j * LANES, best[j], of->around, left - j * LANES);
        store_taps(partial, argmax + c + j * LANES, taps[j], left - j * LANES);
    }
}

/* The maximum of a window whose first pixel is x, and its tap; the usual windows are unrolled. */
INLINE void window_maximum(const int activated, const float *x, const window_t *of, const activated_t *load_as,
                           float *y, uint8_t *argmax) {
#define BODY(vectors, partial) compete(activated, 0, vectors, partial, x, of, load_as, c, left, y, argmax)
#define BODY_OF_2(vectors, partial) compete(activated, 2, vectors, partial, x, of, load_as, c, left, y, argmax)
#define BODY_OF_3(vectors, partial) compete(activated, 3, vectors, partial, x, of, load_as, c, left, y, argmax)
    if (of->rows == 2 && of->columns == 2) FOR_CHANNELS(of->channels, BODY_OF_2);
    else if (of->rows == 3 && of->columns == 3) FOR_CHANNELS(of->channels, BODY_OF_3);
    else FOR_CHANNELS(of->channels, BODY);
#undef BODY
#undef BODY_OF_2
#undef BODY_OF_3
}

INLINE void average(const int vectors, const int partial, const float *x, const window_t *of, float divisor, int64_t c,
                    int64_t left, float *y) {
    vec sums[4] = {{0}, {0}, {0}, {0}};
    for (int64_t row = 0; row < of->rows; row++) {
        const float *pixel = x + row * of->row_step + c;
        for (int64_t column = 0; column < of->columns; column++) {
            UNROLL for (int j = 0; j < vectors; j++) {
                sums[j] += load_some(partial, pixel + j * LANES, left - j * LANES);
                fetch(pixel + j * LANES + of->ahead);
            }
            pixel += of->step;
        }
    }
    UNROLL for (int j = 0; j < vectors; j++)
        put_some(partial, y + c + j * LANES, sums[j] / divisor, of->around, left - j * LANES);
}

/* The sum of a window whose first pixel is x, divided. */
INLINE void window_mean(const float *x, const window_t *of, float divisor, float *y) {
#define BODY(vectors, partial) average(vectors, partial, x, of, divisor, c, left, y)
    FOR_CHANNELS(of->channels, BODY);
#undef BODY
}

/* ---------------------------------------------------------------- backward */

/* The windows along one axis that meet a pixel: the first one's tap, its number, and how many there are. Every further
 * one is `tap_step` taps on and `window_step` windows back. */
typedef struct {
    int64_t tap, window, count, tap_step, window_step;
} meeting_t;

/* Those, of `windows`, that meet the padded position `index` * stride + `phase` with one of `taps`. */
INLINE meeting_t meeting(int64_t index, int64_t phase, int64_t stride, int64_t dilation, int64_t taps,
                         int64_t windows) {
    meeting_t of = {.tap = phase, .window = index, .tap_step = stride, .window_step = 1};
    if (dilation != 1) {
        for (of.tap_step = 1; of.tap_step * dilation % stride;) of.tap_step++;
        of.window_step = of.tap_step * dilation / stride;
        for (of.tap = 0; of.tap < of.tap_step && (of.tap * dilation - phase) % stride;) of.tap++;
        of.window = of.tap < of.tap_step ? index - (of.tap * dilation - phase) / stride : -1;
    }
    for (; of.window >= windows; of.window -= of.window_step) of.tap += of.tap_step;
    while (of.tap + of.count * of.tap_step < taps && of.window >= of.count * of.window_step) of.count++;
    return of;
}

/* Gradients of windows with the taps that won; y and the bound that an activation knows if it is `masked`. */
typedef struct {
    const float *dy;
    const uint8_t *argmax;
    const float *y;
    float top;
    int64_t row, row_taps; /* windows of a row, and taps */
    int64_t ahead;         /* elements to the pixel of dx that is written later */
    int64_t channels;
    int around;
} winners_t;

INLINE void gather(const int masked, const int vectors, const int partial, const winners_t *of, const meeting_t *down,
                   const meeting_t *across, int64_t c, int64_t left, float *dx) {
    const int64_t row = of->row * of->channels, back = across->window_step * of->channels;
    vec sums[4] = {{0}, {0}, {0}, {0}};
    for (int64_t i = 0; i < down->count; i++) {
        int64_t place = (down->window - i * down->window_step) * row + across->window * of->channels + c;
        int64_t tap = (down->tap + i * down->tap_step) * of->row_taps + across->tap;
        for (int64_t k = 0; k < across->count; k++) {
            const uint8_t *argmax = of->argmax + place;
            const float *dy = of->dy + place, *y = masked ? of->y + place : dy;
            fetch((const float *)(argmax + row)); /* what the next row of windows holds */
            UNROLL for (int j = 0; j < vectors; j++) {
                const int64_t at = j * LANES, count = left - at;
                ints won = load_taps(partial, argmax + at, count) == (int32_t)tap;
                fetch(dy + row + at);
                if (masked) {
                    const vec value = load_some(partial, y + at, count);
                    fetch(y + row + at);
                    won &= (value > 0) & (value != of->top);
                }
                sums[j] += where(won, load_some(partial, dy + at, count), (vec){0});
            }
            place -= back;
            tap += across->tap_step;
        }
    }
    UNROLL for (int j = 0; j < vectors; j++) {
        float *target = dx + c + j * LANES;
        put_some(partial, target, sums[j], of->around, left - j * LANES);
        if (!of->around) fetch_to_write(target + of->ahead);
    }
}

/* A pixel of dx: what the windows that meet it give where their maximum was. */
INLINE void gather_pixel(const int masked, const winners_t *of, const meeting_t *down, const meeting_t *across,
                         float *dx) {
#define BODY(vectors, partial) gather(masked, vectors, partial, of, down, across, c, left, dx)
    FOR_CHANNELS(of->channels, BODY);
#undef BODY
}

INLINE void give_where(const int masked, const int vectors, const int partial, const winners_t *of, int64_t place,
                       int64_t tap, int64_t columns, int64_t c, int64_t left, float *dx) {
    const int64_t row = of->row * of->channels;
    vec gradients[4];
    ints taps[4];
    fetch((const float *)(of->argmax + place + c + row));
    UNROLL for (int j = 0; j < vectors; j++) {
        const int64_t at = place + c + j * LANES, count = left - j * LANES;
        taps[j] = load_taps(partial, of->argmax + at, count);
        gradients[j] = load_some(partial, of->dy + at, count);
        fetch(of->dy + at + row);
        if (masked) {
            const vec value = load_some(partial, of->y + at, count);
            fetch(of->y + at + row);
            gradients[j] = where((value > 0) & (value != of->top), gradients[j], (vec){0});
        }
    }
    for (int64_t column = 0; column < columns; column++)
        UNROLL for (int j = 0; j < vectors; j++) {
            float *target = dx + column * of->channels + c + j * LANES;
            const vec share = where(taps[j] == (int32_t)(tap + column), gradients[j], (vec){0});
            put_some(partial, target, share, of->around, left - j * LANES);
            if (!of->around) fetch_to_write(target + of->ahead);
        }
}

/* The `columns` pixels of dx that one window meets with `tap` and those that follow, and no other window meets. */
INLINE void give_pixels(const int masked, const winners_t *of, int64_t window, int64_t tap, int64_t columns,
                        float *dx) {
    const int64_t place = window * of->channels;
#define BODY(vectors, partial) give_where(masked, vectors, partial, of, place, tap, columns, c, left, dx)
    FOR_CHANNELS(of->channels, BODY);
#undef BODY
}

INLINE void give(const int adds, const int vectors, const int partial, const float *dy, float factor, int64_t pixels,
                 int64_t channels, int64_t c, int64_t left, float *dx, int around) {
    vec share[4];
    UNROLL for (int j = 0; j < vectors; j++)
        share[j] = load_some(partial, dy + c + j * LANES, left - j * LANES) * factor;
    for (int64_t i = 0; i < pixels; i++)
        UNROLL for (int j = 0; j < vectors; j++) {
            float *place = dx + i * channels + c + j * LANES;
            const int64_t count = left - j * LANES;
            put_some(partial, place, adds ? share[j] + load_some(partial, place, count) : share[j], around, count);
        }
}

/* Give `pixels` pixels side by side a window's gradient times `factor`; if it `adds`, to what is there. */
INLINE void give_share(const int adds, const float *dy, float factor, int64_t pixels, int64_t channels, float *dx,
                       int around) {
#define BODY(vectors, partial) give(adds, vectors, partial, dy, factor, pixels, channels, c, left, dx, around)
    FOR_CHANNELS(channels, BODY);
#undef BODY
}

#endif
