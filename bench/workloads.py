"""One typical call of every operation: what a small residual network does with a batch of 64 CIFAR images."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from nnfast.kernels import OPS, get
from nnfast.kernels.fused import RELU

Workload = tuple[dict[str, np.ndarray], dict[str, Any]]

N, SIZE, C = 64, 16, 64
IMAGES = (N, SIZE, SIZE, C)
ROWS = (N * SIZE * SIZE, C)
CLASSES = 100
WINDOW = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
POOL = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
AVERAGE = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "count_include_pad": 1}
ATTRIBUTES: Mapping[str, Mapping[str, Any]] = {
    "leaky_relu_forward": {"negative_slope": 0.01},
    "leaky_relu_backward": {"negative_slope": 0.01},
    "dropout": {"p": 0.5},
    "add": {"alpha": 1.0},
    "scale": {"alpha": 2.0, "beta": 1.0},
    "clamp": {"low": -0.5, "high": 0.5},
    "power": {"exponent": 3.0},
    "fill": {"value": 1.0},
    "cross_entropy_forward": {"ignore_index": -100, "label_smoothing": 0.1, "mean": 1},
    "cross_entropy_backward": {"ignore_index": -100, "label_smoothing": 0.1},
    "nll_loss_forward": {"ignore_index": -100, "mean": 1},
    "nll_loss_backward": {"classes": CLASSES, "ignore_index": -100},
    "batch_norm_forward": {"eps": 1e-5},
    "batch_norm_inference": {"eps": 1e-5},
    "batch_norm_inference_backward": {"eps": 1e-5},
    "batch_norm_statistics": {"count": N * SIZE * SIZE, "eps": 1e-5},
    "batch_norm_running": {"count": N * SIZE * SIZE},
    "batch_norm_scale": {"eps": 1e-5},
    "batch_norm_gradient": {"count": N * SIZE * SIZE},
    "affine_forward": {"activation": RELU},
    "affine_backward": {"activation": RELU},
    "sum_backward": {"count": SIZE * SIZE},
    "mean_backward": {"count": SIZE * SIZE},
    "sgd_step": {"momentum": 0.9, "dampening": 0.0, "weight_decay": 5e-4, "nesterov": 0, "maximize": 0},
    "adam_step": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "maximize": 0},
    "adamw_step": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01, "maximize": 0},
    "adagrad_step": {"lr_decay": 0.0, "eps": 1e-10, "weight_decay": 0.0, "maximize": 0},
    "rmsprop_step": {"alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.9, "maximize": 0},
    "adadelta_step": {"rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "maximize": 0},
    "gradient_norm": {"max_norm": 1.0},
    "im2col": {"kernel_size": (3, 3), **WINDOW},
    "col2im": {"size": (SIZE, SIZE), **WINDOW},
    "max_pool2d_forward": {**POOL, "ceil_mode": 0},
    "max_pool2d_backward": {**POOL, "size": (SIZE, SIZE)},
    "fused_max_pool2d_forward": {"activation": RELU, **POOL, "ceil_mode": 0},
    "fused_max_pool2d_backward": {"activation": RELU, **POOL, "size": (SIZE, SIZE)},
    "avg_pool2d_forward": {**AVERAGE, "ceil_mode": 0},
    "avg_pool2d_backward": {**AVERAGE, "size": (SIZE, SIZE)},
    "adaptive_avg_pool2d_forward": {"output_size": (1, 1)},
    "adaptive_avg_pool2d_backward": {"size": (SIZE, SIZE)},
}


def names() -> list[str]:
    """Every workload: an operation, or an operation and the algorithm that its shapes choose."""
    return [name for op in OPS for name in ([op, f"{op} depthwise"] if OPS[op].module in ("conv", "fused") else [op])]


def workload(name: str) -> Workload:
    """Inputs, updates and attributes of the workload called `name`."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    op, _, variant = name.partition(" ")
    module = OPS[op].module
    makers: dict[str, Callable[[], dict[str, np.ndarray]]] = {
        "conv": lambda: _convolution(op, normal, bool(variant)),
        "fused": lambda: _convolution(op, normal, bool(variant)) | _fused(normal),
        "im2col": lambda: {"x": normal(*IMAGES)} if op == "im2col" else {"columns": normal(N, SIZE, SIZE, 3, 3, C)},
        "pool": lambda: _pooling(op, normal),
        "linear": lambda: {"x": normal(N, 1024), "dy": normal(N, 512), "w": normal(512, 1024), "b": normal(512)},
        "loss": lambda: _loss(op, rng, normal),
        "norm": lambda: _norm(normal),
        "affine": lambda: _affine(normal),
        "optim": lambda: _optimizer(op, normal),
        "reduce": lambda: {"x": normal(N, SIZE * SIZE, C), "dy": normal(N, C)},
    }
    made = makers[module]() if module in makers else _elements(op, normal)
    attributes = dict(ATTRIBUTES.get(op, {}))
    if module in ("conv", "fused"):
        attributes = {**WINDOW, "groups": C if variant else 1}
        attributes |= {"size": (SIZE, SIZE)} if op.endswith("conv2d_backward_data") else {}
        attributes |= {"kernel_size": (3, 3)} if op.endswith("conv2d_backward_weight") else {}
        attributes |= {"activation": RELU} if module == "fused" else {}
    if op == "copy_strided":
        attributes = _transposition()
    wanted = [array.name for array in OPS[op].inputs + OPS[op].updates]
    return {key: made[key] for key in wanted}, attributes


def _convolution(op: str, normal: Callable[..., np.ndarray], depthwise: bool) -> dict[str, np.ndarray]:
    weight = normal(C, 3, 3, 1 if depthwise else C)
    return {"x": normal(*IMAGES), "w": weight, "dy": normal(*IMAGES), "b": normal(C)}


def _fused(normal: Callable[..., np.ndarray]) -> dict[str, np.ndarray]:
    channels = ("scale", "shift", "centre", "slope", "factor", "offset")
    return {"z": normal(*IMAGES)} | {name: normal(C) for name in channels}


def _pooling(op: str, normal: Callable[..., np.ndarray]) -> dict[str, np.ndarray]:
    x = normal(*IMAGES)
    if "max_pool2d_backward" in op:
        y, argmax = get("max_pool2d_forward", "reference")(x=x, **ATTRIBUTES["max_pool2d_forward"])
        return {"dy": normal(*argmax.shape), "argmax": argmax, "y": y, "x": x, "centre": normal(C)}
    if op == "fused_max_pool2d_forward":
        return {"x": x, "scale": normal(C), "shift": normal(C)}
    size = 1 if op.startswith("adaptive") else SIZE // 2
    return {"x": x, "dy": normal(N, size, size, C)}


def _loss(op: str, rng: np.random.Generator, normal: Callable[..., np.ndarray]) -> dict[str, np.ndarray]:
    x = normal(4096, CLASSES)
    y = np.exp(x - x.max(1, keepdims=True))
    return {"x": x, "y": y / y.sum(1, keepdims=True), "target": rng.integers(0, CLASSES, len(x)),
            "weight": np.abs(normal(CLASSES)), "lse": np.log(np.exp(x).sum(1)), "normaliser": np.array([1.0]),
            "dy": normal(*x.shape) if "softmax" in op else np.ones(1, np.float32)}  # fmt: skip


def _norm(normal: Callable[..., np.ndarray]) -> dict[str, np.ndarray]:
    positive = np.abs(normal(C)) + 0.5
    return {"x": normal(*ROWS), "dy": normal(*ROWS), "w": normal(C), "b": normal(C), "momentum": np.array([0.1]),
            "running_mean": normal(C), "running_var": positive, "mean": normal(C), "invstd": positive,
            "var": positive, "centre": normal(C), "sums": np.abs(normal(2, C)).astype(np.float64)}  # fmt: skip


def _affine(normal: Callable[..., np.ndarray]) -> dict[str, np.ndarray]:
    """Two branches that join, each behind a norm."""
    channels = ("scale", "shift", "centre", "r_scale", "r_shift", "r_centre", "slope", "factor", "offset")
    return {name: normal(*ROWS) for name in ("x", "dy", "dy2", "y", "z", "r")} | {name: normal(C) for name in channels}


def _optimizer(op: str, normal: Callable[..., np.ndarray]) -> dict[str, np.ndarray]:
    made = {array.name: np.abs(normal(1 << 20)) for array in OPS[op].inputs + OPS[op].updates}
    gradients = {"squares": np.ones(62), "losses": np.ones(1, np.float32)}
    return made | gradients | {"lr": np.array([1e-3]), "step": np.array([3]), "grad_avg": np.empty(0, np.float32)}


def _elements(op: str, normal: Callable[..., np.ndarray]) -> dict[str, np.ndarray]:
    shape = (*ROWS,)
    positive = np.abs(normal(*shape)) + np.float32(0.1)
    made = {name: normal(*shape) for name in ("dy", "a", "b")} | {"x": positive, "y": 1 / (1 + positive)}
    made |= {"seed": np.array([1, 2], np.uint64), "step": np.array([0]), "factor": np.ones(1, np.float32)}
    return {key: value.ravel() for key, value in made.items()} if op == "copy_strided" else made


def _transposition() -> dict[str, Any]:
    """(N, H W, C) -> (N, C, H W): what flattening an image before a linear layer does."""
    area = SIZE * SIZE
    return {"shape": (1, 1, 1, N, C, area), "x_strides": (0, 0, 0, area * C, 1, C),
            "y_strides": (0, 0, 0, area * C, area, 1), "x_offset": 0, "y_offset": 0}  # fmt: skip
