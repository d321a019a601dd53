"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence

from nnfast.dispatch import apply
from nnfast.kernels.pooling import pooled
from nnfast.tape import record
from nnfast.tensor import Tensor

from .arguments import Pair, Size2, batched, pair, unbatched

LARGEST_WINDOW = 256  # places in a window are kept as bytes


def _check_pool(
    who: str, x: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> None:
    if padding[0] > kernel[0] // 2 or padding[1] > kernel[1] // 2:
        raise RuntimeError(f"{who}: padding is {padding}, expected at most half of kernel_size {kernel}")
    sizes = [
        pooled(*numbers, ceil_mode) for numbers in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    ]
    if min(sizes) < 1:
        raise RuntimeError(
            f"{who}: kernel_size {kernel} is larger than the padded input of shape {list(x.shape)}; "
            f"the output would be {sizes[0]} x {sizes[1]}"
        )
    if x.shape[1] == 0:
        raise RuntimeError(f"{who}: x has shape {list(x.shape)}, expected at least one channel")


def max_pool2d(
    input: Tensor,
    kernel_size: Size2,
    stride: Size2 | None = None,
    padding: Size2 = 0,
    dilation: Size2 = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The maximum of every window.

    Parameters
    ----------
    input : (N, C, H, W) images, or one (C, H, W).
    kernel_size : the window, a number of pixels or a pair.
    stride : from one window to the next; `kernel_size` by default.
    padding : -inf around the image, at most half the window.
    dilation : distance between a window's pixels.
    ceil_mode : let the last windows hang over the edge.
    return_indices : not supported.

    Returns
    -------
    Tensor
        (N, C, OH, OW). The first of several equal maxima gets the gradient.

    Raises
    ------
    ValueError, TypeError : arguments outside of their range, types other than float32.
    RuntimeError : too much padding, or a window larger than the padded image.
    NotImplementedError : ``return_indices=True``, or a window of more than 256 rows or columns.

    Examples
    --------
    >>> import nnfast
    >>> max_pool2d(nnfast.ones(1, 3, 8, 8), 2).shape
    nnfast.Size([1, 3, 4, 4])
    """
    if return_indices:
        raise NotImplementedError("max_pool2d: return_indices=True is not supported; only the maxima are returned")
    x, single = batched(input, "max_pool2d")
    kernel = pair(kernel_size, "kernel_size", "max_pool2d", 1)
    window = {
        "stride": _stride(stride, kernel, "max_pool2d"),
        "padding": pair(padding, "padding", "max_pool2d", 0),
        "dilation": pair(dilation, "dilation", "max_pool2d", 1),
    }
    if max(kernel) > LARGEST_WINDOW:
        raise NotImplementedError(
            f"max_pool2d: kernel_size is {kernel}; windows of at most {LARGEST_WINDOW} x {LARGEST_WINDOW} are supported"
        )
    _check_pool("max_pool2d", x, kernel, window["stride"], window["padding"], window["dilation"], ceil_mode)
    if kernel[0] * kernel[1] > LARGEST_WINDOW:
        # The first (of NaN the last) of a window's maxima in row order is that of its row's among its rows'.
        (down, across), (top, left), (dilated, spread) = window.values()
        maxima = _max_pool2d(x, (1, kernel[1]), (1, across), (0, left), (1, spread), ceil_mode)
        return unbatched(_max_pool2d(maxima, (kernel[0], 1), (down, 1), (top, 0), (dilated, 1), ceil_mode), single)
    return unbatched(_max_pool2d(x, kernel, **window, ceil_mode=ceil_mode), single)


def _max_pool2d(x: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool) -> Tensor:
    """Max pooling of (N, C, H, W) with windows of at most `LARGEST_WINDOW` pixels."""
    window = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    size = (x.shape[2], x.shape[3])
    y, argmax = apply("max_pool2d_forward", x=x, **window, ceil_mode=int(ceil_mode))

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        return (apply("max_pool2d_backward", dy=dy, argmax=argmax, size=size, **window),)

    return record(y, "max_pool2d", (x,), gradient, (argmax,))


def _stride(stride: Size2 | None, kernel: Pair, who: str) -> Pair:
    return kernel if stride is None or stride == [] else pair(stride, "stride", who, 1)


def avg_pool2d(
    input: Tensor,
    kernel_size: Size2,
    stride: Size2 | None = None,
    padding: Size2 = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of every window.

    Parameters
    ----------
    input : (N, C, H, W) images, or one (C, H, W).
    kernel_size, stride, ceil_mode : as in `max_pool2d`.
    padding : zeros around the image, at most half the window.
    count_include_pad : whether the mean is over the padded image.
    divisor_override : not supported.

    Returns
    -------
    Tensor
        (N, C, OH, OW).

    Raises
    ------
    ValueError, TypeError, RuntimeError : see `max_pool2d`.
    NotImplementedError : a `divisor_override`.

    Examples
    --------
    >>> import nnfast
    >>> avg_pool2d(nnfast.ones(1, 3, 8, 8), 2).shape
    nnfast.Size([1, 3, 4, 4])
    """
    if divisor_override is not None:
        raise NotImplementedError(f"avg_pool2d: divisor_override={divisor_override} is not supported; only None is")
    x, single = batched(input, "avg_pool2d")
    kernel = pair(kernel_size, "kernel_size", "avg_pool2d", 1)
    window = {"stride": _stride(stride, kernel, "avg_pool2d"), "padding": pair(padding, "padding", "avg_pool2d", 0)}
    _check_pool("avg_pool2d", x, kernel, window["stride"], window["padding"], (1, 1), ceil_mode)
    count = int(count_include_pad)
    size = (x.shape[2], x.shape[3])
    y = apply(
        "avg_pool2d_forward", x=x, kernel_size=kernel, **window, ceil_mode=int(ceil_mode), count_include_pad=count
    )

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        return (apply("avg_pool2d_backward", dy=dy, size=size, kernel_size=kernel, **window, count_include_pad=count),)

    return unbatched(record(y, "avg_pool2d", (x,), gradient), single)


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Means over as many windows as make an image of a given size.

    Parameters
    ----------
    input : (N, C, H, W) images, or one (C, H, W).
    output_size : (OH, OW), or one number for both; None keeps the image's.

    Returns
    -------
    Tensor
        (N, C, OH, OW): means over rows ``floor(i * H / OH)`` to ``ceil((i + 1) * H / OH)``, and likewise columns.

    Raises
    ------
    ValueError, TypeError : sizes below 1, types other than float32.

    Examples
    --------
    >>> import nnfast
    >>> adaptive_avg_pool2d(nnfast.ones(1, 3, 7, 5), 1).shape
    nnfast.Size([1, 3, 1, 1])
    """
    x, single = batched(input, "adaptive_avg_pool2d")
    size = (x.shape[2], x.shape[3])
    if min(size) < 1 or x.shape[1] < 1:
        raise RuntimeError(f"adaptive_avg_pool2d: x has shape {list(x.shape)}, expected sizes of at least 1")
    wanted = output_size if isinstance(output_size, Sequence) else (output_size, output_size)
    full = [n if w is None else w for w, n in zip(wanted, (*size, 1, 1), strict=False)]
    target = pair(full, "output_size", "adaptive_avg_pool2d", 1)
    y = apply("adaptive_avg_pool2d_forward", x=x, output_size=target)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        return (apply("adaptive_avg_pool2d_backward", dy=dy, size=size),)

    return unbatched(record(y, "adaptive_avg_pool2d", (x,), gradient), single)
