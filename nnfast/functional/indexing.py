"""Indexing, and changes in place.

Integers, slices, Ellipsis and None give what `shape.index_basic` says. Index tensors are read, and gathered by NumPy,
at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnfast.dispatch import apply
from nnfast.tape import record
from nnfast.tensor import Tensor, fresh, recording
from nnfast.tracing import recorder

from .arithmetic import add, sub
from .cast import cast
from .shape import copied, copy_view, index_basic


def index(x: Tensor, key: Any) -> Tensor:
    """``x[key]``.

    Parameters
    ----------
    x : any tensor.
    key : integers, slices, Ellipsis, None, integer or bool tensors (or arrays, or lists), or a tuple of them.

    Raises
    ------
    IndexError : indices outside of the tensor, too many of them, or of another type.

    Examples
    --------
    >>> import nnfast
    >>> index(nnfast.arange(5), slice(1, None, 2))
    tensor([1, 3])
    >>> index(nnfast.arange(5), nnfast.tensor([4, 0]))
    tensor([4, 0])
    """
    parts = _parts(key)
    try:
        return _gather(x, parts) if _advanced(parts) else index_basic(x, parts)
    except IndexError as error:
        raise IndexError(f"index: {error}, for a tensor of shape {list(x.shape)}") from None


def _parts(key: Any) -> tuple[Any, ...]:
    parts = key if isinstance(key, tuple) else (key,)
    return tuple(_readable(part) for part in parts)


def _readable(part: Any) -> Any:
    if isinstance(part, Tensor):
        values = part.read()
        if values.dtype.kind not in "biu":
            raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, got {part.dtype}")
        return int(values) if values.ndim == 0 and values.dtype.kind != "b" else values
    if isinstance(part, slice) and part.step is not None and part.step <= 0:
        raise ValueError("step must be greater than zero")
    if isinstance(part, list):
        return np.asarray(part, None if part else np.int64)
    return part


def _advanced(parts: tuple[Any, ...]) -> bool:
    return any(isinstance(part, (np.ndarray, bool, np.bool_)) for part in parts)


def _gather(x: Tensor, key: tuple[Any, ...]) -> Tensor:
    """``x[key]`` with index arrays: by NumPy, at once; its gradient adds up what was taken several times."""
    y = fresh(np.asarray(x.read()[key]))
    before, dtype = tuple(x.shape), x.dtype

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        dx = np.zeros(before, dtype)
        np.add.at(dx, key, dy.read())
        return (fresh(dx),)

    return record(y, "index", (x,), gradient)


# ---------------------------------------------------------------- changes in place


def check_changeable(x: Tensor, call: str, *others: Tensor | None) -> None:
    """See that `x` may be changed in place by `call`, computed from `others` too.

    Raises
    ------
    RuntimeError : a leaf that requires a gradient, while gradients are recorded.
    NotImplementedError : a tensor that shares memory with views, or that is a copy where PyTorch has a view.
    """
    if x.storage.copy_of is not None:
        raise NotImplementedError(
            f"{call}: the tensor came from {x.storage.copy_of}(), which copies here where PyTorch gives a view, so a "
            "change in place would not reach the original; clone() it, or index the original: x[...] = value"
        )
    if not recording(x, *others):
        return
    if x.requires_grad and x.is_leaf:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    if x.storage.viewed:
        raise NotImplementedError(
            f"{call}: the tensor shares memory with a view, and changing both in place on the tape is "
            "not supported; write y = f(x), or use nnfast.no_grad()"
        )


def change(x: Tensor, operation: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """``x = operation(x, ...)`` in the memory of `x`.

    Raises
    ------
    RuntimeError : a result of another shape or type; see also `check_changeable`.
    """
    name = f"{operation.__name__}_"
    others = [arg for arg in args if isinstance(arg, Tensor)]
    check_changeable(x, name, *others)
    # The gradient of a product needs the old values; that of a sum does not.
    keeps = recording(x, *others) and operation not in (add, sub)
    y = operation(_remembered(x) if keeps else x, *args, **kwargs)
    if y.shape != x.shape:
        raise RuntimeError(
            f"{name}: output with shape {list(x.shape)} doesn't match the broadcast shape {list(y.shape)}"
        )
    if y.dtype != x.dtype:
        raise RuntimeError(f"{name}: result type {y.dtype} can't be cast to the desired output type {x.dtype}")
    copy_view(x, x.array, y, y.array)
    become(x, y)
    return x


def _remembered(x: Tensor) -> Tensor:
    """A copy of the values in x's place on the tape."""
    made = copied(x, x.array)
    made.node, made._requires_grad = x.node, x.requires_grad
    return made


def become(x: Tensor, y: Tensor) -> None:
    """Give `x`, whose memory now holds y's values, y's place on the tape."""
    if y.node is not None:
        x.node = y.node
        x._requires_grad = True


def fill_(x: Tensor, value: float) -> Tensor:
    """Set every element to a number; see `Tensor.fill_`."""
    check_changeable(x, "fill_")
    number = value.item() if isinstance(value, Tensor) else value
    if x.node is not None:
        raise NotImplementedError(
            "fill_: of a computed tensor on the tape is not supported; use nnfast.no_grad() or detach()"
        )
    if x.is_floating_point() and recorder() is None and x.storage.capture is None:
        with np.errstate(over="ignore"):  # too large a number is infinite, as in kernels
            x.memory.fill(float(number))  # as fast as a kernel, and initial values need none
        x.storage.version += 1
    elif x.is_floating_point():
        apply("fill", y=x, value=float(number))
    else:
        source = fresh(np.asarray(number, x.dtype))
        copy_view(x, x.array, source, np.broadcast_to(source.array, x.shape))
    return x


def copy_(x: Tensor, source: Tensor) -> Tensor:
    """Set the elements to those of `source`, broadcast and converted; see `Tensor.copy_`."""
    if not isinstance(source, Tensor):
        raise TypeError(f"copy_: src is {type(source).__name__}, expected a Tensor")
    check_changeable(x, "copy_", source)
    _overwrite(x, x.array, source, "copy_")
    return x


def _overwrite(x: Tensor, view: np.ndarray, source: Tensor, call: str) -> None:
    if recording(x, source):
        raise NotImplementedError(
            f"{call}: recording a gradient through a copy in place is not supported; build the tensor "
            "with nnfast.cat or arithmetic, or use nnfast.no_grad()"
        )
    source = cast(source, x.dtype)
    try:
        source_view = np.broadcast_to(source.array, view.shape)
    except ValueError:
        raise RuntimeError(
            f"{call}: The expanded size of the tensor {list(view.shape)} must match the existing size "
            f"{list(source.shape)}"
        ) from None
    if np.may_share_memory(view, source.array):
        source = copied(source, source.array)
        source_view = np.broadcast_to(source.array, view.shape)
    copy_view(x, view, source, source_view)


def set_index(x: Tensor, key: Any, value: Any) -> None:
    """``x[key] = value``.

    Raises
    ------
    RuntimeError : a leaf that requires a gradient, or a value of another shape.
    NotImplementedError : gradients would have to be recorded.
    """
    source = value if isinstance(value, Tensor) else fresh(np.array(value, x.dtype))
    check_changeable(x, "x[...] = value", source)
    parts = _parts(key)
    if not _advanced(parts):
        _overwrite(
            x, x.array[parts if any(part is Ellipsis for part in parts) else (*parts, ...)], source, "x[...] = value"
        )
        return
    if recording(x, source):
        raise NotImplementedError(
            "x[...] = value: recording a gradient through it is not supported; use nnfast.no_grad()"
        )
    _scatter(x, parts, source)


def _scatter(x: Tensor, key: tuple[Any, ...], source: Tensor) -> None:
    """``x[key] = source`` with index arrays: by NumPy, at once."""
    capture = recorder()
    if capture is not None:
        capture.changes(x)
    try:
        x.read()[key] = source.read()
    except ValueError as error:
        raise RuntimeError(f"x[...] = value: {error}") from None
    x.storage.version += 1
