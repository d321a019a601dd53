import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest

from nnfast.data import FASHION_MNIST_CLASSES, mnist, read_idx


def mnist_files(idx_bytes, dot="-", gz="", n=6):
    images = np.arange(n * 6, dtype=np.uint8).reshape(n, 2, 3)
    labels = np.arange(n) % 4
    files = {}
    for part, count in (("train", n), ("t10k", n - 4)):
        files[f"{part}-images{dot}idx3-ubyte{gz}"] = idx_bytes(images[:count])
        files[f"{part}-labels{dot}idx1-ubyte{gz}"] = idx_bytes(labels[:count])
    return {name: gzip.compress(content) if gz else content for name, content in files.items()}


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("code", "dtype"), [(8, "u1"), (9, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
def test_all_types_plain_and_gzip(tmp_path, compress, code, dtype):
    array = np.arange(-6, 6).astype(dtype).reshape(2, 3, 2)
    (tmp_path / "file").write_bytes(compress(struct.pack(">HBB3I", 0, code, 3, 2, 3, 2) + array.tobytes()))
    found = read_idx(tmp_path / "file")
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(found, array)


def test_an_empty_array(tmp_path, idx_bytes):
    (tmp_path / "file").write_bytes(idx_bytes(np.zeros((0, 28, 28))))
    assert read_idx(tmp_path / "file").shape == (0, 28, 28)


def header(*shape, code=8):
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


BAD = {
    "empty": (b"", "magic is missing"),
    "short": (b"\0\0\x08", "magic is 000008, expected that of an IDX file"),
    "type": (b"\0\0\x07\x01\0\0\0\0", "magic is 00000701, expected that of an IDX file"),
    "zeros": (b"\1\0\x08\x01\0\0\0\0", "magic is 01000801, expected that of an IDX file"),
    "no dimensions": (b"\0\0\x08\0", "magic is 00000800, expected that of an IDX file"),
    "255 dimensions": (b"\0\0\x08\xff" + bytes(1020), "magic is 000008ff, expected that of an IDX file"),
    "text": (b"<html>", "magic is 3c68746d, expected that of an IDX file"),
    "no lengths": (b"\0\0\x08\x02\0\0\0\1", "truncated within its dimensions"),
    "truncated": (header(2, 3) + bytes(5), "dimensions 2x3 claim 6 bytes of values, the file holds only 5"),
    "trailing": (header(2, 3) + bytes(7), "dimensions 2x3 claim 6 bytes of values, the file holds more"),
    "terabytes": (
        header(2**31, 2**20) + bytes(9),
        "dimensions 2147483648x1048576 claim 2251799813685248 bytes of values, the file holds only 9",
    ),
    "wide": (header(4, code=14) + bytes(31), "dimensions 4 claim 32 bytes of values, the file holds only 31"),
}


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("case", BAD)
def test_bad_content(tmp_path, case, compress):
    content, message = BAD[case]
    (tmp_path / "some-file").write_bytes(compress(content))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="some-file: " + message):
            read_idx(tmp_path / "some-file")
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def damage(content, position, by=0xFF):
    return content[:position] + bytes([content[position] ^ by]) + content[position + 1 :]


@pytest.mark.parametrize("where", ["header", "stream", "checksum", "length", "cut", "garbage behind"])
def test_damaged_gzip(tmp_path, idx_bytes, where):
    whole = gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 256, (50, 8, 8))))
    content = {
        "header": damage(whole, 2),
        "stream": damage(whole, len(whole) // 2),
        "checksum": damage(whole, -8 + len(whole)),
        "length": damage(whole, -4 + len(whole), 1),
        "cut": whole[:-20],
        "garbage behind": whole + b"garbage",
    }[where]
    (tmp_path / "images.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"images.gz: damaged gzip stream"):
        read_idx(tmp_path / "images.gz")


def test_a_gzip_bomb_is_not_expanded_beyond_the_claim(tmp_path):
    bomb = header(1000) + bytes(64 << 20)
    (tmp_path / "bomb").write_bytes(gzip.compress(bomb, 1))
    del bomb
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="bomb: dimensions 1000 claim 1000 bytes of values, the file holds more"):
            read_idx(tmp_path / "bomb")
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "none")


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("gz", ["", ".gz"])
def test_mnist_folders(folder_of, idx_bytes, dot, gz):
    train, test = mnist(folder_of(mnist_files(idx_bytes, dot, gz)))
    assert train.images.shape == (6, 1, 2, 3)
    assert train.images.dtype == np.uint8
    assert train.images[1].ravel().tolist() == [6, 7, 8, 9, 10, 11]
    assert train.labels.tolist() == [0, 1, 2, 3, 0, 1]
    assert test.labels.tolist() == [0, 1]
    assert train.classes == test.classes == ["0", "1", "2", "3"]


@pytest.mark.parametrize("gz", ["", ".gz"])
def test_mnist_archives_and_subfolders(folder_of, zip_of, tar_of, idx_bytes, gz):
    files = {f"MNIST/raw/{name}": content for name, content in mnist_files(idx_bytes, gz=gz).items()}
    for path in (folder_of(files), zip_of(files), tar_of(files), tar_of(files, "data.tar")):
        train, test = mnist(path)
        assert (len(train), len(test)) == (6, 2)
        assert train.images[1].ravel().tolist() == [6, 7, 8, 9, 10, 11]


def test_plain_files_go_before_compressed_ones(folder_of, idx_bytes):
    files = mnist_files(idx_bytes) | dict.fromkeys(mnist_files(idx_bytes, gz=".gz"), b"broken")
    assert len(mnist(folder_of(files))[0]) == 6


def test_class_names(folder_of, idx_bytes):
    train, _ = mnist(folder_of(mnist_files(idx_bytes)), FASHION_MNIST_CLASSES)
    assert train.classes[3] == "Dress"
    assert len(train.classes) == 10


def test_a_missing_part_is_named(folder_of, idx_bytes):
    files = mnist_files(idx_bytes)
    del files["t10k-labels-idx1-ubyte"]
    with pytest.raises(FileNotFoundError, match=r"data: found none of t10k-labels-idx1-ubyte, t10k-labels-idx1-uby"):
        mnist(folder_of(files))


def test_images_and_labels_must_be_as_many(folder_of, idx_bytes):
    files = mnist_files(idx_bytes) | {"t10k-labels-idx1-ubyte": idx_bytes(np.zeros(3))}
    with pytest.raises(ValueError, match="data: t10k has 2 images and 3 labels, expected as many"):
        mnist(folder_of(files))


def test_labels_in_place_of_images(folder_of, idx_bytes):
    files = mnist_files(idx_bytes) | {"train-images-idx3-ubyte": idx_bytes(np.zeros(3))}
    with pytest.raises(ValueError, match="train-images-idx3-ubyte: magic is 00000801, expected 00000803"):
        mnist(folder_of(files))


def test_two_sets_in_one_folder_are_not_mixed(folder_of, idx_bytes):
    files = {f"{folder}/{name}": content for folder in "ab" for name, content in mnist_files(idx_bytes).items()}
    with pytest.raises(ValueError, match="data: holds train images in several folders: a, b; choose one"):
        mnist(folder_of(files))


def test_the_real_mnist(shared_file):
    train, test = mnist(shared_file("mnist"))
    assert train.images.shape == (60000, 1, 28, 28)
    assert test.images.shape == (10000, 1, 28, 28)
    assert train.classes == [str(digit) for digit in range(10)]
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    for name, part, md5 in (
        ("train", train, "6bbc9ace898e44ae57da46a324031adb"),
        ("t10k", test, "2646ac647ad5339dbf082846283269ea"),
    ):
        found = hashlib.md5(header(len(part), 28, 28) + part.images.tobytes()).hexdigest()
        assert found == md5, name
