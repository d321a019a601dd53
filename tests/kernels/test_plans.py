"""Plans of many nodes: joined groups, guards, times, kept counters, Python threads and fork."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from nnfast.kernels import runtime
from nnfast.kernels.binding import bind
from nnfast.kernels.blocking import BLOCK

JOINED = runtime.JOINED
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
THREADS = pytest.mark.parametrize("threads", [1, 2, 3, 8])
INFINITE = [np.inf, -np.inf, np.nan]
FINITE = [0.0, -1.0, 1.7e308, 5e-324]


def kernel_node(name, inputs, y, flags=0, **attributes):
    """A node of the Cython backend that writes `y`, and the memory that it needs."""
    binding = bind(name, inputs, attributes)
    block = binding.block.copy()
    arrays = {**inputs, "y": y}
    block[: len(binding.op.arrays)] = runtime.addresses([arrays[array.name] for array in binding.op.arrays])
    (row,) = binding.nodes("cython").tolist()
    row[1], row[4] = block.ctypes.data, flags
    return row, (block, arrays)


def python_node(kernel, tasks=1, flags=0):
    return [ctypes.cast(kernel, ctypes.c_void_p).value, 0, 0, tasks, flags]


def guard(number, flags=0):
    return [0, number.ctypes.data, 0, 0, flags]


def table(rows):
    return np.array(rows, np.int64).reshape(-1, runtime.NODE_FIELDS)


class Net:
    """Layers of a group of three and of one node that needs all three, from `x` to `y`, with a guard at the end."""

    def __init__(self, layers=4, size=3 * BLOCK + 5):
        def array():
            return np.zeros(size, np.float32)

        self.x = x = array()
        self.number = np.ones(1)
        self.memory, rows = [], []
        for _ in range(layers):
            a, b, c, y = array(), array(), array(), array()
            for row, memory in (
                kernel_node("scale", {"x": x}, a, JOINED, alpha=0.5, beta=0.25),
                kernel_node("mul", {"a": x, "b": x}, b, JOINED),
                kernel_node("scale", {"x": x}, c, alpha=-0.75, beta=0.125),
                kernel_node("add", {"a": a, "b": b}, y, alpha=0.5),
                kernel_node("add", {"a": y, "b": c}, a, alpha=0.5),
            ):
                rows.append(row)
                self.memory.append(memory)
            x = a
        self.y = x
        self.nodes = table([*rows, guard(self.number)])
        rng = np.random.default_rng(0)
        # Not one input alone: what a node reads too early would be the run before's, and right.
        self.inputs = rng.uniform(-1, 1, (2, size)).astype(np.float32)
        self.expected = [self.result(i, 1, table(rows)).copy() for i in range(2)]

    def result(self, i, threads, nodes=None, **memory):
        nodes = self.nodes if nodes is None else nodes
        self.x[:] = self.inputs[i]
        assert runtime.run(nodes, threads, **memory) == len(nodes)
        return self.y

    def right(self, i, threads, **memory):
        return np.array_equal(self.result(i % 2, threads, **memory), self.expected[i % 2])


def reference(x, layers=4):
    for _ in range(layers):
        x = ((0.5 * x + 0.25) + 0.5 * (x * x)) + 0.5 * (-0.75 * x + 0.125)
    return x


@THREADS
def test_joined_groups_give_the_same_bits(threads):
    net = Net()
    np.testing.assert_allclose(net.expected[0], reference(net.inputs[0].astype(np.float64)), rtol=1e-4, atol=1e-5)
    assert all(net.right(i, threads) for i in range(2000))


@pytest.mark.skipif(not runtime.threaded, reason="built without threads")
def test_joined_nodes_run_at_the_same_time_and_the_next_waits_for_all():
    events = []
    meet = threading.Barrier(3, timeout=30)  # nobody passes until three nodes have begun

    def body(args, begin, end):
        meet.wait()
        time.sleep(0.01)
        events.append("joined")

    kernels = [KERNEL(body), KERNEL(lambda args, begin, end: events.append("behind"))]
    joined, behind = (python_node(kernel, flags=JOINED) for kernel in kernels)
    joined_last, behind_last = (row[:4] + [0] for row in (joined, behind))
    for _ in range(20):
        events.clear()
        assert runtime.run(table([joined, joined, joined_last, behind_last]), 3) == 4
        assert events == ["joined"] * 3 + ["behind"]
    events.clear()
    assert runtime.run(table([joined, joined, joined]), 3) == 3  # the last flag has nothing to join
    assert events == ["joined"] * 3


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("number", [*FINITE, *INFINITE])
def test_a_guard_stops_the_plan_at_its_place(number, place, threads):
    ran = []
    kernel = KERNEL(lambda args, begin, end: ran.extend(range(begin, end)))
    value = np.array([number])
    for flags in (0, JOINED):
        rows = [python_node(kernel, 3, flags) for _ in range(4)]
        rows.insert(place, guard(value, flags))
        stops = not np.isfinite(number)
        ran.clear()
        assert runtime.run(table(rows), threads) == (place if stops else 5)
        assert sorted(ran) == sorted([0, 1, 2] * (place if stops else 4))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_guard_reads_what_its_group_wrote(threads):
    value = np.zeros(1)
    written, behind = [], []

    def write(args, begin, end):
        time.sleep(0.001)
        written.extend(range(begin, end))
        if len(written) == 2:
            value[0] = np.nan

    kernels = [KERNEL(write), KERNEL(lambda args, begin, end: behind.append(begin))]
    for flags in (0, JOINED):
        rows = [python_node(kernels[0], 2, flags), guard(value), python_node(kernels[1], 2)]
        for _ in range(20):
            value[0] = 0
            written.clear()
            assert runtime.run(table(rows), threads) == 1
            assert not behind


@THREADS
def test_a_guards_number_may_be_overwritten_behind_it(threads):
    """Whoever comes late must not take another number for the one that was decided on."""
    number, wide = np.zeros(1), np.zeros(2 * BLOCK, np.float32)
    halves = number.view(np.float32)
    good, bad = np.zeros(2, np.float32), np.full(2, -1, np.int32).view(np.float32)  # NaN in both widths
    (write, *_a), (spoil, *_b), (work, *_c) = (
        kernel_node("relu_forward", {"x": x}, y) for x, y in ((good, halves), (bad, halves), (wide, wide.copy()))
    )
    nodes = table([work, *[write, guard(number), spoil] * 100])
    for _ in range(500):
        assert runtime.run(nodes, threads) == len(nodes)
    assert np.isnan(number[0])


@THREADS
def test_times_follow_each_other_and_cover_the_run(threads):
    net = Net()
    times = np.zeros((len(net.nodes), 2))
    for i in range(50):
        before = time.perf_counter()
        assert net.right(i, threads, times=times)
        after = time.perf_counter()
        assert before <= times[0, 0]
        assert times[-1, 1] <= after
        assert (times[1:, 0] == times[:-1, 1]).all()
        assert (times[:, 0] <= times[:, 1]).all()
        assert (times[:-1, 0] < times[:-1, 1]).all(), "all but the guard take time"


@pytest.mark.parametrize("threads", [1, 2])
def test_times_are_each_nodes_own(threads):
    events = []

    def body(i, begin, end):
        time.sleep(0.002 * (i + 1))
        events.extend([i] * (end - begin))

    kernels = [KERNEL(lambda args, begin, end, i=i: body(i, begin, end)) for i in range(4)]
    value = np.array([np.inf])
    nodes = table([*(python_node(kernel, 4, JOINED) for kernel in kernels[:3]), guard(value), python_node(kernels[3])])
    times = np.full((5, 2), -1.0)
    assert runtime.run(nodes, threads, times) == 3
    assert events == [0] * 4 + [1] * 4 + [2] * 4
    assert (times[:3, 1] - times[:3, 0] >= np.array([0.002, 0.004, 0.006])).all()
    assert times[3, 0] >= times[2, 1]
    assert (times[4] == -1).all(), "the node did not run"


@THREADS
@pytest.mark.parametrize("offset", [0, 1, 77])
def test_counters_are_memory_without_a_state(offset, threads):
    net = Net()
    counters = np.full(runtime.counter_bytes(len(net.nodes)) + offset, 255, np.uint8)[offset:]
    for i in range(100):
        assert net.right(i, threads, counters=counters)
        counters[:] = i


def test_python_threads_share_counters():
    nets = [Net() for _ in range(4)]
    counters = np.empty(runtime.counter_bytes(len(nets[0].nodes)), np.uint8)
    wrong = []

    def work(net):
        wrong.extend(i for i in range(500) if not net.right(i, 2, counters=counters))

    workers = [threading.Thread(target=work, args=(net,)) for net in nets]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert not any(worker.is_alive() for worker in workers)
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_runs_plans():
    program = f"""
        import os, runpy
        import numpy as np
        from nnfast.kernels import runtime
        net = runpy.run_path({__file__!r})["Net"]()
        memory = dict(times=np.zeros((len(net.nodes), 2)), counters=np.empty(runtime.counter_bytes(100), np.uint8))
        assert net.right(0, 2)  # the workers exist now
        child = os.fork()
        right = all(net.right(i, 2) and net.right(i + 1, 2, **memory) for i in range(100))
        net.number[0] = np.nan
        right = right and runtime.run(net.nodes, 2) == len(net.nodes) - 1
        if child == 0:
            os._exit(0 if right else 3)
        assert right
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=120)
