"""nnfast's training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nnfast
from bench.models import CLASSES, build
from nnfast import functional as F
from nnfast import nn, optim

VERSION = nnfast.__version__


def _compiled(step: Callable[..., Any]) -> Callable[..., Any]:
    compile_step = getattr(nnfast, "compile", None)
    return compile_step(step) if callable(compile_step) else step


def training_step(model: str, batch: int, threads: int, variant: str, size: int = 0) -> Callable[[], nnfast.Tensor]:
    """Forward, backward and Adam on one batch, always the same; `variant` is compile or eager."""
    nnfast.set_num_threads(threads)
    nnfast.manual_seed(0)
    network, shape = build(model, nn, F, size)
    x, y = nnfast.randn(batch, *shape), nnfast.randint(0, CLASSES, (batch,))
    optimizer = optim.Adam(network.parameters(), 1e-3)

    def step(x: nnfast.Tensor, y: nnfast.Tensor) -> nnfast.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        return loss

    chosen = _compiled(step) if variant == "compile" else step
    return lambda: chosen(x, y)
