"""Terms of the rounding errors of batch norms in pieces, for `tolerance.py`, which explains them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .convolution_terms import argument, masked, summed
from .fused import NO_ACTIVATION
from .rounding import ROUNDINGS

Terms = dict[str, np.ndarray]
Call = SimpleNamespace


def channel_sums(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs."""
    deviation = a.x - a.centre
    return {"sums": summed(call, deviation, np.zeros(deviation.shape), deviation, deviation)}


def batch_norm_statistics(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs; what cancels in the variance does so in double."""
    offset, double = a.sums[0] / call.count, np.finfo(np.float64).eps / call.unit
    var = ROUNDINGS * (e.var + double * (np.abs(a.sums[1]) / call.count + offset * offset))
    invstd = ROUNDINGS * e.invstd + 0.5 * e.invstd / (e.var + call.eps) * var
    scale = (np.abs(a.w) if a.w.size else 1.0) * invstd
    shift = ROUNDINGS * ((np.abs(a.b) if a.b.size else 0.0) + np.abs(e.mean * e.scale)) + np.abs(e.mean) * scale
    return {"mean": ROUNDINGS * (np.abs(a.centre) + np.abs(offset)), "var": var, "invstd": invstd, "scale": scale,
            "shift": shift}  # fmt: skip


def batch_norm_running(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's updates."""
    rate, unbiased = float(a.momentum[0]), a.var * call.count / np.float64(call.count - 1)
    return {name: ROUNDINGS * (np.abs((1.0 - rate) * old) + np.abs(rate * new)) for name, old, new in (
        ("running_mean", a.running_mean, a.mean), ("running_var", a.running_var, unbiased))}  # fmt: skip


def batch_norm_scale(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs."""
    scale = ROUNDINGS * np.abs(e.scale)
    shift = ROUNDINGS * ((np.abs(a.b) if a.b.size else 0.0) + np.abs(a.running_mean * e.scale))
    return {"scale": scale, "shift": shift + np.abs(a.running_mean) * scale}


def batch_norm_gradient(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs."""
    terms = {name: ROUNDINGS * np.abs(getattr(e, name)) for name in ("dw", "db", "slope", "factor")}
    return terms | {"offset": ROUNDINGS * (np.abs(e.slope * e.db) / call.count + np.abs(e.factor * a.mean))}


def affine_forward(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs."""
    before, terms = argument(a.x, a.scale, a.shift)
    if len(a.r):
        other, of_other = argument(a.r, a.r_scale, a.r_shift)
        terms = terms + of_other + ROUNDINGS * (np.abs(before) + np.abs(other))
    return {"y": terms}


def affine_backward(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs."""
    gradient, dx = a.dy, np.zeros(a.dy.shape)
    if len(a.dy2):
        gradient, dx = a.dy + a.dy2, ROUNDINGS * (np.abs(a.dy) + np.abs(a.dy2))
    if call.activation != NO_ACTIVATION:
        of_y = a.y, np.zeros(a.y.shape)
        dx = masked(call, gradient, dx, *(of_y if a.y.ndim == 2 else argument(a.z, a.scale, a.shift)))
    return {
        "dx": dx,
        "sums": _of_sums(call, e.dx, dx, a.z, a.centre),
        "r_sums": _of_sums(call, e.dx, dx, a.r, a.r_centre),
    }


def _of_sums(call: Call, values: np.ndarray, terms: np.ndarray, z: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Terms of the sums of `values` and of their products with deviations of z, if it is there, from `centre`."""
    if not len(centre):
        return np.zeros((2, 0))
    deviation = np.abs(z - centre) if len(z) else np.zeros(values.shape)
    return summed(call, values, terms, deviation, deviation)


def affine_gradient(call: Call, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    """Terms of the operation's outputs."""
    return {"dx": ROUNDINGS * (np.abs(a.slope * a.dy) + np.abs(a.factor * a.z) + np.abs(a.offset))}
