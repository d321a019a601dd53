"""The benchmarks' own arithmetic, and what happens when PyTorch's worker hangs, dies or is wrong."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from nnfast.kernels import OPS
from nnfast.kernels.blocking import BLOCK
from nnfast.kernels.launch import bind

from bench import convolutions, limit_kernels, memory_bound, shapes, torch_rows
from bench.memory import aligned
from bench.peer_process import Peer, PeerError
from bench.timing import Turn, in_turn, median
from bench.torch_cases import convolution
from bench.workload import READ_TWICE

ANSWERS = {
    "waits": "sys.stdin.readline(); time.sleep(60)",
    "dies": "sys.stdin.readline(); sys.exit(3)",
    "refuses": """[print('{"error": "no such thing"}', flush=True) for line in sys.stdin]""",
    "works": """[print('{"seconds": [1.5, 2.5], "waited": 0}', flush=True) for line in sys.stdin]""",
}


@pytest.fixture
def peer(tmp_path):
    made = []

    def make(kind: str, limit: float = 10.0) -> Peer:
        script = tmp_path / kind
        script.write_text(f"#!{sys.executable}\nimport sys, time\nprint('{{\"version\": \"0\"}}', flush=True)\n"
                          f"{ANSWERS[kind]}\n")  # fmt: skip
        script.chmod(0o700)
        made.append(Peer(str(script), 1, limit))
        return made[-1]

    yield make
    for item in made:
        item.close()


@pytest.mark.parametrize("shape", [*shapes.TABLE, *shapes.SWEEP], ids=lambda shape: f"{shape.network} {shape.name}")
def test_shapes_agree_with_the_operation(shape):
    one = replace(shape, batch=1)
    attributes = {"stride": (one.stride,) * 2, "padding": (one.pad,) * 2, "dilation": (1, 1), "groups": one.groups}
    arrays = {"x": np.empty(one.lengths["x"], np.float32), "w": np.empty(one.lengths["w"], np.float32),
              "b": np.empty(0, np.float32)}  # fmt: skip
    binding = bind("conv2d_forward", arrays, attributes)
    assert binding.op.outputs[0].shape(binding.sizes) == one.lengths["y"]
    assert binding.op.flops is not None
    assert one.flops == binding.op.flops(binding.sizes)
    assert one.depthwise == ("depthwise" in binding.op.suitable(binding.sizes, "numba"))


def test_shapes_are_enough_and_differ():
    assert len({(shape.network, shape.name) for shape in shapes.SWEEP}) == len(shapes.SWEEP) >= 60
    assert {7, 14, 28, 30, 56, 112} <= {shape.size for shape in shapes.SWEEP}
    assert len({shape.name for shape in shapes.TABLE}) == 18
    assert sum(len(shape.targets) for shape in shapes.TABLE) == sum(len(shape.directions) for shape in shapes.TABLE)


def test_disturbed_turns_are_tried_again_and_undisturbed_ones_kept():
    quiet, busy = Turn([1e-3], 0), Turn([9e-3], 50)
    given = iter([busy, quiet, busy, quiet, quiet])
    [kept] = in_turn([lambda: next(given)], 3, patience=10)
    assert kept == [quiet] * 3


def test_a_machine_that_stays_busy_is_told():
    busy = Turn([9e-3], 50)
    turns = in_turn([lambda: busy, lambda: busy], 3, patience=0)
    assert [len(side) for side in turns] == [3, 3]
    row = conv_row(shapes.TABLE[0], "forward", *turns)
    assert row.ratio == 1
    assert row.found.disturbed
    assert not replace(row, shape=replace(row.shape, targets={"forward": 0.5})).met


@pytest.mark.parametrize("name", ["copy_loop", "copy_streaming", "copy_memcpy"])
def test_copies_copy(name):
    x, y = aligned((5 * BLOCK + 64,)), aligned((5 * BLOCK + 64,))
    x[...] = np.arange(x.size)
    op = limit_kernels.WHOLE_COPIES if name == "copy_memcpy" else limit_kernels.COPIES
    limit_kernels.bound(getattr(limit_kernels, name), op, {"x": x, "y": y})()
    np.testing.assert_array_equal(y, x)


def test_memory_bound_workloads_are_large_ones():
    chosen = memory_bound.workloads()
    assert [name for name, _ in chosen] == list(memory_bound.NAMES)
    assert all(workload.operation.flops is None for _, workload in chosen)
    losses = memory_bound.workloads(["cross_entropy_forward"])
    assert [name for name, _ in losses] == ["cross_entropy_forward", "cross_entropy_forward smoothed"]
    assert [workload.attributes["label_smoothing"] for _, workload in losses] == [0.0, 0.1]


@pytest.mark.parametrize("op", READ_TWICE)
def test_what_is_read_twice_is_an_input(op):
    assert READ_TWICE[op] <= {array.name for array in OPS[op].inputs}


def test_medians_are_of_all_calls():
    assert median([Turn([3.0, 1.0], 0), Turn([2.0], 0)]) == 2
    assert math.isnan(median([]))


def conv_row(shape, direction, own_turns, torch_turns):
    found = torch_rows.Row(convolution(shape, direction), {"numba": own_turns, "channels_last": torch_turns})
    return convolutions.Row(shape, direction, found)


def test_targets_and_slow_rows_are_summed_up():
    slow, fast = (conv_row(shapes.TABLE[0], "forward", [Turn([1.0], 0)], [Turn([seconds], 0)])
                  for seconds in (0.5, 8.0))  # fmt: skip
    further = conv_row(replace(shapes.TABLE[0], network="ResNeXt"), "data", [Turn([1.0], 0)], [Turn([3.0], 0)])
    lines = convolutions.summary([slow, fast, further], sweep=True)
    assert lines[1].startswith("2 rows, geometric mean 2.00, minimum 0.50")
    assert lines[2].startswith("ResNeXt and Inception: 1 rows, geometric mean 3.00, minimum 3.00")
    assert lines[3] == "targets met: 2 of 3"
    assert lines[4] == "below 0.9: 1"


def test_peer_answers(peer):
    assert peer("works").time("forward", 2) == Turn([1.5, 2.5], 0)


@pytest.mark.parametrize(("kind", "message"), [("waits", "no answer in 0 s"), ("dies", r"died \(3\)"),
                                               ("refuses", "no such thing")])  # fmt: skip
def test_peer_that_fails_says_so_and_is_ended(peer, kind, message):
    failing = peer(kind, limit=0.3)
    with pytest.raises(PeerError, match=message):
        failing.time("forward", 1)
    assert (failing.process is None) == (kind != "refuses")
    with pytest.raises(PeerError, match=message):  # it was started again
        failing.time("forward", 1)
