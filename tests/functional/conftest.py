"""What operations mean is tested here, not kernels: all runs on the reference backend, from a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import nnfast


@pytest.fixture(autouse=True)
def reference_backend() -> Iterator[None]:
    with nnfast.backend("reference"):
        nnfast.manual_seed(0)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
