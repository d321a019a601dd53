"""The reference, which says what the operations mean, against the oracle's nested loops."""

from __future__ import annotations

import warnings

import numpy as np
import oracle
import pytest
from judging import assert_correct, oracle_results, run_case
from nnfast.kernels.cases import Case, cases
from nnfast.kernels.launch import run
from nnfast.kernels.ops import OPS

SMALL = [case for case in cases() if not case.large]


def test_the_oracle_covers_every_operation() -> None:
    assert set(oracle.__all__) == set(OPS)


def test_the_oracle_imports_nothing_of_nnfast() -> None:
    for name in oracle.__all__:
        module = getattr(oracle, name).__globals__
        found = {getattr(value, "__module__", getattr(value, "__name__", "")) or "" for value in module.values()}
        assert not {text for text in found if text.startswith("nnfast")}, name


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_reference_computes_what_the_oracle_does(case: Case, dtype: type) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # sigmoid of -1000 is no occasion for one
        actual = run_case(case, "reference", dtype)
    assert_correct(case, actual, oracle_results(case), dtype)
    for name, array in actual.items():
        declared = next(item.dtype for item in OPS[case.op].arrays if item.name == name)
        assert array.dtype == (dtype if declared == "float" else np.dtype(declared))


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
def test_reference_reads_its_inputs_only(case: Case) -> None:
    before, arrays = case.arrays(), case.arrays()
    for array in OPS[case.op].inputs:
        arrays[array.name].flags.writeable = False
    run(case.op, arrays, case.attributes, backend="reference")
    for array in OPS[case.op].inputs:
        np.testing.assert_array_equal(arrays[array.name], before[array.name])
