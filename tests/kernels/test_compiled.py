"""Numba and Cython against the float64 reference: every case of every operation, in poisoned memory."""

from __future__ import annotations

import numpy as np
import pytest
from judging import COMPILED, assert_correct, reference_results, run_case
from nnfast.kernels.cases import Case, cases
from nnfast.kernels.launch import bind, run
from nnfast.kernels.ops import OPS


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
@pytest.mark.parametrize("backend", COMPILED)
def test_compiled_kernel_computes_what_the_reference_does(case: Case, backend: str) -> None:
    actual = run_case(case, backend)
    assert_correct(case, actual, reference_results(case), np.float32)
    for array in OPS[case.op].updates + OPS[case.op].outputs:
        assert actual[array.name].dtype == ("float32" if array.dtype == "float" else
                                            "float64" if array.dtype == "double" else array.dtype)  # fmt: skip


ELEMENTWISE = [op.name for op in OPS.values() if any(array.elementwise for array in op.outputs)]


@pytest.mark.parametrize("op", ELEMENTWISE)
@pytest.mark.parametrize("backend", [*COMPILED, "reference"])
def test_output_may_be_the_memory_of_an_input(op: str, backend: str) -> None:
    case = next(case for case in cases() if case.op == op and case.name == "blocks")
    output = OPS[op].outputs[0].name
    apart = run_case(case, backend)[output]
    for array in OPS[op].inputs:
        if array.elementwise:
            arrays = case.arrays()
            run(op, arrays, case.attributes, outputs={output: arrays[array.name]}, backend=backend)
            np.testing.assert_array_equal(
                arrays[array.name], apart, err_msg=f"{op}: {output} in the memory of {array.name}"
            )


def test_every_algorithm_is_chosen_by_some_case() -> None:
    chosen = {(case.op, bind(case.op, case.arrays(), case.attributes).algorithm) for case in cases()}
    assert chosen == {(op.name, name) for op in OPS.values() for name in op.algorithms}


ONE_TASK = {
    "increment",
    "depthwise_conv2d_forward_pack",
    "depthwise_conv2d_backward_data_pack",
    "depthwise_conv2d_backward_weight_reduce",
    "cross_entropy_forward_reduce",
    "nll_loss_forward_reduce",
    "batch_norm_forward_combine",
    "batch_norm_backward_combine",
    "batch_norm_inference_backward_combine",
}
"""Stages that are declared to be one task whatever the sizes."""


def test_every_stage_has_a_case_with_several_tasks() -> None:
    most: dict[str, int] = {}
    for case in cases():
        for kernel, tasks in bind(case.op, case.arrays(), case.attributes).tasks:
            most[kernel] = max(tasks, most.get(kernel, 0))
    assert {kernel for kernel, tasks in most.items() if tasks < 2} == ONE_TASK
