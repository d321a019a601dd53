"""Reading tensors: numbers, arrays, text; comparison, indexing and shapes against NumPy."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import nnfast


def test_reading() -> None:
    x = nnfast.tensor([[1.0, 2.0]])
    assert x.tolist() == [[1, 2]]
    assert x[0, 1].item() == 2
    assert float(x[0, 0]) == 1
    assert int(nnfast.tensor(3.7)) == 3
    assert bool(nnfast.tensor(1))
    assert not nnfast.tensor([0.0])
    assert len(x) == 1
    assert x.size() == (1, 2)
    assert x.size(-1) == 2
    assert x.dim() == x.ndim == 2
    assert x.numel() == x.shape.numel() == 2
    assert [0, 1, 2][nnfast.tensor(1)] == 1
    assert f"{nnfast.tensor(1.5):.2f}" == "1.50"
    assert 2.0 in x
    assert np.asarray(x).dtype == np.float32
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert hash(x) == hash(x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nnfast.ones(2).item(), RuntimeError, "a Tensor with 2 elements cannot be converted to Scalar"),
        (lambda: bool(nnfast.ones(2)), RuntimeError, "Boolean value of Tensor with more than one value is ambiguous"),
        (lambda: bool(nnfast.ones(0)), RuntimeError, "Boolean value of Tensor with no values is ambiguous"),
        (lambda: len(nnfast.tensor(1)), TypeError, "0-d tensor"),
        (lambda: list(nnfast.tensor(1)), TypeError, "iteration over a 0-d tensor"),
        (
            lambda: nnfast.ones(2, requires_grad=True).numpy(),
            RuntimeError,
            "Can't call numpy\\(\\) on Tensor that requires grad",
        ),
        (lambda: np.asarray(nnfast.ones(2, requires_grad=True)), RuntimeError, "requires grad"),
        (lambda: [1, 2][nnfast.tensor(1.0)], TypeError, "only integer tensors"),
    ],
)
def test_reading_errors(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nnfast.tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (lambda: nnfast.tensor(0.5), "tensor(0.5000)"),
        (lambda: nnfast.tensor([1, 2]), "tensor([1, 2])"),
        (lambda: nnfast.tensor([1.25, float("nan")]), "tensor([1.2500,    nan])"),
        (lambda: nnfast.tensor([[True], [False]]), "tensor([[ True],\n        [False]])"),
        (lambda: nnfast.tensor(np.array([0.5])), "tensor([0.5000], dtype=nnfast.float64)"),
        (lambda: nnfast.ones(1, requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: nnfast.relu(nnfast.ones(1, requires_grad=True)), "tensor([1.], grad_fn=<ReluBackward0>)"),
        (lambda: nnfast.zeros(0), "tensor([])"),
        (lambda: nnfast.zeros(2, 0), "tensor([], size=(2, 0))"),
        (lambda: nnfast.zeros(2, 3).shape, "nnfast.Size([2, 3])"),
    ],
)
def test_text_is_pytorchs(make: object, text: str) -> None:
    assert repr(make()) == text  # type: ignore[operator]


def test_comparisons_are_bools_without_gradient() -> None:
    x = nnfast.tensor([1.0, 2.0, 3.0], requires_grad=True)
    for made, expected in (
        (x == 2, [False, True, False]),
        (x != 2, [True, False, True]),
        (x < 2, [True, False, False]),
        (x <= 2, [True, True, False]),
        (x > nnfast.tensor([2.0]), [False, False, True]),
        (x >= 2, [False, True, True]),
        ((x > 1) & (x < 3), [False, True, False]),
        ((x < 2) | (x > 2), [True, False, True]),
        (~(x > 1), [True, False, False]),
    ):
        assert made.dtype == nnfast.bool
        assert not made.requires_grad
        assert made.tolist() == expected
    assert (x == None) is False  # noqa: E711
    with pytest.raises(RuntimeError, match="do not broadcast"):
        _ = x == nnfast.ones(2)


KEYS = (
    0,
    -1,
    slice(1, None),
    slice(None, None, 2),
    (slice(None), 1),
    (Ellipsis, 0),
    (None, 1),
    (1, slice(0, 2), 1),
    (slice(None), slice(1, 3), Ellipsis, None),
    (slice(2, 2),),
    Ellipsis,
)


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 3, 5, 6)])
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_basic_indexing(shape: tuple[int, ...], key: object, rng: np.random.Generator) -> None:
    array = rng.standard_normal(shape).astype(np.float32)
    for values in (array, (array * 100).astype(np.int64)):
        made = nnfast.tensor(values)[key]
        np.testing.assert_array_equal(made.numpy(), values[key])
        memory = made.array.transpose(0, 2, 3, 1) if made.ndim == 4 else made.array
        assert memory.flags.c_contiguous


def test_index_tensors(rng: np.random.Generator) -> None:
    array = rng.standard_normal((4, 5)).astype(np.float32)
    x = nnfast.tensor(array)
    rows = np.array([3, 0, 3])
    np.testing.assert_array_equal(x[nnfast.tensor(rows)].numpy(), array[rows])
    np.testing.assert_array_equal(x[[1, 2], [0, 4]].numpy(), array[[1, 2], [0, 4]])
    np.testing.assert_array_equal(x[x > 0].numpy(), array[array > 0])
    np.testing.assert_array_equal(x[nnfast.tensor(2)].numpy(), array[2])
    np.testing.assert_array_equal(x[:, nnfast.tensor([1, 1])].numpy(), array[:, [1, 1]])
    images = rng.standard_normal((4, 3, 2, 2)).astype(np.float32)
    taken = nnfast.tensor(images)[nnfast.tensor(rows)]
    np.testing.assert_array_equal(taken.numpy(), images[rows])
    assert taken.array.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("key", [5, (0, 9), (0, 0, 0), nnfast.tensor([7])], ids=str)
def test_index_errors(key: object) -> None:
    with pytest.raises(IndexError, match=r"index: .*shape \[4, 5\]"):
        nnfast.ones(4, 5)[key]


def test_other_index_errors() -> None:
    with pytest.raises(IndexError, match="tensors used as indices"):
        nnfast.ones(4)[nnfast.ones(2)]
    with pytest.raises(ValueError, match="step must be greater than zero"):
        nnfast.ones(4)[::-1]


def test_setting_items(rng: np.random.Generator) -> None:
    array = rng.standard_normal((4, 3, 5, 6)).astype(np.float32)
    for key, value in (
        ((slice(None), 1), 0.0),
        ((0, slice(None), 2), 3.0),
        ((..., slice(0, 2)), np.ones(2, np.float32)),
    ):
        x, expected = nnfast.tensor(array), array.copy()
        before = x.storage.version
        x[key] = nnfast.tensor(value) if isinstance(value, np.ndarray) else value
        expected[key] = value
        np.testing.assert_array_equal(x.numpy(), expected)
        assert x.storage.version > before
    x, expected = nnfast.tensor(array), array.copy()
    before = x.storage.version
    x[x < 0] = 0
    assert x.storage.version > before
    np.testing.assert_array_equal(x.numpy(), np.maximum(array, 0))
    numbers = nnfast.arange(4)
    numbers[1:3] = 7
    assert numbers.tolist() == [0, 7, 7, 3]
    with pytest.raises(RuntimeError, match="must match the existing size"):
        nnfast.ones(4)[1:3] = nnfast.ones(3)


def test_views_share_memory_where_the_order_allows() -> None:
    x = nnfast.zeros(2, 3)
    x.view(-1)[0] = 5
    x[1][2] = 6
    assert x.tolist() == [[5, 0, 0], [0, 0, 6]]
    one_pixel = nnfast.zeros(2, 3, 1, 1)
    assert np.shares_memory(one_pixel.flatten(1).array, one_pixel.array)


@pytest.mark.parametrize(
    "copied",
    [
        lambda x: x.view(2, -1),
        lambda x: x.permute(3, 2, 1, 0),
        lambda x: x[0],
        lambda x: x.expand(2, 3, 4, 5).transpose(0, 1),
    ],
)
def test_what_is_no_view_cannot_be_changed_in_place(copied: object) -> None:
    made = copied(nnfast.zeros(2, 3, 4, 5))  # type: ignore[operator]
    for change in (lambda: made.zero_(), lambda: made.add_(1), lambda: made.__setitem__(0, 1.0)):
        with pytest.raises(NotImplementedError, match="copies here where PyTorch gives a view"):
            change()
    made.clone().zero_()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((2, 3, 4, 5), (2, 60)),
        ((2, 60), (2, 3, 4, 5)),
        ((2, 3, 4, 5), (6, 20)),
        ((2, 3, 4, 5), (5, 4, 3, 2)),
        ((24,), (2, 3, 4)),
        ((2, 1, 4, 5), (2, 20)),
        ((2, 3, 1, 1), (2, 3)),
        ((2, 3), (2, 3, 1, 1)),
        ((2, 3, 4, 5), (2, 3, 2, 2, 5)),
        ((1,), ()),
        ((0, 3, 2, 2), (0, 12)),
        ((2, 3, 2, 2, 2, 1), (4, 3, 2, 2)),
    ],
)
def test_reshape_keeps_the_order_of_elements(
    before: tuple[int, ...], after: tuple[int, ...], rng: np.random.Generator
) -> None:
    array = rng.standard_normal(before).astype(np.float32)
    for values in (array, (array * 100).astype(np.int64)):
        made = nnfast.tensor(values).reshape(after)
        np.testing.assert_array_equal(made.numpy(), values.reshape(after))
        assert (made.array.transpose(0, 2, 3, 1) if made.ndim == 4 else made.array).flags.c_contiguous


def test_shape_functions_against_numpy(rng: np.random.Generator) -> None:
    array = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    x = nnfast.tensor(array)
    for made, expected in (
        (x.permute(1, 3, 0, 2), array.transpose(1, 3, 0, 2)),
        (x.transpose(0, -1), array.swapaxes(0, -1)),
        (x[0, 0].t(), array[0, 0].T),
        (x[0, 0].T, array[0, 0].T),
        (x.unsqueeze(-1), array[..., None]),
        (x[:1].squeeze(), array[0]),
        (x[:1].squeeze(0), array[0]),
        (x.squeeze(1), array),
        (x.flatten(1, 2), array.reshape(2, 12, 5)),
        (x.flatten(), array.ravel()),
        (nnfast.tensor(1.0).flatten(), np.ones(1)),
        (x[0, 0, :1].expand(3, -1), array[0, 0, :1].repeat(3, 0)),
        (nnfast.cat([x, x[:, :1]], 1), np.concatenate([array, array[:, :1]], 1)),
        (nnfast.cat([x[0], x[1]], -1), np.concatenate([array[0], array[1]], -1)),
        (nnfast.stack([x[0], x[1]], 1), np.stack([array[0], array[1]], 1)),
        (nnfast.stack([x[0, 0], x[1, 0]], 2), np.stack([array[0, 0], array[1, 0]], 2)),
        (nnfast.cat([nnfast.zeros(0), x[0, 0]]), array[0, 0]),
        (
            nnfast.functional.pad(x, (1, 2, 0, 1), value=3.0),
            np.pad(array, ((0, 0), (0, 0), (0, 1), (1, 2)), constant_values=3.0),
        ),
        (nnfast.functional.pad(x, (-1, 1)), np.pad(array[..., 1:], ((0, 0), (0, 0), (0, 0), (0, 1)))),
        (x.split(2, 1)[1], array[:, 2:]),
        (x.split([1, 2], 1)[1], array[:, 1:]),
        (x.chunk(2, -1)[0], array[..., :3]),
        (x.unbind(1)[2], array[:, 2]),
        (list(x)[1], array[1]),
        (x.unflatten(3, (1, -1)), array.reshape(2, 3, 4, 1, 5)),
    ):
        np.testing.assert_array_equal(made.numpy(), expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.reshape(5, 5), RuntimeError, r"shape '\[5, 5\]' is invalid for input of size 6"),
        (lambda x: x.reshape(-1, -1), RuntimeError, "only one dimension can be inferred"),
        (lambda x: x.view(nnfast.int64), NotImplementedError, "views of memory as another type"),
        (lambda x: x.permute(0, 0), RuntimeError, "names a dimension twice"),
        (lambda x: x.permute(0), RuntimeError, "input has 2 dimensions"),
        (
            lambda x: x.transpose(0, 2),
            IndexError,
            r"Dimension out of range \(expected to be in range of \[-2, 1\], but got 2\)",
        ),
        (
            lambda x: x.expand(3, 3),
            RuntimeError,
            r"The expanded size of the tensor \(3\) must match the existing size \(2\)",
        ),
        (lambda x: x.expand(3), RuntimeError, "number of sizes provided"),
        (lambda x: x.flatten(1, 0), RuntimeError, "start_dim cannot come after end_dim"),
        (lambda x: x.unflatten(1, (2, 2)), RuntimeError, "don't multiply up"),
        (
            lambda x: nnfast.cat([x, nnfast.ones(2, 2)]),
            RuntimeError,
            "Sizes of tensors must match except in dimension 0",
        ),
        (lambda x: nnfast.cat([]), RuntimeError, "non-empty list"),
        (lambda x: nnfast.cat([x, x.long()]), TypeError, "float32 and int64"),
        (lambda x: nnfast.cat([nnfast.tensor(1.0)]), RuntimeError, "zero-dimensional"),
        (lambda x: nnfast.stack([x, x[0]]), RuntimeError, "stack expects each tensor to be equal size"),
        (lambda x: x.split([1, 2]), RuntimeError, "do not sum to 2"),
        (lambda x: x.split(0), RuntimeError, "split_size is 0"),
        (lambda x: x.chunk(0), RuntimeError, "chunks is 0"),
        (lambda x: nnfast.functional.pad(x, (1, 1), mode="reflect"), NotImplementedError, "pad: mode is 'reflect'"),
        (lambda x: nnfast.functional.pad(x, (1,)), RuntimeError, "pad: pad has 1 numbers"),
        (lambda x: nnfast.functional.pad(x, (-4, 0)), RuntimeError, "leaves the sizes"),
        (lambda x: x.reshape(1, 2, 3).t(), RuntimeError, "<= 2 dimensions"),
    ],
)
def test_shape_errors(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(nnfast.ones(2, 3))  # type: ignore[operator]


def test_types() -> None:
    x = nnfast.tensor([0.0, 1.5])
    assert x.long().tolist() == [0, 1]
    assert x.bool().tolist() == [False, True]
    assert x.double().dtype == nnfast.float64
    assert x.int().dtype == nnfast.int32
    assert x.to(nnfast.float32) is x
    assert x.to(nnfast.ones(1, dtype=nnfast.float64)).dtype == nnfast.float64
    assert x.to("cpu", nnfast.int64).dtype == nnfast.int64
    assert x.type_as(nnfast.arange(1)).dtype == nnfast.int64
    assert not np.shares_memory(x.to(nnfast.float32, copy=True).array, x.array)
    with pytest.raises(NotImplementedError, match="to: dtype float16"):
        x.to(np.float16)


def test_copies() -> None:
    x = nnfast.ones(2, 3, 4, 5, requires_grad=True)
    x.grad = nnfast.zeros(2, 3, 4, 5)
    for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert made.requires_grad
        assert not np.shares_memory(made.array, x.array)
        assert made.array.transpose(0, 2, 3, 1).flags.c_contiguous
        np.testing.assert_array_equal(made.detach().numpy(), x.detach().numpy())
    assert copy.deepcopy(x).grad.shape == x.shape
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(x * 2)


def test_extremes(rng: np.random.Generator) -> None:
    array = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    x = nnfast.tensor(array)
    assert x.max().item() == array.max()
    assert x.min().item() == array.min()
    assert x.argmax().item() == array.argmax()
    np.testing.assert_array_equal(x.argmax(1).numpy(), array.argmax(1))
    np.testing.assert_array_equal(x.argmin(-1, keepdim=True).numpy(), array.argmin(-1, keepdims=True))
    values, indices = x.max(1)
    np.testing.assert_array_equal(values.numpy(), array.max(1))
    np.testing.assert_array_equal(indices.numpy(), array.argmax(1))
    kept = x.min(2, keepdim=True).values
    np.testing.assert_array_equal(kept.numpy(), array.min(2, keepdims=True))
    with pytest.raises(NotImplementedError, match="max: has no gradient"):
        x.requires_grad_().max()
    with nnfast.no_grad():
        x.max()
    assert (x > 100).any().item() is False
    assert (x < 100).all().item() is True


def test_integers_are_computed_by_numpy() -> None:
    a = nnfast.arange(3)
    assert (a + 1).tolist() == [1, 2, 3]
    assert (2 - a).tolist() == [2, 1, 0]
    assert (a * a).dtype == nnfast.int64
    assert (-a).tolist() == [0, -1, -2]
    assert (a + 0.5).dtype == nnfast.float32
    assert (a / 2).tolist() == [0, 0.5, 1]
    assert (a == nnfast.tensor([0, 1, 5])).sum().item() == 2
    assert a.sum().dtype == nnfast.int64
    assert (nnfast.tensor([True]) + 1).tolist() == [2]
    assert (a * nnfast.tensor([0.5, 0.5, 0.5])).tolist() == [0, 0.5, 1]
    with pytest.raises(RuntimeError, match="could not infer output dtype"):
        a.mean()
    with pytest.raises(RuntimeError, match="bool tensor is not supported"):
        _ = nnfast.tensor([True]) - nnfast.tensor([True])
    with pytest.raises(RuntimeError, match="add: shapes"):
        _ = a + nnfast.arange(2)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4, 5), (3, 4, 1, 1)])
def test_filling_and_copying_whole_tensors(shape: tuple[int, ...]) -> None:
    x, y = nnfast.empty(shape), nnfast.randn(*shape) if shape else nnfast.tensor(3.0)
    before = x.storage.version
    x.copy_(y)
    np.testing.assert_array_equal(x.numpy(), y.numpy())
    x.fill_(1e300)  # too large for float32
    assert np.isinf(x.numpy()).all()
    x.fill_(-2)
    assert (x.numpy() == -2).all()
    assert x.storage.version == before + 3
