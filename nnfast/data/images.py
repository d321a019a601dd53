"""Class folders of image files: the layout of torchvision's ``ImageFolder``, in a folder, zip or tar."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np

from nnfast.data.archive import Source, open_source
from nnfast.data.cache import cached_images
from nnfast.data.dataset import ArrayDataset
from nnfast.data.decode import IMAGE_EXTENSIONS, decode_images

_TRAIN_NAMES = ("train", "training")
_TEST_NAMES = ("test", "testing", "val", "valid", "validation")


def image_folders(
    path: str | os.PathLike[str],
    *,
    size: int | Sequence[int] | None = None,
    mode: str | None = None,
    cache: bool = True,
    progress: bool = True,
) -> tuple[ArrayDataset, ArrayDataset | None]:
    """Read images from class folders.

    The layout is ``<class>/**/<image>``, or ``train/<class>/...`` and ``test/<class>/...``; folders that hold all the
    rest are passed over. ``training`` does for ``train``; ``testing``, ``val``, ``valid`` or ``validation`` for a
    missing ``test``. Classes are sorted by name; both parts share the training part's. Files with other extensions
    than those of images, hidden ones and ``__MACOSX`` are left out.

    Parameters
    ----------
    path : str or os.PathLike
        A folder, a zip file, or a tar file (plain or gzip). Nothing is unpacked.
    size : int or (int, int), optional
        Resize all to this height and width. Default: all must have the same size.
    mode : {"L", "RGB"}, optional
        Grey or colour. Default: grey if all images are.
    cache : bool, default True
        Keep the decoded images in ``~/.cache/nnfast/datasets`` and memory-map them from there.
    progress : bool, default True
        Show a progress bar while decoding, if tqdm is there and standard error is a terminal.

    Returns
    -------
    (ArrayDataset, ArrayDataset or None)
        The training and the test part, if there is one; uint8 images of shape (N, C, H, W).

    Raises
    ------
    ImportError
        If Pillow is missing (``pip install nnfast[data]``).
    ValueError
        If the layout is another one, or an image is damaged or of another size; names the file.

    Examples
    --------
    >>> train, test = image_folders("cifar10-images.zip")  # doctest: +SKIP
    >>> train  # doctest: +SKIP
    ArrayDataset(50000 images of 3x32x32, 10 classes)
    """
    with open_source(path) as source:
        return image_folders_from(source, size=size, mode=mode, cache=cache, progress=progress)


def image_folders_from(
    source: Source,
    *,
    size: int | Sequence[int] | None = None,
    mode: str | None = None,
    cache: bool = True,
    progress: bool = True,
) -> tuple[ArrayDataset, ArrayDataset | None]:
    """Do what ``image_folders`` does, from an open folder or archive."""
    height_width = _checked_size(size)
    if mode not in (None, "L", "RGB"):
        raise ValueError(f"image_folders: mode is {mode!r}, expected 'L', 'RGB' or None")
    train, test, classes = _layout(source)
    names = [name for name, _ in (*train, *test)]

    def decode() -> np.ndarray:
        return decode_images(source, names, height_width, mode, progress)

    key = ["image_folders", source.fingerprint(), names, height_width, mode]
    nhwc = cached_images(key, decode) if cache else decode()
    images, n = nhwc.transpose(0, 3, 1, 2), len(train)
    number = {label: position for position, label in enumerate(classes)}
    labels = np.array([number[label] for _, label in (*train, *test)])
    return (
        ArrayDataset(images[:n], labels[:n], classes),
        ArrayDataset(images[n:], labels[n:], classes) if test else None,
    )


def has_images(source: Source) -> bool:
    """Say whether a folder or archive holds image files."""
    return any(_is_image(name) for name in source.files)


Labelled = list[tuple[str, str]]


def _layout(source: Source) -> tuple[Labelled, Labelled, list[str]]:
    """Return the training and the test files, each with its class, and the class names."""
    names = sorted(name for name in source.files if _is_image(name))
    if not names:
        raise ValueError(f"{source.path}: holds no image files ({', '.join(IMAGE_EXTENSIONS)})")
    root = _root(names)
    parts = {name: name[len(root) :].split("/") for name in names}
    tops = {part[0] for part in parts.values() if len(part) > 1}
    train_name = next(iter(_tops_named(_TRAIN_NAMES, tops)), None)
    if train_name is None:
        train, test = _labelled(source, parts, root, ()), []
    else:
        test_names = _tops_named(_TEST_NAMES, tops)
        for left_out in test_names[1:]:
            warnings.warn(
                f"{source.path}: {test_names[0]} is the test part, {left_out} is not read",
                stacklevel=4,
            )
        train = _labelled(source, parts, root, (train_name,))
        test = _labelled(source, parts, root, (test_names[0],)) if test_names else []
    prefix = root + (train_name + "/" if train_name else "")
    return train, test, _classes(source, train, test, prefix)


def _tops_named(names: Sequence[str], tops: set[str]) -> list[str]:
    """Return the folders with one of the names, in the names' order; "Train" is as good as "train"."""
    return [top for name in names for top in sorted(tops) if top.lower() == name]


def _labelled(source: Source, parts: dict[str, list[str]], root: str, part: tuple[str, ...]) -> Labelled:
    labelled = []
    for name, below in parts.items():
        if tuple(below[: len(part)]) != part:
            continue
        if len(below) < len(part) + 2:
            raise ValueError(f"{source.where(name)}: image lies in no class folder, expected <class>/<image>")
        labelled.append((name, below[len(part)]))
    return labelled


def _classes(source: Source, train: Labelled, test: Labelled, prefix: str) -> list[str]:
    classes = sorted({label for _, label in train})
    for name, label in test:
        if label not in classes:
            raise ValueError(f"{source.where(name)}: class {label} has no training images, expected one of {classes}")
    listed = {name[len(prefix) :] for name in source.folders if name.startswith(prefix)}
    empty = sorted(name for name in listed if name and "/" not in name and name not in classes)
    if empty:
        raise ValueError(f"{source.where(prefix + empty[0])}: class folder holds no images")
    return classes


def _root(names: Sequence[str]) -> str:
    """Return the folders that wrap all images, up to where parts or classes begin; they are no classes themselves."""
    root = ""
    while True:
        tops = {name[len(root) :].partition("/")[0] for name in names}
        top = next(iter(tops))
        if len(tops) > 1 or top.lower() in _TRAIN_NAMES or any(name.count("/", len(root)) < 2 for name in names):
            return root
        root += top + "/"


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS)


def _checked_size(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    values = [size, size] if isinstance(size, int) else list(size)
    if len(values) != 2 or any(not isinstance(value, int) or value < 1 for value in values):
        raise ValueError(f"image_folders: size is {size!r}, expected a positive integer or (height, width)")
    return values[0], values[1]
