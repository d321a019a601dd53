"""Batch transforms, with the names and the semantics of ``torchvision.transforms``.

A transform is called as ``transform(images, generator)`` with float32 images of shape (N, C, H, W) and returns such
images in channels-last memory; its input is left as it was. Any function of that form can stand in a ``Compose`` or
in ``DataLoader(transform=...)``. Random ones draw from ``generator`` alone, one decision for each image; one with an
attribute ``draws = False`` is given None by a loader, for a generator takes longer to make than a small batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def draws(transform: Transform) -> bool:
    """Whether a transform needs a generator, as far as it says so."""
    return bool(getattr(transform, "draws", True))


class Compose:
    """Apply transforms one after the other.

    Parameters
    ----------
    transforms : sequence of callable

    Examples
    --------
    >>> augment = Compose([RandomCrop(8, padding=1), RandomHorizontalFlip()])
    >>> augment
    Compose(
        RandomCrop(size=(8, 8), padding=(1, 1, 1, 1))
        RandomHorizontalFlip(p=0.5)
    )
    >>> augment(np.zeros((4, 3, 8, 8), dtype=np.float32), np.random.default_rng(0)).shape
    (4, 3, 8, 8)
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)
        for position, transform in enumerate(self.transforms):
            if not callable(transform):
                raise TypeError(f"Compose: transforms[{position}] is {transform!r}, expected a callable")

    @property
    def draws(self) -> bool:
        """Whether any of the transforms needs a generator."""
        return any(draws(transform) for transform in self.transforms)

    def __call__(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        for transform in self.transforms:
            images = transform(images, generator)
        return images

    def __repr__(self) -> str:
        lines = "".join(f"    {line}\n" for transform in self.transforms for line in repr(transform).split("\n"))
        return f"Compose(\n{lines})"


class Normalize:
    """Compute ``(images - mean) / std`` channel by channel.

    Parameters
    ----------
    mean, std : float or sequence of float
        One for each channel, or one for all. ``std`` must not be 0.

    Raises
    ------
    ValueError
        If ``std`` holds 0, a value is not finite, or their number fits neither 1 nor the images' channels.

    Examples
    --------
    >>> Normalize(mean=0.5, std=[0.25])
    Normalize(mean=(0.5,), std=(0.25,))
    >>> images = np.ones((1, 1, 2, 2), dtype=np.float32)
    >>> Normalize(0.5, 0.25)(images).ravel().tolist()
    [2.0, 2.0, 2.0, 2.0]
    """

    draws = False

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean = _channel_values("mean", mean)
        self.std = _channel_values("std", std)
        if 0 in np.array(self.std, dtype=np.float32):
            raise ValueError(f"Normalize: std is {self.std}, expected no 0")
        self._rows: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, images: np.ndarray, generator: np.random.Generator | None = None) -> np.ndarray:
        nhwc = _channels_last_view("Normalize", images)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, images.shape[1]):
                raise ValueError(f"Normalize: {name} has {len(values)} values, images have {images.shape[1]} channels")
        # Rows of W * C values against the repeated constants: broadcasting over C alone is eight times slower.
        n, h, w, c = nhwc.shape
        mean, std = self._repeated(w, c)
        rows = nhwc.reshape(n * h, w * c) - mean
        rows /= std
        return rows.reshape(n, h, w, c).transpose(0, 3, 1, 2)

    def _repeated(self, w: int, c: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each value of a row; made once for a width."""
        if (w, c) not in self._rows:
            mean, std = (np.broadcast_to(np.array(values, np.float32), c) for values in (self.mean, self.std))
            self._rows[w, c] = np.tile(mean, w), np.tile(std, w)
        return self._rows[w, c]

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean}, std={self.std})"


class RandomCrop:
    """Pad with zeros, then cut a window of a given size out of each image, at an offset of its own.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the window.
    padding : int or sequence of 2 or 4 int, default 0
        All sides; or left-and-right, top-and-bottom; or left, top, right, bottom.

    Raises
    ------
    ValueError
        If a padded image is smaller than the window.

    Examples
    --------
    >>> crop = RandomCrop(32, padding=4)
    >>> crop
    RandomCrop(size=(32, 32), padding=(4, 4, 4, 4))
    >>> crop(np.ones((2, 3, 32, 32), dtype=np.float32), np.random.default_rng(0)).shape
    (2, 3, 32, 32)
    """

    def __init__(self, size: int | Sequence[int], padding: int | Sequence[int] = 0) -> None:
        self.size = _integers("size", size, {1: (0, 0), 2: (0, 1)}, smallest=1)
        self.padding = _integers(
            "padding",
            padding,
            {1: (0, 0, 0, 0), 2: (0, 1, 0, 1), 4: (0, 1, 2, 3)},
            smallest=0,
        )

    def __call__(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        nhwc = _channels_last_view("RandomCrop", images)
        left, top, right, bottom = self.padding
        n, h, w, c = nhwc.shape
        padded_h, padded_w = h + top + bottom, w + left + right
        oh, ow = self.size
        if padded_h < oh or padded_w < ow:
            raise ValueError(
                f"RandomCrop: size is {oh}x{ow}, images are {h}x{w} and {padded_h}x{padded_w} with padding; "
                "expected a size that fits"
            )
        padded = nhwc
        if any(self.padding):
            padded = np.zeros((n, padded_h, padded_w, c), dtype=np.float32)
            padded[:, top : top + h, left : left + w] = nhwc
        ys = _generator("RandomCrop", generator).integers(padded_h - oh + 1, size=n)
        xs = generator.integers(padded_w - ow + 1, size=n)
        # A view of all windows, shape (N, H', W', C, oh, ow); C goes last so that whole rows are copied at once.
        windows = np.lib.stride_tricks.sliding_window_view(padded, (oh, ow), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
        return np.ascontiguousarray(windows[np.arange(n), ys, xs]).transpose(0, 3, 1, 2)

    def __repr__(self) -> str:
        return f"RandomCrop(size={self.size}, padding={self.padding})"


class RandomHorizontalFlip:
    """Mirror each image left to right with probability ``p``.

    Parameters
    ----------
    p : float, default 0.5

    Examples
    --------
    >>> image = np.arange(3, dtype=np.float32).reshape(1, 1, 1, 3)
    >>> RandomHorizontalFlip(p=1)(image, np.random.default_rng(0)).ravel().tolist()
    [2.0, 1.0, 0.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p is {p}, expected a probability in 0..1")
        self.p = p

    def __call__(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        nhwc = _channels_last_view("RandomHorizontalFlip", images)
        flipped = _generator("RandomHorizontalFlip", generator).random(len(nhwc)) < self.p
        result = nhwc.copy(order="C")
        result[flipped] = nhwc[flipped, :, ::-1]
        return result.transpose(0, 3, 1, 2)

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip(p={self.p})"


def _channels_last_view(name: str, images: np.ndarray) -> np.ndarray:
    """Return the images as (N, H, W, C), whatever their memory; every result is then written in that order."""
    if not isinstance(images, np.ndarray) or images.dtype != np.float32 or images.ndim != 4:
        dtype, shape = getattr(images, "dtype", None), getattr(images, "shape", None)
        found = f"{type(images).__name__} of {dtype}, shape {shape}"
        raise TypeError(f"{name}: images is {found}, expected a numpy.ndarray of float32, shape (N, C, H, W)")
    return images.transpose(0, 2, 3, 1)


def _generator(name: str, generator: np.random.Generator) -> np.random.Generator:
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"{name}: generator is {type(generator).__name__}, expected a numpy.random.Generator")
    return generator


def _channel_values(name: str, values: float | Sequence[float]) -> tuple[float, ...]:
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.ndim != 1 or len(array) == 0 or not np.isfinite(array).all():
        raise ValueError(f"Normalize: {name} is {values!r}, expected finite numbers, one for each channel")
    return tuple(array.tolist())


def _integers(
    name: str,
    values: int | Sequence[int],
    places: dict[int, tuple[int, ...]],
    smallest: int,
) -> tuple[int, ...]:
    """Spread 1, 2 or 4 given numbers over the places that they stand for."""
    array = np.atleast_1d(np.asarray(values))
    lengths = " or ".join(str(length) for length in places)
    if array.dtype.kind not in "iu" or array.ndim != 1 or len(array) not in places or (array < smallest).any():
        raise ValueError(f"RandomCrop: {name} is {values!r}, expected {lengths} integers of at least {smallest}")
    return tuple(int(array[place]) for place in places[len(array)])
