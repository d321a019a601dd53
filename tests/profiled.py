"""Small functions for the tests of profiles."""

from __future__ import annotations

from collections.abc import Collection

import nnfast
from nnfast import Tensor, nn, optim
from nnfast import functional as F
from nnfast.compiler.function import CompiledFunction
from nnfast.compiler.optimize import PASSES
from nnfast.compiler.profiler import Profile

N, C, K, H = 8, 32, 64, 56
CONV_FLOPS = 2 * N * H * H * K * C * 9
CONV_BYTES = 4 * (N * C * H * H + K * C * 9 + K + N * K * H * H)


def training_step(without: Collection[str] = PASSES) -> tuple[CompiledFunction, tuple[Tensor, Tensor]]:
    """A step with nodes of several stages, and its arguments."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @nnfast.compile(without=without)
    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, (nnfast.ones(4, 3, 8, 8), nnfast.tensor([0, 1, 2, 3]))


def convolve(compiled: bool) -> Profile:
    """Two runs of one convolution of `CONV_FLOPS` and `CONV_BYTES`."""
    conv = nn.Conv2d(C, K, 3, padding=1)
    forward = nnfast.compile(conv) if compiled else conv
    with nnfast.no_grad(), nnfast.profile() as p:
        for _ in range(2):
            forward(nnfast.ones(N, C, H, H))
    return p
