"""A training run small enough to be made many times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nnfast import nn, optim
from nnfast.data import ArrayDataset, DataLoader
from nnfast.random import seed_everything
from nnfast.train import Trainer


def small_data(images=40):
    rng = np.random.default_rng(0)
    return ArrayDataset(rng.random((images, 1, 4, 4), dtype=np.float32), rng.integers(0, 3, images))


def flipped(images, generator):
    """An augmentation that draws random numbers."""
    return np.where(generator.random((len(images), 1, 1, 1)) < 0.5, images, images[..., ::-1]).astype(np.float32)


@pytest.fixture
def loaders():
    """Return 5 training batches of 8 that are shuffled and augmented, and 2 to validate on."""
    data = small_data()
    return DataLoader(data, 8, shuffle=True, seed=5, transform=flipped), DataLoader(small_data(12), 6)


@pytest.fixture
def make_trainer() -> Callable[..., Trainer]:
    """Return a function that builds the same trainer each time, with dropout, batch norm, momentum and a schedule."""

    def make(callbacks=(), scheduler="onecycle", lr=0.05, **arguments):
        seed_everything(1)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(16, 3),
        )
        optimizer = optim.AdamW(model.parameters(), lr=lr)
        schedule = None
        if scheduler == "onecycle":
            schedule = optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=100)
        elif scheduler == "step":
            schedule = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        return Trainer(model, optimizer, nn.CrossEntropyLoss(), schedule, callbacks, **arguments)

    return make


@pytest.fixture
def weights():
    """Return a model's parameters and buffers as bytes, by name."""

    def read(model):
        return {name: value.detach().numpy().tobytes() for name, value in model.state_dict().items()}

    return read
