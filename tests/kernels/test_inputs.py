"""Arrays that contradict the declaration: an error names operation, array, what came and what was expected."""

from __future__ import annotations

import re
from typing import Any

import nnfast.kernels
import numpy as np
import pytest
from judging import COMPILED
from nnfast.kernels.cases import cases_of
from nnfast.kernels.launch import run
from nnfast.kernels.ops import OPS

ALL = (*COMPILED, "reference")


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


def linear(backend: str, outputs: dict[str, np.ndarray] | None = None, **changes: np.ndarray) -> dict[str, np.ndarray]:
    arrays = {"x": ones(4, 3), "w": ones(5, 3), "b": ones(5)} | changes
    return run("linear_forward", arrays, {}, outputs=outputs, backend=backend)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"x": ones(3, 4).T}, ValueError, "linear_forward: x is not C-contiguous"),
    ({"w": ones(5, 6)[:, ::2]}, ValueError, "linear_forward: w is not C-contiguous"),
    ({"x": ones(4, 3, dtype=np.float16)}, TypeError, "linear_forward: x is float16, expected float32"),
    ({"x": ones(4, 3, dtype=np.int64)}, TypeError, "linear_forward: x is int64, expected float32"),
    ({"x": ones(4, 3, dtype=">f4")}, TypeError, "linear_forward: x is >f4, expected float32"),
    ({"x": ones(3)}, ValueError, "linear_forward: x has shape (3,), expected (M, I)"),
    ({"x": ones(4, 3, 1)}, ValueError, "linear_forward: x has shape (4, 3, 1), expected (M, I)"),
    ({"w": ones(5, 2)}, ValueError, "linear_forward: w has shape (5, 2), where I is 3 in (O, I)"),
    ({"b": ones(4)}, ValueError, "linear_forward: b has 4 elements, expected 0 or 5"),
], ids=lambda value: None)  # fmt: skip
def test_wrong_input_is_named(
    backend: str, changes: dict[str, np.ndarray], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        linear(backend, **changes)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("name", ["x", "w", "b"])
def test_compiled_backends_refuse_float64(backend: str, name: str) -> None:
    wide = {"x": ones(4, 3), "w": ones(5, 3), "b": ones(5)}[name].astype(np.float64)
    with pytest.raises(
        TypeError, match=f"linear_forward: {name} is float64, and the {backend} backend computes in float32"
    ):
        linear(backend, **{name: wide})


def test_reference_refuses_mixed_floats() -> None:
    with pytest.raises(TypeError, match="linear_forward: w is float32, expected float64"):
        linear("reference", x=ones(4, 3, dtype=np.float64))


@pytest.mark.parametrize("backend", ALL)
def test_wrong_output_is_named(backend: str) -> None:
    frozen = ones(4, 5)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="linear_forward: y is read-only, but the operation writes it"):
        linear(backend, outputs={"y": frozen})
    with pytest.raises(ValueError, match=re.escape("linear_forward: y has shape (5, 4), expected (4, 5)")):
        linear(backend, outputs={"y": ones(5, 4)})
    with pytest.raises(TypeError, match="linear_forward: y is float64, expected float32"):
        linear(backend, outputs={"y": ones(4, 5, dtype=np.float64)})
    with pytest.raises(ValueError, match="linear_forward: y is not C-contiguous"):
        linear(backend, outputs={"y": ones(5, 4).T})


@pytest.mark.parametrize("backend", ALL)
def test_read_only_update_is_named(backend: str) -> None:
    y = ones(3)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="fill: y is read-only, but the operation writes it"):
        run("fill", {"y": y}, {"value": 2.0}, backend=backend)
    np.testing.assert_array_equal(y, ones(3))


@pytest.mark.parametrize("backend", ALL)
def test_elementwise_shapes_must_be_equal(backend: str) -> None:
    with pytest.raises(ValueError, match=re.escape("mul: b has shape (3, 2), expected (2, 3)")):
        run("mul", {"a": ones(2, 3), "b": ones(3, 2)}, {}, backend=backend)


@pytest.mark.parametrize("backend", ALL)
def test_target_must_be_int64(backend: str) -> None:
    arrays = {"x": ones(2, 3), "target": np.zeros(2, np.int32), "weight": ones(0)}
    with pytest.raises(TypeError, match="nll_loss_forward: target is int32, expected int64"):
        run("nll_loss_forward", arrays, {"ignore_index": -100, "mean": 1}, backend=backend)


@pytest.mark.parametrize("backend", ALL)
def test_missing_and_unknown_names_are_listed(backend: str) -> None:
    with pytest.raises(TypeError, match=r"linear_forward: takes x, w, b; got x, w$"):
        run("linear_forward", {"x": ones(1, 1), "w": ones(1, 1)}, {}, backend=backend)
    with pytest.raises(TypeError, match=r"fill: takes y, value; got y, values$"):
        run("fill", {"y": ones(1)}, {"values": 1.0}, backend=backend)


@pytest.mark.parametrize("backend", ALL)
def test_given_outputs_are_used_and_returned(backend: str) -> None:
    y = ones(4, 5)
    assert linear(backend, outputs={"y": y})["y"] is y
    np.testing.assert_array_equal(y, np.full((4, 5), 4.0))


@pytest.mark.parametrize("backend", ALL)
def test_read_only_inputs_are_fine(backend: str) -> None:
    for op in OPS:
        case = cases_of(op)[0]
        arrays = case.arrays()
        for array in OPS[op].inputs:
            arrays[array.name].flags.writeable = False
        run(op, arrays, case.attributes, backend=backend)


# ---------------------------------------------------------------- nnfast.kernels.get


@pytest.mark.parametrize("backend", ALL)
def test_get_takes_non_contiguous_inputs(backend: str) -> None:
    function = nnfast.kernels.get("linear_forward", backend)
    x, w = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::2], np.arange(6, dtype=np.float32).reshape(3, 2).T
    np.testing.assert_array_equal(function(x=x, w=w, b=ones(2)), x @ w.T + 1)


@pytest.mark.parametrize("backend", ALL)
def test_get_lets_optional_arrays_be_left_out(backend: str) -> None:
    np.testing.assert_array_equal(
        nnfast.kernels.get("linear_forward", backend)(x=ones(2, 3), w=ones(4, 3)), np.full((2, 4), 3.0)
    )
    p = ones(5)
    attributes = {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": 0, "maximize": 0}
    result = nnfast.kernels.get("sgd_step", backend)(
        g=ones(5), lr=np.array([0.5]), step=np.array([1]), p=p, **attributes
    )
    assert result is None
    np.testing.assert_array_equal(p, np.full(5, 0.5))


@pytest.mark.parametrize("backend", ALL)
def test_get_keeps_the_shape_of_numbers(backend: str) -> None:
    result = nnfast.kernels.get("exp", backend)(x=np.zeros((), np.float32))
    assert result.shape == ()
    assert result == 1.0


@pytest.mark.parametrize("backend", ALL)
def test_get_returns_several_outputs_as_a_tuple(backend: str) -> None:
    window = {"kernel_size": (2, 2), "stride": [2, 2], "padding": (0, 0), "dilation": (1, 1), "ceil_mode": 0}
    y, argmax = nnfast.kernels.get("max_pool2d_forward", backend)(x=ones(1, 4, 4, 3), **window)
    assert y.shape == argmax.shape == (1, 2, 2, 3)
    assert argmax.dtype == np.uint8


def test_get_names_what_it_does_not_know() -> None:
    with pytest.raises(KeyError, match=r"no operation 'relu'; there are .*relu_forward"):
        nnfast.kernels.get("relu")
    with pytest.raises(TypeError, match="linear_forward: takes x, w, b, y; got z"):
        nnfast.kernels.get("linear_forward", "reference")(x=ones(1, 1), w=ones(1, 1), z=ones(1))
    with pytest.raises(TypeError, match="linear_forward: w is missing"):
        nnfast.kernels.get("linear_forward", "reference")(x=ones(1, 1))
    with pytest.raises(ValueError, match="backend is 'torch', expected one of numba, cython, reference"):
        nnfast.kernels.set_backend("torch")
