"""Numba and Cython against the float64 reference: every case of every operation, in poisoned memory."""

from __future__ import annotations

import numpy as np
import pytest
from judging import COMPILED, algorithms, assert_correct, each_algorithm, reference_results, run_case
from nnfast.kernels.cases import Case, cases
from nnfast.kernels.launch import bind, run
from nnfast.kernels.ops import OPS


@pytest.mark.parametrize(("case", "backend", "algorithm"), each_algorithm(cases()))
def test_compiled_kernel_computes_what_the_reference_does(case: Case, backend: str, algorithm: str) -> None:
    actual = run_case(case, backend, algorithm=algorithm)
    assert_correct(case, actual, reference_results(case), np.float32, algorithm)
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


def suiting() -> list[tuple[Case, str]]:
    """Every case with every algorithm that suits it on some backend."""
    return [(case, name) for case in cases() for name in {name: 0 for b in COMPILED for name in algorithms(case, b)}]


def test_every_algorithm_suits_some_case() -> None:
    found = {(case.op, name) for case, name in suiting()}
    assert found == {(op.name, name) for op in OPS.values() for name in op.algorithms}


ONE_TASK = {
    "increment",
    "fused_max_pool2d_backward_sums",
    "sum_squares_reduce",
    "gradient_norm",
    "finite",
    "depthwise_conv2d_forward_pack",
    "depthwise_conv2d_backward_data_pack",
    "depthwise_conv2d_backward_weight_reduce",
    "fused_depthwise_conv2d_forward_pack",
    "fused_depthwise_conv2d_backward_data_pack",
    "fused_depthwise_conv2d_backward_weight_reduce",
    "narrow_conv2d_forward_pack",
    "narrow_conv2d_backward_data_pack",
    "narrow_conv2d_backward_weight_reduce",
    "fused_narrow_conv2d_forward_pack",
    "fused_narrow_conv2d_forward_sums",
    "fused_narrow_conv2d_backward_weight_reduce",
    "cross_entropy_forward_reduce",
    "nll_loss_forward_reduce",
    "batch_norm_forward_combine",
    "batch_norm_backward_combine",
    "batch_norm_inference_backward_combine",
    "channel_sums_combine",
    "batch_norm_statistics",
    "batch_norm_running",
    "batch_norm_scale",
    "batch_norm_gradient",
    "channel_gradient",
    "affine_backward_combine",
} | {
    f"fused_{algorithm}conv2d_{direction}_sums"
    for algorithm in ("", "direct_", "winograd_", "wide_winograd_", "depthwise_")
    for direction in ("forward", "backward_data")
}
"""Stages that are declared to be one task whatever the sizes."""


def test_every_stage_has_a_case_with_several_tasks() -> None:
    most: dict[str, int] = {}
    for case, name in suiting():
        for kernel, tasks in bind(case.op, case.arrays(), case.attributes, name).tasks:
            most[kernel] = max(tasks, most.get(kernel, 0))
    assert {kernel for kernel, tasks in most.items() if tasks < 2} == ONE_TASK
