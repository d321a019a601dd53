"""The terms of fused pooling's rounding errors, for `tolerance.py`; plain pooling is linear, or exact."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .convolution_terms import argument, summed
from .reference.pool import fused_max_pool2d_backward, max_pool2d_forward
from .rounding import grow

Terms = dict[str, np.ndarray]


def forward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of `fused_max_pool2d_forward`: the largest of the window's: a maximum moves no more than what it is of."""
    _, terms = argument(a.x, a.scale, a.shift)
    y = np.empty_like(e.y)
    window = call.kernel_size, call.stride, call.padding, call.dilation, call.ceil_mode
    max_pool2d_forward(terms, y, np.empty_like(e.argmax), *window)
    return {"y": y}


def backward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of `fused_max_pool2d_backward`."""
    dx, nothing = np.empty_like(e.dx), np.zeros(0)
    fused_max_pool2d_backward(np.abs(a.dy), a.argmax, a.y, nothing, nothing, dx, nothing, **call.attributes)
    dx *= grow(call.sizes.R * call.sizes.S)
    if not len(a.centre):
        return {"dx": dx}
    deviation = np.abs(a.x - a.centre) if len(a.x) else np.zeros_like(dx)
    return {"dx": dx, "sums": summed(call, e.dx, dx, deviation, deviation)}
