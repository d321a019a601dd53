"""Declarations of convolution: the plain operations, and those fused with what stands before and behind them.

Algorithms: ``direct`` multiplies straight out of a block of padded images, ``narrow`` (`narrow.py`) does so with few
channels, ``winograd`` (`winograd.py`) saves three quarters of the products of 3x3 kernels, ``wide_winograd`` does so
for many channels, ``depthwise`` takes the channels as the vector, ``im2col`` unfolds first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from . import narrow, winograd
from .blocking import BLOCK, PACKED, PANEL, blocks, column_rows, image_block, weight_partials
from .matrix import panels
from .operation import Algorithm, Operation, Sizes, algorithm, operation
from .windows import Rule, windows


def convolved(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Output length of a convolution or pooling window (floor mode)."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


WINDOW = "stride: pair; padding: pair; dilation: pair"
CONVOLVED: Rule = {
    "OH": lambda s: convolved(s.H, s.R, s.stride[0], s.padding[0], s.dilation[0]),
    "OW": lambda s: convolved(s.W, s.S, s.stride[1], s.padding[1], s.dilation[1]),
}
KERNEL: Rule = {"R": lambda s: s.kernel_size[0], "S": lambda s: s.kernel_size[1]}
INPUT_SIZE: Rule = {"H": lambda s: s.size[0], "W": lambda s: s.size[1]}


def _depthwise(s: Sizes) -> bool:
    return s.CG == 1 and s.KG == 1 and s.groups > 1


PACKABLE = 1 << 17
"""Weights from which on a product may be worth packing: below them ``panels`` was never faster than ``direct``."""
UNFOLDED = 1 << 24
"""Elements of an unfolded image, at most, that a weight gradient may take for speed: 64 MB."""
UNFOLDED_ROWS = 8
"""Windows that are unfolded before they are packed side by side."""


def pointwise(s: Sizes) -> bool:
    """Whether a convolution is a matrix product over pixels: 1x1 without padding and groups."""
    return s.R * s.S * s.groups == 1 and tuple(s.padding) == (0, 0)


def _pointwise_unstrided(s: Sizes) -> bool:
    return pointwise(s) and tuple(s.stride) == (1, 1)


def _packable(s: Sizes) -> bool:
    return s.R * s.S * s.CG * s.K > PACKABLE


def _never(s: Sizes) -> bool:
    return False


def candidates(
    s: Sizes, few: Callable[[Sizes], bool] = _never, many: Callable[[Sizes], bool] = _never
) -> tuple[str, ...]:
    """The algorithms that may be the fastest for a convolution, the likeliest first.

    Where `few` says so, ``narrow`` stands for ``direct``: it is faster wherever it suits. Where `many` says so,
    ``wide_winograd`` stands for ``winograd``.
    """
    if _depthwise(s):
        return ("depthwise",)
    direct = "narrow" if few(s) else "direct"
    if winograd.suits(s):
        transformed = "wide_winograd" if many(s) else "winograd"
        return (transformed, direct) if min(s.CG, s.KG) >= 16 else (direct, transformed)
    return (direct, "panels") if pointwise(s) and _packable(s) else (direct,)


def _weight_candidates(s: Sizes) -> tuple[str, ...]:
    """For a weight gradient unfolding pays too, if there are few pixels of many channels."""
    if s.groups > 1 or winograd.suits(s) or narrow.weight_suits(s):
        return candidates(s, narrow.weight_suits)
    few = s.N * s.OH * s.OW * s.R * s.S * s.C <= UNFOLDED
    return ("direct", "panels") if few and _packable(s) else candidates(s)


def flops(s: Sizes) -> int:
    """Multiplications and additions of a convolution as its formula has them."""
    return 2 * s.N * s.OH * s.OW * s.K * s.R * s.S * s.CG


# ---------------------------------------------------------------- sizes

GROUPED: Rule = {"KG": lambda s: s.K // s.groups, "TAPS": lambda s: s.R * s.S, "GROUPS": lambda s: s.groups}


def _reach(s: Sizes, axis: int, taps: int) -> int:
    """How many rows (or columns) of dy a phase of dx may meet, beyond as many as it has itself."""
    stride, padding, dilation = s.stride[axis], s.padding[axis], s.dilation[axis]
    return (stride - 1 + padding) // stride - blocks(padding - dilation * (taps - 1), stride)


def _phases(most: Callable[[Sizes], int]) -> Rule:
    """A block of at most so many pixels is BAND rows of every phase of IMAGES images.

    It sees (HP, WP) padded pixels of dy of each.
    """

    def block(s: Sizes) -> tuple[int, int]:
        width = (s.PW + _reach(s, 1, s.S)) * s.K
        return image_block(s.N, s.PH, s.PW, most(s), lambda rows: (rows + _reach(s, 0, s.R)) * width)

    return {
        # The pixels of dx fall into stride x stride phases that meet different taps, each PH x PW pixels at most.
        "PH": lambda s: blocks(s.H, s.stride[0]),
        "PW": lambda s: blocks(s.W, s.stride[1]),
        "IMAGES": lambda s: block(s)[0],
        "BAND": lambda s: block(s)[1],
        "BANDS": lambda s: blocks(s.PH, s.BAND),
        "HP": lambda s: s.BAND + _reach(s, 0, s.R),
        "WP": lambda s: s.PW + _reach(s, 1, s.S),
        "BLOCKS": lambda s: blocks(s.N, s.IMAGES) * s.BANDS,
    }


FINISHED = 1 << 15
"""Elements, at most, of the pixels of a block of a fused convolution: L2 holds what it reads and the next one, too."""
CORRELATED = 3 << 12
"""The same for a weight gradient: about what L1 holds."""
LEAST = 64
"""Pixels of a block for which the weights are worth reading again."""
TASKS = 128
"""The most tasks of a fused convolution, each with sums of its own over a run of blocks."""


def _pixels(
    prefix: str, size: int, elements: Callable[[Sizes], int], most: Callable[[Sizes], int] = lambda s: 1024
) -> Callable[[Sizes], int]:
    """The most pixels of a block: fewer of a fused convolution, whose pixels have so many elements."""
    if not prefix:
        return most
    return lambda s: min(most(s), max(LEAST, size // max(1, elements(s))))


# ---------------------------------------------------------------- direct


def _tasks(prefix: str) -> Callable[[Sizes], int]:
    """Each block is a task of a plain convolution."""
    return lambda s: min(s.BLOCKS, TASKS) if prefix else s.BLOCKS


def direct_forward(
    prefix: str = "", workspace: str = "", scratch: str = "", *rest: tuple[str, Any]
) -> Algorithm:  # fmt: skip
    """Multiplies ROWS of a block of padded images with panels of weights."""
    return algorithm(
        (f"{prefix}direct_conv2d_forward_pack", lambda s: blocks(s.K, PACKED)),
        (f"{prefix}direct_conv2d_forward", lambda s: s.TASKS), *rest,
        derive={
            **windows(_pixels(prefix, FINISHED, lambda s: max(s.C, s.K))),
            "TASKS": _tasks(prefix),
            "DEPTH": lambda s: s.TAPS * s.CG,
            "PANELS": lambda s: blocks(s.KG, PANEL),
        },
        workspace=f"packed: GROUPS PANELS DEPTH {PANEL}{workspace}",
        scratch=f"staged: IMAGES HP WP C; places(int64): 2 IMAGES BAND OW; shifts(int64): TAPS{scratch}",
    )  # fmt: skip


def direct_backward_data(
    prefix: str = "", workspace: str = "", scratch: str = "", *rest: tuple[str, Any]
) -> Algorithm:  # fmt: skip
    """The same with dy as the image, phase by phase of the stride."""
    return algorithm(
        (f"{prefix}direct_conv2d_backward_data_pack", lambda s: blocks(s.K, PACKED)),
        (f"{prefix}direct_conv2d_backward_data", lambda s: s.TASKS), *rest,
        derive={
            **_phases(_pixels(prefix, FINISHED, lambda s: max(s.C * s.stride[0] * s.stride[1], s.K))),
            "TASKS": _tasks(prefix),
            "DEPTH": lambda s: s.TAPS * s.KG,
            "PANELS": lambda s: blocks(s.CG, PANEL),
        },
        workspace=f"packed: GROUPS PANELS DEPTH {PANEL}{workspace}",
        scratch=f"staged: IMAGES HP WP K; places(int64): 2 IMAGES BAND PW; shifts(int64): TAPS{scratch}",
    )  # fmt: skip


def direct_backward_weight(prefix: str = "", scratch: str = "") -> Algorithm:
    """Products of transposed windows with gradients, summed over runs of blocks."""
    return algorithm(
        (f"{prefix}direct_conv2d_backward_weight", lambda s: s.PARTS * s.SPLIT),
        (f"{prefix}direct_conv2d_backward_weight_reduce", lambda s: blocks(s.K, PACKED)),
        derive={
            **windows(_pixels(prefix, CORRELATED, lambda s: max(s.C, s.K), lambda s: 512 if s.C <= 16 else 256)),
            "DEPTH": lambda s: s.TAPS * s.CG,
            "PANELS": lambda s: blocks(s.KG, PANEL),
            # A task's sums stay in L2: it has some panels only if all are too many. Blocks are shared out as well.
            "SPLIT": lambda s: min(s.PANELS, blocks(s.K * s.DEPTH, 1 << 18)),
            "PARTS": lambda s: max(1, min(s.BLOCKS, blocks(8, s.SPLIT))),
        },
        workspace=f"partial: PARTS GROUPS PANELS DEPTH {PANEL}",
        scratch=f"staged: IMAGES HP WP C; places(int64): 2 DEPTH; shifts(int64): IMAGES BAND{scratch}",
    )  # fmt: skip


# ---------------------------------------------------------------- depthwise and im2col

DEPTHWISE_BLOCK = 1 << 18
"""Elements of the result that a task of a depthwise convolution computes: some tens of microseconds of memory."""


def _bands(height: str, width: str) -> Rule:
    """BAND rows of IMAGES images make a block; kernels take up to four rows at once."""

    def block(s: Sizes) -> tuple[int, int]:
        rows, columns = getattr(s, height), getattr(s, width)
        images, band = image_block(s.N, rows, columns, max(1, DEPTHWISE_BLOCK // s.K))
        return images, band if band == rows else min(rows, 4 * blocks(band, 4))

    return {
        "IMAGES": lambda s: block(s)[0],
        "BAND": lambda s: max(1, block(s)[1]),
        "BANDS": lambda s: blocks(getattr(s, height), s.BAND),
        "BLOCKS": lambda s: blocks(s.N, s.IMAGES) * s.BANDS,
    }


def depthwise_forward(prefix: str = "", workspace: str = "", *rest: tuple[str, Any], **options: Any) -> Algorithm:
    """A task computes BAND rows of IMAGES images."""
    return algorithm(
        (f"{prefix}depthwise_conv2d_forward_pack", lambda s: 1),
        (f"{prefix}depthwise_conv2d_forward", lambda s: s.BLOCKS), *rest,
        derive=_bands("OH", "OW"),
        workspace=f"packed: TAPS K{workspace}", suits=_depthwise, **options,
    )  # fmt: skip


def depthwise_backward_data(prefix: str = "", workspace: str = "", *rest: tuple[str, Any], **options: Any) -> Algorithm:
    """A task computes BAND rows of dx of IMAGES images."""
    return algorithm(
        (f"{prefix}depthwise_conv2d_backward_data_pack", lambda s: 1),
        (f"{prefix}depthwise_conv2d_backward_data", lambda s: s.BLOCKS), *rest,
        derive=_bands("H", "W"),
        workspace=f"packed: TAPS K{workspace}", suits=_depthwise, **options,
    )  # fmt: skip


def depthwise_backward_weight(prefix: str = "", **options: Any) -> Algorithm:
    """A task sums over a run of fours of output rows."""
    return algorithm(
        (f"{prefix}depthwise_conv2d_backward_weight", lambda s: s.PARTS),
        (f"{prefix}depthwise_conv2d_backward_weight_reduce", lambda s: 1),
        derive={"PARTS": lambda s: max(1, min(s.N * blocks(s.OH, 4), 16))},
        workspace="partial: PARTS TAPS K", suits=_depthwise, **options,
    )  # fmt: skip


_COLUMNS: Rule = {"PIXELS": lambda s: s.N * s.OH * s.OW, "ROWS": lambda s: column_rows(s.DEPTH)}

_IM2COL_FORWARD = algorithm(
    ("conv2d_forward_pack", lambda s: blocks(s.K, PACKED)),
    ("conv2d_forward", lambda s: blocks(s.PIXELS, s.ROWS)),
    derive={"DEPTH": lambda s: s.TAPS * s.CG, **_COLUMNS},
    workspace="packed: GROUPS DEPTH KG", scratch="columns: ROWS DEPTH",
)  # fmt: skip
_IM2COL_BACKWARD_DATA = algorithm(
    ("conv2d_backward_data_pack", lambda s: blocks(s.K, PACKED)),
    ("conv2d_backward_data", lambda s: s.PHASES * s.BLOCKS),
    derive={
        "DEPTH": lambda s: s.TAPS * s.KG,
        "ROWS": lambda s: column_rows(s.DEPTH),
        # A block of columns stays in one phase of dx: the pixels that meet the same taps.
        "PHASES": lambda s: s.stride[0] * s.stride[1],
        "BLOCKS": lambda s: blocks(s.N * blocks(s.H, s.stride[0]) * blocks(s.W, s.stride[1]), s.ROWS),
    },
    workspace="packed: GROUPS TAPS KG CG", scratch="columns: ROWS DEPTH",
)  # fmt: skip
_IM2COL_BACKWARD_WEIGHT = algorithm(
    ("conv2d_backward_weight", lambda s: s.PARTS * s.GROUPS * s.R),
    ("conv2d_backward_weight_reduce", lambda s: blocks(s.K * s.R * s.DEPTH, BLOCK)),
    derive={
        "DEPTH": lambda s: s.S * s.CG,
        **_COLUMNS,
        "PARTS": lambda s: max(1, min(blocks(s.PIXELS, s.ROWS), weight_partials(s.K * s.R * s.DEPTH))),
    },
    workspace="partial: PARTS K R DEPTH", scratch="columns: ROWS DEPTH",
)  # fmt: skip

# ---------------------------------------------------------------- 1x1

_PIXELS: Rule = {
    "PIXELS": lambda s: s.N * s.OH * s.OW,
    "GATHERED": lambda s: 0 if _pointwise_unstrided(s) else s.PIXELS,
}
_PANELS_FORWARD = panels(
    "conv2d_forward", "PIXELS", "K", "C", turned=True, before=_PIXELS,
    first=(("panels_conv2d_forward_gather", lambda s: s.N * s.OH if s.GATHERED else 0),),
    workspace="; gathered: GATHERED C", suits=pointwise, backends=("numba",),
)  # fmt: skip
_PANELS_BACKWARD_DATA = panels(
    "conv2d_backward_data", "PIXELS", "C", "K", before=_PIXELS, suits=_pointwise_unstrided,
    backends=("numba",))  # fmt: skip
_PANELS_BACKWARD_WEIGHT = panels(
    "conv2d_backward_weight", "K", "UNFOLDED", "PIXELS", packs=lambda s: s.BAND > 0,
    before={
        "PIXELS": _PIXELS["PIXELS"],
        "UNFOLDED": lambda s: s.R * s.S * s.C,
        "BAND": lambda s: 0 if _pointwise_unstrided(s) else UNFOLDED_ROWS,
    },
    scratch="windows: BAND UNFOLDED", suits=lambda s: s.groups == 1, backends=("numba",),
)  # fmt: skip

# ---------------------------------------------------------------- operations

CONVOLUTION: tuple[Operation, ...] = (
    operation(
        "conv.conv2d_forward", "x: N H W C; w: K R S CG; b: B", "y: N OH OW K",
        attributes=WINDOW + "; groups: int", either={"B": (0, "K")}, derive={**CONVOLVED, **GROUPED},
        candidates=partial(candidates, few=narrow.forward_suits, many=winograd.wide), flops=flops,
        algorithms={"direct": direct_forward(), "narrow": narrow.forward(), "winograd": winograd.forward(),
                    "wide_winograd": winograd.wide_forward(), "depthwise": depthwise_forward(),
                    "panels": _PANELS_FORWARD, "im2col": _IM2COL_FORWARD}),
    operation(
        "conv.conv2d_backward_data", "dy: N OH OW K; w: K R S CG", "dx: N H W C",
        attributes="size: pair; " + WINDOW + "; groups: int",
        derive={**INPUT_SIZE, **GROUPED, "C": lambda s: s.CG * s.groups},
        candidates=partial(candidates, few=narrow.data_suits, many=winograd.wide), flops=flops,
        algorithms={"direct": direct_backward_data(), "narrow": narrow.backward_data(),
                    "winograd": winograd.backward_data(), "wide_winograd": winograd.wide_backward_data(),
                    "depthwise": depthwise_backward_data(),
                    "panels": _PANELS_BACKWARD_DATA, "im2col": _IM2COL_BACKWARD_DATA}),
    operation(
        "conv.conv2d_backward_weight", "x: N H W C; dy: N OH OW K", "dw: K R S CG",
        attributes="kernel_size: pair; " + WINDOW + "; groups: int",
        derive={**KERNEL, **GROUPED, "CG": lambda s: s.C // s.groups},
        candidates=_weight_candidates, flops=flops,
        algorithms={"direct": direct_backward_weight(), "narrow": narrow.backward_weight(),
                    "winograd": winograd.backward_weight(), "depthwise": depthwise_backward_weight(),
                    "panels": _PANELS_BACKWARD_WEIGHT, "im2col": _IM2COL_BACKWARD_WEIGHT}),
)  # fmt: skip
