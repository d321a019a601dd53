"""Joining and cutting: strided copies into and out of larger tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnfast.dispatch import allocate, filled
from nnfast.functional.shape import copied, copy_view, dimension, index_basic, unsqueeze
from nnfast.tape import record
from nnfast.tensor import Tensor, fresh


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along a dimension that they have.

    Parameters
    ----------
    tensors : at least one; the same type, and the same shape but for `dim`.
    dim : the dimension to join along.

    Raises
    ------
    RuntimeError : shapes that do not fit, or no tensors.
    TypeError : types that differ.

    Examples
    --------
    >>> import nnfast
    >>> cat([nnfast.tensor([1, 2]), nnfast.tensor([3])])
    tensor([1, 2, 3])
    """
    parts = _checked_parts(tensors, "cat")
    parts = [x for x in parts if x.shape != (0,)] or parts[:1]  # as in PyTorch, an empty vector fits anything
    axis = dimension(parts[0], dim)
    if parts[0].ndim == 0:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    first = parts[0].shape
    for position, x in enumerate(parts):
        if x.ndim != len(first) or any(
            a != b for i, (a, b) in enumerate(zip(first, x.shape, strict=True)) if i != axis
        ):
            raise RuntimeError(
                f"cat: Sizes of tensors must match except in dimension {axis}. Expected {list(first)} but "
                f"got {list(x.shape)} for tensor number {position} in the list."
            )
    ends = np.cumsum([x.shape[axis] for x in parts]).tolist()
    y = allocate((*first[:axis], ends[-1], *first[axis + 1 :]), parts[0].dtype)
    places = [(*[slice(None)] * axis, slice(end - x.shape[axis], end)) for x, end in zip(parts, ends, strict=True)]
    for x, place in zip(parts, places, strict=True):
        copy_view(y, y.array[place], x, x.array)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
        return [copied(dy, dy.array[place]) if need else None for place, need in zip(places, needs, strict=True)]

    return record(y, "cat", parts, gradient)


def _checked_parts(tensors: Sequence[Tensor], call: str) -> list[Tensor]:
    parts = list(tensors)
    if not parts:
        raise RuntimeError(f"{call}: expected a non-empty list of Tensors")
    for x in parts:
        if not isinstance(x, Tensor):
            raise TypeError(f"{call}: expected Tensors, got {type(x).__name__}")
        if x.dtype != parts[0].dtype:
            raise TypeError(f"{call}: tensors are {parts[0].dtype} and {x.dtype}, expected one type")
    return parts


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new dimension.

    Raises
    ------
    RuntimeError : shapes that differ, or no tensors.

    Examples
    --------
    >>> import nnfast
    >>> stack([nnfast.tensor([1, 2]), nnfast.tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """
    parts = _checked_parts(tensors, "stack")
    for position, x in enumerate(parts):
        if x.shape != parts[0].shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(parts[0].shape)} at entry 0 and "
                f"{list(x.shape)} at entry {position}"
            )
    axis = dimension(parts[0], dim, extra=1)
    return cat([unsqueeze(x, axis) for x in parts], axis)


def split(input: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor along a dimension into pieces of one size (the last may be smaller) or of given sizes.

    Raises
    ------
    RuntimeError : sizes that do not sum to that of the dimension.

    Examples
    --------
    >>> import nnfast
    >>> split(nnfast.arange(5), 2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    axis = dimension(input, dim)
    total = input.shape[axis]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size <= 0:
            raise RuntimeError(f"split: split_size is {size}, expected a positive number")
        sizes = [min(size, total - start) for start in range(0, max(total, 1), size)]
    else:
        sizes = list(split_size_or_sections)
        if sum(sizes) != total or min(sizes, default=0) < 0:
            raise RuntimeError(f"split: sizes {sizes} do not sum to {total}, the size of dimension {axis}")
    ends = np.cumsum(sizes).tolist()
    head = (slice(None),) * axis
    return tuple(index_basic(input, (*head, slice(end - size, end))) for size, end in zip(sizes, ends, strict=True))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor along a dimension into at most `chunks` pieces of equal size.

    Examples
    --------
    >>> import nnfast
    >>> [len(part) for part in chunk(nnfast.arange(5), 2)]
    [3, 2]
    """
    if chunks <= 0:
        raise RuntimeError(f"chunk: chunks is {chunks}, expected a positive number")
    return split(input, max(1, -(-input.shape[dimension(input, dim)] // chunks)), dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Every slice along a dimension, without that dimension.

    Examples
    --------
    >>> import nnfast
    >>> unbind(nnfast.tensor([[1, 2], [3, 4]]))
    (tensor([1, 2]), tensor([3, 4]))
    """
    head = (slice(None),) * dimension(input, dim)
    return tuple(index_basic(input, (*head, i)) for i in range(input.shape[dimension(input, dim)]))


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Put elements of one value around a tensor.

    Parameters
    ----------
    input : any tensor.
    pad : how many before and after, for the last dimension, then the one before it, and so on; negative ones cut.
    mode : ``"constant"``.
    value : what to put there; 0 by default.

    Raises
    ------
    NotImplementedError : another mode.
    RuntimeError : an odd number of counts, or more than the tensor has dimensions.

    Examples
    --------
    >>> import nnfast
    >>> pad(nnfast.ones(2), (1, 0))
    tensor([0., 1., 1.])
    """
    if mode != "constant":
        raise NotImplementedError(f"pad: mode is {mode!r}; only 'constant' is supported")
    counts = [int(count) for count in pad]
    if len(counts) % 2 or len(counts) > 2 * input.ndim:
        raise RuntimeError(f"pad: pad has {len(counts)} numbers, expected an even number of at most {2 * input.ndim}")
    around = [(0, 0)] * (input.ndim - len(counts) // 2) + list(zip(counts[::2], counts[1::2], strict=True))[::-1]
    sizes = tuple(size + before + after for size, (before, after) in zip(input.shape, around, strict=True))
    if min(sizes, default=0) < 0:
        raise RuntimeError(f"pad: padding {counts} leaves the sizes {list(sizes)} of {list(input.shape)}")
    inside = tuple(slice(max(b, 0), n - max(a, 0)) for n, (b, a) in zip(sizes, around, strict=True))
    kept = tuple(slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(input.shape, around, strict=True))
    y = _constant(sizes, input, 0.0 if value is None else value)
    copy_view(y, y.array[inside], input, input.array[kept])
    before = tuple(input.shape)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        dx = filled(before, dy.dtype, 0.0)
        copy_view(dx, dx.array[kept], dy, dy.array[inside])
        return (dx,)

    return record(y, "constant_pad_nd", (input,), gradient)


def _constant(shape: tuple[int, ...], x: Tensor, value: float) -> Tensor:
    return filled(shape, x.dtype, value) if x.is_floating_point() else fresh(np.full(shape, value, x.dtype))
