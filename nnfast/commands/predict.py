"""``nnfast predict``: what a trained model sees in images."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnfast.commands.arguments import add_execution_arguments, natural_number, positive_integer, use_threads

if TYPE_CHECKING:
    from nnfast.train.run_config import RunConfig
    from nnfast.train.run_folder import RunFolder

HELP = "name what is in an image"
DESCRIPTION = """\
Print the class that a trained model sees in each image, and its probability.

Images are image files (JPEG, PNG, ...), made grey or coloured and resized as the model needs them, or arrays in .npy
files: one image of shape (H, W) or (C, H, W), or several of shape (N, C, H, W); uint8 in 0..255 or floats in 0..1.
With --index they are images of the test part of a data set."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that nnfast train made")
    parser.add_argument("files", metavar="FILE", nargs="*", help="an image file or a .npy file")
    parser.add_argument("--index", type=natural_number, nargs="+", metavar="I", help="test images by number, from 0")
    parser.add_argument("--data", metavar="PATH", help="the data set of --index (default: the run's)")
    parser.add_argument("--top", type=positive_integer, default=1, metavar="K", help="print the K likeliest classes")
    parser.add_argument("--invert", action="store_true", help="swap dark and light in the FILEs: the digits and MNIST "
                        "are light on dark, photographs of writing are not")  # fmt: skip
    add_execution_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Predict, print, and return the exit code."""
    from nnfast.train.run import load_model, predict
    from nnfast.train.run_config import load_run_config
    from nnfast.train.run_folder import open_run_folder
    from nnfast.train.tiers import kernels_of

    if arguments.data and arguments.index is None:
        raise ValueError("predict: --data needs --index, the numbers of its test images")
    if not arguments.files and arguments.index is None:
        raise ValueError("predict: nothing to predict, expected FILEs or --index")
    use_threads(arguments.threads)
    folder = open_run_folder(arguments.run_folder)
    config = load_run_config(folder.config)
    model = load_model(config, folder)
    width = max(map(len, config.classes))
    with kernels_of(arguments.backend or config.backend):
        for source in (_files(arguments, config), _test_images(arguments, config, folder)):
            for name, images in source:
                for position, probabilities in enumerate(predict(model, config, images)):
                    which = name if len(images) == 1 else f"{name}[{position}]"
                    likeliest = np.argsort(-probabilities, kind="stable")[: arguments.top]
                    shown = (f"{config.classes[label]:{width}} {probabilities[label]:7.2%}" for label in likeliest)
                    print(f"{which}: {'  '.join(shown)}")
    return 0


def _files(arguments: argparse.Namespace, config: RunConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each file's name and its images, float32 (N, C, H, W) in 0..1."""
    for file in arguments.files:
        images = _read_array(file, config) if file.endswith(".npy") else _read_image(file, config)
        yield file, np.float32(1) - images if arguments.invert else images


def _test_images(
    arguments: argparse.Namespace, config: RunConfig, folder: RunFolder
) -> Iterator[tuple[str, np.ndarray]]:
    if arguments.index is None:
        return
    from nnfast.data import open_dataset
    from nnfast.train.run import check_data

    data = arguments.data or config.data
    _, test = open_dataset(data)
    check_data(config, folder, data, test)
    for index in arguments.index:
        if index >= len(test):
            raise ValueError(f"predict: --index {index} is out of range, {data} has test images 0..{len(test) - 1}")
        images, labels = test.take(np.array([index]))
        yield f"{data} {index} (a {config.classes[labels[0]]})", images


def _read_image(file: str, config: RunConfig) -> np.ndarray:
    from nnfast.data.archive import Source
    from nnfast.data.decode import decode_images

    if config.channels not in (1, 3):
        raise ValueError(f"{file}: the model takes images of {config.channels} channels; for these pass .npy files")
    path = Path(file)
    source = Source(path.parent, {path.name: path}, set(), lambda image: image.open("rb"))
    mode = "L" if config.channels == 1 else "RGB"
    pixels = decode_images(source, [path.name], (config.height, config.width), mode, progress=False)
    return pixels.transpose(0, 3, 1, 2) / np.float32(255)


def _read_array(file: str, config: RunConfig) -> np.ndarray:
    try:
        # Mapped rather than read: a header that claims more than the file holds then costs no memory.
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{file}: no array that can be read: {error}") from None
    if array.dtype not in (np.uint8, np.float32, np.float64):
        raise ValueError(f"{file}: holds {array.dtype}, expected uint8 or floats in 0..1")
    shape = array.shape
    if array.ndim == 2 and config.channels == 1:
        array = array[np.newaxis]
    if array.ndim == 3:
        array = array[np.newaxis]
    if array.shape[1:] != config.shape or len(array) == 0:
        expected = ", ".join(map(str, config.shape))
        raise ValueError(f"{file}: has shape {shape}, expected ({expected}) or (N, {expected})")
    return np.divide(array, 255 if array.dtype == np.uint8 else 1, dtype=np.float32)
