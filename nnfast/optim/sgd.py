"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnfast.tensor import Tensor

from .optimizer import Optimizer, State, check_at_least_zero, check_lr, check_unsupported, flat, zeros_of


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum where it is given.

    ``g += weight_decay * p; v = momentum * v + (1 - dampening) * g; p -= lr * v``, with ``v = g`` in the first step and
    ``p -= lr * (g + momentum * v)`` for Nesterov's form.

    Parameters
    ----------
    params : parameters, or dictionaries of ``params`` and settings.
    lr : learning rate.
    momentum : factor of the velocity; 0 for none.
    dampening : for the gradient's part in the velocity.
    weight_decay : factor of an L2 penalty.
    nesterov : look ahead; needs a momentum and no dampening.
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
    >>> optimizer = SGD([p], lr=0.5)
    >>> p.sum().backward()
    >>> optimizer.step()
    >>> p.item()
    0.5
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_at_least_zero(momentum=momentum, weight_decay=weight_decay)
        check_unsupported("SGD", differentiable=differentiable)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def _initial_state(self, p: Tensor, group: Mapping[str, Any]) -> State:
        return {"momentum_buffer": zeros_of(p)} if group["momentum"] else {}

    def _kernel(self, group: Mapping[str, Any]) -> str:
        return "sgd_step"

    def _form(self, group: Mapping[str, Any]) -> Any:
        return "sgd_step", bool(group["momentum"])

    def _arrays(self, p: Tensor, group: Mapping[str, Any], state: State) -> dict[str, Tensor | None]:
        if not group["momentum"]:
            return {"momentum_buffer": None}
        if "momentum_buffer" not in state:  # momentum was turned on after the first step
            state["momentum_buffer"] = zeros_of(p)
            state["step"].fill_(0)
        return {"momentum_buffer": flat(state["momentum_buffer"])}

    def _attributes(self, group: Mapping[str, Any]) -> dict[str, float]:
        return {
            "momentum": float(group["momentum"]),
            "dampening": float(group["dampening"]),
            "weight_decay": float(group["weight_decay"]),
            "nesterov": int(group["nesterov"]),
            "maximize": int(group["maximize"]),
        }
