"""Tiles of `winograd.pyx`: where they stand, their planes, and their pixels."""


cdef struct Place:
    int64_t n, th, tw


cdef inline Place place_of(int64_t tile, int64_t TH, int64_t TW) noexcept nogil:
    """Image, row and column, in tiles, of a tile."""
    cdef Place place
    place.n, place.th, place.tw = tile // (TH * TW), tile // TW % TH, tile % TW
    return place


cdef inline void advance(Place *place, int64_t TH, int64_t TW) noexcept nogil:
    """On to the next tile."""
    place.tw += 1
    if place.tw == TW:
        place.tw = 0
        place.th += 1
    if place.th == TH:
        place.th = 0
        place.n += 1


cdef inline int64_t pixel(const Place *place, int64_t high, int64_t wide) noexcept nogil:
    """How many pixels stand before a tile's first output in images of high x wide pixels."""
    return (place.n * high + place.th * TILE_OUT) * wide + place.tw * TILE_OUT


ctypedef void (*transform_t)(const image_t *image, int64_t n, int64_t row, int64_t column, int64_t c, int64_t count,
                             int64_t ahead, float *planes, int64_t plane) noexcept nogil


cdef inline void load_tiles(transform_t transform, const image_t *image, int64_t c, int64_t count, int64_t first,
                            int64_t tiles, int64_t TH, int64_t TW, float *planes, int64_t row,
                            int64_t plane) noexcept nogil:
    """planes[plane, tile, channel] of `count` channels, from c on, of `tiles` tiles from `first` on."""
    cdef Place place = place_of(first, TH, TW), later = place_of(first + EARLY, TH, TW)
    cdef int64_t tile, ahead
    for tile in range(tiles):
        ahead = pixel(&later, image.high, image.wide) - pixel(&place, image.high, image.wide)
        transform(image, place.n, place.th * TILE_OUT - image.top, place.tw * TILE_OUT - image.left, c, count,
                  ahead * image.channels, planes + tile * row, plane)
        advance(&place, TH, TW)
        advance(&later, TH, TW)


cdef inline int64_t fill_rows(int64_t tiles, float *inputs, int64_t row, int64_t plane) noexcept nogil:
    """Zeros behind the last of the transformed tiles, up to a multiple of SHORT; returns that."""
    cdef int64_t rows = (tiles + SHORT - 1) // SHORT * SHORT, i
    if rows > tiles:
        for i in range(PLANES):
            memset(inputs + i * plane + tiles * row, 0, (rows - tiles) * row * sizeof(float))
    return rows


cdef inline void store_panel(const result_t *result, int64_t E, double *sums, const float *products, int64_t plane,
                             int64_t panel, int64_t first, int64_t tiles, int64_t TH, int64_t TW) noexcept nogil:
    """The products of a panel of channels of some tiles as pixels, with their sums if E is not 0."""
    cdef float totals[2 * PANEL]
    cdef result_t out = result[0]
    cdef Place place = place_of(first, TH, TW), later = place_of(first + SOON, TH, TW)
    cdef int64_t tile, i, ahead, c = panel * PANEL, columns = min(PANEL, result.channels - panel * PANEL)
    out.totals = totals if E > 0 else NULL
    if E > 0:
        memset(totals, 0, sizeof(totals))
        memset(sums + c, 0, columns * sizeof(double))
        memset(sums + E + c, 0, columns * sizeof(double))
    for tile in range(tiles):
        ahead = pixel(&later, result.high, result.wide) - pixel(&place, result.high, result.wide)
        store_tile(&out, place.n, place.th * TILE_OUT, place.tw * TILE_OUT, c, columns, ahead * result.channels,
                   products + tile * PANEL, plane)
        advance(&place, TH, TW)
        advance(&later, TH, TW)
        if E > 0 and (tile % SUMMED == SUMMED - 1 or tile == tiles - 1):
            for i in range(columns):
                sums[c + i] += totals[i]
                sums[E + c + i] += totals[PANEL + i]
            memset(totals, 0, sizeof(totals))
