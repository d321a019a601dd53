"""Matrix product of one task whose first matrix is scattered: windows of images, or parts of larger matrices.

The second matrix comes in panels of `PANEL` columns. While a product is computed, what will be needed next is brought
closer, line by line: no processor sees by itself that a next block of images will be read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..blocking import PANEL
from .compiler import inline
from .memory import at, at_most, number
from .simd import LANES, LINE
from .tiles import (
    ASK_ALL,
    ASK_B,
    ASK_B_LATER,
    ASK_TWO,
    EVEN,
    FEW_ROWS,
    NARROW_ROWS,
    TAP_ROWS,
    TILE_ROWS,
    WINDOW_ROWS,
    window_tile,
)


class Windows(NamedTuple):
    """Matrix A, whose rows are scattered over runs: run t of row i is at ``a + places[i] + shifts[t]``.

    A run has `length` elements that are `step` apart. All windows of an image share their shifts.
    """

    a: Any
    places: Any
    step: Any
    runs: Any
    shifts: Any
    length: Any


class Panels(NamedTuple):
    """Matrix B in panels of `PANEL` columns: panel j begins at ``b + j * panel``, its rows are `row` apart."""

    b: Any
    panel: Any
    row: Any


class Rows(NamedTuple):
    """Matrix C in panels: row i of panel j begins at ``c + j * panel + places[i]``.

    It is a part of a larger one, `start` elements and `column` columns behind its first row.
    """

    c: Any
    places: Any
    panel: Any
    start: Any
    column: Any


class Store(NamedTuple):
    """What happens to a result: STORE it, ADD_BIAS, or ACCUMULATE it in C; `streams`: write it around the caches.

    Then all vectors of C must be whole and aligned. `finishes`: apply the epilogue.
    """

    mode: Any
    streams: Any
    finishes: Any


class Later(NamedTuple):
    """Runs of cache lines that will be needed next, asked for meanwhile: where they begin, and how many."""

    first: Any
    first_lines: Any
    second: Any
    second_lines: Any
    third: Any
    third_lines: Any
    lines: Any  # that a step asks for, see `_lines_a_step`


class Tile(NamedTuple):
    """What a tile reads and writes: places of its rows in A, vectors of a panel of B, its rows of C, the bias.

    `start` and `column` say which part of all of C that is. From `line` on it asks for cache lines that are `step`
    floats apart, and those `other` floats behind them.
    """

    places: Any
    b: Any
    b_row: Any
    c: Any
    c_places: Any
    bias: Any
    start: Any
    column: Any
    line: Any
    step: Any
    other: Any


@inline
def _covering(lines, steps):  # type: ignore[no-untyped-def]
    return (lines + steps - 1) // steps


@inline
def _lines_a_step(m, n, windows, later):  # type: ignore[no-untyped-def]
    """How many lines a step asks for so that most are, 1 or 2: no more, for memory would keep the loads waiting.

    A tile asks for lines of one run.
    """
    tiles = (m + TILE_ROWS - 1) // TILE_ROWS * ((n + 2 * LANES - 1) // (2 * LANES))
    steps = windows.runs * windows.length
    if steps == 0:
        return 1
    needed = _covering(later.first_lines, steps) + _covering(later.second_lines, steps)
    needed += _covering(later.third_lines, steps)
    return 2 if 4 * needed > 5 * tiles else 1


@inline
def _asked(later, line, steps):  # type: ignore[no-untyped-def]
    """How many lines have been asked for after a tile that began with a line: no more than up to the end of a run."""
    stop, end = line + steps * later.lines, later.first_lines
    if line >= end:
        end += later.second_lines
    if line >= end:
        end += later.third_lines
    return stop if line >= end else at_most(stop, end)


@inline
def _next_line(later, line):  # type: ignore[no-untyped-def]
    """Where a tile goes on asking for lines after so many, and whether it does: not when all have been asked for."""
    if line < later.first_lines:
        return at(later.first, line * LINE), 1
    line -= later.first_lines
    if line < later.second_lines:
        return at(later.second, line * LINE), 1
    line -= later.second_lines
    if line < later.third_lines:
        return at(later.third, line * LINE), 1
    return later.first, 0


@inline
def _gap(places, left, rows):  # type: ignore[no-untyped-def]
    """How far apart the places of a whole tile of `rows` are, or 0 if they are not equally far."""
    if left < rows:
        return 0
    first = places[1] - places[0]
    different = 0
    for i in range(2, rows):
        different |= places[i] - places[i - 1] - first
    return first if different == 0 else 0


@inline
def _row_fits(places, left, gap):  # type: ignore[no-untyped-def]
    """Whether the larger narrow tile ends where a row of an image does, or well before."""
    rows = NARROW_ROWS
    if _gap(places, left, rows) != gap:
        return False
    return left == rows or places[rows] - places[rows - 1] != gap or _gap(places, left, 2 * rows) == gap


@inline
def _few(left):  # type: ignore[no-untyped-def]
    """Whether the smaller tile is the better one for what is left."""
    return left <= WINDOW_ROWS or (left <= FEW_ROWS and left % WINDOW_ROWS == 0)


@inline
def _tile(windows, panel, rows, i, later, asked):  # type: ignore[no-untyped-def]
    """The tile of row i on; `panel` is (b, row, c, bias, column) of the panel's vectors."""
    line, goes_on = _next_line(later, asked)
    b, b_row, c, bias, column = panel
    return Tile(at(windows.places, i), b, b_row, c, at(rows.places, i), bias, rows.start, column, line,
                goes_on * later.lines * LINE, goes_on * (later.lines - 1) * LINE)  # fmt: skip


@inline
def _wide_rows(asks, m, columns, windows, panel, rows, store, epilogue, later, asked):  # type: ignore[no-untyped-def]
    """All rows of A against two vectors of a panel; returns how many lines have been asked for in all."""
    i, taps = 0, TAP_ROWS < TILE_ROWS and asks & ASK_ALL == ASK_ALL and m % TAP_ROWS == 0
    while i < m:
        left, height = m - i, TILE_ROWS
        tile = _tile(windows, panel, rows, i, later, asked)
        gap = _gap(tile.places, left, TILE_ROWS)
        if taps and _gap(tile.places, left, TAP_ROWS) == 1:
            height = TAP_ROWS
            window_tile(TAP_ROWS, 2, TAP_ROWS, 1, asks, left, columns, windows, store, tile, epilogue)
        elif _few(left):
            height = WINDOW_ROWS
            window_tile(WINDOW_ROWS, 2, 1, 0, asks, left, columns, windows, store, tile, epilogue)
        elif not asks & ASK_B and gap > 0:
            window_tile(TILE_ROWS, 2, 1, EVEN, asks, left, columns, windows, store, tile, epilogue)
        elif asks & ASK_B and gap == 1:
            window_tile(TILE_ROWS, 2, TILE_ROWS, 1, asks, left, columns, windows, store, tile, epilogue)
        else:
            window_tile(TILE_ROWS, 2, 1, 0, asks, left, columns, windows, store, tile, epilogue)
        asked = _asked(later, asked, windows.runs * windows.length)
        i += height
    return asked


@inline
def _narrow_rows(asks, m, columns, windows, panel, rows, store, epilogue, later, asked):  # type: ignore[no-untyped-def]
    """The same for one vector: every product needs a load, which leaves none to spare for addresses."""
    i = 0
    while i < m:
        left, height = m - i, TILE_ROWS
        tile = _tile(windows, panel, rows, i, later, asked)
        gap = _gap(tile.places, left, TILE_ROWS)
        if gap == 1:
            window_tile(TILE_ROWS, 1, TILE_ROWS, 1, asks, left, columns, windows, store, tile, epilogue)
        elif gap > 0 and _row_fits(tile.places, left, gap):
            height = NARROW_ROWS
            if gap == 3:
                window_tile(NARROW_ROWS, 1, NARROW_ROWS, 3, asks, left, columns, windows, store, tile, epilogue)
            else:
                window_tile(NARROW_ROWS, 1, 1, EVEN, asks, left, columns, windows, store, tile, epilogue)
        elif gap > 0:
            window_tile(TILE_ROWS, 1, 1, EVEN, asks, left, columns, windows, store, tile, epilogue)
        elif left > WINDOW_ROWS:
            window_tile(TILE_ROWS, 1, 1, 0, asks, left, columns, windows, store, tile, epilogue)
        else:
            height = WINDOW_ROWS
            window_tile(WINDOW_ROWS, 1, 1, 0, asks, left, columns, windows, store, tile, epilogue)
        asked = _asked(later, asked, windows.runs * windows.length)
        i += height
    return asked


@inline
def window_gemm(asks, m, n, windows, panels, rows, store, bias, epilogue, later):  # type: ignore[no-untyped-def]
    """C[m, n] = A B for the matrices `windows`, `panels` and `rows`; `bias` points to n numbers, read with ADD_BIAS.

    `asks` is a literal, see `window_tile`: B where it is not in the first cache, A where a step is a line and more. The
    `epilogue` is one of `finishing.py`.
    """
    store = Store(number(store.mode), number(store.streams), number(store.finishes))
    lines = _lines_a_step(m, n, windows, later) if asks & ASK_TWO else 1
    later = Later(later.first, number(later.first_lines), later.second, number(later.second_lines), later.third,
                  number(later.third_lines), number(lines))  # fmt: skip
    m, n, asked = number(m), number(n), number(0)
    for j in range(0, n, PANEL):
        k = 0
        while k < at_most(n - j, PANEL):
            columns = at_most(at_most(n - j, PANEL) - k, 2 * LANES)
            panel = (at(panels.b, j // PANEL * panels.panel + k), panels.row,
                     at(rows.c, j // PANEL * rows.panel + k), at(bias, j + k), rows.column + j + k)  # fmt: skip
            if columns > LANES:
                asked = _wide_rows(asks, m, columns, windows, panel, rows, store, epilogue, later, asked)
            else:
                asked = _narrow_rows(asks, m, columns, windows, panel, rows, store, epilogue, later, asked)
            k += columns


@inline
def packed_gemm(m, n, windows, panels, rows, store, bias, later):  # type: ignore[no-untyped-def]
    """The same where rows of A stand side by side, `TILE_ROWS` of them, up to the end of the last tile."""
    for j in range(0, n, PANEL):
        k = 0
        while k < at_most(n - j, PANEL):
            columns = at_most(at_most(n - j, PANEL) - k, 2 * LANES)
            panel = (at(panels.b, j // PANEL * panels.panel + k), panels.row,
                     at(rows.c, j // PANEL * rows.panel + k), at(bias, j + k), rows.column + j + k)  # fmt: skip
            for i in range(0, m, TILE_ROWS):
                tile = _tile(windows, panel, rows, i, later, 0)
                if columns > LANES:
                    window_tile(TILE_ROWS, 2, TILE_ROWS, 1, ASK_B, m - i, columns, windows, store, tile, ())
                else:
                    window_tile(TILE_ROWS, 1, TILE_ROWS, 1, ASK_B, m - i, columns, windows, store, tile, ())
            k += columns


@inline
def _ascends(places, first, count):  # type: ignore[no-untyped-def]
    return places[first + count - 1] - places[first] == count - 1


@inline
def few_rows(m, n, windows):  # type: ignore[no-untyped-def]
    """Whether `few_rows_gemm` can multiply: nine rows in threes, or few columns and 27 rows in nines, side by side."""
    if LANES < 16 or n > 2 * LANES:
        return False
    p = windows.places
    if m == 9:
        return _ascends(p, 0, 3) and _ascends(p, 3, 3) and _ascends(p, 6, 3)
    return m == 27 and n <= LANES and _ascends(p, 0, 9) and _ascends(p, 9, 9) and _ascends(p, 18, 9)


@inline
def few_rows_gemm(m, n, windows, panels, rows, store, bias, later):  # type: ignore[no-untyped-def]
    """As `window_gemm`, in one tile: the taps of a 3x3 kernel over 1 or 3 channels."""
    tile = _tile(windows, (panels.b, panels.row, rows.c, bias, 0), rows, 0, later, 0)
    if m == 9:
        window_tile(9, 2, 3, 1, ASK_B_LATER, m, n, windows, store, tile, ())
    else:
        window_tile(27, 1, 9, 1, ASK_B_LATER, m, n, windows, store, tile, ())
