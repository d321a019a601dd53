from hashlib import sha256
from importlib.resources import files

import numpy as np

from nnfast.data import digits


def test_sizes_types_and_range():
    train, test = digits()
    for part, n in ((train, 1437), (test, 360)):
        assert part.images.shape == (n, 1, 8, 8)
        assert part.images.dtype == np.float32
        assert part.images.min() == 0
        assert part.images.max() == 1
        assert part.classes == [str(digit) for digit in range(10)]


def test_both_parts_hold_all_classes_alike():
    train, test = digits()
    counts = np.bincount(train.labels) + np.bincount(test.labels)
    assert counts.sum() == 1797
    assert np.all(np.abs(np.bincount(test.labels) - counts * 360 / 1797) <= 1)


def test_the_split_is_fixed():
    _, test = digits()
    assert test.labels[:12].tolist() == [0, 6, 3, 8, 1, 8, 4, 1, 5, 8, 9, 7]


def test_the_images_are_scikit_learns():
    """SHA-256 of load_digits() of scikit-learn 1.9: images, then targets, as bytes."""
    with files("nnfast.data").joinpath("digits.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as held:
        content = held["images"].tobytes() + held["labels"].tobytes()
    assert sha256(content).hexdigest() == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_every_image_is_in_one_part():
    with files("nnfast.data").joinpath("digits.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as held:
        expected = sorted(
            (int(label), image.tobytes()) for label, image in zip(held["labels"], held["images"], strict=True)
        )
    found = sorted(
        (int(label), (image * 16).astype(np.uint8).tobytes())
        for part in digits()
        for image, label in zip(part.images, part.labels, strict=True)
    )
    assert found == expected


def test_the_file_is_small_holds_no_more_and_is_attributed():
    folder = files("nnfast.data")
    assert len(folder.joinpath("digits.npz").read_bytes()) < 50_000
    with folder.joinpath("digits.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as held:
        assert sorted(held.files) == ["images", "labels"]
        assert held["images"].dtype == held["labels"].dtype == np.uint8
        assert held["images"].shape == (1797, 8, 8)
        assert held["images"].max() == 16
    license_text = folder.joinpath("digits.LICENSE.txt").read_text()
    for part in ("Optical Recognition of Handwritten Digits", "Alpaydin", "Kaynak", "CC BY 4.0", "scikit-learn"):
        assert part in license_text
        assert part in digits.__doc__
