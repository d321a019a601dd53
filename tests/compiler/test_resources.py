"""What compiled functions hold on to: memory, plans, threads."""

from __future__ import annotations

import gc
import mmap
import threading
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from steps import batch, captures, perceptron, plain

import nnfast
from nnfast import nn
from nnfast.compiler.errors import CaptureError
from nnfast.compiler.function import KEPT

pytestmark = pytest.mark.usefixtures("backend")


def test_plans_are_bounded_and_freed() -> None:
    model = nn.Linear(5, 3)

    def make() -> Any:
        @plain
        def step(x: Any, factor: int) -> Any:
            model.zero_grad()
            loss = (model(x) * factor).square().sum()
            loss.backward()
            return loss

        return step

    step = make()
    for factor in range(KEPT + 5):
        step(batch(0)[0], factor)
    assert captures(step) == KEPT
    for _ in range(KEPT + 5):
        model.weight = nn.Parameter(nnfast.ones(3, 5))
        step(batch(0)[0], 0)
    assert len(step.variants[next(reversed(step.variants))]) == KEPT
    gone = weakref.ref(step), weakref.ref(step.arena)
    del step
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_what_escapes_keeps_nothing_else() -> None:
    kept = []

    def escape(fails: bool) -> list[Any]:
        model = nn.Linear(5, 3)

        def forward(x: Any) -> Any:
            kept.append(model(x).detach())
            return kept[-1].tolist() if fails else None

        with pytest.raises(CaptureError) if fails else nullcontext():
            plain(forward)(batch(0)[0])
        return [weakref.ref(model), weakref.ref(model.weight)]

    references = escape(False) + escape(True)
    gc.collect()
    assert [reference() for reference in references] == [None] * 4


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_a_capture_touches_no_memory() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    x, weight = nnfast.ones(1024, 4096), nn.Parameter(nnfast.ones(4096))
    found = []

    @plain
    def function(x: Any) -> None:
        ((x * weight + 1) * weight).square().mean().backward()
        found.append(resident())

    function(nnfast.ones(2, 4096))  # kernels are compiled
    before = resident()
    function.variant(x)
    assert max(found[-1], resident()) - before < 2 * x.memory.nbytes


def test_threads_take_turns() -> None:
    model = perceptron()
    forward = plain(lambda x: model(x).sum())
    inputs = [batch(i, n=3 + i % 3)[0] for i in range(12)]
    expected = [forward(x).item() for x in inputs]
    found: list[Any] = [None] * 12

    def work(numbers: range) -> None:
        for _ in range(20):
            for i in numbers:
                found[i] = forward(inputs[i]).item()

    workers = [threading.Thread(target=work, args=(range(k, 12, 2),)) for k in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == pytest.approx(expected, rel=1e-5)  # threads have the default backend
