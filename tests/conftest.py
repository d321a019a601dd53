"""Settings of the whole test suite.

The user's cache of compiled Numba kernels is left in use: its name carries a hash of all sources, so it is never stale,
and a second run of the tests compiles nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nnfast.kernels.threads import get_num_threads, set_num_threads

sys.path.insert(0, str(Path(__file__).parent))  # `oracle` and `judging`, whatever pytest's import mode


@pytest.fixture
def threads() -> Iterator[None]:
    """The test changes the number of threads; it is put back afterwards."""
    before = get_num_threads()
    yield
    set_num_threads(before)
