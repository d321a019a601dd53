"""`nnfast.profile`: where the time of compiled functions, and of operations outside of them, goes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from nnfast import dispatch
from nnfast.kernels import launch
from nnfast.kernels.backends import current_backend
from nnfast.kernels.binding import bind
from nnfast.kernels.choice import choose
from nnfast.kernels.operation import Operation, Sizes

from .graph import GUARD, Node
from .passes.algorithms import binding_of

if TYPE_CHECKING:
    from .function import CompiledFunction
    from .plan import Plan
    from .timings import Row


@dataclass(frozen=True)
class Work:
    """What a node of a plan, or an operation outside of plans, does in one run.

    Attributes
    ----------
    plan, number : which plan of the profile and which node in it, as in the plan's listing; -1 outside of plans.
    place : the path of the module; empty outside of plans.
    operation, algorithm, backend : what computes it.
    flops : its floating-point operations, as the operation declares them for a direct computation; None where memory
        is the limit.
    nbytes : the lengths of its operands, those read and those written.
    """

    plan: int
    number: int
    place: str
    operation: str
    algorithm: str
    backend: str
    flops: int | None
    nbytes: int


@dataclass(frozen=True)
class Timing:
    """One run of one stage: a kernel of a node. Times are those of `time.perf_counter`."""

    work: Work
    stage: str
    begin: float
    end: float


@dataclass
class Call:
    """One call of a compiled function, or one operation outside of them.

    Attributes
    ----------
    name : the function's name.
    thread : the Python thread.
    entered : when the call began, with the search for a plan that fits.
    begin, end : from when the plan was there until the result was.
    captured : whether the plan was made in this call, between `entered` and `begin`.
    timings : all stages in the order in which they ran.
    """

    name: str
    thread: int
    entered: float
    begin: float = 0.0
    end: float = 0.0
    captured: bool = False
    timings: list[Timing] = field(default_factory=list)

    @property
    def kernels(self) -> float:
        """Seconds in kernels."""
        return sum(timing.end - timing.begin for timing in self.timings)

    @property
    def python(self) -> float:
        """Seconds around them."""
        return self.end - self.begin - self.kernels


class Profile:
    """What `profile` recorded; ``print()`` shows the table by node.

    Attributes
    ----------
    begin, end : when the block was entered and left, in seconds of `time.perf_counter`.
    calls : calls of compiled functions.
    eager : operations outside of them, each as a call with one timing that includes its Python.
    """

    def __init__(self) -> None:
        self.begin = self.end = 0.0
        self.calls: list[Call] = []
        self.eager: list[Call] = []
        self._plans: WeakKeyDictionary[Plan, dict[Node, Work]] = WeakKeyDictionary()  # else it would keep their arenas
        self._numbers = count()

    def __enter__(self) -> Profile:
        if self.begin:
            raise RuntimeError("profile: this one was used before; make a new one")
        with _lock:
            _active.append(self)
            dispatch.timed_run = _timed_run
        self.begin = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.end = time.perf_counter()
        with _lock:
            _active.remove(self)
            if not _active:
                dispatch.timed_run = None

    def __str__(self) -> str:
        return self.table()

    def rows(self, by: str = "node") -> list[Row]:
        """The rows of `table` for programs, the longest first."""
        from .timings import rows

        return rows(self, by)

    def table(self, limit: int | None = 20, by: str = "node") -> str:
        """Where the time went, as text.

        Parameters
        ----------
        limit : how many rows to show; None for all.
        by : ``"node"``, ``"operation"`` or ``"place"`` (the module).

        Raises
        ------
        ValueError : `by` is something else.
        """
        from .timings import table

        return table(self, limit, by)

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Write all that was recorded as a Chrome trace, for ui.perfetto.dev or chrome://tracing.

        Parameters
        ----------
        path : a JSON file; one that is there is replaced at once and whole.
        """
        from .trace import write

        write(self, path)

    def plan_works(self, plan: Plan) -> dict[Node, Work]:
        """What the nodes of a plan do; plans are numbered in the order in which they first ran."""
        works = self._plans.get(plan)
        if works is None:
            own = next(self._numbers)
            works = {node: _node_work(plan, node, own, number) for number, node in enumerate(plan.graph.nodes)}
            self._plans[plan] = works
        return works


def profile() -> Profile:
    """Time every node of every plan that runs in a ``with`` block, on any thread.

    Nodes that could run at once are run one after the other meanwhile, so that each has a time of its own. Operations
    outside of compiled functions are recorded too, with the Python that calls them.

    Returns
    -------
    Profile
        It can be read in the block and after it: ``table``, ``rows``, ``trace``.

    Examples
    --------
    >>> import nnfast
    >>> double = nnfast.compile(lambda x: x + x)
    >>> with nnfast.profile() as p:
    ...     y = double(nnfast.ones(3))
    >>> [(row.operation, row.calls) for row in p.rows("operation") if row.operation == "add"]
    [('add', 1)]
    """
    return Profile()


_active: list[Profile] = []
_lock = threading.Lock()


class _State(threading.local):
    calling = False


_state = _State()


def timed_call(function: CompiledFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One call of a compiled function, noted in all open profiles."""
    profiles = list(_active)
    known = {variant for variants in function.variants.values() for variant in variants}
    call = Call(getattr(function, "__name__", type(function.function).__name__), threading.get_ident(),
                time.perf_counter())  # fmt: skip
    within, _state.calling = _state.calling, True
    try:
        variant = function.variant(*args, **kwargs)
        call.captured = variant not in known
        times: list[np.ndarray] = []
        call.begin = time.perf_counter()
        try:
            return variant.run(args, kwargs, times)
        finally:
            call.end = time.perf_counter()
            for profile in profiles:
                works = profile.plan_works(variant.plan)
                timings = list(_timings(variant.plan, times, works))
                profile.calls.append(Call(call.name, call.thread, call.entered, call.begin, call.end, call.captured,
                                          timings))  # fmt: skip
    finally:
        _state.calling = within


def _timings(plan: Plan, times: list[np.ndarray], works: Mapping[Node, Work]) -> Iterator[Timing]:
    """The stages that ran; those behind a guard that stopped the run did not."""
    for step, measured in zip(plan.steps, times, strict=False):
        for (node, stage), (begin, end) in zip(step.stages, measured.tolist(), strict=True):
            if end:
                yield Timing(works[node], stage, begin, end)


def _node_work(plan: Plan, node: Node, number_of_plan: int, number: int) -> Work:
    binding = None if node.op is GUARD else plan.bindings.get(node) or binding_of(node)
    flops = None if binding is None else _flops(node.op, binding.sizes)
    nbytes = sum(operand.nbytes for operand in (*node.reads, *node.writes))
    return Work(number_of_plan, number, node.place, node.name, node.algorithm, node.backend, flops, nbytes)


def _flops(op: Operation, sizes: Sizes) -> int | None:
    return None if op.flops is None else int(op.flops(sizes))


def _timed_run(
    name: str,
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
    outputs: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """`launch.run`, noted in all open profiles unless it is part of a call that is."""
    if _state.calling:
        return launch.run(name, arrays, attributes, outputs)
    begin = time.perf_counter()
    results = launch.run(name, arrays, attributes, outputs)
    end = time.perf_counter()
    work = _eager_work(name, arrays, attributes, results)
    for profile in list(_active):
        timing = Timing(work, name, begin, end)
        profile.eager.append(Call(name, threading.get_ident(), begin, begin, end, timings=[timing]))
    return results


def _eager_work(
    name: str, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any], results: Mapping[str, np.ndarray]
) -> Work:
    binding, backend = bind(name, arrays, attributes), current_backend()
    op, algorithm = binding.op, binding.algorithm
    if backend != "reference" and len(op.algorithms) > 1:
        algorithm = choose(op, binding.sizes, binding.key, backend, _known)
    read = sum(arrays[array.name].nbytes for array in op.inputs + op.updates)
    written = sum(results[array.name].nbytes for array in op.outputs)
    written += sum(arrays[array.name].nbytes for array in op.updates)
    return Work(-1, -1, "", name, algorithm, backend, _flops(op, binding.sizes), read + written)


def _known(algorithm: str) -> float:
    raise AssertionError(f"the run that just ended has chosen an algorithm, and it was not asked for {algorithm}")
