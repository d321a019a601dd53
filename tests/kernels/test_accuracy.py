"""How good convolutions are as a whole: relative errors, whole numbers, and the same bits on one and two threads.

`tolerance.py` bounds the worst element, so it must allow for the unluckiest sum; the norm of the error over a whole
array hardly varies, and shows an algorithm that loses a digit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from judging import COMPILED, poisoned
from nnfast.kernels import winograd
from nnfast.kernels.convolution import convolved
from nnfast.kernels.launch import bind, run
from nnfast.kernels.ops import OPS
from nnfast.kernels.threads import set_num_threads
from random_cases import draw
from random_shapes import kernels

FORWARD, DATA, WEIGHT = "conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight"
CONVOLUTIONS = (FORWARD, DATA, WEIGHT)
Call = tuple[dict[str, np.ndarray], dict[str, Any]]


@dataclass(frozen=True)
class Shape:
    """A convolution of n square images, padded so that stride 1 keeps their size."""

    n: int
    size: int
    c: int
    k: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1

    @property
    def out(self) -> int:
        return convolved(self.size, self.kernel, self.stride, self.kernel // 2, 1)

    def depth(self, op: str) -> int:
        """How many products an element of the result adds up."""
        if op == WEIGHT:
            return self.n * self.out**2
        return self.kernel**2 * (self.c if op == FORWARD else self.k) // self.groups

    def call(self, op: str, whole: bool = False) -> Call:
        """Inputs (normal numbers, or small whole ones) and attributes."""
        rng = np.random.default_rng([self.n, self.size, self.c, self.k, self.kernel])
        shapes = {
            "x": (self.n, self.size, self.size, self.c),
            "w": (self.k, self.kernel, self.kernel, self.c // self.groups),
            "b": (self.k,),
            "dy": (self.n, self.out, self.out, self.k),
        }
        arrays = {
            array.name: (
                rng.integers(-4, 5, shapes[array.name]) if whole else rng.standard_normal(shapes[array.name])
            ).astype(np.float32)
            for array in OPS[op].inputs
        }
        pairs = {"stride": self.stride, "padding": self.kernel // 2, "dilation": 1, "size": self.size}
        pairs["kernel_size"] = self.kernel
        attributes = {item.name: 2 * (pairs[item.name],) for item in OPS[op].attributes if item.kind == "pair"}
        return arrays, attributes | {"groups": self.groups}


SHAPES = [
    Shape(4, 16, 16, 16),
    Shape(2, 13, 33, 47),
    Shape(2, 8, 64, 64),
    Shape(1, 15, 128, 128),
    Shape(1, 8, 256, 256),
    Shape(1, 4, 512, 512),
    Shape(4, 4, 512, 64),
    Shape(8, 30, 3, 16),
]
OTHERS = [
    Shape(2, 15, 16, 33, 5),
    Shape(8, 14, 6, 16, 5),
    Shape(2, 31, 3, 64, 7, 2),
    Shape(2, 14, 64, 128, 3, 2),
    Shape(1, 14, 256, 64, 1),
    Shape(2, 14, 64, 128, 1, 2),
    Shape(2, 10, 32, 48, 3, 1, 2),
]
DEPTHWISE = [Shape(2, 14, 40, 40, 3, 1, 40), Shape(2, 15, 33, 33, 5, 2, 33)]


def exactly(op: str, call: Call) -> np.ndarray:
    arrays, attributes = call
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    (result,) = run(op, wide, attributes, backend="reference").values()
    return result


def compute(op: str, call: Call, algorithm: str, backend: str = "numba") -> np.ndarray:
    (result,) = run(op, *call, backend=backend, algorithm=algorithm, allocate=poisoned).values()
    return result


def suitable(op: str, call: Call, backend: str) -> tuple[str, ...]:
    return OPS[op].suitable(bind(op, *call).sizes, backend)


def error(op: str, shape: Shape, algorithm: str) -> float:
    """The norm of the error relative to the norm of the result."""
    call = shape.call(op)
    expected = exactly(op, call)
    return float(np.linalg.norm(compute(op, call, algorithm) - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("shape", SHAPES + OTHERS, ids=str)
@pytest.mark.parametrize("op", CONVOLUTIONS)
def test_direct_loses_no_more_than_its_sums_must(op, shape):
    for algorithm in {"direct", "narrow"} & set(suitable(op, shape.call(op), "numba")):
        assert error(op, shape, algorithm) <= 5e-7 * np.sqrt(shape.depth(op) / 576), algorithm


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("op", CONVOLUTIONS)
def test_winograd_loses_one_digit_at_most(op, shape):
    for form in set(suitable(op, shape.call(op), "numba")) & set(winograd.FORMS):
        assert error(op, shape, form) <= 3e-6, form


@pytest.mark.parametrize("shape", SHAPES + OTHERS + DEPTHWISE, ids=str)
@pytest.mark.parametrize("op", CONVOLUTIONS)
@pytest.mark.parametrize("backend", COMPILED)
def test_sums_of_small_whole_numbers_are_exact(backend, op, shape):
    call = shape.call(op, whole=True)
    expected = exactly(op, call)
    assert np.abs(expected).max() < 2**24
    exact = [name for name in suitable(op, call, backend) if name not in winograd.FORMS]
    assert "im2col" in exact
    assert backend == "cython" or "direct" in exact
    for algorithm in exact:
        np.testing.assert_array_equal(compute(op, call, algorithm, backend), expected, err_msg=algorithm)


@pytest.mark.parametrize("shape", SHAPES + OTHERS + DEPTHWISE, ids=str)
@pytest.mark.parametrize("op", CONVOLUTIONS)
@pytest.mark.parametrize("backend", COMPILED)
def test_same_bits_on_one_and_two_threads(backend, op, shape, threads):
    call = shape.call(op)
    for algorithm in suitable(op, call, backend):
        results = []
        for count in (1, 2):
            set_num_threads(count)
            results.append(compute(op, call, algorithm, backend).tobytes())
        assert results[0] == results[1], algorithm


@pytest.mark.parametrize("backend", COMPILED)
def test_same_bits_on_one_and_two_threads_for_random_shapes(backend, threads):
    several = set()
    chosen = [item for item in kernels(backend) if OPS[item[0]].candidates]
    for op, algorithm in chosen:
        for seed in range(24):
            case = draw(op, algorithm, seed)
            tasks = bind(op, case.arrays(), case.attributes, algorithm).tasks
            if all(count < 2 for _, count in tasks):
                continue
            several.add((op, algorithm))
            results = []
            for count in (1, 2):
                set_num_threads(count)
                outputs = run(op, case.arrays(), case.attributes, backend=backend, algorithm=algorithm)
                results.append({name: array.tobytes() for name, array in outputs.items()})
            assert results[0] == results[1], f"{case.id}: --only {op}/{algorithm} --first {seed}"
    assert several == set(chosen)
