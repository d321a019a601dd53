"""Public data sets from the internet, verified against known MD5 sums, with pooch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nnfast.data.cache import cache_folder


@dataclass(frozen=True)
class Remote:
    """A data set to fetch: where its files are, and the MD5 sum of each."""

    base_url: str
    files: dict[str, str]


REMOTES = {
    "mnist": Remote(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": Remote(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "cifar10": Remote(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
    "cifar100": Remote(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
    ),
}


def download(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """Fetch a public data set, unless it is there already.

    Parameters
    ----------
    name : {"mnist", "fashion-mnist", "cifar10", "cifar100"}
    folder : str or os.PathLike, optional
        Where to put it. Default: ``~/.cache/nnfast/downloads/<name>``.

    Returns
    -------
    pathlib.Path
        What ``open_dataset`` takes: the folder of the IDX files, or the .tar.gz file.

    Raises
    ------
    ImportError
        If pooch is missing (``pip install nnfast[data]``).
    ConnectionError
        If a file cannot be fetched; says which, from where, and where to put it by hand.
    ValueError
        If the name is another one, or a fetched file has the wrong MD5 sum.

    Examples
    --------
    >>> download("mnist", "data/mnist")  # doctest: +SKIP
    PosixPath('data/mnist')
    """
    if name not in REMOTES:
        raise ValueError(f"download: name is {name!r}, expected one of {', '.join(sorted(REMOTES))}")
    remote = REMOTES[name]
    target = cache_folder() / "downloads" / name if folder is None else Path(folder)
    for file, md5 in remote.files.items():
        _fetch(name, remote.base_url + file, target / file, md5)
    return target if len(remote.files) > 1 else target / next(iter(remote.files))


def _fetch(name: str, url: str, file: Path, md5: str) -> None:
    try:
        import pooch
        import requests
    except ImportError as error:
        raise ImportError("downloading data sets needs pooch: pip install nnfast[data]") from error
    try:
        # pooch writes to a temporary file beside the target, and renames it once its sum is right.
        pooch.retrieve(url, known_hash=f"md5:{md5}", fname=file.name, path=file.parent)
    except requests.exceptions.RequestException as error:
        raise ConnectionError(
            f"download: {name}: cannot fetch {url} ({type(error).__name__}). Without a network: fetch that file "
            f"elsewhere and put it at {file}"
        ) from error
    except ValueError as error:
        raise ValueError(f"download: {name}: {url} did not give the expected file (MD5 {md5}): {error}") from error
