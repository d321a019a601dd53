"""Profiles: times that add up, and tables with the right amounts of work."""

from __future__ import annotations

import time

import numpy as np
import pytest
from nnfast.kernels.limits import Limits
from profiled import CONV_BYTES, CONV_FLOPS, C, H, K, N, convolve, training_step

import nnfast
from nnfast import dispatch, nn
from nnfast import functional as F
from nnfast.compiler import timings
from nnfast.compiler.graph import GUARD, OUTSIDE, Buffer, Graph, Node, Operand, made, node
from nnfast.compiler.passes.algorithms import algorithms
from nnfast.compiler.plan import Arena, Plan
from nnfast.compiler.timings import PYTHON


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    """Round limits of a machine that nobody has; measuring them takes time."""
    monkeypatch.setattr(timings, "_limits", lambda: Limits(1e12, 1e11))


@pytest.fixture(params=["numba", "cython", "reference"])
def backend(request):
    with nnfast.backend(request.param):
        yield request.param


def total(profile):
    return sum(call.kernels for call in profile.calls)


def test_times_add_up_to_no_more_than_the_wall_time(backend):
    step, arguments = training_step()
    with nnfast.profile() as p:
        for _ in range(3):
            step(*arguments)
    wall = p.end - p.begin
    assert 0 < total(p) <= sum(call.end - call.begin for call in p.calls) <= wall
    for call in p.calls:
        assert call.python >= 0
        assert p.begin <= call.entered <= call.begin <= call.timings[0].begin
        assert call.timings[-1].end <= call.end <= p.end
        for before, after in zip(call.timings, call.timings[1:], strict=False):
            assert before.begin <= before.end <= after.begin + 1e-9
    assert [call.captured for call in p.calls] == [True, False, False]


def test_times_cover_most_of_a_long_node():
    conv = nn.Conv2d(C, K, 3, padding=1)
    forward = nnfast.compile(lambda x: conv(x).mean())
    x = nnfast.randn(N, C, H, H)
    walls = []
    with nnfast.no_grad(), nnfast.backend("numba"):
        forward(x)
        with nnfast.profile() as p:
            for _ in range(20):
                begin = time.perf_counter()
                forward(x)
                walls.append(time.perf_counter() - begin)
    assert all(call.kernels < wall for call, wall in zip(p.calls, walls, strict=True))

    def convolving(call):
        return sum(timing.end - timing.begin for timing in call.timings if timing.work.operation == "conv2d_forward")

    # Other processes lengthen whichever part of a call they interrupt; in the best one they did not.
    assert max(convolving(call) / wall for call, wall in zip(p.calls, walls, strict=True)) > 0.8


def test_results_are_those_of_runs_without_a_profile(backend):
    nnfast.manual_seed(0)
    other, arguments = training_step()
    nnfast.manual_seed(0)
    step, _ = training_step()
    plain = [other(*arguments).item() for _ in range(3)]
    with nnfast.profile():
        profiled = [step(*arguments).item() for _ in range(3)]
    assert profiled == plain


def conv_row(p):
    [row] = [row for row in p.rows() if row.operation == "conv2d_forward"]
    return row


@pytest.mark.parametrize("compiled", [True, False])
def test_table_has_the_work_of_a_convolution(compiled):
    with nnfast.backend("numba"):
        p = convolve(compiled)
    row = conv_row(p)
    assert (row.calls, row.flops, row.nbytes) == (2, 2 * CONV_FLOPS, 2 * CONV_BYTES)
    assert row.least == pytest.approx(2 * max(CONV_FLOPS / 1e12, CONV_BYTES / 1e11))
    cells = row.cells()
    head = dict(zip(timings.HEAD, cells, strict=True))
    assert head["module"] == ("Conv2d" if compiled else "")
    assert float(head["ms/call"]) == pytest.approx(500 * row.seconds, abs=6e-4)
    assert float(head["GFLOP/s"]) == pytest.approx(2 * CONV_FLOPS / row.seconds / 1e9, abs=0.06)
    assert float(head["GB/s"]) == pytest.approx(2 * CONV_BYTES / row.seconds / 1e9, abs=0.06)
    assert int(head["of limit"].rstrip("%")) == pytest.approx(100 * row.least / row.seconds, abs=0.6)


def test_stages_of_a_node_are_summed():
    step, arguments = training_step()
    with nnfast.backend("numba"):
        step(*arguments)
        with nnfast.profile() as p:
            step(*arguments)
    [row] = [row for row in p.rows() if row.operation == "batch_norm_forward"]
    stages = [timing for timing in p.calls[0].timings if timing.work.operation == "batch_norm_forward"]
    assert len(stages) == 3
    assert row.calls == 1
    assert row.seconds == pytest.approx(sum(timing.end - timing.begin for timing in stages))


@pytest.mark.parametrize("by", ["node", "operation", "place"])
def test_rows_hold_all_the_time(by):
    step, arguments = training_step()
    with nnfast.profile() as p:
        for _ in range(2):
            step(*arguments)
        nnfast.ones(3) + nnfast.ones(3)
    spent = sum(call.end - call.begin for call in (*p.calls, *p.eager))
    rows = p.rows(by)
    assert sum(row.seconds for row in rows) == pytest.approx(spent)
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert [row.seconds for row in rows] == sorted((row.seconds for row in rows), reverse=True)
    [python] = [row for row in rows if row.operation == PYTHON]
    assert python.calls == 2


def test_rows_by_operation_and_by_place():
    step, arguments = training_step()
    with nnfast.backend("numba"), nnfast.profile() as p:
        for _ in range(2):
            step(*arguments)
    updates = [row for row in p.rows() if row.operation == "sgd_step"]
    assert len(updates) == 6
    assert {row.place for row in updates} == {"optimizer"}
    [together] = [row for row in p.rows("operation") if row.operation == "sgd_step"]
    assert together.calls == sum(row.calls for row in updates) == 12
    assert together.seconds == pytest.approx(sum(row.seconds for row in updates))
    places = {row.place: row for row in p.rows("place")}
    assert set(places) == {"0", "1", "2", "3", "4", "optimizer", timings.NOWHERE, ""}
    assert places["0"].flops == sum(row.flops or 0 for row in p.rows() if row.place == "0") > 0
    assert places["optimizer"].flops is None


def test_table_is_cut_and_says_so():
    step, arguments = training_step()
    with nnfast.profile() as p:
        step(*arguments)
    whole, cut = p.table(limit=None).splitlines(), p.table(limit=3).splitlines()
    assert whole[0].split() == ["node", "module", "operation", *(["algorithm"] if "algorithm" in whole[0] else []),
                                "calls", "ms/call", "share", "GFLOP/s", "GB/s", "of", "limit"]  # fmt: skip
    assert len(whole) == 1 + len(p.rows()) + 2
    assert cut[4].startswith(f"... and {len(p.rows()) - 3} more: ")
    assert whole[-2].startswith("1 calls of step: ")
    assert whole[-1].startswith("captured 1 times in ")
    assert len(str(p).splitlines()) == 1 + 20 + 1 + 2
    with pytest.raises(ValueError, match="by is 'size', expected one of node, operation, place"):
        p.table(by="size")


def test_two_plans_have_rows_of_their_own():
    double = nnfast.compile(lambda x: x + x)
    with nnfast.profile() as p:
        for size in (3, 4, 3):
            double(nnfast.ones(size))
    rows = {row.node: row.calls for row in p.rows() if row.operation == "add"}
    assert rows == {"0.0": 2, "1.0": 1}


def test_nothing_is_recorded_outside_of_the_block():
    double = nnfast.compile(lambda x: x + x)
    double(nnfast.ones(3))
    with nnfast.profile() as p:
        pass
    double(nnfast.ones(3)) + nnfast.ones(3)
    assert not p.calls
    assert not p.eager
    assert dispatch.timed_run is None
    assert p.table().splitlines()[-1] == "nothing was run"
    with pytest.raises(RuntimeError, match="used before"), p:
        pass


def test_a_profile_within_another_one():
    double = nnfast.compile(lambda x: x + x)
    with nnfast.profile() as outer:
        double(nnfast.ones(3))
        with nnfast.profile() as inner:
            double(nnfast.ones(3))
            nnfast.ones(3) + nnfast.ones(3)
        nnfast.ones(3) * nnfast.ones(3)
    assert (len(outer.calls), len(inner.calls)) == (2, 1)
    assert [call.name for call in outer.eager] == ["add", "mul"]
    assert [call.name for call in inner.eager] == ["add"]


def test_a_call_that_fails_is_recorded_and_changes_nothing():
    check = nnfast.compile(lambda x, y: F.cross_entropy(x, y))
    check(nnfast.ones(2, 3), nnfast.tensor([0, 1]))
    with nnfast.profile() as p:
        with pytest.raises(ValueError, match="target"):
            check(nnfast.ones(2, 3), nnfast.tensor([0, 7]))
        nnfast.ones(3) + nnfast.ones(3)
    assert [len(call.timings) for call in p.calls] == [0]
    assert [call.name for call in p.eager] == ["add"]


@pytest.mark.parametrize("backend_name", ["numba", "reference"])
def test_nodes_behind_a_guard_that_stops_have_no_times(backend_name):
    total = Operand(Buffer(8, OUTSIDE, array=np.array([np.nan])), (1,), np.dtype(np.float64))
    y = made((4,))
    nodes = [node("fill", y=y, value=1.0), Node(GUARD, {"total": total}), node("fill", y=y, value=2.0)]
    graph = Graph(nodes, [y])
    algorithms(graph, backend_name)
    plan = Plan(graph, Arena())
    plan.attach([])
    times: list[np.ndarray] = []
    assert plan.run(times) is nodes[1]
    every = np.concatenate(times)
    assert (every[:2] > 0).all()
    assert np.diff(every[:2].ravel()).min() >= 0
    assert (every[2:] == 0).all()
    assert (plan.view(y) == 1).all()
