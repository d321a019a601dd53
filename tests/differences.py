"""Central differences in float64: what gradients are judged by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import nnfast

STEP = 1e-5


def check_gradients(
    function: Callable[..., nnfast.Tensor], *arrays: np.ndarray, rtol: float = 1e-6, atol: float = 1e-8
) -> None:
    """Compare the gradients of ``sum(function(*tensors) * weights)`` with central differences, for every array."""
    rng = np.random.default_rng(99)
    inputs = [nnfast.tensor(array, requires_grad=True) for array in arrays]
    y = function(*inputs)
    assert y.dtype == nnfast.float64
    weights = rng.standard_normal(y.shape)
    y.backward(nnfast.tensor(weights))
    for position, x in enumerate(inputs):
        expected = _differences(function, arrays, position, weights)
        assert x.grad is not None, f"input {position} got no gradient"
        assert x.grad.shape == x.shape
        np.testing.assert_allclose(x.grad.numpy(), expected, rtol=rtol, atol=atol, err_msg=f"input {position}")


def _differences(
    function: Callable[..., nnfast.Tensor], arrays: tuple[np.ndarray, ...], position: int, weights: np.ndarray
) -> np.ndarray:
    expected = np.zeros(arrays[position].shape)
    for place in np.ndindex(*expected.shape):
        sums = []
        for sign in (1, -1):
            moved = [array.copy() for array in arrays]
            moved[position][place] += sign * STEP
            with nnfast.no_grad():
                y = function(*(nnfast.tensor(array) for array in moved))
            sums.append((y.numpy() * weights).sum())
        expected[place] = (sums[0] - sums[1]) / (2 * STEP)
    return expected
