"""The data set that comes with nnfast: 1,797 hand-written digits of 8x8 pixels.

It is the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI Machine
Learning Repository, https://doi.org/10.24432/C50P49, licensed under CC BY 4.0, in the form in which scikit-learn
distributes it (``sklearn.datasets.load_digits``). See digits.LICENSE.txt beside this file.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from nnfast.data.dataset import ArrayDataset
from nnfast.data.order import stratified_split

_HELD_OUT = 360
_SPLIT_SEED = 0  # part of the data set: with another one, accuracies would no longer compare
_LARGEST_PIXEL = 16


def digits() -> tuple[ArrayDataset, ArrayDataset]:
    """Return hand-written digits, for a first run without a download.

    The split is fixed: 1,437 images to train on and 360 held out, with the same proportions of the ten classes.

    Returns
    -------
    (ArrayDataset, ArrayDataset)
        The training and the test part; float32 images of shape (N, 1, 8, 8) in 0..1.

    Notes
    -----
    "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository,
    CC BY 4.0; distributed by scikit-learn.

    Examples
    --------
    >>> train, test = digits()
    >>> train, test
    (ArrayDataset(1437 images of 1x8x8, 10 classes), ArrayDataset(360 images of 1x8x8, 10 classes))
    """
    with (
        files("nnfast.data").joinpath("digits.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as held,
    ):
        images, labels = held["images"], held["labels"]
    scaled = np.divide(images, np.float32(_LARGEST_PIXEL), dtype=np.float32)[:, np.newaxis]
    classes = [str(digit) for digit in range(10)]
    train, test = (
        ArrayDataset(scaled[part], labels[part], classes) for part in stratified_split(labels, _HELD_OUT, _SPLIT_SEED)
    )
    return train, test
