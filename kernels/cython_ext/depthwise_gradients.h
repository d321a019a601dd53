/* Gradients of depthwise convolution, with the terms of depthwise_rows.h: of images where the stride is not 1, and of
 * weights. */
#ifndef NNFAST_DEPTHWISE_GRADIENTS_H
#define NNFAST_DEPTHWISE_GRADIENTS_H

#include "depthwise_rows.h"

/* ---------------------------------------------------------------- dx where the stride is not 1 */

/* Rows [first_row, last_row) of results, and of them one row and its columns [first, last). With code of its own, of
 * stride 2, `row`, `first` and `last` count pairs, of rows and columns counted with the padding (top, left): the first
 * of a pair may lie outside. */
typedef struct {
    int64_t first_row, last_row, row, first, last, top, left;
} pairs_t;

/* One pixel after the other, for windows of any size. */
INLINE void spread_any(const int form, const int partial, const images_t *image, const window_t *window,
                       const results_t *result, const pairs_t *at, int64_t channel) {
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

/* Step t meets column t of dy and completes two columns of two rows of dx; each of the four meets other taps. */
INLINE void spread_taps(const int form, const int taps, const int partial, const images_t *image, const window_t *window,
                        const results_t *result, const pairs_t *at, int64_t channel) {
    if (taps == 0) {
        spread_any(form, partial, image, window, result, at, channel);
        return;
    }
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
        if (LIKELY(inside(t, columns))) {
            fetch_from(form, &from, ahead + t * LANES);
            UNROLL for (int p = 0; p < met; p++) /* row p is p above the last one that the pair meets */
                if (LIKELY(there >> (met - 1 - p) & 1))
                    gradients[p][0] = load_from(form, partial, &from, above + (met - 1 - p) * row_size + t * channels);
        }
        if (!LIKELY(t >= first)) continue;
        UNROLL for (int j = 0; j < 2; j++) {
            const int64_t column = 2 * t - left + j;
            if (!LIKELY(inside(column, width))) continue;
            UNROLL for (int i = 0; i < 2; i++) {
                fetch_to(form, &to, claimed + i * result_row + column * LANES);
                if (!LIKELY(wanted >> i & 1)) continue;
                vec total = {0};
                UNROLL for (int p = 0; i + 2 * p < taps; p++)
                    UNROLL for (int q = 0; j + 2 * q < taps; q++) total += gradients[p][q] * w[i + 2 * p][j + 2 * q];
                store_to(form, partial, &to, target + i * result_row + column * channels, total);
            }
        }
    }
    finish(form, &to, result, channel);
}

typedef void spread_t(int partial, const images_t *image, const window_t *window, const results_t *result,
                      const pairs_t *at, int64_t channel);

#define SPREAD(form, taps)                                                                               \
    APART void spread_##form##_##taps(int partial, const images_t *image, const window_t *window,        \
                                      const results_t *result, const pairs_t *at, int64_t channel) {     \
        if (partial) spread_taps(form, taps, 1, image, window, result, at, channel);                     \
        else spread_taps(form, taps, 0, image, window, result, at, channel);                             \
    }
SPREAD(PLAIN, 0)
SPREAD(PLAIN, 3)
SPREAD(PLAIN, 5)
SPREAD(BACKWARD, 0)
SPREAD(BACKWARD, 3)
SPREAD(BACKWARD, 5)

/* result (dx) = the sums over the windows of the image (dy) that see each pixel. */
INLINE void spread(int form, const images_t *image, const window_t *window, const results_t *result,
                   const pairs_t *at) {
    static spread_t *const functions[][CODES] = {
        [PLAIN] = {spread_PLAIN_0, NULL, spread_PLAIN_3, NULL, spread_PLAIN_5},
        [BACKWARD] = {spread_BACKWARD_0, NULL, spread_BACKWARD_3, NULL, spread_BACKWARD_5},
    };
    spread_t *const function = functions[form][code_of(window)];
    for (int64_t c = 0; c < image->channels; c += LANES)
        function(image->channels - c < LANES, image, window, result, at, c);
}

/* ---------------------------------------------------------------- dw */

/* Rows of gradients of a stretch: as many as leave registers for all sums. */
INLINE int64_t rows_of_gradients(int64_t taps, int64_t stride) { return taps != 3 ? 1 : stride == 1 ? 4 : 2; }

/* Add a vector of one weight's gradient. */
INLINE void add_some(const int partial, float *p, vec value, int64_t count) {
    if (partial) store_part(p, load_part(p, count) + value, count);
    else store(p, load(p) + value);
}

/* `count` taps side by side along one row, from the tap `s` of row `r` of the window on. */
INLINE void correlate_along(const int fused, const int partial, const int count, const images_t *image,
                            const window_t *window, const images_t *gradient, const stretch_t *at, int64_t r, int64_t s,
                            float *sums_of_task, int64_t channel) {
    const int of_image = fused ? FORWARD : PLAIN, of_gradient = fused ? BACKWARD : PLAIN;
    const int64_t channels = image->channels, row = (at->top + r * window->dilation_down) * image->columns;
    const reader_t from = reader(of_image, partial, image, channel);
    const reader_t of = reader(of_gradient, partial, gradient, channel);
    vec sums[SIDE];
    UNROLL for (int i = 0; i < count; i++) sums[i] = (vec){0};
    for (int64_t t = at->first; t < at->last; t++) {
        const vec dy = load_from(of_gradient, partial, &of, (at->row * gradient->columns + t) * channels);
        UNROLL for (int i = 0; i < count; i++) {
            const int64_t column = at->left + t * window->across + (s + i) * window->dilation;
            if (LIKELY(inside(column, image->columns)))
                sums[i] += load_from(of_image, partial, &from, (row + column) * channels) * dy;
        }
    }
    float *place = sums_of_task + (r * window->width + s) * channels + channel;
    UNROLL for (int i = 0; i < count; i++) add_some(partial, place + i * channels, sums[i], channels - channel);
}

/* Windows of any size. */
INLINE void correlate_any(const int fused, const int partial, const images_t *image, const window_t *window,
                          const images_t *gradient, const stretch_t *at, float *sums_of_task, int64_t channel) {
    for (int64_t r = 0; r < window->height; r++) {
        if (!inside(at->top + r * window->dilation_down, image->rows)) continue;
        for (int64_t s = 0; s < window->width;) {
            const int64_t count = window->width - s >= 4 ? 4 : window->width - s >= 2 ? 2 : 1;
            if (count == 4) correlate_along(fused, partial, 4, image, window, gradient, at, r, s, sums_of_task, channel);
            else if (count == 2) correlate_along(fused, partial, 2, image, window, gradient, at, r, s, sums_of_task, channel);
            else correlate_along(fused, partial, 1, image, window, gradient, at, r, s, sums_of_task, channel);
            s += count;
        }
    }
}

/* Add the products of a column of pixels with the gradients that meet it: gradients[row][q] is of column t - q. Unless
 * the column is `whole`, `rows` and `meets` say which rows and columns of gradients are there: zeros in their place would
 * make NaN of an infinite pixel that none sees. */
INLINE void correlate_column(const int form, const int taps, const int stride, const int partial, const int whole,
                             const int j, const reader_t *from, int64_t place, int64_t row_size, unsigned there,
                             int64_t ahead, vec gradients[4][5], unsigned rows, unsigned meets, vec sums[5][5]) {
    const int count = (int)rows_of_gradients(taps, stride), height = stride * (count - 1) + taps;
    vec pixels[6];
    UNROLL for (int i = 0; i < height; i++) {
        if (i < stride * count) fetch_from(form, from, ahead + i * LANES);
        pixels[i] = (vec){0};
        if (LIKELY(there >> i & 1)) pixels[i] = load_from(form, partial, from, place + i * row_size);
    }
    UNROLL for (int k = 0; k < count; k++)
        UNROLL for (int q = 0; j + q * stride < taps; q++)
            if (whole || (rows >> k & meets >> q & 1))
                UNROLL for (int r = 0; r < taps; r++)
                    sums[r][j + q * stride] += pixels[r + k * stride] * gradients[k][q];
}

/* Step t meets column t of dy and `stride` new columns of x; they go with the last columns of dy. */
INLINE void correlate_taps(const int fused, const int taps, const int stride, const int partial, const images_t *image,
                           const window_t *window, const images_t *gradient, const stretch_t *at, float *sums_of_task,
                           int64_t channel) {
    if (taps == 0) {
        correlate_any(fused, partial, image, window, gradient, at, sums_of_task, channel);
        return;
    }
    const int of_image = fused ? FORWARD : PLAIN, of_gradient = fused ? BACKWARD : PLAIN;
    const int pending = (taps + stride - 1) / stride, count = (int)rows_of_gradients(taps, stride);
    const int height = stride * (count - 1) + taps;
    const int64_t channels = image->channels, columns = image->columns, row_size = columns * channels;
    const int64_t dy_row = gradient->columns * channels, delay = pending - 1, first = at->first, last = at->last;
    const unsigned there = rows_inside(at->top, height, image->rows);
    const unsigned rows = (1u << at->rows) - 1, all_rows = (1u << count) - 1, all_columns = (1u << pending) - 1;
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
        meets = (meets << 1 | (t < last)) & all_columns;
        if (LIKELY(t < last)) {
            UNROLL for (int k = 0; k < count; k++) {
                fetch_from(of_gradient, &of, dy_ahead + (t * count + k) * LANES);
                if (LIKELY(rows >> k & 1))
                    gradients[k][0] = load_from(of_gradient, partial, &of, of_row + k * dy_row + t * channels);
            }
        }
        UNROLL for (int j = 0; j < stride; j++) {
            const int64_t column = t * stride + left + j, place = top + column * channels;
            const int64_t lines = ahead + column * stride * count * LANES;
            if (!LIKELY(inside(column, columns))) continue;
            if (LIKELY(rows == all_rows && meets == all_columns))
                correlate_column(of_image, taps, stride, partial, 1, j, &from, place, row_size, there, lines, gradients,
                                 rows, meets, sums);
            else
                correlate_column(of_image, taps, stride, partial, 0, j, &from, place, row_size, there, lines, gradients,
                                 rows, meets, sums);
        }
    }
    UNROLL for (int r = 0; r < taps; r++)
        UNROLL for (int s = 0; s < taps; s++)
            add_some(partial, sums_of_task + (r * taps + s) * channels + channel, sums[r][s], channels - channel);
}

typedef void correlate_t(int partial, const images_t *image, const window_t *window, const images_t *gradient,
                         const stretch_t *at, float *sums, int64_t channel);

#define CORRELATE(name, fused, taps, stride)                                                                    \
    APART void name##_##taps##_##stride(int partial, const images_t *image, const window_t *window,             \
                                        const images_t *gradient, const stretch_t *at, float *sums,             \
                                        int64_t channel) {                                                      \
        if (partial) correlate_taps(fused, taps, stride, 1, image, window, gradient, at, sums, channel);        \
        else correlate_taps(fused, taps, stride, 0, image, window, gradient, at, sums, channel);                \
    }
CORRELATE(correlate_plain, 0, 0, 0)
CORRELATE(correlate_plain, 0, 3, 1)
CORRELATE(correlate_plain, 0, 3, 2)
CORRELATE(correlate_plain, 0, 5, 1)
CORRELATE(correlate_plain, 0, 5, 2)
CORRELATE(correlate_fused, 1, 0, 0)
CORRELATE(correlate_fused, 1, 3, 1)
CORRELATE(correlate_fused, 1, 3, 2)
CORRELATE(correlate_fused, 1, 5, 1)
CORRELATE(correlate_fused, 1, 5, 2)

/* sums += the products of windows of the image with the gradients of a stretch of at most `rows_of_gradients` rows. */
INLINE void correlate(int fused, const images_t *image, const window_t *window, const images_t *gradient,
                      const stretch_t *at, float *sums) {
    static correlate_t *const functions[][CODES] = {
        {correlate_plain_0_0, correlate_plain_3_1, correlate_plain_3_2, correlate_plain_5_1, correlate_plain_5_2},
        {correlate_fused_0_0, correlate_fused_3_1, correlate_fused_3_2, correlate_fused_5_1, correlate_fused_5_2},
    };
    correlate_t *const function = functions[fused][code_of(window)];
    for (int64_t c = 0; c < image->channels; c += LANES)
        function(image->channels - c < LANES, image, window, gradient, at, sums, c);
}

#endif
