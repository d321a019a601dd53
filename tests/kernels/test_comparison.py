"""`compare`: the operations that functions consist of are those that `nnfast.functional` runs, and errors are found."""

from __future__ import annotations

import numpy as np
import pytest
from nnfast.kernels import OPS, compare, compare_kernel, judgement
from nnfast.kernels.functions import FUNCTIONS
from nnfast.kernels.launch import run as launch_run

import nnfast
from nnfast import dispatch
from nnfast import functional as F

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.standard_normal(shape, np.float32)


IMAGES, LABELS = normal(2, 4, 6, 5), rng.integers(0, 4, (2, 6, 5))
ARGUMENTS = {
    "conv2d": ((IMAGES, normal(6, 2, 3, 2), normal(6)),
               {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}),
    "conv2d no bias": ((IMAGES, normal(3, 4, 1, 1)), {}),
    "linear": ((normal(2, 3, 5), normal(4, 5), normal(4)), {}),
    "matmul": ((normal(3, 5), normal(5, 4)), {}),
    "max_pool2d": ((IMAGES, 3), {"stride": 2, "padding": (1, 0), "ceil_mode": True}),
    "avg_pool2d": ((IMAGES, (2, 3)), {"padding": 1, "count_include_pad": False}),
    "adaptive_avg_pool2d": ((IMAGES, (2, 3)), {}),
    "batch_norm": ((IMAGES, normal(4), np.abs(normal(4)), normal(4), normal(4)), {"training": True, "momentum": 0.2}),
    "batch_norm inference": ((IMAGES, normal(4), np.abs(normal(4)), normal(4), normal(4)), {"eps": 1e-3}),
    "relu": ((IMAGES,), {}), "relu6": ((4 * IMAGES,), {}), "sigmoid": ((IMAGES,), {}), "tanh": ((IMAGES,), {}),
    "leaky_relu": ((IMAGES,), {"negative_slope": 0.2}),
    "dropout": ((IMAGES,), {"p": 0.3}),
    "softmax": ((IMAGES, 1), {}), "softmax of rows": ((IMAGES, -1), {}), "log_softmax": ((normal(5, 7),), {"dim": 1}),
    "cross_entropy": ((IMAGES, LABELS, np.abs(normal(4))), {"ignore_index": 2, "label_smoothing": 0.1}),
    "cross_entropy each": ((IMAGES, LABELS), {"reduction": "none"}),
    "nll_loss": ((IMAGES, LABELS), {"reduction": "sum"}),
}  # fmt: skip


@pytest.mark.parametrize("case", ARGUMENTS)
def test_functions_hold_in_all_backends(case):
    arguments, options = ARGUMENTS[case]
    found = compare(case.split()[0], *arguments, **options)
    assert found.holds, found
    assert {item.backend for item in found} == {"numba", "cython", "reference"}
    gradients = {item.array for item in found if item.array.startswith("gradient of ")}
    assert len(gradients) == sum(array.dtype == np.float32 and array.ndim > 0 for array in differentiable(case))


def differentiable(case):
    """The arguments that have a gradient."""
    arguments = [value for value in ARGUMENTS[case][0] if isinstance(value, np.ndarray)]
    name = case.split()[0]
    return arguments[:1] + arguments[3:] if name == "batch_norm" else arguments[:1] if name in LOSSES else arguments


LOSSES = ("cross_entropy", "nll_loss")


def test_every_function_has_a_case():
    assert {case.split()[0] for case in ARGUMENTS} == set(FUNCTIONS)


@pytest.mark.parametrize("case", ARGUMENTS)
def test_operations_are_those_that_functional_runs(case, monkeypatch):
    """The same kernels with the same inputs, but for results of the forward pass and random seeds."""
    name, (arguments, options) = case.split()[0], ARGUMENTS[case]
    ran = []

    def record(op, arrays, attributes, outputs=None):
        ran.append((op, {key: value.copy() for key, value in arrays.items()}, dict(attributes)))
        return launch_run(op, arrays, attributes, outputs)

    inputs = {id(array) for array in differentiable(case)}
    tensors = [nnfast.tensor(value, requires_grad=id(value) in inputs) if isinstance(value, np.ndarray) else value
               for value in arguments]  # fmt: skip
    with nnfast.backend("reference"):
        monkeypatch.setattr(dispatch, "timed_run", record)
        y = getattr(F, name)(*tensors, **options)
        gradient = normal(*y.shape)
        y.backward(nnfast.tensor(gradient))
    calls = FUNCTIONS[name](lambda shape, dtype: gradient, *arguments, **options)
    names = {call.op for call in calls}
    kernels = [item for item in ran if item[0] in names]
    assert [op for op, _, _ in kernels] == [call.op for call in calls]
    for call, (_, arrays, attributes) in zip(calls, kernels, strict=True):
        assert call.attributes == attributes
        assert call.arrays.keys() == arrays.keys()
        for key in arrays.keys() - {
            "seed"
        }:  # rows may stand in another order, where softmax is along another dimension
            np.testing.assert_allclose(np.sort(call.arrays[key], None), np.sort(arrays[key], None), 1e-5, 1e-6)


def test_results_are_judged_alone(monkeypatch):
    """A wrong gradient shows in its own row."""
    results = judgement.Call.results

    def wrong(call, backend, algorithm):
        found = results(call, backend, algorithm)
        if call.op == "conv2d_backward_weight" and backend == "cython":
            found["dw"] += np.float32(0.5)
        return found

    monkeypatch.setattr(judgement.Call, "results", wrong)
    arguments, options = ARGUMENTS["conv2d"]
    found = compare("conv2d", *arguments, **options)
    assert not found.holds
    assert {(item.array, item.backend) for item in found if not item.holds} == {("gradient of weight", "cython")}
    worst = next(item for item in found if not item.holds)
    assert worst.max_abs == pytest.approx(0.5, rel=1e-3)
    assert worst.against_reference.max_abs == pytest.approx(0.5, rel=1e-3)
    assert "does not hold" in str(found)


def test_errors_are_against_both_references():
    x = normal(16, 300)
    [item] = compare("linear", x, normal(3, 300), backend="cython")[:1]
    exact = item.against_wider
    assert 0 < exact.max_abs < 1e-4
    assert item.against_reference.max_abs <= 2e-4
    third = np.array([1 / 3], np.float32)
    assert judgement.errors(third, np.array([1 / 3]), np.dtype("float32")).max_ulp < 0.5
    off = judgement.errors(np.nextafter(third, np.float32(1)), third, np.dtype("float32"))
    assert off.max_ulp == 1
    assert off.max_rel == pytest.approx(2**-25 / (1 / 3), rel=1e-6)
    assert judgement.errors(np.array([np.nan], np.float32), np.array([1.0]), np.dtype("float32")).max_abs == np.inf
    assert judgement.errors(np.array([np.nan], np.float32), np.array([np.nan]), np.dtype("float32")).max_abs == 0


def test_float64_is_judged_by_something_wider():
    x = rng.standard_normal((5, 40))
    found = compare("softmax", x, 1, backend="reference")
    assert found.holds
    assert 0 < max(item.max_abs for item in found) < 1e-15
    assert "against the reference in longdouble" in str(found)
    with pytest.raises(TypeError, match="numba backend computes in float32"):
        compare("softmax", x, 1)


def test_gradient_is_given_or_seeded():
    x, w = normal(2, 3), normal(4, 3)

    def dx(**options):
        return next(item for item in compare("linear", x, w, backend="cython", **options) if "input" in item.array)

    assert dx() == dx(seed=0) != dx(seed=1)
    assert dx(gradient=np.zeros((2, 4), np.float32)).max_abs == 0
    with pytest.raises(ValueError, match=r"compare: linear: gradient has shape \(4, 2\), the result has \(2, 4\)"):
        dx(gradient=np.zeros((4, 2), np.float32))


def test_all_algorithms_are_compared():
    found = compare("conv2d", normal(1, 16, 8, 8), normal(16, 16, 3, 3), padding=1, backend="numba")
    forward = {item.algorithm for item in found if item.op == "conv2d_forward"}
    assert {"direct", "winograd", "im2col"} <= forward
    [one] = compare_kernel("relu_forward", {"x": normal(3)}, {}, "cython")
    assert one.algorithm == "default"


def test_a_kernel_is_compared_by_its_arrays_and_attributes():
    x = normal(5)
    assert compare("relu_forward", {"x": x}, {}, "cython") == compare_kernel("relu_forward", {"x": x}, {}, "cython")
    assert compare("dropout", {"x": x, "seed": np.zeros(2, np.uint64)}, {"p": 0.5}, backend="cython").holds


@pytest.mark.parametrize(("arguments", "options", "message"), [
    (("conv3d", IMAGES), {}, "compare: there is no function 'conv3d', expected one of conv2d, "),
    (("relu_forward", IMAGES), {}, "relu_forward is a kernel: give mappings of its arrays and attributes"),
    (("conv2d", IMAGES, IMAGES), {"strides": 2},
     "compare: conv2d: got an unexpected keyword argument 'strides'; it takes input, weight, bias, stride"),
    (("conv2d", IMAGES), {}, "compare: conv2d: missing a required argument: 'weight'"),
    (("conv2d", IMAGES, normal(3, 2, 3, 3)), {}, "conv2d: input has 4 channels, weight expects 2"),
    (("conv2d", IMAGES, normal(3, 2, 3, 3)), {"groups": 2}, "groups is 2, expected a divisor of the 3 output channels"),
    (("conv2d", IMAGES, normal(3, 4, 7, 3)), {}, "conv2d: the window is larger than the padded input of 6 x 5"),
    (("avg_pool2d", IMAGES, 7), {}, "avg_pool2d: the window is larger than the padded input of 6 x 5"),
    (("conv2d", IMAGES, normal(3, 4, 3, 3)), {"stride": 0}, "stride is 0, expected a whole number of at least 1"),
    (("conv2d", IMAGES[0], normal(3, 4, 3, 3)), {},
     r"conv2d: input has shape \(4, 6, 5\), expected \(N, C, H, W\)"),
    (("conv2d", IMAGES, normal(3, 4, 3, 3)), {"stride": 1.5}, "conv2d: stride is 1.5, expected a whole number"),
    (("conv2d", LABELS, normal(3, 4, 3, 3)), {}, "conv2d: input is int64, expected float32"),
    (("relu", IMAGES), {"backend": "cuda"}, "compare: backend is 'cuda', expected one of numba, cython, reference"),
    (("linear", IMAGES, normal(3, 4)), {}, r"linear: input has shape \(2, 4, 6, 5\), weight expects \(..., 4\)"),
    (("matmul", normal(2, 3), normal(2, 3)), {}, r"matmul: a has shape \(2, 3\), b has \(2, 3\), expected \(3, O\)"),
    (("max_pool2d", IMAGES, 2), {"padding": 2}, "expected at most half of kernel_size"),
    (("batch_norm", IMAGES, None, None), {}, "running_mean and running_var are None"),
    (("softmax", IMAGES, 4), {}, "softmax: dim is 4, input has 4 dimensions"),
    (("cross_entropy", IMAGES, LABELS[0]), {}, r"target has shape \(6, 5\), input of shape \(2, 4, 6, 5\) expects"),
    (("cross_entropy", IMAGES, LABELS + 3), {}, "target holds the label [4-6], expected 0 to 3"),
    (("cross_entropy", IMAGES, LABELS.astype(np.int32)), {}, "target is int32, expected int64"),
    (("nll_loss", IMAGES, LABELS), {"reduction": "max"}, "nll_loss: reduction is 'max', expected 'mean'"),
    (("dropout", IMAGES), {"p": 1.5}, "dropout: p is 1.5, expected 0 to 1"),
])  # fmt: skip
def test_wrong_usage_is_told(arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        compare(*arguments, **options)


def test_backends_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(judgement, "has_numba", lambda: False)
    assert {item.backend for item in compare("relu", IMAGES)} == {"cython", "reference"}


def test_the_table_has_a_line_for_every_result():
    found = compare("relu", IMAGES)
    lines = str(found).splitlines()
    assert len(lines) == 2 + len(found)
    assert len({len(line.removesuffix("does not hold").removesuffix("holds")) for line in lines[2:]}) == 1
    assert lines[2].split()[:4] == ["relu_forward", "y", "numba", "default"]
    assert {item.op for item in found} <= set(OPS)
