"""Kernels that are known to be slower than NumPy: they are shown, and fail nothing until somebody makes them faster."""

from __future__ import annotations

from collections.abc import Mapping

from .rows import Row

Entry = tuple[str, str, str]
_SCALAR = "one number at a time through the C library, where NumPy has vectors"
_UNFUSED = "no depthwise kernel of its own, every group is a matrix product of one column"
SLOWER: Mapping[Entry, str] = {
    ("cython", "tanh_forward", ""): _SCALAR,
    ("cython", "exp", ""): _SCALAR,
    ("cython", "log", ""): _SCALAR,
    ("cython", "power", ""): _SCALAR,
    ("cython", "fused_conv2d_forward", "depthwise"): _UNFUSED,
    ("cython", "fused_conv2d_backward_data", "depthwise"): _UNFUSED,
    ("cython", "fused_conv2d_backward_weight", "depthwise"): _UNFUSED,
}
"""Why, by backend, operation and the first word of the workload's label, which is empty where all of them are."""


def expected_slower(row: Row) -> Entry | None:
    """The entry that knows the row's kernel, if there is one."""
    entries = ((row.backend, row.op, ""), (row.backend, row.op, row.label.split()[0]))
    return next((entry for entry in entries if entry in SLOWER), None)
