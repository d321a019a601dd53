"""Layers that change shapes only."""

from __future__ import annotations

from collections.abc import Sequence

from nnfast import functional
from nnfast.tensor import Tensor

from .module import Module


class Flatten(Module):
    """Make one dimension of several; see `functional.flatten`.

    Parameters
    ----------
    start_dim, end_dim : the first and the last dimension to join.

    Examples
    --------
    >>> import nnfast
    >>> Flatten()(nnfast.ones(2, 3, 4, 4)).shape
    nnfast.Size([2, 48])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.flatten`."""
        return functional.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Make several dimensions of one; see `functional.unflatten`.

    Parameters
    ----------
    dim : the dimension to split.
    unflattened_size : the sizes to split it into; one may be -1.

    Raises
    ------
    NotImplementedError : a dimension given by its name.

    Examples
    --------
    >>> import nnfast
    >>> Unflatten(1, (3, 4, 4))(nnfast.ones(2, 48)).shape
    nnfast.Size([2, 3, 4, 4])
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        if isinstance(dim, str):
            raise NotImplementedError(f"Unflatten: dim is {dim!r}; named dimensions are not supported")
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.unflatten`."""
        return functional.unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
