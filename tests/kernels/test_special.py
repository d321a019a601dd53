"""NaN, infinity, denormal numbers, extreme logits, empty arrays, and Philox's published numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import oracle
import pytest
from judging import COMPILED, run_case
from nnfast.kernels.binding import bind
from nnfast.kernels.cases import cases_of
from nnfast.kernels.launch import run
from nnfast.kernels.ops import OPS
from oracle.elements import philox

ALL = (*COMPILED, "reference")
NAN, INF = np.nan, np.inf


def call(op: str, backend: str, arrays: dict[str, Any], **attributes: Any) -> dict[str, np.ndarray]:
    """Outputs for arrays given as lists of numbers (float32) or as arrays."""
    given = {
        name: value if isinstance(value, np.ndarray) else np.array(value, np.float32) for name, value in arrays.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reference may warn of NaN made from infinity
        return run(op, given, attributes, backend=backend)


def repeated(values: list[float], times: int = 7) -> np.ndarray:
    """The values many times, so that whole vectors and the tail behind them see each one."""
    return np.tile(np.array(values, np.float32), times)


X = [NAN, INF, -INF, 0.0, 3.0, -3.0, 9.0]
ELEMENTS = [
    ("relu_forward", {"x": X}, {}, [NAN, INF, 0.0, 0.0, 3.0, 0.0, 9.0]),
    (
        "relu_backward",
        {"dy": [1.0, NAN, INF, 2.0, 2.0, 2.0, 2.0], "y": [NAN, 1.0, 1.0, 0.0, 3.0, INF, 1e-30]},
        {},
        [1.0, NAN, INF, 0.0, 2.0, 2.0, 2.0],
    ),
    ("relu_backward", {"dy": [NAN, INF, -INF], "y": [0.0, 0.0, 0.0]}, {}, [0.0, 0.0, 0.0]),
    ("relu6_forward", {"x": X}, {}, [NAN, 6.0, 0.0, 0.0, 3.0, 0.0, 6.0]),
    (
        "relu6_backward",
        {"dy": [1.0, 2.0, 3.0, NAN, 5.0], "y": [NAN, 6.0, 0.0, 0.0, 3.0]},
        {},
        [0.0, 0.0, 0.0, 0.0, 5.0],
    ),
    ("leaky_relu_forward", {"x": X}, {"negative_slope": 0.5}, [NAN, INF, -INF, 0.0, 3.0, -1.5, 9.0]),
    (
        "leaky_relu_backward",
        {"dy": [2.0, 2.0, 2.0, 2.0, NAN], "x": [INF, -INF, 0.0, NAN, 1.0]},
        {"negative_slope": 0.5},
        [2.0, 1.0, 1.0, 1.0, NAN],
    ),
    ("sigmoid_forward", {"x": [NAN, INF, -INF, 1000.0, -1000.0, 0.0]}, {}, [NAN, 1.0, 0.0, 1.0, 0.0, 0.5]),
    ("tanh_forward", {"x": [NAN, INF, -INF, 1000.0, -1000.0, 0.0]}, {}, [NAN, 1.0, -1.0, 1.0, -1.0, 0.0]),
    ("exp", {"x": [NAN, INF, -INF, 0.0, 1000.0, -1000.0]}, {}, [NAN, INF, 0.0, 1.0, INF, 0.0]),
    ("log", {"x": [NAN, INF, 0.0, -1.0, 1.0]}, {}, [NAN, INF, -INF, NAN, 0.0]),
    ("power", {"x": [NAN, INF, 0.0, -2.0, -2.0]}, {"exponent": 2.0}, [NAN, INF, 0.0, 4.0, 4.0]),
    ("power", {"x": [-2.0, 0.0, 4.0, INF]}, {"exponent": 0.5}, [NAN, 0.0, 2.0, INF]),
    ("power", {"x": [0.0, 2.0, INF]}, {"exponent": -1.0}, [INF, 0.5, 0.0]),
    ("power", {"x": [NAN, 0.0, INF]}, {"exponent": 0.0}, [1.0, 1.0, 1.0]),
    ("power", {"x": [NAN, 0.0, INF, -INF, -1.0, 1.0]}, {"exponent": 1.5}, [NAN, 0.0, INF, INF, NAN, 1.0]),
    ("power", {"x": [NAN, 0.0, INF, -INF, -2.0, 1e30]}, {"exponent": 5.0}, [NAN, 0.0, INF, -INF, -32.0, INF]),
    ("power", {"x": [NAN, 0.0, INF, -INF, -2.0, 1e30]}, {"exponent": -4.0}, [NAN, INF, 0.0, 0.0, 0.0625, 0.0]),
    ("power", {"x": [NAN, 0.5, 1.0, 2.0]}, {"exponent": INF}, [NAN, 0.0, 1.0, INF]),
    ("div", {"a": [1.0, -1.0, 0.0, INF, 1.0], "b": [0.0, 0.0, 0.0, INF, INF]}, {}, [INF, -INF, NAN, NAN, 0.0]),
    ("add", {"a": [INF, NAN, 1.0], "b": [INF, 1.0, INF]}, {"alpha": -1.0}, [NAN, NAN, -INF]),
    ("scale", {"x": [INF, NAN, -INF]}, {"alpha": 2.0, "beta": 1.0}, [INF, NAN, -INF]),
    ("scale_by", {"x": [INF, NAN, -INF, 3.0], "factor": [-0.5]}, {}, [-INF, NAN, INF, -1.5]),
    ("clamp", {"x": X}, {"low": -1.0, "high": 6.0}, [NAN, 6.0, -1.0, 0.0, 3.0, -1.0, 6.0]),
    ("clamp", {"x": X}, {"low": -INF, "high": INF}, X),
    ("mul", {"a": [INF, INF, NAN], "b": [0.0, -2.0, 0.0]}, {}, [NAN, -INF, NAN]),
    ("dropout", {"x": [NAN, INF, -INF]}, {"p": 0.0}, [NAN, INF, -INF]),
    ("dropout", {"x": [NAN, INF, 1.0]}, {"p": 1.0}, [0.0, 0.0, 0.0]),
]


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize(("op", "arrays", "attributes", "expected"), ELEMENTS,
                         ids=[f"{row[0]}-{i}" for i, row in enumerate(ELEMENTS)])  # fmt: skip
def test_special_numbers_element_by_element(
    op: str, arrays: dict[str, list[float]], attributes: dict[str, float], expected: list[float], backend: str
) -> None:
    given: dict[str, Any] = {name: repeated(values) for name, values in arrays.items()}
    if op == "scale_by":
        given["factor"] = given["factor"][:1]
    if op == "dropout":
        given["seed"] = np.zeros(2, np.uint64)
    (result,) = call(op, backend, given, **attributes).values()
    np.testing.assert_array_equal(result, repeated(expected))


@pytest.mark.parametrize("backend", ALL)
def test_denormal_inputs_are_kept_or_flushed(backend: str) -> None:
    """Compiled kernels may take a denormal number for zero; they make nothing else of it."""
    tiny = np.full(33, 1e-40, np.float32)
    for op, attributes in (("relu_forward", {}), ("sigmoid_forward", {}), ("tanh_forward", {}), ("exp", {}),
                           ("scale", {"alpha": 1.0, "beta": 0.0})):  # fmt: skip
        (exact,) = getattr(oracle, op)(tiny.astype(np.float64), **attributes).values()
        (flushed,) = getattr(oracle, op)(np.zeros(33), **attributes).values()
        (result,) = call(op, backend, {"x": tiny}, **attributes).values()
        assert ((result == exact.astype(np.float32)) | (result == flushed.astype(np.float32))).all(), op


def test_the_callers_floating_point_state_is_put_back() -> None:
    """Workers flush denormal numbers; the thread that called them does not afterwards."""
    for backend in COMPILED:
        run_case(cases_of("conv2d_forward")[0], backend)
        assert np.float32(1e-40) * np.float32(1.0) > 0, backend


@pytest.mark.parametrize("backend", ALL)
def test_max_pool_lets_nan_win_and_never_the_padding(backend: str) -> None:
    x = np.full((1, 4, 4, 17), -INF, np.float32)
    x[0, 0, 1] = 5.0
    x[0, 1, 0] = NAN
    x[0, 2, 2] = -1e30
    window = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1), "ceil_mode": 0}
    results = call("max_pool2d_forward", backend, {"x": x}, **window)
    np.testing.assert_array_equal(results["y"][0, :, :, 3], [[NAN, -INF], [-INF, np.float32(-1e30)]])
    np.testing.assert_array_equal(results["argmax"][0, :, :, 3], [[2, 0], [0, 0]])
    padded = call("max_pool2d_forward", backend, {"x": np.full((1, 3, 3, 17), -INF, np.float32)}, kernel_size=(3, 3),
                  stride=(2, 2), padding=(1, 1), dilation=(1, 1), ceil_mode=0)  # fmt: skip
    np.testing.assert_array_equal(padded["y"], np.full((1, 2, 2, 17), -INF))
    np.testing.assert_array_equal(padded["argmax"][0, :, :, 16], [[4, 3], [1, 0]])


@pytest.mark.parametrize("backend", ALL)
def test_max_pool_keeps_the_last_of_several_nan(backend: str) -> None:
    """As PyTorch does: a later NaN replaces an earlier one, a number replaces none."""
    x = np.array([1.0, NAN, NAN, 7.0], np.float32).reshape(1, 2, 2, 1)
    results = call(
        "max_pool2d_forward",
        backend,
        {"x": x},
        kernel_size=(2, 2),
        stride=(2, 2),
        padding=(0, 0),
        dilation=(1, 1),
        ceil_mode=0,
    )
    assert np.isnan(results["y"]).all()
    assert results["argmax"].item() == 2


SOFTMAX_ROWS = [
    ([1000.0, -1000.0, 0.0], [1.0, 0.0, 0.0], [0.0, -2000.0, -1000.0]),
    ([1000.0, 1000.0, 1000.0, 1000.0], [0.25] * 4, [-np.log(4.0)] * 4),
    ([-1000.0, -1000.0], [0.5, 0.5], [-np.log(2.0)] * 2),
    ([-INF, 0.0, -INF], [0.0, 1.0, 0.0], [-INF, 0.0, -INF]),
    ([-INF, -INF], [NAN, NAN], [NAN, NAN]),
    ([INF, 0.0], [NAN, 0.0], [NAN, -INF]),
    ([NAN, 0.0], [NAN, NAN], [NAN, NAN]),
]


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize(("x", "softmax", "log_softmax"), SOFTMAX_ROWS, ids=[str(row[0]) for row in SOFTMAX_ROWS])
def test_softmax_of_special_rows(x: list[float], softmax: list[float], log_softmax: list[float], backend: str) -> None:
    rows = np.array([x, x], np.float32)
    y = call("softmax_forward", backend, {"x": rows})["y"]
    if INF not in x:
        np.testing.assert_allclose(y, [softmax, softmax], rtol=3e-7)
        np.testing.assert_allclose(call("log_softmax_forward", backend, {"x": rows})["y"], [log_softmax] * 2, rtol=3e-7)
    else:  # inf - inf is NaN at the infinite logit; PyTorch makes the others 0 or NaN
        assert np.isnan(y[:, 0]).all()
        assert np.isnan(call("log_softmax_forward", backend, {"x": rows})["y"][:, 0]).all()


def cross_entropy(
    backend: str, x: Any, target: list[int], weight: Any = (), **attributes: Any
) -> dict[str, np.ndarray]:
    arrays = {
        "x": np.array(x, np.float32),
        "target": np.array(target, np.int64),
        "weight": np.array(weight, np.float32),
    }
    return call(
        "cross_entropy_forward",
        backend,
        arrays,
        **{"ignore_index": -100, "label_smoothing": 0.0, "mean": 1} | attributes,
    )


@pytest.mark.parametrize("backend", ALL)
def test_cross_entropy_of_extreme_logits(backend: str) -> None:
    results = cross_entropy(backend, [[1000.0, -1000.0], [1000.0, -1000.0]], [0, 1], mean=0)
    np.testing.assert_array_equal(results["loss"], [0.0, 2000.0])
    np.testing.assert_array_equal(results["y"], [2000.0])
    assert cross_entropy(backend, [[-INF, 0.0]], [1])["y"] == 0.0
    assert cross_entropy(backend, [[-INF, 0.0]], [0])["y"] == INF
    assert np.isnan(cross_entropy(backend, [[NAN, 0.0]], [1])["y"])


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_where_all_rows_are_ignored(backend: str, smoothing: float) -> None:
    """The mean of nothing is NaN, the sum is 0, as in PyTorch; the rows' gradients are 0."""
    x, target = np.ones((3, 2), np.float32), [-100] * 3
    mean = cross_entropy(backend, x, target, label_smoothing=smoothing)
    assert np.isnan(mean["y"])
    assert mean["normaliser"] == 0.0
    np.testing.assert_array_equal(mean["loss"], [0.0] * 3)
    assert cross_entropy(backend, x, target, label_smoothing=smoothing, mean=0)["y"] == 0.0
    arrays = {"dy": [1.0], "x": x, "target": np.array(target), "weight": np.zeros(0, np.float32), "lse": mean["lse"],
              "normaliser": mean["normaliser"]}  # fmt: skip
    dx = call("cross_entropy_backward", backend, arrays, ignore_index=-100, label_smoothing=smoothing)["dx"]
    np.testing.assert_array_equal(dx, np.zeros((3, 2)))


@pytest.mark.parametrize("backend", ALL)
def test_ignored_rows_do_not_see_their_logits(backend: str) -> None:
    """NaN in a row that is ignored reaches neither the loss nor the gradient."""
    results = cross_entropy(backend, [[NAN, NAN], [0.0, 0.0]], [7, 1], ignore_index=7)
    np.testing.assert_allclose(results["y"], [np.log(2.0)], rtol=3e-7)
    arrays = {
        "dy": [1.0],
        "x": [[NAN, NAN], [0.0, 0.0]],
        "target": np.array([7, 1]),
        "weight": [],
        "lse": results["lse"],
        "normaliser": results["normaliser"],
    }
    dx = call("cross_entropy_backward", backend, arrays, ignore_index=7, label_smoothing=0.0)["dx"]
    np.testing.assert_allclose(dx, [[0.0, 0.0], [0.5, -0.5]], rtol=3e-7)


@pytest.mark.parametrize("backend", ALL)
def test_a_class_index_may_be_the_ignored_one(backend: str) -> None:
    results = cross_entropy(backend, [[0.0, 0.0], [0.0, 0.0], [5.0, 0.0]], [0, 1, 0], ignore_index=0)
    np.testing.assert_array_equal(results["loss"] > 0, [False, True, False])
    assert results["normaliser"] == 1.0
    arrays = {"x": [[-1.0, -2.0], [-3.0, -4.0]], "target": np.array([0, 1]), "weight": []}
    nll = call("nll_loss_forward", backend, arrays, ignore_index=0, mean=1)
    np.testing.assert_array_equal(nll["loss"], [0.0, 4.0])
    np.testing.assert_array_equal(nll["y"], [4.0])


@pytest.mark.parametrize("backend", ALL)
def test_classes_of_weight_zero(backend: str) -> None:
    results = cross_entropy(backend, [[0.0, 0.0], [0.0, 0.0]], [0, 1], weight=[0.0, 1.0])
    np.testing.assert_allclose(results["y"], [np.log(2.0)], rtol=3e-7)
    assert np.isnan(cross_entropy(backend, [[0.0, 0.0]], [0], weight=[0.0, 1.0])["y"])


@pytest.mark.parametrize("backend", ALL)
def test_nan_in_one_channel_stays_there(backend: str) -> None:
    x = np.random.default_rng(0).standard_normal((33, 17)).astype(np.float32)
    x[20, 3] = NAN
    arrays = {"x": x, "w": np.ones(17, np.float32), "b": np.ones(17, np.float32), "momentum": np.array([0.1]),
              "running_mean": np.zeros(17, np.float32), "running_var": np.ones(17, np.float32)}  # fmt: skip
    results = call("batch_norm_forward", backend, arrays, eps=1e-5)
    broken = np.arange(17) == 3
    for value in (results["mean"], results["invstd"], arrays["running_mean"], arrays["running_var"]):
        np.testing.assert_array_equal(np.isnan(value), broken)
    np.testing.assert_array_equal(np.isnan(results["y"]), np.broadcast_to(broken, (33, 17)))


@pytest.mark.parametrize("backend", ALL)
def test_convolution_spreads_nan_to_the_windows_that_see_it(backend: str) -> None:
    x = np.zeros((1, 6, 6, 3), np.float32)
    x[0, 2, 3, 1] = NAN
    arrays = {"x": x, "w": np.ones((4, 3, 3, 3), np.float32), "b": np.zeros(0, np.float32)}
    y = call("conv2d_forward", backend, arrays, stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)["y"]
    expected = np.zeros((6, 6), bool)
    expected[1:4, 2:5] = True
    for k in range(4):
        np.testing.assert_array_equal(np.isnan(y[0, :, :, k]), expected)


@pytest.mark.parametrize("activation", [1, 2])  # ReLU, ReLU6
@pytest.mark.parametrize("groups", [1, 32])
@pytest.mark.parametrize("backend", COMPILED)
def test_fused_gradients_pass_where_the_reference_passes_them(backend: str, groups: int, activation: int) -> None:
    x = np.resize(np.array([INF, -INF, NAN, 0, -0.0, 6, 5.9999995, 3e38, 1e-30], np.float32), (1, 8, 8, 32))
    arrays = {"dy": np.ones_like(x), "w": np.ones((32, 3, 3, 32 // groups), np.float32), "x": x}
    absent = ("z", "slope", "factor", "offset", "scale", "shift", "centre")
    arrays |= dict.fromkeys(absent, np.empty(0, np.float32))
    attributes = {"size": (8, 8), "groups": groups, "activation": activation}
    attributes |= dict.fromkeys(("stride", "padding", "dilation"), (1, 1))
    expected = run("fused_conv2d_backward_data", arrays, attributes, backend="reference")["dx"]
    op = OPS["fused_conv2d_backward_data"]
    algorithms = op.suitable(bind(op.name, arrays, attributes).sizes, backend)
    assert len(algorithms) > 1
    for algorithm in algorithms:
        dx = run(op.name, arrays, attributes, backend=backend, algorithm=algorithm)["dx"]
        np.testing.assert_array_equal(dx == 0, expected == 0, algorithm)


@pytest.mark.parametrize("backend", ALL)
def test_sums_of_infinity_and_of_many_ones(backend: str) -> None:
    x = np.ones((1, 100_000, 1), np.float32)
    np.testing.assert_array_equal(call("sum_forward", backend, {"x": x})["y"], [[100_000.0]])
    np.testing.assert_array_equal(call("mean_forward", backend, {"x": x})["y"], [[1.0]])
    x[0, 5], x[0, 99_999] = INF, 1.0
    assert call("sum_forward", backend, {"x": x})["y"] == INF
    x[0, 70_000] = -INF
    assert np.isnan(call("sum_forward", backend, {"x": x})["y"])


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("place", [0, 17, 16384, 40000])
def test_sum_of_squares_of_infinity_and_nan(place: int, backend: str) -> None:
    x = np.ones(40001, np.float32)
    assert call("sum_squares", backend, {"x": x})["y"] == 40001.0
    for value, expected in ((-INF, INF), (NAN, NAN)):
        x[place] = value
        np.testing.assert_array_equal(call("sum_squares", backend, {"x": x})["y"], [expected])


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize(("squares", "max_norm", "norm", "factor"), [
    ([9.0, 16.0], 5.0, 5.0, 5.0 / (5.0 + 1e-6)),
    ([9.0, 16.0], 6.0, 5.0, 1.0),
    ([9.0, 16.0], INF, 5.0, 1.0),
    ([0.0], 0.0, 0.0, 0.0),
    ([], 1.0, 0.0, 1.0),
    ([1.0, INF], 1.0, INF, 0.0),
    ([NAN, INF], 1.0, NAN, NAN),
    ([INF], INF, INF, NAN),
])  # fmt: skip
def test_norm_of_all_gradients(squares: list[float], max_norm: float, norm: float, factor: float, backend: str) -> None:
    found = call("gradient_norm", backend, {"squares": np.array(squares, np.float64)}, max_norm=max_norm)
    np.testing.assert_array_equal(found["norm"], np.array([norm], np.float32))
    np.testing.assert_array_equal(found["factor"], np.array([factor], np.float32))


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_finite_is_so_only_if_everything_is(value: float, backend: str) -> None:
    def total(squares: np.ndarray, losses: np.ndarray) -> float:
        return call("finite", backend, {"squares": squares, "losses": losses})["total"].item()

    squares, losses = np.arange(19.0), np.full(17, 3e38, np.float32)
    assert total(squares, losses) == 171.0
    for i in range(19):
        assert not np.isfinite(total(np.where(np.arange(19) == i, abs(value), squares), losses))
    for i in range(17):
        changed = np.where(np.arange(17) == i, value, losses).astype(np.float32)
        assert not np.isfinite(total(squares, changed))


# ---------------------------------------------------------------- dropout

ONES = 0xFFFFFFFF
# Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]  # fmt: skip


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_oracle_has_philox_known_answers(counter: Any, key: Any, words: Any) -> None:
    assert philox(counter, key) == words


def dropped(words: list[int], p: float) -> list[bool]:
    return [word < int(p * 2**32) for word in words]


@pytest.mark.parametrize("backend", ALL)
def test_dropout_reads_philox_words(backend: str) -> None:
    """Thresholds on both sides of a word find its value: dropped just above it, kept at it."""
    words = KNOWN[0][2]
    for i, word in enumerate(words):
        for threshold, gone in ((word, False), (word + 1, True)):
            arrays = {"x": np.ones(4, np.float32), "seed": np.zeros(2, np.uint64)}
            y = call("dropout", backend, arrays, p=threshold / 2**32)["y"]
            assert (y[i] == 0.0) == gone, f"element {i}"


@pytest.mark.parametrize("backend", ALL)
def test_dropout_uses_both_halves_of_both_seeds(backend: str) -> None:
    """seed[0] is the key, seed[1] the upper half of the counter, low words first."""
    seed = np.array([0x299F31D0A4093822, 0x0370734413198A2E], np.uint64)
    y = call("dropout", backend, {"x": np.ones(103, np.float32), "seed": seed}, p=0.5)["y"]
    words = [philox((block, 0, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)) for block in range(26)]
    np.testing.assert_array_equal(y == 0.0, dropped([word for four in words for word in four][:103], 0.5))


@pytest.mark.parametrize("backend", COMPILED)
def test_dropout_has_the_same_bits_on_every_backend(backend: str) -> None:
    for case in cases_of("dropout"):
        assert run_case(case, backend)["y"].tobytes() == run_case(case, "reference")["y"].tobytes(), case.id


@pytest.mark.parametrize("backend", ALL)
def test_dropout_scales_by_the_rounded_quotient(backend: str) -> None:
    x = np.random.default_rng(1).standard_normal(4000).astype(np.float32)
    y = call("dropout", backend, {"x": x, "seed": np.array([1, 2], np.uint64)}, p=0.3)["y"]
    kept = y != 0
    assert 0.25 < 1 - kept.mean() < 0.35
    np.testing.assert_array_equal(y[kept], x[kept] * np.float32(1.0 / (1.0 - 0.3)))
