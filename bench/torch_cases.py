"""What is timed against PyTorch: one kernel with its operands, the same for both. `CASES` are those of `bench.pytorch`.

Each has a size that stays in the caches and one that does not. Convolutions are those of `shapes.TABLE`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from nnfast.kernels import OPS, get

from .memory import aligned_copy
from .shapes import TABLE, Shape

Arrays = dict[str, np.ndarray]
DIRECTIONS = {"forward": "conv2d_forward", "data": "conv2d_backward_data", "weight": "conv2d_backward_weight"}
IMAGES = ((128, 32, 32, 64), (128, 8, 8, 64))
MATRICES = ((128, 9216, 128), (128, 512, 1000), (4096, 768, 768))
LOGITS = ((128, 10), (4096, 1000))
PARAMETERS = (272_474, 11_173_962)
ACTIVATIONS = ("relu", "relu6", "leaky_relu", "sigmoid", "tanh")
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "sgd_step": {"momentum": 0.9, "dampening": 0.0, "weight_decay": 5e-4, "nesterov": 0},
    "adam_step": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
    "adamw_step": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    "adagrad_step": {"lr_decay": 0.0, "eps": 1e-10, "weight_decay": 0.0},
    "rmsprop_step": {"alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.9},
    "adadelta_step": {"rho": 0.9, "eps": 1e-6, "weight_decay": 0.0},
}


@dataclass(frozen=True)
class Case:
    """A kernel and its operands.

    Parameters
    ----------
    op : a key of `OPS` and of `torch_calls.CALLS`.
    name : the sizes, for people.
    make : makes all arrays from a generator: the kernel's inputs and updates, channels last, and what PyTorch asks for.
        Images stay images, though the kernel may take them as rows.
    attributes : the kernel's.
    summands : of how many numbers an element of the result is the sum, at most.
    """

    op: str
    name: str
    make: Callable[[np.random.Generator], Arrays]
    attributes: Mapping[str, Any]
    summands: int = 1

    def arrays(self) -> Arrays:
        """The arrays, always the same, aligned as a training step has them."""
        rng = np.random.default_rng(zlib.crc32(f"{self.op} {self.name}".encode()))
        return {name: aligned_copy(array) for name, array in self.make(rng).items()}

    @property
    def has_images(self) -> bool:
        """Whether PyTorch's memory formats differ."""
        return OPS[self.op].module not in ("linear", "loss", "optim")


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


# ---------------------------------------------------------------- convolutions


def convolution(shape: Shape, direction: str) -> Case:
    """One direction of a convolution."""
    lengths, scale = shape.lengths, np.float32(1 / math.sqrt(shape.summands("forward")))  # results of the order of 1

    def make(rng: np.random.Generator) -> Arrays:
        arrays = {name: _normal(rng, *lengths[of]) for name, of in (("x", "x"), ("w", "w"), ("dy", "y"))}
        return arrays | {"w": arrays["w"] * scale, "b": np.empty(0, np.float32)}

    window = {"stride": (shape.stride,) * 2, "padding": (shape.pad,) * 2, "dilation": (1, 1), "groups": shape.groups}
    more = {"data": {"size": (shape.size,) * 2}, "weight": {"kernel_size": (shape.kernel,) * 2}}
    return Case(DIRECTIONS[direction], f"{shape.name} n{shape.batch}", make, window | more.get(direction, {}),
                shape.summands(direction))  # fmt: skip


# ---------------------------------------------------------------- everything else


def _both(
    op: str, name: str, make: Callable[[np.random.Generator], Arrays], forward: Mapping[str, Any],
    backward: Mapping[str, Any], summands: int = 1,
) -> Iterator[Case]:  # fmt: skip
    yield Case(f"{op}_forward", name, make, forward, summands)
    yield Case(f"{op}_backward", name, make, backward, summands)


def _image_name(shape: tuple[int, ...]) -> str:
    n, h, _, c = shape
    return f"{c} @{h} n{n}"


def _pooling(shape: tuple[int, ...]) -> Iterator[Case]:
    n, h, w, c = shape
    name = _image_name(shape)
    for kernel, stride, padding in ((2, 2, 0), (3, 2, 1)):
        window = {"kernel_size": (kernel,) * 2, "stride": (stride,) * 2, "padding": (padding,) * 2}
        maxima = window | {"dilation": (1, 1)}

        def pool(rng: np.random.Generator, maxima: Mapping[str, Any] = maxima) -> Arrays:
            x = _normal(rng, *shape)
            _, argmax = get("max_pool2d_forward", "cython")(x=x, **maxima, ceil_mode=0)
            return {"x": x, "argmax": argmax, "dy": _normal(rng, *argmax.shape)}

        title = f"{kernel}x{kernel} s{stride} {name}"
        yield from _both("max_pool2d", title, pool, maxima | {"ceil_mode": 0}, maxima | {"size": (h, w)}, kernel**2)
        average = window | {"count_include_pad": 1}
        yield from _both("avg_pool2d", title, pool, average | {"ceil_mode": 0}, average | {"size": (h, w)}, kernel**2)
    for size in (1, 7):

        def adaptive(rng: np.random.Generator, size: int = size) -> Arrays:
            return {"x": _normal(rng, *shape), "dy": _normal(rng, n, size, size, c)}

        yield from _both("adaptive_avg_pool2d", f"to {size} {name}", adaptive, {"output_size": (size, size)},
                         {"size": (h, w)}, h * w)  # fmt: skip


def _norms(shape: tuple[int, ...]) -> Iterator[Case]:
    *_, c = shape

    def make(rng: np.random.Generator) -> Arrays:
        x = _normal(rng, *shape)
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return {"x": x, "dy": _normal(rng, *shape), "w": _normal(rng, c), "b": _normal(rng, c),
                "momentum": np.array([0.1]), "running_mean": _normal(rng, c), "running_var": variance,
                "mean": mean, "invstd": 1 / np.sqrt(variance + np.float32(1e-5))}  # fmt: skip

    name, rows, eps = _image_name(shape), math.prod(shape[:-1]), {"eps": 1e-5}
    yield from _both("batch_norm", name, make, eps, {}, rows)
    yield Case("batch_norm_inference", name, make, eps)
    yield Case("batch_norm_inference_backward", name, make, eps, rows)


def _elements(shape: tuple[int, ...]) -> Iterator[Case]:
    name = _image_name(shape)
    for activation in ACTIVATIONS:

        def make(rng: np.random.Generator, activation: str = activation) -> Arrays:
            x, slope = 3 * _normal(rng, *shape), {"negative_slope": 0.01} if activation == "leaky_relu" else {}
            y = get(f"{activation}_forward", "reference")(x=x, **slope)
            return {"x": x, "y": y, "dy": _normal(rng, *shape)}

        attributes = {"negative_slope": 0.01} if activation == "leaky_relu" else {}
        yield from _both(activation, name, make, attributes, attributes)

    def pair(rng: np.random.Generator) -> Arrays:
        return {"a": _normal(rng, *shape), "b": _normal(rng, *shape)}

    yield Case("add", name, pair, {"alpha": 1.0})
    yield Case("mul", name, pair, {})


def _linear(m: int, i: int, o: int) -> Iterator[Case]:
    def make(rng: np.random.Generator) -> Arrays:
        return {"x": _normal(rng, m, i), "w": _normal(rng, o, i) / np.float32(math.sqrt(i)), "b": _normal(rng, o),
                "dy": _normal(rng, m, o)}  # fmt: skip

    for op, summands in (("forward", i), ("backward_data", o), ("backward_weight", m)):
        yield Case(f"linear_{op}", f"{m}x{i}x{o}", make, {}, summands)


def _rows(m: int, c: int) -> Iterator[Case]:
    name = f"{m}x{c}"
    for op in ("softmax", "log_softmax"):

        def make(rng: np.random.Generator, op: str = op) -> Arrays:
            x = _normal(rng, m, c)
            return {"x": x, "y": get(f"{op}_forward", "reference")(x=x), "dy": _normal(rng, m, c)}

        yield from _both(op, name, make, {}, {}, c)

    options = {"ignore_index": -100, "label_smoothing": 0.0}

    def loss(rng: np.random.Generator) -> Arrays:
        x, target = _normal(rng, m, c), rng.integers(0, c, m)
        _, lse, _, normaliser = get("cross_entropy_forward", "reference")(x=x, target=target, **options, mean=1)
        return {"x": x, "target": target, "weight": np.empty(0, np.float32), "lse": lse, "normaliser": normaliser,
                "dy": np.ones(1, np.float32)}  # fmt: skip

    yield from _both("cross_entropy", name, loss, options | {"mean": 1}, options, c)


def _optimizers(size: int) -> Iterator[Case]:
    for op, attributes in OPTIMIZERS.items():

        def make(rng: np.random.Generator, op: str = op) -> Arrays:
            """The first step: the state is zero."""
            state = {array.name: np.zeros(size, np.float32) for array in OPS[op].updates}
            if op == "rmsprop_step":
                state["grad_avg"] = np.zeros(0, np.float32)
            return state | {"p": _normal(rng, size), "g": _normal(rng, size), "lr": np.array([1e-3]),
                            "step": np.array([1])}  # fmt: skip

        yield Case(op, f"{size:,}", make, {**attributes, "maximize": 0})


def _cases() -> Iterator[Case]:
    for shape in TABLE:
        for direction in shape.directions:
            yield convolution(shape, direction)
    for sizes in MATRICES:
        yield from _linear(*sizes)
    for group in (_pooling, _norms, _elements):
        for images in IMAGES:
            yield from group(images)
    for rows in LOGITS:
        yield from _rows(*rows)
    for size in PARAMETERS:
        yield from _optimizers(size)


CASES = tuple(_cases())
"""Every kernel that PyTorch has, too."""
