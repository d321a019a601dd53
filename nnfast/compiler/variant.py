"""A variant of a compiled function: what was captured for one kind of arguments, and a call of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CellType
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast.kernels import runtime
from nnfast.kernels.threads import get_num_threads
from nnfast.nn.module import Module
from nnfast.nn.parameter import Parameter
from nnfast.tape import Node as TapeNode
from nnfast.tensor import Tensor, wrap_memory
from nnfast.tracing import recorded_by

from .capture import Capture
from .diagnosis import explained
from .graph import INPUT, MADE, OUTSIDE, Operand
from .guards import Guards
from .nesting import mapped, tensors
from .optimize import optimize
from .plan import Plan, view_of

if TYPE_CHECKING:
    from .function import CompiledFunction


@dataclass
class _Output:
    """A tensor that a run gives: one that was given to it, or a copy of what the plan computed.

    Attributes
    ----------
    given : its number among the tensors that the call was given, or -1.
    number : its number among the graph's results, which passes may replace, or -1 for one without elements.
    empty : a tensor without elements.
    """

    given: int = -1
    number: int = -1
    empty: np.ndarray | None = None
    requires_grad: bool = False
    on_tape: bool = False
    gradient: _Output | Tensor | None = None


class Variant:
    """A captured function: what it was captured as, its plan, and what Python does around a run.

    Attributes
    ----------
    captured, graph : the operations before and after the passes.
    plan : what runs.
    guards : what must hold.
    backend : what it was captured for.
    parameters : how many elements each of them has.
    """

    def __init__(self, function: CompiledFunction, args: tuple[Any, ...], kwargs: dict[str, Any], backend: str) -> None:
        capture = Capture()
        given = _given(args, kwargs)
        replaced_args, replaced_kwargs = _stand_ins(capture, args, kwargs)
        for module in _modules(function.function, args, kwargs):
            capture.visits(module)
        failed = True
        try:
            with recorded_by(capture):
                returned = function.function(*replaced_args, **replaced_kwargs)
            capture.finish()
            _copy_integers(capture.integers, given)
            for operand, image, check in capture.tests:
                check(_values(operand, image, given))
            _check_apart(capture, given)
            failed = False
        finally:
            gradients = capture.restore(failed)
        self.kept: list[tuple[Tensor, Tensor | None]] = []
        self.new_gradients: list[tuple[Tensor | int, Any]] = []
        for leaf, gradient in gradients:
            self._keep_gradient(function, capture, leaf, gradient)
        self.returned = mapped(returned, Tensor, lambda tensor: _output(capture, tensor))
        stand_ins = {id(tensor): number for number, tensor in enumerate(capture.inputs)}
        self.flags = [(stand_ins.get(id(x), x), now) for x, _, now in capture.flags.values()]
        self.modes = [(module, name, now) for (_, name), (module, _, now) in capture.modes.items()]
        self.guards = Guards(capture)
        self.backend = backend
        self.parameters = tuple(tensor.numel() for tensor, _, trained in capture.tensors.values() if trained)
        self.captured = capture.graph
        self.captured.threads = runtime.usable_threads(get_num_threads())
        self.integers, self.feeds, self.tests = capture.integers, capture.feeds, capture.tests
        self.before, self.after = capture.before, capture.after
        self.storages, self.changed = _changed(capture)
        self.storages += [gradient.storage for _, gradient in self.kept if gradient is not None]
        self.held: list[Parameter] = []
        mapped((args, kwargs), Parameter, self.held.append)
        capture.release()
        self.graph = optimize(self.captured, backend, function.without)
        self.plan = Plan(self.graph, function.arena)

    def _keep_gradient(
        self, function: CompiledFunction, capture: Capture, leaf: Tensor, gradient: Tensor | None
    ) -> None:
        """Give the gradient that a leaf has in the end memory of its own, which all plans of a function share."""
        stand_in = next((number for number, x in enumerate(capture.inputs) if x is leaf), -1)
        operand = None if gradient is None else capture.operand(gradient.memory)
        if stand_in >= 0:
            self.new_gradients.append((stand_in, None if gradient is None else _output(capture, gradient)))
        elif gradient is None or operand is None or gradient.storage.capture is not capture:
            self.kept.append((leaf, gradient))
        elif operand.buffer.kind == MADE and operand.whole:
            known = function.gradient(leaf, gradient)
            if capture.touches(known.memory):  # by what the leaf had before, which may be read to the end
                capture.copy(known.memory, gradient.memory)
            else:
                operand.buffer.kind, operand.buffer.array = OUTSIDE, known.memory
            own = capture.operand(leaf.memory)
            name = "" if own is None else own.buffer.name
            operand.buffer.name = f"{name}.grad" if name else ""
            capture.graph.gradients.append((name, operand))
            self.kept.append((leaf, known))
        else:  # a part of a larger tensor, or another leaf's
            self.new_gradients.append((leaf, _output(capture, gradient)))

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any], times: list[np.ndarray] | None = None) -> Any:
        """One call of the function."""
        given = _given(args, kwargs)
        self.plan.attach([tensor.memory for tensor in given])
        _copy_integers(self.integers, given)
        for operand, image, check in self.tests:
            check(_values(operand, image, given))
        for function in self.before:
            function()
        for memory, make in self.feeds:
            memory[...] = make()
        stopped = self.plan.run(times)
        if stopped is not None:
            raise explained(self.plan, self.graph)
        result = mapped(self.returned, _Output, lambda output: self._result(output, given))
        for leaf, gradient in self.kept:
            leaf._grad = gradient
        for target, output in self.new_gradients:
            leaf = given[target] if isinstance(target, int) else target
            leaf._grad = self._result(output, given) if isinstance(output, _Output) else output
        for target, flag in self.flags:
            (given[target] if isinstance(target, int) else target).requires_grad = flag
        for module, name, mode in self.modes:
            setattr(module, name, mode)
        for storage in self.storages:
            storage.version += 1
        for number in self.changed:
            given[number].storage.version += 1
        for function in self.after:
            function()
        return result

    def _result(self, output: _Output, given: Sequence[Tensor]) -> Tensor:
        """A returned tensor with this run's values."""
        if output.given >= 0:
            return given[output.given]
        if output.empty is None:
            made = wrap_memory(self.plan.view(self.graph.results[output.number]).copy())
        else:
            made = wrap_memory(output.empty.copy())
        made._requires_grad = output.requires_grad
        if output.on_tape:
            made.node = TapeNode("compiled", [], _no_backward, [])
        if output.gradient is not None:
            gradient = output.gradient
            made._grad = self._result(gradient, given) if isinstance(gradient, _Output) else gradient
        return made


def _no_backward(dy: Tensor, needs: tuple[bool, ...]) -> Any:
    raise RuntimeError(
        "this tensor was computed by a compiled function, whose intermediate values are gone; call backward() inside "
        "of the compiled function, so that the whole step is compiled"
    )


# ---------------------------------------------------------------- arguments and results


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that a call is given: arguments, and those of their gradients that a run adds to."""
    found = tensors((args, kwargs))
    return found + [x._grad for x in found if x._requires_grad and x._grad is not None]


def _stand_ins(capture: Capture, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The arguments with tensors that have no values in place of theirs, in the order of `_given`."""
    found = tensors((args, kwargs))
    stand_ins = {id(x): capture.input(x) for x in found}
    for x in found:
        if x._requires_grad and x._grad is not None:
            stand_ins[id(x)]._grad = capture.input(x._grad)
    return mapped((args, kwargs), Tensor, lambda x: stand_ins.get(id(x), x))


def _modules(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Module]:
    """The modules that a function is given or finds around it: what they are set to may decide over what it does."""
    found: list[Module] = []
    mapped((args, kwargs, getattr(function, "__self__", None)), Module, found.append)
    inner = getattr(function, "__func__", function)
    code = getattr(inner, "__code__", None)
    if code is not None:
        cells = [cell.cell_contents for cell in inner.__closure__ or () if cell != CellType()]
        named = [inner.__globals__.get(name) for name in code.co_names]
        found += [value for value in (*cells, *named) if isinstance(value, Module)]
    return found


def _check_apart(capture: Capture, given: Sequence[Tensor]) -> None:
    """See that what the function changes is no argument's memory under another name.

    Raises
    ------
    CaptureError : it is; a plan would not know in which order to read and to write.
    """
    written = {operand.buffer for item in capture.graph.nodes for operand in item.writes}
    for number, x in enumerate(given):
        for buffer in capture.graph.buffers():
            if buffer.kind == MADE or buffer.argument == number:
                continue
            other = buffer.array if buffer.kind == OUTSIDE else given[buffer.argument].memory
            changed = buffer in written or any(each.argument == number for each in written)
            if changed and other is not None and np.may_share_memory(x.memory, other):
                capture.refuse(
                    f"an argument of shape {list(x.shape)} shares memory with another tensor of the function, which "
                    "changes one of them; pass a clone()"
                )


def _values(operand: Operand, image: bool, given: Sequence[Tensor]) -> np.ndarray:
    """The values of an operand before a run."""
    buffer = operand.buffer
    array = given[buffer.argument].memory if buffer.kind == INPUT else buffer.array
    assert array is not None
    return view_of(array, operand).transpose(0, 3, 1, 2) if image else view_of(array, operand)


def _copy_integers(copies: Sequence[tuple[np.ndarray, np.ndarray, int, int]], given: Sequence[Tensor]) -> None:
    """Rearrange labels and other integers that are known before a run."""
    for to, of, number, offset in copies:
        source = of
        if number >= 0:
            memory = given[number].memory.reshape(-1).view(np.uint8)
            source = np.ndarray(of.shape, of.dtype, memory.data, offset, of.strides)
        np.copyto(to, source)


def _output(capture: Capture, tensor: Tensor) -> _Output | Tensor:
    """What a run gives in place of a tensor that the function returned."""
    for number, stand_in in enumerate(capture.inputs):
        if tensor is stand_in:
            return _Output(number)
    if tensor.storage.capture is not capture:
        return tensor
    operand = capture.operand(tensor.memory)
    if operand is None:
        return _Output(empty=tensor.memory)
    capture.graph.results.append(operand)
    made = _Output(-1, len(capture.graph.results) - 1, None, tensor.requires_grad, tensor.node is not None)
    made.gradient = None if tensor._grad is None else _output(capture, tensor._grad)
    return made


def _changed(capture: Capture) -> tuple[list[Any], list[int]]:
    """The storages of tensors from outside that a run changes, and the numbers of given tensors."""
    written = {operand.buffer for item in capture.graph.nodes for operand in item.writes}
    storages = []
    for storage, memory in capture.memories():
        operand = capture.operand(memory)
        if operand is not None and operand.buffer.kind == OUTSIDE and operand.buffer in written:
            storages.append(storage)
    return storages, sorted(buffer.argument for buffer in written if buffer.kind == INPUT)
