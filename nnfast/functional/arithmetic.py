"""Arithmetic with broadcasting, and what integers and bools get instead of kernels."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any
from typing import cast as typed

import numpy as np

from nnfast.dispatch import apply
from nnfast.dtypes import bool_, float32, is_floating
from nnfast.tape import record
from nnfast.tensor import Tensor, fresh

from .cast import cast
from .shape import expand

Operand = Any
"""A tensor or a Python or NumPy number."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (Real, np.bool_)) or (isinstance(value, np.ndarray) and value.ndim == 0)


def _checked(name: str, a: Operand, b: Operand) -> None:
    for value in (a, b):
        if not isinstance(value, Tensor) and not _is_number(value):
            raise TypeError(f"{name}: operand is {type(value).__name__}, expected a Tensor or a number")


def _floating(value: Operand) -> bool:
    if isinstance(value, Tensor):
        return value.is_floating_point()
    return not isinstance(value, (bool, int, np.integer, np.bool_))


def broadcast(name: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in one shape and one floating type; an integer tensor takes the type of the other.

    Raises
    ------
    RuntimeError : shapes that do not broadcast.
    TypeError : float32 with float64.
    """
    if not is_floating(a.dtype):
        a = cast(a, b.dtype)
    elif not is_floating(b.dtype):
        b = cast(b, a.dtype)
    if a.dtype != b.dtype:
        raise TypeError(f"{name}: operands are {a.dtype} and {b.dtype}, expected one type; convert one with .to()")
    if a.array.shape == b.array.shape:
        return a, b
    try:
        shape = np.broadcast_shapes(a.array.shape, b.array.shape)
    except ValueError:
        raise RuntimeError(f"{name}: shapes {list(a.shape)} and {list(b.shape)} do not broadcast") from None
    return expand(a, shape), expand(b, shape)


def _on_integers(name: str, function: Callable[[Any, Any], Any], a: Operand, b: Operand) -> Tensor:
    """Integer arithmetic: by NumPy, at once, with the wider type of the two tensors, or the tensor's own."""
    x, y = (value.read() if isinstance(value, Tensor) else value for value in (a, b))
    if not isinstance(x, np.ndarray):
        x = np.asarray(x, np.result_type(y.dtype, np.int64) if y.dtype == bool_ else y.dtype)
    elif not isinstance(y, np.ndarray):
        y = np.asarray(y, np.result_type(x.dtype, np.int64) if x.dtype == bool_ else x.dtype)
    try:
        return fresh(np.asarray(function(x, y)))
    except ValueError:
        raise RuntimeError(f"{name}: shapes {list(x.shape)} and {list(y.shape)} do not broadcast") from None


def scaled(x: Tensor, alpha: float, beta: float = 0.0) -> Tensor:
    """``alpha * x + beta``, differentiable."""
    y = apply("scale", x=x, alpha=alpha, beta=beta)
    return record(
        y, "mul" if beta == 0 else "add", (x,), lambda dy, needs: (apply("scale", x=dy, alpha=alpha, beta=0.0),)
    )


def _as_floating(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else cast(x, float32)


def add(a: Operand, b: Operand, *, alpha: float = 1) -> Tensor:
    """``a + alpha * b``.

    Parameters
    ----------
    a, b : tensors that broadcast, or numbers; at least one tensor.
    alpha : a factor for `b`.

    Raises
    ------
    RuntimeError : shapes that do not broadcast.
    TypeError : float32 with float64, or something that is no number.

    Examples
    --------
    >>> import nnfast
    >>> add(nnfast.tensor([1.0, 2.0]), 1)
    tensor([2., 3.])
    """
    _checked("add", a, b)
    if not _floating(a) and not _floating(b) and not isinstance(alpha, float):
        return _on_integers("add", np.add, a, b if alpha == 1 else b * alpha)
    if not isinstance(b, Tensor):
        return scaled(_as_floating(a), 1.0, float(alpha * b))
    if not isinstance(a, Tensor):
        return scaled(_as_floating(b), float(alpha), float(a))
    a, b = broadcast("add", a, b)
    factor = float(alpha)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor | None, Tensor | None]:
        return dy, dy if factor == 1 else apply("scale", x=dy, alpha=factor, beta=0.0) if needs[1] else None

    return record(apply("add", a=a, b=b, alpha=factor), "add", (a, b), gradient)


def sub(a: Operand, b: Operand, *, alpha: float = 1) -> Tensor:
    """``a - alpha * b``; see `add`.

    Examples
    --------
    >>> import nnfast
    >>> sub(3, nnfast.tensor([1.0, 2.0]))
    tensor([2., 1.])
    """
    _checked("sub", a, b)
    if not _floating(a) and not _floating(b) and not isinstance(alpha, float):
        if any(isinstance(value, Tensor) and value.dtype == bool_ for value in (a, b)):
            raise RuntimeError(
                "Subtraction, the `-` operator, with a bool tensor is not supported. Use the `~` operator instead."
            )
        return _on_integers("sub", np.subtract, a, b if alpha == 1 else b * alpha)
    return add(a, b, alpha=-alpha)


def mul(a: Operand, b: Operand) -> Tensor:
    """``a * b``, element by element; see `add`.

    Examples
    --------
    >>> import nnfast
    >>> mul(nnfast.tensor([1.0, 2.0]), nnfast.tensor([[2.0], [3.0]]))
    tensor([[2., 4.],
            [3., 6.]])
    """
    _checked("mul", a, b)
    if not _floating(a) and not _floating(b):
        return _on_integers("mul", np.multiply, a, b)
    if not isinstance(b, Tensor):
        return scaled(_as_floating(a), float(b))
    if not isinstance(a, Tensor):
        return scaled(_as_floating(b), float(a))
    a, b = broadcast("mul", a, b)
    kept_a, kept_b = (a if b.requires_grad else None), (b if a.requires_grad else None)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor | None, Tensor | None]:
        return (apply("mul", a=dy, b=kept_b) if needs[0] else None, apply("mul", a=dy, b=kept_a) if needs[1] else None)

    return record(apply("mul", a=a, b=b), "mul", (a, b), gradient, _present(kept_a, kept_b))


def _present(*tensors: Tensor | None) -> list[Tensor]:
    return [x for x in tensors if x is not None]


def div(a: Operand, b: Operand) -> Tensor:
    """``a / b``, element by element; of integers, in float32. See `add`.

    Examples
    --------
    >>> import nnfast
    >>> div(nnfast.tensor([1, 2]), 2)
    tensor([0.5000, 1.0000])
    """
    _checked("div", a, b)
    if not isinstance(b, Tensor):
        return _divided_by_number(_as_floating(a), float(b))
    if not isinstance(a, Tensor):
        return scaled(pow(_as_floating(b), -1), float(a))
    if not _floating(a) and not _floating(b):
        a, b = cast(a, float32), cast(b, float32)
    a, b = broadcast("div", a, b)
    y = apply("div", a=a, b=b)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor | None, Tensor | None]:
        da = apply("div", a=dy, b=b)
        if not needs[1]:
            return da, None
        return (da if needs[0] else None), apply("scale", x=apply("mul", a=da, b=y), alpha=-1.0, beta=0.0)

    return record(y, "div", (a, b), gradient, (b, y) if b.requires_grad else (b,))


def _divided_by_number(x: Tensor, number: float) -> Tensor:
    """Exact division: by a reciprocal only where that has no rounding error, which is for powers of two."""
    if number and math.isfinite(number) and math.frexp(number)[0] in (0.5, -0.5):
        return scaled(x, 1 / number)
    divisor = fresh(np.full((), number, x.dtype))
    return div(x, divisor)


def neg(input: Tensor) -> Tensor:
    """``-input``.

    Examples
    --------
    >>> import nnfast
    >>> neg(nnfast.tensor([1.0, -2.0]))
    tensor([-1.,  2.])
    """
    return scaled(input, -1.0) if input.is_floating_point() else _on_integers("neg", np.multiply, input, -1)


def pow(input: Operand, exponent: float) -> Tensor:
    """``input ** exponent``.

    Parameters
    ----------
    input : a floating tensor.
    exponent : a number.

    Raises
    ------
    NotImplementedError : a tensor as exponent, or an integer tensor as base.

    Examples
    --------
    >>> import nnfast
    >>> pow(nnfast.tensor([1.0, 2.0, 3.0]), 2)
    tensor([1., 4., 9.])
    """
    if isinstance(exponent, Tensor) or not isinstance(input, Tensor):
        raise NotImplementedError("pow: exponents that are tensors are not supported; the exponent must be a number")
    if not _is_number(exponent):
        raise TypeError(f"pow: exponent is {type(exponent).__name__}, expected a number")
    if not input.is_floating_point():
        raise NotImplementedError(
            f"pow: x is {input.dtype}; only floating tensors are supported; convert it with .float()"
        )
    power = float(exponent)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        if power == 0:
            return (apply("scale", x=dy, alpha=0.0, beta=0.0),)
        slope = apply(
            "scale", x=input if power == 2 else apply("power", x=input, exponent=power - 1), alpha=power, beta=0.0
        )
        return (apply("mul", a=dy, b=slope),)

    return record(apply("power", x=input, exponent=power), "pow", (input,), gradient, (input,))


def square(input: Tensor) -> Tensor:
    """``input ** 2``."""
    return pow(input, 2)


def sqrt(input: Tensor) -> Tensor:
    """The square root of every element.

    Examples
    --------
    >>> import nnfast
    >>> sqrt(nnfast.tensor([4.0, 9.0]))
    tensor([2., 3.])
    """
    return pow(input, 0.5)


def exp(input: Tensor) -> Tensor:
    """The exponential of every element.

    Examples
    --------
    >>> import nnfast
    >>> exp(nnfast.tensor([0.0]))
    tensor([1.])
    """
    y = apply("exp", x=_as_floating(input))
    return record(y, "exp", (input,), lambda dy, needs: (apply("mul", a=dy, b=y),), (y,))


def log(input: Tensor) -> Tensor:
    """The natural logarithm of every element.

    Examples
    --------
    >>> import nnfast
    >>> log(nnfast.tensor([1.0]))
    tensor([0.])
    """
    x = _as_floating(input)
    return record(apply("log", x=x), "log", (x,), lambda dy, needs: (apply("div", a=dy, b=x),), (x,))


def abs(input: Tensor) -> Tensor:
    """The absolute value of every element; its gradient at 0 is 0.

    Examples
    --------
    >>> import nnfast
    >>> abs(nnfast.tensor([-1.0, 2.0]))
    tensor([1., 2.])
    """
    if not input.is_floating_point():
        return fresh(np.abs(input.read()))
    positive, negative = (
        apply("relu_forward", x=input),
        apply("relu_forward", x=apply("scale", x=input, alpha=-1.0, beta=0.0)),
    )

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        return (
            apply(
                "add",
                a=apply("relu_backward", dy=dy, y=positive),
                b=apply("relu_backward", dy=dy, y=negative),
                alpha=-1.0,
            ),
        )

    y = apply("add", a=positive, b=negative, alpha=1.0)
    return record(y, "abs", (input,), gradient, (positive, negative))


# ---------------------------------------------------------------- comparison: read now, no gradient

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "&": operator.and_, "|": operator.or_,
}  # fmt: skip


def compare(symbol: str, a: Tensor, b: Operand) -> Any:
    """``a == b``, ``a < b``, ``a & b``... element by element; a bool tensor without gradient.

    Examples
    --------
    >>> import nnfast
    >>> compare("<", nnfast.tensor([1, 2, 3]), 2)
    tensor([ True, False, False])
    """
    if not isinstance(b, Tensor) and not _is_number(b):
        return NotImplemented
    x, y = a.read(), b.read() if isinstance(b, Tensor) else b
    try:
        return fresh(np.asarray(_COMPARISONS[symbol](x, y)))
    except ValueError:
        shape = list(typed(Any, y).shape)
        raise RuntimeError(f"{symbol}: shapes {list(a.shape)} and {shape} do not broadcast") from None


def logical_not(input: Tensor) -> Tensor:
    """True where a bool tensor is False; the bitwise complement of integers.

    Examples
    --------
    >>> import nnfast
    >>> logical_not(nnfast.tensor([True, False]))
    tensor([False,  True])
    """
    if input.is_floating_point():
        raise TypeError(f"~: x is {input.dtype}, expected bool or integers")
    return fresh(~input.read())
