"""Dropout."""

from __future__ import annotations

from nnfast.dispatch import apply
from nnfast.random import next_seed
from nnfast.tape import record
from nnfast.tensor import Tensor

from .indexing import become, check_changeable


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Set elements to zero at random, and scale the others so that the mean stays.

    Parameters
    ----------
    input : a floating tensor.
    p : the probability of zero; others are multiplied by ``1 / (1 - p)``.
    training : otherwise `input` is returned as it is.
    inplace : overwrite `input`.

    Raises
    ------
    ValueError : `p` outside of 0..1.
    TypeError : types other than float32.

    Notes
    -----
    The mask is Philox4x32-10 keyed by `nnfast.random.next_seed`: the same after the same `nnfast.manual_seed`, on every
    backend and number of threads. The gradient computes it again instead of keeping it.

    Examples
    --------
    >>> import nnfast
    >>> dropout(nnfast.ones(3), p=1.0)
    tensor([0., 0., 0.])
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not isinstance(input, Tensor) or not input.is_floating_point():
        found = str(input.dtype) if isinstance(input, Tensor) else type(input).__name__
        raise TypeError(f"dropout: x is {found}, expected a Tensor of float32")
    if not training or p == 0:
        return input
    seed = next_seed()
    if inplace:
        check_changeable(input, "dropout_")
        apply("dropout", {"y": input}, x=input, seed=seed, p=float(p))
        y = input.alias()
    else:
        y = apply("dropout", x=input, seed=seed, p=float(p))
    made = record(y, "dropout", (input,), lambda dy, needs: (apply("dropout", x=dy, seed=seed, p=float(p)),))
    if not inplace:
        return made
    become(input, made)
    return input
