"""A profile as a Chrome trace: one row a Python thread, on it the calls, and in them kernels and the Python between."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .profiler import Call, Profile, Timing

Event = dict[str, Any]


def write(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write the events of a profile to `path`."""
    from nnfast.io.atomic import write_atomically

    content = {"traceEvents": events(profile), "displayTimeUnit": "ms"}
    with write_atomically(path) as file:
        file.write(json.dumps(content).encode())


def events(profile: Profile) -> list[Event]:
    """The events in the order in which they began; those within another one come behind it."""
    made: list[Event] = []
    threads: dict[int, list[Call]] = {}
    for call in sorted((*profile.calls, *profile.eager), key=lambda call: call.entered):
        threads.setdefault(call.thread, []).append(call)
    for number, calls in enumerate(threads.values()):
        made.append({"ph": "M", "name": "thread_name", "pid": 0, "tid": number, "args": {"name": f"Python {number}"}})
        previous: Call | None = None
        for call in calls:
            if previous is not None:
                made += _python(profile, number, previous.end, call.entered, "Python between calls")
            made += _call(profile, number, call)
            previous = call
    return made


def _event(profile: Profile, thread: int, begin: float, end: float, name: str, kind: str, **arguments: Any) -> Event:
    first, last = (round(1e9 * (moment - profile.begin)) for moment in (begin, end))
    return {"ph": "X", "name": name, "cat": kind, "pid": 0, "tid": thread, "ts": first / 1e3,
            "dur": (last - first) / 1e3, "args": arguments}  # fmt: skip


def _python(profile: Profile, thread: int, begin: float, end: float, name: str = "Python") -> list[Event]:
    return [_event(profile, thread, begin, end, name, "python")] if end - begin >= 1e-9 else []


def _call(profile: Profile, thread: int, call: Call) -> Iterator[Event]:
    """The events of a call: itself, how its plan was found, and all stages with what lies between them."""
    if call.timings and call.timings[0].work.number < 0:
        yield _stage(profile, thread, call.timings[0])
        return
    yield _event(profile, thread, call.entered, call.end, call.name, "call",
                 kernels_ms=1e3 * call.kernels, python_ms=1e3 * call.python)  # fmt: skip
    yield from _python(profile, thread, call.entered, call.begin, "capture" if call.captured else "look for the plan")
    time = call.begin
    for timing in call.timings:
        yield from _python(profile, thread, time, timing.begin)
        yield _stage(profile, thread, timing)
        time = timing.end
    yield from _python(profile, thread, time, call.end)


def _stage(profile: Profile, thread: int, timing: Timing) -> Event:
    work = timing.work
    name = timing.stage if timing.stage.startswith(work.operation) else f"{work.operation}: {timing.stage}"
    return _event(profile, thread, timing.begin, timing.end, name, "kernel" if work.number >= 0 else "eager",
                  operation=work.operation, module=work.place, node=work.number, algorithm=work.algorithm,
                  backend=work.backend, flops=work.flops, bytes=work.nbytes)  # fmt: skip
