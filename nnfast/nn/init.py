"""Initial values for parameters, with PyTorch's formulas; drawn in the order of the shape, whatever the memory."""

from __future__ import annotations

import math
from typing import Any

from nnfast.grad_mode import no_grad
from nnfast.tensor import Tensor

_GAINS = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3,
          "relu": math.sqrt(2.0), "selu": 3.0 / 4}  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights in front of a non-linearity are larger than in front of none.

    Parameters
    ----------
    nonlinearity : ``linear``, ``conv2d``, ``sigmoid``, ``tanh``, ``relu``, ``leaky_relu``, ``selu``.
    param : the slope of ``leaky_relu``; 0.01 by default.

    Raises
    ------
    ValueError : an unknown non-linearity.

    Examples
    --------
    >>> calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {slope} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    return _GAINS[nonlinearity]


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs an output sees, and how many outputs an input reaches."""
    if tensor.ndim < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fan(tensor: Tensor, mode: str) -> int:
    modes = {"fan_in": 0, "fan_out": 1}
    if mode.lower() not in modes:
        raise ValueError(f"Mode {mode} not supported, please use one of {list(modes)}")
    return _calculate_fan_in_and_fan_out(tensor)[modes[mode.lower()]]


@no_grad()
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Fill a tensor with uniform random numbers between `a` and `b`."""
    return tensor.uniform_(a, b, generator=generator)


@no_grad()
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Fill a tensor with normally distributed random numbers."""
    return tensor.normal_(mean, std, generator=generator)


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill a tensor with `val`."""
    return tensor.fill_(val)


@no_grad()
def zeros_(tensor: Tensor) -> Tensor:
    """Fill a tensor with 0."""
    return tensor.fill_(0.0)


@no_grad()
def ones_(tensor: Tensor) -> Tensor:
    """Fill a tensor with 1."""
    return tensor.fill_(1.0)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Fill a tensor with uniform random numbers in ``+-sqrt(3) * gain / sqrt(fan)`` (He et al. 2015).

    Parameters
    ----------
    tensor : at least two dimensions.
    a : the slope below 0 of a leaky ReLU that follows.
    mode : ``fan_in`` keeps the variance forward, ``fan_out`` backward.
    nonlinearity : see `calculate_gain`.
    generator : a numpy.random.Generator; the default one if None.

    Raises
    ------
    ValueError : too few dimensions, or an unknown `mode` or `nonlinearity`.
    """
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Fill a tensor with normal random numbers of deviation ``gain / sqrt(fan)``; see `kaiming_uniform_`."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)), generator)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Fill a tensor with uniform random numbers in ``+-gain * sqrt(6 / (fan_in + fan_out))`` (Glorot & Bengio 2010)."""
    bound = gain * math.sqrt(6.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Fill a tensor with normal random numbers of deviation ``gain * sqrt(2 / (fan_in + fan_out))``."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor))), generator)
