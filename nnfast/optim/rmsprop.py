"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnfast.tensor import Tensor

from .optimizer import Optimizer, State, check_at_least_zero, check_lr, check_unsupported, flat, zeros_of


class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012): ``s = alpha * s + (1 - alpha) * g**2; p -= lr * g / (sqrt(s) + eps)``.

    Parameters
    ----------
    params : parameters, or dictionaries of ``params`` and settings.
    lr : learning rate.
    alpha : decay of the mean of squares.
    eps : added to the denominator.
    weight_decay : factor of an L2 penalty.
    momentum : factor of a velocity; 0 for none.
    centered : divide by the gradient's deviation instead (Graves 2013).
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
    >>> optimizer = RMSprop([p], lr=0.05)
    >>> p.sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 4)
    0.5
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_at_least_zero(epsilon=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        check_unsupported("RMSprop", differentiable=differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def _initial_state(self, p: Tensor, group: Mapping[str, Any]) -> State:
        names = ["square_avg"]
        if group["momentum"] > 0:
            names.append("momentum_buffer")
        if group["centered"]:
            names.append("grad_avg")
        return {name: zeros_of(p) for name in names}

    def _kernel(self, group: Mapping[str, Any]) -> str:
        return "rmsprop_step"

    def _form(self, group: Mapping[str, Any]) -> Any:
        return "rmsprop_step", group["momentum"] > 0, bool(group["centered"])

    def _arrays(self, p: Tensor, group: Mapping[str, Any], state: State) -> dict[str, Tensor | None]:
        for name, value in self._initial_state(p, group).items():
            state.setdefault(name, value)  # momentum or centering was turned on after the first step
        return {
            "square_avg": state["square_avg"],
            "momentum_buffer": flat(state["momentum_buffer"]) if group["momentum"] > 0 else None,
            "grad_avg": flat(state["grad_avg"]) if group["centered"] else None,
        }

    def _attributes(self, group: Mapping[str, Any]) -> dict[str, float]:
        return {
            "alpha": float(group["alpha"]),
            "eps": float(group["eps"]),
            "weight_decay": float(group["weight_decay"]),
            "momentum": float(group["momentum"]),
            "maximize": int(group["maximize"]),
        }
