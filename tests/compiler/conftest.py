"""Backends on which steps are compiled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import nnfast


@pytest.fixture(params=["numba", "cython", "reference"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with nnfast.backend(request.param):
        yield request.param


@pytest.fixture
def reference() -> Iterator[None]:
    with nnfast.backend("reference"):
        nnfast.manual_seed(0)
        yield
