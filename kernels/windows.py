"""Blocks of images that tasks of a convolution copy with their padding: rules of the sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .blocking import blocks, image_block
from .operation import Sizes

Rule = Mapping[str, Callable[[Sizes], Any]]


def seen(s: Sizes, axis: int, outputs: int, taps: int) -> int:
    """Padded pixels along an axis that so many output pixels see; a 1x1 kernel's are copied without those between."""
    if s.R * s.S == 1:
        return outputs
    return (outputs - 1) * s.stride[axis] + (taps - 1) * s.dilation[axis] + 1


def _block(s: Sizes, most: int) -> tuple[int, int]:
    width = seen(s, 1, s.OW, s.S) * s.C
    return image_block(s.N, s.OH, s.OW, most, lambda rows: seen(s, 0, rows, s.R) * width)


def windows(most: Callable[[Sizes], int]) -> Rule:
    """BAND output rows of IMAGES images make a block of at most so many pixels; they see (HP, WP) padded pixels."""
    return {
        "IMAGES": lambda s: _block(s, most(s))[0],
        "BAND": lambda s: _block(s, most(s))[1],
        "BANDS": lambda s: blocks(s.OH, s.BAND),
        "HP": lambda s: seen(s, 0, s.BAND, s.R),
        "WP": lambda s: seen(s, 1, s.OW, s.S),
        "BLOCKS": lambda s: blocks(s.N, s.IMAGES) * s.BANDS,
    }
