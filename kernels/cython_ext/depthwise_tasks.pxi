# The tasks of depthwise convolutions: bands of rows of some images, for the plain kernels and the fused ones.
#
# A band is passed a few rows at a time, each for one vector of channels after the other, so that memory is read row by
# row. The vector code is in depthwise_rows.h and depthwise_gradients.h; depthwise_vectors.h says what is fused.

from libc.stdint cimport int64_t

include "vector.pxi"

cdef extern from "depthwise_gradients.h" nogil:
    enum: PLAIN
    enum: FORWARD
    enum: BACKWARD
    ctypedef struct images_t:
        const float *pixels
        int64_t rows, columns, channels
        const float *scale
        const float *shift
        const float *z
        const float *factor
        int64_t activation
    ctypedef struct results_t:
        float *pixels
        int64_t rows, columns, channels, around
        const float *x
        const float *scale
        const float *shift
        const float *centre
        double *sums
        int64_t activation
    ctypedef struct window_t:
        const float *weights
        const float *bias
        int64_t height, width, down, across, dilation_down, dilation, taps
    ctypedef struct stretch_t:
        int64_t row, rows, first, last, top, left
    ctypedef struct pairs_t:
        int64_t first_row, last_row, row, first, last, top, left
    images_t image_of(images_t batch, int64_t n) noexcept
    results_t result_of(results_t batch, int64_t n) noexcept
    int64_t rows_of(int64_t taps) noexcept
    int64_t rows_of_gradients(int64_t taps, int64_t stride) noexcept
    void slide(int form, const images_t *image, const window_t *window, const results_t *result,
               const stretch_t *at) noexcept
    void spread(int form, const images_t *image, const window_t *window, const results_t *result,
                const pairs_t *at) noexcept
    void correlate(bint fused, const images_t *image, const window_t *window, const images_t *gradient,
                   const stretch_t *at, float *sums) noexcept

cdef enum:
    SEGMENT = 64  # columns of a stretch: four rows of it are 256 terms, the most that are added in float32 at once

cdef struct Band:
    int64_t first_image, last_image, first_row, last_row


cdef inline Band band_of(int64_t task, int64_t N, int64_t height, int64_t IMAGES, int64_t BAND,
                         int64_t BANDS) noexcept nogil:
    """What a task computes."""
    cdef int64_t image = task // BANDS * IMAGES, row = task % BANDS * BAND
    return Band(image, min(image + IMAGES, N), row, min(row + BAND, height))


cdef inline images_t images_to_read(const float *pixels, int64_t rows, int64_t columns,
                                    int64_t channels) noexcept nogil:
    """A batch as it stands in memory."""
    return images_t(pixels, rows, columns, channels, NULL, NULL, NULL, NULL, 0)


cdef inline results_t images_to_write(float *pixels, int64_t N, int64_t rows, int64_t columns, int64_t channels,
                                      int64_t read) noexcept nogil:
    """A batch of results; the `read` pixels that each is computed from take their place in the caches, too."""
    cdef bint around = streams(pixels, N * (rows * columns + read) * channels, channels)
    return results_t(pixels, rows, columns, channels, around, NULL, NULL, NULL, NULL, NULL, 0)


cdef inline window_t window_of(const float *weights, const float *bias, int64_t height, int64_t width,
                               const int64_t *stride, const int64_t *dilation) noexcept nogil:
    """A window, and whether it has code of its own."""
    cdef bint plain = (height == width and stride[0] == stride[1] and dilation[0] == dilation[1] == 1
                       and (height == 3 or height == 5) and stride[0] <= 2)
    return window_t(weights, bias, height, width, stride[0], stride[1], dilation[0], dilation[1],
                    height if plain else 0)


cdef void sum_windows(int form, images_t images, window_t window, results_t results, int64_t above, int64_t left,
                      Band band) noexcept nogil:
    """A band of results = bias + the sums over windows of images that have (above, left) pixels of padding."""
    cdef int64_t n, rows = rows_of(window.taps)
    cdef images_t image
    cdef results_t result
    cdef stretch_t at
    for n in range(band.first_image, band.last_image):
        image = image_of(images, n)
        result = result_of(results, n)
        at.row = band.first_row
        while at.row < band.last_row:
            at.rows = min(band.last_row - at.row, rows)
            at.top = at.row * window.down - above
            at.left = -left
            at.first = 0
            while at.first < result.columns:
                at.last = min(at.first + SEGMENT, result.columns)
                slide(form, &image, &window, &result, &at)
                at.first = at.last
            at.row += rows


cdef void spread_gradients(int form, images_t gradients, window_t window, results_t results, int64_t above,
                           int64_t left, Band band) noexcept nogil:
    """A band of results (dx) = the sums over the windows of gradients that see each pixel, for strides beyond 1."""
    # With code of its own: pairs of rows and of columns, counted with the padding, so that the first may be outside.
    cdef int64_t size = 2 if window.taps > 0 else 1, rows_above = above if window.taps > 0 else 0
    cdef int64_t columns_left = left if window.taps > 0 else 0, n, row
    cdef int64_t last = (columns_left + results.columns - 1) // size + 1
    cdef images_t gradient
    cdef results_t result
    cdef pairs_t at
    for n in range(band.first_image, band.last_image):
        gradient = image_of(gradients, n)
        result = result_of(results, n)
        for row in range((band.first_row + rows_above) // size, (band.last_row + rows_above - 1) // size + 1):
            at = pairs_t(band.first_row, band.last_row, row, columns_left // size, 0, above, left)
            while at.first < last:
                at.last = min(at.first + SEGMENT // size, last)
                spread(form, &gradient, &window, &result, &at)
                at.first = at.last


cdef void sum_gradients(int form, images_t gradients, window_t window, const int64_t *padding, results_t results,
                        Band band) noexcept nogil:
    """A band of results (dx). With stride 1 they are sums over windows, with the kernel turned by half a turn."""
    if window.down == 1 and window.across == 1:
        sum_windows(form, gradients, window, results, window.dilation_down * (window.height - 1) - padding[0],
                    window.dilation * (window.width - 1) - padding[1], band)
    else:
        spread_gradients(form, gradients, window, results, padding[0], padding[1], band)


cdef void sum_products(bint fused, images_t images, window_t window, const int64_t *padding, images_t gradients,
                       float *sums, int64_t first, int64_t last) noexcept nogil:
    """sums += the products of windows and gradients in the fours of rows [first, last), counted over all images."""
    cdef int64_t rows = rows_of_gradients(window.taps, window.down), fours = (gradients.rows + 3) // 4, four, stop
    cdef images_t image, gradient
    cdef stretch_t at
    for four in range(first, last):
        image = image_of(images, four // fours)
        gradient = image_of(gradients, four // fours)
        at.row = four % fours * 4
        stop = min(at.row + 4, gradient.rows)
        while at.row < stop:
            at.rows = min(stop - at.row, rows)
            at.top = at.row * window.down - padding[0]
            at.left = -padding[1]
            at.first = 0
            while at.first < gradient.columns:
                at.last = min(at.first + SEGMENT, gradient.columns)
                correlate(fused, &image, &window, &gradient, &at, sums)
                at.first = at.last
            at.row += rows


cdef void pack(const float *w, float *packed, int64_t K, int64_t taps, bint turned) noexcept nogil:
    """packed[(r, s), k] = w[k, r, s, 0]; with `turned`, taps stand in reverse order."""
    cdef int64_t t, k
    for t in range(taps):
        for k in range(K):
            packed[t * K + k] = w[k * taps + (taps - 1 - t if turned else t)]


cdef void add_turned(float *partial, float *dw, int64_t K, int64_t taps, int64_t parts) noexcept nogil:
    """dw[k, r, s, 0] = the partial sums added in order, in the first one's memory."""
    cdef int64_t t, k, i, part
    cdef const float *addend
    for part in range(1, parts):
        addend = partial + part * taps * K
        for i in range(taps * K):
            partial[i] += addend[i]
    for k in range(K):
        for t in range(taps):
            dw[k * taps + t] = partial[t * K + k]
