"""What window operations are told in several ways, brought into one form; and the checks they share."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TypeAlias

from nnfast.tensor import Tensor

from .shape import reshape

Size2: TypeAlias = int | Sequence[int]
"""A number for height and width, or a pair of them."""
Pair: TypeAlias = tuple[int, int]


def pair(value: Size2, name: str, who: str, minimum: int) -> Pair:
    """`value` as (height, width).

    Raises
    ------
    TypeError : neither a whole number nor one or two of them.
    ValueError : a number below `minimum`.
    """
    try:
        numbers = [operator.index(v) for v in value] if isinstance(value, Sequence) else [operator.index(value)] * 2
    except TypeError:
        raise TypeError(f"{who}: {name} is {value!r}, expected a whole number or a pair of them") from None
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2:
        raise TypeError(f"{who}: {name} is {value!r}, expected a whole number or a pair of them")
    if min(numbers) < minimum:
        raise ValueError(f"{who}: {name} is {value!r}, expected at least {minimum}")
    return numbers[0], numbers[1]


def check_images(x: Tensor, who: str) -> Tensor:
    """See that `x` is a floating tensor of images, (N, C, H, W).

    Raises
    ------
    TypeError : no tensor, or of another type.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{who}: x is {type(x).__name__}, expected a Tensor")
    if not x.is_floating_point():
        raise TypeError(f"{who}: x is {x.dtype}, expected float32; convert it with .float()")
    return x


def batched(x: Tensor, who: str) -> tuple[Tensor, bool]:
    """`x` as (N, C, H, W), and whether it came as one image, (C, H, W).

    Raises
    ------
    ValueError : another number of dimensions.
    """
    check_images(x, who)
    if x.ndim == 3:
        return reshape(x, (1, *x.shape)), True
    if x.ndim != 4:
        raise ValueError(f"{who}: x has {x.ndim} dimensions {list(x.shape)}, expected 4 (N, C, H, W) or 3 (C, H, W)")
    return x, False


def unbatched(y: Tensor, single: bool) -> Tensor:
    """`y` without the batch dimension that `batched` added."""
    return reshape(y, y.shape[1:]) if single else y


def check_fits(size: Pair, kernel: Pair, padding: Pair, dilation: Pair, who: str) -> None:
    """See that a window is not larger than the padded image.

    Raises
    ------
    RuntimeError : it is.
    """
    padded = tuple(n + 2 * p for n, p in zip(size, padding, strict=True))
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    if reach[0] > padded[0] or reach[1] > padded[1]:
        raise RuntimeError(
            f"{who}: kernel of {reach[0]} x {reach[1]} pixels is larger than the padded input of "
            f"{padded[0]} x {padded[1]}"
        )
