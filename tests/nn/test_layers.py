"""Layers: what they hold, how they start, and that they call the function of their name."""

from __future__ import annotations

import math

import numpy as np
import pytest

import nnfast
from nnfast import functional as F
from nnfast import nn


def test_layers_are_their_functions() -> None:
    x = nnfast.randn(2, 4, 6, 6)
    conv = nn.Conv2d(4, 6, 3, 2, 1, 1, 2)
    for made, expected in (
        (conv(x), F.conv2d(x, conv.weight, conv.bias, 2, 1, 1, 2)),
        (nn.MaxPool2d(3, 2, 1)(x), F.max_pool2d(x, 3, 2, 1)),
        (nn.MaxPool2d(2, ceil_mode=True, dilation=2)(x), F.max_pool2d(x, 2, ceil_mode=True, dilation=2)),
        (nn.AvgPool2d(2, 1, 1, True, False)(x), F.avg_pool2d(x, 2, 1, 1, True, False)),
        (nn.AdaptiveAvgPool2d((2, 3))(x), F.adaptive_avg_pool2d(x, (2, 3))),
        (nn.Unfold(2, 1, 1, 2)(x), F.unfold(x, 2, 1, 1, 2)),
        (nn.Fold(6, 2, stride=2)(nnfast.ones(1, 8, 9)), F.fold(nnfast.ones(1, 8, 9), 6, 2, stride=2)),
        (nn.ReLU()(x), F.relu(x)),
        (nn.ReLU6()(x * 9), F.relu6(x * 9)),
        (nn.LeakyReLU(0.3)(x), F.leaky_relu(x, 0.3)),
        (nn.Sigmoid()(x), F.sigmoid(x)),
        (nn.Tanh()(x), F.tanh(x)),
        (nn.Softmax(1)(x), F.softmax(x, 1)),
        (nn.LogSoftmax(-1)(x), F.log_softmax(x, -1)),
        (nn.Flatten()(x), x.reshape(2, 144)),
        (nn.Identity(1, a=2)(x), x),
        (nn.Unflatten(1, (2, 2))(x), x.reshape(2, 2, 2, 6, 6)),
        (nn.Dropout().eval()(x), x),
    ):
        np.testing.assert_array_equal(made.detach().numpy(), expected.detach().numpy())


def test_losses_are_their_functions() -> None:
    x, labels, weight = nnfast.randn(4, 3), nnfast.tensor([0, 1, 2, 1]), nnfast.tensor([1.0, 2.0, 0.5])
    made = nn.CrossEntropyLoss(weight, ignore_index=1, reduction="sum", label_smoothing=0.1)(x, labels)
    assert (
        made.item() == F.cross_entropy(x, labels, weight, ignore_index=1, reduction="sum", label_smoothing=0.1).item()
    )
    assert nn.NLLLoss(weight, ignore_index=0)(x, labels).item() == F.nll_loss(x, labels, weight, ignore_index=0).item()
    assert nn.MSELoss(reduction="sum")(x, x * 2).item() == F.mse_loss(x, x * 2, reduction="sum").item()
    assert list(nn.CrossEntropyLoss(weight).state_dict()) == ["weight"]
    for make in (nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss):
        with pytest.raises(ValueError, match="'all' is not a valid value for reduction"):
            make(reduction="all")
        with pytest.raises(NotImplementedError, match="size_average"):
            make(reduce=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels must be divisible by groups"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "out_channels must be divisible by groups"),
        (lambda: nn.Conv2d(4, 4, 3, groups=0), ValueError, "groups must be a positive integer"),
        (lambda: nn.Conv2d(0, 4, 3), ValueError, "expected at least 1"),
        (
            lambda: nn.Conv2d(3, 4, 3, padding_mode="reflect"),
            NotImplementedError,
            "padding_mode is 'reflect'; only 'zeros'",
        ),
        (lambda: nn.Conv2d(3, 4, 3, padding="same"), NotImplementedError, "padding is 'same'"),
        (lambda: nn.Conv2d(3, 4, 3, device="cuda"), NotImplementedError, "Conv2d: device is 'cuda'"),
        (lambda: nn.Conv2d(3, 4, 3, dtype=np.float16), NotImplementedError, "float16"),
        (lambda: nn.Conv2d(3, 4, 0), ValueError, "Conv2d: kernel_size is 0"),
        (lambda: nn.MaxPool2d(2, return_indices=True), NotImplementedError, "return_indices=True"),
        (lambda: nn.AvgPool2d(2, divisor_override=2), NotImplementedError, "divisor_override=2"),
        (lambda: nn.Dropout(-0.1), ValueError, "but got -0.1"),
        (lambda: nn.BatchNorm2d(3)(nnfast.ones(2, 3)), ValueError, r"expected 4D input \(got 2D input\)"),
        (lambda: nn.BatchNorm1d(3)(nnfast.ones(2, 3, 4)), NotImplementedError, r"only \(N, C\) is supported"),
        (lambda: nn.BatchNorm1d(3)(nnfast.ones(2, 3, 4, 4)), ValueError, "expected 2D input"),
        (
            lambda: nn.BatchNorm2d(4)(nnfast.ones(2, 3, 4, 4)),
            ValueError,
            r"running_mean has shape \[4\], x has 3 channels",
        ),
        (lambda: nn.Unflatten("a", (1,)), NotImplementedError, "named dimensions"),
    ],
)
def test_refusals(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


def test_dropout_follows_the_mode() -> None:
    layer, x = nn.Dropout(0.5), nnfast.ones(1000)
    assert 300 < (layer(x) == 0).sum().item() < 700
    assert layer.eval()(x) is x


class TestBatchNorm:
    def test_training_moves_the_running_statistics(self, rng: np.random.Generator) -> None:
        layer = nn.BatchNorm2d(3, momentum=0.3)
        mean, var = np.zeros(3), np.ones(3)
        for step in range(3):
            x = rng.standard_normal((4, 3, 2, 2)).astype(np.float32) + step
            layer(nnfast.tensor(x))
            mean = 0.7 * mean + 0.3 * x.mean((0, 2, 3))
            var = 0.7 * var + 0.3 * x.var((0, 2, 3), ddof=1)
        np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-5)
        np.testing.assert_allclose(layer.running_var.numpy(), var, rtol=1e-5)
        assert layer.num_batches_tracked.item() == 3
        x = nnfast.randn(4, 3, 2, 2)
        expected = (x.numpy() - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5)
        np.testing.assert_allclose(layer.eval()(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
        assert layer.num_batches_tracked.item() == 3
        layer.reset_running_stats()
        assert layer.running_var.tolist() == [1, 1, 1]
        assert layer.num_batches_tracked.item() == 0

    def test_without_momentum_it_is_the_mean_over_all_steps(self, rng: np.random.Generator) -> None:
        layer = nn.BatchNorm1d(2, momentum=None)
        means = []
        for _ in range(4):
            x = rng.standard_normal((5, 2)).astype(np.float32)
            layer(nnfast.tensor(x))
            means.append(x.mean(0))
        np.testing.assert_allclose(layer.running_mean.numpy(), np.mean(means, 0), rtol=1e-5, atol=1e-6)

    def test_without_running_statistics_every_batch_is_normalised_by_itself(self) -> None:
        layer = nn.BatchNorm2d(2, affine=False, track_running_stats=False)
        assert not layer.state_dict()
        x = nnfast.randn(3, 2, 4, 4) * 5 + 2
        for made in (layer(x), layer.eval()(x)):
            assert abs(made.mean().item()) < 1e-5
            assert made.var().item() == pytest.approx(1, rel=0.05)

    def test_tracking_can_be_turned_off(self) -> None:
        layer = nn.BatchNorm1d(1)
        layer.track_running_stats = False
        layer(nnfast.tensor([[2.0], [4.0]]))
        assert layer.running_mean.item() == 0
        assert layer.num_batches_tracked.item() == 0

    def test_momentum_is_an_array_that_the_kernels_read(self) -> None:
        layer = nn.BatchNorm1d(1)
        layer.momentum = 1.0
        layer(nnfast.tensor([[2.0], [4.0]]))
        assert layer.running_mean.item() == 3
        assert layer.momentum == 1.0


class TestInitialValues:
    def test_convolution_and_linear_layers(self) -> None:
        for layer, fan_in in ((nn.Conv2d(8, 64, 3, groups=2), 36), (nn.Linear(50, 80), 50)):
            bound = 1 / math.sqrt(fan_in)
            for values in (layer.weight.detach().numpy(), layer.bias.detach().numpy()):
                assert np.abs(values).max() <= bound
                assert np.abs(values).max() > 0.8 * bound

    def test_values_are_a_function_of_the_stream_alone(self) -> None:
        nnfast.manual_seed(3)
        layer = nn.Conv2d(2, 3, 3)
        generator = nnfast.manual_seed(3)
        bound = 1 / math.sqrt(18)
        expected = -bound + 2 * bound * generator.random((3, 2, 3, 3), dtype=np.float32)
        np.testing.assert_allclose(layer.weight.detach().numpy(), expected, rtol=1e-6)
        np.testing.assert_allclose(
            layer.bias.detach().numpy(), -bound + 2 * bound * generator.random(3, dtype=np.float32), rtol=1e-6
        )

    def test_layers_start_anew(self) -> None:
        layer = nn.Linear(2, 2)
        before = layer.weight.tolist()
        layer.reset_parameters()
        assert layer.weight.tolist() != before
        assert layer.weight.is_leaf

    @pytest.mark.parametrize(
        ("fill", "low", "high", "std"),
        [
            (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), -math.sqrt(6 / 90), math.sqrt(6 / 90), None),
            (
                lambda w: nn.init.kaiming_uniform_(w, mode="fan_out", a=1),
                -math.sqrt(3 / 1800),
                math.sqrt(3 / 1800),
                None,
            ),
            (lambda w: nn.init.xavier_uniform_(w, gain=2), -2 * math.sqrt(6 / 1890), 2 * math.sqrt(6 / 1890), None),
            (lambda w: nn.init.uniform_(w, 1, 3), 1, 3, None),
            (
                lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
                None,
                None,
                math.sqrt(2 / 1800),
            ),
            (lambda w: nn.init.xavier_normal_(w), None, None, math.sqrt(2 / 1890)),
            (lambda w: nn.init.normal_(w, 0, 0.3), None, None, 0.3),
        ],
    )
    def test_ranges(self, fill: object, low: float | None, high: float | None, std: float | None) -> None:
        w = nn.Parameter(nnfast.empty(200, 10, 3, 3))
        assert fill(w) is w  # type: ignore[operator]
        values = w.detach().numpy()
        if std is None:
            assert low is not None
            assert high is not None
            assert low <= values.min() < low + 0.01 * (high - low)
            assert high >= values.max() > high - 0.01 * (high - low)
        else:
            assert values.std() == pytest.approx(std, rel=0.05)

    def test_constants(self) -> None:
        w = nn.Parameter(nnfast.empty(2))
        assert nn.init.constant_(w, 3).tolist() == [3, 3]
        assert nn.init.zeros_(w).tolist() == [0, 0]
        assert nn.init.ones_(w).tolist() == [1, 1]

    def test_gains(self) -> None:
        gains = {"linear": 1, "conv2d": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
        for name, gain in gains.items():
            assert nn.init.calculate_gain(name) == gain
        assert nn.init.calculate_gain("leaky_relu") == math.sqrt(2 / (1 + 0.01**2))
        for call in (
            lambda: nn.init.calculate_gain("swish"),
            lambda: nn.init.calculate_gain("leaky_relu", "a"),
            lambda: nn.init.xavier_uniform_(nnfast.ones(3)),
            lambda: nn.init.kaiming_normal_(nnfast.ones(3, 3), mode="in"),
        ):
            with pytest.raises(ValueError, match=r"Unsupported|not a valid|fewer than 2|Mode in not supported"):
                call()


class TestClipping:
    def parameters(self) -> list[nn.Parameter]:
        made = [nn.Parameter(nnfast.zeros(2)), nn.Parameter(nnfast.zeros(1, 1, 2, 1)), nn.Parameter(nnfast.zeros(1))]
        made[0].grad = nnfast.tensor([3.0, 0.0])
        made[1].grad = nnfast.tensor([0.0, -4.0]).reshape(1, 1, 2, 1)
        return made

    def test_norm(self) -> None:
        parameters = self.parameters()
        assert nn.utils.clip_grad_norm_(parameters, 1.0).item() == 5
        np.testing.assert_allclose(parameters[0].grad.numpy(), [0.6, 0], rtol=1e-6)
        np.testing.assert_allclose(parameters[1].grad.numpy().ravel(), [0, -0.8], rtol=1e-6)
        parameters = self.parameters()
        nn.utils.clip_grad_norm_(parameters, 100.0)
        assert parameters[0].grad.tolist() == [3, 0]
        assert nn.utils.clip_grad_norm_([], 1.0).item() == 0

    def test_norm_that_is_not_finite(self) -> None:
        parameter = nn.Parameter(nnfast.zeros(1))
        parameter.grad = nnfast.tensor([float("inf")])
        with pytest.raises(RuntimeError, match="non-finite"):
            nn.utils.clip_grad_norm_([parameter], 1.0, error_if_nonfinite=True)
        with pytest.raises(NotImplementedError, match="norm_type is 1"):
            nn.utils.clip_grad_norm_([parameter], 1.0, norm_type=1)
        parameter.grad = nnfast.tensor([float("nan")])
        assert math.isnan(nn.utils.clip_grad_norm_(parameter, 1.0).item())
        assert math.isnan(parameter.grad.item())

    def test_norm_of_many_gradients(self) -> None:
        rng = np.random.default_rng(0)
        shapes = [(17,), (3, 5), (4, 3, 3, 3), (20000,), (0,)]
        values = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
        parameters = [nn.Parameter(nnfast.zeros(*shape)) for shape in shapes]
        for parameter, value in zip(parameters, values, strict=True):
            parameter.grad = nnfast.tensor(value)
        norm = nn.utils.clip_grad_norm_(parameters, 2.0)
        expected = np.sqrt(sum(np.square(value, dtype=np.float64).sum() for value in values))
        assert norm.shape == ()
        assert norm.item() == pytest.approx(expected, rel=1e-6)
        for parameter, value in zip(parameters, values, strict=True):
            np.testing.assert_allclose(parameter.grad.numpy(), value * (2.0 / expected), rtol=1e-6)

    def test_float64(self) -> None:
        with nnfast.backend("reference"):
            parameter = nn.Parameter(nnfast.zeros(2, dtype=nnfast.float64))
            parameter.grad = nnfast.tensor([1.0, 2.0], dtype=nnfast.float64)
            norm = nn.utils.clip_grad_norm_(parameter, 1.0)
            assert norm.dtype == np.float64
            assert norm.item() == pytest.approx(5**0.5, rel=1e-15)
            assert parameter.grad.tolist() == pytest.approx([1 / (5**0.5 + 1e-6), 2 / (5**0.5 + 1e-6)], rel=1e-15)
            nn.utils.clip_grad_value_(parameter, 0.1)
            assert parameter.grad.tolist() == [0.1, 0.1]

    def test_value_keeps_nan(self) -> None:
        parameter = nn.Parameter(nnfast.zeros(3))
        parameter.grad = nnfast.tensor([float("nan"), float("inf"), -3.0])
        nn.utils.clip_grad_value_(parameter, 1.0)
        np.testing.assert_array_equal(parameter.grad.numpy(), [np.nan, 1.0, -1.0])

    def test_value(self) -> None:
        parameters = self.parameters()
        parameters[2].grad = nnfast.tensor([1e30])
        nn.utils.clip_grad_value_(parameters, 2.5)
        assert parameters[0].grad.tolist() == [2.5, 0]
        assert parameters[1].grad.flatten().tolist() == [0, -2.5]
        assert parameters[2].grad.tolist() == [2.5]
