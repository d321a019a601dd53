"""Shapes: views and copies.

Where the result lies in the same order in the same memory it is a view, as in PyTorch. Everything else (permuting,
slicing across memory, flattening channels-last images) is one strided copy: NumPy works out offset and strides of a
view without touching a number, and `copy_strided` does the copying.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast.dispatch import allocate, apply, filled, reinterpret
from nnfast.tape import record
from nnfast.tensor import Tensor, in_order, memory_shape, wrap
from nnfast.tracing import recorder

from .broadcast import sum_to

MAX_LOOPS = 6  # of copy_strided


# ---------------------------------------------------------------- copies


def copy_view(target: Tensor, target_view: np.ndarray, source: Tensor, source_view: np.ndarray) -> None:
    """Copy elements between views of two tensors' arrays; both views have the same shape.

    Raises
    ------
    NotImplementedError : views that need more than six nested loops.
    """
    if target_view.size == 0:
        return
    capture = recorder()
    size = target.dtype.itemsize
    if not target.is_floating_point():
        if capture is not None and capture.copies(target, target_view, source, source_view):
            return
        if capture is None or size % 4:
            _copy_by_numpy(target, target_view, source, source_view)
            return
        size = 4  # kernels copy floats; to a plan integers are as many words of the length of one
    if capture is None and _moves(target, target_view, source, source_view):
        _copy_by_numpy(target, target_view, source, source_view)  # as fast, and drawing weights needs no kernel
        return
    shape, x_strides, y_strides = _loops(source_view, target_view, size)
    apply(
        "copy_strided",
        x=_elements(source, size),
        y=_elements(target, size),
        shape=shape,
        x_strides=x_strides,
        y_strides=y_strides,
        x_offset=_offset(source, source_view, size),
        y_offset=_offset(target, target_view, size),
    )


def _copy_by_numpy(target: Tensor, target_view: np.ndarray, source: Tensor, source_view: np.ndarray) -> None:
    """Copy at once, without a kernel."""
    capture = recorder()
    if capture is not None:
        capture.changes(target)
        capture.reads(source)
    np.copyto(target_view, source_view)
    target.storage.version += 1


def _moves(target: Tensor, target_view: np.ndarray, source: Tensor, source_view: np.ndarray) -> bool:
    """Whether a copy at once is one of memory as it lies, and of no values that a plan will compute."""
    as_it_lies = in_order(target_view) and in_order(source_view)
    return as_it_lies and target.storage.capture is None and source.storage.capture is None


def _elements(x: Tensor, size: int) -> Tensor:
    """The memory of a tensor as one row of floats of so many bytes."""
    flat = reinterpret(x, -1)
    return flat if x.is_floating_point() else wrap(flat.array.view(f"f{size}"), x.storage)


def _offset(x: Tensor, view: np.ndarray, size: int) -> int:
    return (view.__array_interface__["data"][0] - x.array.__array_interface__["data"][0]) // size


def _loops(x: np.ndarray, y: np.ndarray, itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Six loops over two views, y's memory innermost: neighbours that can be one loop are."""
    loops = [
        (size, x_stride // itemsize, y_stride // itemsize)
        for size, x_stride, y_stride in zip(x.shape, x.strides, y.strides, strict=True)
        if size != 1
    ]
    if x.dtype.itemsize > itemsize:
        loops.append((x.dtype.itemsize // itemsize, 1, 1))
    loops.sort(key=lambda loop: -abs(loop[2]))
    merged: list[tuple[int, int, int]] = []
    for size, x_stride, y_stride in loops:
        if merged and merged[-1][1:] == (size * x_stride, size * y_stride):
            size *= merged.pop()[0]
        merged.append((size, x_stride, y_stride))
    if len(merged) > MAX_LOOPS:
        raise NotImplementedError(
            f"a copy between shapes of {len(merged)} dimensions; at most {MAX_LOOPS} are supported"
        )
    merged = [(1, 0, 0)] * (MAX_LOOPS - len(merged)) + merged
    shape, x_strides, y_strides = zip(*merged, strict=True)
    return shape, x_strides, y_strides


def _taken(x: Tensor, view: np.ndarray) -> Tensor:
    """The tensor that NumPy's `view` of x's array stands for: a view if it is in order, else a copy; off the tape."""
    if not in_order(view):
        return copied(x, view)
    capture = recorder()
    if capture is not None:
        capture.views(x)
    return wrap(view, x.storage)


def copied(x: Tensor, view: np.ndarray) -> Tensor:
    """A tensor with the elements of a view of x's array; off the tape."""
    made = allocate(view.shape, x.dtype)
    copy_view(made, made.array, x, view)
    return made


def _noted(y: Tensor, x: Tensor, call: str) -> Tensor:
    """Write down, for changes in place, whether `y` is a view of `x` or a copy where PyTorch has a view."""
    if y.storage is x.storage:
        x.storage.viewed = True
    else:
        y.storage.copy_of = call
    return y


def clone(input: Tensor) -> Tensor:
    """A copy of a tensor; gradients flow through it.

    Examples
    --------
    >>> import nnfast
    >>> clone(nnfast.tensor([1, 2]))
    tensor([1, 2])
    """
    return record(copied(input, input.array), "clone", (input,), lambda dy, needs: (dy,))


# ---------------------------------------------------------------- other shapes, the same elements


def _flat_order(shape: tuple[int, ...]) -> bool:
    """Whether the memory of a tensor of this shape lists its elements in the order of the shape."""
    return len(shape) != 4 or shape[1] == 1 or shape[2] * shape[3] == 1


def _reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    if x.shape == shape or (_flat_order(x.shape) and _flat_order(shape)):
        return reinterpret(x, *memory_shape(shape))
    flat = x
    if not _flat_order(x.shape):
        flat = allocate((x.numel(),), x.dtype)
        copy_view(flat, flat.array.reshape(x.shape), x, x.array)
        if _flat_order(shape):
            return reinterpret(flat, *memory_shape(shape))
    return copied(flat, flat.memory.reshape(shape))


def _full_shape(x: Tensor, shape: Sequence[int], call: str) -> tuple[int, ...]:
    """`shape` with its -1 worked out."""
    sizes = tuple(shape)
    if sizes.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if any(size < -1 for size in sizes):
        raise RuntimeError(f"{call}: invalid shape dimension {min(sizes)}")
    if -1 in sizes:
        rest = math.prod(size for size in sizes if size != -1)
        if rest == 0:
            raise RuntimeError(
                f"cannot reshape tensor of {x.numel()} elements into shape {list(sizes)} because the "
                "unspecified dimension size -1 can be any value and is ambiguous"
            )
        if x.numel() % rest == 0:
            return tuple(x.numel() // rest if size == -1 else size for size in sizes)
    elif math.prod(sizes) == x.numel():
        return sizes
    raise RuntimeError(f"shape '{list(sizes)}' is invalid for input of size {x.numel()}")


def reshape(input: Tensor, shape: Sequence[int], call: str = "reshape") -> Tensor:
    """The elements of a tensor, in order, under another shape.

    Parameters
    ----------
    input : any tensor.
    shape : sizes with the same product; one of them may be -1 and follows from the others.
    call : what to name in errors.

    Returns
    -------
    Tensor
        A view where memory allows; a copy between images (four dimensions, channels-last) and other shapes.

    Raises
    ------
    RuntimeError : a shape for another number of elements.

    Examples
    --------
    >>> import nnfast
    >>> reshape(nnfast.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    before, after = tuple(input.shape), _full_shape(input, shape, call)
    return record(
        _noted(_reshaped(input, after), input, call), call, (input,), lambda dy, needs: (_reshaped(dy, before),)
    )


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Make one dimension of several neighbouring ones.

    Parameters
    ----------
    input : any tensor.
    start_dim, end_dim : the first and the last dimension to join.

    Raises
    ------
    IndexError : dimensions that the tensor does not have.
    RuntimeError : `start_dim` after `end_dim`.

    Examples
    --------
    >>> import nnfast
    >>> flatten(nnfast.ones(2, 3, 4, 5), 1).shape
    nnfast.Size([2, 60])
    """
    first, last = dimension(input, start_dim), dimension(input, end_dim)
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if input.ndim == 0:
        return reshape(input, (1,), "flatten")
    joined = math.prod(input.shape[first : last + 1])
    return reshape(input, (*input.shape[:first], joined, *input.shape[last + 1 :]), "flatten")


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Make several dimensions of one.

    Parameters
    ----------
    input : any tensor.
    dim : the dimension to split.
    sizes : the sizes to split it into; one may be -1.

    Raises
    ------
    RuntimeError : sizes whose product is not that of the dimension.

    Examples
    --------
    >>> import nnfast
    >>> unflatten(nnfast.ones(2, 12), 1, (3, 4)).shape
    nnfast.Size([2, 3, 4])
    """
    axis = dimension(input, dim)
    known = math.prod(size for size in sizes if size != -1)
    full = tuple(input.shape[axis] // max(known, 1) if size == -1 else int(size) for size in sizes)
    if math.prod(full) != input.shape[axis]:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {axis} "
            f"({input.shape[axis]}) in the input tensor"
        )
    return reshape(input, (*input.shape[:axis], *full, *input.shape[axis + 1 :]), "unflatten")


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Drop dimensions of size 1: all of them, or those named if they have size 1.

    Examples
    --------
    >>> import nnfast
    >>> squeeze(nnfast.ones(2, 1, 3)).shape
    nnfast.Size([2, 3])
    """
    dims = range(input.ndim) if dim is None else [dimension(input, d) for d in ([dim] if isinstance(dim, int) else dim)]
    return reshape(input, [size for axis, size in enumerate(input.shape) if axis not in dims or size != 1], "squeeze")


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Insert a dimension of size 1 at `dim`.

    Examples
    --------
    >>> import nnfast
    >>> unsqueeze(nnfast.ones(2, 3), 0).shape
    nnfast.Size([1, 2, 3])
    """
    axis = dimension(input, dim, extra=1)
    return reshape(input, (*input.shape[:axis], 1, *input.shape[axis:]), "unsqueeze")


def dimension(x: Tensor, dim: int, extra: int = 0) -> int:
    """`dim` counted from the front.

    Raises
    ------
    IndexError : a dimension that the tensor does not have.
    """
    count = max(x.ndim + extra, 1)
    number = operator.index(dim)
    if not -count <= number < count:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-count}, {count - 1}], but got {number})"
        )
    return number % count


# ---------------------------------------------------------------- other orders


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """The dimensions in another order: dimension i of the result is ``dims[i]`` of `input`.

    Raises
    ------
    RuntimeError : `dims` that do not name every dimension once.

    Examples
    --------
    >>> import nnfast
    >>> permute(nnfast.ones(2, 3, 4), (2, 0, 1)).shape
    nnfast.Size([4, 2, 3])
    """
    if len(dims) != input.ndim:
        raise RuntimeError(f"permute: input has {input.ndim} dimensions, but dims names {len(dims)}: {list(dims)}")
    order = [dimension(input, dim) for dim in dims]
    if len(set(order)) != len(order):
        raise RuntimeError(f"permute: dims {list(dims)} names a dimension twice")
    inverse = np.argsort(order)
    return record(
        _noted(_taken(input, input.array.transpose(order)), input, "permute"),
        "permute",
        (input,),
        lambda dy, needs: (_taken(dy, dy.array.transpose(inverse)),),
    )


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Swap two dimensions.

    Examples
    --------
    >>> import nnfast
    >>> transpose(nnfast.tensor([[1, 2, 3]]), 0, 1).shape
    nnfast.Size([3, 1])
    """
    order = list(range(input.ndim))
    first, second = dimension(input, dim0), dimension(input, dim1)
    if order:
        order[first], order[second] = order[second], order[first]
    return permute(input, order)


def t(input: Tensor) -> Tensor:
    """The transposed matrix; vectors and numbers stay as they are.

    Raises
    ------
    RuntimeError : more than two dimensions.
    """
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return permute(input, range(input.ndim)[::-1])


def expand(input: Tensor, sizes: Sequence[int]) -> Tensor:
    """Repeat dimensions of size 1 up to `sizes`; -1 keeps a size. A copy, where PyTorch gives a view.

    Raises
    ------
    RuntimeError : sizes that the tensor does not broadcast to.

    Examples
    --------
    >>> import nnfast
    >>> expand(nnfast.tensor([[1], [2]]), (2, 2))
    tensor([[1, 1],
            [2, 2]])
    """
    extra = len(sizes) - input.ndim
    if extra < 0:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(sizes)}) must be greater or equal to the number "
            f"of dimensions in the tensor ({input.ndim})"
        )
    before, after = (
        tuple(input.shape),
        tuple(input.shape[i - extra] if s == -1 and i >= extra else s for i, s in enumerate(sizes)),
    )
    for axis, (old, new) in enumerate(zip(before, after[extra:], strict=True)):
        if old not in (1, new):
            raise RuntimeError(
                f"The expanded size of the tensor ({new}) must match the existing size ({old}) at "
                f"non-singleton dimension {axis + extra}. Target sizes: {list(sizes)}. Tensor sizes: "
                f"{list(before)}"
            )
    if after == before:
        return input
    y = _noted(_taken(input, np.broadcast_to(input.array, after)), input, "expand")
    return record(y, "expand", (input,), lambda dy, needs: (_reshaped(sum_to(dy, before), before),))


# ---------------------------------------------------------------- parts


def index_basic(x: Tensor, key: tuple[Any, ...]) -> Tensor:
    """``x[key]`` for integers, slices, Ellipsis and None."""
    if not any(part is Ellipsis for part in key):
        key = (*key, ...)  # so that NumPy gives a view even of a single element
    before, dtype = tuple(x.shape), x.dtype

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        dx = filled(before, dtype, 0.0)
        copy_view(dx, dx.array[key], dy, dy.array)
        return (dx,)

    return record(_noted(_taken(x, x.array[key]), x, "index"), "index", (x,), gradient)
