"""Dropout layers."""

from __future__ import annotations

from nnfast import functional
from nnfast.tensor import Tensor

from .module import Module


class Dropout(Module):
    """In training, set elements to zero at random; see `functional.dropout`.

    Parameters
    ----------
    p : the probability of zero.
    inplace : overwrite the input.

    Raises
    ------
    ValueError : `p` outside of 0..1.

    Examples
    --------
    >>> import nnfast
    >>> Dropout(0.5).eval()(nnfast.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.dropout`."""
        return functional.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
