"""Direct convolutions of stride 1 with few channels: the sizes that they suit, and their declarations.

A matrix product of one vector loads as often as it multiplies, which is all that a processor can do. Pixels of a row,
which share what they see, are computed together here: an element is held while several taps meet it.
"""

from __future__ import annotations

from typing import Any

from .blocking import NARROW, PANEL, blocks, image_block
from .operation import Algorithm, Sizes, algorithm
from .windows import windows

DEPTH = 2048
"""Products that a sum may have without being cut into parts."""
SPARE = 8
"""Pixels behind a row that a tile of the forward pass may read."""


def _rows_of_taps(s: Sizes) -> bool:
    return s.S in (3, 5) and s.groups == s.stride[1] == s.dilation[1] == 1 and s.C > 0


def forward_suits(s: Sizes) -> bool:
    """Whether the output channels are one vector, and the taps of a kernel row can share what they meet."""
    return _rows_of_taps(s) and 0 < s.K <= NARROW and s.TAPS * s.C <= DEPTH


def data_suits(s: Sizes) -> bool:
    """Whether taps and input channels of a kernel row nearly fill two vectors together."""
    return (
        _rows_of_taps(s)
        and s.stride[0] == 1
        and NARROW < s.S * s.C <= PANEL
        and s.TAPS * s.K <= DEPTH
        and s.OW == s.W + 2 * s.padding[1] - s.S + 1 >= 4
    )


def weight_suits(s: Sizes) -> bool:
    """Whether the output channels are one vector, and kernel rows of input channels fill a tile."""
    return _rows_of_taps(s) and 0 < s.K <= NARROW and s.R * s.C >= 5


def _pixels(s: Sizes, most: int) -> int:
    """Of a block: one image if it is neither small nor large, so that threads get equal shares."""
    return max(256, min(most, s.OH * s.OW))


def forward(prefix: str = "", workspace: str = "", *rest: tuple[str, Any]) -> Algorithm:
    """A task computes BAND output rows of IMAGES images."""
    return algorithm(
        (f"{prefix}narrow_conv2d_forward_pack", lambda s: 1), (f"{prefix}narrow_conv2d_forward", lambda s: s.BLOCKS),
        *rest,
        derive={**windows(lambda s: _pixels(s, 1024)), "STAGED": lambda s: (s.IMAGES * s.HP * s.WP + SPARE) * s.C},
        workspace=f"packed: R C S {NARROW}{workspace}", scratch="staged: STAGED",
        suits=forward_suits,
    )  # fmt: skip


def _padded_block(s: Sizes) -> tuple[int, int]:
    return image_block(s.N, s.H, s.W, 512, lambda rows: 4 * rows * s.S * s.WIDTH)


def backward_data() -> Algorithm:
    """A task computes BAND rows of IMAGES images."""
    return algorithm(
        ("narrow_conv2d_backward_data_pack", lambda s: 1), ("narrow_conv2d_backward_data", lambda s: s.BLOCKS),
        derive={
            "WIDTH": lambda s: (s.OW + s.S - 1) * s.C,
            "IMAGES": lambda s: _padded_block(s)[0],
            "BAND": lambda s: _padded_block(s)[1],
            "BANDS": lambda s: blocks(s.H, s.BAND),
            "BLOCKS": lambda s: blocks(s.N, s.IMAGES) * s.BANDS,
        },
        workspace=f"packed: R K {PANEL}", scratch="sums: BAND S WIDTH",
        suits=data_suits,
    )  # fmt: skip


def backward_weight(prefix: str = "", scratch: str = "") -> Algorithm:
    """A task sums over a run of blocks."""
    return algorithm(
        (f"{prefix}narrow_conv2d_backward_weight", lambda s: s.PARTS),
        (f"{prefix}narrow_conv2d_backward_weight_reduce", lambda s: 1),
        derive={
            **windows(lambda s: _pixels(s, 512 if s.C <= 16 else 256)),
            "DEPTH": lambda s: s.TAPS * s.CG,
            "PARTS": lambda s: max(1, min(s.BLOCKS, 8)),
        },
        workspace=f"partial: PARTS DEPTH {PANEL}",
        scratch=f"staged: IMAGES HP WP C; places(int64): 2 R C; shifts(int64): IMAGES BAND{scratch}",
        suits=weight_suits,
    )  # fmt: skip
