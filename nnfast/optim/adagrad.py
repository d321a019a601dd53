"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnfast.creation import full
from nnfast.tensor import Tensor

from .optimizer import Optimizer, State, check_at_least_zero, check_lr, check_unsupported


class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011): ``s += g**2; p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)``.

    Parameters
    ----------
    params : parameters, or dictionaries of ``params`` and settings.
    lr : learning rate.
    lr_decay : how fast the learning rate falls.
    weight_decay : factor of an L2 penalty.
    initial_accumulator_value : what the sum of squares starts from.
    eps : added to the denominator.
    maximize : climb instead of descend.
    foreach, fused : accepted, without effect: there is one implementation.
    differentiable : not supported.

    Raises
    ------
    ValueError : settings outside of their range.
    NotImplementedError : ``differentiable=True``, or a tensor as `lr`.

    Examples
    --------
    >>> import nnfast
    >>> p = nnfast.nn.Parameter(nnfast.ones(1))
    >>> optimizer = Adagrad([p], lr=0.5)
    >>> p.sum().backward()
    >>> optimizer.step()
    >>> p.item()
    0.5
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_at_least_zero(
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            epsilon=eps,
        )
        check_unsupported("Adagrad", differentiable=differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def _initial_state(self, p: Tensor, group: Mapping[str, Any]) -> State:
        return {"sum": full(p.shape, float(group["initial_accumulator_value"]), dtype=p.dtype)}

    def _kernel(self, group: Mapping[str, Any]) -> str:
        return "adagrad_step"

    def _arrays(self, p: Tensor, group: Mapping[str, Any], state: State) -> dict[str, Tensor | None]:
        return {"sum": state["sum"]}

    def _attributes(self, group: Mapping[str, Any]) -> dict[str, float]:
        return {
            "lr_decay": float(group["lr_decay"]),
            "eps": float(group["eps"]),
            "weight_decay": float(group["weight_decay"]),
            "maximize": int(group["maximize"]),
        }
