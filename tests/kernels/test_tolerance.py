"""The bounds are tight: results that are wrong in a way that kernels go wrong lie far outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judging import algorithms, reference_results, run_case
from nnfast.kernels import winograd
from nnfast.kernels.cases import CONVOLUTIONS, Case, cases, cases_of
from nnfast.kernels.ops import OPS
from nnfast.kernels.tolerance import error_bounds, worst_error


def bounds_of(case: Case, expected: dict[str, np.ndarray], algorithm: str | None = None) -> dict[str, np.ndarray]:
    return error_bounds(case.op, case.arrays(np.float64), case.attributes, expected, np.float32, algorithm)


def off_by(case: Case, actual: dict[str, np.ndarray], algorithm: str | None = None) -> float:
    expected = reference_results(case)
    bounds = bounds_of(case, expected, algorithm)
    return max(worst_error(actual[name].astype(np.float32), expected[name], bounds[name]) for name in bounds
               if expected[name].dtype == np.float64)  # fmt: skip


WINOGRAD = [case for case in cases() if "winograd" in algorithms(case, "numba") and "no images" not in case.name]


@pytest.mark.parametrize(
    ("case", "algorithm"),
    [
        *(pytest.param(case, None, id=case.id) for case in cases()),
        *(pytest.param(case, "winograd", id=f"{case.id}-winograd") for case in WINOGRAD),
    ],
)
def test_bounds_are_finite_and_far_below_the_results(case: Case, algorithm: str | None) -> None:
    expected = reference_results(case)
    for name, bound in bounds_of(case, expected, algorithm).items():
        assert bound.shape == expected[name].shape
        assert np.all(bound[np.isfinite(expected[name])] >= 0)
        assert np.all(np.isfinite(bound[np.isfinite(expected[name])]))
        if expected[name].dtype != np.float64 or expected[name].size < 15 or "mean 1e4" in case.name:
            continue  # a few sums may all cancel; and float32 holds a mean of 1e4 to 5e-4 only
        size = np.abs(np.where(np.isfinite(expected[name]), expected[name], 0.0)).max()
        assert np.median(bound) <= 1e-4 * size, f"{case.id}: {name}"


def changed(case: Case, **arrays: np.ndarray) -> Case:
    return Case(case.op, case.name, {**case.values, **arrays}, case.attributes)


@pytest.mark.parametrize("name", [name for name, g in CONVOLUTIONS.items() if g.n])
@pytest.mark.parametrize("op", ["conv2d_forward", "conv2d_backward_data"])
def test_a_convolution_that_drops_one_weight_is_outside(op: str, name: str) -> None:
    case = next(case for case in cases_of(op) if case.name == name)
    w = case.values["w"].copy()
    middle = tuple(length // 2 for length in w.shape)
    w[middle] = 0.0
    assert off_by(case, run_case(changed(case, w=w), "reference")) > 10


@pytest.mark.parametrize("name", [name for name, g in CONVOLUTIONS.items() if g.n])
def test_a_weight_gradient_that_drops_one_pixel_is_outside(name: str) -> None:
    case = next(case for case in cases_of("conv2d_backward_weight") if case.name == name)
    dy = case.values["dy"].copy()
    dy[tuple(length // 2 for length in dy.shape[:3])] = 0.0
    assert off_by(case, run_case(changed(case, dy=dy), "reference")) > 10


@pytest.mark.parametrize("case", WINOGRAD, ids=lambda case: case.id)
def test_a_winograd_convolution_that_drops_one_tap_is_outside(case: Case) -> None:
    """One weight of the images, one pixel's gradient of the weights."""
    name = "w" if "w" in case.values else "dy"
    values = case.values[name].copy()
    values[tuple(length // 2 for length in values.shape[: 4 if name == "w" else 3])] = 0.0
    assert off_by(case, run_case(changed(case, **{name: values}), "reference"), "winograd") > 10


@pytest.mark.parametrize(
    "case",
    [case for case in WINOGRAD if not case.op.endswith("weight") and ("wide" in case.name or "many" in case.name)],
    ids=lambda case: case.id,
)
def test_a_winograd_convolution_that_stores_a_tile_elsewhere_is_outside(case: Case) -> None:
    results = dict(reference_results(case))
    images = next(name for name in ("y", "dx") if name in results)
    results[images] = np.roll(results[images], winograd.OUTPUT, axis=2)
    assert off_by(case, results, "winograd") > 1000


DROPS = {"linear_forward": "x", "linear_backward_data": "dy", "linear_backward_weight": "x", "col2im": "columns",
         "avg_pool2d_forward": "x", "avg_pool2d_backward": "dy", "adaptive_avg_pool2d_forward": "x",
         "adaptive_avg_pool2d_backward": "dy", "max_pool2d_backward": "dy", "sum_forward": "x", "mean_forward": "x",
         "softmax_backward": "dy", "log_softmax_backward": "dy"}  # fmt: skip


def counts(case: Case) -> bool:
    """Whether every element of the case plays a part: there are some, and none is masked or drowned by another."""
    values = case.values[DROPS[case.op]]
    one_class = "softmax" in case.op and values.shape[-1] == 1
    return bool(values.size) and not one_class and "minus infinity" not in case.name and "huge" not in case.name


@pytest.mark.parametrize(
    "case", [case for case in cases() if case.op in DROPS and counts(case)], ids=lambda case: case.id
)
def test_a_result_that_misses_one_element_is_outside(case: Case) -> None:
    name = DROPS[case.op]
    values = np.array(case.values[name])
    place = [length // 2 for length in values.shape]
    if "pool" in case.op:
        place[1:3] = 0, 0  # strides may skip other pixels
    values[tuple(place)] = 0.0
    assert off_by(case, run_case(changed(case, **{name: values}), "reference")) > 5


@pytest.mark.parametrize("op", ["sum_forward", "mean_forward"])
def test_a_naive_float32_sum_is_outside(op: str) -> None:
    case = next(case for case in cases_of(op) if case.name == "1x40000x1 far from zero")
    total = np.cumsum(case.values["x"], axis=1, dtype=np.float32)[:, -1]
    assert off_by(case, {"y": total / (len(case.values["x"][0]) if op == "mean_forward" else 1)}) > 1


def test_a_one_pass_variance_is_outside() -> None:
    """Mean of squares less square of the mean, in float32: the formula that a mean of 1e4 breaks."""
    case = next(case for case in cases_of("batch_norm_forward") if case.name == "33x17 mean 1e4")
    x, results = case.values["x"], dict(reference_results(case))
    variance = (x * x).mean(axis=0, dtype=np.float32) - x.mean(axis=0, dtype=np.float32) ** 2
    results["invstd"] = 1.0 / np.sqrt(np.abs(variance) + case.attributes["eps"])
    assert off_by(case, results) > 10


def test_exact_operations_have_no_bound() -> None:
    for op in ("im2col", "max_pool2d_forward", "relu_forward", "copy_strided", "sum_backward", "increment"):
        case = cases_of(op)[-1]
        for bound in bounds_of(case, reference_results(case)).values():
            assert not bound.any(), op


def compare(actual: Any, expected: Any, bound: Any = 1.0) -> float:
    return worst_error(np.array(actual, np.float32), np.array(expected, np.float64), np.full(np.shape(actual), bound))


def test_worst_error_counts_bounds() -> None:
    assert compare([1.0, 2.0], [1.0, 2.5], 0.25) == 2.0
    assert compare([], []) == 0.0


@pytest.mark.parametrize(
    ("actual", "expected"),
    [(np.nan, 1.0), (1.0, np.nan), (np.inf, 1.0), (1.0, np.inf), (np.inf, -np.inf), (np.inf, np.nan), (3.0e38, 1e39)],
)
def test_worst_error_is_infinite_where_only_one_is_finite(actual: float, expected: float) -> None:
    assert compare([0.0, actual], [0.0, expected]) == np.inf


@pytest.mark.parametrize(("actual", "expected"), [(np.nan, np.nan), (np.inf, np.inf), (np.inf, 1e39), (0.5, 1.0)])
def test_worst_error_accepts_equal_specials_and_overflow(actual: float, expected: float) -> None:
    assert compare([actual], [expected]) <= 1.0


def test_worst_error_of_an_infinite_bound_is_infinite() -> None:
    assert compare([1.0], [2.0], np.inf) == np.inf


def test_worst_error_compares_whole_numbers_exactly() -> None:
    assert worst_error(np.array([3], np.uint8), np.array([4], np.uint8), np.zeros(1)) == np.inf
    assert worst_error(np.array([4], np.uint8), np.array([4], np.uint8), np.zeros(1)) == 0.0


def test_every_operation_has_cases() -> None:
    assert {case.op for case in cases()} == set(OPS)
