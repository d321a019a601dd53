"""Activations."""

from __future__ import annotations

import warnings

from nnfast.dispatch import apply, rows, shaped_like
from nnfast.tape import record
from nnfast.tensor import Tensor

from .indexing import become, check_changeable
from .shape import dimension, permute


def _check_floating(x: Tensor, who: str) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{who}: x is {type(x).__name__}, expected a Tensor")
    if not x.is_floating_point():
        raise TypeError(f"{who}: x is {x.dtype}, expected float32; convert it with .float()")


def _from_output(name: str, x: Tensor, inplace: bool = False) -> Tensor:
    """An activation whose gradient is a function of its output alone, so that it can overwrite its input."""
    _check_floating(x, name)
    if inplace:
        check_changeable(x, f"{name}_")
        apply(f"{name}_forward", {"y": x}, x=x)
        y = x.alias()
    else:
        y = apply(f"{name}_forward", x=x)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        return (apply(f"{name}_backward", dy=dy, y=y),)

    made = record(y, name, (x,), gradient, (y,))
    if not inplace:
        return made
    become(x, made)
    return x


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(input, 0)``; NaN stays NaN.

    Parameters
    ----------
    input : a floating tensor.
    inplace : overwrite `input`.

    Raises
    ------
    TypeError : types other than float32 (float64 on the reference backend).
    RuntimeError, NotImplementedError : a tensor that cannot be changed in place.

    Examples
    --------
    >>> import nnfast
    >>> relu(nnfast.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return _from_output("relu", input, inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(input, 0), 6)``; see `relu`.

    Examples
    --------
    >>> import nnfast
    >>> relu6(nnfast.tensor([-1.0, 2.0, 7.0]))
    tensor([0., 2., 6.])
    """
    return _from_output("relu6", input, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` where it is positive, else ``negative_slope * input``.

    Parameters
    ----------
    input : a floating tensor.
    negative_slope : the slope below 0.
    inplace : overwrite `input`; only with a slope of at least 0, for otherwise its sign is lost to the gradient.

    Raises
    ------
    TypeError, RuntimeError, NotImplementedError : see `relu`.

    Examples
    --------
    >>> import nnfast
    >>> leaky_relu(nnfast.tensor([-1.0, 2.0]), 0.5)
    tensor([-0.5000,  2.0000])
    """
    _check_floating(input, "leaky_relu")
    slope = float(negative_slope)
    if inplace:
        check_changeable(input, "leaky_relu_")
        if slope < 0 and input.requires_grad:
            raise RuntimeError(
                f"leaky_relu: inplace=True with negative_slope {slope} below 0 is not possible in training; "
                "use inplace=False"
            )
        apply("leaky_relu_forward", {"y": input}, x=input, negative_slope=slope)
        # The output has the input's sign. With slope 0 it is 0 below 0, and the gradient at 0 is the slope, too.
        y = source = input.alias()
    else:
        y, source = apply("leaky_relu_forward", x=input, negative_slope=slope), input

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        return (apply("leaky_relu_backward", dy=dy, x=source, negative_slope=slope),)

    made = record(y, "leaky_relu", (input,), gradient, (source,))
    if not inplace:
        return made
    become(input, made)
    return input


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-input))``.

    Examples
    --------
    >>> import nnfast
    >>> sigmoid(nnfast.tensor([0.0]))
    tensor([0.5000])
    """
    return _from_output("sigmoid", input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent.

    Examples
    --------
    >>> import nnfast
    >>> tanh(nnfast.tensor([0.0]))
    tensor([0.])
    """
    return _from_output("tanh", input)


def softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """``exp(input) / sum(exp(input))`` along a dimension.

    Parameters
    ----------
    input : a floating tensor.
    dim : the dimension that sums to 1. Left out, it is 0 or 1 by the rank, with a warning, as in PyTorch.

    Raises
    ------
    IndexError : a dimension that the tensor does not have.
    TypeError : types other than float32.

    Examples
    --------
    >>> import nnfast
    >>> softmax(nnfast.tensor([0.0, 0.0]), dim=0)
    tensor([0.5000, 0.5000])
    """
    return _along("softmax", input, dim)


def log_softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """The logarithm of `softmax`, without its overflow.

    Examples
    --------
    >>> import nnfast
    >>> log_softmax(nnfast.tensor([0.0, 0.0]), dim=0)
    tensor([-0.6931, -0.6931])
    """
    return _along("log_softmax", input, dim)


def _along(name: str, x: Tensor, dim: int | None) -> Tensor:
    _check_floating(x, name)
    if dim is None:
        warnings.warn(
            f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an "
            "argument.",
            UserWarning,
            stacklevel=3,
        )
        dim = 0 if x.ndim in (0, 1, 3) else 1
    axis = dimension(x, dim)
    innermost = 1 if x.ndim == 4 else max(x.ndim - 1, 0)
    if axis == innermost:
        return _of_rows(name, x)
    order = list(range(x.ndim))
    order[axis], order[innermost] = innermost, axis
    return permute(_of_rows(name, permute(x, order)), order)


def _of_rows(name: str, x: Tensor) -> Tensor:
    """Softmax along the dimension that is innermost in memory."""
    y = shaped_like(apply(f"{name}_forward", x=rows(x)), x)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        return (shaped_like(apply(f"{name}_backward", dy=rows(dy), y=rows(y)), dy),)

    return record(y, name, (x,), gradient, (y,))
