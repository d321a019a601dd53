"""Kernels that are known to be slower than NumPy: they are shown, and fail nothing until somebody makes them faster."""

from __future__ import annotations

from collections.abc import Mapping

from .rows import Row

SLOWER: Mapping[tuple[str, str], str] = {}
"""Why, by backend and operation; at present there is none."""


def why_slower(row: Row) -> str | None:
    """Why the row's kernel is expected to be slower than NumPy, None if it is not."""
    return SLOWER.get((row.backend, row.op))
