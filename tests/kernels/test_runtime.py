"""The executor: every task once, barriers, workers' own blocks, floating-point state, fork, Python threads, builds."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from nnfast.kernels import get, runtime
from nnfast.kernels.backends import kernel_address
from nnfast.kernels.threads import get_num_threads, set_num_threads

ROOT = Path(__file__).parents[2]
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@pytest.fixture(autouse=True)
def _restore_threads():
    before = get_num_threads()
    yield
    set_num_threads(before)


def node(kernel, tasks, args=0, stride=0):
    return (ctypes.cast(kernel, ctypes.c_void_p).value, args, stride, tasks, 0)


def run(nodes, threads):
    runtime.run(np.array(nodes, np.int64).reshape(-1, runtime.NODE_FIELDS), threads)


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 13])  # some share a range
@pytest.mark.parametrize("tasks", [0, 1, 2, 7, 1000])
def test_every_task_runs_once(tasks, threads):
    seen = []
    kernel = KERNEL(lambda args, begin, end: seen.extend(range(begin, end)))
    run([node(kernel, tasks)], threads)
    assert sorted(seen) == list(range(tasks))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_node_starts_after_the_one_before_has_ended(threads):
    events = []
    kernels = [KERNEL(lambda args, begin, end, i=i: events.extend([i] * (end - begin))) for i in range(5)]
    run([node(kernel, 50) for kernel in kernels], threads)
    assert events == [i for i in range(5) for _ in range(50)]


@pytest.mark.skipif(not runtime.threaded, reason="built without threads")
def test_workers_are_threads_with_blocks_of_their_own():
    blocks = np.arange(12, dtype=np.int64).reshape(3, 4)
    seen = {}
    meet = threading.Barrier(3, timeout=30)  # nobody passes until three workers are inside

    def body(args, begin, end):
        meet.wait()
        seen[threading.get_native_id()] = args

    kernel = KERNEL(body)
    run([node(kernel, 3, blocks.ctypes.data, 4)], 3)
    assert sorted(seen.values()) == [blocks.ctypes.data + 32 * worker for worker in range(3)]


@pytest.mark.skipif(not runtime.threaded, reason="built without threads")
@pytest.mark.parametrize(("threads", "first"), [(2, {0, 5}), (3, {0, 3, 7})])
def test_workers_begin_with_ranges_of_their_own(threads, first):
    begun = {}
    meet = threading.Barrier(threads, timeout=30)  # nobody passes until all workers have a task

    def body(args, begin, end):
        if threading.get_native_id() not in begun:
            begun[threading.get_native_id()] = begin
            meet.wait()

    run([node(KERNEL(body), 11)], threads)
    assert set(begun.values()) == first


@pytest.mark.skipif(not runtime.threaded, reason="built without threads")
def test_a_worker_takes_what_another_has_left():
    seen = {}
    number, last = itertools.count(), threading.Event()

    def body(args, begin, end):
        seen.setdefault(threading.get_native_id(), []).extend(range(begin, end))
        match next(number):
            case 0:
                assert last.wait(30)  # the other one does all the rest meanwhile
            case 9:
                last.set()

    run([node(KERNEL(body), 10)], 2)
    assert sorted(map(len, seen.values())) == [1, 9]
    assert sorted(task for tasks in seen.values() for task in tasks) == list(range(10))


def test_a_launch_keeps_its_memory_and_gives_each_worker_a_block():
    seen = []

    def body(args, begin, end):
        seen.append((args, list((ctypes.c_int64 * 5).from_address(args))))

    kernel, x, arena = KERNEL(body), np.ones(4, np.float32), np.zeros(64, np.uint8)
    nodes = np.array([node(kernel, 1), node(kernel, 1)], np.int64)
    places = np.array([[0, 16], [0, 32]])
    launch = runtime.Launch(nodes, np.array([0, 0, 0, 7, 8]), [x], places, arena, 2)
    at, expected = arena.ctypes.data, x.ctypes.data
    before = sys.getrefcount(x), sys.getrefcount(arena)
    launch.run()
    launch.run()
    blocks = dict(seen)
    assert len(seen) == 4
    assert all(numbers[0] == expected and numbers[1] == at and numbers[3:] == [7, 8] for numbers in blocks.values())
    assert {numbers[2] - at for numbers in blocks.values()} <= {16, 32}
    assert len(blocks) == 1 or abs(np.diff(list(blocks))[0]) == 40
    del launch
    assert (sys.getrefcount(x), sys.getrefcount(arena)) < before


def test_a_launch_refuses_numbers_and_arrays_that_do_not_fit():
    nodes, places = np.zeros((1, 5), np.int64), np.zeros((1, 0), np.int64)
    with pytest.raises(ValueError, match="24 bytes, expected 5 numbers of 64 bits"):
        runtime.Launch(np.zeros((1, 3), np.int64), np.zeros(4, np.int64), [], places, None, 1)
    with pytest.raises(ValueError, match="16 bytes, expected 4 numbers of 64 bits"):
        runtime.Launch(nodes, np.zeros(4, np.int32), [], places, None, 1)
    with pytest.raises(ValueError, match="an argument block of 1 fields, expected room for 2 addresses"):
        runtime.Launch(nodes, np.zeros(1, np.int64), [np.ones(1)], np.zeros((1, 1), np.int64), None, 1)
    with pytest.raises(ValueError, match="3 threads, expected at most 2, which have scratch"):
        runtime.Launch(nodes, np.zeros(4, np.int64), [], np.zeros((2, 1), np.int64), None, 3)
    with pytest.raises(ValueError, match="not C-contiguous"):
        runtime.Launch(nodes, np.zeros(4, np.int64), [np.zeros((4, 4))[:, 1]], places, None, 1)


def test_bad_nodes_are_refused():
    with pytest.raises(ValueError, match="nodes have 3 fields, expected 5"):
        runtime.run(np.zeros((1, 3), np.int64), 1)
    with pytest.raises(ValueError, match="threads is 0, expected at least 1"):
        runtime.run(np.zeros((1, 5), np.int64), 0)
    with pytest.raises(ValueError, match="times is 2 x 2, expected 1 x 2"):
        runtime.run(np.zeros((1, 5), np.int64), 1, np.zeros((2, 2)))
    few = np.zeros(runtime.counter_bytes(1) - 1, np.uint8)
    with pytest.raises(ValueError, match="counters has 1279 bytes, expected 1280 at least"):
        runtime.run(np.zeros((1, 5), np.int64), 1, None, few)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", ["numba", "cython"])
def test_denormals_are_flushed_and_the_callers_state_kept(backend, threads):
    set_num_threads(threads)
    tiny = np.full(40000, 1e-40, np.float32)
    assert not get("mul", backend)(a=tiny, b=np.ones_like(tiny)).any()
    assert (tiny * np.float32(1) == np.float32(1e-40)).all(), "the executor left flush-to-zero on"
    with np.errstate(all="raise"):
        get("div", backend)(a=np.ones(3, np.float32), b=np.zeros(3, np.float32))
        np.add(1.0, 1.0)  # a flag left behind by the kernel would raise here


@pytest.mark.parametrize("backend", ["numba", "cython"])
def test_two_python_threads_at_once_get_the_same_bits(backend):
    set_num_threads(2)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((300, 70), np.float32), rng.standard_normal((50, 70), np.float32)
    linear, total = get("linear_forward", backend), get("sum_forward", backend)
    expected = linear(x=x, w=w), total(x=x[None])
    wrong = []

    def work():
        for _ in range(200):
            got = linear(x=x, w=w), total(x=x[None])
            if not all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True)):
                wrong.append(got)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert not any(worker.is_alive() for worker in workers)
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("backend", ["numba", "cython"])
def test_a_forked_child_computes_the_same_on_one_thread(backend):
    program = f"""
        import os
        import numpy as np
        from nnfast.kernels import get, runtime, set_num_threads
        set_num_threads(2)
        x = np.random.default_rng(0).standard_normal((400, 300), np.float32)
        linear = get("linear_forward", {backend!r})
        expected = linear(x=x, w=x)          # the workers exist now
        child = os.fork()
        same = np.array_equal(linear(x=x, w=x), expected)
        if child == 0:
            os._exit(0 if same and runtime.usable_threads(2) == 1 else 3)
        assert same
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        assert runtime.usable_threads(2) == (2 if runtime.threaded else 1)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=120)


def test_set_num_threads():
    set_num_threads(3)
    assert get_num_threads() == 3
    for bad in (0, -1, 1.5, "2", True):
        with pytest.raises(ValueError, match=r"set_num_threads: threads is .*, expected a whole number"):
            set_num_threads(bad)
    assert get_num_threads() == 3


def test_build_without_threads(tmp_path):
    """The same source without threads builds, says so, and computes the same bits."""
    (tmp_path / "kernels").mkdir()
    for name in ("runtime.pyx", "pool.h", "processor.h"):
        shutil.copy(ROOT / "kernels" / name, tmp_path / "kernels")
    shutil.copy(ROOT / "setup.py", tmp_path)
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--build-lib", "out"], cwd=tmp_path, check=True,
                   env={**os.environ, "NNFAST_NO_THREADS": "1"}, timeout=300, capture_output=True)  # fmt: skip
    (built,) = (tmp_path / "out" / "nnfast" / "kernels").glob("runtime*")
    program = f"""
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location("nnfast.kernels.runtime", {str(built)!r})
        serial = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(serial)
        sys.modules["nnfast.kernels.runtime"] = serial
        import numpy as np
        from nnfast.kernels import get, launch, set_num_threads
        assert launch.runtime is serial and not serial.threaded and serial.usable_threads(4) == 1
        number, times = np.array([np.nan]), np.zeros((1, 2))
        guard = np.array([[0, number.ctypes.data, 0, 0, 0]], np.int64)
        assert serial.run(guard, 4, times, np.empty(serial.counter_bytes(1), np.uint8)) == 0 < times[0, 0]
        set_num_threads(4)
        x = np.random.default_rng(0).standard_normal((400, 300), np.float32)
        sys.stdout.write(get("linear_forward", "cython")(x=x, w=x).tobytes().hex())
    """
    serial = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=120,
                            capture_output=True, text=True)  # fmt: skip
    x = np.random.default_rng(0).standard_normal((400, 300), np.float32)
    assert bytes.fromhex(serial.stdout) == get("linear_forward", "cython")(x=x, w=x).tobytes()


def test_unknown_stage_is_an_error_that_names_it():
    for backend in ("numba", "cython"):
        with pytest.raises(NotImplementedError, match=f"relu_forward: the {backend} backend has no kernel gone"):
            kernel_address("relu_forward", "default", "gone", backend)
