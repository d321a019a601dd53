"""How far a correct kernel may be from the exact result: one rule for the tests, `nnfast compare` and the benchmarks.

A sum of n terms, computed in floating point, is off by a multiple of ``eps * sum of |terms|``: in the worst case n / 2,
for rounding errors of random sign about ``sqrt(n) / 2`` (N. J. Higham, T. Mary, "A new approach to probabilistic
rounding error analysis", 2019). The bound here is ``eps * (ROUNDINGS + sqrt(n)) * sum of |terms|``. A kernel that drops
one of n like terms is off by about ``sum of |terms| / n``, more than that as long as n is below 40,000 in float32.
Where a value passes through further operations, each output's terms are propagated to first order. Copies, maxima and
selections are exact: their bound is 0. `convolution_terms.py` and `pooling_terms.py` have the terms of convolutions and
of fused pooling, `norm_terms.py` those of batch norms in pieces.

The bounds are promises. Those of sums, means and batch-norm statistics hold only if float32 sums are kept to `CHUNK`
terms; those of softmax only if the maximum is subtracted first; those of batch norm only if the mean is subtracted
before scaling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import convolution_terms, norm_terms, pooling_terms
from .backends import reference_function
from .blocking import blocks
from .launch import bind
from .operation import Sizes
from .ops import OPS
from .rounding import CHUNK, ROUNDINGS, grow

Arrays = Mapping[str, np.ndarray]
Terms = dict[str, np.ndarray]


def error_bounds(
    name: str, arrays: Arrays, attributes: Mapping[str, Any], expected: Arrays, dtype: type | np.dtype = np.float32,
    algorithm: str | None = None,
) -> Terms:  # fmt: skip
    """The largest error that each element of each output and update may have.

    Parameters
    ----------
    name : the operation, a key of `OPS`.
    arrays : its inputs and updates before the call.
    attributes : all of its attributes.
    expected : exact outputs and updates after the call, in float64.
    dtype : the type that was computed in, float32 or float64.
    algorithm : the one that computed, a key of the operation's algorithms; None: any that adds the formula's own terms,
        which all do but Winograd's.

    Returns
    -------
    By output and update, an array of absolute bounds that has its shape; 0 where the result must be exact.

    Examples
    --------
    >>> x = np.array([3.0, 4.0])
    >>> error_bounds("mul", {"a": x, "b": x}, {}, {"y": x * x})["y"] < 1e-5
    array([ True,  True])
    """
    before = {key: np.asarray(value, np.float64 if value.dtype.kind == "f" else None) for key, value in arrays.items()}
    information = np.finfo(dtype)
    call = SimpleNamespace(op=name, sizes=bind(name, arrays, attributes, algorithm).sizes, attributes=attributes,
                           arrays=before, algorithm=algorithm, unit=information.eps, **attributes)  # fmt: skip
    with np.errstate(all="ignore"):  # infinite inputs make infinite terms, where the result must be equal anyway
        terms = _TERMS[name](call, SimpleNamespace(**before), SimpleNamespace(**expected))
    return {
        key: np.where(value > 0, information.eps * value + 4.0 * information.tiny, 0.0)
        for key, value in ((key, np.broadcast_to(terms.get(key, 0.0), np.shape(expected[key]))) for key in expected)
    }


def worst_error(actual: np.ndarray, expected: np.ndarray, bound: np.ndarray) -> float:
    """The largest error in units of its bound: at most 1 if `actual` is correct.

    NaN and infinity must stand in the same places; an exact result that `actual`'s type cannot hold must be infinite.

    Examples
    --------
    >>> worst_error(np.array([1.0, np.nan]), np.array([1.5, np.nan]), np.array([0.25, 0.25]))
    2.0
    """
    if actual.shape != expected.shape:
        raise ValueError(f"worst_error: actual has shape {actual.shape}, expected has {expected.shape}")
    if not actual.size:
        return 0.0
    if actual.dtype.kind != "f":
        return 0.0 if np.array_equal(actual, expected) else np.inf
    with np.errstate(all="ignore"):
        stored = np.asarray(expected).astype(actual.dtype)
        same = (actual == stored) | (np.isnan(actual) & np.isnan(stored))
        comparable = np.isfinite(actual) & np.isfinite(stored) & np.isfinite(bound) & (bound > 0)
        error = np.abs(actual.astype(np.float64) - expected) / bound
    return float(np.where(same, 0.0, np.where(comparable, error, np.inf)).max())


def _run(call: SimpleNamespace, arrays: Arrays, output: str) -> np.ndarray:
    """The operation on other numbers of the same shapes, in float64: of absolute values it gives the sum of |terms|."""
    op = OPS[call.op]
    memory = dict(arrays)
    for array in op.outputs:
        memory[array.name] = np.empty(array.shape(call.sizes), np.uint8 if array.dtype == "uint8" else np.float64)
    reference_function(op)(**memory, **call.attributes)
    return memory[output]


def _linear(output: str, length: Callable[[Sizes], float]) -> Callable[..., Terms]:
    """Terms of an operation that is linear in each of its floating inputs, and adds `length` terms."""

    def terms(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
        absolute = {key: np.abs(value) if value.dtype.kind == "f" else value for key, value in call.arrays.items()}
        return {output: grow(length(call.sizes)) * np.abs(_run(call, absolute, output))}

    return terms


def _relative(output: str) -> Callable[..., Terms]:
    """Terms of a formula without cancellation: a few roundings of the result itself."""
    return lambda call, a, e: {output: ROUNDINGS * np.abs(getattr(e, output))}


def _exact(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    return {}


def _tanh_backward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    return {"dx": ROUNDINGS * np.abs(a.dy)}  # 1 - y * y cancels


def _add(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    return {"y": ROUNDINGS * (np.abs(a.a) + np.abs(call.alpha * a.b))}


def _scale(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    return {"y": ROUNDINGS * (np.abs(call.alpha * a.x) + abs(call.beta))}


def _power(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    rounded_exponent = np.abs(call.exponent * np.log(np.abs(a.x)))  # what rounding the exponent to float32 changes
    return {"y": np.abs(e.y) * (ROUNDINGS + rounded_exponent)}


# ---------------------------------------------------------------- rows


def _far(x: np.ndarray, reference: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Distance of logits from a number of their row, 0 where it plays no part."""
    return np.where(kept, np.abs(x - reference), 0.0)


def _row_maximum(x: np.ndarray) -> np.ndarray:
    return x.max(axis=1, keepdims=True) if x.size else np.zeros((len(x), 1))


def _softmax_forward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    return {"y": e.y * (grow(call.sizes.C) + _far(a.x, _row_maximum(a.x), e.y > 0))}


def _softmax_backward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    inner = np.abs(a.dy * a.y).sum(axis=1, keepdims=True)
    return {"dx": a.y * (ROUNDINGS * np.abs(a.dy) + grow(call.sizes.C) * inner)}


def _log_softmax_forward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    top = _row_maximum(a.x)
    finite = np.isfinite(e.y)
    return {"y": ROUNDINGS * (_far(a.x, top, finite) - _row_maximum(e.y)) + grow(call.sizes.C)}


def _log_softmax_backward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    total = np.abs(a.dy).sum(axis=1, keepdims=True)
    return {"dx": ROUNDINGS * np.abs(a.dy) + grow(call.sizes.C) * np.exp(a.y) * total}


def _of_target(a: SimpleNamespace, classes: int, ignored: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which rows count, their targets (0 for the others), every class's weight, and the weight of each row."""
    kept = a.target != ignored
    target = np.where(kept, a.target, 0)
    weight = np.abs(a.weight) if a.weight.size else np.ones(classes)
    return kept, target, weight, weight[target] * kept if classes else np.zeros(len(target))


def _reduced(rows: np.ndarray, e: SimpleNamespace) -> Terms:
    return {"loss": rows, "y": rows.sum() / np.abs(e.normaliser) + ROUNDINGS * np.abs(e.y),
            "normaliser": grow(CHUNK) * np.abs(e.normaliser)}  # fmt: skip


def _cross_entropy_forward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    sizes, smoothing = call.sizes, call.label_smoothing
    kept, target, weight, of_row = _of_target(a, sizes.C, call.ignore_index)
    lse = ROUNDINGS * np.abs(e.lse) + grow(sizes.C)
    each = lse[:, None] + ROUNDINGS * np.abs(a.x)
    rows = (1.0 - smoothing) * of_row * each[np.arange(sizes.M), target] if sizes.M else np.zeros(0)
    if smoothing:
        rows = rows + kept * smoothing / sizes.C * np.sqrt(sizes.C) * (each * weight).sum(axis=1)
    return _reduced(rows, e) | {"lse": lse}


def _cross_entropy_backward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    sizes, smoothing = call.sizes, call.label_smoothing
    kept, target, weight, of_row = _of_target(a, sizes.C, call.ignore_index)
    p = np.exp(a.x - a.lse[:, None])
    p = p * (ROUNDINGS + _far(a.x, a.lse[:, None], p > 0))
    hard = of_row[:, None] * (p + ROUNDINGS * (np.arange(sizes.C) == target[:, None]))
    smooth = (p * weight.sum() * grow(sizes.C) / ROUNDINGS + ROUNDINGS * weight) / max(1, sizes.C)
    scale = np.abs(a.dy / a.normaliser)[:, None] * kept[:, None]
    return {"dx": scale * ((1.0 - smoothing) * hard + smoothing * smooth)}


def _nll_loss_forward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    return _reduced(ROUNDINGS * np.abs(e.loss), e)


# ---------------------------------------------------------------- batch norm


def _optional(values: np.ndarray, absent: float) -> np.ndarray:
    return np.abs(values) if values.size else np.array(absent)


def _batch_norm_forward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    gain, sums = _optional(a.w, 1.0) * e.invstd, grow(CHUNK)
    deviation = np.abs(a.x - e.mean)
    mean = np.abs(e.mean) + sums * deviation.mean(axis=0)  # rounded once, from sums around a number near it
    rate, variance = float(a.momentum[0]), a.x.var(axis=0, ddof=1)
    terms = {
        "mean": mean, "invstd": sums * e.invstd,
        "y": gain * (sums * deviation + mean) + ROUNDINGS * _optional(a.b, 0.0),
    }  # fmt: skip
    if a.running_mean.size:
        terms["running_mean"] = (
            ROUNDINGS * (np.abs((1.0 - rate) * a.running_mean) + np.abs(rate * e.mean)) + rate * mean
        )
        terms["running_var"] = ROUNDINGS * np.abs((1.0 - rate) * a.running_var) + sums * rate * variance
    return terms


def _batch_norm_inference(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    gain = _optional(a.w, 1.0) / np.sqrt(a.running_var + call.eps)
    return {"y": ROUNDINGS * (np.abs(a.x - a.running_mean) * gain + _optional(a.b, 0.0))}


def _batch_norm_backward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    dy, normal, sums = np.abs(a.dy), np.abs(a.x - a.mean) * a.invstd, grow(CHUNK)
    db, dw = dy.sum(axis=0), (dy * normal).sum(axis=0)
    rows = len(dy)
    inner = ROUNDINGS * dy + sums * (db / rows + normal * dw / rows)
    return {"db": sums * db, "dw": sums * dw, "dx": _optional(a.w, 1.0) * a.invstd * inner}


def _batch_norm_inference_backward(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    std, dy, sums = np.sqrt(a.running_var + call.eps), np.abs(a.dy), grow(CHUNK)
    dw = (dy * np.abs(a.x - a.running_mean)).sum(axis=0) / std
    return {"dx": ROUNDINGS * np.abs(e.dx), "dw": sums * dw, "db": sums * dy.sum(axis=0)}


# ---------------------------------------------------------------- optimizers


def _gradient(call: SimpleNamespace, a: SimpleNamespace) -> np.ndarray:
    """Sum of |terms| of the gradient with its weight decay."""
    return np.abs(a.g) + call.weight_decay * np.abs(a.p)


def _quotient(
    above: np.ndarray, value: np.ndarray, below: np.ndarray, square: np.ndarray, terms: np.ndarray
) -> np.ndarray:
    """Terms of ``value / below``: `above` are those of value; below is the root of `square`, which has `terms`."""
    error = np.where(square > 0, 0.5 * terms / square, 0.0)  # relative error of the root
    return (above + np.abs(value) * (1.0 + error)) / below


def _average(rate: float, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Sum of |terms| of a moving average, also in the form old + (1 - rate) * (new - old)."""
    return np.abs(old) + (1.0 - rate) * (np.abs(new) + np.abs(old))


def _sgd_step(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    g = _gradient(call, a)
    buffer = np.zeros(0)
    if call.momentum:
        old = np.abs(a.momentum_buffer.reshape(g.shape))
        buffer = g if a.step[0] == 1 else call.momentum * old + (1.0 - call.dampening) * g
        g = g + call.momentum * buffer if call.nesterov else buffer
    return {"p": ROUNDINGS * (np.abs(a.p) + a.lr[0] * g), "momentum_buffer": ROUNDINGS * buffer.ravel()}


def _adam_step(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    g = np.abs(a.g) if call.op == "adamw_step" else _gradient(call, a)
    first, second = _average(call.beta1, a.exp_avg, g), call.beta2 * a.exp_avg_sq + (1.0 - call.beta2) * g * g
    step = int(a.step[0])
    below = np.sqrt(e.exp_avg_sq / (1.0 - call.beta2**step)) + call.eps
    update = _quotient(first, e.exp_avg, below, e.exp_avg_sq, second)
    rate = a.lr[0] / (1.0 - call.beta1**step)
    return {
        "exp_avg": ROUNDINGS * first,
        "exp_avg_sq": ROUNDINGS * second,
        "p": ROUNDINGS * (np.abs(a.p) + rate * update),
    }


def _adagrad_step(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    g = _gradient(call, a)
    total = a.sum + g * g
    update = _quotient(g, g, np.sqrt(e.sum) + call.eps, e.sum, total)
    return {"sum": ROUNDINGS * total, "p": ROUNDINGS * (np.abs(a.p) + a.lr[0] * update)}


def _rmsprop_step(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    g, shape = _gradient(call, a), a.g.shape
    square = call.alpha * a.square_avg + (1.0 - call.alpha) * g * g
    variance, terms, mean = e.square_avg, square, np.zeros(0)
    if a.grad_avg.size:
        mean = _average(call.alpha, a.grad_avg.reshape(shape), g)
        new = e.grad_avg.reshape(shape)
        variance, terms = variance - new * new, square + mean * np.abs(new)
    update = _quotient(g, g, np.sqrt(variance) + call.eps, variance, terms)
    buffer = np.zeros(0)
    if call.momentum:
        update = buffer = call.momentum * np.abs(a.momentum_buffer.reshape(shape)) + update
    return {
        "square_avg": ROUNDINGS * square,
        "grad_avg": ROUNDINGS * mean.ravel(),
        "momentum_buffer": ROUNDINGS * buffer.ravel(),
        "p": ROUNDINGS * (np.abs(a.p) + a.lr[0] * update),
    }


def _adadelta_step(call: SimpleNamespace, a: SimpleNamespace, e: SimpleNamespace) -> Terms:
    g = _gradient(call, a)
    square = call.rho * a.square_avg + (1.0 - call.rho) * g * g
    root = np.sqrt(a.acc_delta + call.eps)
    delta = _quotient(root * g, root * g, np.sqrt(e.square_avg + call.eps), e.square_avg + call.eps, square + call.eps)
    return {"square_avg": ROUNDINGS * square, "p": ROUNDINGS * (np.abs(a.p) + a.lr[0] * delta),
            "acc_delta": ROUNDINGS * (call.rho * a.acc_delta + (1.0 - call.rho) * delta * delta)}  # fmt: skip


_TERMS: dict[str, Callable[..., Terms]] = {
    **{op: getattr(convolution_terms, op) for op in (
        "conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight",
        "fused_conv2d_forward", "fused_conv2d_backward_data", "fused_conv2d_backward_weight")},
    "im2col": _exact,
    "col2im": _linear("x", lambda s: s.R * s.S),
    "max_pool2d_forward": _exact,
    "max_pool2d_backward": _linear("dx", lambda s: s.R * s.S),
    "fused_max_pool2d_forward": pooling_terms.forward, "fused_max_pool2d_backward": pooling_terms.backward,
    "avg_pool2d_forward": _linear("y", lambda s: s.R * s.S),
    "avg_pool2d_backward": _linear("dx", lambda s: s.R * s.S),
    "adaptive_avg_pool2d_forward": _linear("y", lambda s: (blocks(s.H, s.OH) + 1) * (blocks(s.W, s.OW) + 1)),
    "adaptive_avg_pool2d_backward": _linear("dx", lambda s: (blocks(s.OH, s.H) + 1) * (blocks(s.OW, s.W) + 1)),
    "linear_forward": _linear("y", lambda s: s.I + 1),
    "linear_backward_data": _linear("dx", lambda s: s.O),
    "linear_backward_weight": _linear("dw", lambda s: s.M),
    "relu_forward": _exact, "relu_backward": _exact, "relu6_forward": _exact, "relu6_backward": _exact,
    "leaky_relu_forward": _relative("y"), "leaky_relu_backward": _relative("dx"),
    "sigmoid_forward": _relative("y"), "sigmoid_backward": lambda call, a, e: {"dx": ROUNDINGS * np.abs(a.dy * a.y)},
    "tanh_forward": _relative("y"), "tanh_backward": _tanh_backward,
    "dropout": _relative("y"),
    "add": _add, "mul": _relative("y"), "div": _relative("y"), "scale": _scale, "power": _power,
    "scale_by": _relative("y"), "clamp": _exact,
    "exp": _relative("y"), "log": _relative("y"), "fill": _relative("y"),
    "copy_strided": _exact, "increment": _exact,
    "sum_forward": _linear("y", lambda s: min(s.R, CHUNK)), "sum_backward": _exact,
    "sum_squares": lambda call, a, e: {"y": grow(min(call.sizes.SIZE, CHUNK)) * e.y},
    "mean_forward": _linear("y", lambda s: min(s.R, CHUNK)), "mean_backward": _relative("dx"),
    "softmax_forward": _softmax_forward, "softmax_backward": _softmax_backward,
    "log_softmax_forward": _log_softmax_forward, "log_softmax_backward": _log_softmax_backward,
    "cross_entropy_forward": _cross_entropy_forward, "cross_entropy_backward": _cross_entropy_backward,
    "nll_loss_forward": _nll_loss_forward, "nll_loss_backward": _relative("dx"),
    "batch_norm_forward": _batch_norm_forward, "batch_norm_inference": _batch_norm_inference,
    "batch_norm_backward": _batch_norm_backward, "batch_norm_inference_backward": _batch_norm_inference_backward,
    **{op: getattr(norm_terms, op) for op in (
        "channel_sums", "batch_norm_statistics", "batch_norm_running", "batch_norm_scale",
        "batch_norm_gradient",
        "affine_forward", "affine_backward", "affine_gradient")},
    "channel_gradient": _relative("db"),
    "sgd_step": _sgd_step, "adam_step": _adam_step, "adamw_step": _adam_step, "adagrad_step": _adagrad_step,
    "rmsprop_step": _rmsprop_step, "adadelta_step": _adadelta_step,
    "gradient_norm": lambda call, a, e: {"norm": ROUNDINGS * e.norm, "factor": ROUNDINGS * e.factor},
    "finite": _relative("total"),
}  # fmt: skip
