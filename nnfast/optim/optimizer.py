"""Optimizer: parameters in groups, each with its settings, and a state for every parameter.

Learning rates and step counts are arrays that kernels read, not constants: a plan that was captured once follows a
scheduler without being captured again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from nnfast.creation import zeros
from nnfast.dispatch import apply, reinterpret
from nnfast.dtypes import int64
from nnfast.grad_mode import enable_grad, no_grad
from nnfast.tensor import Tensor, from_numpy
from nnfast.tracing import Members, recorded_by, recorder

State = dict[str, Any]


class _States(Members):
    """States by parameter, made when they are asked for; plans are told what is exchanged in them."""

    __slots__ = ()

    def __missing__(self, p: Tensor) -> State:
        self[p] = made = Members()
        return made


class ParamGroup(dict):
    """A group's parameters and settings; a plain dictionary whose ``lr`` also stands in an array for the kernels."""

    @property
    def lr_buffer(self) -> np.ndarray:
        """The learning rate as an array of one float64; the same array always."""
        return self.__dict__.setdefault("_lr_buffer", np.zeros(1, np.float64))

    def __setitem__(self, key: str, value: Any) -> None:
        capture = recorder()
        if capture is not None:
            capture.refuse(
                f"the setting {key!r} of an optimizer is changed within the function, which would happen in its first "
                "run only; change it outside, or by a scheduler"
            )
        if key == "lr":
            value = check_lr(value)
            self.lr_buffer[0] = value
        super().__setitem__(key, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As of any dictionary."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As of any dictionary."""
        if key not in self:
            self[key] = default
        return self[key]


def check_lr(lr: Any) -> Any:
    """See that a learning rate is a number of at least 0.

    Raises
    ------
    NotImplementedError : a tensor.
    ValueError : a number below 0.
    """
    if isinstance(lr, Tensor):
        raise NotImplementedError("lr is a Tensor, which is not supported; give a number")
    if not lr >= 0.0:
        raise ValueError(f"Invalid learning rate: {lr}")
    return lr


def check_at_least_zero(**numbers: float) -> None:
    """See that no number is below 0.

    Raises
    ------
    ValueError : one is; the message names it.
    """
    for name, number in numbers.items():
        if not number >= 0.0:
            raise ValueError(f"Invalid {name} value: {number}")


def check_unsupported(who: str, **options: Any) -> None:
    """See that none of PyTorch's options that nnfast lacks is turned on.

    Raises
    ------
    NotImplementedError : one is; the message names it.
    """
    for name, value in options.items():
        if value:
            raise NotImplementedError(f"{who}: {name}={value} is not supported; only {name}=False is")


class Optimizer:
    """Base of all optimizers. Subclasses give `_initial_state`, `_kernel`, `_arrays` and `_attributes`.

    Parameters
    ----------
    params : parameters, ``(name, parameter)`` pairs, or dictionaries of ``params`` and settings.
    defaults : the settings of groups that do not have their own.

    Attributes
    ----------
    param_groups : list of dict
        Each with ``params`` and settings; ``optimizer.param_groups[0]["lr"] = 0.01`` takes effect with the next step.
    state : dict
        By parameter.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: dict[Tensor, State] = _States()
        self.param_groups: list[ParamGroup] = []
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got Tensor"
            )
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def _initial_state(self, p: Tensor, group: Mapping[str, Any]) -> State:
        """The state of a parameter before its first step, without the step count."""
        raise NotImplementedError(f"{type(self).__name__} has no _initial_state")

    def _kernel(self, group: Mapping[str, Any]) -> str:
        """The operation that makes a step with a group's settings."""
        raise NotImplementedError(f"{type(self).__name__} has no _kernel")

    def _form(self, group: Mapping[str, Any]) -> Any:
        """What of a group's settings decides over operation and operands; others are attributes."""
        return self._kernel(group)

    def _arrays(self, p: Tensor, group: Mapping[str, Any], state: State) -> dict[str, Tensor | None]:
        """The operands of that operation that this optimizer alone has, out of (or into) the state of `p`."""
        raise NotImplementedError(f"{type(self).__name__} has no _arrays")

    def _attributes(self, group: Mapping[str, Any]) -> dict[str, float]:
        """Its attributes; a plan asks for them again before it runs."""
        raise NotImplementedError(f"{type(self).__name__} has no _attributes")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with settings of their own.

        Parameters
        ----------
        param_group : ``params`` and any settings.

        Raises
        ------
        ValueError : a parameter that is in a group already, or that is no leaf.
        TypeError : something that is no parameter.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        given = param_group["params"]
        if isinstance(given, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in "
                "sets will change between runs. Please use a list instead."
            )
        params = [given] if isinstance(given, Tensor) else [p[1] if isinstance(p, tuple) else p for p in given]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if any(id(p) in known for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        if len({id(p) for p in params}) != len(params):
            raise ValueError("optimizer contains a parameter group with duplicate parameters")
        group = ParamGroup()
        group.update({**self.defaults, **param_group, "params": params})
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Take the gradients of all parameters away, or set them to 0.

        Parameters
        ----------
        set_to_none : as in PyTorch; False keeps the memory and fills it with 0.
        """
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    p.grad.detach_().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change all parameters that have gradients.

        Parameters
        ----------
        closure : computes the loss and the gradients anew; called first.

        Returns
        -------
        Tensor or None
            What `closure` returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        capture = recorder()
        if capture is not None:
            capture.updates(self, self._plan_settings, self._plan_state)
            capture.undoes(self._remembered_state())
        with no_grad(), nullcontext() if capture is None else capture.at("optimizer"):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self._step_of(p, group)
        return loss

    def _step_of(self, p: Tensor, group: ParamGroup) -> None:
        capture = recorder()
        with recorded_by(None):  # state is made once, not in every run of a plan
            state = self._state_of(p, group)
            arrays = self._arrays(p, group, state)
            step = reinterpret(state["step"], 1)
        if capture is not None:
            for value in state.values():
                capture.uses(value)
        apply("increment", step=step)
        shared = {"g": p.grad, "p": p, "lr": group.lr_buffer, "step": step}
        with nullcontext() if capture is None else capture.settings(group, self._attributes):
            apply(self._kernel(group), **shared, **arrays, **self._attributes(group))

    def _plan_settings(self) -> Any:
        """What must stay as it is for a plan to fit, apart from states; compared before every run."""
        groups = self.param_groups
        return [(id(group), self._form(group), list(map(id, group["params"]))) for group in groups]

    def _plan_state(self) -> Any:
        """Which tensors the state consists of."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        return [(name, id(value)) for p in parameters for name, value in self.state.get(p, {}).items()]

    def _remembered_state(self) -> Callable[[], None]:
        """What puts back the states as they are now, but for values that plans alone change."""
        known = {p: (dict(state), state["step"].array.copy() if state else None) for p, state in self.state.items()}

        def put_back() -> None:
            for p in [p for p in self.state if p not in known]:
                del self.state[p]
            for p, (values, step) in known.items():
                self.state[p].clear()
                self.state[p].update(values)
                if step is not None:
                    values["step"].array[...] = step

        return put_back

    def _state_of(self, p: Tensor, group: ParamGroup) -> State:
        state = self.state[p]
        if not state:
            state["step"] = zeros((), dtype=int64)
            state.update(self._initial_state(p, group))
        return state

    # ------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, Any]:
        """The state and the settings, with parameters numbered in order; on the optimizer's own memory.

        Returns
        -------
        dict
            ``state``: for each number a dictionary; ``param_groups``: the settings, with numbers as ``params``.
        """
        numbers = self._numbers()
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            | {"params": [numbers[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]
        state = {numbers[id(p)]: dict(values) for p, values in self.state.items() if id(p) in numbers}
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def _numbers(self) -> dict[int, int]:
        parameters = (p for group in self.param_groups for p in group["params"])
        return {id(p): number for number, p in enumerate(parameters)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy state and settings from a dictionary that `state_dict` gave, here or in PyTorch.

        Parameters
        ----------
        state_dict : see `state_dict`; tensors may be arrays too.

        Raises
        ------
        ValueError : other numbers of groups or parameters, other names or shapes.
        """
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(saved, self.param_groups, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        prepared = []
        for group, old in zip(self.param_groups, saved, strict=True):
            settings = {**group, **{key: value for key, value in old.items() if key != "params"}}
            for p, number in zip(group["params"], old["params"], strict=True):
                values = state_dict["state"].get(number, state_dict["state"].get(str(number)))
                prepared.append((p, self._prepared_state(p, settings, values or {}, number)))
        for group, old in zip(self.param_groups, saved, strict=True):
            group.update({key: value for key, value in old.items() if key != "params"})
        for p, state in prepared:
            self._adopt_state(p, state)

    def _prepared_state(self, p: Tensor, settings: Mapping[str, Any], values: Mapping[str, Any], number: int) -> State:
        """New state tensors with the loaded values, all checked; empty if there is nothing to load."""
        given = {name: value for name, value in values.items() if value is not None}
        if not given:
            return {}
        state = {"step": zeros((), dtype=int64), **self._initial_state(p, settings)}
        # PyTorch's SGD counts no steps: a state that it saved comes from at least one.
        given.setdefault("step", 1)
        if set(given) != set(state):
            raise ValueError(
                f"loaded state of parameter {number} has {', '.join(sorted(given))}, "
                f"expected {', '.join(sorted(state))}"
            )
        for name, target in state.items():
            source = given[name] if isinstance(given[name], Tensor) else from_numpy(np.asarray(given[name]))
            if source.numel() != target.numel() or (target.ndim and source.shape != target.shape):
                raise ValueError(
                    f"loaded state of parameter {number}: {name} has shape {list(source.shape)}, "
                    f"expected {list(target.shape)}"
                )
            target.copy_(source.detach().reshape(target.shape))
        return state

    def _adopt_state(self, p: Tensor, state: State) -> None:
        """Copy into the memory that is there, for plans know it; else take the new tensors."""
        current = self.state[p]
        if set(current) != set(state) or not state:
            self.state.pop(p, None)
            if state:
                self.state[p].update(state)
            return
        for name, value in state.items():
            current[name].copy_(value)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines += [f"Parameter Group {number}"]
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def zeros_of(p: Tensor) -> Tensor:
    """State of the shape and type of a parameter."""
    return zeros(p.shape, dtype=p.dtype)


def flat(x: Tensor | None) -> Tensor | None:
    """Optional state as kernels take it: one dimension, or absent."""
    return None if x is None else reinterpret(x, x.numel())
