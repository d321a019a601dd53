"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnfast.tensor import Tensor

from .optimizer import Optimizer, State, check_at_least_zero, check_lr, check_unsupported, zeros_of


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015).

    ``m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g**2;
    p -= lr * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)``, where ``g += weight_decay * p`` comes first.

    Parameters
    ----------
    params : parameters, or dictionaries of ``params`` and settings.
    lr : learning rate.
    betas : decay of the mean of gradients and of their squares.
    eps : added to the denominator.
    weight_decay : factor of an L2 penalty.
    maximize : climb instead of descend.
    decoupled_weight_decay : decay weights as `AdamW` does.
    foreach, fused, capturable : accepted, without effect: there is one implementation.
    amsgrad, differentiable : not supported.

    Raises
    ------
    ValueError : settings outside of their range.
    NotImplementedError : ``amsgrad=True``, ``differentiable=True``, or a tensor as `lr`.

    Examples
    --------
    >>> import nnfast
    >>> p = nnfast.nn.Parameter(nnfast.ones(1))
    >>> optimizer = Adam([p], lr=0.5)
    >>> p.sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 4)
    0.5
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_lr(lr)
        if not eps >= 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        for index, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {index}: {beta}")
        check_at_least_zero(weight_decay=weight_decay)
        check_unsupported(type(self).__name__, amsgrad=amsgrad, differentiable=differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _initial_state(self, p: Tensor, group: Mapping[str, Any]) -> State:
        return {"exp_avg": zeros_of(p), "exp_avg_sq": zeros_of(p)}

    def _kernel(self, group: Mapping[str, Any]) -> str:
        check_unsupported(type(self).__name__, amsgrad=group["amsgrad"])
        return "adamw_step" if group.get("decoupled_weight_decay") else "adam_step"

    def _arrays(self, p: Tensor, group: Mapping[str, Any], state: State) -> dict[str, Tensor | None]:
        return {"exp_avg": state["exp_avg"], "exp_avg_sq": state["exp_avg_sq"]}

    def _attributes(self, group: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = group["betas"]
        return {
            "beta1": float(beta1),
            "beta2": float(beta2),
            "eps": float(group["eps"]),
            "weight_decay": float(group["weight_decay"]),
            "maximize": int(group["maximize"]),
        }


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): ``p -= lr * weight_decay * p`` before Adam's step.

    Parameters
    ----------
    params, lr, betas, eps, maximize, foreach, capturable, fused, amsgrad, differentiable : as in `Adam`.
    weight_decay : how fast weights decay.

    Examples
    --------
    >>> import nnfast
    >>> AdamW([nnfast.nn.Parameter(nnfast.ones(1))]).defaults["weight_decay"]
    0.01
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )
