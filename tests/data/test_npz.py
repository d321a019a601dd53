import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from nnfast.data import read_npz


def arrays(n=6, shape=(8, 9), dtype=np.uint8):
    images = np.random.default_rng(0).integers(0, 256, (n, *shape)).astype(dtype)
    return {"x_train": images, "y_train": np.arange(n), "x_test": images[:2], "y_test": np.arange(2)}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("shape", "nchw", "axes"),
    [
        ((8, 9), (1, 8, 9), None),
        ((1, 8, 9), (1, 8, 9), None),
        ((3, 8, 9), (3, 8, 9), None),
        ((8, 9, 3), (3, 8, 9), (0, 3, 1, 2)),
        ((8, 9, 1), (1, 8, 9), (0, 3, 1, 2)),
    ],
)
def test_layouts(tmp_path, save, shape, nchw, axes):
    held = arrays(shape=shape)
    save(tmp_path / "data.npz", **held)
    train, test = read_npz(tmp_path / "data.npz")
    assert train.images.shape == (6, *nchw)
    expected = held["x_train"].transpose(axes) if axes else held["x_train"].reshape(6, *nchw)
    assert np.array_equal(train.images, expected)
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert test.labels.tolist() == [0, 1]
    assert train.classes == test.classes == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4"])
def test_floats_become_float32(tmp_path, dtype):
    held = arrays(dtype=dtype)
    np.savez(tmp_path / "data.npz", **held)
    train, _ = read_npz(tmp_path / "data.npz")
    assert train.images.dtype == np.float32
    assert np.array_equal(train.images[:, 0], held["x_train"])


def test_without_a_test_part_and_with_labels_in_a_column(tmp_path):
    held = arrays()
    np.savez(tmp_path / "data.npz", x_train=np.asfortranarray(held["x_train"]), y_train=held["y_train"][:, None])
    train, test = read_npz(tmp_path / "data.npz")
    assert test is None
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(train.images[:, 0], held["x_train"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_train": np.zeros((6, 3, 8, 3))}, r"cannot tell which dimension is C"),
        ({"x_train": np.zeros((6, 8, 8, 8))}, r"cannot tell which dimension is C"),
        ({"x_train": np.zeros((6, 64))}, r"shape \(6, 64\), expected \(N, H, W\)"),
        ({"x_train": np.zeros((6, 8, 8), np.int64)}, "dtype int64, expected uint8 or float32"),
        ({"y_train": np.zeros(5)}, r"labels has shape \(5,\), expected \(6,\)"),
        ({"y_train": np.zeros((6, 10))}, r"labels has shape \(6, 10\), expected \(6,\)"),
        ({"y_train": np.full(6, np.nan)}, r"labels\[0\] is NaN"),
        ({"y_train": np.array([None] * 6)}, "y_train: dtype is object, expected numbers"),
        ({"y_train": np.array(["a"] * 6)}, "y_train: dtype is <U1, expected numbers"),
    ],
)
def test_wrong_arrays(tmp_path, changed, message):
    np.savez(tmp_path / "data.npz", **(arrays() | changed))
    with pytest.raises(ValueError, match=r"data.npz: .*" + message):
        read_npz(tmp_path / "data.npz")


def test_a_missing_array(tmp_path):
    np.savez(tmp_path / "data.npz", x_train=np.zeros((1, 2, 2)), labels=np.zeros(1))
    with pytest.raises(ValueError, match=r"data.npz: holds no array y_train, only labels, x_train"):
        read_npz(tmp_path / "data.npz")


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def with_shape(shape):
    """A file of 8 numbers whose header gives them another shape."""
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x_train: not a readable array"),
        (b"\x93NUMPY\x09\x00", "x_train: not a readable array: "),
        (npy(np.zeros((2, 2, 2)))[:-1], r"x_train: header claims shape \(2, 2, 2\), 64 bytes, the file holds only 63"),
        (npy(np.zeros((2, 2, 2))) + b"x", r"x_train: header claims shape \(2, 2, 2\), 64 bytes, the file holds more"),
        (with_shape("(2, 2, 2"), "x_train: not a readable array"),
        (with_shape("2"), "x_train: not a readable array"),
        (with_shape("(-2, -4)"), r"x_train: header claims shape \(-2, -4\), expected at most 32 sizes from 0"),
        (with_shape(str((1,) * 40)), "x_train: header claims shape .*, expected at most 32 sizes from 0"),
        (
            with_shape("(2, 2, 20000000000)"),
            r"header claims shape \(2, 2, 20000000000\), 640000000000 bytes, the file holds only 64",
        ),
    ],
)
def test_lying_headers(zip_of, content, message):
    path = zip_of({"x_train.npy": content, "y_train.npy": npy(np.zeros(2))}, "data.npz")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"data.npz: .*" + message):
            read_npz(path)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_damaged_files(tmp_path, zip_of):
    (tmp_path / "text.npz").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"text.npz: damaged .npz file: File is not a zip file"):
        read_npz(tmp_path / "text.npz")
    content = npy(np.full((2, 2, 2), 7, np.uint8))
    path = zip_of({"x_train.npy": content, "y_train.npy": npy(np.zeros(2))}, "data.npz")
    path.write_bytes(path.read_bytes().replace(bytes([7] * 8), bytes([6] * 8)))
    with pytest.raises(ValueError, match=r"data.npz: damaged .npz file: Bad CRC"):
        read_npz(path)
    assert zipfile.is_zipfile(path)
