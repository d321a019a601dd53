/* Gradients of depthwise convolution, with the terms of depthwise_rows.h: of images where the stride is not 1, and of
 * weights. */
#ifndef NNFAST_DEPTHWISE_GRADIENTS_H
#define NNFAST_DEPTHWISE_GRADIENTS_H

#include "depthwise_rows.h"

/* ---------------------------------------------------------------- dx where the stride is not 1 */

/* Rows [first_row, last_row) of results. With code of its own, of stride 2, a window's stretch counts pairs of rows and
 * of columns with the padding (top, left): the first of a pair may lie outside. */
typedef struct {
    int64_t first_row, last_row, row, first, last, top, left;
} spread_t;

/* Step t meets column t of dy and completes two columns of two rows of dx; each of the four meets other taps. */
INLINE void spread_taps(const int form, const int taps, const int partial, const images_t *image, const window_t *window,
                        const results_t *result, const spread_t *at, int64_t channel) {
    const int met = (taps + 1) / 2;
    const int64_t channels = image->channels, columns = image->columns, row_size = columns * channels;
    const int64_t width = result->columns, result_row = width * channels, first = at->first, last = at->last;
    const int64_t lowest = at->row - (met - 1), left = at->left, top = 2 * at->row - at->top;
    const unsigned there = rows_inside(lowest, met, image->rows);
    const unsigned wanted = rows_inside(top - at->first_row, 2, at->last_row - at->first_row);
    const int64_t above = lowest * row_size, target = top * result_row;
    const int64_t ahead = share_ahead(image, lowest + met, 1, channel);
    const int64_t claimed = target + 2 * result_row + channel * (width - 1);
    const reader_t from = reader(form, partial, image, channel);
    writer_t to = writer(form, partial, result, channel);
    vec w[5][5], gradients[3][3];
    load_weights(taps, partial, window, channels, channel, w);
    UNROLL for (int p = 0; p < met; p++) UNROLL for (int q = 0; q < met; q++) gradients[p][q] = (vec){0};
    for (int64_t t = first - (met - 1); t < last; t++) {
        UNROLL for (int p = 0; p < met; p++) {
            UNROLL for (int q = met - 1; q > 0; q--) gradients[p][q] = gradients[p][q - 1];
            gradients[p][0] = (vec){0};
        }
        if (inside(t, columns)) {
            fetch_from(form, &from, ahead + t * LANES);
            UNROLL for (int p = 0; p < met; p++) /* row p is p above the last one that the pair meets */
                if (there >> (met - 1 - p) & 1)
                    gradients[p][0] = load_from(form, partial, &from, above + (met - 1 - p) * row_size + t * channels);
        }
        if (t < first) continue;
        UNROLL for (int j = 0; j < 2; j++) {
            const int64_t column = 2 * t - left + j;
            if (!inside(column, width)) continue;
            UNROLL for (int i = 0; i < 2; i++) {
                fetch_to(form, &to, claimed + i * result_row + column * LANES);
                if (!(wanted >> i & 1)) continue;
                vec total = {0};
                UNROLL for (int p = 0; i + 2 * p < taps; p++)
                    UNROLL for (int q = 0; j + 2 * q < taps; q++) total += gradients[p][q] * w[i + 2 * p][j + 2 * q];
                store_to(form, partial, &to, target + i * result_row + column * channels, total);
            }
        }
    }
    finish(form, &to, result, channel);
}

/* One pixel after the other, for windows of any size. */
INLINE void spread_any(const int form, const int partial, const images_t *image, const window_t *window,
                       const results_t *result, const spread_t *at, int64_t channel) {
    const int64_t channels = image->channels;
    const reader_t from = reader(form, partial, image, channel);
    writer_t to = writer(form, partial, result, channel);
    for (int64_t t = at->first; t < at->last; t++) {
        vec total = {0};
        for (int64_t r = 0; r < window->height; r++) {
            const int64_t below = at->row + at->top - r * window->dilation_down, row = below / window->down;
            if (row * window->down != below || !inside(row, image->rows)) continue;
            for (int64_t s = 0; s < window->width; s++) {
                const int64_t right = t + at->left - s * window->dilation, column = right / window->across;
                if (column * window->across != right || !inside(column, image->columns)) continue;
                const float *weight = window->weights + (r * window->width + s) * channels + channel;
                total += load_from(form, partial, &from, (row * image->columns + column) * channels) *
                         load_some(partial, weight, channels - channel);
            }
        }
        store_to(form, partial, &to, (at->row * result->columns + t) * channels, total);
    }
    finish(form, &to, result, channel);
}

INLINE void spread_part(const int form, const int partial, const images_t *image, const window_t *window,
                        const results_t *result, const spread_t *at, int64_t channel) {
    if (window->taps == 3) spread_taps(form, 3, partial, image, window, result, at, channel);
    else if (window->taps == 5) spread_taps(form, 5, partial, image, window, result, at, channel);
    else spread_any(form, partial, image, window, result, at, channel);
}

INLINE void spread_form(const int form, const images_t *image, const window_t *window, const results_t *result,
                        const spread_t *at) {
    int64_t channel = 0;
    for (; channel + LANES <= image->channels; channel += LANES)
        spread_part(form, 0, image, window, result, at, channel);
    if (channel < image->channels) spread_part(form, 1, image, window, result, at, channel);
}

/* result (dx) = the sums over the windows of the image (dy) that see each pixel. */
static void spread(int form, const images_t *image, const window_t *window, const results_t *result,
                   const spread_t *at) {
    if (form == PLAIN) spread_form(PLAIN, image, window, result, at);
    else spread_form(BACKWARD, image, window, result, at);
}

/* ---------------------------------------------------------------- dw */

/* Rows of gradients of a stretch: as many as leave registers for all sums. */
INLINE int64_t rows_of_gradients(int64_t taps, int64_t stride) { return taps != 3 ? 1 : stride == 1 ? 4 : 2; }

/* Add a vector of one weight's gradient. */
INLINE void add_some(const int partial, float *p, vec value, int64_t count) {
    if (partial) store_part(p, load_part(p, count) + value, count);
    else store(p, load(p) + value);
}

/* Add the products of a column of pixels with the gradients that meet it there: gradients[row][q] is of column t - q.
 * Unless all are there, `rows` says which rows are, and `meets` which columns: zeros instead would make NaN of an
 * infinite pixel that none sees. */
INLINE void correlate_column(const int form, const int taps, const int stride, const int partial, const int whole,
                             const int j, const reader_t *from, int64_t place, int64_t row_size, unsigned there,
                             int64_t ahead, vec gradients[4][5], unsigned rows, unsigned meets, vec sums[5][5]) {
    const int count = taps == 3 ? (stride == 1 ? 4 : 2) : 1, height = stride * (count - 1) + taps;
    UNROLL for (int i = 0; i < height; i++) {
        if (i < stride * count) fetch_from(form, from, ahead + i * LANES);
        if (there >> i & 1) {
            const vec pixel = load_from(form, partial, from, place);
            UNROLL for (int k = 0; k < count; k++) {
                const int r = i - k * stride;
                if (0 <= r && r < taps && (whole || (rows >> k & 1)))
                    UNROLL for (int q = 0; j + q * stride < taps; q++)
                        if (whole || (meets >> q & 1)) sums[r][j + q * stride] += pixel * gradients[k][q];
            }
        }
        place += row_size;
    }
}

/* Step t meets column t of dy and `stride` new columns of x; they go with the last columns of dy. */
INLINE void correlate_taps(const int fused, const int taps, const int stride, const int partial, const images_t *image,
                           const window_t *window, const images_t *gradient, const stretch_t *at, float *partial_sums,
                           int64_t channel) {
    const int of_image = fused ? FORWARD : PLAIN, of_gradient = fused ? BACKWARD : PLAIN;
    const int pending = (taps + stride - 1) / stride, count = taps == 3 ? (stride == 1 ? 4 : 2) : 1;
    const int height = stride * (count - 1) + taps;
    const int64_t channels = image->channels, columns = image->columns, row_size = columns * channels;
    const int64_t dy_row = gradient->columns * channels, delay = pending - 1, first = at->first, last = at->last;
    const unsigned there = rows_inside(at->top, height, image->rows);
    const unsigned all = (1u << count) - 1, rows = (1u << at->rows) - 1;
    const int64_t left = at->left, top = at->top * row_size, of_row = at->row * dy_row;
    const int64_t ahead = share_ahead(image, at->top + height, stride * count, channel);
    const int64_t dy_ahead = share_ahead(gradient, at->row + count, count, channel);
    const reader_t from = reader(of_image, partial, image, channel);
    const reader_t of = reader(of_gradient, partial, gradient, channel);
    vec sums[5][5], gradients[4][5];
    UNROLL for (int r = 0; r < taps; r++) UNROLL for (int s = 0; s < taps; s++) sums[r][s] = (vec){0};
    UNROLL for (int k = 0; k < count; k++) UNROLL for (int q = 0; q < pending; q++) gradients[k][q] = (vec){0};
    unsigned meets = 0;
    for (int64_t t = first; t < last + delay; t++) {
        UNROLL for (int k = 0; k < count; k++)
            UNROLL for (int q = pending - 1; q > 0; q--) gradients[k][q] = gradients[k][q - 1];
        meets = (meets << 1 | (t < last)) & ((1u << pending) - 1);
        if (t < last) {
            UNROLL for (int k = 0; k < count; k++) {
                fetch_from(of_gradient, &of, dy_ahead + (t * count + k) * LANES);
                if (rows >> k & 1)
                    gradients[k][0] = load_from(of_gradient, partial, &of, of_row + k * dy_row + t * channels);
            }
        }
        UNROLL for (int j = 0; j < stride; j++) {
            const int64_t column = t * stride + left + j, place = top + column * channels;
            const int64_t lines = ahead + column * stride * count * LANES;
            if (!inside(column, columns)) continue;
            if (rows == all && meets == (1u << pending) - 1)
                correlate_column(of_image, taps, stride, partial, 1, j, &from, place, row_size, there, lines, gradients,
                                 rows, meets, sums);
            else
                correlate_column(of_image, taps, stride, partial, 0, j, &from, place, row_size, there, lines, gradients,
                                 rows, meets, sums);
        }
    }
    UNROLL for (int r = 0; r < taps; r++)
        UNROLL for (int s = 0; s < taps; s++)
            add_some(partial, partial_sums + (r * taps + s) * channels + channel, sums[r][s], channels - channel);
}

/* One tap after the other along one row, for windows of any size. */
INLINE void correlate_any(const int fused, const int partial, const images_t *image, const window_t *window,
                          const images_t *gradient, const stretch_t *at, float *partial_sums, int64_t channel) {
    const int of_image = fused ? FORWARD : PLAIN, of_gradient = fused ? BACKWARD : PLAIN;
    const int64_t channels = image->channels;
    const reader_t from = reader(of_image, partial, image, channel);
    const reader_t of = reader(of_gradient, partial, gradient, channel);
    for (int64_t r = 0; r < window->height; r++) {
        const int64_t row = at->top + r * window->dilation_down;
        if (!inside(row, image->rows)) continue;
        for (int64_t s = 0; s < window->width; s++) {
            vec sum = {0};
            for (int64_t t = at->first; t < at->last; t++) {
                const int64_t column = at->left + t * window->across + s * window->dilation;
                if (!inside(column, image->columns)) continue;
                sum += load_from(of_image, partial, &from, (row * image->columns + column) * channels) *
                       load_from(of_gradient, partial, &of, (at->row * gradient->columns + t) * channels);
            }
            float *place = partial_sums + (r * window->width + s) * channels + channel;
            add_some(partial, place, sum, channels - channel);
        }
    }
}

INLINE void correlate_part(const int fused, const int partial, const images_t *image, const window_t *window,
                           const images_t *gradient, const stretch_t *at, float *sums, int64_t channel) {
    const int by_one = window->down == 1;
    if (window->taps == 3 && by_one) correlate_taps(fused, 3, 1, partial, image, window, gradient, at, sums, channel);
    else if (window->taps == 5 && by_one) correlate_taps(fused, 5, 1, partial, image, window, gradient, at, sums, channel);
    else if (window->taps == 3) correlate_taps(fused, 3, 2, partial, image, window, gradient, at, sums, channel);
    else if (window->taps == 5) correlate_taps(fused, 5, 2, partial, image, window, gradient, at, sums, channel);
    else correlate_any(fused, partial, image, window, gradient, at, sums, channel);
}

INLINE void correlate_form(const int fused, const images_t *image, const window_t *window, const images_t *gradient,
                           const stretch_t *at, float *sums) {
    int64_t channel = 0;
    for (; channel + LANES <= image->channels; channel += LANES)
        correlate_part(fused, 0, image, window, gradient, at, sums, channel);
    if (channel < image->channels) correlate_part(fused, 1, image, window, gradient, at, sums, channel);
}

/* sums += the products of windows of the image with the gradients of a stretch of at most `rows_of_gradients` rows. */
static void correlate(int fused, const images_t *image, const window_t *window, const images_t *gradient,
                      const stretch_t *at, float *sums) {
    if (fused) correlate_form(1, image, window, gradient, at, sums);
    else correlate_form(0, image, window, gradient, at, sums);
}

#endif
