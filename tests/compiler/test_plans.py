"""Whole plans: the same bits on any number of threads, nothing written outside of their memory, each pass optional."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import pytest

import nnfast
from bench import models
from nnfast import functional as F
from nnfast import nn, optim
from nnfast.compiler.optimize import PASSES

NAMES = models.NAMES


class Step:
    """A training step of one of the benchmark's models; small images where the model takes them."""

    def __init__(self, name: str, batch: int = 3, without=(), wrap=nnfast.compile, seed: int = 0) -> None:
        nnfast.manual_seed(seed)
        self.model, shape = models.build(name, nn, F)
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        rng = np.random.default_rng(seed)
        self.x = nnfast.from_numpy(rng.standard_normal((batch, *shape)).astype(np.float32))
        self.y = nnfast.from_numpy(rng.integers(0, 10, batch))
        self.function = self._step if wrap is None else wrap(self._step, without=without)

    def _step(self, x, y):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def losses(self, steps: int) -> list[float]:
        nnfast.manual_seed(1)  # of dropout
        return [self.function(self.x, self.y).item() for _ in range(steps)]

    def state(self) -> list[bytes]:
        tensors = [*self.model.parameters(), *self.model.buffers(), *(p.grad for p in self.model.parameters())]
        return [tensor.detach().numpy().tobytes() for tensor in tensors]


@pytest.fixture
def threads():
    before = nnfast.get_num_threads()
    yield nnfast.set_num_threads
    nnfast.set_num_threads(before)


@pytest.mark.parametrize("name", NAMES)
def test_same_bits_on_one_and_two_threads(name, threads):
    found = []
    for count in (1, 2):
        threads(count)
        step = Step(name)
        found.append((step.losses(3), step.state()))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", NAMES)
def test_same_bits_as_eager_without_fusion(name):
    compiled, eager = Step(name, without=list(PASSES)), Step(name, wrap=None)
    assert compiled.losses(2) == eager.losses(2)
    assert compiled.state() == eager.state()


def test_same_bits_as_eager_where_nothing_is_fused():
    """Passes that only order, place and reuse memory change no bit, even all together."""
    fusing = ["split_norms", "join_pixels", "fuse_loads", "fuse_stores"]
    compiled, eager = Step("resnet20", without=fusing), Step("resnet20", wrap=None)
    assert compiled.losses(3) == eager.losses(3)
    assert compiled.state() == eager.state()


@pytest.mark.parametrize("left_out", [[], *([name] for name in PASSES)], ids=lambda names: "-".join(names) or "none")
@pytest.mark.parametrize("name", ["mnist_cnn", "resnet20"])
def test_each_pass_may_be_left_out(name, left_out):
    expected = Step(name, batch=8, wrap=None)
    found = Step(name, batch=8, without=left_out)
    np.testing.assert_allclose(found.losses(1), expected.losses(1), rtol=2e-5)
    for p, q in zip(found.model.parameters(), expected.model.parameters(), strict=True):
        scale = float(np.abs(q.grad.numpy()).max())
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=0, atol=2e-4 * scale + 1e-7)
    np.testing.assert_allclose(found.losses(3), expected.losses(3), rtol=0.02)


# ---------------------------------------------------------------- guard pages

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class GuardedArena(nnfast.compiler.plan.Arena):
    """Every buffer of a plan ends (or begins) at a page that may not be touched; none shares its memory."""

    def __init__(self, at_end: bool) -> None:
        super().__init__()
        self.at_end = at_end

    def place(self, lives):
        offsets, pages, position = {}, [], PAGE
        for buffer in lives:
            length = -(-max(buffer.nbytes, 1) // PAGE) * PAGE
            offsets[buffer] = position + (length - buffer.nbytes if self.at_end else 0)
            position += length
            pages.append(position)
            position += PAGE
        self.forbidden = [0, *pages]
        return offsets, position

    def reserve(self, size: int) -> None:
        if self.memory.nbytes < size:
            self.mapping = mmap.mmap(-1, size)
            self.memory = np.frombuffer(self.mapping, np.uint8)
            self.memory[...] = 0xFF  # NaN: what is read before it is written shows
            base = self.memory.ctypes.data
            for page in self.forbidden:
                assert not libc.mprotect(base + page, PAGE, 0)


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "begin"])
@pytest.mark.parametrize("name", NAMES)
def test_plans_stay_within_their_buffers(name, at_end):
    """A plan in guarded memory gives the bits that it gives in its arena; one that strays ends the process."""
    ordinary, guarded = Step(name, batch=2), Step(name, batch=2)
    guarded.function.arena = GuardedArena(at_end)
    assert guarded.losses(2) == ordinary.losses(2)
    assert guarded.state() == ordinary.state()
