"""nnfast's side of `bench.convolutions`: inputs of a shape, and its three directions as calls."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from nnfast.kernels.choice import choose
from nnfast.kernels.launch import bind, run

from .memory import aligned, aligned_copy
from .shapes import Shape


@dataclass(frozen=True)
class Call:
    """A convolution or gradient whose inputs and output are in memory, and the algorithm that was chosen for it."""

    name: str
    arrays: Mapping[str, np.ndarray]
    attributes: Mapping[str, Any]
    output: str
    result: np.ndarray
    algorithm: str

    def run(self) -> None:
        """Compute into `result`."""
        run(self.name, self.arrays, self.attributes, {self.output: self.result}, "numba", algorithm=self.algorithm)

    def reference(self) -> np.ndarray:
        """The same by the NumPy reference, slowly."""
        return run(self.name, self.arrays, self.attributes, backend="reference")[self.output]


def inputs(shape: Shape) -> dict[str, np.ndarray]:
    """x, w and dy of a shape, channels last, always the same; results are of the order of 1."""
    rng = np.random.default_rng(zlib.crc32(shape.name.encode()))
    lengths = shape.lengths
    scale = np.float32(1 / math.sqrt(shape.summands("forward")))
    return {
        "x": aligned_copy(rng.standard_normal(lengths["x"], np.float32)),
        "w": aligned_copy(rng.standard_normal(lengths["w"], np.float32) * scale),
        "dy": aligned_copy(rng.standard_normal(lengths["y"], np.float32)),
    }


def calls(shape: Shape, arrays: Mapping[str, np.ndarray]) -> dict[str, Callable[[], Call]]:
    """By direction, what makes its call: chooses the algorithm and takes the output's memory."""
    common = {"stride": (shape.stride,) * 2, "padding": (shape.pad,) * 2, "dilation": (1, 1), "groups": shape.groups}
    size, kernel_size = {"size": (shape.size,) * 2}, {"kernel_size": (shape.kernel,) * 2}
    x, w, dy, no_bias = arrays["x"], arrays["w"], arrays["dy"], np.empty(0, np.float32)
    lengths = shape.lengths
    return {
        "forward": partial(_call, "conv2d_forward", {"x": x, "w": w, "b": no_bias}, common, "y", lengths["y"]),
        "data": partial(_call, "conv2d_backward_data", {"dy": dy, "w": w}, common | size, "dx", lengths["x"]),
        "weight": partial(
            _call, "conv2d_backward_weight", {"x": x, "dy": dy}, common | kernel_size, "dw", lengths["w"]
        ),
    }


def _call(
    name: str, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any], output: str, length: tuple[int, ...]
) -> Call:
    result = aligned(length)

    def seconds(algorithm: str) -> float:
        start = time.perf_counter()
        Call(name, arrays, attributes, output, result, algorithm).run()
        return time.perf_counter() - start

    binding = bind(name, arrays, attributes)
    algorithm = choose(binding.op, binding.sizes, binding.key, "numba", seconds)
    return Call(name, arrays, attributes, output, result, algorithm)
