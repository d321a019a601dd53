"""Models written for torch.nn's names, unchanged: the residual network and the one of depthwise convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nnfast
import nnfast.nn.functional
from nnfast import functional, nn, optim


def build(name: str, nn: Any, F: Any) -> Any:
    def conv(i: int, o: int, k: int = 3, stride: int = 1, groups: int = 1) -> Any:
        return nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)

    class Basic(nn.Module):
        def __init__(self, i: int, o: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = conv(i, o, 3, stride), nn.BatchNorm2d(o)
            self.conv2, self.bn2 = conv(o, o), nn.BatchNorm2d(o)
            self.shortcut = nn.Sequential()
            if stride != 1 or i != o:
                self.shortcut = nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o))

        def forward(self, x: Any) -> Any:
            out = F.relu(self.bn1(self.conv1(x)))
            return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))

    class InvertedResidual(nn.Module):
        def __init__(self, i: int, o: int, stride: int, expand: int) -> None:
            super().__init__()
            h = i * expand
            layers = [] if expand == 1 else [conv(i, h, 1), nn.BatchNorm2d(h), nn.ReLU6()]
            layers += [conv(h, h, 3, stride, h), nn.BatchNorm2d(h), nn.ReLU6(), conv(h, o, 1), nn.BatchNorm2d(o)]
            self.body, self.residual = nn.Sequential(*layers), stride == 1 and i == o

        def forward(self, x: Any) -> Any:
            return x + self.body(x) if self.residual else self.body(x)

    if name == "residual":
        return nn.Sequential(
            conv(3, 4),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            Basic(4, 4, 1),
            Basic(4, 8, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )
    return nn.Sequential(
        conv(3, 4),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        InvertedResidual(4, 4, 1, 1),
        InvertedResidual(4, 4, 1, 2),
        InvertedResidual(4, 6, 2, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


@pytest.mark.parametrize("name", ["residual", "inverted"])
def test_models_learn_their_batch(name: str) -> None:
    model = build(name, nn, functional)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    x, y = nnfast.randn(8, 3, 8, 8), nnfast.randint(5, (8,))
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


@pytest.mark.parametrize("name", ["residual", "inverted"])
def test_a_models_gradient_is_that_of_its_loss(name: str) -> None:
    """Along a random direction, in float64: what could be wrong between operations, not in them."""
    model = build(name, nn, functional).double()
    x, y = nnfast.randn(4, 3, 8, 8, dtype=nnfast.float64), nnfast.tensor([0, 1, 2, 3])

    def loss() -> nnfast.Tensor:
        return functional.cross_entropy(model(x), y)

    loss().backward()
    rng = np.random.default_rng(0)
    directions = [rng.standard_normal(p.shape) for p in model.parameters()]
    slope = sum((p.grad.numpy() * d).sum() for p, d in zip(model.parameters(), directions, strict=True))
    ends = []
    for step in (1e-6, -2e-6):
        for p, d in zip(model.parameters(), directions, strict=True):
            p.data.add_(nnfast.tensor(step * d))
        ends.append(loss().item())
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, rel=1e-4)


def test_functional_has_pytorchs_place_too() -> None:
    assert nnfast.nn.functional.relu is functional.relu
    with pytest.raises(AttributeError, match="has no 'gelu'"):
        _ = nnfast.nn.functional.gelu
