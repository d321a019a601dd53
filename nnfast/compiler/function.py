"""`nnfast.compile`: a function that is captured once for each kind of arguments, and then replayed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast import dispatch
from nnfast.grad_mode import is_grad_enabled
from nnfast.kernels import runtime
from nnfast.kernels.backends import current_backend
from nnfast.kernels.choice import get_conv_algorithm
from nnfast.kernels.threads import get_num_threads
from nnfast.tape import Node as TapeNode
from nnfast.tensor import Tensor, wrap
from nnfast.tracing import recorded_by, recorder

from .capture import Capture
from .diagnosis import explained
from .graph import OUTSIDE
from .guards import Guards
from .optimize import PASSES, optimize
from .plan import Arena, Plan

if TYPE_CHECKING:
    from .listing import Listing

KEPT = 32
"""Plans that a function keeps for one kind of arguments; the oldest goes first."""


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
        stand_ins = {id(tensor): capture.input(tensor) for tensor in _tensors((args, kwargs))}
        replaced = _mapped((args, kwargs), lambda tensor: stand_ins[id(tensor)])
        try:
            with recorded_by(capture):
                self.returned = function.function(*replaced[0], **replaced[1])
            capture.finish()
            self._keep_gradients(function, capture)
        finally:
            for leaf, before, _ in capture.leaves.values():
                leaf._grad = before
        self._keep_results(capture)
        self.guards = Guards(capture)
        self.backend = backend
        self.parameters = tuple(tensor.numel() for tensor, _, trained in capture.tensors.values() if trained)
        self.captured = capture.graph
        self.captured.threads = runtime.usable_threads(get_num_threads())
        self.feeds, self.before, self.after, self.tests = capture.feeds, capture.before, capture.after, capture.tests
        self.storages = _changed(capture)
        capture.release()
        self.graph = optimize(self.captured, backend, function.without)
        self.plan = Plan(self.graph, function.arena)

    def _keep_gradients(self, function: CompiledFunction, capture: Capture) -> None:
        """Give the gradients that leaves have in the end memory of their own, which all plans of a function share."""
        self.gradients: list[tuple[Tensor, Tensor | None]] = []
        for leaf, _, _ in capture.leaves.values():
            final = leaf._grad
            if final is not None and final.storage.capture is capture:
                operand = capture.operand(final.memory)
                if operand is not None and operand.buffer.kind != OUTSIDE:
                    array = function.gradient_memory(leaf, operand.buffer.nbytes)
                    operand.buffer.kind, operand.buffer.array = OUTSIDE, array
                    known = capture.operand(leaf.memory)
                    name = "" if known is None else known.buffer.name
                    operand.buffer.name = f"{name}.grad" if name else ""
                    capture.graph.gradients.append((name, operand))
                    memory = array[operand.offset : operand.offset + operand.nbytes].view(operand.dtype)
                    memory = memory.reshape(operand.shape)
                    final = wrap(memory.transpose(0, 3, 1, 2) if memory.ndim == 4 else memory)
            self.gradients.append((leaf, final))

    def _keep_results(self, capture: Capture) -> None:
        """Note which of the returned tensors the plan computes."""
        self.results: dict[int, tuple[int, bool, bool]] = {}  # number among the graph's, which passes may replace
        for tensor in _tensors(self.returned):
            if tensor.storage.capture is capture:
                operand = capture.operand(tensor.memory)
                if operand is not None:
                    self.results[id(tensor)] = len(capture.graph.results), tensor.ndim == 4, tensor.requires_grad
                    capture.graph.results.append(operand)

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any], times: list[np.ndarray] | None = None) -> Any:
        """One call of the function."""
        inputs = [tensor.memory for tensor in _tensors((args, kwargs))]
        for function in self.before:
            function()
        self.plan.attach(inputs)
        for operand, image, check in self.tests:
            values = self.plan.view(operand)
            check(values.transpose(0, 3, 1, 2) if image else values)
        for memory, make in self.feeds:
            memory[...] = make()
        stopped = self.plan.run(times)
        if stopped is not None:
            raise explained(self.plan, self.graph)
        for leaf, gradient in self.gradients:
            leaf._grad = gradient
        for storage in self.storages:
            storage.version += 1
        for function in self.after:
            function()
        return _mapped(self.returned, self._result)

    def _result(self, tensor: Tensor) -> Tensor:
        """A returned tensor with this run's values."""
        if id(tensor) not in self.results:
            return tensor
        number, image, on_tape = self.results[id(tensor)]
        values = self.plan.view(self.graph.results[number]).copy()
        made = wrap(values.transpose(0, 3, 1, 2) if image else values)
        if on_tape:
            made.node = TapeNode("compiled", [], _no_backward, [])
            made._requires_grad = True
        return made


def _no_backward(dy: Tensor, needs: tuple[bool, ...]) -> Any:
    raise RuntimeError(
        "this tensor was computed by a compiled function, whose intermediate values are gone; call backward() inside "
        "of the compiled function, so that the whole step is compiled"
    )


class CompiledFunction:
    """What `compile` returns; call it as the function itself.

    Attributes
    ----------
    function : what was compiled.
    variants : what was captured so far, by kind of arguments.
    latest : what was captured last.
    """

    def __init__(self, function: Callable[..., Any], without: Collection[str]) -> None:
        self.function = function
        self.without = frozenset(without)
        self.variants: dict[Any, list[Variant]] = {}
        self.latest: Variant | None = None
        self.arena = Arena()
        self._gradients: dict[int, tuple[Tensor, np.ndarray]] = {}
        self._lock = threading.RLock()
        update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if recorder() is not None:  # within another capture: part of it
            return self.function(*args, **kwargs)
        with self._lock:
            if dispatch.timed_run is not None:
                from .profiler import timed_call

                return timed_call(self, args, kwargs)
            return self.variant(*args, **kwargs).run(args, kwargs)

    def variant(self, *args: Any, **kwargs: Any) -> Variant:
        """The capture that fits these arguments and the present state of modules and optimizers; made if need be."""
        backend = current_backend()
        key = (
            _kind((args, kwargs)),
            is_grad_enabled(),
            backend,
            get_conv_algorithm(),
            runtime.usable_threads(get_num_threads()),
        )
        known = self.variants.setdefault(key, [])
        for variant in known:
            if variant.guards.hold():
                return variant
        made = Variant(self, args, kwargs, backend)
        known.append(made)
        self.latest = made
        del known[:-KEPT]
        return made

    def gradient_memory(self, leaf: Tensor, nbytes: int) -> np.ndarray:
        """Memory for the gradient of a leaf, the same for all plans."""
        known = self._gradients.get(id(leaf))
        if known is None or known[1].nbytes < nbytes:
            known = self._gradients[id(leaf)] = leaf, np.zeros(nbytes, np.uint8)
        return known[1][:nbytes]

    def plan(self) -> Listing:
        """What was captured last, before and after the passes, to be printed.

        Raises
        ------
        RuntimeError : the function was not called yet.
        """
        if self.latest is None:
            raise RuntimeError("compile: nothing was captured yet; call the function first")
        from .listing import listed

        return listed(self.latest)


def compile(
    function: Callable[..., Any] | None = None, *, without: Collection[str] = ()
) -> CompiledFunction | Callable[[Callable[..., Any]], CompiledFunction]:
    """Capture what a function does to tensors on its first call, and replay it as one plan from then on.

    Parameters
    ----------
    function : a whole training step (forward pass, loss, ``backward()``, clipping, ``optimizer.step()``), or a forward
        pass without gradients. Its arguments may hold tensors in any nesting; other arguments must be hashable.
    without : names of passes to leave out, for looking into a difference; see `nnfast.compiler.optimize.PASSES`.

    Returns
    -------
    CompiledFunction
        To be called as `function`. Returned tensors are copies. It is captured again, at once and by itself, for other
        shapes, types or plain arguments, after ``train()`` or ``eval()``, for another backend, and when parameters,
        modules or optimizers are changed.

    Raises
    ------
    CaptureError : at the call, where the function depends on values of tensors, e.g. by ``item()`` or a branch.
    NonFiniteError : the loss or a gradient is not finite; parameters and statistics are as before the call.

    Notes
    -----
    Python in the function runs when it is captured, and not again: what it prints or appends to a list happens once.
    Learning rates, schedules, settings of optimizers and random numbers are the exception: each run has its own.

    Examples
    --------
    >>> import nnfast
    >>> from nnfast import nn, optim
    >>> from nnfast import functional as F
    >>> model = nn.Linear(2, 2)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
    >>> @nnfast.compile
    ... def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = F.cross_entropy(model(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> x, y = nnfast.ones(4, 2), nnfast.tensor([0, 0, 1, 0])
    >>> bool(step(x, y) > step(x, y))
    True
    """
    unknown = set(without) - set(PASSES)
    if unknown:
        raise ValueError(f"compile: without names {', '.join(sorted(unknown))}; there are {', '.join(PASSES)}")
    if function is None:
        return lambda function: CompiledFunction(function, without)
    if not callable(function):
        raise TypeError(f"compile: function is {type(function).__name__}, expected something to call")
    return CompiledFunction(function, without)


# ---------------------------------------------------------------- arguments and results


def _tensors(value: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dictionaries, each once."""
    found: dict[int, Tensor] = {}

    def visit(part: Any) -> None:
        if isinstance(part, Tensor):
            found.setdefault(id(part), part)
        elif isinstance(part, Mapping):
            for item in part.values():
                visit(item)
        elif isinstance(part, (tuple, list)):
            for item in part:
                visit(item)

    visit(value)
    return list(found.values())


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nesting with other tensors."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return type(value)({key: _mapped(item, change) for key, item in value.items()})  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(item, change) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(item, change) for item in value)
    return value


def _kind(value: Any) -> Any:
    """What of an argument a plan depends on: shapes and types of tensors, values of all else."""
    numbers: dict[int, int] = {}

    def kind(part: Any) -> Any:
        if isinstance(part, Tensor):
            number = numbers.setdefault(id(part), len(numbers))
            return "tensor", part.array.shape, part.array.dtype.num, part._requires_grad, number
        if isinstance(part, Mapping):
            return "mapping", tuple((key, kind(item)) for key, item in part.items())
        if isinstance(part, (tuple, list)):
            return type(part).__name__, tuple(kind(item) for item in part)
        try:
            hash(part)
        except TypeError:
            raise TypeError(
                f"compile: an argument is {type(part).__name__}, expected tensors, or what is hashable; make a tensor "
                "of an array with nnfast.from_numpy"
            ) from None
        return type(part).__name__, part

    return kind(value)


def _changed(capture: Capture) -> Sequence[Any]:
    """The storages of tensors from outside that a run changes."""
    nodes = capture.graph.nodes
    written = {operand.buffer for item in nodes for operand in item.writes if operand.buffer.kind == OUTSIDE}
    found = {}
    for tensor, _, _ in capture.tensors.values():
        operand = capture.operand(tensor.memory)
        if operand is not None and operand.buffer in written:
            found[id(tensor.storage)] = tensor.storage
    return list(found.values())
