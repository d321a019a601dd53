"""Values against formulas written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import nnfast
from nnfast import functional as F


def double(array: np.ndarray) -> nnfast.Tensor:
    return nnfast.tensor(np.asarray(array, np.float64))


def same(made: nnfast.Tensor, expected: np.ndarray) -> None:
    assert made.shape == np.shape(expected)
    np.testing.assert_allclose(made.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


def test_conv2d(rng: np.random.Generator) -> None:
    x, w, b = rng.standard_normal((2, 4, 7, 6)), rng.standard_normal((6, 2, 3, 2)), rng.standard_normal(6)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)))
    expected = np.zeros((2, 6, 4, 8))
    for n, k, i, j in np.ndindex(*expected.shape):
        group = k // 3
        window = padded[n, 2 * group : 2 * group + 2, 2 * i : 2 * i + 3, j : j + 3 : 2]
        expected[n, k, i, j] = (window * w[k]).sum() + b[k]
    same(F.conv2d(double(x), double(w), double(b), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2), expected)
    same(F.conv2d(double(x[0]), double(w), double(b), (2, 1), (1, 2), (1, 2), 2), expected[0])


def test_unfold_and_fold(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 4, 5))
    expected = np.stack([x[:, :, i : i + 2, j : j + 3].reshape(2, -1) for i in range(3) for j in range(3)], -1)
    same(F.unfold(double(x), (2, 3)), expected)
    counts = np.zeros((4, 5))
    for i, j in np.ndindex(3, 3):
        counts[i : i + 2, j : j + 3] += 1
    same(F.fold(F.unfold(double(x), (2, 3)), (4, 5), (2, 3)), x * counts)
    same(F.unfold(double(x[0]), (2, 3)), expected[0])
    same(F.fold(double(expected[0]), (4, 5), (2, 3)), x[0] * counts)


def test_pooling(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 5, 5))
    blocks = [[x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] for j in range(3)] for i in range(3)]
    largest = np.stack([np.stack([block.max((2, 3)) for block in row], -1) for row in blocks], -2)
    means = np.stack([np.stack([block.mean((2, 3)) for block in row], -1) for row in blocks], -2)
    same(F.max_pool2d(double(x), 2, ceil_mode=True), largest)
    same(F.max_pool2d(double(x), 2), largest[:, :, :2, :2])
    same(F.avg_pool2d(double(x), 2, ceil_mode=True), means)
    same(F.adaptive_avg_pool2d(double(x), (1, None)), x.mean(2, keepdims=True))
    same(
        F.adaptive_avg_pool2d(double(x), 2),
        np.stack(
            [
                np.stack([x[:, :, a, b].mean((2, 3)) for b in (slice(0, 3), slice(2, 5))], -1)
                for a in (slice(0, 3), slice(2, 5))
            ],
            -2,
        ),
    )
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    corner = F.avg_pool2d(double(x), 3, padding=1)[:, :, 0, 0]
    same(corner, padded[:, :, :3, :3].mean((2, 3)))
    same(F.avg_pool2d(double(x), 3, padding=1, count_include_pad=False)[:, :, 0, 0], x[:, :, :2, :2].mean((2, 3)))


@pytest.mark.parametrize("special", [[], [np.nan], [np.nan, np.nan]], ids=["numbers", "a NaN", "two NaN"])
def test_max_pool_of_large_windows_has_the_winner_of_small_ones(special: list[float]) -> None:
    """More than 256 pixels: the first of equal maxima in row order wins, or the last NaN."""
    values = np.zeros((1, 1, 20, 21), np.float32)
    values[0, 0, 3, 7] = values[0, 0, 3, 5] = values[0, 0, 9, 1] = 2.0
    values[0, 0, 5, [11, 2][: len(special)]] = special
    x = nnfast.tensor(values, requires_grad=True)
    y = F.max_pool2d(x, (20, 21))
    y.sum().backward()
    assert y.shape == (1, 1, 1, 1)
    np.testing.assert_array_equal(y.item(), special[0] if special else 2.0)
    assert [tuple(place) for place in np.argwhere(x.grad.numpy())] == [(0, 0, 5, 11) if special else (0, 0, 3, 5)]


def test_max_pool_of_large_windows_keeps_stride_padding_and_dilation(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 50, 45)).astype(np.float32)
    y = F.max_pool2d(nnfast.tensor(x), (17, 18), (2, 3), (8, 1), (1, 2), True)
    padded = np.pad(x, ((0, 0), (0, 0), (8, 10), (1, 4)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (17, 35), (2, 3))[:, :, ::2, ::3, :, ::2]
    np.testing.assert_array_equal(y.numpy(), windows.max((4, 5))[:, :, : y.shape[2], : y.shape[3]])
    assert y.shape[2:] == (26, 5)


def test_activations() -> None:
    x = np.array([-1000.0, -2, -0.5, 0, 0.5, 3, 8, 1000])
    with np.errstate(over="ignore"):
        same(F.sigmoid(double(x)), 1 / (1 + np.exp(-x)))
    same(F.tanh(double(x)), np.tanh(x))
    same(F.relu(double(x)), np.maximum(x, 0))
    same(F.relu6(double(x)), np.clip(x, 0, 6))
    same(F.leaky_relu(double(x), 0.1), np.where(x > 0, x, 0.1 * x))
    assert np.isnan(F.relu(nnfast.tensor(float("nan"))).item())


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 4), (2, 3, 4, 5)])
def test_softmax_along_every_dimension(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = rng.standard_normal(shape)
    for dim in range(-len(shape), len(shape)):
        expected = np.exp(x) / np.exp(x).sum(dim, keepdims=True)
        same(F.softmax(double(x), dim), expected)
        same(F.log_softmax(double(x), dim), np.log(expected))


def test_softmax_without_a_dimension_warns() -> None:
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        made = F.softmax(nnfast.zeros(2, 4))
    assert made[0].tolist() == [0.25] * 4


def test_linear_and_matmul(rng: np.random.Generator) -> None:
    x, w, b = rng.standard_normal((2, 3, 4)), rng.standard_normal((5, 4)), rng.standard_normal(5)
    same(F.linear(double(x), double(w), double(b)), x @ w.T + b)
    same(F.linear(double(x[0, 0]), double(w)), x[0, 0] @ w.T)
    same(double(x[0]) @ double(w.T), x[0] @ w.T)
    assert F.linear(nnfast.zeros(0, 4), nnfast.zeros(5, 4)).shape == (0, 5)


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 2)])
def test_batch_norm(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x, w, b = rng.standard_normal(shape), rng.standard_normal(3), rng.standard_normal(3)
    axes = (0, *range(2, len(shape)))
    each = (1, 3, *(1,) * (len(shape) - 2))
    mean, var, count = x.mean(axes), x.var(axes), x.size // 3
    running_mean, running_var = double(np.full(3, 0.5)), double(np.full(3, 2.0))
    made = F.batch_norm(double(x), running_mean, running_var, double(w), double(b), True, 0.2, 1e-3)
    normal = (x - mean.reshape(each)) / np.sqrt(var.reshape(each) + 1e-3)
    same(made, normal * w.reshape(each) + b.reshape(each))
    np.testing.assert_allclose(running_mean.numpy(), 0.8 * 0.5 + 0.2 * mean, rtol=1e-6)
    np.testing.assert_allclose(running_var.numpy(), 0.8 * 2 + 0.2 * var * count / (count - 1), rtol=1e-6)
    made = F.batch_norm(double(x), double(mean), double(var))
    same(made, (x - mean.reshape(each)) / np.sqrt(var.reshape(each) + 1e-5))


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy(reduction: str, weighted: bool, smoothing: float, rng: np.random.Generator) -> None:
    x, labels = rng.standard_normal((6, 4)), np.array([0, 3, 2, -1, 1, 3])
    w = np.array([0.5, 1.0, 2.0, 0.25]) if weighted else np.ones(4)
    p, kept = -log_softmax(x), labels != -1
    losses = np.where(kept, (1 - smoothing) * w[labels] * p[np.arange(6), labels] + smoothing / 4 * (p * w).sum(1), 0)
    expected = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / w[labels[kept]].sum()}[reduction]
    weight = double(w) if weighted else None
    options = {"ignore_index": -1, "reduction": reduction, "label_smoothing": smoothing}
    same(F.cross_entropy(double(x), nnfast.tensor(labels), weight, **options), expected)
    # The same numbers as pixels of two images.
    images = nnfast.tensor(x.reshape(2, 3, 1, 4).transpose(0, 3, 1, 2))
    shaped = losses.reshape(2, 3, 1) if reduction == "none" else expected
    same(F.cross_entropy(images, nnfast.tensor(labels.reshape(2, 3, 1)), weight, **options), shaped)


def test_nll_loss_is_the_second_half_of_cross_entropy(rng: np.random.Generator) -> None:
    x, labels = double(rng.standard_normal((6, 4))), nnfast.tensor([0, 3, 2, -100, 1, 3])
    for reduction in ("mean", "sum", "none"):
        expected = F.cross_entropy(x, labels, reduction=reduction).numpy()
        same(F.nll_loss(F.log_softmax(x, 1), labels, reduction=reduction), expected)
    assert F.nll_loss(x, labels, reduction="sum").item() == pytest.approx(
        -sum(x[i, label].item() for i, label in enumerate(labels.tolist()) if label >= 0)
    )


def test_extreme_logits_and_empty_sums() -> None:
    labels = nnfast.tensor([0, 1])
    assert F.cross_entropy(nnfast.tensor([[1000.0, -1000], [1000, -1000]]), labels).item() == 1000
    assert np.isnan(F.cross_entropy(nnfast.zeros(2, 3), nnfast.tensor([-100, -100])).item())
    assert F.cross_entropy(nnfast.zeros(2, 3), nnfast.tensor([-100, -100]), reduction="sum").item() == 0
    assert F.cross_entropy(nnfast.tensor([[0.0, float("-inf")]]), nnfast.tensor([0])).item() == 0


def test_mse_loss(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    same(F.mse_loss(double(x), double(y)), ((x - y) ** 2).mean())
    same(F.mse_loss(double(x), double(y), reduction="sum"), ((x - y) ** 2).sum())
    same(F.mse_loss(double(x), double(y), reduction="none"), (x - y) ** 2)


def test_dropout() -> None:
    x = nnfast.ones(100_000)
    y = F.dropout(x, 0.3).numpy()
    assert set(np.unique(y)) == {0, np.float32(1 / 0.7)}
    assert abs((y == 0).mean() - 0.3) < 0.01
    assert F.dropout(x, 0.3, training=False) is x
    assert F.dropout(x, 0.0) is x
    nnfast.manual_seed(1)
    first, second = F.dropout(x).numpy(), F.dropout(x).numpy()
    assert (first != second).any()
    nnfast.manual_seed(1)
    np.testing.assert_array_equal(F.dropout(x).numpy(), first)
    z = x * 1
    assert F.dropout(z, 1.0, inplace=True) is z
    assert z.sum().item() == 0


@pytest.mark.parametrize("dims", [None, 0, 1, (0, 1), (0, 2), (1, 3), (2, 3), (0, 1, 2, 3), -1, (3, 0)])
def test_sums_and_means(dims: object, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 4, 5))
    for keepdim in (False, True):
        same(double(x).sum(dims, keepdim), x.sum(dims, keepdims=keepdim))
        same(double(x).mean(dims, keepdim), x.mean(dims, keepdims=keepdim))
        same(double(x).var(dims, keepdim=keepdim), x.var(dims, ddof=1, keepdims=keepdim))
    integers = (x * 100).astype(np.int64)
    np.testing.assert_array_equal(nnfast.tensor(integers).sum(dims).numpy(), integers.sum(dims))


def test_a_sum_over_nothing_is_a_tensor_of_its_own() -> None:
    x = nnfast.tensor(2.0)
    y = x.sum()
    y.zero_()
    assert x.item() == 2
    assert nnfast.zeros(0, 3).sum(0).tolist() == [0, 0, 0]
    assert np.isnan(nnfast.zeros(0).mean().item())


def test_arithmetic(rng: np.random.Generator) -> None:
    a, b = rng.uniform(0.5, 2, (2, 3, 4, 5)), rng.uniform(0.5, 2, (3, 1, 5))
    x, y = double(a), double(b)
    for made, expected in (
        (x + y, a + b),
        (x - y, a - b),
        (x * y, a * b),
        (x / y, a / b),
        (y - x, b - a),
        (x**2, a**2),
        (x**0.5, a**0.5),
        (2 / x, 2 / a),
        (3 - x, 3 - a),
        (x / 3, a / 3),
        (x / 4, a / 4),
        (np.float64(2) * x, 2 * a),
        (x + nnfast.tensor(2), a + 2),
        (-x, -a),
        (+x, a),
        (abs(x - 1), abs(a - 1)),
        (x.exp(), np.exp(a)),
        (x.log(), np.log(a)),
        (x.sqrt(), np.sqrt(a)),
        (x.add(y, alpha=3), a + 3 * b),
        (x.sub(y, alpha=3), a - 3 * b),
        (x.pow(3), a**3),
        (x.norm(), np.sqrt((a**2).sum())),
    ):
        same(made, expected)


def test_division_by_a_number_is_exact() -> None:
    values = np.arange(1, 256, dtype=np.float32)
    np.testing.assert_array_equal((nnfast.tensor(values) / 255).numpy(), values / np.float32(255))
    np.testing.assert_array_equal((nnfast.tensor(values) / 0.3).numpy(), values / np.float32(0.3))
