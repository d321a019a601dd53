"""What the kernels' tests share: running a case on a backend in poisoned memory, and judging its results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
import oracle
import pytest
from nnfast.kernels.cases import Case
from nnfast.kernels.launch import bind, run
from nnfast.kernels.ops import OPS
from nnfast.kernels.tolerance import error_bounds, worst_error

Arrays = dict[str, np.ndarray]
COMPILED = ("numba", "cython")
ALL = (*COMPILED, "reference")
POISON = 0xFF  # bytes of a NaN in every float type, and a place outside nearly every window in uint8


def poisoned(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory in which every byte shows if a kernel leaves or reads it."""
    array = np.empty(shape, dtype)
    array.view().reshape(-1).view(np.uint8)[...] = POISON
    return array


def algorithms(case: Case, backend: str) -> tuple[str, ...]:
    """The algorithms with which a compiled backend can compute a case."""
    op = OPS[case.op]
    shapes = {name: value.shape for name, value in case.values.items()}
    return op.suitable(op.bind(shapes, case.attributes), backend)


def each_algorithm(chosen: Iterable[Case], backends: Iterable[str] = COMPILED) -> list[Any]:
    """(case, backend, algorithm) for every algorithm that suits, with ids, for `pytest.mark.parametrize`."""
    return [
        pytest.param(case, backend, algorithm, id=f"{backend}-{case.id}" + several * f"-{algorithm}")
        for backend in backends
        for case in chosen
        for several in [len(OPS[case.op].algorithms) > 1]
        for algorithm in algorithms(case, backend)
    ]


def told_outputs(case: Case, dtype: type) -> Arrays:
    """Memory for the outputs of an operation of which no input says what ``float`` means; else nothing."""
    op = OPS[case.op]
    if any(array.dtype == "float" for array in op.inputs + op.updates):
        return {}
    outputs = bind(case.op, case.arrays(), case.attributes).outputs
    return {array.name: poisoned(array.name, shape, np.dtype(dtype)) for array, shape in outputs
            if array.dtype == "float"}  # fmt: skip


def run_case(case: Case, backend: str, dtype: type = np.float32, **options: Any) -> Arrays:
    """Outputs and updates of a case; everything that the operation writes or uses was poisoned before.

    Options are those of `launch.run`, such as ``algorithm``.
    """
    arrays = case.arrays(dtype)
    told = told_outputs(case, dtype)
    outputs = run(case.op, arrays, case.attributes, told, backend=backend, allocate=poisoned, **options)
    return outputs | {array.name: arrays[array.name] for array in OPS[case.op].updates}


@cache
def _exact(case_id: str) -> dict[str, Any]:
    return {}


def oracle_results(case: Case) -> Arrays:
    """What the nested loops say, computed once a session."""
    kept = _exact(case.id)
    if "oracle" not in kept:
        with np.errstate(all="ignore"):
            kept["oracle"] = getattr(oracle, case.op)(**case.arrays(np.float64), **case.attributes)
    return kept["oracle"]


def reference_results(case: Case) -> Arrays:
    """What the float64 reference says, computed once a session."""
    kept = _exact(case.id)
    if "reference" not in kept:
        kept["reference"] = run_case(case, "reference", np.float64)
    return kept["reference"]


def assert_correct(
    case: Case,
    actual: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    dtype: type,
    algorithm: str | None = None,
) -> None:
    """Every output and update lies within its bound; the message names the worst element."""
    bounds = error_bounds(case.op, case.arrays(np.float64), case.attributes, expected, dtype, algorithm)
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        ratio = worst_error(actual[name], wanted, bounds[name])
        if not ratio <= 1.0:
            raise AssertionError(_report(case, name, actual[name], wanted, bounds[name], ratio))


def _report(case: Case, name: str, actual: np.ndarray, expected: np.ndarray, bound: np.ndarray, ratio: float) -> str:
    each = [
        worst_error(a, e, b)
        for a, e, b in zip(actual.reshape(-1, 1), expected.reshape(-1, 1), bound.reshape(-1, 1), strict=True)
    ]
    wrong = [position for position, value in enumerate(each) if not value <= 1.0]
    place = max(wrong, key=lambda position: each[position])
    index = tuple(int(i) for i in np.unravel_index(place, actual.shape))
    return (f"{case.id}: {name}{list(index)} is {actual[index]}, expected {expected[index]} within {bound[index]:.3g} "
            f"({ratio:.3g} times the bound); {len(wrong)} of {actual.size} elements are wrong, first at "
            f"{[int(i) for i in np.unravel_index(wrong[0], actual.shape)]}")  # fmt: skip
