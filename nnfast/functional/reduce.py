"""Reductions: sums and means by kernels; extremes, which are read at once and have no gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nnfast.dtypes import as_dtype, int64
from nnfast.tape import record
from nnfast.tensor import Tensor, fresh, ordered, recording

from .arithmetic import scaled, square, sub
from .arithmetic import sqrt as square_root
from .broadcast import reduce, spread
from .cast import cast
from .shape import dimension, reshape

Dims = int | Sequence[int] | None


def _dims(x: Tensor, dim: Dims) -> list[int]:
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return list(range(x.ndim))
    dims = [dimension(x, d) for d in ([dim] if isinstance(dim, int) else dim)]
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {dims[0]} appears multiple times in the list of dims")
    return [d for d in dims if x.ndim]


def _reduced(name: str, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    dims = _dims(x, dim)
    before = tuple(x.shape)
    y = record(reduce(name, x, dims), name, (x,), lambda dy, needs: (spread(name, dy, before, dims),))
    if y.storage is x.storage and y.node is None:
        y = y.clone()  # nothing was reduced; the result must still be a tensor of its own
    return y if keepdim or not dims else reshape(y, [size for d, size in enumerate(before) if d not in dims])


def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum of all elements, or over some dimensions.

    Parameters
    ----------
    input : any tensor; integers and bools are summed in int64.
    dim : the dimension or dimensions to sum over; all by default.
    keepdim : whether they stay, with size 1.
    dtype : convert to this type first.

    Raises
    ------
    IndexError : a dimension that the tensor does not have.

    Examples
    --------
    >>> import nnfast
    >>> sum(nnfast.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=0)
    tensor([4., 6.])
    """
    x = input if dtype is None else cast(input, as_dtype(dtype, "sum"))
    if not x.is_floating_point():
        return _of_integers(np.sum, x, dim, keepdim)
    return _reduced("sum", x, dim, keepdim)


def _of_integers(function: Any, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """A sum of integers: by NumPy, at once."""
    summed = function(x.read(), axis=tuple(_dims(x, dim)), keepdims=keepdim, dtype=int64)
    return fresh(np.asarray(summed))


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The mean of all elements, or over some dimensions; see `sum`.

    Raises
    ------
    RuntimeError : a tensor of integers or bools.

    Examples
    --------
    >>> import nnfast
    >>> mean(nnfast.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=1)
    tensor([1.5000, 3.5000])
    """
    if not input.is_floating_point():
        raise RuntimeError(
            f"mean(): could not infer output dtype. Input dtype must be a floating point dtype. Got: {input.dtype}"
        )
    return _reduced("mean", input, dim, keepdim)


def var(input: Tensor, dim: Dims = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The variance: the sum of squared distances from the mean over (count - correction).

    Examples
    --------
    >>> import nnfast
    >>> var(nnfast.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    dims = _dims(input, dim)
    count = math.prod(input.shape[d] for d in dims)
    total = sum(square(sub(input, mean(input, dims, keepdim=True))), dims, keepdim)
    return scaled(total, 1 / (count - correction) if count > correction else math.nan)


def std(input: Tensor, dim: Dims = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The standard deviation, the square root of `var`.

    Examples
    --------
    >>> import nnfast
    >>> std(nnfast.tensor([1.0, 3.0, 5.0]))
    tensor(2.)
    """
    return square_root(var(input, dim, correction=correction, keepdim=keepdim))


class Extremes(NamedTuple):
    """The extreme elements along a dimension, and where they stand."""

    values: Tensor
    indices: Tensor


def _extreme(name: str, x: Tensor, dim: int | None, keepdim: bool) -> Tensor | Extremes:
    if recording(x):
        raise NotImplementedError(f"{name}: has no gradient; call it on x.detach(), or under nnfast.no_grad()")
    if x.numel() == 0:
        raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0")
    values = x.read()
    if dim is None:
        return fresh(np.asarray(getattr(values, name)()))
    axis = dimension(x, dim)
    indices = getattr(values, f"arg{name}")(axis=axis, keepdims=True)
    found = np.take_along_axis(values, indices, axis)
    if not keepdim:
        found, indices = found.squeeze(axis), indices.squeeze(axis)
    return Extremes(fresh(ordered(found)), fresh(ordered(indices)))


def max(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | Extremes:
    """The largest element; along a dimension, the largest elements and their indices. Read at once, no gradient.

    Raises
    ------
    NotImplementedError : a tensor that requires a gradient, while gradients are recorded.

    Examples
    --------
    >>> import nnfast
    >>> max(nnfast.tensor([1, 3, 2]))
    tensor(3)
    """
    return _extreme("max", input, dim, keepdim)


def min(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | Extremes:
    """The smallest element; see `max`.

    Examples
    --------
    >>> import nnfast
    >>> min(nnfast.tensor([1, 3, 2]), 0).indices
    tensor(0)
    """
    return _extreme("min", input, dim, keepdim)


def _where_extreme(name: str, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    values = x.read()
    if dim is None:
        flat = np.asarray(getattr(values, name)())  # in the order of the shape, whatever the memory order
        return fresh(flat.reshape((1,) * x.ndim) if keepdim else flat)
    return fresh(np.asarray(getattr(values, name)(axis=dimension(x, dim), keepdims=keepdim)))


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest element, of all or along a dimension; the first of equal ones. Read at once.

    Examples
    --------
    >>> import nnfast
    >>> argmax(nnfast.tensor([[1.0, 3.0], [5.0, 2.0]]), dim=1)
    tensor([1, 0])
    """
    return _where_extreme("argmax", input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the smallest element; see `argmax`.

    Examples
    --------
    >>> import nnfast
    >>> argmin(nnfast.tensor([3, 1, 2]))
    tensor(1)
    """
    return _where_extreme("argmin", input, dim, keepdim)
