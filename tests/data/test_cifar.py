import tracemalloc

import numpy as np
import pytest

from nnfast.data import cifar10, cifar100
from nnfast.data.cifar import CIFAR10_CLASSES

NAMES = "".join(f"{name}\n" for name in reversed(CIFAR10_CLASSES)).encode()


def records(labels, seed=0, coarse=None):
    """Records with the given labels and random pixels; also the images, (N, 3, 32, 32)."""
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
    rows = [np.array(labels, dtype=np.uint8)[:, None], images.reshape(len(labels), -1)]
    if coarse is not None:
        rows.insert(0, np.array(coarse, dtype=np.uint8)[:, None])
    return np.hstack(rows).tobytes(), images


def cifar10_files(folder="cifar-10-batches-bin/"):
    files = {f"{folder}data_batch_{number}.bin": records([number, 9], number)[0] for number in range(1, 6)}
    return files | {f"{folder}test_batch.bin": records([0, 3, 7], 6)[0]}


def cifar100_files(folder="cifar-100-binary/"):
    return {
        f"{folder}train.bin": records([99, 0, 50], 0, coarse=[19, 0, 7])[0],
        f"{folder}test.bin": records([4], 1, coarse=[3])[0],
    }


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_cifar10(folder_of, zip_of, tar_of, kind):
    write = {"folder": folder_of, "zip": zip_of, "tar": lambda f: tar_of(f, "d.tar"), "tar.gz": tar_of}[kind]
    # Backwards, because an archive may hold its members in any order.
    train, test = cifar10(write(dict(reversed(cifar10_files().items()))))
    assert train.labels.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert test.labels.tolist() == [0, 3, 7]
    assert np.array_equal(train.images[2:4], records([2, 9], 2)[1])
    assert np.array_equal(test.images, records([0, 3, 7], 6)[1])
    assert train.images.transpose(0, 2, 3, 1).flags.c_contiguous
    assert train.images.dtype == np.uint8
    assert train.classes == test.classes == list(CIFAR10_CLASSES)


def test_cifar10_names_come_from_the_file(folder_of):
    # The original ends in empty lines.
    train, _ = cifar10(folder_of(cifar10_files("") | {"batches.meta.txt": NAMES + b"\n\n"}))
    assert train.classes == list(reversed(CIFAR10_CLASSES))


@pytest.mark.parametrize("kind", ["folder", "tar.gz"])
def test_cifar100(folder_of, tar_of, kind):
    path = (folder_of if kind == "folder" else tar_of)(cifar100_files())
    train, test = cifar100(path)
    assert train.labels.tolist() == [99, 0, 50]
    assert test.labels.tolist() == [4]
    assert np.array_equal(train.images, records([99, 0, 50], 0)[1])
    assert train.classes == [str(label) for label in range(100)]
    train, test = cifar100(path, coarse=True)
    assert train.labels.tolist() == [19, 0, 7]
    assert len(test.classes) == 20


def test_cifar100_names_come_from_the_files(folder_of):
    fine, coarse = (" ".join(f"{kind}{label}" for label in range(n)).encode() for kind, n in (("f", 100), ("c", 20)))
    path = folder_of(cifar100_files("") | {"fine_label_names.txt": fine, "coarse_label_names.txt": coarse})
    assert cifar100(path)[0].classes[99] == "f99"
    assert cifar100(path, coarse=True)[0].classes[19] == "c19"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("data_batch_2.bin", records([1, 2])[0][:-1], "data_batch_2.bin: 6145 bytes, expected a whole number of rec"),
        ("data_batch_2.bin", b"", "data_batch_2.bin: 0 bytes, expected a whole number of records of 3073 bytes"),
        ("data_batch_2.bin", records([1])[0], r"training files hold \[2, 1, 2, 2, 2\] records, expected as many"),
        ("data_batch_3.bin", records([1, 10])[0], "data_batch_3.bin: record 1 has label 10, expected 0..9"),
        ("test_batch.bin", records([255])[0], "test_batch.bin: record 0 has label 255, expected 0..9"),
        ("test_batch.bin", bytes(3073 * 10_001), "test_batch.bin: more than 30730000 bytes"),
        ("batches.meta.txt", b"cat\ndog\n", "batches.meta.txt: 2 class names, expected 10"),
        ("batches.meta.txt", b"\xff\xfe", "batches.meta.txt: not text"),
        ("batches.meta.txt", bytes(70_000), "batches.meta.txt: more than 65536 bytes"),
        ("copy/test_batch.bin", b"", "holds test_batch.bin more than once: copy/test_batch.bin, test_batch.bin"),
    ],
)
def test_cifar10_refuses(folder_of, file, content, message):
    with pytest.raises(ValueError, match=message):
        cifar10(folder_of(cifar10_files("") | {file: content}))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train.bin", records([1])[0], "train.bin: 3073 bytes, expected a whole number of records of 3074 bytes"),
        ("train.bin", records([100], coarse=[0])[0], "train.bin: record 0 has label 100, expected 0..99"),
        ("train.bin", records([0], coarse=[20])[0], "train.bin: record 0 has label 20, expected 0..19"),
        ("test.bin", bytes(3074 * 10_001), "test.bin: more than 30740000 bytes"),
        ("fine_label_names.txt", b"a b", "fine_label_names.txt: 2 class names, expected 100"),
    ],
)
def test_cifar100_refuses(folder_of, file, content, message):
    with pytest.raises(ValueError, match=message):
        cifar100(folder_of(cifar100_files("") | {file: content}))


@pytest.mark.parametrize(
    ("read", "files", "file"),
    [
        (cifar10, cifar10_files(""), "data_batch_4.bin"),
        (cifar10, cifar10_files(""), "test_batch.bin"),
        (cifar100, cifar100_files(""), "test.bin"),
    ],
)
def test_a_missing_file_is_named(folder_of, read, files, file):
    files = {name: content for name, content in files.items() if name != file}
    with pytest.raises(FileNotFoundError, match=f"data: found no {file}"):
        read(folder_of(files))


def test_a_bomb_in_an_archive_is_not_expanded(tar_of):
    path = tar_of(cifar10_files("") | {"data_batch_1.bin": bytes(120 << 20)})
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"data.tar.gz: data_batch_1.bin: more than 30730000 bytes"):
            cifar10(path)
        assert tracemalloc.get_traced_memory()[1] < 90 << 20
    finally:
        tracemalloc.stop()


def test_a_cut_archive(tar_of):
    path = tar_of(cifar10_files())
    content = path.read_bytes()
    for length in (len(content) // 2, len(content) - 10):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"data.tar.gz: damaged archive"):
            cifar10(path)
