"""Capture: run a function once without computing anything, and keep the operations that it would have run.

Tensors that the function makes get memory that is reserved but never touched, so NumPy works out views and shapes as
always, and every operand is known by its address. What depends on values is refused where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from nnfast.grad_mode import is_grad_enabled
from nnfast.kernels.backends import current_backend
from nnfast.kernels.launch import prepare
from nnfast.tensor import Storage, Tensor, wrap_memory
from nnfast.tracing import structure_changed

from .errors import ADVICE, CaptureError, user_call
from .graph import INPUT, MADE, OUTSIDE, Buffer, Graph, Node, Operand
from .memory import Memory

__all__ = ["Capture", "CaptureError"]


class Capture:
    """The recorder of one capture; see `nnfast.tracing.Recorder` for what it is told.

    Attributes
    ----------
    graph : what was recorded.
    inputs : what stands for the arguments.
    tensors : those from outside that operations use: (tensor, its array, requires_grad).
    modules : those that were called or looked into.
    leaves : by id, (leaf, its gradient before, whether that was looked at).
    flags : by id, (tensor, its requires_grad before it was set, and in the end).
    modes : by id and name, (module, its flag of that name before it was set, and in the end).
    feeds : (memory, function that gives its values) in the order in which they were asked for.
    integers : copies before a run: (to, of, the number of the argument that `of` is a view of or -1, its offset there).
    before, after : what Python does before and after the nodes run.
    tests : (operand, whether it is an image, check) of values of arguments.
    guards : functions whose values must stay as they are.
    states : the same, to be looked at only when `nnfast.tracing.structure` tells of changes.
    """

    def __init__(self) -> None:
        self.graph = Graph()
        self.inputs: list[Tensor] = []
        self.tensors: dict[int, tuple[Tensor, np.ndarray, bool]] = {}
        self.modules: dict[int, Any] = {}
        self.leaves: dict[int, tuple[Tensor, Tensor | None, bool]] = {}
        self.flags: dict[int, tuple[Tensor, bool, bool]] = {}
        self.modes: dict[tuple[int, str], tuple[Any, Any, Any]] = {}
        self.feeds: list[tuple[np.ndarray, Callable[[], np.ndarray]]] = []
        self.integers: list[tuple[np.ndarray, np.ndarray, int, int]] = []
        self.before: list[Callable[[], Any]] = []
        self.after: list[Callable[[], Any]] = []
        self.tests: list[tuple[Operand, bool, Callable[[np.ndarray], None]]] = []
        self.guards: list[Callable[[], Any]] = []
        self.states: list[Callable[[], Any]] = []
        self.finished = False
        self._memory = Memory()
        self._made: dict[int, Tensor] = {}
        self._storages: dict[int, tuple[Tensor, int, bool]] = {}
        self._constants: dict[Buffer, np.ndarray | None] = {}
        self._integers: set[Buffer] = set()
        self._read: dict[int, tuple[Tensor, str]] = {}
        self._place: list[str] = []
        self._names: dict[int, str] = {}
        self._groups: dict[int, Callable[[], Mapping[str, Any]]] = {}
        self._settings: Callable[[], Mapping[str, Any]] | None = None
        self._updated: set[int] = set()
        self._scheduled: set[int] = set()
        self._undo: list[Callable[[], Any]] = []

    # ------------------------------------------------------------ memory

    def _new(self, shape: tuple[int, ...], dtype: np.dtype, kind: str = MADE) -> np.ndarray:
        array = np.empty(shape, dtype)
        if array.size:
            self._memory.add(array, Buffer(array.nbytes, kind, argument=len(self.inputs) if kind == INPUT else -1))
        return array

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """See `Recorder`."""
        if np.dtype(dtype).kind == "f":
            return self._new(tuple(shape), np.dtype(dtype))
        memory = np.empty(shape, dtype)  # integers are copied before a run, for labels are looked at then
        operand = self.operand(memory)
        if operand is not None:
            self._integers.add(operand.buffer)
        return memory

    def input(self, like: Tensor) -> Tensor:
        """A tensor that stands for an argument, or for the gradient of one."""
        if like.node is not None and is_grad_enabled():
            raise _foreign(like, "an argument")
        memory = self._new(like.memory.shape, like.dtype, INPUT)
        storage = Storage()
        storage.capture = self
        made = wrap_memory(memory, storage)
        made._requires_grad = like.requires_grad
        self.makes(made)
        self.inputs.append(made)
        return made

    def constant(self, array: np.ndarray, borrowed: bool = False) -> None:
        """See `Recorder`."""
        operand = self.operand(array)
        if operand is not None and operand.buffer.kind == OUTSIDE:
            self._constants.setdefault(operand.buffer, None if borrowed else array)

    def operand(self, array: np.ndarray) -> Operand | None:
        """The operand that an array stands for; None for one without elements."""
        return self._memory.operand(array)

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
        storage = tensor.storage
        if storage.capture is None:
            if tensor.node is not None and tensor.node.capture is not self and is_grad_enabled():
                raise _foreign(tensor, "a tensor")
            self.views(tensor)
        elif storage.capture is not self:
            storage.capture.reads(tensor)

    def makes(self, tensor: Tensor) -> None:
        """See `Recorder`."""
        self._made[id(tensor)] = tensor

    def outside(self, tensor: Tensor) -> bool:
        """Whether a tensor was there before the function was called."""
        return id(tensor) not in self._made

    def views(self, tensor: Tensor) -> None:
        """See `Recorder`."""
        storage = tensor.storage
        if storage.capture is None:
            self._storages.setdefault(id(storage), (tensor, storage.version, storage.viewed))
        if self.outside(tensor):
            self.tensors.setdefault(id(tensor), (tensor, tensor.array, tensor.requires_grad))

    def copies(self, target: Tensor, to: np.ndarray, source: Tensor, of: np.ndarray) -> bool:
        """See `Recorder`."""
        made, known = self.operand(target.memory), self.operand(source.memory)
        if made is None or known is None or made.buffer not in self._integers or known.buffer.kind == MADE:
            return False
        if self._touched(made.buffer) or self.writes(source):
            return False
        self.views(source)
        begin = source.memory.__array_interface__["data"][0] - known.offset
        number = known.buffer.argument if known.buffer.kind == INPUT else -1
        self.integers.append((to, of, number, of.__array_interface__["data"][0] - begin))
        return True

    def touches(self, memory: np.ndarray) -> bool:
        """Whether an operation reads or writes memory from outside."""
        operand = self.operand(memory)
        return operand is not None and self._touched(operand.buffer)

    def copy(self, to: np.ndarray, of: np.ndarray) -> None:
        """Add an operation that copies floats in the order in which they lie in memory."""
        once = (0, 0, 0, 0, 0, 1)
        loops = {"shape": (1, 1, 1, 1, 1, of.size), "x_strides": once, "y_strides": once, "x_offset": 0, "y_offset": 0}
        self.run("copy_strided", {"x": of.reshape(-1), "y": to.reshape(-1)}, loops)

    def _touched(self, buffer: Buffer) -> bool:
        return any(buffer is operand.buffer for item in self.graph.nodes for operand in item.touches)

    def writes(self, tensor: Tensor) -> int:
        """See `Recorder`."""
        operand = self.operand(tensor.memory)
        if operand is None:
            return 0
        return sum(any(operand.overlaps(written) for written in item.writes) for item in self.graph.nodes)

    def refuse(self, reason: str) -> None:
        """See `Recorder`."""
        raise CaptureError(f"nnfast.compile: {reason}. {ADVICE}")

    def reads(self, tensor: Tensor) -> None:
        """See `Recorder`."""
        maker = tensor.storage.capture
        if maker is not None and maker is not self:
            maker.reads(tensor)
        if self.finished:
            raise CaptureError(
                f"nnfast.compile: this tensor of shape {list(tensor.shape)} was made inside of a compiled function and "
                "not returned by it: its memory belongs to the plan. Return it from the function."
            )
        operand = self.operand(tensor.memory)
        if operand is None:
            return
        caller, place = user_call()
        known = maker is None and operand.buffer.kind == OUTSIDE
        if known and not tensor.requires_grad and not self.writes(tensor):
            # The same in every run, unless somebody changes it: then captured again.
            self._read[id(tensor)] = tensor, f"{caller} at {place}"
            return
        what = "an argument" if operand.buffer.kind == INPUT else "a parameter" if known else "a tensor"
        raise CaptureError(
            f"nnfast.compile: {caller} needs the values of {what} of shape {list(tensor.shape)} while the function is "
            f"captured, when they are not known: each run has its own. {ADVICE}"
        )

    def changes(self, tensor: Tensor) -> None:
        """See `Recorder`."""
        operand = self.operand(tensor.memory)
        if operand is None:
            return
        if self._touched(operand.buffer) or self._constants.get(operand.buffer) is None:
            self.refuse(
                f"{user_call()[0]} changes a tensor of {tensor.dtype} and shape {list(tensor.shape)} without a "
                "kernel, which would happen in the first run only"
            )

    def checks(self, tensor: Tensor, check: Callable[[np.ndarray], None]) -> None:
        """See `Recorder`."""
        operand = self.operand(tensor.memory)
        if operand is None:
            return
        if operand.buffer.kind == MADE or self.writes(tensor):
            self.refuse(f"labels of shape {list(tensor.shape)} are computed by the function, and so cannot be checked")
        self.tests.append((operand, tensor.ndim == 4, check))

    def feed(self, shape: tuple[int, ...], dtype: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        """See `Recorder`."""
        memory = np.empty(shape, dtype)
        self.feeds.append((memory, make))
        self._memory.add(memory, Buffer(memory.nbytes, OUTSIDE, "seed", array=memory))
        return memory

    def updates(self, optimizer: Any, settings: Callable[[], Any], state: Callable[[], Any]) -> None:
        """See `Recorder`."""
        if id(optimizer) in self._scheduled:
            self.refuse("an optimizer makes a second step, after a step of its scheduler, in one function")
        self._updated.add(id(optimizer))
        self.guards.append(settings)
        self.states.append(state)

    def calls(self, optimizer: Any, function: Callable[[], Any]) -> None:
        """See `Recorder`."""
        if id(optimizer) in self._updated:
            self._scheduled.add(id(optimizer))
            self.after.append(function)
        else:
            self.before.append(function)

    def undoes(self, function: Callable[[], Any]) -> None:
        """See `Recorder`."""
        self._undo.append(function)

    def sets_mode(self, module: Any, name: str) -> None:
        """See `Recorder`."""
        self.visits(module)
        if name in module.__dict__:
            self.modes.setdefault((id(module), name), (module, module.__dict__[name], False))

    def sets_requires_grad(self, tensor: Tensor) -> None:
        """See `Recorder`."""
        if self.outside(tensor):
            self.views(tensor)
        if self.outside(tensor) or any(tensor is x for x in self.inputs):
            self.flags.setdefault(id(tensor), (tensor, tensor.requires_grad, False))

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
    def settings(self, group: Any, attributes: Callable[[Any], Mapping[str, Any]]) -> Iterator[None]:
        """See `Recorder`."""
        self._settings = self._groups.setdefault(id(group), partial(attributes, group))
        try:
            yield
        finally:
            self._settings = None

    def visits(self, module: Any) -> None:
        """See `Recorder`."""
        self.modules.setdefault(id(module), module)

    @contextmanager
    def calls_module(self, module: Any) -> Iterator[None]:
        """See `Recorder`."""
        if id(module) not in self._names:
            self._name_members(module)
        self.visits(module)
        with self.at(self._names[id(module)]):
            yield

    def _name_members(self, root: Any) -> None:
        for name, module in root.named_modules():
            self._names.setdefault(id(module), name or type(root).__name__)
        for name, tensor in (*root.named_parameters(), *root.named_buffers()):
            operand = self.operand(tensor.memory)
            if operand is not None and not operand.buffer.name:
                operand.buffer.name = name

    # ------------------------------------------------------------ the end

    def finish(self) -> None:
        """See that nothing was read that a run changes, and that every run begins with the same constants."""
        changed = {operand.buffer for item in self.graph.nodes for operand in item.writes}
        for tensor, where in self._read.values():
            if self.writes(tensor):
                self.refuse(f"{where} needs the values of a tensor of shape {list(tensor.shape)} that is changed after")
            self.guards.append(partial(_identity, tensor, tensor.array))
        for buffer, array in self._constants.items():
            if buffer not in changed:
                continue
            if array is None:
                self.refuse("the memory of an array that from_numpy() was given in the function is changed in place")
            else:
                self.feeds.append((array, partial(_itself, array.copy())))

    def memories(self) -> list[tuple[Storage, np.ndarray]]:
        """The storages of tensors from outside, and their memory."""
        return [(tensor.storage, tensor.memory) for tensor, _, _ in self._storages.values()]

    def restore(self, failed: bool) -> list[tuple[Tensor, Tensor | None]]:
        """Put everything outside back as it was; the gradients that leaves had in the end.

        A tensor made by the capture has no values from now on.
        """
        self.finished = True
        if failed:
            for function in reversed(self._undo):
                function()
        known = [leaf for leaf, _, _ in self.leaves.values()]
        final = [(leaf, leaf._grad) for leaf in known if self.outside(leaf) or any(leaf is x for x in self.inputs)]
        for leaf, before, _ in self.leaves.values():
            leaf._grad = before
        for key in [key for key, (leaf, _, _) in self.leaves.items() if not self.outside(leaf)]:
            del self.leaves[key]
        for key, (tensor, flag, _) in self.flags.items():
            self.flags[key] = tensor, flag, tensor._requires_grad
            tensor._requires_grad = flag
        for (key, name), (module, mode, _) in self.modes.items():
            self.modes[key, name] = module, mode, module.__dict__[name]
            module.__dict__[name] = mode
        for tensor, version, viewed in self._storages.values():
            tensor.storage.version, tensor.storage.viewed = version, viewed
        structure_changed()
        if failed:
            self.release()
        return final

    def release(self) -> None:
        """Let go of everything: tensors that escaped keep this object, and nothing with it."""
        vars(self).update(vars(Capture()))
        self.finished = True


def _foreign(tensor: Tensor, what: str) -> CaptureError:
    return CaptureError(
        f"nnfast.compile: {what} of shape {list(tensor.shape)} was computed outside of the compiled function and is on "
        "the tape, so its gradient would be lost; compute it inside, or detach() it"
    )


def _identity(tensor: Tensor, array: np.ndarray) -> Any:
    return tensor.array is array, tensor.storage.version


def _itself(array: np.ndarray) -> np.ndarray:
    return array
