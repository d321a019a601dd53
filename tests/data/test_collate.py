from collections import OrderedDict, namedtuple

import numpy as np
import pytest

from nnfast.data import default_collate
from nnfast.data.collate import collate_arrays
from nnfast.tensor import Tensor, from_numpy

Pair = namedtuple("Pair", "image label")


@pytest.mark.parametrize(
    ("batch", "dtype", "values"),
    [
        ([1, 3], np.int64, [1, 3]),
        ([1.0, 2.5], np.float64, [1.0, 2.5]),
        ([True, False], np.bool_, [True, False]),
        ([np.float32(1), np.float32(2)], np.float32, [1, 2]),
        ([np.array([1, 2], np.uint8), np.array([3, 4], np.uint8)], np.uint8, [[1, 2], [3, 4]]),
        ([np.array(5), np.array(6)], np.int64, [5, 6]),
    ],
)
def test_leaves_become_arrays_of_pytorchs_types(batch, dtype, values):
    array = collate_arrays(batch)
    assert array.dtype == dtype
    assert array.tolist() == values


def test_images_are_stacked_into_channels_last_memory():
    images = list(np.random.default_rng(0).random((4, 3, 5, 6), dtype=np.float32))
    for samples in (images, [image.transpose(1, 2, 0).copy().transpose(2, 0, 1) for image in images]):
        stacked = collate_arrays(samples)
        assert stacked.transpose(0, 2, 3, 1).flags.c_contiguous
        assert np.array_equal(stacked, np.array(images))
        assert stacked.dtype == np.float32


def test_tensors_are_stacked():
    x = default_collate([from_numpy(np.ones((3, 2, 2), np.float32)), from_numpy(np.zeros((3, 2, 2), np.float32))])
    assert isinstance(x, Tensor)
    assert tuple(x.shape) == (2, 3, 2, 2)
    assert x.numpy()[:, 0, 0, 0].tolist() == [1, 0]


def test_structure_is_kept_as_pytorch_keeps_it():
    assert isinstance(default_collate([(1, "a"), (2, "b")]), list)
    numbers, names = default_collate([(1, "a"), (2, "b")])
    assert isinstance(numbers, Tensor)
    assert names == ["a", "b"]
    assert default_collate([[b"a"], [b"b"]]) == [[b"a", b"b"]]
    pair = default_collate([Pair(1.0, 2), Pair(3.0, 4)])
    assert isinstance(pair, Pair)
    assert pair.label.numpy().tolist() == [2, 4]
    mapping = default_collate([OrderedDict(a=1, b=(2, 3)), OrderedDict(a=4, b=(5, 6))])
    assert type(mapping) is OrderedDict
    assert mapping["a"].numpy().tolist() == [1, 4]
    assert mapping["b"][1].numpy().tolist() == [3, 6]


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([None, None], TypeError, "samples hold NoneType, expected tensors"),
        ([np.array(["a"])], TypeError, "samples hold arrays of <U1, expected tensors"),
        ([(1, 2), (3,)], RuntimeError, r"samples have lengths \[1, 2\], expected all the same"),
        ([np.zeros(2), np.zeros(3)], RuntimeError, r"samples have shapes \[\(2,\), \(3,\)\], expected all the same"),
    ],
)
def test_what_cannot_be_collated(batch, error, message):
    with pytest.raises(error, match="default_collate: " + message):
        default_collate(batch)
