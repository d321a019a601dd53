"""Activations: each task handles one block of BLOCK elements."""

from __future__ import annotations

from ..ops import BLOCK
from .compiler import kernel


@kernel
def relu_forward(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    for i in range(begin * BLOCK, min(end * BLOCK, SIZE)):
        y[i] = 0.0 if x[i] <= 0.0 else x[i]
