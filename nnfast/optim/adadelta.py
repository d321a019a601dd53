"""Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnfast.tensor import Tensor

from .optimizer import Optimizer, State, check_at_least_zero, check_lr, check_unsupported, zeros_of


class Adadelta(Optimizer):
    """Adadelta (Zeiler 2012).

    ``s = rho * s + (1 - rho) * g**2; d = g * sqrt(a + eps) / sqrt(s + eps);
    a = rho * a + (1 - rho) * d**2; p -= lr * d``

    Parameters
    ----------
    params : parameters, or dictionaries of ``params`` and settings.
    lr : learning rate.
    rho : decay of the means of squares.
    eps : added under the roots.
    weight_decay : factor of an L2 penalty.
    maximize : climb instead of descend.
    foreach, capturable : accepted, without effect: there is one implementation.
    differentiable : not supported.

    Raises
    ------
    ValueError : settings outside of their range.
    NotImplementedError : ``differentiable=True``, or a tensor as `lr`.

    Examples
    --------
    >>> import nnfast
    >>> p = nnfast.nn.Parameter(nnfast.ones(1))
    >>> optimizer = Adadelta([p])
    >>> p.sum().backward()
    >>> optimizer.step()
    >>> p.item() < 1
    True
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_at_least_zero(epsilon=eps, weight_decay=weight_decay)
        check_unsupported("Adadelta", differentiable=differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _initial_state(self, p: Tensor, group: Mapping[str, Any]) -> State:
        return {"square_avg": zeros_of(p), "acc_delta": zeros_of(p)}

    def _kernel(self, group: Mapping[str, Any]) -> str:
        return "adadelta_step"

    def _arrays(self, p: Tensor, group: Mapping[str, Any], state: State) -> dict[str, Tensor | None]:
        return {"square_avg": state["square_avg"], "acc_delta": state["acc_delta"]}

    def _attributes(self, group: Mapping[str, Any]) -> dict[str, float]:
        return {
            "rho": float(group["rho"]),
            "eps": float(group["eps"]),
            "weight_decay": float(group["weight_decay"]),
            "maximize": int(group["maximize"]),
        }
