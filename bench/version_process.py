"""One version's side of a comparison of commits, run by `versions.worker`: checks and times variants on request."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .worker import serve

if TYPE_CHECKING:
    from .calls import Call
    from .workload import Workload


def main(threads: int) -> None:
    """Answer until nobody asks any more."""
    calls: dict[str, Call] = {}
    answers: dict[str, Callable[..., dict[str, Any]]] = {
        "compile": _compile,
        "load": lambda **workload: _load(calls, workload),
        "time": lambda **request: _time(calls, **request),
    }

    def hello() -> dict[str, Any]:
        import nnfast

        nnfast.set_num_threads(threads)
        return {"file": nnfast.__file__}

    serve(hello, lambda request: answers[request.pop("do")](**request))


def given(workload: dict[str, Any]) -> Workload:
    """A workload that came as JSON.

    Raises
    ------
    ValueError : this version has no such operation, or declares it otherwise.
    """
    from .workload import Workload

    attributes = {name: tuple(value) if isinstance(value, list) else value
                  for name, value in workload["attributes"].items()}  # fmt: skip
    made = Workload(workload["op"], workload["label"], workload["sizes"], attributes)
    try:
        made.variants()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{made.op} is declared otherwise here: {type(error).__name__}: {error}") from error
    return made


def _compile(workloads: list[dict[str, Any]]) -> dict[str, Any]:
    """Compile all that Numba needs; what this version cannot compute is told when it is loaded."""
    from nnfast.kernels.build import build

    from .workload import numba_kernels

    known = []
    for workload in workloads:
        try:
            known.append(given(workload))
        except ValueError:
            continue
    build(numba_kernels(known))
    return {}


def _load(calls: dict[str, Call], workload: dict[str, Any]) -> dict[str, Any]:
    """Make a workload's arrays, and check every variant: those that are right, and what is wrong with others."""
    from .calls import Prepared

    calls.clear()
    chosen = given(workload)
    prepared, notes = Prepared(chosen), {}
    for backend, algorithm in chosen.variants()[1:]:
        name = f"{backend} {algorithm}"
        try:
            call = prepared.call(backend, algorithm)
            worst = max(prepared.share_of_bound(call, algorithm).values())
        except (ImportError, NotImplementedError) as error:
            notes[name] = str(error)
            continue
        if worst > 1:
            notes[name] = f"wrong result: off by {worst:.3g} times what it may be"
        else:
            calls[name] = call
    return {"variants": list(calls), "notes": notes}


def _time(calls: dict[str, Call], variant: str, count: int) -> dict[str, Any]:
    """A turn of so many calls."""
    from .timing import turn

    return dataclasses.asdict(turn(calls[variant], count))
