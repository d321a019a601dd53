"""Results beyond the caches: what is written around them has the bits of what is written through them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from nnfast.kernels import OPS
from nnfast.kernels.launch import bind, run
from nnfast.kernels.numba_jit.memory import STREAMED
from nnfast.kernels.numba_jit.vector import LINE

ROWS, CLASSES = 4101, 1024  # the last task has fewer rows
CASES = {
    "relu_forward": {}, "relu_backward": {}, "tanh_forward": {}, "add": {"alpha": 0.5}, "dropout": {"p": 0.5},
    "softmax_forward": {}, "softmax_backward": {}, "log_softmax_forward": {}, "log_softmax_backward": {},
    "cross_entropy_backward": {"ignore_index": 3, "label_smoothing": 0.1},
}  # fmt: skip


def _inputs(op: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"dy": (ROWS,), "weight": (CLASSES,)} if op == "cross_entropy_backward" else {}
    fixed = {
        "seed": np.array([1, 2], np.uint64), "target": rng.integers(0, CLASSES, ROWS), "normaliser": np.ones(1),
        "lse": np.full(ROWS, 8.0, np.float32),
    }  # fmt: skip
    names = [array.name for array in OPS[op].inputs]
    drawn = {name: -rng.random(shapes.get(name, (ROWS, CLASSES)), np.float32) for name in names if name not in fixed}
    return {name: fixed[name] if name in fixed else drawn[name] for name in names}


@pytest.mark.parametrize("op", CASES)
def test_large_results_have_the_same_bits_wherever_they_begin(op: str) -> None:
    arrays = _inputs(op)
    [(output, shape)] = bind(op, arrays, CASES[op]).outputs
    size = math.prod(shape)
    assert size > STREAMED
    results = []
    for offset in (0, 1):  # only memory that begins at a cache line is written around the caches
        memory = np.full(size + 2 * LINE, np.nan, np.float32)
        start = -memory.ctypes.data % (4 * LINE) // 4 + offset
        result = memory[start : start + size].reshape(shape)
        run(op, arrays, CASES[op], {output.name: result}, "numba")
        results.append(result)
        assert np.isnan(memory[:start]).all()
        assert np.isnan(memory[start + size :]).all()
    np.testing.assert_array_equal(*(result.view(np.uint32) for result in results))
    assert np.isfinite(results[0]).all()
