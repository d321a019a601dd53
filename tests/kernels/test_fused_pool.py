"""Fused max pooling: the operations that it replaces, ties that the activation makes, NaN, bounds that are tight."""

from __future__ import annotations

from typing import Any

import nnfast.kernels
import numpy as np
import pytest
from judging import ALL, COMPILED, reference_results, run_case
from nnfast.kernels.cases import Case, cases_of
from nnfast.kernels.fused import NO_ACTIVATION, RELU, RELU6
from nnfast.kernels.launch import run
from nnfast.kernels.tolerance import error_bounds, worst_error

Arrays = dict[str, np.ndarray]
NAN, INF = np.nan, np.inf
PAIRS = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
ACTIVATIONS = {RELU: "relu", RELU6: "relu6"}


def get(op: str, backend: str) -> Any:
    return nnfast.kernels.get(op, backend)


@pytest.mark.parametrize("backend", COMPILED)
def test_without_anything_fused_it_is_plain_pooling(backend: str) -> None:
    for case in cases_of("max_pool2d_forward"):
        fused = get("fused_max_pool2d_forward", backend)(**case.arrays(), activation=NO_ACTIVATION, **case.attributes)
        for found, expected in zip(fused, run_case(case, backend).values(), strict=True):
            np.testing.assert_array_equal(found, expected)
    for case in cases_of("max_pool2d_backward"):
        dx, sums = get("fused_max_pool2d_backward", backend)(
            **case.arrays(), activation=NO_ACTIVATION, **case.attributes
        )
        assert sums.shape == (2, 0)
        np.testing.assert_array_equal(dx, run_case(case, backend)["dx"])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("backend", COMPILED)
def test_activation_and_pooling_are_the_operations_one_by_one(backend: str, activation: int) -> None:
    for case in cases_of("max_pool2d_forward"):
        x = 4.0 * case.arrays()["x"]
        seen = run(f"{ACTIVATIONS[activation]}_forward", {"x": x}, {}, backend=backend)["y"]
        expected = run("max_pool2d_forward", {"x": seen}, case.attributes, backend=backend)
        y, argmax = get("fused_max_pool2d_forward", backend)(x=x, activation=activation, **case.attributes)
        np.testing.assert_array_equal(y, expected["y"], err_msg=case.id)
        np.testing.assert_array_equal(argmax, expected["argmax"], err_msg=case.id)
        window = {"size": x.shape[1:3]} | {key: value for key, value in case.attributes.items() if key != "ceil_mode"}
        dy = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
        passed = run("max_pool2d_backward", {"dy": dy, "argmax": argmax}, window, backend=backend)["dx"]
        gradient = run(f"{ACTIVATIONS[activation]}_backward", {"dy": passed, "y": seen}, {}, backend=backend)["dx"]
        dx, _ = get("fused_max_pool2d_backward", backend)(dy=dy, argmax=argmax, y=y, activation=activation, **window)
        np.testing.assert_array_equal(dx, gradient, err_msg=case.id)


@pytest.mark.parametrize("channels", [3, 16, 65])
@pytest.mark.parametrize("backend", ALL)
def test_what_the_activation_makes_equal_ties(backend: str, channels: int) -> None:
    pixels = np.array([[-3.0, -1.0], [-2.0, -5.0]], np.float32)
    for offset, activation, value in ((0.0, RELU, 0.0), (20.0, RELU6, 6.0)):
        x = np.repeat(pixels[None, :, :, None] + np.float32(offset), channels, axis=3)
        y, argmax = get("fused_max_pool2d_forward", backend)(x=x, activation=activation, ceil_mode=0, **PAIRS)
        assert (y == value).all()
        assert (argmax == 0).all()
        dx, sums = get("fused_max_pool2d_backward", backend)(
            dy=np.ones_like(y), argmax=argmax, y=y, x=x, centre=x[0, 0, 0], activation=activation, size=(2, 2), **PAIRS
        )
        assert not dx.any()
        assert not sums.any()


@pytest.mark.parametrize("channels", [3, 16, 65])
@pytest.mark.parametrize("backend", ALL)
def test_special_numbers(backend: str, channels: int) -> None:
    """NaN wins; a gradient passes where y is infinite under ReLU, and never where y is NaN."""
    x = np.zeros((1, 2, 8, channels), np.float32)
    x[0, 1, 0], x[0, 0, 2:4], x[0, 0, 5], x[0, 1, 7] = NAN, NAN, INF, -INF
    forward, backward = get("fused_max_pool2d_forward", backend), get("fused_max_pool2d_backward", backend)
    for activation, infinite in ((NO_ACTIVATION, INF), (RELU, INF), (RELU6, 6.0)):
        y, argmax = forward(x=x, activation=activation, ceil_mode=0, **PAIRS)
        np.testing.assert_array_equal(y[0, 0, :, -1], [NAN, NAN, infinite, 0.0])
        np.testing.assert_array_equal(argmax[0, 0, :, -1], [2, 1, 1, 0])
        dy = np.array([1.0, 2.0, 3.0, 4.0], np.float32)[None, None, :, None].repeat(channels, axis=3)
        dx, _ = backward(dy=dy, argmax=argmax, y=y, activation=activation, size=(2, 8), **PAIRS)
        passed = {NO_ACTIVATION: [1.0, 2.0, 3.0, 4.0], RELU: [0.0, 0.0, 3.0, 0.0], RELU6: [0.0] * 4}[activation]
        np.testing.assert_array_equal(dx.sum(axis=(0, 1, 3)).reshape(4, 2).sum(axis=1), channels * np.array(passed))
    dy[0, 0, 3] = NAN
    x, y = np.ones_like(x), np.ones_like(y)
    dx, sums = backward(dy=dy, argmax=argmax, y=y, x=x, centre=x[0, 1, 1], activation=RELU, size=(2, 8), **PAIRS)
    assert np.isnan(dx[0, 0, 6]).all()
    assert np.isnan(sums).all()


@pytest.mark.parametrize("backend", ALL)
def test_sums_without_images(backend: str) -> None:
    """The second sum is 0, not what happened to be in memory."""
    for case in cases_of("fused_max_pool2d_backward"):
        arrays = case.arrays() | {"x": np.zeros(0, np.float32)}
        sums = run(case.op, arrays, case.attributes, backend=backend)["sums"]
        np.testing.assert_array_equal(sums[1], np.zeros(sums.shape[1]))
        if case.values["x"].size:
            np.testing.assert_array_equal(sums[0], run_case(case, backend)["sums"][0])


def off_by(case: Case, **changes: np.ndarray) -> float:
    """How far the results of changed inputs are from those of `case`, in units of their bounds."""
    expected = reference_results(case)
    changed = run_case(Case(case.op, case.name, {**case.values, **changes}, case.attributes), "reference", np.float64)
    bounds = error_bounds(case.op, case.arrays(np.float64), case.attributes, expected, np.float32)
    return max(worst_error(changed[key].astype(np.float32), expected[key], bounds[key]) for key in ("dx", "sums"))


@pytest.mark.parametrize("case", [case for case in cases_of("fused_max_pool2d_backward") if case.values["dy"].size
                                  and case.values["y"].size], ids=lambda case: case.id)  # fmt: skip
def test_a_result_that_misses_one_number_is_outside(case: Case) -> None:
    passes = (case.values["y"] > 0) & (case.values["y"] < 6)
    place = tuple(np.argwhere(passes)[len(np.argwhere(passes)) // 2]) if passes.any() else None
    if place is None:
        return
    for name in ("dy", "y"):
        changed = case.values[name].copy()
        changed[place] = 0.0
        assert off_by(case, **{name: changed}) > 100
    if case.values["centre"].size and case.values["x"].size:
        centre = case.values["centre"].copy()
        centre[place[3]] += 0.1
        assert off_by(case, centre=centre) > 5
