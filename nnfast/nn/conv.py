"""Convolution layers."""

from __future__ import annotations

from typing import Any

from nnfast import functional
from nnfast.creation import empty
from nnfast.functional.arguments import Size2, pair
from nnfast.tensor import Tensor, check_device

from .linear import draw_weight_and_bias
from .module import Module
from .parameter import Parameter


class Conv2d(Module):
    """A convolution; see `functional.conv2d`.

    Parameters
    ----------
    in_channels, out_channels : channels of input and output.
    kernel_size : height and width of the kernels, a number or a pair.
    stride, dilation : numbers of pixels or pairs.
    padding : zeros around the image, a number or a pair, or ``"valid"``.
    groups : a common divisor of both numbers of channels.
    bias : whether there is one.
    padding_mode : ``"zeros"``.
    device : ``"cpu"`` or None.
    dtype : float32 by default.

    Attributes
    ----------
    weight : (out_channels, in_channels / groups, R, S), uniform in ``+-1 / sqrt(in_channels / groups * R * S)``.
    bias : (out_channels,), the same, or None.

    Raises
    ------
    ValueError : channels, groups or sizes that do not fit.
    NotImplementedError : another `padding_mode`, or ``padding="same"``.

    Examples
    --------
    >>> import nnfast
    >>> Conv2d(3, 8, 3, stride=2, padding=1)(nnfast.ones(1, 3, 32, 32)).shape
    nnfast.Size([1, 8, 16, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size2,
        stride: Size2 = 1,
        padding: Size2 | str = 0,
        dilation: Size2 = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_device(device, "Conv2d")
        _check_conv2d(in_channels, out_channels, groups, padding, padding_mode)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair(kernel_size, "kernel_size", "Conv2d", 1)
        self.stride = pair(stride, "stride", "Conv2d", 1)
        self.padding = padding if isinstance(padding, str) else pair(padding, "padding", "Conv2d", 0)
        self.dilation = pair(dilation, "dilation", "Conv2d", 1)
        self.padding_mode = padding_mode
        self.weight = Parameter(empty(out_channels, in_channels // groups, *self.kernel_size, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_channels, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        draw_weight_and_bias(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.conv2d`."""
        return functional.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else f"{text}, bias=False"


def _check_conv2d(in_channels: int, out_channels: int, groups: int, padding: Size2 | str, padding_mode: str) -> None:
    if groups <= 0:
        raise ValueError("groups must be a positive integer")
    if in_channels % groups:
        raise ValueError(f"in_channels must be divisible by groups: Conv2d got {in_channels} and {groups}")
    if out_channels % groups:
        raise ValueError(f"out_channels must be divisible by groups: Conv2d got {out_channels} and {groups}")
    if in_channels < 1 or out_channels < 1:
        raise ValueError(f"Conv2d: channels are {in_channels} and {out_channels}, expected at least 1")
    if padding_mode != "zeros":
        raise NotImplementedError(f"Conv2d: padding_mode is {padding_mode!r}; only 'zeros' is supported")
    if isinstance(padding, str) and padding != "valid":
        raise NotImplementedError(f"Conv2d: padding is {padding!r}; numbers, pairs and 'valid' are supported")


class Unfold(Module):
    """The patches that a kernel sees; see `functional.unfold`.

    Parameters
    ----------
    kernel_size, dilation, padding, stride : numbers of pixels or pairs.

    Examples
    --------
    >>> import nnfast
    >>> Unfold(2)(nnfast.ones(1, 3, 4, 4)).shape
    nnfast.Size([1, 12, 9])
    """

    def __init__(self, kernel_size: Size2, dilation: Size2 = 1, padding: Size2 = 0, stride: Size2 = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.unfold`."""
        return functional.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """Patches added up to images; see `functional.fold`.

    Parameters
    ----------
    output_size : (H, W) of the images.
    kernel_size, dilation, padding, stride : numbers of pixels or pairs.

    Examples
    --------
    >>> import nnfast
    >>> Fold((4, 4), 2)(nnfast.ones(1, 12, 9)).shape
    nnfast.Size([1, 3, 4, 4])
    """

    def __init__(
        self, output_size: Size2, kernel_size: Size2, dilation: Size2 = 1, padding: Size2 = 0, stride: Size2 = 1
    ) -> None:
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.fold`."""
        return functional.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )
