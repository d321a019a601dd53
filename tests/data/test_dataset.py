import numpy as np
import pytest

from nnfast.data import ArrayDataset, ConcatDataset, Dataset, TensorDataset
from nnfast.data.dataset import MOST_UNNAMED_CLASSES
from nnfast.tensor import Tensor, from_numpy


def images_of(n=4, c=3, h=5, w=6, dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, 256, (n, c, h, w))
    return values.astype(dtype) if dtype == np.uint8 else (values / 255).astype(dtype)


def is_channels_last(images):
    return images.transpose(0, 2, 3, 1).flags.c_contiguous


def with_channels_last_memory(images):
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def as_memmap(images, folder):
    np.save(folder / "images.npy", images)
    return np.load(folder / "images.npy", mmap_mode="r")


@pytest.mark.parametrize("memory", ["nchw", "nhwc", "strided", "memmap"])
def test_take_scales_bytes_and_gives_channels_last_memory(memory, tmp_path):
    plain = images_of()
    images = {
        "nchw": plain,
        "nhwc": with_channels_last_memory(plain),
        "strided": np.repeat(plain, 2, axis=3)[:, :, :, ::2],
        "memmap": as_memmap(plain, tmp_path),
    }[memory]
    taken, labels = ArrayDataset(images, [3, 1, 0, 2]).take([2, 0, 2])
    assert taken.dtype == np.float32
    assert type(taken) is np.ndarray
    assert is_channels_last(taken)
    assert np.array_equal(taken, plain[[2, 0, 2]].astype(np.float32) / np.float32(255))
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 3, 0]


@pytest.mark.parametrize("c", [1, 3])
def test_take_leaves_floats_as_they_are_and_copies(c):
    images = images_of(c=c, dtype=np.float32)
    for data in (ArrayDataset(images, [0, 1, 2, 3]), ArrayDataset(with_channels_last_memory(images), [0, 1, 2, 3])):
        taken, _ = data.take(np.array([1, 2]))
        assert is_channels_last(taken)
        assert np.array_equal(taken, images[1:3])
        taken[:] = -1
        assert data.images.min() >= 0


def test_every_byte_scales_exactly():
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    taken, _ = ArrayDataset(images, [0]).take([0])
    assert np.array_equal(taken.ravel(), np.array([np.float32(value) / np.float32(255) for value in range(256)]))


def test_item_is_a_tensor_and_an_int():
    data = ArrayDataset(images_of(), [3, 1, 0, 2])
    image, label = data[2]
    assert isinstance(image, Tensor)
    assert tuple(image.shape) == (3, 5, 6)
    assert np.array_equal(image.numpy(), data.images[2].astype(np.float32) / np.float32(255))
    assert label == 0
    assert type(label) is int
    assert data[-1][1] == 2


def test_index_out_of_range():
    data = ArrayDataset(images_of(), [3, 1, 0, 2])
    with pytest.raises(IndexError):
        data[4]
    with pytest.raises(IndexError):
        data.take([0, 4])
    assert len(list(iter(data))) == 4  # iteration ends by that IndexError


def test_nothing_is_copied_when_it_is_made(tmp_path):
    images = as_memmap(images_of(), tmp_path)
    assert ArrayDataset(images, [0, 0, 0, 0]).images is images


def test_classes_are_counted_or_given():
    assert ArrayDataset(images_of(), [0, 2, 0, 1]).classes == ["0", "1", "2"]
    assert ArrayDataset(images_of(), [0, 1, 0, 1], ["cat", "dog", "cow"]).classes == ["cat", "dog", "cow"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64, np.float32, np.bool_])
def test_labels_of_any_integer_valued_type(dtype):
    labels = ArrayDataset(images_of(), np.array([0, 1, 1, 0], dtype=dtype)).labels
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1, 2], None, r"labels has shape \(3,\), expected \(4,\)"),
        ([[0], [1], [2], [3]], None, r"labels has shape \(4, 1\), expected \(4,\)"),
        ([0, 1, float("nan"), 0], None, r"labels\[2\] is NaN, expected integers"),
        ([0, 1.5, 1, 0], None, r"labels\[1\] is 1.5, expected integers"),
        ([0, 1, 1, float("inf")], None, r"labels\[3\] is inf, expected a class number from 0"),
        ([0, -1, 1, 0], None, r"labels\[1\] is -1, expected a class number from 0"),
        (np.array([0, 0, 0, 2**64 - 1], dtype=np.uint64), None, r"labels\[3\] is 18446744073709551615, expected"),
        (["a", "b", "a", "b"], None, r"labels has dtype <U1, expected integers"),
        (np.array([0, 1, None, 0]), None, r"labels has dtype object, expected integers"),
        ([0, 0, 2, 1], ["cat", "dog"], r"labels\[2\] is 2, expected 0..1, for 2 classes"),
        ([0, 0, 0, 0], "cat", r"classes is 'cat', expected a list of names"),
        ([0, 0, 0, 0], [1], r"classes is \[1\], expected a list of names"),
        ([0, 0, 0, MOST_UNNAMED_CLASSES], None, r"labels holds 100000; for more than 100000 classes pass classes="),
    ],
)
def test_bad_labels(labels, classes, message):
    with pytest.raises(ValueError, match="ArrayDataset: " + message):
        ArrayDataset(images_of(), labels, classes)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([[1]], TypeError, "images is list, expected a numpy.ndarray"),
        (images_of(dtype=np.float64), ValueError, "images has dtype float64, expected uint8 or float32"),
        (images_of().astype(">f4"), ValueError, "images has dtype >f4, expected uint8 or float32"),
        (images_of()[:, 0], ValueError, r"images has shape \(4, 5, 6\), expected \(N, C, H, W\)"),
        (images_of()[:0], ValueError, r"images has shape \(0, 3, 5, 6\) and is empty"),
        (images_of()[:, :, :0], ValueError, r"images has shape \(4, 3, 0, 6\) and is empty"),
    ],
)
def test_bad_images(images, error, message):
    with pytest.raises(error, match="ArrayDataset: " + message):
        ArrayDataset(images, [0] * len(images))


def test_a_dataset_must_have_items():
    class Nothing(Dataset):
        pass

    with pytest.raises(NotImplementedError, match="Nothing: a Dataset must define __getitem__"):
        Nothing()[0]


def test_plus_joins():
    joined = ArrayDataset(images_of(), [0, 1, 2, 3]) + ArrayDataset(images_of(), [3, 2, 1, 0])
    assert isinstance(joined, ConcatDataset)
    assert [label for _, label in joined] == [0, 1, 2, 3, 3, 2, 1, 0]


def test_tensor_dataset_gives_what_it_got():
    a, b = np.arange(6).reshape(3, 2), np.array([7, 8, 9], dtype=np.uint8)
    data = TensorDataset(a, b)
    assert len(data) == 3
    assert data[1][0].tolist() == [2, 3]
    assert data[1][1] == 8
    x, y = data.take([2, 0])
    assert x.tolist() == [[4, 5], [0, 1]]
    assert y.tolist() == [9, 7]
    assert y.dtype == np.uint8


def test_tensor_dataset_of_tensors_gives_channels_last_batches():
    images = images_of(dtype=np.float32)
    data = TensorDataset(from_numpy(images), from_numpy(np.arange(4)))
    assert np.array_equal(data[1][0].numpy(), images[1])
    taken, labels = data.take([3, 1])
    assert is_channels_last(taken)
    assert np.array_equal(taken, images[[3, 1]])
    assert labels.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ((), "got no tensors, expected at least one"),
        ((np.zeros(3), np.zeros((2, 3))), r"first sizes are \[3, 2\], expected all the same"),
        ((np.zeros(3), np.zeros(())), r"tensors\[1\] is ndarray without a first dimension"),
        (([1, 2],), r"tensors\[0\] is list without a first dimension"),
    ],
)
def test_bad_tensor_datasets(tensors, message):
    with pytest.raises(ValueError, match="TensorDataset: " + message):
        TensorDataset(*tensors)
