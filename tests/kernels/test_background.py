"""The process that compiles while another one computes: what it leaves, and that it never stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from nnfast.kernels import background, cache, choice
from nnfast.kernels.background import Builder, Need, contenders, kernels, missing, unsettled
from nnfast.kernels.choice import by_sizes, set_conv_algorithm

RELU = Need("relu_forward", {"x": ((5,), "<f4"), "y": ((5,), "<f4")}, {})
EXP = Need("exp", {"x": ((5,), "<f4"), "y": ((5,), "<f4")}, {})
CONVOLUTION = Need(
    "conv2d_forward",
    {"x": ((8, 32, 32, 16), "<f4"), "w": ((16, 3, 3, 16), "<f4"), "b": None, "y": ((8, 32, 32, 16), "<f4")},
    {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1},
)
PATIENCE = 120  # seconds: the machine may be busy


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache, in this process and in those it starts."""
    monkeypatch.setenv("NNFAST_CACHE_DIR", str(tmp_path / "cache"))
    choice.forget()
    yield cache.cache_folder()
    choice.forget()


@pytest.fixture
def builder(folder):
    made = Builder(folder)
    yield made
    made.end()


def wait_for(what) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_kernels_are_left_on_disk(builder):
    assert missing([RELU, EXP]) == [("relu_forward", "default", "relu_forward"), ("exp", "default", "exp")]
    builder.need([RELU])
    wait_for(lambda: not missing([RELU]))
    builder.need([EXP])
    wait_for(lambda: not missing([EXP]))
    assert builder.failure() is None


def test_algorithms_are_compiled_measured_and_remembered(builder):
    rivals = contenders(CONVOLUTION)
    assert len(rivals) > 1
    assert {algorithm for _, algorithm, _ in kernels([CONVOLUTION])} == set(rivals)
    assert unsettled([CONVOLUTION, RELU]) == [CONVOLUTION]
    builder.need([CONVOLUTION])
    wait_for(lambda: not unsettled([CONVOLUTION]))
    assert contenders(CONVOLUTION)[0] in rivals
    assert missing([CONVOLUTION]) == []


def test_a_fixed_algorithm_is_the_only_one():
    set_conv_algorithm("im2col")
    try:
        assert contenders(CONVOLUTION) == ("im2col",)
    finally:
        set_conv_algorithm("auto")


def test_sizes_alone_decide_where_that_is_wanted(folder):
    [first, *_] = contenders(CONVOLUTION)
    with by_sizes("cython"):
        assert len(contenders(CONVOLUTION)) > 1
    with by_sizes("numba"):
        assert contenders(CONVOLUTION) == (first,)
    assert len(contenders(CONVOLUTION)) > 1, "it was remembered"


def test_what_is_needed_last_comes_first_and_choices_after_all_kernels(monkeypatch):
    done = []
    monkeypatch.setattr(background, "kept", lambda name: name in done)
    monkeypatch.setattr(background, "numba_code", lambda op, *rest: done.append(".".join([op.name, *rest])))
    monkeypatch.setattr(background, "unsettled", lambda needs: [] if "chosen" in done else needs)
    monkeypatch.setattr(background, "_choose", lambda need: done.append("chosen"))
    while background._work([EXP, RELU]):
        pass
    assert done == ["exp.default.exp", "relu_forward.default.relu_forward", "chosen"]


def test_a_kernel_that_cannot_be_kept_is_an_error(monkeypatch):
    monkeypatch.setattr(background, "kept", lambda name: False)
    monkeypatch.setattr(background, "numba_code", lambda *_: None)
    with pytest.raises(OSError, match="could not be kept"):
        background._work([RELU])


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; sys.exit('LLVM ERROR: out of memory')", "LLVM ERROR: out of memory"),
        ("raise ImportError('no numba')", "ImportError: no numba"),
        ("import os; os._exit(3)", "the compiling process ended with status 3"),
    ],
)
def test_a_process_that_fails_says_why(folder, monkeypatch, program, message):
    monkeypatch.setattr(background, "PROGRAM", program)
    made = Builder(folder)
    wait_for(made.failure)
    made.need([RELU])  # nobody listens
    assert made.failure() == message
    made.end()


def test_a_kernel_that_fails_to_compile_is_named(builder):
    builder.need([Need("relu_forward", {"x": ((5,), "<f4"), "y": ((5,), "<f4")}, {"slope": 1})])
    wait_for(builder.failure)
    assert builder.failure().startswith("TypeError: relu_forward: takes x; got x, slope")


# ---------------------------------------------------------------- its end

on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")


@on_linux
def test_the_end_is_at_once_and_leaves_no_zombie(folder):
    made = Builder(folder)
    pid = made._process.pid
    made.need([RELU, EXP])
    made.end()
    assert not Path(f"/proc/{pid}").exists()
    made.end()  # once more does no harm


@on_linux
def test_ctrl_c_is_left_to_the_parent(builder):
    builder.need([RELU])
    wait_for(lambda: not missing([RELU]))
    builder._process.send_signal(signal.SIGINT)
    builder.need([EXP])
    wait_for(lambda: not missing([EXP]))


PARENT = r"""
    import os, sys, time
    from nnfast.kernels.background import Builder
    from nnfast.kernels.cache import cache_folder

    builder = Builder(cache_folder())
    if sys.argv[1] == "forks" and os.fork() == 0:
        builder.end()  # not a fork's to end
        assert builder.failure() is None
        os.write(1, f"fork {os.getpid()}\n".encode())  # in one piece
        time.sleep(120)
    os.write(1, f"builder {builder._process.pid}\n".encode())
    time.sleep(120)
"""


@on_linux
@pytest.mark.parametrize("how", ["alone", "forks"])
@pytest.mark.parametrize("seconds", [0.0, 1.5], ids=["at once", "later"])
def test_it_ends_with_a_parent_that_is_killed(folder, how, seconds):
    command = [sys.executable, "-c", textwrap.dedent(PARENT), how]
    pids: dict[str, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        try:
            for _ in range(2 if how == "forks" else 1):
                who, pid = parent.stdout.readline().split()
                pids[who] = int(pid)
            time.sleep(seconds)
            assert not any(map(gone, pids.values())), "a fork ended it"
        finally:
            parent.kill()
    try:
        wait_for(lambda: gone(pids["builder"]))
        assert how == "alone" or not gone(pids["fork"])
    finally:
        for pid in pids.values():
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)
