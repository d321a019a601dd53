import numpy as np
import pytest

from nnfast.data import DataLoader, Subset, digits, open_dataset


def idx_files(idx_bytes):
    pixels = np.arange(24).reshape(4, 2, 3)
    return {
        "train-images-idx3-ubyte": idx_bytes(pixels),
        "train-labels-idx1-ubyte": idx_bytes([0, 1, 0, 3]),
        "t10k-images-idx3-ubyte": idx_bytes(pixels[:2]),
        "t10k-labels-idx1-ubyte": idx_bytes([1, 2]),
    }


def cifar10_files():
    return {name: bytes(3073 * 2) for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin")}


def test_digits():
    train, test = open_dataset("digits")
    assert np.array_equal(train.images, digits()[0].images)
    assert len(test) == 360


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_idx(folder_of, zip_of, tar_of, idx_bytes, kind):
    write = {"folder": folder_of, "zip": zip_of, "tar.gz": tar_of}[kind]
    train, test = open_dataset(str(write(idx_files(idx_bytes))))
    assert train.labels.tolist() == [0, 1, 0, 3]
    assert test.labels.tolist() == [1, 2]
    assert train.classes == ["0", "1", "2", "3"]


def test_fashion_mnist_is_known_by_its_folder(folder_of, idx_bytes):
    train, _ = open_dataset(folder_of(idx_files(idx_bytes), "Fashion-MNIST"))
    assert train.classes[3] == "Dress"


def test_cifar(folder_of, tar_of):
    train, test = open_dataset(tar_of(cifar10_files()))
    assert (len(train), len(test)) == (10, 2)
    assert train.classes[3] == "cat"
    train, test = open_dataset(folder_of({"train.bin": bytes(3074 * 3), "test.bin": bytes(3074)}))
    assert (len(train), len(test), len(train.classes)) == (3, 1, 100)


@pytest.mark.parametrize("folder", [False, True])
def test_npz(tmp_path, folder):
    images, labels = np.zeros((5, 4, 4), np.uint8), np.arange(5)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images[:2], y_test=labels[:2])
    train, test = open_dataset(tmp_path if folder else tmp_path / "mnist.npz")
    assert (len(train), len(test)) == (5, 2)


def test_class_folders(zip_of, image_bytes):
    files = {"train/a/1.png": image_bytes(1), "train/b/1.png": image_bytes(2), "test/b/2.png": image_bytes(3)}
    train, test = open_dataset(zip_of(files))
    assert train.labels.tolist() == [0, 1]
    assert test.labels.tolist() == [1]
    train, _ = open_dataset(zip_of(files), size=(2, 3), mode="RGB")
    assert train.images.shape == (2, 3, 2, 3)


def test_without_a_test_part_a_tenth_is_held_out(zip_of, image_bytes):
    files = {f"{label}/{n}.png": image_bytes(100 * label + n) for label in (0, 1) for n in range(20)}
    path = zip_of(files)
    train, test = open_dataset(path)
    assert isinstance(test, Subset)
    assert (len(train), len(test)) == (36, 4)
    assert np.bincount(test.labels).tolist() == [2, 2]
    seen = np.concatenate([train.images[:, 0, 0, 0], test.images[:, 0, 0, 0]])
    assert sorted(seen.tolist()) == sorted(100 * label + n for label in (0, 1) for n in range(20))
    again = open_dataset(path)[1]
    assert np.array_equal(again.images, test.images)
    assert train.classes == ["0", "1"]
    images, labels = next(iter(DataLoader(test, 4)))
    assert labels.numpy().tolist() == test.labels.tolist()
    assert np.array_equal(images.numpy(), test.images.astype(np.float32) / np.float32(255))


def test_a_part_of_two_images_still_has_a_test_image(zip_of, image_bytes):
    train, test = open_dataset(zip_of({"a/1.png": image_bytes(1), "a/2.png": image_bytes(2)}))
    assert (len(train), len(test)) == (1, 1)
    with pytest.raises(ValueError, match=r"open_dataset: .* cannot be split into training and test"):
        open_dataset(zip_of({"a/1.png": image_bytes(1)}))


def test_stray_pictures_do_not_hide_a_binary_layout(folder_of, idx_bytes, image_bytes):
    train, _ = open_dataset(folder_of(idx_files(idx_bytes) | {"docs/figure.png": image_bytes(1)}))
    assert train.images.shape == (4, 1, 2, 3)


def test_names_are_downloaded(folder_of, idx_bytes, monkeypatch):
    folder = folder_of(idx_files(idx_bytes), "fashion-mnist")
    monkeypatch.setattr("nnfast.data.open.download", lambda name: folder.parent / name)
    assert open_dataset("fashion-mnist")[0].classes[0] == "T-shirt/top"


def test_nothing_there(tmp_path):
    message = "none: no such file or folder, and none of the names digits, mnist, fashion-mnist, cifar10, cifar100"
    with pytest.raises(FileNotFoundError, match=message):
        open_dataset(tmp_path / "none")


def test_an_unknown_layout_says_what_was_looked_for(folder_of, zip_of):
    for path in (folder_of({"notes.txt": b"x"}), zip_of({"notes.txt": b"x"}), folder_of({"a.npz": b"", "b.npz": b""})):
        with pytest.raises(
            ValueError, match=r"open_dataset: .*data.*: layout not recognised, looked for IDX"
        ) as raised:
            open_dataset(path)
        for part in ("train-images-idx3-ubyte", "data_batch_1.bin", "train/<class>/<image>", "x_train"):
            assert part in str(raised.value)


def test_pickled_cifar_is_refused_by_name(folder_of):
    with pytest.raises(
        ValueError, match="holds CIFAR's Python version, which is pickled and could run code; fetch the"
    ):
        open_dataset(folder_of({"cifar-10-batches-py/data_batch_1": b"\x80\x04."}))


@pytest.mark.parametrize("arguments", [{"size": 8}, {"mode": "L"}])
def test_image_arguments_are_for_images(folder_of, idx_bytes, tmp_path, arguments):
    (argument,) = arguments
    np.savez(tmp_path / "a.npz", x_train=np.zeros((5, 4, 4)), y_train=np.arange(5))
    for target in ("digits", folder_of(idx_files(idx_bytes)), tmp_path / "a.npz"):
        with pytest.raises(ValueError, match=f"open_dataset: .*: {argument} is .*, but applies to class folders"):
            open_dataset(target, **arguments)


def test_the_real_mnist(shared_file):
    train, test = open_dataset(shared_file("mnist"))
    assert (len(train), len(test), len(train.classes)) == (60_000, 10_000, 10)
