/* Sums over windows of depthwise convolution: a call handles a vector of channels along a stretch of some rows.
 *
 * With 3x3 and 5x5 kernels of stride 1 and 2 the weights stay in registers while the call slides along the rows, so that
 * a pixel is loaded once for all outputs of these rows that see it. All other windows are summed one by one. Pixels
 * outside an image are passed over. */
#ifndef NNFAST_DEPTHWISE_ROWS_H
#define NNFAST_DEPTHWISE_ROWS_H

#include "depthwise_vectors.h"

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

/* Step t meets `stride` new columns; sums[row][q] belongs to output column t - q, and the oldest is complete. */
INLINE void slide_taps(const int form, const int taps, const int stride, const int partial, const images_t *image,
                       const window_t *window, const results_t *result, const stretch_t *at, int64_t channel) {
    const int pending = (taps + stride - 1) / stride, rows = taps == 3 ? 4 : 2, height = stride * (rows - 1) + taps;
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
            if (!inside(column, columns)) continue;
            int64_t place = top + column * channels;
            UNROLL for (int i = 0; i < height; i++) {
                if (i < stride * rows) fetch_from(form, &from, ahead + (column * stride * rows + i) * LANES);
                if (there >> i & 1) {
                    const vec pixel = load_from(form, partial, &from, place);
                    UNROLL for (int k = 0; k < rows; k++)
                        if (0 <= i - k * stride && i - k * stride < taps)
                            UNROLL for (int q = 0; j + q * stride < taps; q++)
                                sums[k][q] += pixel * w[i - k * stride][j + q * stride];
                }
                place += row_size;
            }
        }
        if (t < first + delay) continue;
        int64_t place = target + (t - delay) * channels, line = claimed + (t - delay) * LANES;
        UNROLL for (int k = 0; k < rows; k++) {
            fetch_to(form, &to, line);
            if (k < wanted) store_to(form, partial, &to, place, sums[k][pending - 1]);
            place += result_row;
            line += result_row;
        }
    }
    finish(form, &to, result, channel);
}

/* One output of one row after the other, for windows of any size. */
INLINE void slide_any(const int form, const int partial, const images_t *image, const window_t *window,
                      const results_t *result, const stretch_t *at, int64_t channel) {
    const int64_t channels = image->channels;
    const reader_t from = reader(form, partial, image, channel);
    writer_t to = writer(form, partial, result, channel);
    const vec bias = load_or(partial, window->bias, channel, channels - channel, 0.0f);
    for (int64_t t = at->first; t < at->last; t++) {
        vec total = bias;
        for (int64_t r = 0; r < window->height; r++) {
            int64_t row = at->top + r * window->dilation_down;
            if (!inside(row, image->rows)) continue;
            for (int64_t s = 0; s < window->width; s++) {
                int64_t column = at->left + t * window->across + s * window->dilation;
                if (!inside(column, image->columns)) continue;
                const float *weight = window->weights + (r * window->width + s) * channels + channel;
                total += load_from(form, partial, &from, (row * image->columns + column) * channels) *
                         load_some(partial, weight, channels - channel);
            }
        }
        store_to(form, partial, &to, (at->row * result->columns + t) * channels, total);
    }
    finish(form, &to, result, channel);
}

INLINE void slide_part(const int form, const int partial, const images_t *image, const window_t *window,
                       const results_t *result, const stretch_t *at, int64_t channel) {
    const int by_one = form == BACKWARD || window->down == 1; /* gradients of another stride are spread */
    if (window->taps == 3 && by_one) slide_taps(form, 3, 1, partial, image, window, result, at, channel);
    else if (window->taps == 5 && by_one) slide_taps(form, 5, 1, partial, image, window, result, at, channel);
    else if (window->taps == 3) slide_taps(form, 3, 2, partial, image, window, result, at, channel);
    else if (window->taps == 5) slide_taps(form, 5, 2, partial, image, window, result, at, channel);
    else slide_any(form, partial, image, window, result, at, channel);
}

INLINE void slide_form(const int form, const images_t *image, const window_t *window, const results_t *result,
                       const stretch_t *at) {
    int64_t channel = 0;
    for (; channel + LANES <= image->channels; channel += LANES)
        slide_part(form, 0, image, window, result, at, channel);
    if (channel < image->channels) slide_part(form, 1, image, window, result, at, channel);
}

/* result = bias + the sums over windows of the image, for a stretch. */
static void slide(int form, const images_t *image, const window_t *window, const results_t *result,
                  const stretch_t *at) {
    if (form == PLAIN) slide_form(PLAIN, image, window, result, at);
    else if (form == FORWARD) slide_form(FORWARD, image, window, result, at);
    else slide_form(BACKWARD, image, window, result, at);
}

#endif
