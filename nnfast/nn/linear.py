"""Linear layers, and the layer that does nothing."""

from __future__ import annotations

import math
from typing import Any

from nnfast import functional
from nnfast.creation import empty
from nnfast.tensor import Tensor, check_device

from . import init
from .module import Module
from .parameter import Parameter


class Identity(Module):
    """Gives back its input; takes any arguments.

    Examples
    --------
    >>> Identity(5)
    Identity()
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """`input` itself."""
        return input


class Linear(Module):
    """``y = x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : sizes of the last dimension of input and output.
    bias : whether there is one.
    device : ``"cpu"`` or None.
    dtype : float32 by default.

    Attributes
    ----------
    weight : (out_features, in_features), uniform in ``+-1 / sqrt(in_features)``.
    bias : (out_features,), the same, or None.

    Examples
    --------
    >>> import nnfast
    >>> Linear(3, 2)(nnfast.ones(4, 3)).shape
    nnfast.Size([4, 2])
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        check_device(device, "Linear")
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty(out_features, in_features, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_features, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        draw_weight_and_bias(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.linear`."""
        return functional.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def draw_weight_and_bias(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's initial values of linear and convolution layers; layers that see nothing keep what they have."""
    if weight.numel():
        init.kaiming_uniform_(weight, a=math.sqrt(5))
    fan_in, _ = init._calculate_fan_in_and_fan_out(weight)
    if bias is not None:
        bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
        init.uniform_(bias, -bound, bound)
