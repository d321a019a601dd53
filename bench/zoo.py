"""What the suite measures: all operations at typical sizes, convolutions of many shapes, arrays beyond the caches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nnfast.kernels import OPS
from nnfast.kernels.fused import RELU

from .shapes import Shape
from .workload import Workload


def zoo(quick: bool = False, ops: Sequence[str] = ()) -> list[Workload]:
    """All workloads, grouped by operation in the order of `OPS`.

    Parameters
    ----------
    quick : leave out convolutions of large images and arrays beyond the caches.
    ops : operations to take, all if there are none.

    Raises
    ------
    ValueError : there is no such operation.
    """
    for op in ops:
        if op not in OPS:
            raise ValueError(f"bench: there is no operation {op!r}, expected some of {', '.join(OPS)}")
    found = [*_typical(), *_products(QUICK_PRODUCTS if quick else QUICK_PRODUCTS + PRODUCTS)]
    for shape in QUICK_SHAPES if quick else QUICK_SHAPES + SHAPES:
        found += convolution(shape)
    for shape in FUSED_SHAPES:
        found += convolution(shape, fused=True)
    if not quick:
        found += large()
    order = {name: position for position, name in enumerate(OPS)}
    return sorted((item for item in found if not ops or item.op in ops), key=lambda item: order[item.op])


# ---------------------------------------------------------------- convolutions

QUICK_SHAPES = (
    Shape("", 16, 16, 32, 3, batch=16),
    Shape("", 64, 64, 16, 3, batch=16),
    Shape("", 256, 256, 8, 3, batch=8),
    Shape("", 64, 128, 16, 1, batch=32),
    Shape("", 512, 256, 8, 1, batch=8),
    Shape("", 6, 16, 14, 5, padding=0, batch=64),
    Shape("", 3, 64, 56, 7, stride=2, batch=8),
    Shape("", 3, 32, 32, 3, batch=32),
    Shape("", 64, 128, 16, 3, stride=2, batch=16),
    Shape("", 96, 96, 16, 3, groups=96, batch=32),
)
"""Few and many channels, 1x1, 5x5, 7x7 with stride, first layers, stride 2, depthwise; a few ms each in NumPy."""
SHAPES = (
    Shape("", 32, 32, 16, 3, batch=128),
    Shape("", 64, 64, 32, 3, batch=32),
    Shape("", 128, 128, 16, 3, batch=32),
    Shape("", 512, 512, 4, 3, batch=64),
    Shape("", 1, 32, 28, 3, batch=128),
    Shape("", 3, 64, 224, 7, stride=2, batch=2),
    Shape("", 256, 64, 8, 1, batch=128),
    Shape("", 256, 512, 28, 1, stride=2, batch=16),
    Shape("", 16, 32, 14, 5, batch=128),
    Shape("", 48, 64, 28, 7, batch=4),
    Shape("", 128, 128, 28, 3, groups=32, batch=8),
    Shape("", 144, 144, 32, 3, groups=144, batch=8),
    Shape("", 144, 144, 32, 3, stride=2, groups=144, batch=16),
    Shape("", 240, 240, 28, 5, groups=240, batch=4),
)
"""More of well-known networks, larger, with groups and depthwise 5x5."""
FUSED_SHAPES = (QUICK_SHAPES[0], QUICK_SHAPES[1], QUICK_SHAPES[-1])
_OPERATIONS = {"forward": "conv2d_forward", "data": "conv2d_backward_data", "weight": "conv2d_backward_weight"}


def convolution(shape: Shape, fused: bool = False) -> list[Workload]:
    """A convolution and its gradients, plain or fused with a batch norm and ReLU on either side."""
    n, c, k, group = shape.batch, shape.c, shape.k, shape.c // shape.groups
    sizes = {"N": n, "H": shape.size, "W": shape.size, "C": c, "K": k, "R": shape.kernel, "S": shape.kernel,
             "CG": group, "OH": shape.output, "OW": shape.output, "B": k}  # fmt: skip
    window = {"stride": (shape.stride,) * 2, "padding": (shape.pad,) * 2, "dilation": (1, 1), "groups": shape.groups}
    own = {"forward": {}, "data": {"size": (shape.size,) * 2}, "weight": {"kernel_size": (shape.kernel,) * 2}}
    made = []
    for direction in shape.directions:
        attributes = window | own[direction]
        if fused:
            sizes |= {"P": c, "NZ": n, "NX": n, "G": k, "E": c if direction == "data" else k}
            attributes |= {"activation": RELU}
        name = ("fused_" if fused else "") + _OPERATIONS[direction]
        made.append(Workload(name, f"{shape.name} x{n}", dict(sizes), attributes))
    return made


# ---------------------------------------------------------------- matrix products

QUICK_PRODUCTS = ((128, 3136, 128), (512, 512, 512))
PRODUCTS = ((128, 512, 10), (1024, 1024, 1024), (2048, 2048, 2048))
"""Rows, inputs and outputs of linear layers."""


def _products(sizes: Iterable[tuple[int, int, int]]) -> list[Workload]:
    return [Workload(op, f"{m}x{i}x{o}", {"M": m, "I": i, "O": o, "B": o}, {})
            for op in OPS if OPS[op].module == "linear" for m, i, o in sizes]  # fmt: skip


# ---------------------------------------------------------------- all others, by module

WINDOW = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
POOL = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
AVERAGE = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "count_include_pad": 1}
_LOSS = {"ignore_index": -100, "label_smoothing": 0.0}
SMOOTHED = {"label_smoothing": 0.1}
ATTRIBUTES: Mapping[str, Mapping[str, Any]] = {
    "leaky_relu_forward": {"negative_slope": 0.01},
    "leaky_relu_backward": {"negative_slope": 0.01},
    "dropout": {"p": 0.5},
    "add": {"alpha": 1.0},
    "scale": {"alpha": 2.0, "beta": 1.0},
    "clamp": {"low": -0.5, "high": 0.5},
    "power": {"exponent": 3.0},
    "fill": {"value": 1.0},
    "cross_entropy_forward": {**_LOSS, "mean": 1},
    "cross_entropy_backward": _LOSS,
    "nll_loss_forward": {"ignore_index": -100, "mean": 1},
    "nll_loss_backward": {"ignore_index": -100},
    "batch_norm_forward": {"eps": 1e-5},
    "batch_norm_inference": {"eps": 1e-5},
    "batch_norm_inference_backward": {"eps": 1e-5},
    "batch_norm_statistics": {"count": 1024, "eps": 1e-5},
    "batch_norm_running": {"count": 1024},
    "batch_norm_scale": {"eps": 1e-5},
    "batch_norm_gradient": {"count": 1024},
    "affine_forward": {"activation": RELU},
    "affine_backward": {"activation": RELU},
    "sgd_step": {"momentum": 0.9, "dampening": 0.0, "weight_decay": 5e-4, "nesterov": 0, "maximize": 0},
    "adam_step": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "maximize": 0},
    "adamw_step": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01, "maximize": 0},
    "adagrad_step": {"lr_decay": 0.0, "eps": 1e-10, "weight_decay": 0.0, "maximize": 0},
    "rmsprop_step": {"alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.9, "maximize": 0},
    "adadelta_step": {"rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "maximize": 0},
    "gradient_norm": {"max_norm": 1.0},
    "im2col": {"kernel_size": (3, 3), **WINDOW},
    "col2im": WINDOW,
    "max_pool2d_forward": {**POOL, "ceil_mode": 0},
    "max_pool2d_backward": POOL,
    "fused_max_pool2d_forward": {"activation": RELU, **POOL, "ceil_mode": 0},
    "fused_max_pool2d_backward": {"activation": RELU, **POOL},
    "avg_pool2d_forward": {**AVERAGE, "ceil_mode": 0},
    "avg_pool2d_backward": AVERAGE,
    "adaptive_avg_pool2d_forward": {"output_size": (1, 1)},
}
"""Attributes that do not follow from sizes, by operation."""


def attributes_of(op: str, sizes: Mapping[str, int]) -> dict[str, Any]:
    """All attributes of an operation: those of `ATTRIBUTES`, and those that say what the sizes say."""
    given = dict(ATTRIBUTES.get(op, {}))
    for attribute in OPS[op].attributes:
        if attribute.name == "size":
            given["size"] = (sizes["H"], sizes["W"])
        elif attribute.name == "classes":
            given["classes"] = sizes["C"]
        elif attribute.name == "count" and "count" not in given:
            given["count"] = sizes["R"]
    return given


def plain(op: str, label: str, **sizes: int) -> Workload:
    """A workload of an operation whose attributes are those of `attributes_of`."""
    return Workload(op, label, sizes, attributes_of(op, sizes))


def _module(*modules: str) -> list[str]:
    return [op for op in OPS if OPS[op].module in modules]


PER_CHANNEL = ("batch_norm_statistics", "batch_norm_running", "batch_norm_scale", "batch_norm_gradient",
               "channel_gradient")  # fmt: skip
"""Operations on a few numbers a channel; with as few channels as networks have, only the call would be measured."""
ELEMENTWISE = ("activation", "dropout", "arithmetic", "optim")


def _typical() -> Iterable[Workload]:
    """Every operation but convolutions and products, on arrays of about 4 MB."""
    for op in _module("im2col"):
        yield plain(op, "3x3 64 @16 x16", N=16, H=16, W=16, C=64, OH=16, OW=16, R=3, S=3)
    yield from _pooling("2x2 64 @32 x16", 16, 32, 64)
    yield from _elements("1 M", 1 << 20)
    yield from _matrices("16384x64", 16384, 64, "4096x100", 4096, 100)
    for op in PER_CHANNEL:
        yield plain(op, "65536 channels", C=1 << 16, CW=1 << 16, CB=1 << 16)
    yield plain("sum_squares", "1 M", **{"...": 1 << 20})
    yield plain("gradient_norm", "4096 partial sums", P=4096)  # of 64 million parameters
    yield plain("finite", "4096 partial sums", P=4096, L=1)
    yield plain("increment", "one number")
    yield _transposition(64, 256, 64)


def large() -> Iterable[Workload]:
    """What memory limits, on arrays of 64 MB, beyond the caches."""
    yield from _pooling("2x2 128 @32 x128", 128, 32, 128)
    yield from _elements("16 M", 1 << 24)
    yield from _matrices("131072x128", 131072, 128, "16384x1024", 16384, 1024)
    yield plain("sum_squares", "16 M", **{"...": 1 << 24})
    yield _transposition(128, 1024, 128)


def _pooling(label: str, n: int, size: int, c: int) -> Iterable[Workload]:
    for op in _module("pool"):
        half = 1 if op.startswith("adaptive") else size // 2
        text = label.replace("2x2", "all") if op.startswith("adaptive") else label
        yield plain(op, text, N=n, H=size, W=size, C=c, OH=half, OW=half, P=c, NY=n, NX=n, E=c)


def _elements(label: str, length: int) -> Iterable[Workload]:
    for op in _module(*ELEMENTWISE):
        if any(array.elementwise for array in OPS[op].arrays):
            yield plain(op, label, **{"...": length}, V=length, G=0)


def _matrices(label: str, m: int, c: int, logits: str, rows: int, classes: int) -> Iterable[Workload]:
    for op in _module("norm", "affine"):
        if op not in PER_CHANNEL:
            optional = dict.fromkeys(("CW", "CB", "CR", "P", "Q", "E", "F"), c)
            yield plain(op, label, M=m, C=c, MR=m, M2=m, MY=m, MZ=m, **optional)
    for op in _module("loss"):
        entry = plain(op, logits, M=rows, C=classes, CW=0, DY=1)
        yield entry
        if op.startswith("cross_entropy"):
            yield replace(entry, label=f"{logits} smoothed", attributes=entry.attributes | SMOOTHED)
    for op in _module("reduce"):
        if op != "sum_squares":
            yield plain(op, f"{label} by 256", A=m // 256, R=256, B=c)


def _transposition(n: int, area: int, c: int) -> Workload:
    """(N, H W, C) -> (N, C, H W): what flattening an image before a linear layer does."""
    size = n * area * c
    strides = {"shape": (1, 1, 1, n, c, area), "x_strides": (0, 0, 0, area * c, 1, c),
               "y_strides": (0, 0, 0, area * c, area, 1), "x_offset": 0, "y_offset": 0}  # fmt: skip
    return Workload("copy_strided", f"{n}x{area}x{c} transposed", {"X": size, "Y": size}, strides)
