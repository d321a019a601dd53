from __future__ import annotations

import numpy as np
import pytest

import nnfast


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([1, 2], "int64"),
        ([1, 2.5], "float32"),
        (True, "bool"),
        (np.zeros(2), "float64"),
        (np.float32(1), "float32"),
        ([[True], [False]], "bool"),
        (np.uint8([1]), "uint8"),
    ],
)
def test_tensor_takes_pytorchs_types(data: object, dtype: str) -> None:
    assert nnfast.tensor(data).dtype == np.dtype(dtype)


def test_tensor_copies_and_from_numpy_shares() -> None:
    array = np.zeros((2, 3), np.float32)
    copied, shared = nnfast.tensor(array), nnfast.from_numpy(array)
    array[0, 0] = 7
    assert copied[0, 0].item() == 0
    assert shared[0, 0].item() == 7


def test_images_are_brought_into_channels_last_memory() -> None:
    array = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    for made in (nnfast.tensor(array), nnfast.from_numpy(array), nnfast.from_numpy(array[:, ::-1][:, ::-1])):
        assert made.array.transpose(0, 2, 3, 1).flags.c_contiguous
        np.testing.assert_array_equal(made.numpy(), array)
    nhwc = np.zeros((2, 4, 5, 3), np.float32)
    assert np.shares_memory(nnfast.from_numpy(nhwc.transpose(0, 3, 1, 2)).array, nhwc)


def test_other_ranks_are_brought_into_c_order() -> None:
    array = np.arange(6.0).reshape(2, 3).T
    made = nnfast.from_numpy(array)
    assert made.array.flags.c_contiguous
    np.testing.assert_array_equal(made.numpy(), array)
    big_endian = nnfast.from_numpy(np.array([1.0, 2.0], ">f4"))
    assert big_endian.tolist() == [1, 2]


def test_numbers_of_tensors_in_lists() -> None:
    assert nnfast.tensor([nnfast.tensor(1.0), nnfast.tensor(2.0)]).tolist() == [1, 2]
    assert nnfast.tensor(()).shape == (0,)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: nnfast.zeros(2, 2), np.zeros((2, 2))),
        (lambda: nnfast.zeros((1, 2, 3, 4)), np.zeros((1, 2, 3, 4))),
        (lambda: nnfast.ones([2]), np.ones(2)),
        (lambda: nnfast.full((2,), 2.5), np.full(2, 2.5)),
        (lambda: nnfast.arange(1, 2, 0.25), np.arange(1, 2, 0.25)),
        (lambda: nnfast.eye(2, 3), np.eye(2, 3)),
        (lambda: nnfast.zeros_like(nnfast.ones(2, 3)), np.zeros((2, 3))),
        (lambda: nnfast.ones_like(nnfast.zeros(3)), np.ones(3)),
        (lambda: nnfast.linspace(0, 1, 5), np.linspace(0, 1, 5)),
    ],
)
def test_filled(make: object, expected: np.ndarray) -> None:
    made = make()  # type: ignore[operator]
    assert made.dtype == nnfast.float32
    np.testing.assert_allclose(made.numpy(), expected)


def test_whole_numbers_stay_whole() -> None:
    assert nnfast.arange(3).dtype == nnfast.int64
    assert nnfast.full((2,), 3).dtype == nnfast.int64
    assert nnfast.full((2,), True).dtype == nnfast.bool
    assert nnfast.zeros(2, dtype=nnfast.int64).dtype == nnfast.int64


def test_random_numbers_follow_the_seed_and_the_order_of_the_shape() -> None:
    for draw in (
        lambda: nnfast.rand(2, 3, 4, 5),
        lambda: nnfast.randn(2, 3, 4, 5),
        lambda: nnfast.randint(0, 9, (2, 3, 4, 5)),
        lambda: nnfast.randperm(20),
    ):
        nnfast.manual_seed(5)
        first = draw().numpy()
        nnfast.manual_seed(5)
        np.testing.assert_array_equal(first, draw().numpy())
        assert (first != draw().numpy()).any()
    generator = np.random.default_rng(3)
    expected = np.random.default_rng(3).random((2, 3, 4, 5), dtype=np.float32)
    np.testing.assert_array_equal(nnfast.rand(2, 3, 4, 5, generator=generator).numpy(), expected)


def test_random_ranges() -> None:
    drawn = nnfast.randint(3, 5, (1000,)).numpy()
    assert set(drawn) == {3, 4}
    assert sorted(nnfast.randperm(10).tolist()) == list(range(10))
    uniform = nnfast.rand(1000).numpy()
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(nnfast.randn(10000).numpy().std() - 1) < 0.05


def test_rng_state_round_trip() -> None:
    import json

    from nnfast.random import next_seed

    next_seed()
    state = json.loads(json.dumps(nnfast.get_rng_state()))
    first, seed = nnfast.rand(3).tolist(), next_seed().tolist()
    nnfast.rand(7)
    next_seed()
    generator = nnfast.random.default_generator()
    nnfast.set_rng_state(state)
    assert nnfast.rand(3).tolist() == first
    assert next_seed().tolist() == seed
    assert nnfast.random.default_generator() is generator
    for wrong in ({}, {"dropout": [1, 2], "generator": {}}, {"dropout": [-1, 0], "generator": state["generator"]}):
        with pytest.raises(ValueError, match="set_rng_state"):
            nnfast.set_rng_state(wrong)


def test_seed_everything() -> None:
    import random

    drawn = []
    for _ in range(2):
        assert nnfast.seed_everything(4) == 4
        drawn.append((random.random(), np.random.rand(), nnfast.rand(1).item()))
    assert drawn[0] == drawn[1]
    with pytest.raises(ValueError, match="manual_seed: seed is"):
        nnfast.manual_seed(2**64)
    assert nnfast.manual_seed(-1).random() == nnfast.manual_seed(2**64 - 1).random()


def test_as_tensor_shares_what_fits() -> None:
    array = np.zeros(2, np.float32)
    assert np.shares_memory(nnfast.as_tensor(array).array, array)
    assert nnfast.as_tensor(array, dtype=nnfast.float64).dtype == nnfast.float64
    assert nnfast.as_tensor([1.0]).dtype == nnfast.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nnfast.tensor([1.0], dtype=np.float16), NotImplementedError, "tensor: dtype float16 is not supported"),
        (lambda: nnfast.from_numpy(np.zeros(2, np.complex64)), NotImplementedError, "from_numpy: dtype complex64"),
        (lambda: nnfast.from_numpy([1]), TypeError, "expected np.ndarray"),
        (lambda: nnfast.tensor("a"), TypeError, "tensor: data holds"),
        (lambda: nnfast.tensor([1.0], device="cuda"), NotImplementedError, "tensor: device is 'cuda'"),
        (lambda: nnfast.zeros(2, device="cuda:0"), NotImplementedError, "zeros: device is 'cuda:0'"),
        (lambda: nnfast.zeros(2, dtype="no such"), TypeError, "zeros: dtype is 'no such'"),
        (lambda: nnfast.zeros(-1), RuntimeError, "zeros: sizes are"),
        (lambda: nnfast.arange(0, 5, 0), RuntimeError, "arange: step"),
        (lambda: nnfast.randint(5, 5, (2,)), RuntimeError, "randint: expected low < high"),
        (lambda: nnfast.rand(2, dtype=nnfast.int64), TypeError, "rand: dtype is int64"),
        (lambda: nnfast.rand(2, generator=3), TypeError, "generator is int"),
        (lambda: nnfast.Tensor(3), TypeError, "nnfast.empty"),
        (lambda: nnfast.tensor([1], requires_grad=True), RuntimeError, "only Tensors of floating point dtype"),
        (lambda: nnfast.float16, AttributeError, "nnfast has no 'float16'"),
    ],
)
def test_errors_name_what_came(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


def test_the_cpu_is_accepted_everywhere() -> None:
    x = nnfast.zeros(2, device="cpu")
    assert x.to("cpu") is x
    assert x.cpu() is x
    assert x.contiguous() is x
    assert x.to("cpu", non_blocking=True).device == "cpu"
    with pytest.raises(NotImplementedError, match="device is 'cuda'"):
        x.to("cuda")
    with pytest.raises(NotImplementedError, match="cuda"):
        x.cuda()
