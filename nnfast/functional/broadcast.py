"""Sums over dimensions, as kernels see them: in memory order, off the tape."""

from __future__ import annotations

import math
from collections.abc import Collection

from nnfast.dispatch import apply, filled, reinterpret
from nnfast.tensor import Tensor, memory_shape

_MEMORY_AXIS = (0, 3, 1, 2)  # where N, C, H, W lie in channels-last memory


def reduced_runs(x: Tensor, dims: Collection[int]) -> list[tuple[int, int]]:
    """The memory axes [begin, end) of every run of neighbouring axes to reduce, last run first."""
    axes = {_MEMORY_AXIS[dim] for dim in dims} if x.ndim == 4 else set(dims)
    shape = x.memory.shape
    runs: list[tuple[int, int]] = []
    for axis in range(x.ndim - 1, -1, -1):
        if axis not in axes:
            continue
        # An axis of size 1 that is kept may lie between: joining over it changes nothing.
        if runs and math.prod(size for a, size in enumerate(shape) if axis < a < runs[-1][0]) == 1:
            runs[-1] = (axis, runs[-1][1])
        else:
            runs.append((axis, axis + 1))
    return runs


def reduce(name: str, x: Tensor, dims: Collection[int]) -> Tensor:
    """``sum`` or ``mean`` over `dims`, which stay with size 1.

    Of several runs of axes one is reduced after the other; a mean of equally long means is the mean.
    """
    if x.array.size == 0:
        shape = tuple(1 if dim in dims else size for dim, size in enumerate(x.shape))
        return filled(shape, x.dtype, 0.0 if name == "sum" else math.nan)
    y = x
    for begin, end in reduced_runs(x, dims):
        shape = y.memory.shape
        outer, inner = math.prod(shape[:begin]), math.prod(shape[end:])
        summed = apply(f"{name}_forward", x=reinterpret(y, outer, math.prod(shape[begin:end]), inner))
        y = reinterpret(summed, *shape[:begin], *(1,) * (end - begin), *shape[end:])
    return y


def spread(name: str, dy: Tensor, x_shape: tuple[int, ...], dims: Collection[int]) -> Tensor:
    """The gradient of `reduce`: `dy`, where `dims` have size 1, spread over them."""
    sizes = memory_shape(x_shape)
    axes = {_MEMORY_AXIS[dim] for dim in dims} if len(x_shape) == 4 else set(dims)
    dx = dy
    for axis in sorted(axes):
        shape = dx.memory.shape
        count = sizes[axis]
        if count == 1:
            continue
        outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        dx = apply(f"{name}_backward", dy=reinterpret(dx, outer, inner), count=count)
        dx = reinterpret(dx, *shape[:axis], count, *shape[axis + 1 :])
    return dx


def sum_to(dy: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`dy` summed over what broadcasting `shape` to its shape repeated; additional dimensions stay with size 1."""
    extra = dy.ndim - len(shape)
    dims = [dim for dim in range(dy.ndim) if dim < extra or (shape[dim - extra] == 1 and dy.shape[dim] != 1)]
    return reduce("sum", dy, dims) if dims else dy
