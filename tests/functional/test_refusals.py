"""What operations refuse, and what they say."""

from __future__ import annotations

import numpy as np
import pytest

import nnfast
from nnfast import functional as F

x = nnfast.ones(2, 3, 8, 8)
w = nnfast.ones(4, 3, 3, 3)
logits, labels = nnfast.zeros(4, 3), nnfast.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.conv2d(x[:, :2], w), ValueError, "conv2d: x has 2 channels, weight expects 3$"),
        (
            lambda: F.conv2d(x, w, groups=2),
            ValueError,
            "conv2d: x has 3 channels, weight expects 3 in each of 2 groups",
        ),
        (lambda: F.conv2d(x, w, groups=3), ValueError, "groups is 3, expected a divisor of the 4 output channels"),
        (lambda: F.conv2d(x, w[0]), ValueError, r"weight has shape \[3, 3, 3\], expected 4 dimensions"),
        (lambda: F.conv2d(x[0, 0], w), ValueError, r"conv2d: x has 2 dimensions \[8, 8\], expected 4"),
        (lambda: F.conv2d(x, w, nnfast.ones(3)), ValueError, r"bias has shape \[3\], expected \[4\]"),
        (lambda: F.conv2d(x, w.double()), TypeError, "weight is float64, expected float32 as x"),
        (lambda: F.conv2d(x.long(), w), TypeError, "conv2d: x is int64, expected float32"),
        (lambda: F.conv2d(np.ones(3), w), TypeError, "conv2d: x is ndarray, expected a Tensor"),
        (lambda: F.conv2d(x, w, padding="same"), NotImplementedError, "conv2d: padding is 'same'"),
        (lambda: F.conv2d(x, w, padding=-1), ValueError, "conv2d: padding is -1, expected at least 0"),
        (lambda: F.conv2d(x, w, stride=0), ValueError, "conv2d: stride is 0, expected at least 1"),
        (lambda: F.conv2d(x, w, stride=1.5), TypeError, "conv2d: stride is 1.5, expected a whole number or a pair"),
        (lambda: F.conv2d(x, w, stride=(1, 2, 3)), TypeError, "conv2d: stride is \\(1, 2, 3\\)"),
        (
            lambda: F.conv2d(x, w, dilation=4),
            RuntimeError,
            "kernel of 9 x 9 pixels is larger than the padded input of 8 x 8",
        ),
        (lambda: F.conv2d(x, nnfast.ones(0, 3, 3, 3)), ValueError, "expected no size to be 0"),
        (lambda: F.unfold(x, 9), RuntimeError, "unfold: kernel of 9 x 9 pixels is larger"),
        (
            lambda: F.fold(nnfast.ones(1, 5, 4), 4, 3),
            ValueError,
            r"fold: x has shape \[1, 5, 4\], expected \(N, a multiple of 9",
        ),
        (lambda: F.fold(nnfast.ones(4), 4, 3), ValueError, "fold: x has shape"),
        (lambda: F.max_pool2d(x, 9), RuntimeError, r"max_pool2d: kernel_size \(9, 9\) is larger than the padded input"),
        (lambda: F.max_pool2d(x, 2, padding=2), RuntimeError, "expected at most half of kernel_size"),
        (lambda: F.max_pool2d(x, 2, return_indices=True), NotImplementedError, "return_indices=True is not supported"),
        (lambda: F.max_pool2d(x, 0), ValueError, "max_pool2d: kernel_size is 0"),
        (lambda: F.max_pool2d(x, 2, stride=0), ValueError, "max_pool2d: stride is 0"),
        (lambda: F.max_pool2d(nnfast.ones(1, 1, 1, 300), (1, 257)), NotImplementedError, "at most 256 x 256 are supp"),
        (lambda: F.max_pool2d(x.long(), 2), TypeError, "max_pool2d: x is int64"),
        (lambda: F.avg_pool2d(x, 2, divisor_override=3), NotImplementedError, "divisor_override=3"),
        (lambda: F.avg_pool2d(x, 9), RuntimeError, "avg_pool2d: kernel_size"),
        (lambda: F.adaptive_avg_pool2d(x, 0), ValueError, "adaptive_avg_pool2d: output_size"),
        (lambda: F.adaptive_avg_pool2d(x, (1, 2, 3)), TypeError, "adaptive_avg_pool2d: output_size"),
        (lambda: F.adaptive_avg_pool2d(nnfast.ones(1, 2, 0, 3), 1), RuntimeError, "expected sizes of at least 1"),
        (
            lambda: F.linear(x, nnfast.ones(2, 5)),
            ValueError,
            r"linear: x has shape \[2, 3, 8, 8\], weight expects \(..., 5\)",
        ),
        (lambda: F.linear(logits, w), ValueError, "linear: weight has shape"),
        (lambda: F.linear(labels, nnfast.ones(2, 4)), TypeError, "linear: x is int64"),
        (
            lambda: F.linear(logits, nnfast.ones(2, 3), nnfast.ones(3)),
            ValueError,
            r"linear: bias has shape \[3\], expected \[2\]",
        ),
        (lambda: F.linear(logits, nnfast.ones(2, 3).double()), TypeError, "linear: weight is float64"),
        (lambda: logits @ logits, RuntimeError, r"mat1 and mat2 shapes cannot be multiplied \(4x3 and 4x3\)"),
        (lambda: logits @ x, NotImplementedError, "only two matrices are"),
        (lambda: logits @ labels, TypeError, "matmul: b is int64"),
        (lambda: F.relu(labels), TypeError, "relu: x is int64"),
        (lambda: F.softmax(labels, 0), TypeError, "softmax: x is int64"),
        (lambda: F.softmax(logits, 2), IndexError, "Dimension out of range"),
        (lambda: F.dropout(x, 1.5), ValueError, "dropout probability has to be between 0 and 1, but got 1.5"),
        (lambda: F.dropout(labels), TypeError, "dropout: x is int64"),
        (lambda: F.batch_norm(x, None, None), ValueError, "running_mean and running_var are None"),
        (lambda: F.batch_norm(x, nnfast.ones(3), None), ValueError, "must both be given"),
        (
            lambda: F.batch_norm(x, nnfast.ones(2), nnfast.ones(2)),
            ValueError,
            r"running_mean has shape \[2\], x has 3 channels",
        ),
        (lambda: F.batch_norm(x, None, None, nnfast.ones(3).double(), training=True), TypeError, "weight is float64"),
        (lambda: F.batch_norm(x[0], None, None, training=True), ValueError, "batch_norm: x has shape"),
        (
            lambda: F.batch_norm(logits[:1], None, None, training=True),
            ValueError,
            "Expected more than 1 value per channel",
        ),
        (lambda: F.batch_norm(labels, None, None, training=True), TypeError, "batch_norm: x is int64"),
        (lambda: logits + nnfast.ones(2), RuntimeError, r"add: shapes \[4, 3\] and \[2\] do not broadcast"),
        (lambda: logits * logits.double(), TypeError, "mul: operands are float32 and float64"),
        (lambda: logits + "a", TypeError, "add: operand is str"),
        (lambda: logits**logits, NotImplementedError, "exponents that are tensors"),
        (lambda: labels**2, NotImplementedError, "pow: x is int64"),
        (lambda: logits.pow("a"), TypeError, "pow: exponent is str"),
        (lambda: ~logits, TypeError, "x is float32"),
        (lambda: logits.sum((0, 0)), RuntimeError, "multiple times"),
        (lambda: logits.sum(2), IndexError, "Dimension out of range"),
        (lambda: F.silu, AttributeError, "nnfast.functional has no 'silu'"),
    ],
)
def test_refusal(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            (logits, nnfast.tensor([0, 1, 3, 0])),
            {},
            ValueError,
            "target holds the label 3, expected 0 to 2, or ignore_index -100",
        ),
        ((logits, nnfast.tensor([0, -1, 2, 0])), {}, ValueError, "target holds the label -1"),
        ((logits, labels.int()), {}, TypeError, "target is int32, expected int64 class labels"),
        ((logits, nnfast.tensor([0.0, 1, float("nan"), 0])), {}, TypeError, "target is float32, expected int64"),
        ((logits, logits), {}, NotImplementedError, "class probabilities are not supported"),
        ((logits, labels[:2]), {}, ValueError, r"target has shape \[2\], x of shape \[4, 3\] expects \[4\]"),
        ((x, labels), {}, ValueError, r"expects \[2, 8, 8\]"),
        ((x[0], labels), {}, ValueError, r"x has shape \[3, 8, 8\]"),
        ((labels, labels), {}, TypeError, "x is int64, expected float32"),
        ((logits, [0, 1, 2, 0]), {}, TypeError, "target is list, expected a Tensor"),
        (
            (logits, labels),
            {"weight": nnfast.ones(4)},
            ValueError,
            r"weight is float32 of shape \[4\], expected float32 of shape \[3\]",
        ),
        ((logits, labels), {"reduction": "average"}, ValueError, "'average' is not a valid value for reduction"),
        ((logits, labels), {"size_average": True}, NotImplementedError, "size_average and reduce are not supported"),
    ],
)
def test_class_losses_refuse(
    loss: object, arguments: tuple, options: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        loss(*arguments, **options)  # type: ignore[operator]
    assert loss.__name__ in str(caught.value)  # type: ignore[attr-defined]


def test_other_losses_refuse() -> None:
    with pytest.raises(ValueError, match="label_smoothing must be between"):
        F.cross_entropy(logits, labels, label_smoothing=1.5)
    with pytest.raises(ValueError, match=r"mse_loss: target has shape \[4\], x has \[4, 3\]"):
        F.mse_loss(logits, nnfast.zeros(4))
    with pytest.raises(ValueError, match="mse_loss: 'max'"):
        F.mse_loss(logits, logits, reduction="max")


def test_ignored_labels_may_be_anything() -> None:
    assert F.cross_entropy(logits, nnfast.tensor([0, 99, 1, 99]), ignore_index=99).item() == pytest.approx(np.log(3))


@pytest.mark.parametrize("backend", ["cython", "numba"])
def test_compiled_backends_refuse_float64_by_name(backend: str) -> None:
    with nnfast.backend(backend), pytest.raises(TypeError, match=r"relu_forward: x is float64.*reference backend"):
        F.relu(nnfast.ones(3, dtype=nnfast.float64))


def test_empty_batches_pass() -> None:
    assert F.relu(nnfast.zeros(0, 3)).shape == (0, 3)
    assert F.conv2d(nnfast.zeros(0, 3, 8, 8), w).shape == (0, 4, 6, 6)
    assert F.max_pool2d(nnfast.zeros(0, 3, 8, 8), 2).shape == (0, 3, 4, 4)
    assert nnfast.zeros(0, 3, 8, 8).flatten(1).shape == (0, 192)
    assert np.isnan(F.cross_entropy(nnfast.zeros(0, 3), nnfast.zeros(0, dtype=nnfast.int64)).item())
