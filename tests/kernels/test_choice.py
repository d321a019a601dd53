"""Which algorithm computes a convolution: fixed, ruled by sizes, or measured once and remembered in two places."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from judging import poisoned
from nnfast.kernels import cache as folder_of
from nnfast.kernels import choice
from nnfast.kernels.choice import choose, get_conv_algorithm, set_conv_algorithm
from nnfast.kernels.launch import Binding, bind, run

CONVOLUTIONS = ("conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight")
SMALL, LARGE = 1, 8  # images: below and above what is worth measuring


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache in this process and those it starts; nothing chosen, nothing fixed."""

    def forget() -> None:
        folder_of.opened.cache_clear()
        choice.forget()

    monkeypatch.setenv("NNFAST_CACHE_DIR", str(tmp_path / "cache"))
    forget()
    yield tmp_path / "cache"
    forget()
    set_conv_algorithm("auto")


def convolution(
    op: str = "conv2d_forward", n: int = LARGE, c: int = 32, k: int = 32, kernel: int = 3, groups: int = 1
) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Arrays and attributes of a convolution of 16x16 images that keeps their size."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((n, 16, 16, channels)).astype(np.float32) for channels in (c, k))
    w = rng.standard_normal((k, kernel, kernel, c // groups)).astype(np.float32)
    window = {"stride": (1, 1), "padding": (kernel // 2, kernel // 2), "dilation": (1, 1), "groups": groups}
    if op == "conv2d_forward":
        return {"x": x, "w": w, "b": np.zeros(0, np.float32)}, window
    if op == "conv2d_backward_data":
        return {"dy": dy, "w": w}, window | {"size": (16, 16)}
    return {"x": x, "dy": dy}, window | {"kernel_size": (kernel, kernel)}


class Clock:
    """Stands in for running an algorithm: its times, and which were asked for."""

    def __init__(self, **seconds: float) -> None:
        self.seconds, self.asked = seconds, []

    def __call__(self, name: str) -> float:
        self.asked.append(name)
        return self.seconds[name]


def chosen(clock: Callable[[str], float], backend: str = "numba", **which: object) -> str:
    op = which.pop("op", "conv2d_forward")
    binding: Binding = bind(op, *convolution(op, **which))
    return choose(binding.op, binding.sizes, binding.key, backend, clock)


def kept(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*"))


# ---------------------------------------------------------------- fixed


@pytest.mark.parametrize(
    ("name", "of_3x3", "of_5x5", "of_depthwise"),
    [
        ("direct", "direct", "direct", "depthwise"),
        ("winograd", "winograd", "direct", "depthwise"),
        ("im2col", "im2col", "im2col", "im2col"),
    ],
)
@pytest.mark.parametrize("op", CONVOLUTIONS)
def test_a_fixed_algorithm_is_used_and_nothing_measured(cache, op, name, of_3x3, of_5x5, of_depthwise):
    set_conv_algorithm(name)
    assert get_conv_algorithm() == name
    clock = Clock()
    assert chosen(clock, op=op) == of_3x3
    assert chosen(clock, op=op, kernel=5) == of_5x5
    assert chosen(clock, op=op, groups=32) == of_depthwise
    assert not kept(cache)


@pytest.mark.parametrize("name", ["Direct", "fft", "depthwise", "", None])
def test_other_names_are_refused_and_change_nothing(name):
    set_conv_algorithm("im2col")
    with pytest.raises(ValueError, match=r"set_conv_algorithm: algorithm is .*, expected one of auto, direct, "):
        set_conv_algorithm(name)
    assert get_conv_algorithm() == "im2col"


@pytest.mark.parametrize("op", CONVOLUTIONS)
def test_a_backend_says_which_algorithm_it_has_not(monkeypatch, op):
    monkeypatch.setitem(choice.CONV_ALGORITHMS, "direct", ({"fft"},))
    set_conv_algorithm("direct")
    with pytest.raises(
        NotImplementedError, match=rf"{op}: the cython backend has no algorithm 'direct'.*im2col.*'auto'"
    ):
        run(op, *convolution(op, n=SMALL), backend="cython", allocate=poisoned)


@pytest.mark.parametrize("name", ["direct", "winograd", "im2col"])
@pytest.mark.parametrize("op", CONVOLUTIONS)
def test_every_backend_has_every_fixed_algorithm(op, name):
    set_conv_algorithm(name)
    for backend in ("cython", "numba"):
        for shape in ({}, {"groups": 32}, {"kernel": 5}):
            run(op, *convolution(op, n=SMALL, **shape), backend=backend, allocate=poisoned)


def test_a_fixed_algorithm_stands_for_its_forms(cache):
    set_conv_algorithm("winograd")
    assert chosen(Clock(), n=SMALL, c=192, k=192) == "wide_winograd"
    assert chosen(Clock(), n=SMALL, c=192, k=64) == "winograd"
    assert chosen(Clock(), n=SMALL, c=3, k=16) == "winograd", "also where it does not pay"
    assert chosen(Clock(), n=SMALL, c=3, k=16, kernel=5) == "narrow"
    set_conv_algorithm("direct")
    assert chosen(Clock(), n=SMALL, c=3, k=16) == "narrow"
    assert chosen(Clock(), n=SMALL, c=192, k=192) == "direct"


def test_operations_of_one_algorithm_are_not_touched_by_it():
    set_conv_algorithm("winograd")
    x = np.array([-1.0, 2.0], np.float32)
    assert run("relu_forward", {"x": x}, {}, backend="cython")["y"].tolist() == [0.0, 2.0]


# ---------------------------------------------------------------- measured


@pytest.mark.parametrize("op", CONVOLUTIONS)
@pytest.mark.parametrize("fastest", ["direct", "winograd"])
def test_auto_measures_once_and_remembers_in_the_process_and_on_disk(cache, op, fastest):
    clock = Clock(**{"direct": 2.0, "winograd": 2.0} | {fastest: 1.0})
    assert chosen(clock, op=op) == fastest
    assert {name: clock.asked.count(name) for name in clock.seconds} == dict.fromkeys(clock.seconds, 1 + choice.RUNS)
    (file,) = kept(cache)
    content = file.read_text()
    assert content.split("\n")[0] == fastest
    file.unlink()
    assert chosen(Clock(), op=op) == fastest, "the process forgot"
    file.write_text(content)
    choice.forget()
    assert chosen(Clock(), op=op) == fastest, "the disk forgot"


def test_cython_remembers_for_the_instruction_set_in_use(cache, monkeypatch):
    monkeypatch.setenv("NNFAST_INSTRUCTION_SET", "baseline")
    assert chosen(Clock(direct=1.0, winograd=2.0), "cython") == "direct"
    monkeypatch.setattr(choice, "instruction_set", lambda: "another")
    assert chosen(Clock(direct=2.0, winograd=1.0), "cython") == "winograd"
    monkeypatch.undo()
    monkeypatch.setenv("NNFAST_CACHE_DIR", str(cache))
    monkeypatch.setenv("NNFAST_INSTRUCTION_SET", "baseline")
    choice.forget()
    assert chosen(Clock(), "cython") == "direct"
    assert len(kept(cache)) == 2


def test_runs_that_were_disturbed_do_not_count():
    times = {"winograd": iter([9, 9, 5, 9, 9, 9]), "direct": iter([1, 50, 50, 50, 4, 50])}
    assert chosen(lambda name: next(times[name])) == "direct"


def test_a_difference_that_may_be_noise_leaves_the_likelier_one():
    assert chosen(Clock(winograd=1.0, direct=0.98)) == "winograd"
    assert chosen(Clock(winograd=1.0, direct=0.96), n=LARGE + 1) == "direct"


def test_every_shape_attribute_and_operation_is_measured_for_itself(cache):
    clock = Clock(direct=1.0, winograd=2.0)
    for which in ({}, {"n": LARGE + 1}, {"k": 33}, {"op": "conv2d_backward_data"}):
        before = len(clock.asked)
        chosen(clock, **which)
        assert len(clock.asked) > before, which
    assert len(kept(cache)) == 4


def test_small_work_and_work_with_one_algorithm_are_never_measured(cache):
    assert chosen(Clock(), n=SMALL) == "winograd"
    assert chosen(Clock(), n=SMALL, c=3) == "direct", "Winograd does not pay with few channels"
    assert chosen(Clock(), n=SMALL, c=3, k=16) == "narrow"
    assert chosen(Clock(), n=64, groups=32) == "depthwise"
    assert chosen(Clock(), n=64, kernel=5) == "direct"
    assert chosen(Clock(), n=SMALL, backend="cython") == "winograd"
    assert not kept(cache)


def test_run_times_the_algorithms_and_uses_the_choice(monkeypatch):
    """The bits of a call are those of the algorithm that was chosen, on the first call and on the next."""
    measured = []

    def fastest(ranked, seconds, long_enough):
        times = [seconds(name) for name in ranked]
        assert all(0.0 < time < 60.0 for time in times), times
        measured.append(ranked)
        return "direct"

    monkeypatch.setattr(choice, "_fastest", fastest)
    for op in CONVOLUTIONS:
        arrays, attributes = convolution(op)
        (output,) = run(op, arrays, attributes, backend="numba", algorithm="direct").values()
        for _ in range(2):
            (actual,) = run(op, arrays, attributes, backend="numba").values()
            assert actual.tobytes() == output.tobytes()
    assert measured == [("winograd", "direct")] * 3


# ---------------------------------------------------------------- several processes

PROCESS = """
    import sys
    import numpy as np
    from nnfast.kernels.choice import choose
    from nnfast.kernels.launch import bind

    asked = []

    def seconds(name):
        asked.append(name)
        return 1.0 if name == sys.argv[1] else 2.0

    x, w, b = (np.empty(shape, np.float32) for shape in ((8, 16, 16, 32), (32, 3, 3, 32), 0))
    window = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    binding = bind("conv2d_forward", {"x": x, "w": w, "b": b}, window)
    print(choose(binding.op, binding.sizes, binding.key, "numba", seconds), len(asked))
"""


def other_process(fastest: str) -> list[str]:
    """What another process chooses where `fastest` is what it would measure, and how often it ran something."""
    program = [sys.executable, "-c", textwrap.dedent(PROCESS), fastest]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_another_process_does_not_measure_and_takes_the_same():
    assert chosen(Clock(direct=1.0, winograd=2.0)) == "direct"
    assert other_process("winograd") == ["direct", "0"]


def test_the_first_of_two_processes_that_measure_at_once_wins(cache):
    others = []

    def seconds(name: str) -> float:
        if not others:  # this process has found nothing on disk; meanwhile another one decides
            others.append(other_process("direct"))
        return 1.0 if name == "winograd" else 2.0

    assert chosen(seconds) == "direct"
    assert others == [["direct", str(2 * (1 + choice.RUNS))]]
    assert len(kept(cache)) == 1, "a temporary file was left behind"


# ---------------------------------------------------------------- where nothing can be kept


def test_without_a_cache_the_sizes_decide_and_nothing_is_measured(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NNFAST_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert chosen(Clock()) == "winograd"
    assert chosen(Clock(), c=3) == "direct"


def fails(*arguments: object, **options: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["tempfile.mkstemp", "os.fsync", "os.link"])
def test_a_choice_that_cannot_be_written_is_not_used(cache, monkeypatch, step):
    """The next process could measure something else, so the sizes decide."""
    folder_of.cache_folder()
    monkeypatch.setattr(step, fails)
    assert chosen(Clock(direct=1.0, winograd=2.0)) == "winograd"
    assert not kept(cache), "a temporary file was left behind"


@pytest.mark.parametrize("content", [b"", b"dire", b"fft\nkey\n", b"\xff\xfe\x00", b"depthwise\n"])
def test_a_damaged_file_is_measured_again_and_replaced(cache, content):
    chosen(Clock(direct=1.0, winograd=2.0))
    (file,) = kept(cache)
    file.write_bytes(content)
    choice.forget()
    assert chosen(Clock(direct=2.0, winograd=1.0)) == "winograd"
    choice.forget()
    assert chosen(Clock()) == "winograd"
    assert kept(cache) == [file]
