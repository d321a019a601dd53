"""What functions of ``torch.nn.functional`` are made of: the operations of their results and of their gradients.

Each function here has the name, parameters and defaults of PyTorch's, after `upstream`, and gives `Call`s: first those
of its result, then those of the gradients of its inputs. It takes images as NCHW and weights as OIHW and lays them out
as kernels want them. `upstream` makes the gradient with respect to a result of a given shape and type, as PyTorch has
it. Where a gradient needs what the forward pass has found (the places of maxima, a batch's mean), it gets what the
reference finds, so that every operation is judged alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .arguments import Pair, Size2, as_images, as_rows, channels_last, check_size, floating, optional, pair, ranked
from .convolution import convolved
from .judgement import Call, Results
from .launch import floating_dtype
from .ops import OPS
from .pooling import pooled

Upstream = Callable[[tuple[int, ...], np.dtype], np.ndarray]
LARGEST_WINDOW = 256  # places of maxima are kept as bytes


def _of_images(upstream: Upstream, y: np.ndarray) -> np.ndarray:
    """The gradient with respect to channels-last images."""
    n, oh, ow, k = y.shape
    return channels_last(upstream((n, k, oh, ow), y.dtype))


def _call(op: str, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any], **shown: str) -> Call:
    return Call(op, arrays, attributes, shown, floating_dtype(OPS[op], arrays, "reference"))


def _bias(dy: np.ndarray) -> Call:
    """The gradient of a bias that was added to every row of dy."""
    return _call("sum_forward", {"x": as_rows(dy)[np.newaxis]}, {}, y="gradient of bias")


# ---------------------------------------------------------------- products


def conv2d(
    upstream: Upstream, input: Any, weight: Any, bias: Any = None, stride: Size2 = 1, padding: Size2 = 0,
    dilation: Size2 = 1, groups: int = 1,
) -> list[Call]:  # fmt: skip
    """Result; gradients of input, weight and bias."""
    x, w = as_images("conv2d", input), as_images("conv2d", weight, "K, C / groups, R, S", "weight")
    if x.shape[3] != w.shape[3] * groups:
        among = f" in each of {groups} groups" if groups > 1 else ""
        raise ValueError(f"conv2d: input has {x.shape[3]} channels, weight expects {w.shape[3]}{among}")
    if groups < 1 or len(w) % groups:
        raise ValueError(f"conv2d: groups is {groups}, expected a divisor of the {len(w)} output channels")
    steps, spacing = pair("conv2d", "stride", stride), pair("conv2d", "dilation", dilation)
    around = pair("conv2d", "padding", padding, 0)
    geometry = zip(x.shape[1:3], w.shape[1:3], steps, around, spacing, strict=True)
    check_size("conv2d", x, [convolved(*numbers) for numbers in geometry])
    window: dict[str, Any] = {"stride": steps, "padding": around, "dilation": spacing, "groups": groups}
    forward = _call("conv2d_forward", {"x": x, "w": w, "b": optional(bias, x)}, window)
    dy = _of_images(upstream, forward.reference["y"])
    gradients = [
        _call("conv2d_backward_data", {"dy": dy, "w": w}, window | {"size": x.shape[1:3]}, dx="gradient of input"),
        _call("conv2d_backward_weight", {"x": x, "dy": dy}, window | {"kernel_size": w.shape[1:3]},
              dw="gradient of weight"),
    ]  # fmt: skip
    return [forward, *gradients, *([] if bias is None else [_bias(dy)])]


def linear(upstream: Upstream, input: Any, weight: Any, bias: Any = None) -> list[Call]:
    """Result; gradients of input, weight and bias."""
    x, w = floating("linear", "input", input), ranked("linear", "weight", weight, "O, I")
    if x.ndim == 0 or x.shape[-1] != w.shape[1]:
        raise ValueError(f"linear: input has shape {x.shape}, weight expects (..., {w.shape[1]})")
    rows = as_rows(x)
    dy = as_rows(upstream((*x.shape[:-1], len(w)), x.dtype))
    calls = [
        _call("linear_forward", {"x": rows, "w": w, "b": optional(bias, x)}, {}),
        _call("linear_backward_data", {"dy": dy, "w": w}, {}, dx="gradient of input"),
        _call("linear_backward_weight", {"x": rows, "dy": dy}, {}, dw="gradient of weight"),
    ]
    return calls if bias is None else [*calls, _bias(dy)]


def matmul(upstream: Upstream, a: Any, b: Any) -> list[Call]:
    """The product of two matrices; gradients of both."""
    first, second = ranked("matmul", "a", a, "M, I"), ranked("matmul", "b", b, "I, O")
    if first.shape[1] != second.shape[0]:
        raise ValueError(f"matmul: a has shape {first.shape}, b has {second.shape}, expected ({first.shape[1]}, O)")
    dy = upstream((first.shape[0], second.shape[1]), first.dtype)
    return [
        _call("linear_backward_data", {"dy": first, "w": second}, {}, dx="y"),
        _call("linear_forward", {"x": dy, "w": second, "b": np.empty(0, dy.dtype)}, {}, y="gradient of a"),
        _call("linear_backward_weight", {"x": dy, "dy": first}, {}, dw="gradient of b"),
    ]


# ---------------------------------------------------------------- pooling


def max_pool2d(
    upstream: Upstream, input: Any, kernel_size: Size2, stride: Size2 | None = None, padding: Size2 = 0,
    dilation: Size2 = 1, ceil_mode: bool = False,
) -> list[Call]:  # fmt: skip
    """Maxima; gradient of input."""
    x, spacing = as_images("max_pool2d", input), pair("max_pool2d", "dilation", dilation)
    window = _pool_window("max_pool2d", x, kernel_size, stride, padding, spacing, ceil_mode) | {"dilation": spacing}
    if math.prod(window["kernel_size"]) > LARGEST_WINDOW:
        raise NotImplementedError(f"max_pool2d: kernel_size is {window['kernel_size']}, expected windows of at most "
                                  f"{LARGEST_WINDOW} pixels")  # fmt: skip
    forward = _call("max_pool2d_forward", {"x": x}, window | {"ceil_mode": int(ceil_mode)}, argmax="places of maxima")
    found = {"dy": _of_images(upstream, forward.reference["y"]), "argmax": forward.rounded["argmax"]}
    size = {"size": x.shape[1:3]}
    return [forward, _call("max_pool2d_backward", found, window | size, dx="gradient of input")]


def avg_pool2d(
    upstream: Upstream, input: Any, kernel_size: Size2, stride: Size2 | None = None, padding: Size2 = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> list[Call]:  # fmt: skip
    """Means; gradient of input."""
    x = as_images("avg_pool2d", input)
    window = _pool_window("avg_pool2d", x, kernel_size, stride, padding, (1, 1), ceil_mode)
    window["count_include_pad"] = int(count_include_pad)
    forward = _call("avg_pool2d_forward", {"x": x}, window | {"ceil_mode": int(ceil_mode)})
    dy = _of_images(upstream, forward.reference["y"])
    return [forward, _call("avg_pool2d_backward", {"dy": dy}, window | {"size": x.shape[1:3]}, dx="gradient of input")]


def adaptive_avg_pool2d(upstream: Upstream, input: Any, output_size: Size2) -> list[Call]:
    """Means; gradient of input."""
    x = as_images("adaptive_avg_pool2d", input)
    size = pair("adaptive_avg_pool2d", "output_size", output_size)
    forward = _call("adaptive_avg_pool2d_forward", {"x": x}, {"output_size": size})
    dy = _of_images(upstream, forward.reference["y"])
    return [forward, _call("adaptive_avg_pool2d_backward", {"dy": dy}, {"size": x.shape[1:3]}, dx="gradient of input")]


def _pool_window(
    who: str, x: np.ndarray, kernel_size: Size2, stride: Size2 | None, padding: Size2, dilation: Pair, ceil_mode: bool
) -> dict[str, Any]:
    kernel, around = pair(who, "kernel_size", kernel_size), pair(who, "padding", padding, 0)
    steps = kernel if stride is None else pair(who, "stride", stride)
    if any(pixels > length // 2 for pixels, length in zip(around, kernel, strict=True)):
        raise ValueError(f"{who}: padding is {around}, expected at most half of kernel_size {kernel}")
    geometry = zip(x.shape[1:3], kernel, steps, around, dilation, strict=True)
    check_size(who, x, [pooled(*numbers, ceil_mode) for numbers in geometry])
    return {"kernel_size": kernel, "stride": steps, "padding": around}


# ---------------------------------------------------------------- norms


def batch_norm(
    upstream: Upstream, input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> list[Call]:  # fmt: skip
    """Result, with new running statistics in training; gradients of input, weight and bias."""
    images = floating("batch_norm", "input", input)
    if images.ndim not in (2, 4):
        raise ValueError(f"batch_norm: input has shape {images.shape}, expected (N, C) or (N, C, H, W)")
    if not training and (running_mean is None or running_var is None):
        raise ValueError("batch_norm: running_mean and running_var are None, expected arrays outside of training")
    x, dy = as_rows(channels_last(images)), as_rows(channels_last(upstream(images.shape, images.dtype)))
    w, b = optional(weight, x), optional(bias, x)
    running = {"running_mean": optional(running_mean, x), "running_var": optional(running_var, x)}
    shown = {"dx": "gradient of input", "dw": "gradient of weight", "db": "gradient of bias"}
    if not training:
        common = {"x": x, "w": w} | running
        return [_call("batch_norm_inference", common | {"b": b}, {"eps": eps}),
                _call("batch_norm_inference_backward", common | {"dy": dy}, {"eps": eps}, **shown)]  # fmt: skip
    forward = _call("batch_norm_forward", {"x": x, "w": w, "b": b, "momentum": np.array([momentum])} | running,
                    {"eps": eps})  # fmt: skip
    found = {name: forward.rounded[name] for name in ("mean", "invstd")}
    return [forward, _call("batch_norm_backward", {"dy": dy, "x": x, "w": w} | found, {}, **shown)]


# ---------------------------------------------------------------- elements


def _from_output(name: str) -> Callable[..., list[Call]]:
    """An activation whose gradient is a function of its result."""

    def function(upstream: Upstream, input: Any) -> list[Call]:
        """Result; gradient of input."""
        x = floating(name, "input", input)
        forward = _call(f"{name}_forward", {"x": x}, {})
        dy = upstream(x.shape, x.dtype)
        return [forward, _call(f"{name}_backward", {"dy": dy, "y": forward.rounded["y"]}, {}, dx="gradient of input")]

    return function


def leaky_relu(upstream: Upstream, input: Any, negative_slope: float = 0.01) -> list[Call]:
    """Result; gradient of input."""
    x, slope = floating("leaky_relu", "input", input), {"negative_slope": negative_slope}
    dy = upstream(x.shape, x.dtype)
    return [_call("leaky_relu_forward", {"x": x}, slope),
            _call("leaky_relu_backward", {"dy": dy, "x": x}, slope, dx="gradient of input")]  # fmt: skip


def dropout(upstream: Upstream, input: Any, p: float = 0.5) -> list[Call]:
    """Result for one seed; gradient of input."""
    x, seed = floating("dropout", "input", input), np.zeros(2, np.uint64)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is {p}, expected 0 to 1")
    dy = upstream(x.shape, x.dtype)
    return [_call("dropout", {"x": x, "seed": seed}, {"p": p}),
            _call("dropout", {"x": dy, "seed": seed}, {"p": p}, y="gradient of input")]  # fmt: skip


# ---------------------------------------------------------------- rows


def _along(name: str) -> Callable[..., list[Call]]:
    """Softmax or its logarithm."""

    def function(upstream: Upstream, input: Any, dim: int) -> list[Call]:
        """Result; gradient of input."""
        x = floating(name, "input", input)
        if not -x.ndim <= dim < x.ndim:
            raise ValueError(f"{name}: dim is {dim}, input has {x.ndim} dimensions")
        rows, dy = (as_rows(np.moveaxis(array, dim, -1)) for array in (x, upstream(x.shape, x.dtype)))
        forward = _call(f"{name}_forward", {"x": rows}, {})
        return [forward, _call(f"{name}_backward", {"dy": dy, "y": forward.rounded["y"]}, {}, dx="gradient of input")]

    return function


def cross_entropy(
    upstream: Upstream, input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> list[Call]:  # fmt: skip
    """Loss of logits; gradient of input."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}, expected 0 to 1")
    x, common, dy = _classes("cross_entropy", upstream, input, target, weight, ignore_index, reduction)
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    forward = _call("cross_entropy_forward", {"x": x} | common, options | {"mean": int(reduction == "mean")}, **_LOSS)
    found = {name: forward.rounded[name] for name in ("lse", "normaliser")}
    return [forward, _call("cross_entropy_backward", {"dy": dy, "x": x} | common | found, options,
                           dx="gradient of input")]  # fmt: skip


def nll_loss(
    upstream: Upstream, input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> list[Call]:
    """Loss of log-probabilities; gradient of input."""
    x, common, dy = _classes("nll_loss", upstream, input, target, weight, ignore_index, reduction)
    forward = _call("nll_loss_forward", {"x": x} | common,
                    {"ignore_index": ignore_index, "mean": int(reduction == "mean")}, **_LOSS)  # fmt: skip
    found: Results = {"dy": dy, "normaliser": forward.rounded["normaliser"]}
    return [forward, _call("nll_loss_backward", found | common, {"classes": x.shape[1], "ignore_index": ignore_index},
                           dx="gradient of input")]  # fmt: skip


_LOSS = {"loss": "loss of each row", "y": "loss", "normaliser": "weight of all rows"}


def _classes(
    who: str, upstream: Upstream, input: Any, target: Any, weight: Any, ignore_index: int, reduction: str
) -> tuple[np.ndarray, Results, np.ndarray]:
    """Logits as rows, labels with the classes' weights, and the gradient of the loss."""
    x, labels = floating(who, "input", input), np.asarray(target)
    if x.ndim < 2:
        raise ValueError(f"{who}: input has shape {x.shape}, expected (N, C) or (N, C, H, W)")
    expected, classes = (x.shape[0], *x.shape[2:]), x.shape[1]
    if labels.dtype != np.int64:
        raise TypeError(f"{who}: target is {labels.dtype}, expected int64 labels")
    if labels.shape != expected:
        raise ValueError(f"{who}: target has shape {labels.shape}, input of shape {x.shape} expects {expected}")
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != ignore_index)]
    if wrong.size:
        raise ValueError(f"{who}: target holds the label {wrong[0]}, expected 0 to {classes - 1}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{who}: reduction is {reduction!r}, expected 'mean', 'sum' or 'none'")
    dy = upstream(expected if reduction == "none" else (), x.dtype).reshape(-1)
    return as_rows(channels_last(x)), {"target": labels.reshape(-1), "weight": optional(weight, x)}, dy


FUNCTIONS: dict[str, Callable[..., list[Call]]] = {
    "conv2d": conv2d, "linear": linear, "matmul": matmul, "max_pool2d": max_pool2d, "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d, "batch_norm": batch_norm,
    **{name: _from_output(name) for name in ("relu", "relu6", "sigmoid", "tanh")}, "leaky_relu": leaky_relu,
    "dropout": dropout, **{name: _along(name) for name in ("softmax", "log_softmax")},
    "cross_entropy": cross_entropy, "nll_loss": nll_loss,
}  # fmt: skip
"""By the name that PyTorch has for it."""
