"""What the limits of the machine are measured with does the work that it is counted for."""

from __future__ import annotations

import numpy as np
from nnfast.kernels import limits
from nnfast.kernels.numba_jit import compiler, objects
from nnfast.kernels.numba_jit import limits as kernels


def test_multiply_add_runs_all_its_rounds():
    x = np.tile(np.linspace(0.4, 0.6, limits.SUMS, dtype=np.float32), (2, 1))
    y = np.zeros_like(x)
    expected = x.astype(np.float64)
    for _ in range(3):
        expected = expected * x[:, :1] + x[:, 1:2]
    address = objects.load(compiler.compile_object(kernels.multiply_add, limits.MULTIPLIES, "default"))
    limits.bound(address, limits.MULTIPLIES, {"x": x, "y": y}, rounds=3)()
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_limits_are_plausible_and_measured_once():
    found = limits.limits()
    assert 1e8 < found.flops < 1e14
    assert 1e8 < found.bandwidth < 1e13
    assert limits.limits() is found
