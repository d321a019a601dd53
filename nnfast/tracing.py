"""The hook of `nnfast.compile`: while a thread captures a function, operations go to its recorder instead of kernels.

Everything in nnfast that depends on values of tensors, draws random numbers or keeps state asks `recorder` whether it
is being captured. `nnfast.compiler.capture` is the one implementation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from .tensor import Tensor


class Recorder(Protocol):
    """What a capture must be told."""

    def run(
        self,
        name: str,
        arrays: Mapping[str, np.ndarray],
        attributes: Mapping[str, Any],
        outputs: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Note an operation; the arrays that it would have written, of memory that nobody may read."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Memory of a tensor that the function makes."""

    def constant(self, array: np.ndarray, borrowed: bool = False) -> None:
        """Note a new tensor's memory that NumPy filled, so that every run begins with it; or that may be others'."""

    def uses(self, tensor: Tensor) -> None:
        """Note a tensor that an operation reads or changes."""

    def makes(self, tensor: Tensor) -> None:
        """Note a new tensor, which may be a view of others' memory."""

    def views(self, tensor: Tensor) -> None:
        """Note a tensor whose memory is used."""

    def visits(self, module: Any) -> None:
        """Note a module whose members are looked at."""

    def reads(self, tensor: Tensor) -> None:
        """Values of a tensor are wanted now; refused unless they are the same in every run."""

    def changes(self, tensor: Tensor) -> None:
        """NumPy is about to change values of a tensor; refused unless every run begins with what it leaves."""

    def copies(self, target: Tensor, to: np.ndarray, source: Tensor, of: np.ndarray) -> bool:
        """Note a copy of integers, view `of` of `source` to view `to` of `target`; False if not known before a run."""

    def writes(self, tensor: Tensor) -> int:
        """How many operations so far change a tensor."""

    def refuse(self, reason: str) -> None:
        """Raise the error that says that a plan cannot repeat what is being done."""

    def checks(self, tensor: Tensor, check: Callable[[np.ndarray], None]) -> None:
        """Values of an argument must pass a check in every run."""

    def feed(self, shape: tuple[int, ...], dtype: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Memory of a shape and type that is filled with what `make` returns before every run."""

    def updates(self, optimizer: Any, settings: Callable[[], Any], state: Callable[[], Any]) -> None:
        """An optimizer makes a step: to be captured again when `settings` or, looked at less often, `state` differ."""

    def calls(self, optimizer: Any, function: Callable[[], Any]) -> None:
        """Note what Python has to do to an optimizer in every run, such as a schedule's step."""

    def undoes(self, function: Callable[[], Any]) -> None:
        """What puts back what the capture changed, should it fail."""

    def sets_mode(self, module: Any, name: str) -> None:
        """A module's flag of this name, such as `training`, is about to change."""

    def sets_requires_grad(self, tensor: Tensor) -> None:
        """`tensor.requires_grad` is about to change."""

    def reads_gradient(self, leaf: Tensor) -> None:
        """`leaf.grad` is looked at."""

    def writes_gradient(self, leaf: Tensor) -> None:
        """`leaf.grad` is about to be replaced."""

    def differentiates(self, root: Tensor) -> None:
        """A backward pass starts at `root`."""

    def at(self, place: str) -> Any:
        """A context in which operations belong to `place`, a module's path."""

    def place(self) -> str:
        """Where operations belong at present."""

    def settings(self, group: Any, attributes: Callable[[Any], Mapping[str, Any]]) -> Any:
        """A context in which operations take attributes that may change from run to run: ``attributes(group)``."""

    def calls_module(self, module: Any) -> Any:
        """A context in which `module` computes."""


class _Structure:
    token = object()


_structure = _Structure()


def structure() -> object:
    """Another object whenever memory, flags or members of anything that plans take for granted may have changed."""
    return _structure.token


def structure_changed() -> None:
    """Tell plans to look again whether modules, parameters and states of optimizers are those that they know."""
    _structure.token = object()


class Members(dict):
    """A dictionary that tells when it changes: what a module consists of, an optimizer's state."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        structure_changed()

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        structure_changed()

    def __ior__(self, other: Any) -> Members:  # type: ignore[override, misc]
        self.update(other)
        return self

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As of any dictionary."""
        super().update(*args, **kwargs)
        structure_changed()

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """As of any dictionary."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, *args: Any) -> Any:
        """As of any dictionary."""
        found = super().pop(*args)
        structure_changed()
        return found

    def popitem(self) -> Any:
        """As of any dictionary."""
        found = super().popitem()
        structure_changed()
        return found

    def clear(self) -> None:
        """As of any dictionary."""
        super().clear()
        structure_changed()


class _State(threading.local):
    recorder: Recorder | None = None


_state = _State()


def recorder() -> Recorder | None:
    """The recorder of this thread's capture, or None."""
    return _state.recorder


@contextmanager
def recorded_by(new: Recorder | None) -> Iterator[None]:
    """Hand operations to `new` in a ``with`` block; None runs them at once, even within a capture."""
    before, _state.recorder = _state.recorder, new
    try:
        yield
    finally:
        _state.recorder = before
