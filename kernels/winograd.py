"""Winograd's algorithm F(4x4, 3x3) for convolution: its matrices, sizes, memory and tasks.

With d a tile of 6x6 inputs, g a 3x3 kernel and y the tile of 4x4 outputs that they give,
``y = A^T [(G g G^T) * (B^T d B)] A``, where * multiplies elements: 36 products instead of 144. Summing over channels
turns them into 36 matrix products, one for each of the 36 planes. The gradient of the kernel is the transposed formula,
``dg = G^T [(B^T d B) * (A dy A^T)] G``. `numba_jit/winograd.py` computes it.

Rows of the planes of a block of tiles may be SPARE floats longer than they need, and so are planes, so that they do not
stand a power of two apart and fight for the same places of a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .blocking import BLOCK, PANEL, blocks, evenly
from .operation import Algorithm, Sizes, algorithm

Rule = Mapping[str, Callable[[Sizes], Any]]

FORMS = ("winograd", "wide_winograd")
"""The names of the algorithms that compute with it."""
OUTPUT, INPUT = 4, 6
PLANES = INPUT * INPUT
SPARE = 16
DEPTH = 64
"""Rows of transformed weights that a task writes, and output channels of a weight gradient that a task sums."""
PAIR = 2
"""Panels of input channels that such a task sums: gradients are transformed once for all of them."""
SHORT = 4
"""Rows of the smallest register tile of a product: blocks of tiles are filled up with zeros to a multiple of it."""
WIDE_TILES = 256
"""The most tiles of a block with which transformed weights, which a task makes as it needs them, are multiplied."""
WIDE_WEIGHTS = DEPTH * PANEL + SPARE

P, Q = 5 / 8, 3 / 2
"""The points of interpolation are 0, P, -P, Q, -Q and infinity: about a quarter of the error of 0, 1, -1, 2, -2."""
SCALE_0, SCALE_P, SCALE_Q = 1 / (P * P * Q * Q), 1 / (2 * P * P * (P * P - Q * Q)), 1 / (2 * Q * Q * (Q * Q - P * P))

B_TRANSPOSED = np.array([
    [P * P * Q * Q, 0, -(P * P + Q * Q), 0, 1, 0],
    [0, -P * Q * Q, -Q * Q, P, 1, 0],
    [0, P * Q * Q, -Q * Q, -P, 1, 0],
    [0, -Q * P * P, -P * P, Q, 1, 0],
    [0, Q * P * P, -P * P, -Q, 1, 0],
    [0, P * P * Q * Q, 0, -(P * P + Q * Q), 0, 1],
])  # fmt: skip
G = np.array([
    [SCALE_0, 0, 0],
    [SCALE_P, SCALE_P * P, SCALE_P * P * P],
    [SCALE_P, -SCALE_P * P, SCALE_P * P * P],
    [SCALE_Q, SCALE_Q * Q, SCALE_Q * Q * Q],
    [SCALE_Q, -SCALE_Q * Q, SCALE_Q * Q * Q],
    [0, 0, 1],
])  # fmt: skip
A_TRANSPOSED = np.array([
    [1, 1, 1, 1, 1, 0],
    [0, P, -P, Q, -Q, 0],
    [0, P * P, P * P, Q * Q, Q * Q, 0],
    [0, P * P * P, -P * P * P, Q * Q * Q, -Q * Q * Q, 1],
])  # fmt: skip


def suits(s: Sizes) -> bool:
    """Whether a convolution is 3x3 with stride and dilation 1 and one group."""
    return (s.R, s.S, s.groups) == (3, 3, 1) and tuple(s.stride) == (1, 1) == tuple(s.dilation)


def wide(s: Sizes) -> bool:
    """Whether both images have so many channels that transformed weights are best made where they are used."""
    few_tiles = s.N * blocks(s.H, OUTPUT) * blocks(s.W, OUTPUT) <= 2 * WIDE_TILES
    return min(s.CG, s.KG) >= (192 if few_tiles else 256)


def _row(channels: int) -> int:
    """Floats from one tile to the next in a plane: whole vectors, and no multiple of 512 bytes."""
    whole = blocks(channels, SPARE) * SPARE
    return whole + SPARE if whole % 128 == 0 else whole


def _tiles(channels: int) -> int:
    """Tiles of a block: what half of L2 holds of transformed inputs, a multiple of the rows of a GEMM tile.

    Beyond 128 channels the inputs of a block stand in L3, and larger blocks read the weights less often.
    """
    if channels > 256:
        return 64
    return 48 if channels <= 64 or channels > 128 else 24


def _images(height: str, width: str, channels: str, outputs: str) -> Rule:
    """A task computes blocks of TILES tiles of (height, width) outputs for one of SPLIT runs of panels of channels."""
    return {
        "TH": lambda s: blocks(getattr(s, height), OUTPUT),
        "TW": lambda s: blocks(getattr(s, width), OUTPUT),
        "ROW": lambda s: _row(getattr(s, channels)),
        "TILES": lambda s: _tiles(getattr(s, channels)),
        "INPUTS": lambda s: s.TILES * s.ROW + SPARE,
        "PRODUCTS": lambda s: s.TILES * PANEL + SPARE,
        "BLOCKS": lambda s: blocks(s.N * s.TH * s.TW, s.TILES),
        "PANELS": lambda s: blocks(getattr(s, outputs), PANEL),
        # Panels whose products are computed plane by plane, so that a plane of inputs serves them all from L1 or L2.
        "GROUP": lambda s: 4 if getattr(s, channels) > 256 else 2 if getattr(s, channels) > 128 else 1,
        "SPLIT": lambda s: min(blocks(s.PANELS, s.GROUP), blocks(12, max(1, s.BLOCKS))) if s.PANELS > 4 else 1,
        "WEIGHTS": lambda s: getattr(s, channels) * PANEL + SPARE,
    }


def _algorithm(name: str, sizes: Rule, depth: str, prefix: str, workspace: str, *rest: tuple[str, Any]) -> Algorithm:
    return algorithm(
        (f"{prefix}winograd_{name}_weights", lambda s: s.PANELS * blocks(getattr(s, depth), DEPTH)),
        (f"{prefix}winograd_{name}", lambda s: s.BLOCKS * s.SPLIT), *rest,
        derive=sizes,
        workspace=f"transformed: PANELS {PLANES} WEIGHTS{workspace}",
        scratch=f"inputs: {PLANES} INPUTS; products: GROUP {PLANES} PRODUCTS", suits=suits,
    )  # fmt: skip


def forward(prefix: str = "", workspace: str = "", *rest: tuple[str, Any]) -> Algorithm:
    """Transform the weights, then blocks of tiles: inputs to planes, products panel by panel, planes to outputs."""
    return _algorithm("conv2d_forward", _images("OH", "OW", "C", "K"), "C", prefix, workspace, *rest)


def backward_data(prefix: str = "", workspace: str = "", *rest: tuple[str, Any]) -> Algorithm:
    """The same with dy as the image and the kernels turned by half a turn."""
    return _algorithm("conv2d_backward_data", _images("H", "W", "K", "C"), "K", prefix, workspace, *rest)


def _wide(height: str, width: str, channels: str, outputs: str) -> Rule:
    """A task computes a panel of channels of a block of TILES tiles, summing over RUNS runs of DEPTH channels."""
    return {
        "TH": lambda s: blocks(getattr(s, height), OUTPUT),
        "TW": lambda s: blocks(getattr(s, width), OUTPUT),
        "TILES": lambda s: blocks(evenly(s.N * s.TH * s.TW, WIDE_TILES), SHORT) * SHORT,
        "INPUTS": lambda s: s.TILES * DEPTH + SPARE,
        "PRODUCTS": lambda s: s.TILES * PANEL + SPARE,
        "BLOCKS": lambda s: blocks(s.N * s.TH * s.TW, s.TILES),
        "PANELS": lambda s: blocks(getattr(s, outputs), PANEL),
        "RUNS": lambda s: max(1, blocks(getattr(s, channels), DEPTH)),
    }


def _wide_algorithm(name: str, sizes: Rule, prefix: str, workspace: str, *rest: tuple[str, Any]) -> Algorithm:
    return algorithm(
        (f"{prefix}wide_winograd_{name}_inputs", lambda s: s.BLOCKS * s.RUNS),
        (f"{prefix}wide_winograd_{name}", lambda s: s.BLOCKS * s.PANELS), *rest,
        derive=sizes,
        workspace=f"transformed: BLOCKS RUNS {PLANES} INPUTS{workspace}",
        scratch=f"weights: {PLANES} {WIDE_WEIGHTS}; products: {PLANES} PRODUCTS",
        suits=suits,
    )  # fmt: skip


def wide_forward(prefix: str = "", workspace: str = "", *rest: tuple[str, Any]) -> Algorithm:
    """Transform the inputs; panel by panel: kernels of a run of channels to planes, products, planes to outputs."""
    return _wide_algorithm("conv2d_forward", _wide("OH", "OW", "C", "K"), prefix, workspace, *rest)


def wide_backward_data(prefix: str = "", workspace: str = "", *rest: tuple[str, Any]) -> Algorithm:
    """The same with dy as the image and the kernels turned by half a turn."""
    return _wide_algorithm("conv2d_backward_data", _wide("H", "W", "K", "C"), prefix, workspace, *rest)


def backward_weight(prefix: str = "") -> Algorithm:
    """Sums over tiles of products of transformed inputs and transformed gradients, transformed back at the end.

    A task sums a run of blocks of tiles for PAIR panels of input and DEPTH output channels: all that it touches stays
    in L2.
    """
    return algorithm(
        (f"{prefix}winograd_conv2d_backward_weight", lambda s: s.PARTS * s.RUNS * s.PAIRS),
        (f"{prefix}winograd_conv2d_backward_weight_reduce", lambda s: blocks(s.K * 9 * s.C, BLOCK)),
        derive={
            "TH": lambda s: blocks(s.OH, OUTPUT),
            "TW": lambda s: blocks(s.OW, OUTPUT),
            "TILES": lambda s: 28 if s.C <= PANEL else 14,
            "BLOCKS": lambda s: blocks(s.N * s.TH * s.TW, s.TILES),
            "PANELS": lambda s: blocks(s.C, PANEL),
            "PAIRS": lambda s: blocks(s.PANELS, PAIR),
            "RUNS": lambda s: blocks(s.K, DEPTH),
            "PARTS": lambda s: max(1, min(s.BLOCKS, blocks(16, max(1, s.RUNS * s.PAIRS)))),
            "INPUTS": lambda s: s.TILES * PANEL + SPARE,
            "GRADIENTS": lambda s: s.TILES * DEPTH + SPARE,
            "PRODUCTS": lambda s: DEPTH * PANEL + SPARE,
        },
        workspace="partial: PARTS K 9 C",
        scratch=f"inputs: {PLANES} INPUTS; gradients: {PLANES} GRADIENTS; products: {PAIR} {PLANES} PRODUCTS",
        suits=suits,
    )  # fmt: skip
