import numpy as np
import pytest

from nnfast.data.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip


def images_of(n=6, c=3, h=7, w=9, memory="nhwc"):
    nhwc = np.random.default_rng(1).random((n, h, w, c), dtype=np.float32)
    images = nhwc.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images) if memory == "nchw" else images


ALL = [Normalize([0.1, 0.2, 0.3], [1, 2, 4]), RandomCrop(7, padding=2), RandomCrop((3, 4)), RandomHorizontalFlip(0.5)]


@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize("memory", ["nchw", "nhwc"])
def test_results_have_channels_last_memory_and_the_input_is_left_alone(transform, memory):
    images = images_of(memory=memory)
    before = images.copy()
    result = transform(images, np.random.default_rng(0))
    assert result.dtype == np.float32
    assert result.transpose(0, 2, 3, 1).flags.c_contiguous
    assert not np.shares_memory(result, images)
    assert np.array_equal(images, before)
    other = transform(images_of(memory="nhwc"), np.random.default_rng(0))
    assert np.array_equal(result, other)


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_an_empty_batch_stays_empty(transform):
    assert len(transform(images_of()[:0], np.random.default_rng(0))) == 0


@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize("wrong", [images_of().astype(np.float64), images_of()[0], images_of().tolist()])
def test_wrong_images(transform, wrong):
    with pytest.raises(TypeError, match=type(transform).__name__ + ": images is .*, expected a numpy.ndarray of float"):
        transform(wrong, np.random.default_rng(0))


@pytest.mark.parametrize("transform", [RandomCrop(3), RandomHorizontalFlip()], ids=repr)
def test_wrong_generator(transform):
    with pytest.raises(TypeError, match=type(transform).__name__ + ": generator is int, expected a numpy.random.Gen"):
        transform(images_of(), 3)


def test_normalize():
    images = images_of()
    result = Normalize(mean=[0.5, 0.25, 0], std=(2, 4, 8))(images)
    for channel, (mean, std) in enumerate([(0.5, 2), (0.25, 4), (0, 8)]):
        expected = (images[:, channel] - np.float32(mean)) / np.float32(std)
        assert np.array_equal(result[:, channel], expected)
    assert np.array_equal(Normalize(0.5, 2)(images), (images - np.float32(0.5)) / np.float32(2))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5], [0.0], r"std is \(0.0,\), expected no 0"),
        ([0.5], [1, 1e-60], r"expected no 0"),  # 0 in float32
        ([float("nan")], [1], "mean is .*nan.*, expected finite numbers"),
        ([], [1], "mean is .*, expected finite numbers"),
        ([1], [[1]], "std is .*, expected finite numbers"),
    ],
)
def test_normalize_refuses(mean, std, message):
    with pytest.raises(ValueError, match=r"Normalize: .*" + message):
        Normalize(mean, std)


@pytest.mark.parametrize(("name", "mean", "std"), [("mean", [1, 2], 1), ("std", 1, [1, 2])])
def test_normalize_refuses_a_wrong_number_of_channels(name, mean, std):
    with pytest.raises(ValueError, match=f"Normalize: {name} has 2 values, images have 3 channels"):
        Normalize(mean, std)(images_of())


def crops_of(image, size, padding):
    """Every window of a zero-padded image, by its corner; written as loops, apart from the code under test."""
    left, top, right, bottom = padding
    c, h, w = image.shape
    windows = {}
    for y in range(-top, h + bottom - size[0] + 1):
        for x in range(-left, w + right - size[1] + 1):
            window = np.zeros((c, *size), dtype=np.float32)
            for i in range(size[0]):
                for j in range(size[1]):
                    if 0 <= y + i < h and 0 <= x + j < w:
                        window[:, i, j] = image[:, y + i, x + j]
            windows[y, x] = window
    return windows


@pytest.mark.parametrize(
    ("size", "padding", "sides"),
    [(3, 0, (0, 0, 0, 0)), ((2, 5), 1, (1, 1, 1, 1)), (4, (1, 2), (1, 2, 1, 2)), (4, (0, 1, 2, 3), (0, 1, 2, 3))],
)
def test_crop_draws_each_window_of_the_padded_image(size, padding, sides):
    image = images_of(n=1, c=2, h=5, w=6)
    n = 2000
    crop = RandomCrop(size, padding)
    result = crop(np.repeat(image, n, axis=0), np.random.default_rng(0))
    height_width = size if isinstance(size, tuple) else (size, size)
    windows = {window.tobytes(): corner for corner, window in crops_of(image[0], height_width, sides).items()}
    seen = [windows[np.ascontiguousarray(one).tobytes()] for one in result]
    counts = {corner: seen.count(corner) for corner in windows.values()}
    assert len(counts) == len(windows)
    # Uniform: each corner within five standard deviations of n / k.
    mean = n / len(windows)
    assert all(abs(count - mean) < 5 * np.sqrt(mean) for count in counts.values())


def test_crop_of_the_whole_image_is_the_image():
    assert np.array_equal(RandomCrop((7, 9))(images_of(), np.random.default_rng(0)), images_of())


def test_crop_refuses_images_that_are_smaller():
    message = "RandomCrop: size is 8x8, images are 7x9 and 7x9 with padding"
    with pytest.raises(ValueError, match=message):
        RandomCrop(8)(images_of(), np.random.default_rng(0))
    assert RandomCrop(8, padding=(0, 1))(images_of(), np.random.default_rng(0)).shape == (6, 3, 8, 8)


@pytest.mark.parametrize("size", [0, -1, 2.5, (1, 2, 3), "3", None])
def test_crop_refuses_a_wrong_size(size):
    with pytest.raises(ValueError, match=r"RandomCrop: size is .*, expected 1 or 2 integers of at least 1"):
        RandomCrop(size)


@pytest.mark.parametrize("padding", [-1, 1.5, (1, 2, 3), None])
def test_crop_refuses_a_wrong_padding(padding):
    with pytest.raises(ValueError, match=r"RandomCrop: padding is .*, expected 1 or 2 or 4 integers of at least 0"):
        RandomCrop(3, padding)


@pytest.mark.parametrize("p", [0, 0.3, 1])
def test_flip_mirrors_each_image_with_its_own_chance(p):
    images = np.repeat(images_of(n=1), 2000, axis=0)
    result = RandomHorizontalFlip(p)(images, np.random.default_rng(0))
    flipped = np.array([np.array_equal(one, images[0, :, :, ::-1]) for one in result])
    kept = np.array([np.array_equal(one, images[0]) for one in result])
    assert np.all(flipped ^ kept)
    assert abs(flipped.mean() - p) <= 5 * np.sqrt(p * (1 - p) / 2000)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_flip_refuses(p):
    with pytest.raises(ValueError, match=r"RandomHorizontalFlip: p is .*, expected a probability in 0..1"):
        RandomHorizontalFlip(p)


def test_compose_applies_in_order_with_one_generator():
    seen = []

    def double(images, generator):
        seen.append(generator)
        return images * 2

    def add_one(images, generator):
        seen.append(generator)
        return images + 1

    generator = np.random.default_rng(0)
    images = images_of()
    assert np.array_equal(Compose([double, add_one])(images, generator), images * 2 + 1)
    assert seen == [generator, generator]
    assert Compose([])(images, generator) is images


def test_compose_refuses():
    with pytest.raises(TypeError, match=r"Compose: transforms\[1\] is 3, expected a callable"):
        Compose([RandomCrop(3), 3])


def test_reprs_show_the_arguments():
    assert repr(Normalize([0.5], 2)) == "Normalize(mean=(0.5,), std=(2.0,))"
    assert repr(RandomCrop(32, (1, 2))) == "RandomCrop(size=(32, 32), padding=(1, 2, 1, 2))"
    assert repr(RandomHorizontalFlip(0.25)) == "RandomHorizontalFlip(p=0.25)"
    assert repr(Compose([RandomHorizontalFlip(), Compose([RandomCrop(1)])])) == (
        "Compose(\n    RandomHorizontalFlip(p=0.5)\n"
        "    Compose(\n        RandomCrop(size=(1, 1), padding=(0, 0, 0, 0))\n    )\n)"
    )
