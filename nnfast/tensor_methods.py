"""Tensor's methods that are operations: each is the function of the same name in `nnfast.functional`.

`nnfast.functional` is looked up when a method is called, for it stands above Tensor and imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

import nnfast

from .dtypes import as_dtype, bool_, float32, float64, int64

if TYPE_CHECKING:
    from .functional.reduce import Extremes
    from .tensor import Size, Tensor

Self = Any  # the class that mixes this in, Tensor, is not known here


def _sizes(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` mean the same."""
    given = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    return tuple(int(size) for size in given)


class TensorMethods:
    """Arithmetic, reductions, shapes, types and in-place changes of `Tensor`."""

    __slots__ = ()

    # ------------------------------------------------------------ arithmetic

    def add(self: Self, other: Any, *, alpha: float = 1) -> Tensor:
        """``self + alpha * other``; see `functional.add`."""
        return nnfast.functional.add(self, other, alpha=alpha)

    def sub(self: Self, other: Any, *, alpha: float = 1) -> Tensor:
        """``self - alpha * other``; see `functional.sub`."""
        return nnfast.functional.sub(self, other, alpha=alpha)

    def mul(self: Self, other: Any) -> Tensor:
        """``self * other``; see `functional.mul`."""
        return nnfast.functional.mul(self, other)

    def div(self: Self, other: Any) -> Tensor:
        """``self / other``; see `functional.div`."""
        return nnfast.functional.div(self, other)

    def pow(self: Self, exponent: float) -> Tensor:
        """``self ** exponent``; see `functional.pow`."""
        return nnfast.functional.pow(self, exponent)

    def matmul(self: Self, other: Tensor) -> Tensor:
        """``self @ other``; see `functional.matmul`."""
        return nnfast.functional.matmul(self, other)

    def neg(self: Self) -> Tensor:
        """``-self``."""
        return nnfast.functional.neg(self)

    def exp(self: Self) -> Tensor:
        """The exponential of every element."""
        return nnfast.functional.exp(self)

    def log(self: Self) -> Tensor:
        """The natural logarithm of every element."""
        return nnfast.functional.log(self)

    def sqrt(self: Self) -> Tensor:
        """The square root of every element."""
        return nnfast.functional.sqrt(self)

    def square(self: Self) -> Tensor:
        """The square of every element."""
        return nnfast.functional.square(self)

    def abs(self: Self) -> Tensor:
        """The absolute value of every element."""
        return nnfast.functional.abs(self)

    def relu(self: Self) -> Tensor:
        """``max(self, 0)``."""
        return nnfast.functional.relu(self)

    def sigmoid(self: Self) -> Tensor:
        """``1 / (1 + exp(-self))``."""
        return nnfast.functional.sigmoid(self)

    def tanh(self: Self) -> Tensor:
        """The hyperbolic tangent of every element."""
        return nnfast.functional.tanh(self)

    def softmax(self: Self, dim: int) -> Tensor:
        """See `functional.softmax`."""
        return nnfast.functional.softmax(self, dim)

    def log_softmax(self: Self, dim: int) -> Tensor:
        """See `functional.log_softmax`."""
        return nnfast.functional.log_softmax(self, dim)

    def __add__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.add(self, other)

    __radd__ = __add__

    def __sub__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.sub(self, other)

    def __rsub__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.sub(other, self)

    def __mul__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.mul(self, other)

    __rmul__ = __mul__

    def __truediv__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.div(self, other)

    def __rtruediv__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.div(other, self)

    def __pow__(self: Self, exponent: float) -> Tensor:
        return nnfast.functional.pow(self, exponent)

    def __matmul__(self: Self, other: Tensor) -> Tensor:
        return nnfast.functional.matmul(self, other)

    def __neg__(self: Self) -> Tensor:
        return nnfast.functional.neg(self)

    def __pos__(self: Self) -> Tensor:
        return self

    def __abs__(self: Self) -> Tensor:
        return nnfast.functional.abs(self)

    # ------------------------------------------------------------ comparison, forward only

    def __eq__(self: Self, other: Any) -> Any:
        return nnfast.functional.compare("==", self, other)

    def __ne__(self: Self, other: Any) -> Any:
        return nnfast.functional.compare("!=", self, other)

    def __lt__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.compare("<", self, other)

    def __le__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.compare("<=", self, other)

    def __gt__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.compare(">", self, other)

    def __ge__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.compare(">=", self, other)

    def eq(self: Self, other: Any) -> Tensor:
        """``self == other``, element by element."""
        return nnfast.functional.compare("==", self, other)

    def ne(self: Self, other: Any) -> Tensor:
        """``self != other``, element by element."""
        return nnfast.functional.compare("!=", self, other)

    def __and__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.compare("&", self, other)

    def __or__(self: Self, other: Any) -> Tensor:
        return nnfast.functional.compare("|", self, other)

    def __invert__(self: Self) -> Tensor:
        return nnfast.functional.logical_not(self)

    # ------------------------------------------------------------ reductions

    def sum(self: Self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        """See `functional.sum`."""
        return nnfast.functional.sum(self, dim, keepdim, dtype=dtype)

    def mean(self: Self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """See `functional.mean`."""
        return nnfast.functional.mean(self, dim, keepdim)

    def var(self: Self, dim: Any = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
        """See `functional.var`."""
        return nnfast.functional.var(self, dim, correction=correction, keepdim=keepdim)

    def std(self: Self, dim: Any = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
        """The square root of `var`."""
        return nnfast.functional.std(self, dim, correction=correction, keepdim=keepdim)

    def max(self: Self, dim: int | None = None, keepdim: bool = False) -> Tensor | Extremes:
        """See `functional.max`; forward only."""
        return nnfast.functional.max(self, dim, keepdim)

    def min(self: Self, dim: int | None = None, keepdim: bool = False) -> Tensor | Extremes:
        """See `functional.min`; forward only."""
        return nnfast.functional.min(self, dim, keepdim)

    def argmax(self: Self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """See `functional.argmax`."""
        return nnfast.functional.argmax(self, dim, keepdim)

    def argmin(self: Self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """See `functional.argmin`."""
        return nnfast.functional.argmin(self, dim, keepdim)

    def norm(self: Self) -> Tensor:
        """The square root of the sum of all squares."""
        return nnfast.functional.sqrt(nnfast.functional.sum(nnfast.functional.square(self)))

    def all(self: Self) -> Tensor:
        """Whether all elements are true; forward only."""
        return nnfast.tensor(self.read().all())

    def any(self: Self) -> Tensor:
        """Whether any element is true; forward only."""
        return nnfast.tensor(self.read().any())

    # ------------------------------------------------------------ shapes

    def dim(self: Self) -> int:
        """The number of dimensions."""
        return self.array.ndim

    def numel(self: Self) -> int:
        """The number of elements."""
        return self.array.size

    nelement = numel

    def size(self: Self, dim: int | None = None) -> Size | int:
        """The shape, or one size of it."""
        return self.shape if dim is None else self.shape[dim]

    def view(self: Self, *shape: Any) -> Tensor:
        """`reshape`; a copy where channels-last memory has another order, which then cannot be changed in place."""
        if len(shape) == 1 and not isinstance(shape[0], (int, tuple, list, np.integer)):
            raise NotImplementedError(
                f"view: {shape[0]!r} is not a shape; views of memory as another type are not supported"
            )
        return nnfast.functional.reshape(self, _sizes(shape), "view")

    def view_as(self: Self, other: Tensor) -> Tensor:
        """``view(other.shape)``."""
        return nnfast.functional.reshape(self, other.shape, "view")

    def reshape(self: Self, *shape: Any) -> Tensor:
        """See `functional.reshape`."""
        return nnfast.functional.reshape(self, _sizes(shape))

    def flatten(self: Self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """See `functional.flatten`."""
        return nnfast.functional.flatten(self, start_dim, end_dim)

    def unflatten(self: Self, dim: int, sizes: Any) -> Tensor:
        """See `functional.unflatten`."""
        return nnfast.functional.unflatten(self, dim, sizes)

    def permute(self: Self, *dims: Any) -> Tensor:
        """See `functional.permute`."""
        return nnfast.functional.permute(self, _sizes(dims))

    def transpose(self: Self, dim0: int, dim1: int) -> Tensor:
        """See `functional.transpose`."""
        return nnfast.functional.transpose(self, dim0, dim1)

    def t(self: Self) -> Tensor:
        """The transposed matrix."""
        return nnfast.functional.t(self)

    @property
    def T(self: Self) -> Tensor:
        """The transposed matrix."""
        return nnfast.functional.t(self)

    def squeeze(self: Self, dim: Any = None) -> Tensor:
        """See `functional.squeeze`."""
        return nnfast.functional.squeeze(self, dim)

    def unsqueeze(self: Self, dim: int) -> Tensor:
        """See `functional.unsqueeze`."""
        return nnfast.functional.unsqueeze(self, dim)

    def expand(self: Self, *sizes: Any) -> Tensor:
        """See `functional.expand`."""
        return nnfast.functional.expand(self, _sizes(sizes))

    def expand_as(self: Self, other: Tensor) -> Tensor:
        """``expand(other.shape)``."""
        return nnfast.functional.expand(self, other.shape)

    def chunk(self: Self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """See `functional.chunk`."""
        return nnfast.functional.chunk(self, chunks, dim)

    def split(self: Self, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """See `functional.split`."""
        return nnfast.functional.split(self, split_size, dim)

    def unbind(self: Self, dim: int = 0) -> tuple[Tensor, ...]:
        """See `functional.unbind`."""
        return nnfast.functional.unbind(self, dim)

    def contiguous(self: Self, memory_format: Any = None) -> Tensor:
        """The tensor itself: each rank has one memory order."""
        return self

    def clone(self: Self, memory_format: Any = None) -> Tensor:
        """A copy; gradients flow through it."""
        return nnfast.functional.clone(self)

    def __getitem__(self: Self, key: Any) -> Tensor:
        return nnfast.functional.index(self, key)

    def __setitem__(self: Self, key: Any, value: Any) -> None:
        nnfast.functional.set_index(self, key, value)

    def __iter__(self: Self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(nnfast.functional.unbind(self, 0))

    def __contains__(self: Self, value: Any) -> bool:
        return bool((self.read() == value).any())

    # ------------------------------------------------------------ types

    def to(
        self: Self,
        *args: Any,
        dtype: Any = None,
        device: Any = None,
        non_blocking: bool = False,
        copy: bool = False,
        memory_format: Any = None,
    ) -> Tensor:
        """The tensor as another type; devices other than the CPU are refused.

        Parameters
        ----------
        args : a dtype, a device, both, or a tensor whose type is taken.
        dtype, device : the same by name.
        copy : whether to copy even where nothing changes.
        non_blocking, memory_format : accepted, without effect.
        """
        dtype = nnfast.functional.conversion_target(args, dtype, device)
        if dtype is not None and dtype != self.dtype:
            return nnfast.functional.cast(self, dtype)
        return nnfast.functional.clone(self) if copy else self

    def type_as(self: Self, other: Tensor) -> Tensor:
        """The tensor as the type of `other`."""
        return self.to(other.dtype)

    def float(self: Self) -> Tensor:
        """The tensor as float32."""
        return self.to(float32)

    def double(self: Self) -> Tensor:
        """The tensor as float64; only the reference backend computes with it."""
        return self.to(float64)

    def long(self: Self) -> Tensor:
        """The tensor as int64."""
        return self.to(int64)

    def int(self: Self) -> Tensor:
        """The tensor as int32."""
        return self.to(as_dtype("int32", "int"))

    def bool(self: Self) -> Tensor:
        """The tensor as bool: True where it is not zero."""
        return self.to(bool_)

    def cpu(self: Self) -> Tensor:
        """The tensor itself."""
        return self

    def cuda(self: Self, device: Any = None) -> Tensor:
        """Not supported."""
        raise NotImplementedError("cuda: nnfast runs on 'cpu' only")

    # ------------------------------------------------------------ changes in place

    def add_(self: Self, other: Any, *, alpha: Any = 1) -> Tensor:
        """``self += alpha * other``."""
        return nnfast.functional.change(self, nnfast.functional.add, other, alpha=alpha)

    def sub_(self: Self, other: Any, *, alpha: Any = 1) -> Tensor:
        """``self -= alpha * other``."""
        return nnfast.functional.change(self, nnfast.functional.sub, other, alpha=alpha)

    def mul_(self: Self, other: Any) -> Tensor:
        """``self *= other``."""
        return nnfast.functional.change(self, nnfast.functional.mul, other)

    def div_(self: Self, other: Any) -> Tensor:
        """``self /= other``."""
        return nnfast.functional.change(self, nnfast.functional.div, other)

    __iadd__ = add_
    __isub__ = sub_
    __imul__ = mul_
    __itruediv__ = div_

    def relu_(self: Self) -> Tensor:
        """`relu` in place."""
        return nnfast.functional.relu(self, inplace=True)

    def zero_(self: Self) -> Tensor:
        """Set every element to 0."""
        return nnfast.functional.fill_(self, 0)

    def fill_(self: Self, value: Any) -> Tensor:
        """Set every element to `value`."""
        return nnfast.functional.fill_(self, value)

    def copy_(self: Self, src: Tensor, non_blocking: Any = False) -> Tensor:
        """Set the elements to those of `src`, which is broadcast and converted."""
        return nnfast.functional.copy_(self, src)

    def uniform_(self: Self, a: Any = 0.0, b: Any = 1.0, generator: Any = None) -> Tensor:
        """Set the elements to random numbers between `a` and `b`."""
        return nnfast.functional.copy_(self, nnfast.creation.uniform(self.shape, a, b, self.dtype, generator))

    def normal_(self: Self, mean: Any = 0.0, std: Any = 1.0, *, generator: Any = None) -> Tensor:
        """Set the elements to normally distributed random numbers."""
        return nnfast.functional.copy_(self, nnfast.creation.normal(self.shape, mean, std, self.dtype, generator))
