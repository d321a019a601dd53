"""Functions on the parameters of a model. (The file has PyTorch's name.)"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from nnfast import functional
from nnfast.creation import zeros
from nnfast.dispatch import apply, reinterpret
from nnfast.grad_mode import no_grad
from nnfast.tensor import Tensor, from_numpy


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    every = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [parameter.grad for parameter in every if parameter.grad is not None]


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients together so that their norm, as one vector, is at most `max_norm`.

    Parameters
    ----------
    parameters : tensors with gradients; those without are skipped.
    max_norm : the largest norm.
    norm_type : 2.
    error_if_nonfinite : whether a norm of NaN or infinity is an error.
    foreach : accepted, without effect.

    Returns
    -------
    Tensor
        The norm before scaling.

    Raises
    ------
    NotImplementedError : another `norm_type`.
    RuntimeError : a norm of NaN or infinity, if `error_if_nonfinite`.

    Examples
    --------
    >>> import nnfast
    >>> p = nnfast.nn.Parameter(nnfast.zeros(2))
    >>> p.grad = nnfast.tensor([3.0, 4.0])
    >>> clip_grad_norm_([p], max_norm=1.0)
    tensor(5.)
    """
    if norm_type != 2:
        raise NotImplementedError(f"clip_grad_norm_: norm_type is {norm_type}; only 2 is supported")
    gradients = _gradients(parameters)
    if not gradients:
        return zeros(())
    total: Tensor | None = None
    for g in gradients:
        squares = apply("sum_forward", x=reinterpret(apply("mul", a=g, b=g), 1, g.numel(), 1))
        total = squares if total is None else apply("add", a=total, b=squares, alpha=1.0)
    assert total is not None
    norm = reinterpret(apply("power", x=total, exponent=0.5))
    if error_if_nonfinite and not math.isfinite(norm.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot "
            "be clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    _scale(gradients, _at_most_one(max_norm / (norm + 1e-6)))
    return norm


def _at_most_one(x: Tensor) -> Tensor:
    """``min(x, 1)`` for x >= 0; exactly 1 from 1 on, and NaN stays NaN."""
    return functional.relu6(x * 6) * (1 / 6)


def _scale(gradients: list[Tensor], factor: Tensor) -> None:
    for g in gradients:
        apply("mul", {"y": g}, a=g, b=factor.expand(g.shape))


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Bring every element of every gradient into -`clip_value`..`clip_value`.

    Parameters
    ----------
    parameters : tensors with gradients; those without are skipped.
    clip_value : the largest absolute value.
    foreach : accepted, without effect.

    Examples
    --------
    >>> import nnfast
    >>> p = nnfast.nn.Parameter(nnfast.zeros(2))
    >>> p.grad = nnfast.tensor([3.0, -0.5])
    >>> clip_grad_value_([p], 1.0)
    >>> p.grad
    tensor([ 1.0000, -0.5000])
    """
    limit = float(clip_value)
    for g in _gradients(parameters):
        # No kernel clamps: NumPy does, at once.
        g.copy_(from_numpy(np.clip(g.read(), -limit, limit)))
