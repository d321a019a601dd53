import builtins
import shutil
import threading
import warnings
import zipfile

import numpy as np
import pytest

from nnfast.data import image_folders
from nnfast.data.decode import _FILES_PER_JOB

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(params=["folder", "zip", "tar", "tar.gz"])
def write(request, folder_of, zip_of, tar_of):
    return {
        "folder": folder_of,
        "zip": zip_of,
        "tar": lambda files: tar_of(files, "data.tar"),
        "tar.gz": tar_of,
    }[request.param]


def values_of(dataset):
    return dataset.images[:, 0, 0, 0].tolist()


def test_class_folders(write, image_bytes):
    files = {"dog/1.png": image_bytes(3), "cat/2.png": image_bytes(2), "cat/1.png": image_bytes(1)}
    train, test = image_folders(write(files))
    assert test is None
    assert train.classes == ["cat", "dog"]
    assert train.labels.tolist() == [0, 0, 1]
    assert values_of(train) == [1, 2, 3]
    assert train.images.shape == (3, 1, 4, 4)
    assert train.images.dtype == np.uint8
    assert train.images.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("wrapped", ["", "cifar10/", "data/cifar10/"])
def test_train_and_test_folders(write, image_bytes, wrapped):
    files = {
        f"{wrapped}test/dog/1.png": image_bytes(6),
        f"{wrapped}train/dog/1.png": image_bytes(5),
        f"{wrapped}train/cat/1.png": image_bytes(4),
    }
    train, test = image_folders(write(files))
    assert (values_of(train), train.labels.tolist()) == ([4, 5], [0, 1])
    assert (values_of(test), test.labels.tolist()) == ([6], [1])
    assert train.classes == test.classes == ["cat", "dog"]


def test_one_folder_around_class_folders(zip_of, image_bytes):
    train, test = image_folders(zip_of({"pets/cat/1.png": image_bytes(1), "pets/dog/1.png": image_bytes(2)}))
    assert train.classes == ["cat", "dog"]
    assert test is None


@pytest.mark.parametrize(("train_name", "test_name"), [("Train", "Test"), ("training", "testing"), ("train", "val")])
def test_other_names_of_the_parts(zip_of, image_bytes, train_name, test_name):
    train, test = image_folders(
        zip_of({f"{train_name}/a/1.png": image_bytes(1), f"{test_name}/a/1.png": image_bytes(2)})
    )
    assert (values_of(train), values_of(test)) == ([1], [2])


def test_a_second_test_part_is_left_out_aloud(zip_of, image_bytes):
    files = {f"{part}/a/1.png": image_bytes(value) for value, part in enumerate(("train", "test", "val"))}
    with pytest.warns(UserWarning, match=r"data.zip: test is the test part, val is not read"):
        _, test = image_folders(zip_of(files))
    assert values_of(test) == [1]


def test_deeper_folders_belong_to_their_class(zip_of, image_bytes):
    train, _ = image_folders(zip_of({"cat/a/1.png": image_bytes(1), "dog/2.png": image_bytes(2)}))
    assert (train.classes, train.labels.tolist()) == (["cat", "dog"], [0, 1])


def test_what_is_no_image_is_left_out(write, image_bytes):
    junk = ["notes.txt", "cat/Thumbs.db", "cat/.1.png", "__MACOSX/cat/._1.png", ".trash/cat/1.png"]
    files = dict.fromkeys(junk, b"junk") | {"cat/1.PNG": image_bytes(1), "dog/1.png": image_bytes(2)}
    train, _ = image_folders(write(files))
    assert (train.classes, values_of(train)) == (["cat", "dog"], [1, 2])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG", "WEBP", "TIFF", "PPM"])
@pytest.mark.parametrize("value", [100, (200, 100, 50)])
def test_formats(zip_of, image_bytes, kind, value):
    extension = {"JPEG": "jpg", "TIFF": "tif"}.get(kind, kind.lower())
    train, _ = image_folders(zip_of({f"a/1.{extension}": image_bytes(value, kind=kind)}), mode="RGB")
    expected = np.broadcast_to(value, 3)
    assert np.abs(train.images[0, :, 1, 1].astype(int) - expected).max() <= 8  # JPEG and WebP are lossy


def test_pixels_rows_and_columns(zip_of, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    train, _ = image_folders(zip_of({"a/1.png": (tmp_path / "image.png").read_bytes()}))
    assert train.images.shape == (1, 3, 5, 7)
    assert np.array_equal(train.images[0], pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("order", [(7, (1, 2, 3)), ((1, 2, 3), 7)])
def test_one_colour_image_makes_all_colour(zip_of, image_bytes, order):
    files = {f"a/{number}.png": image_bytes(value) for number, value in enumerate(order)}
    train, _ = image_folders(zip_of(files))
    assert train.images[:, :, 0, 0].tolist() == [np.broadcast_to(value, 3).tolist() for value in order]


def test_mode(zip_of, image_bytes):
    path = zip_of({"a/1.png": image_bytes((255, 0, 0)), "a/2.png": image_bytes(9)})
    assert image_folders(path, mode="L")[0].images[:, :, 0, 0].tolist() == [[76], [9]]
    path = zip_of({"a/1.png": image_bytes(9)})
    assert image_folders(path, mode="RGB")[0].images.shape == (1, 3, 4, 4)
    with pytest.raises(ValueError, match="image_folders: mode is 'CMYK', expected 'L', 'RGB' or None"):
        image_folders(path, mode="CMYK")


@pytest.mark.parametrize(
    ("mode", "value", "channels"),
    [("1", 1, 1), ("LA", (9, 9), 1), ("P", 3, 3), ("RGBA", (1, 2, 3, 4), 3)],
)
def test_other_modes_of_8_bits(zip_of, image_bytes, mode, value, channels):
    train, _ = image_folders(zip_of({"a/1.png": image_bytes(value, mode=mode)}))
    assert train.images.shape[1] == channels


def test_16_bits_are_refused(zip_of, image_bytes):
    path = zip_of({"a/1.png": image_bytes(60000, mode="I;16")})
    with pytest.raises(ValueError, match=r"data.zip: a/1.png: not a readable image: pixels of mode I;16 are not supp"):
        image_folders(path)


def test_sizes_must_be_the_same(zip_of, image_bytes):
    path = zip_of({"a/1.png": image_bytes(1), "a/2.png": image_bytes(1, size=(4, 6))})
    message = r"data.zip: a/2.png: image is 4x6, a/1.png is 4x4; pass size=\(height, width\) to resize all"
    with pytest.raises(ValueError, match=message):
        image_folders(path)


@pytest.mark.parametrize(("size", "expected"), [(3, (3, 3)), ((3, 5), (3, 5)), ([4, 6], (4, 6))])
def test_size_resizes(zip_of, image_bytes, size, expected):
    path = zip_of({"a/1.png": image_bytes(1), "a/2.png": image_bytes(2, size=(4, 6))})
    train, _ = image_folders(path, size=size)
    assert train.images.shape == (2, 1, *expected)
    assert (train.images[1] == 2).all()


@pytest.mark.parametrize("size", [0, (1, 2, 3), (1.5, 2), "32"])
def test_wrong_size(zip_of, image_bytes, size):
    with pytest.raises(ValueError, match=r"image_folders: size is .*, expected a positive integer or"):
        image_folders(zip_of({"a/1.png": image_bytes(1)}), size=size)


@pytest.mark.parametrize("content", [b"", b"not an image", "cut", "script", "gif"])
def test_a_damaged_image_is_named(write, image_bytes, content):
    whole = image_bytes(5, size=(40, 40), kind="JPEG")
    content = {
        "cut": whole[:-50],
        "script": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n",
        "gif": image_bytes(5, size=(40, 40), kind="GIF"),  # a format that is not read, whatever its name says
    }.get(content, content)
    with pytest.raises(ValueError, match=r"data.*a/2.jpg: not a readable image"):
        image_folders(write({"a/1.jpg": whole, "a/2.jpg": content}))


def test_a_wrong_checksum_in_a_zip_is_named(zip_of, image_bytes):
    good = image_bytes(5, kind="BMP")
    path = zip_of({"a/1.bmp": good})
    path.write_bytes(path.read_bytes().replace(good, good[:-1] + b"\x06"))
    with pytest.raises(ValueError, match=r"data.zip: a/1.bmp: damaged or not readable: Bad CRC"):
        image_folders(path)


@pytest.mark.parametrize("factor", [2, 4])
def test_decompression_bombs(zip_of, image_bytes, monkeypatch, factor):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100 * 100 // factor + 1)
    path = zip_of({"a/1.png": image_bytes(0, size=(100, 100))})
    with pytest.raises(ValueError, match=r"data.zip: a/1.png: not a readable image: .*(pixels|decompression bomb)"):
        image_folders(path)


def test_pillows_warning_is_an_error_here(zip_of, image_bytes, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9_999)
    path = zip_of({"a/1.png": image_bytes(0, size=(100, 100))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="10000 pixels, more than Pillow's limit of 9999"):
            image_folders(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # Pillow's way to switch the limit off
    assert len(image_folders(path)[0]) == 1


def test_a_huge_file_is_not_read(tar_of):
    with pytest.raises(ValueError, match=f"data.tar.gz: a/1.png: more than {64 << 20} bytes"):
        image_folders(tar_of({"a/1.png": bytes((64 << 20) + 1)}))


def test_layouts_that_are_refused(write, image_bytes):
    image = image_bytes(1)
    for files, message in (
        ({"notes.txt": b""}, "holds no image files"),
        ({"1.png": image}, "1.png: image lies in no class folder, expected <class>/<image>"),
        ({"cat/1.png": image, "1.png": image}, "1.png: image lies in no class folder"),
        ({"train/1.png": image, "train/cat/1.png": image}, "train/1.png: image lies in no class folder"),
        ({"train/cat/1.png": image, "test/dog/1.png": image}, r"dog has no training images, expected one of \['cat'\]"),
    ):
        path = write(files)
        with pytest.raises(ValueError, match=f"data.*{message}"):
            image_folders(path)
        remove(path)


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_an_empty_class_folder(folder_of, zip_of, image_bytes):
    folder = folder_of({"train/cat/1.png": image_bytes(1), "test/cat/1.png": image_bytes(1)})
    (folder / "test" / "dog").mkdir()
    assert image_folders(folder)[0].classes == ["cat"]
    (folder / "train" / "dog").mkdir()
    with pytest.raises(ValueError, match="train/dog: class folder holds no images"):
        image_folders(folder)
    with pytest.raises(ValueError, match=r"data.zip: dog: class folder holds no images"):
        image_folders(zip_of({"cat/1.png": image_bytes(1), "dog/": b""}))


def test_many_images_keep_their_places(tar_of, image_bytes):
    # More than the decoding threads hold at once, stored in another order than that of the classes.
    n = 17 * _FILES_PER_JOB + 5
    numbers = np.random.default_rng(0).permutation(n).tolist()
    files = {f"{number % 3}/{number:04d}.png": image_bytes((number % 251, number // 251, 0)) for number in numbers}
    train, _ = image_folders(tar_of(files), progress=False)
    found = train.images[:, 0, 0, 0].astype(int) + 251 * train.images[:, 1, 0, 0].astype(int)
    assert found.tolist() == sorted(range(n), key=lambda number: (number % 3, number))
    assert np.array_equal(train.labels, found % 3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nnfast-decode")]


def test_a_failure_leaves_no_threads(zip_of, image_bytes):
    files = {f"a/{number:04d}.png": image_bytes(1) for number in range(20 * _FILES_PER_JOB)} | {"a/0003.png": b"bad"}
    with pytest.raises(ValueError, match=r"a/0003.png"):
        image_folders(zip_of(files))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nnfast-decode")]


def test_decoded_images_are_cached(zip_of, image_bytes, cache_home, monkeypatch):
    path = zip_of({"a/1.png": image_bytes(1), "b/1.png": image_bytes(2)})
    first, _ = image_folders(path)
    monkeypatch.setattr("nnfast.data.images.decode_images", None)
    again, _ = image_folders(path)
    assert isinstance(again.images, np.memmap)
    assert np.array_equal(first.images, again.images)
    assert (again.classes, again.labels.tolist()) == (["a", "b"], [0, 1])
    with pytest.raises(TypeError):  # other arguments are another entry
        image_folders(path, mode="RGB")


def test_a_changed_folder_is_decoded_again(folder_of, image_bytes):
    folder = folder_of({"a/1.png": image_bytes(1), "b/1.png": image_bytes(2)})
    assert values_of(image_folders(folder)[0]) == [1, 2]
    folder_of({"a/1.png": image_bytes(77, kind="BMP")})
    assert values_of(image_folders(folder)[0]) == [77, 2]


def test_the_cache_can_be_left_out(zip_of, image_bytes, cache_home):
    train, _ = image_folders(zip_of({"a/1.png": image_bytes(1)}), cache=False)
    assert not isinstance(train.images, np.memmap)
    assert not cache_home.exists()


@pytest.mark.parametrize("missing", ["PIL", "tqdm"])
def test_missing_packages(zip_of, image_bytes, monkeypatch, missing):
    path = zip_of({"a/1.png": image_bytes(1)})
    original = builtins.__import__

    def without(name, *arguments, **named):
        if name.partition(".")[0] == missing:
            raise ImportError(name)
        return original(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    if missing == "tqdm":
        assert len(image_folders(path)[0]) == 1
    else:
        with pytest.raises(ImportError, match=r"reading image files needs Pillow: pip install nnfast\[data\]"):
            image_folders(path)


CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_a_part_of_the_real_cifar10(shared_file, zip_of):
    with zipfile.ZipFile(shared_file("cifar10/cifar10-images.zip")) as archive:
        names = [name for name in archive.namelist() if name.endswith(("0000.jpg", "0042.jpg"))]
        part = zip_of({name: archive.read(name) for name in names})
    train, test = image_folders(part)
    assert (len(train), len(test)) == (20, 20)
    assert train.images.shape == (20, 3, 32, 32)
    assert train.classes == CIFAR_CLASSES
    assert train.labels.tolist() == test.labels.tolist() == sorted([*range(10)] * 2)


@pytest.mark.slow
def test_the_real_cifar10(shared_file):
    train, test = image_folders(shared_file("cifar10/cifar10-images.zip"), progress=False)
    assert train.images.shape == (50_000, 3, 32, 32)
    assert test.images.shape == (10_000, 3, 32, 32)
    assert train.classes == test.classes == CIFAR_CLASSES
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
