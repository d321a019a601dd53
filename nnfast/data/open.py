"""One way in: from a name, a folder or an archive to a training and a test part, whatever the layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnfast.data.archive import Source, open_source
from nnfast.data.cifar import cifar10_from, cifar100_from, has_cifar10, has_cifar100
from nnfast.data.dataset import ArrayDataset, ImageDataset
from nnfast.data.digits import digits
from nnfast.data.download import REMOTES, download
from nnfast.data.idx import FASHION_MNIST_CLASSES, has_mnist, mnist_from
from nnfast.data.images import has_images, image_folders_from
from nnfast.data.npz import read_npz
from nnfast.data.order import stratified_split
from nnfast.data.subset import Subset

_SPLIT_SEED = 0  # fixed, so that two runs, and a resumed one, hold out the same images
_LOOKED_FOR = (
    "IDX files (train-images-idx3-ubyte, ...), CIFAR binary files (data_batch_1.bin, ..., or train.bin and test.bin), "
    "image files in class folders (<class>/<image>, or train/<class>/<image> and test/<class>/<image>), "
    "one .npz file with x_train and y_train"
)


def open_dataset(
    path_or_name: str | os.PathLike[str],
    *,
    size: int | Sequence[int] | None = None,
    mode: str | None = None,
) -> tuple[ImageDataset, ImageDataset]:
    """Open a data set as a training and a test part.

    A data set without a test part is split: a fixed 10 % of its images, rounded, at least one, in the same
    proportions of the classes, become the test part; the same ones each time.

    Parameters
    ----------
    path_or_name : str or os.PathLike
        "digits", which comes with nnfast; "mnist", "fashion-mnist", "cifar10" or "cifar100", which are downloaded
        once; or the path of a folder, a zip file, a tar file (plain or gzip) or an .npz file (a path that is also a
        name: ``"./digits"``). The layout is found out: IDX, CIFAR binary, class folders of images, or arrays
        ``x_train``, ``y_train``, ``x_test``, ``y_test``.
    size : int or (int, int), optional
        Resize images to this height and width; for class folders only.
    mode : {"L", "RGB"}, optional
        Read images as grey or as colour; for class folders only.

    Returns
    -------
    (ImageDataset, ImageDataset)
        The training and the test part, with ``images``, ``labels`` and ``classes``.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the path.
    ValueError
        If the layout is none of these, or a file is damaged; names the file.

    Examples
    --------
    >>> train, test = open_dataset("digits")
    >>> len(train), len(test), train.classes[:3]
    (1437, 360, ['0', '1', '2'])
    """
    name = os.fspath(path_or_name)
    if name == "digits":
        _refuse_image_arguments(name, size, mode)
        return digits()
    path = download(name) if name in REMOTES else Path(path_or_name)
    if not path.exists():
        raise FileNotFoundError(
            f"open_dataset: {name}: no such file or folder, and none of the names digits, {', '.join(REMOTES)}"
        )
    if path.suffix == ".npz":
        _refuse_image_arguments(name, size, mode)
        train, test = read_npz(path)
    else:
        with open_source(path) as source:
            train, test = _open(source, size, mode)
    return _split(train) if test is None else (train, test)


def _open(
    source: Source, size: int | Sequence[int] | None, mode: str | None
) -> tuple[ArrayDataset, ArrayDataset | None]:
    # Binary layouts first: their file names are unmistakable, whereas any stray picture makes an image folder.
    if not (has_mnist(source) or has_cifar10(source) or has_cifar100(source)) and has_images(source):
        return image_folders_from(source, size=size, mode=mode)
    _refuse_image_arguments(str(source.path), size, mode)
    if has_mnist(source):
        is_fashion = "fashion" in str(source.path.resolve()).lower()
        return mnist_from(source, FASHION_MNIST_CLASSES if is_fashion else None)
    if has_cifar10(source):
        return cifar10_from(source)
    if has_cifar100(source):
        return cifar100_from(source)
    arrays = [file for file in source.files if file.endswith(".npz")]
    if len(arrays) == 1 and source.path.is_dir():
        return read_npz(source.path / arrays[0])
    if any(file.rpartition("/")[2] in ("data_batch_1", "test_batch") for file in source.files):
        raise ValueError(
            f"open_dataset: {source.path}: holds CIFAR's Python version, which is pickled and could run code; "
            "fetch the binary version (cifar-10-binary.tar.gz)"
        )
    raise ValueError(f"open_dataset: {source.path}: layout not recognised, looked for {_LOOKED_FOR}")


def _split(dataset: ArrayDataset) -> tuple[Subset, Subset]:
    if len(dataset) < 2:
        raise ValueError(f"open_dataset: {dataset} cannot be split into training and test, expected two images")
    held_out = max(1, round(len(dataset) / 10))
    train, test = stratified_split(np.asarray(dataset.labels), held_out, _SPLIT_SEED)
    return Subset(dataset, train.tolist()), Subset(dataset, test.tolist())


def _refuse_image_arguments(name: str, size: object, mode: object) -> None:
    for argument, value in (("size", size), ("mode", mode)):
        if value is not None:
            raise ValueError(
                f"open_dataset: {name}: {argument} is {value!r}, but applies to class folders of images only"
            )
