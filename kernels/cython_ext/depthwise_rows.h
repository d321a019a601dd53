/* Sums over windows of depthwise convolution: a call handles a vector of channels along a stretch of some rows.
 *
 * With 3x3 and 5x5 kernels of stride 1 and 2 the weights stay in registers while the call slides along the rows, so that
 * a pixel is loaded once for all outputs of these rows that see it. All other windows are summed one by one. Pixels
 * outside an image are passed over. */
#ifndef NNFAST_DEPTHWISE_ROWS_H
#define NNFAST_DEPTHWISE_ROWS_H

#include "depthwise_vectors.h"
#include "window.h"

enum { SIDE = 4 }; /* sums that are added up side by side for windows of any size: they do not wait for each other */

/* Weights stand as (height, width, channels). `taps` is 3 or 5 if the window has code of its own, else 0. */
typedef struct {
    const float *weights, *bias;
    int64_t height, width, down, across, dilation_down, dilation, taps;
} window_t;

/* Columns [first, last) of `rows` rows of results from `row` on; the window of column 0 of the first one begins at
 * (top, left) of the image. */
typedef struct {
    int64_t row, rows, first, last, top, left;
} stretch_t;

/* Rows of a stretch, at most: as many as leave registers for the weights. */
INLINE int64_t rows_of(int64_t taps) { return taps == 3 ? 4 : taps == 5 ? 2 : 1; }

/* The number of a window's own code: 0 for any window, 1 and 2 for 3x3 of stride 1 and 2, 3 and 4 for 5x5. */
enum { CODES = 5 };
INLINE int64_t code_of(const window_t *window) { return window->taps == 0 ? 0 : window->taps - 3 + window->down; }

/* Which of `count` rows from the first one on are inside an image: a bit for each. */
INLINE unsigned rows_inside(int64_t first, int count, int64_t rows) {
    unsigned bits = 0;
    for (int i = 0; i < count; i++) bits |= (unsigned)inside(first + i, rows) << i;
    return bits;
}

INLINE void load_weights(const int taps, const int partial, const window_t *window, int64_t channels, int64_t channel,
                         vec w[5][5]) {
    UNROLL for (int r = 0; r < taps; r++)
        UNROLL for (int s = 0; s < taps; s++)
            w[r][s] = load_some(partial, window->weights + (r * taps + s) * channels + channel, channels - channel);
}

/* `count` outputs side by side from column t on; more than one only where their windows have all columns. */
INLINE void sum_window(const int form, const int partial, const int count, const images_t *image,
                       const window_t *window, const results_t *result, const stretch_t *at, int64_t channel,
                       const reader_t *from, writer_t *to, vec bias, int64_t t) {
    const int64_t channels = image->channels, dilation = window->dilation, left = at->left + t * window->across;
    const int64_t first = count > 1 ? 0 : first_tap(left, dilation);
    const int64_t end = count > 1 ? window->width : end_tap(left, dilation, window->width, image->columns);
    vec totals[SIDE];
    UNROLL for (int i = 0; i < count; i++) totals[i] = bias;
    for (int64_t r = 0; r < window->height; r++) {
        const int64_t row = at->top + r * window->dilation_down;
        if (!inside(row, image->rows)) continue;
        const float *weights = window->weights + r * window->width * channels + channel;
        const int64_t start = (row * image->columns + left) * channels;
        for (int64_t s = first; s < end; s++) {
            const vec weight = load_some(partial, weights + s * channels, channels - channel);
            UNROLL for (int i = 0; i < count; i++)
                totals[i] += load_from(form, partial, from, start + (i * window->across + s * dilation) * channels) * weight;
        }
    }
    UNROLL for (int i = 0; i < count; i++)
        store_to(form, partial, to, (at->row * result->columns + t + i) * channels, totals[i]);
}

/* One row, for windows of any size. */
INLINE void slide_any(const int form, const int partial, const images_t *image, const window_t *window,
                      const results_t *result, const stretch_t *at, int64_t channel) {
    const int64_t reach = (SIDE - 1) * window->across + (window->width - 1) * window->dilation;
    const reader_t from = reader(form, partial, image, channel);
    writer_t to = writer(form, partial, result, channel);
    const vec bias = load_or(partial, window->bias, channel, image->channels - channel, 0.0f);
    int64_t t = at->first;
    while (t < at->last) {
        const int64_t left = at->left + t * window->across;
        const int whole = left >= 0 && left + reach < image->columns && t + SIDE <= at->last;
        if (whole) sum_window(form, partial, SIDE, image, window, result, at, channel, &from, &to, bias, t);
        else sum_window(form, partial, 1, image, window, result, at, channel, &from, &to, bias, t);
        t += whole ? SIDE : 1;
    }
    finish(form, &to, result, channel);
}

/* Step t meets `stride` new columns; sums[row][q] belongs to output column t - q, and the oldest is complete. */
INLINE void slide_taps(const int form, const int taps, const int stride, const int partial, const images_t *image,
                       const window_t *window, const results_t *result, const stretch_t *at, int64_t channel) {
    if (taps == 0) {
        slide_any(form, partial, image, window, result, at, channel);
        return;
    }
    const int pending = (taps + stride - 1) / stride, rows = (int)rows_of(taps), height = stride * (rows - 1) + taps;
    const int64_t channels = image->channels, columns = image->columns, row_size = columns * channels;
    const int64_t result_row = result->columns * channels, delay = pending - 1, first = at->first, last = at->last;
    const unsigned there = rows_inside(at->top, height, image->rows);
    const int64_t wanted = at->rows, left = at->left, top = at->top * row_size, target = at->row * result_row;
    const int64_t ahead = share_ahead(image, at->top + height, stride * rows, channel);
    const int64_t claimed = (at->row + rows) * result_row + channel * (result->columns - 1);
    const reader_t from = reader(form, partial, image, channel);
    writer_t to = writer(form, partial, result, channel);
    const vec bias = load_or(partial, window->bias, channel, channels - channel, 0.0f);
    vec w[5][5], sums[4][5];
    load_weights(taps, partial, window, channels, channel, w);
    UNROLL for (int k = 0; k < rows; k++) UNROLL for (int q = 0; q < pending; q++) sums[k][q] = (vec){0};
    for (int64_t t = first; t < last + delay; t++) {
        UNROLL for (int k = 0; k < rows; k++) {
            UNROLL for (int q = pending - 1; q > 0; q--) sums[k][q] = sums[k][q - 1];
            sums[k][0] = bias;
        }
        UNROLL for (int j = 0; j < stride; j++) {
            const int64_t column = t * stride + left + j;
            if (!LIKELY(inside(column, columns))) continue;
            int64_t place = top + column * channels;
            UNROLL for (int i = 0; i < height; i++) {
                if (i < stride * rows) fetch_from(form, &from, ahead + (column * stride * rows + i) * LANES);
                if (LIKELY(there >> i & 1)) {
                    const vec pixel = load_from(form, partial, &from, place);
                    UNROLL for (int k = 0; k < rows; k++)
                        if (0 <= i - k * stride && i - k * stride < taps)
                            UNROLL for (int q = 0; j + q * stride < taps; q++)
                                sums[k][q] += pixel * w[i - k * stride][j + q * stride];
                }
                place += row_size;
            }
        }
        if (!LIKELY(t >= first + delay)) continue;
        int64_t place = target + (t - delay) * channels, line = claimed + (t - delay) * LANES;
        UNROLL for (int k = 0; k < rows; k++) {
            fetch_to(form, &to, line);
            line += result_row;
        }
        UNROLL for (int k = 0; k < rows; k++) {
            if (LIKELY(k < wanted)) store_to(form, partial, &to, place, sums[k][pending - 1]);
            place += result_row;
        }
    }
    finish(form, &to, result, channel);
}

typedef void slide_t(int partial, const images_t *image, const window_t *window, const results_t *result,
                     const stretch_t *at, int64_t channel);

#define SLIDE(form, taps, stride)                                                                                  \
    APART void slide_##form##_##taps##_##stride(int partial, const images_t *image, const window_t *window,        \
                                                const results_t *result, const stretch_t *at, int64_t channel) {   \
        if (partial) slide_taps(form, taps, stride, 1, image, window, result, at, channel);                        \
        else slide_taps(form, taps, stride, 0, image, window, result, at, channel);                                \
    }
SLIDE(PLAIN, 0, 0)
SLIDE(PLAIN, 3, 1)
SLIDE(PLAIN, 3, 2)
SLIDE(PLAIN, 5, 1)
SLIDE(PLAIN, 5, 2)
SLIDE(FORWARD, 0, 0)
SLIDE(FORWARD, 3, 1)
SLIDE(FORWARD, 3, 2)
SLIDE(FORWARD, 5, 1)
SLIDE(FORWARD, 5, 2)
SLIDE(BACKWARD, 0, 0)
SLIDE(BACKWARD, 3, 1)
SLIDE(BACKWARD, 5, 1)

/* result = bias + the sums over windows of the image, for a stretch. */
INLINE void slide(int form, const images_t *image, const window_t *window, const results_t *result,
                  const stretch_t *at) {
    static slide_t *const functions[][CODES] = {
        [PLAIN] = {slide_PLAIN_0_0, slide_PLAIN_3_1, slide_PLAIN_3_2, slide_PLAIN_5_1, slide_PLAIN_5_2},
        [FORWARD] = {slide_FORWARD_0_0, slide_FORWARD_3_1, slide_FORWARD_3_2, slide_FORWARD_5_1, slide_FORWARD_5_2},
        [BACKWARD] = {slide_BACKWARD_0_0, slide_BACKWARD_3_1, NULL, slide_BACKWARD_5_1, NULL}, /* others are spread */
    };
    slide_t *const function = functions[form][code_of(window)];
    for (int64_t c = 0; c < image->channels; c += LANES)
        function(image->channels - c < LANES, image, window, result, at, c);
}

#endif
