"""PyTorch's training step. Imported by the interpreter that has PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from bench.models import CLASSES, build

VERSION = torch.__version__


def training_step(model: str, batch: int, threads: int, variant: str, size: int = 0) -> Callable[[], torch.Tensor]:
    """Forward, backward and Adam on one batch, always the same; `variant` is nchw, channels_last, compile or bf16."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network, shape = build(model, nn, F, size)
    x, y = torch.randn(batch, *shape), torch.randint(0, CLASSES, (batch,))
    if variant != "nchw":
        network = network.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    forward = torch.compile(network) if variant == "compile" else network
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=variant == "bf16"):
            loss = F.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
