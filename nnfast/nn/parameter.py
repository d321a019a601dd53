"""Parameter: a tensor that a module owns and an optimizer changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast.tensor import Storage, Tensor


class Parameter(Tensor):
    """A tensor that, assigned to a `Module`, becomes one of its parameters.

    Parameters
    ----------
    data : the values; memory is shared with them. An empty vector by default.
    requires_grad : whether gradients are wanted.

    Examples
    --------
    >>> import nnfast
    >>> Parameter(nnfast.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        if data is None:
            self._set(np.empty(0, np.float32), Storage())
        elif isinstance(data, Tensor):
            self._set(data.array, data.storage)
        else:
            raise TypeError(f"Parameter: data is {type(data).__name__}, expected a Tensor")
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
