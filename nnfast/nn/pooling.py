"""Pooling layers."""

from __future__ import annotations

from collections.abc import Sequence

from nnfast import functional
from nnfast.functional.arguments import Size2
from nnfast.tensor import Tensor

from .module import Module


class MaxPool2d(Module):
    """The maximum of every window; see `functional.max_pool2d`.

    Parameters
    ----------
    kernel_size : the window, a number of pixels or a pair.
    stride : from one window to the next; `kernel_size` by default.
    padding, dilation : numbers of pixels or pairs.
    return_indices : not supported.
    ceil_mode : let the last windows hang over the edge.

    Raises
    ------
    NotImplementedError : ``return_indices=True``.

    Examples
    --------
    >>> import nnfast
    >>> MaxPool2d(2)(nnfast.ones(1, 3, 8, 8)).shape
    nnfast.Size([1, 3, 4, 4])
    """

    def __init__(
        self,
        kernel_size: Size2,
        stride: Size2 | None = None,
        padding: Size2 = 0,
        dilation: Size2 = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        if return_indices:
            raise NotImplementedError("MaxPool2d: return_indices=True is not supported; only the maxima are returned")
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.max_pool2d`."""
        return functional.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of every window; see `functional.avg_pool2d`.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode : as in `MaxPool2d`.
    count_include_pad : whether the mean is over the padded image.
    divisor_override : not supported.

    Raises
    ------
    NotImplementedError : a `divisor_override`.

    Examples
    --------
    >>> import nnfast
    >>> AvgPool2d(2)(nnfast.ones(1, 3, 8, 8)).shape
    nnfast.Size([1, 3, 4, 4])
    """

    def __init__(
        self,
        kernel_size: Size2,
        stride: Size2 | None = None,
        padding: Size2 = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        if divisor_override is not None:
            raise NotImplementedError(f"AvgPool2d: divisor_override={divisor_override} is not supported; only None is")
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.avg_pool2d`."""
        return functional.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Means over as many windows as make an image of a given size; see `functional.adaptive_avg_pool2d`.

    Parameters
    ----------
    output_size : (OH, OW), or one number for both; None keeps the image's.

    Examples
    --------
    >>> import nnfast
    >>> AdaptiveAvgPool2d(1)(nnfast.ones(2, 3, 5, 7)).shape
    nnfast.Size([2, 3, 1, 1])
    """

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.adaptive_avg_pool2d`."""
        return functional.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
