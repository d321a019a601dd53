"""Matrix products."""

from __future__ import annotations

from nnfast.dispatch import apply, reinterpret
from nnfast.tape import record
from nnfast.tensor import Tensor

from .broadcast import reduce
from .shape import reshape


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``.

    Parameters
    ----------
    input : (..., I).
    weight : (O, I).
    bias : (O,), or None.

    Returns
    -------
    Tensor
        (..., O).

    Raises
    ------
    ValueError : shapes that do not fit.
    TypeError : types that differ or are not floating.

    Examples
    --------
    >>> import nnfast
    >>> linear(nnfast.ones(2, 3), nnfast.ones(4, 3)).shape
    nnfast.Size([2, 4])
    """
    _check_linear(input, weight, bias)
    if input.ndim != 2:
        y = linear(reshape(input, (-1 if input.numel() else _rows_of(input), weight.shape[1])), weight, bias)
        return reshape(y, (*input.shape[:-1], weight.shape[0]))
    y = apply("linear_forward", x=input, w=weight, b=bias)
    kept_x, kept_w = (input if weight.requires_grad else None), (weight if input.requires_grad else None)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
        dx = apply("linear_backward_data", dy=dy, w=kept_w) if needs[0] else None
        dw = apply("linear_backward_weight", x=kept_x, dy=dy) if needs[1] else None
        db = reinterpret(reduce("sum", dy, (0,)), -1) if needs[2] else None
        return dx, dw, db

    saves = [kept for kept in (kept_x, kept_w) if kept is not None]
    return record(y, "linear", (input, weight, bias), gradient, saves)


def _rows_of(x: Tensor) -> int:
    rows = 1
    for size in x.shape[:-1]:
        rows *= size
    return rows


def _check_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        found = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"linear: x is {found}, expected a Tensor of float32")
    if weight.ndim != 2:
        raise ValueError(f"linear: weight has shape {list(weight.shape)}, expected (O, I)")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: x has shape {list(x.shape)}, weight expects (..., {weight.shape[1]})")
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and value.dtype != x.dtype:
            raise TypeError(f"linear: {name} is {value.dtype}, expected {x.dtype} as x")
    if bias is not None and bias.shape != (weight.shape[0],):
        raise ValueError(f"linear: bias has shape {list(bias.shape)}, expected [{weight.shape[0]}]")


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The product of two matrices.

    Parameters
    ----------
    a : (M, I).
    b : (I, O).

    Returns
    -------
    Tensor
        (M, O).

    Raises
    ------
    NotImplementedError : tensors that are no matrices.
    RuntimeError : sizes that do not fit.
    TypeError : types that differ or are not floating.

    Examples
    --------
    >>> import nnfast
    >>> matmul(nnfast.tensor([[1.0, 2.0]]), nnfast.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    for name, value in (("a", a), ("b", b)):
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype != a.dtype:
            found = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"matmul: {name} is {found}, expected a Tensor of float32")
    if a.ndim != 2 or b.ndim != 2:
        raise NotImplementedError(
            f"matmul: shapes {list(a.shape)} and {list(b.shape)} are not supported; only two matrices are"
        )
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]})"
        )
    # linear_backward_data(dy, w) is dy @ w: the product without any transposition.
    y = apply("linear_backward_data", dy=a, w=b)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor | None, Tensor | None]:
        da = apply("linear_forward", x=dy, w=b, b=None) if needs[0] else None
        db = apply("linear_backward_weight", x=dy, dy=a) if needs[1] else None
        return da, db

    return record(y, "mm", (a, b), gradient, (a, b))
