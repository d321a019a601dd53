"""Learning-rate schedules, with PyTorch's recursive formulas: each step starts from the group's present rate.

Call ``scheduler.step()`` after the optimizer's steps of an epoch (`OneCycleLR`: after every step).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, wraps
from typing import Any

from nnfast.tensor import Tensor
from nnfast.tracing import recorder

from .optimizer import Optimizer


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def _per_group(name: str, optimizer: Optimizer, value: float | Sequence[float]) -> list[float]:
    """`value` once for every group."""
    count = len(optimizer.param_groups)
    if isinstance(value, (list, tuple)):
        if len(value) != count:
            raise ValueError(
                f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, "
                f"param_groups has {count}."
            )
        return list(value)
    return [value] * count  # type: ignore[list-item]


def _in_every_run(step: Callable[..., None]) -> Callable[..., None]:
    """Under capture, `step` is Python's part of a plan: it sets the arrays that kernels read."""

    @wraps(step)
    def deferred(self: LRScheduler, *args: Any) -> None:
        capture = recorder()
        if capture is None:
            step(self, *args)
            return
        for value in args:
            if isinstance(value, Tensor):
                value.read()  # refused, for a metric of this run comes too late
        capture.calls(self.optimizer, partial(step, self, *args))

    return deferred


class LRScheduler:
    """Base of schedules. Subclasses give `get_lr`.

    Parameters
    ----------
    optimizer : whose groups' rates change.
    last_epoch : the number of steps already made; -1 starts anew.

    Raises
    ------
    TypeError : no optimizer.
    KeyError : a `last_epoch` with groups that have no ``initial_lr``.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _check_optimizer(optimizer)
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{number}] when resuming scheduler with "
                    "last_epoch >= 0."
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._is_initial = True
        self.step()
        self._is_initial = False

    def get_lr(self) -> list[float]:
        """The rates of step `last_epoch`, one per group."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr")

    def get_last_lr(self) -> list[float]:
        """The present rates, one per group."""
        return self._last_lr

    def _current(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    @_in_every_run
    def step(self) -> None:
        """Set the next rates."""
        self._step_count += 1
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr = self._current()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer" and not callable(value)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave; the optimizer's rates are in its own state."""
        self.__dict__.update(state_dict)


class LambdaLR(LRScheduler):
    """The initial rate times ``lr_lambda(step)``.

    Parameters
    ----------
    optimizer, last_epoch : see `LRScheduler`.
    lr_lambda : a function of the step, or one for every group. Functions are not part of the state.

    Examples
    --------
    >>> import nnfast
    >>> optimizer = nnfast.optim.SGD([nnfast.nn.Parameter(nnfast.ones(1))], lr=1.0)
    >>> scheduler = LambdaLR(optimizer, lambda step: 0.5**step)
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        _check_optimizer(optimizer)
        if callable(lr_lambda):
            self.lr_lambdas = [lr_lambda] * len(optimizer.param_groups)
        elif len(lr_lambda) == len(optimizer.param_groups):
            self.lr_lambdas = list(lr_lambda)
        else:
            raise ValueError(f"Expected {len(optimizer.param_groups)} lr_lambdas, but got {len(lr_lambda)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of step `last_epoch`."""
        return [base * function(self.last_epoch) for base, function in zip(self.base_lrs, self.lr_lambdas, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and the functions."""
        return {key: value for key, value in super().state_dict().items() if key != "lr_lambdas"}


class StepLR(LRScheduler):
    """Multiply by `gamma` every `step_size` steps.

    Parameters
    ----------
    optimizer, last_epoch : see `LRScheduler`.
    step_size : steps from one change to the next.
    gamma : the factor.

    Examples
    --------
    >>> import nnfast
    >>> optimizer = nnfast.optim.SGD([nnfast.nn.Parameter(nnfast.ones(1))], lr=1.0)
    >>> scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    >>> scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.5
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of step `last_epoch`."""
        if self._is_initial or self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._current()
        return [lr * self.gamma for lr in self._current()]


class MultiStepLR(LRScheduler):
    """Multiply by `gamma` at given steps.

    Parameters
    ----------
    optimizer, last_epoch : see `LRScheduler`.
    milestones : the steps; one that is named twice counts twice.
    gamma : the factor.

    Examples
    --------
    >>> import nnfast
    >>> optimizer = nnfast.optim.SGD([nnfast.nn.Parameter(nnfast.ones(1))], lr=1.0)
    >>> scheduler = MultiStepLR(optimizer, [1, 2], gamma=0.5)
    >>> scheduler.step(), scheduler.step(), scheduler.get_last_lr()
    (None, None, [0.25])
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of step `last_epoch`."""
        if self._is_initial or self.last_epoch not in self.milestones:
            return self._current()
        return [lr * self.gamma ** self.milestones[self.last_epoch] for lr in self._current()]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; the milestones as a list."""
        return {**super().state_dict(), "milestones": sorted(self.milestones.elements())}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave, here or in PyTorch."""
        milestones = Counter(state_dict["milestones"])  # of a list, or of PyTorch's counter
        super().load_state_dict({**state_dict, "milestones": milestones})


class ExponentialLR(LRScheduler):
    """Multiply by `gamma` every step.

    Parameters
    ----------
    optimizer, last_epoch : see `LRScheduler`.
    gamma : the factor.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of step `last_epoch`."""
        return self._current() if self._is_initial else [lr * self.gamma for lr in self._current()]


class LinearLR(LRScheduler):
    """Change a factor of the initial rate linearly, then keep it.

    Parameters
    ----------
    optimizer, last_epoch : see `LRScheduler`.
    start_factor, end_factor : the first and the last factor.
    total_iters : steps from the one to the other.

    Raises
    ------
    ValueError : factors outside of 0..1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if start_factor > 1.0 or start_factor <= 0:
            raise ValueError("Starting multiplicative factor expected to be greater than 0 and less or equal to 1.")
        if end_factor > 1.0 or end_factor < 0:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of step `last_epoch`."""
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in self._current()]
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._current()
        rise = self.end_factor - self.start_factor
        return [
            lr * (1.0 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise))
            for lr in self._current()
        ]


class CosineAnnealingLR(LRScheduler):
    """Fall from the initial rate to `eta_min` along half a cosine (Loshchilov & Hutter 2017), and rise again after.

    Parameters
    ----------
    optimizer, last_epoch : see `LRScheduler`.
    T_max : steps from top to bottom.
    eta_min : the lowest rate.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of step `last_epoch`."""
        if self._is_initial:
            return self._current()
        if self._step_count == 1 and self.last_epoch > 0:
            height = (1 + math.cos(self.last_epoch * math.pi / self.T_max)) / 2
            return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # the step up from the bottom
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [lr + (base - self.eta_min) * rise for lr, base in zip(self._current(), self.base_lrs, strict=True)]
        now = 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        before = 1 + math.cos(math.pi * (self.last_epoch - 1) / self.T_max)
        return [now / before * (lr - self.eta_min) + self.eta_min for lr in self._current()]


class OneCycleLR(LRScheduler):
    """Rise to `max_lr` and fall to almost nothing, once (Smith & Topin 2018); one step after every optimizer step.

    Parameters
    ----------
    optimizer, last_epoch : see `LRScheduler`.
    max_lr : the highest rate, or one for every group.
    total_steps : steps in all; or give `epochs` and `steps_per_epoch`.
    pct_start : the rise's part of all steps.
    anneal_strategy : ``"cos"`` or ``"linear"``.
    cycle_momentum : whether momentum (or Adam's first beta) moves against the rate.
    base_momentum, max_momentum : its bounds, or one for every group.
    div_factor : `max_lr` over the initial rate.
    final_div_factor : the initial rate over the last one.
    three_phase : whether to come back to the initial rate first.

    Raises
    ------
    ValueError : arguments outside of their range, an optimizer without momentum, or more steps than `total_steps`.

    Examples
    --------
    >>> import nnfast
    >>> optimizer = nnfast.optim.SGD([nnfast.nn.Parameter(nnfast.ones(1))], lr=1.0, momentum=0.9)
    >>> scheduler = OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> round(optimizer.param_groups[0]["lr"], 4)
    0.04
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        _check_optimizer(optimizer)
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self.anneal_strategy = anneal_strategy
        self.phases = _phases(pct_start * self.total_steps, self.total_steps, three_phase)
        if last_epoch == -1:
            for group, highest in zip(optimizer.param_groups, _per_group("max_lr", optimizer, max_lr), strict=True):
                group.update(
                    initial_lr=highest / div_factor, max_lr=highest, min_lr=highest / div_factor / final_div_factor
                )
        self.cycle_momentum = cycle_momentum
        self.use_beta1 = "betas" in optimizer.defaults
        if cycle_momentum:
            self._prepare_momentum(optimizer, base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def _prepare_momentum(
        self,
        optimizer: Optimizer,
        base_momentum: float | Sequence[float],
        max_momentum: float | Sequence[float],
        last_epoch: int,
    ) -> None:
        if "momentum" not in optimizer.defaults and not self.use_beta1:
            raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        highest = _per_group("max_momentum", optimizer, max_momentum)
        lowest = _per_group("base_momentum", optimizer, base_momentum)
        if last_epoch == -1:
            for group, high, low in zip(optimizer.param_groups, highest, lowest, strict=True):
                self._set_momentum(group, high)
                group.update(max_momentum=high, base_momentum=low)

    def _set_momentum(self, group: dict[str, Any], value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value

    def get_lr(self) -> list[float]:
        """The rates of step `last_epoch`; moves the momentum, too."""
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"Tried to step {self.last_epoch} times. The specified number of total steps is {self.total_steps}"
            )
        starts = [0.0, *(end for end, *_ in self.phases)]
        current = next((i for i, (end, *_) in enumerate(self.phases) if self.last_epoch <= end), len(self.phases) - 1)
        end, lr_from, lr_to, momentum_from, momentum_to = self.phases[current]
        part = (self.last_epoch - starts[current]) / (end - starts[current])
        for group in self.optimizer.param_groups if self.cycle_momentum else []:
            self._set_momentum(group, self._between(group[momentum_from], group[momentum_to], part))
        return [self._between(group[lr_from], group[lr_to], part) for group in self.optimizer.param_groups]

    def _between(self, start: float, end: float, part: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)


Phase = tuple[float, str, str, str, str]
"""The last step of a phase, and the group's settings between which rate and momentum move."""


def _phases(rise: float, total: int, three: bool) -> list[Phase]:
    up: Phase = (rise - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum")
    if not three:
        return [up, (total - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
    return [
        up,
        (2 * rise - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
        (total - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
    ]


def _total_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is None and (epochs is None or steps_per_epoch is None):
        raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
    given = (
        {"epochs": epochs, "steps_per_epoch": steps_per_epoch} if total_steps is None else {"total_steps": total_steps}
    )
    for name, value in given.items():
        if not isinstance(value, int) or value <= 0:
            raise ValueError(f"Expected positive integer {name}, but got {value}")
    return math.prod(value for value in given.values() if value is not None)


class ReduceLROnPlateau(LRScheduler):
    """Multiply by `factor` when a metric has not improved for `patience` steps.

    Parameters
    ----------
    optimizer : whose groups' rates change.
    mode : ``"min"`` if smaller is better, ``"max"`` if larger is.
    factor : below 1.
    patience : steps without improvement that are let pass.
    threshold : what counts as improvement.
    threshold_mode : ``"rel"``, relative to the best, or ``"abs"``.
    cooldown : steps after a change that do not count.
    min_lr : the lowest rate, or one for every group.
    eps : smaller changes are not made.

    Raises
    ------
    ValueError : arguments outside of their range.

    Examples
    --------
    >>> import nnfast
    >>> optimizer = nnfast.optim.SGD([nnfast.nn.Parameter(nnfast.ones(1))], lr=1.0)
    >>> scheduler = ReduceLROnPlateau(optimizer, patience=0)
    >>> scheduler.step(2.0)
    >>> scheduler.step(3.0)
    >>> scheduler.get_last_lr()
    [0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1.0:
            raise ValueError("Factor should be < 1.0.")
        _check_optimizer(optimizer)
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode} is unknown!")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {threshold_mode} is unknown!")
        self.optimizer = optimizer
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.min_lrs = _per_group("min_lr", optimizer, min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = self.num_bad_epochs = self.last_epoch = 0
        self._last_lr = self._current()

    @_in_every_run
    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Take the metric of one epoch into account."""
        current = float(metrics)
        self.last_epoch += 1
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._current()

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * value > sign * self.best * (1 + sign * self.threshold)
        return sign * value > sign * (self.best + sign * self.threshold)

    def _reduce(self) -> None:
        for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            lr = max(group["lr"] * self.factor, lowest)
            if group["lr"] - lr > self.eps:
                group["lr"] = lr
