"""Activation layers."""

from __future__ import annotations

from nnfast import functional
from nnfast.tensor import Tensor

from .module import Module


class _Rectifier(Module):
    """An activation that can overwrite its input."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_Rectifier):
    """See `functional.relu`.

    Parameters
    ----------
    inplace : overwrite the input.

    Examples
    --------
    >>> import nnfast
    >>> ReLU()(nnfast.tensor([-1.0, 1.0]))
    tensor([0., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.relu`."""
        return functional.relu(input, self.inplace)


class ReLU6(_Rectifier):
    """See `functional.relu6`; parameters as in `ReLU`."""

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.relu6`."""
        return functional.relu6(input, self.inplace)


class LeakyReLU(Module):
    """See `functional.leaky_relu`.

    Parameters
    ----------
    negative_slope : the slope below 0.
    inplace : overwrite the input.

    Examples
    --------
    >>> LeakyReLU(0.2)
    LeakyReLU(negative_slope=0.2)
    """

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.leaky_relu`."""
        return functional.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}{', inplace=True' if self.inplace else ''}"


class Sigmoid(Module):
    """See `functional.sigmoid`."""

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.sigmoid`."""
        return functional.sigmoid(input)


class Tanh(Module):
    """See `functional.tanh`."""

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.tanh`."""
        return functional.tanh(input)


class _AlongDim(Module):
    """An activation along one dimension."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """See `functional.softmax`.

    Parameters
    ----------
    dim : the dimension that sums to 1.

    Examples
    --------
    >>> import nnfast
    >>> Softmax(dim=1)(nnfast.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.softmax`."""
        return functional.softmax(input, self.dim)


class LogSoftmax(_AlongDim):
    """See `functional.log_softmax`; parameters as in `Softmax`."""

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.log_softmax`."""
        return functional.log_softmax(input, self.dim)
