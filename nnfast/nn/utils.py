"""Functions on the parameters of a model. (The file has PyTorch's name.)"""

from __future__ import annotations

import math
from collections.abc import Iterable

from nnfast.creation import zeros
from nnfast.dispatch import allocate, apply, part, reinterpret
from nnfast.dtypes import float64
from nnfast.grad_mode import no_grad
from nnfast.tensor import Tensor


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
    squares = allocate((len(gradients),), float64)
    for i, g in enumerate(gradients):
        apply("sum_squares", {"y": part(squares, i, i + 1)}, x=g)
    norm, factor = (allocate((1,), gradients[0].dtype) for _ in range(2))
    apply("gradient_norm", {"norm": norm, "factor": factor}, squares=squares, max_norm=float(max_norm))
    if error_if_nonfinite and not math.isfinite(norm.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot "
            "be clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    for g in gradients:
        apply("scale_by", {"y": g}, x=g, factor=factor)
    return reinterpret(norm)


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
        apply("clamp", {"y": g}, x=g, low=-limit, high=limit)
