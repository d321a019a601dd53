"""Traces that a viewer can nest, with all that was recorded."""

from __future__ import annotations

import json
import threading

import pytest
from profiled import CONV_BYTES, CONV_FLOPS, convolve, training_step

import nnfast

TINY = 2e-6  # microseconds: what is lost when a time becomes a number of microseconds


def spans(path):
    """The events of a trace by thread, as (begin, end, event)."""
    found = {}
    for event in json.loads(path.read_text())["traceEvents"]:
        if event["ph"] == "X":
            found.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"], event))
    return found


def test_trace_is_nested_and_in_order(tmp_path):
    step, arguments = training_step()
    with nnfast.profile() as p:
        for _ in range(3):
            step(*arguments)
            nnfast.ones(3) + nnfast.ones(3)
    p.trace(tmp_path / "trace.json")
    [events] = spans(tmp_path / "trace.json").values()
    assert all(begin <= end for begin, end, _ in events)
    assert [begin for begin, _, _ in events] == sorted(begin for begin, _, _ in events)
    open_until = []
    for begin, end, _ in events:
        while open_until and open_until[-1] <= begin + TINY:
            open_until.pop()
        assert not open_until or end <= open_until[-1] + TINY
        open_until.append(end)
    kinds = [event["cat"] for _, _, event in events]
    assert kinds.count("call") == 3
    assert kinds.count("kernel") == sum(len(call.timings) for call in p.calls)
    assert kinds.count("eager") == len(p.eager) > 0
    names = [event["name"] for _, _, event in events]
    assert names.count("capture") == 1
    assert names.count("look for the plan") == 2
    assert "Python between calls" in names


def test_within_a_call_no_time_is_left_out(tmp_path):
    step, arguments = training_step()
    step(*arguments)
    with nnfast.profile() as p:
        step(*arguments)
    p.trace(tmp_path / "trace.json")
    [[(begin, end, call), *parts]] = spans(tmp_path / "trace.json").values()
    assert call["name"] == "step"
    assert sum(last - first for first, last, _ in parts) == pytest.approx(end - begin, abs=0.5)


def test_trace_says_what_a_kernel_does(tmp_path):
    with nnfast.backend("numba"):
        p = convolve(True)
    p.trace(tmp_path / "trace.json")
    [events] = spans(tmp_path / "trace.json").values()
    kernel = next(event for _, _, event in events if event["cat"] == "kernel")
    timing = p.calls[0].timings[0]
    assert kernel["args"] == {"operation": "conv2d_forward", "module": "Conv2d", "node": 0, "backend": "numba",
                              "algorithm": timing.work.algorithm, "flops": CONV_FLOPS, "bytes": CONV_BYTES}  # fmt: skip
    assert kernel["dur"] == pytest.approx(1e6 * (timing.end - timing.begin), abs=2e-3)


def test_stages_of_a_node_are_apart(tmp_path):
    step, arguments = training_step()
    with nnfast.backend("numba"), nnfast.profile() as p:
        step(*arguments)
    p.trace(tmp_path / "trace.json")
    [events] = spans(tmp_path / "trace.json").values()
    stages = [event["name"] for _, _, event in events if event["args"].get("operation") == "batch_norm_forward"]
    assert stages == ["batch_norm_forward_statistics", "batch_norm_forward_combine", "batch_norm_forward"]


def test_calls_of_other_threads_are_seen(tmp_path):
    double = nnfast.compile(lambda x: x + x)
    with nnfast.profile() as p:
        worker = threading.Thread(target=double, args=(nnfast.ones(3),))
        worker.start()
        worker.join()
        double(nnfast.ones(3))
    assert len({call.thread for call in p.calls}) == 2
    p.trace(tmp_path / "trace.json")
    assert set(spans(tmp_path / "trace.json")) == {0, 1}
