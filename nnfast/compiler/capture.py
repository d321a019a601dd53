"""Capture: run a function once without computing anything, and keep the operations that it would have run.

Tensors that the function makes get memory that is reserved but never touched, so NumPy works out views and shapes as
always, and every operand is known by its address. What depends on values is refused where it is asked for.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from nnfast.grad_mode import is_grad_enabled
from nnfast.kernels.backends import current_backend
from nnfast.kernels.launch import prepare
from nnfast.tensor import Storage, Tensor, wrap_memory

from .graph import INPUT, MADE, OUTSIDE, Buffer, Graph, Node, Operand


class CaptureError(RuntimeError):
    """A function does something that a plan cannot repeat; the traceback's last line of the user's says where."""


_ADVICE = (
    "Return the tensor and look at it outside of the compiled function, keep this part out of it, or run eagerly "
    "(without nnfast.compile; Trainer(..., compile=False); nnfast train --eager)."
)


class Capture:
    """The recorder of one capture; see `nnfast.tracing.Recorder` for what it is told.

    Attributes
    ----------
    graph : what was recorded.
    tensors : those from outside that operations use: (tensor, its array, requires_grad).
    modules : those that were called.
    leaves : by id, (leaf, its gradient before, whether that was looked at).
    feeds : (memory, function that gives its values) in the order in which they were asked for.
    before, after : what Python does before and after the nodes run.
    tests : (operand, whether it is an image, check) of values of arguments.
    guards : functions whose values must stay as they are.
    """

    def __init__(self) -> None:
        self.graph = Graph()
        self.tensors: dict[int, tuple[Tensor, np.ndarray, bool]] = {}
        self.modules: dict[int, Any] = {}
        self.leaves: dict[int, tuple[Tensor, Tensor | None, bool]] = {}
        self.feeds: list[tuple[np.ndarray, Callable[[], np.ndarray]]] = []
        self.before: list[Callable[[], Any]] = []
        self.after: list[Callable[[], Any]] = []
        self.tests: list[tuple[Operand, bool, Callable[[np.ndarray], None]]] = []
        self.guards: list[Callable[[], Any]] = []
        self.finished = False
        self._starts: list[int] = []
        self._known: list[tuple[int, int, Buffer]] = []
        self._alive: list[np.ndarray] = []
        self._inputs: list[Tensor] = []
        self._read: dict[int, Tensor] = {}
        self._place: list[str] = []
        self._names: dict[int, str] = {}
        self._settings: Callable[[], Mapping[str, Any]] | None = None
        self._updated = False

    # ------------------------------------------------------------ memory

    def _register(self, array: np.ndarray, buffer: Buffer) -> None:
        start = array.__array_interface__["data"][0]
        place = bisect_right(self._starts, start)
        self._starts.insert(place, start)
        self._known.insert(place, (start, start + array.nbytes, buffer))
        self._alive.append(array)

    def _new(self, shape: tuple[int, ...], dtype: np.dtype, kind: str = MADE) -> np.ndarray:
        array = np.empty(shape, dtype)
        if array.size:
            self._register(array, Buffer(array.nbytes, kind, argument=len(self._inputs) if kind == INPUT else -1))
        return array

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """See `Recorder`."""
        return self._new(tuple(shape), np.dtype(dtype))

    def input(self, like: Tensor) -> Tensor:
        """A tensor that stands for an argument."""
        memory = self._new(like.memory.shape, like.dtype, INPUT)
        storage = Storage()
        storage.capture = self
        made = wrap_memory(memory, storage)
        made._requires_grad = like.requires_grad
        self._inputs.append(made)
        return made

    def operand(self, array: np.ndarray) -> Operand | None:
        """The operand that an array stands for; None for one without elements."""
        if array.size == 0:
            return None
        start = array.__array_interface__["data"][0]
        place = bisect_right(self._starts, start) - 1
        if place < 0 or start >= self._known[place][1]:
            root = array
            while isinstance(root.base, np.ndarray):
                root = root.base
            self._register(root, Buffer(root.nbytes, OUTSIDE, array=root))
            place = bisect_right(self._starts, start) - 1
        first, _, buffer = self._known[place]
        return Operand(buffer, array.shape, array.dtype, start - first)

    # ------------------------------------------------------------ operations

    def run(
        self,
        name: str,
        arrays: Mapping[str, np.ndarray],
        attributes: Mapping[str, Any],
        outputs: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """See `Recorder`."""
        binding, results = prepare(
            name, arrays, attributes, outputs, current_backend(), lambda _, shape, dtype: self._new(shape, dtype)
        )
        operands = {key: self.operand(array) for key, array in {**arrays, **results}.items()}
        self.graph.nodes.append(Node(binding.op, operands, dict(attributes), self.place(), self._settings))
        return results

    def uses(self, tensor: Tensor) -> None:
        """See `Recorder`."""
        if tensor.storage.capture is None:
            if tensor.node is not None and is_grad_enabled():
                raise CaptureError(
                    f"nnfast.compile: a tensor of shape {list(tensor.shape)} was computed outside of the compiled "
                    "function and is on the tape, so its gradient would be lost; compute it inside, or detach() it"
                )
            self.tensors.setdefault(id(tensor), (tensor, tensor.array, tensor.requires_grad))
        elif tensor.storage.capture is not self:
            tensor.storage.capture.reads(tensor)

    def reads(self, tensor: Tensor) -> None:
        """See `Recorder`."""
        if self.finished:
            raise CaptureError(
                f"nnfast.compile: this tensor of shape {list(tensor.shape)} was made inside of a compiled function and "
                "not returned by it: its memory belongs to the plan. Return it from the function."
            )
        if tensor.storage.capture is None and not tensor.requires_grad:
            self._read[id(tensor)] = tensor  # the same in every run, unless somebody changes it: then captured again
            return
        caller = sys._getframe(2).f_code.co_name.strip("_")
        what = "an argument" if any(tensor.storage is x.storage for x in self._inputs) else "a tensor"
        raise CaptureError(
            f"nnfast.compile: {caller}() needs the values of {what} of shape {list(tensor.shape)}, which are not "
            f"known while the function is captured, and others in every run. {_ADVICE}"
        )

    def checks(self, tensor: Tensor, check: Callable[[np.ndarray], None]) -> None:
        """See `Recorder`."""
        operand = self.operand(tensor.memory)
        if operand is not None:
            self.tests.append((operand, tensor.ndim == 4, check))

    def feed(self, shape: tuple[int, ...], dtype: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        """See `Recorder`."""
        memory = np.empty(shape, dtype)
        self.feeds.append((memory, make))
        self._register(memory, Buffer(memory.nbytes, OUTSIDE, "seed", array=memory))
        return memory

    def calls(self, function: Callable[[], Any]) -> None:
        """See `Recorder`."""
        (self.after if self._updated else self.before).append(function)

    def guard(self, value: Callable[[], Any]) -> None:
        """See `Recorder`."""
        self._updated = True  # an optimizer has begun its step
        self.guards.append(value)

    # ------------------------------------------------------------ gradients

    def reads_gradient(self, leaf: Tensor) -> None:
        """See `Recorder`."""
        if leaf.is_leaf:
            self.leaves.setdefault(id(leaf), (leaf, leaf._grad, True))

    def writes_gradient(self, leaf: Tensor) -> None:
        """See `Recorder`."""
        if leaf.is_leaf:
            self.leaves.setdefault(id(leaf), (leaf, leaf._grad, False))

    def differentiates(self, root: Tensor) -> None:
        """See `Recorder`."""
        operand = self.operand(root.memory)
        if operand is not None and root.numel() == 1:
            self.graph.losses.append(operand)

    # ------------------------------------------------------------ where we are

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """See `Recorder`."""
        self._place.append(place)
        try:
            yield
        finally:
            self._place.pop()

    def place(self) -> str:
        """See `Recorder`."""
        return self._place[-1] if self._place else ""

    @contextmanager
    def settings(self, attributes: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
        """See `Recorder`."""
        self._settings = attributes
        try:
            with self.at("optimizer"):
                yield
        finally:
            self._settings = None

    @contextmanager
    def calls_module(self, module: Any) -> Iterator[None]:
        """See `Recorder`."""
        if not self._place:
            self._name_members(module)
        self.modules[id(module)] = module
        with self.at(self._names.get(id(module)) or type(module).__name__):
            yield

    def _name_members(self, root: Any) -> None:
        for name, module in root.named_modules():
            self._names.setdefault(id(module), name or type(root).__name__)
        for name, tensor in (*root.named_parameters(), *root.named_buffers()):
            operand = self.operand(tensor.memory)
            if operand is not None and not operand.buffer.name:
                operand.buffer.name = name

    # ------------------------------------------------------------ the end

    def release(self) -> None:
        """Let go of the memory that was reserved."""
        self._alive.clear()
        self._inputs.clear()

    def finish(self) -> None:
        """See that nothing was read that a run changes; from now on made tensors have no values."""
        self.finished = True
        changed = {operand.buffer for item in self.graph.nodes for operand in item.writes}
        for tensor in self._read.values():
            operand = self.operand(tensor.memory)
            if operand is not None and operand.buffer in changed:
                raise CaptureError(
                    f"nnfast.compile: a tensor of shape {list(tensor.shape)} is read while the function is captured, "
                    f"and changed by it. {_ADVICE}"
                )
            self.guards.append(lambda tensor=tensor: (id(tensor.array), tensor.storage.version))
