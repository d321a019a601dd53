"""How work is cut into tasks and blocks: rules of sizes alone, so that results are the same bits on any threads.

They aim at a core with 48 KB of first and 1 MB of second cache; on another one they cost time, never correctness.
"""

from __future__ import annotations

from collections.abc import Callable

BLOCK = 16384
"""Elements that one task of a memory-bound kernel handles: 64 KB, well inside L2."""
PACKED = 16
"""Output channels of a weight that one task packs."""
PARTIALS = 64
"""The most partial results that a reduction over rows has."""
PANEL = 32
"""Columns of a packed matrix that lie side by side: two vectors of the widest registers."""
NARROW = 16
"""Output channels, at most, of a convolution with few channels: one vector of the widest registers."""
STAGED = 1 << 16
"""Elements of the images that a task of a direct convolution copies with their padding: 256 KB, a quarter of L2."""


def blocks(count: int, size: int) -> int:
    """How many blocks of `size` cover `count`."""
    return -(-count // size)


def evenly(count: int, most: int) -> int:
    """The size of blocks of at most `most` that cover `count` and differ little."""
    return blocks(count, blocks(count, most)) if count else 1


def summed_rows(rows: int, columns: int) -> int:
    """Rows that a task handles where columns are summed: about `BLOCK` elements, but at most `PARTIALS` tasks."""
    return max(1, BLOCK // max(1, columns), blocks(rows, PARTIALS))


def image_block(
    images: int, rows: int, columns: int, most: int, staged: Callable[[int], int] = lambda rows: 0
) -> tuple[int, int]:
    """(images, rows of each) of a task's block: whole images, or a band of one.

    It has at most `most` pixels, and brings at most `STAGED` elements, unless it is one row; rows of an image bring
    ``staged(rows)``. There are at least 16 blocks where the images allow it.
    """
    pixels = max(1, rows * columns)
    whole = min(most // pixels, STAGED // max(1, staged(rows)), blocks(images, 16))
    if whole >= 1 or rows <= 1:
        return max(1, whole), rows
    band = max(1, min(rows, most // max(1, columns)))
    while band > 1 and staged(band) > STAGED:
        band -= 1
    return 1, evenly(rows, band)


def column_rows(depth: int) -> int:
    """Rows of a column block: at most half of a 1 MB L2 in all, at least 28 rows so that GEMM tiles are filled."""
    return max(28, min(224, (1 << 17) // depth // 28 * 28))


def weight_partials(size: int) -> int:
    """Partial sums of a weight gradient of `size` elements: enough to share out, fewer where each is large."""
    return max(4, min(16, (1 << 20) // size))
