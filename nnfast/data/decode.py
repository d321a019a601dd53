"""From encoded image files to one uint8 array, with Pillow, in threads (it releases the GIL while it decodes)."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np

from nnfast.data.archive import Source

IMAGE_EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".ppm",
    ".pgm",
    ".tif",
    ".tiff",
    ".webp",
)
# Named, because Pillow would otherwise guess from content and hand some formats to external programs.
_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")
_MOST_FILE_BYTES = 64 << 20
_GREY_MODES, _COLOUR_MODES = (
    ("1", "L", "LA", "La"),
    ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"),
)
_FILES_PER_JOB, _JOBS_IN_FLIGHT = 32, 16


def decode_images(
    source: Source,
    names: Sequence[str],
    size: tuple[int, int] | None,
    mode: str | None,
    progress: bool,
) -> np.ndarray:
    """Decode image files.

    Parameters
    ----------
    source : Source
    names : sequence of str
        Files of ``source``; at least one.
    size : (int, int) or None
        Height and width to resize to (bilinear). None: all must have the first one's.
    mode : {"L", "RGB"} or None
        Grey or colour. None: grey if all images are.
    progress : bool
        Show a progress bar, if tqdm is there and standard error is a terminal.

    Returns
    -------
    numpy.ndarray
        uint8, shape (len(names), H, W, C) with C 1 or 3, in the order of ``names``.

    Raises
    ------
    ImportError
        If Pillow is missing.
    ValueError
        If a file is damaged, too large or of a format that is not read, or sizes differ; names the file.
    """
    _import_pillow()
    place = {name: position for position, name in enumerate(names)}
    images: np.ndarray | None = None
    first = ""
    with closing(_decoded(source, source.in_storage_order(names), size, mode)) as decoded:
        for name, image in _with_progress(decoded, len(names), progress):
            if images is None:
                first, images = name, _allocate(source, len(names), image.shape)
            if image.shape[:2] != images.shape[1:3]:
                raise ValueError(
                    f"{source.where(name)}: image is {image.shape[0]}x{image.shape[1]}, {first} is "
                    f"{images.shape[1]}x{images.shape[2]}; pass size=(height, width) to resize all"
                )
            if image.shape[2] > images.shape[3]:
                images = np.repeat(images, 3, axis=3)  # grey so far, colour from here on
            images[place[name]] = image
    assert images is not None
    return images


def _allocate(source: Source, n: int, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.empty((n, *shape), dtype=np.uint8)
    except MemoryError:
        raise MemoryError(
            f"{source.path}: {n} images of {shape[0]}x{shape[1]} do not fit in memory; pass a smaller size="
        ) from None


def _decoded(
    source: Source, names: Sequence[str], size: tuple[int, int] | None, mode: str | None
) -> Generator[tuple[str, np.ndarray], None, None]:
    """Read in one thread, in the order of storage; decode in several, a bounded number of files ahead."""

    def decode(job: list[tuple[str, bytearray]]) -> list[tuple[str, np.ndarray]]:
        return [(name, _decode(content, source.where(name), size, mode)) for name, content in job]

    in_flight: deque[Future[list[tuple[str, np.ndarray]]]] = deque()
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="nnfast-decode")
    try:
        for begin in range(0, len(names), _FILES_PER_JOB):
            job = [(name, source.read(name, _MOST_FILE_BYTES)) for name in names[begin : begin + _FILES_PER_JOB]]
            in_flight.append(pool.submit(decode, job))
            if len(in_flight) == _JOBS_IN_FLIGHT:
                yield from in_flight.popleft().result()
        while in_flight:
            yield from in_flight.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decode(content: bytearray, where: str, size: tuple[int, int] | None, mode: str | None) -> np.ndarray:
    """Decode one file to uint8, (H, W, C)."""
    Image = _import_pillow()
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            area = image.width * image.height
            if Image.MAX_IMAGE_PIXELS is not None and area > Image.MAX_IMAGE_PIXELS:
                # Pillow itself only warns up to twice its limit.
                raise ValueError(f"{area} pixels, more than Pillow's limit of {Image.MAX_IMAGE_PIXELS}")
            natural = "L" if image.mode in _GREY_MODES else "RGB"
            if image.mode not in (*_GREY_MODES, *_COLOUR_MODES):
                # Pillow would clip 16-bit values at 255.
                raise ValueError(f"pixels of mode {image.mode} are not supported, expected 8 bits a channel")
            converted = image.convert(mode or natural)
            if size is not None and converted.size != size[::-1]:
                converted = converted.resize(size[::-1], Image.Resampling.BILINEAR)
            pixels = np.asarray(converted)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes Pillow's readers fail in any way whatever
        raise ValueError(f"{where}: not a readable image: {error}") from error
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def _import_pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading image files needs Pillow: pip install nnfast[data]") from error
    return Image


def _with_progress(items: Iterable[Any], total: int, progress: bool) -> Iterable[Any]:
    if not progress:
        return items
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, total=total, desc="decoding", unit="image", disable=None)
