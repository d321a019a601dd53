"""Convolution, and the patches that it sees."""

from __future__ import annotations

from nnfast.dispatch import apply, reinterpret
from nnfast.kernels.convolution import convolved
from nnfast.tape import record
from nnfast.tensor import Tensor

from .arguments import Size2, batched, check_fits, pair, unbatched
from .broadcast import reduce
from .shape import permute, reshape


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size2 = 1,
    padding: Size2 | str = 0,
    dilation: Size2 = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlate images with kernels.

    ``y[n, k, oh, ow] = bias[k] + sum over c, r, s of
    weight[k, c, r, s] * input[n, c, oh * stride + r * dilation - padding, ow * stride + s * dilation - padding]``

    Parameters
    ----------
    input : (N, C, H, W) images, or one (C, H, W).
    weight : (K, C / groups, R, S) kernels.
    bias : (K,), or None.
    stride, dilation : numbers of pixels, or (vertical, horizontal) pairs.
    padding : zeros around the image, a number or a pair; or ``"valid"`` for none.
    groups : output channels of one group see input channels of that group only.

    Returns
    -------
    Tensor
        (N, K, OH, OW) with ``OH = (H + 2 * padding - dilation * (R - 1) - 1) // stride + 1``.

    Raises
    ------
    ValueError : ranks, channels or groups that do not fit, strides below 1.
    TypeError : types other than float32 (float64 on the reference backend).
    RuntimeError : a kernel that is larger than the padded image.
    NotImplementedError : ``padding="same"``.

    Examples
    --------
    >>> import nnfast
    >>> conv2d(nnfast.ones(1, 3, 8, 8), nnfast.ones(4, 3, 3, 3), padding=1).shape
    nnfast.Size([1, 4, 8, 8])
    """
    x, single = batched(input, "conv2d")
    steps, spacing = pair(stride, "stride", "conv2d", 1), pair(dilation, "dilation", "conv2d", 1)
    around = _padding(padding)
    _check_conv2d(x, weight, bias, groups)
    size, kernel = (x.shape[2], x.shape[3]), (weight.shape[2], weight.shape[3])
    check_fits(size, kernel, around, spacing, "conv2d")
    window = {"stride": steps, "padding": around, "dilation": spacing, "groups": groups}
    y = apply("conv2d_forward", x=x, w=weight, b=bias, **window)
    kept_x, kept_w = (x if weight.requires_grad else None), (weight if x.requires_grad else None)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
        dx = apply("conv2d_backward_data", dy=dy, w=kept_w, size=size, **window) if needs[0] else None
        dw = apply("conv2d_backward_weight", x=kept_x, dy=dy, kernel_size=kernel, **window) if needs[1] else None
        db = reinterpret(reduce("sum", dy, (0, 2, 3)), -1) if needs[2] else None
        return dx, dw, db

    saves = [kept for kept in (kept_x, kept_w) if kept is not None]
    return unbatched(record(y, "conv2d", (x, weight, bias), gradient, saves), single)


def _padding(padding: Size2 | str) -> tuple[int, int]:
    if padding == "valid":
        return 0, 0
    if isinstance(padding, str):
        raise NotImplementedError(f"conv2d: padding is {padding!r}; numbers, pairs and 'valid' are supported")
    return pair(padding, "padding", "conv2d", 0)


def _check_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    if weight.ndim != 4:
        raise ValueError(f"conv2d: weight has shape {list(weight.shape)}, expected 4 dimensions (K, C / groups, R, S)")
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and value.dtype != x.dtype:
            raise TypeError(f"conv2d: {name} is {value.dtype}, expected {x.dtype} as x")
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"conv2d: groups is {groups}, expected a divisor of the {weight.shape[0]} output channels")
    if x.shape[1] != weight.shape[1] * groups:
        among = f" in each of {groups} groups" if groups > 1 else ""
        raise ValueError(f"conv2d: x has {x.shape[1]} channels, weight expects {weight.shape[1]}{among}")
    if 0 in weight.shape:
        raise ValueError(f"conv2d: weight has shape {list(weight.shape)}, expected no size to be 0")
    if bias is not None and bias.shape != (weight.shape[0],):
        raise ValueError(f"conv2d: bias has shape {list(bias.shape)}, expected [{weight.shape[0]}]")


def unfold(input: Tensor, kernel_size: Size2, dilation: Size2 = 1, padding: Size2 = 0, stride: Size2 = 1) -> Tensor:
    """The patches that a kernel sees, one column each.

    Parameters
    ----------
    input : (N, C, H, W) images, or one (C, H, W).
    kernel_size, dilation, padding, stride : as in `conv2d`.

    Returns
    -------
    Tensor
        (N, C * R * S, OH * OW).

    Examples
    --------
    >>> import nnfast
    >>> unfold(nnfast.ones(1, 2, 4, 4), 3).shape
    nnfast.Size([1, 18, 4])
    """
    x, single = batched(input, "unfold")
    kernel, window = _window(kernel_size, stride, padding, dilation, "unfold")
    check_fits((x.shape[2], x.shape[3]), kernel, window["padding"], window["dilation"], "unfold")
    size = (x.shape[2], x.shape[3])
    columns = record(
        apply("im2col", x=x, kernel_size=kernel, **window),
        "im2col",
        (x,),
        lambda dy, needs: (apply("col2im", columns=dy, size=size, **window),),
    )
    n, oh, ow, r, s, c = columns.shape
    return unbatched(reshape(permute(columns, (0, 5, 3, 4, 1, 2)), (n, c * r * s, oh * ow)), single)


def fold(
    input: Tensor,
    output_size: Size2,
    kernel_size: Size2,
    dilation: Size2 = 1,
    padding: Size2 = 0,
    stride: Size2 = 1,
) -> Tensor:
    """Add patches up to images: the adjoint of `unfold`.

    Parameters
    ----------
    input : (N, C * R * S, OH * OW) columns, or one image's.
    output_size : (H, W) of the images.
    kernel_size, dilation, padding, stride : as in `conv2d`.

    Returns
    -------
    Tensor
        (N, C, H, W).

    Raises
    ------
    ValueError : columns that do not belong to such images.

    Examples
    --------
    >>> import nnfast
    >>> fold(nnfast.ones(1, 18, 4), 4, 3).shape
    nnfast.Size([1, 2, 4, 4])
    """
    if input.ndim not in (2, 3):
        raise ValueError(f"fold: x has shape {list(input.shape)}, expected (N, C * R * S, OH * OW)")
    single = input.ndim == 2
    x = reshape(input, (1, *input.shape)) if single else input
    kernel, window = _window(kernel_size, stride, padding, dilation, "fold")
    size = pair(output_size, "output_size", "fold", 1)
    check_fits(size, kernel, window["padding"], window["dilation"], "fold")
    (r, s), (n, depth, length) = kernel, x.shape
    oh, ow = (convolved(*numbers) for numbers in zip(size, kernel, *window.values(), strict=True))
    if depth % (r * s) or length != oh * ow:
        raise ValueError(f"fold: x has shape {list(x.shape)}, expected (N, a multiple of {r * s}, {oh} * {ow})")
    columns = permute(reshape(x, (n, depth // (r * s), r, s, oh, ow)), (0, 4, 5, 2, 3, 1))
    y = record(
        apply("col2im", columns=columns, size=size, **window),
        "col2im",
        (columns,),
        lambda dy, needs: (apply("im2col", x=dy, kernel_size=kernel, **window),),
    )
    return unbatched(y, single)


def _window(
    kernel_size: Size2, stride: Size2, padding: Size2, dilation: Size2, who: str
) -> tuple[tuple[int, int], dict[str, tuple[int, int]]]:
    return pair(kernel_size, "kernel_size", who, 1), {
        "stride": pair(stride, "stride", who, 1),
        "padding": pair(padding, "padding", who, 0),
        "dilation": pair(dilation, "dilation", who, 1),
    }
