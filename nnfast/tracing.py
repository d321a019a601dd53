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

    def uses(self, tensor: Tensor) -> None:
        """Note a tensor that an operation reads or changes."""

    def reads(self, tensor: Tensor) -> None:
        """Values of a tensor are wanted now; refused unless they are the same in every run."""

    def checks(self, tensor: Tensor, check: Callable[[np.ndarray], None]) -> None:
        """Values of an argument must pass a check in every run."""

    def feed(self, shape: tuple[int, ...], dtype: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Memory of a shape and type that is filled with what `make` returns before every run."""

    def calls(self, function: Callable[[], Any]) -> None:
        """Note what Python has to do in every run, such as a schedule's step."""

    def guard(self, value: Callable[[], Any]) -> None:
        """The function must be captured again when `value` gives something else."""

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

    def settings(self, attributes: Callable[[], Mapping[str, Any]]) -> Any:
        """A context in which operations take attributes that may change from run to run."""

    def calls_module(self, module: Any) -> Any:
        """A context in which `module` computes."""


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
