"""The safetensors format: a checked JSON header, then the tensors' bytes. Nothing is ever unpickled.

The format is written and read here rather than by the ``safetensors`` package for three things that it does not give:
the same bytes for the same state (its metadata comes in random order), errors that name the file and the field, and
writing through ``write_atomically``. The package judges this module in the tests.

Layout (https://github.com/huggingface/safetensors): 8 bytes, the header's length as little-endian uint64; the header,
``{"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, "__metadata__": {"key": "text"}}``; the
data, to which the offsets refer, without holes.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, NoReturn

import numpy as np

from nnfast.io.atomic import write_atomically

if TYPE_CHECKING:
    from nnfast.tensor import Tensor

DTYPES = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "BF16": "<u2",
    "U32": "<u4", "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
}  # fmt: skip
NAMES = {np.dtype(code): name for name, code in DTYPES.items() if name != "BF16"}  # NumPy has no bfloat16

# What tensors lack, and what holds all of its values.
_WIDENED = {np.dtype(narrow): np.dtype(wide) for narrow, wide in (("<f2", "<f4"), ("<u2", "<i4"), ("<u4", "<i8"))}

# The format's own bound, so that whatever others may write can be read. Memory is bounded by the file's real size.
LONGEST_HEADER = 100_000_000
MOST_DIMENSIONS = 32  # NumPy 1's bound


def save_file(
    tensors: Mapping[str, Tensor | np.ndarray],
    filename: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a state dict; equal tensors and metadata give equal bytes.

    Parameters
    ----------
    tensors : mapping of str to Tensor or numpy.ndarray
        Written contiguous in the order of their shape (NCHW, OIHW), whatever their memory order, so that PyTorch and
        others read what they expect.
    filename : path
        Replaced as a whole or not at all.
    metadata : mapping of str to str, optional

    Raises
    ------
    TypeError
        If a value is no tensor, a name no string, or a dtype is none of the format's.
    OSError
        If the file cannot be written; one that was there before is untouched.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"weight": np.ones((2, 3), np.float32)}, f"{folder}/model.safetensors")
    ...     load_file(f"{folder}/model.safetensors")["weight"].numpy().tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    write_arrays(filename, {name: as_array("save_file", name, value) for name, value in tensors.items()}, metadata)


def load_file(filename: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict, written by nnfast, PyTorch or anyone.

    Parameters
    ----------
    filename : path

    Returns
    -------
    dict of str to Tensor
        Types that tensors do not have become the next wider one that they have: float16 and bfloat16 float32, uint16
        int32, uint32 int64.

    Raises
    ------
    ValueError
        If the file is not whole or its header is wrong; it names the file and the field.
    OSError
        If the file cannot be read.
    """
    return {name: as_tensor(filename, name, array) for name, array in read_arrays(filename)[0].items()}


def as_array(operation: str, name: Any, value: Any) -> np.ndarray:
    """Return a tensor's array, without copying it; refuse what the format cannot hold."""
    if not isinstance(name, str):
        raise TypeError(f"{operation}: a name is {name!r}, expected a string")
    if name == "__metadata__":
        raise TypeError(f"{operation}: a tensor is called '__metadata__', which the format reserves")
    if callable(getattr(value, "numpy", None)):
        value = (value.detach() if hasattr(value, "detach") else value).numpy()
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{operation}: {name} is {type(value).__name__}, expected Tensor or numpy.ndarray")
    if value.dtype.newbyteorder("<") not in NAMES:
        raise TypeError(f"{operation}: {name} is {value.dtype}, expected one of {', '.join(map(str, NAMES))}")
    return value


def as_tensor(path: str | os.PathLike[str], name: str, array: np.ndarray) -> Tensor:
    """Return a tensor of an array that was read, of the type that ``load_file`` names."""
    from nnfast.tensor import tensor

    if array.dtype == np.uint64:
        _refuse(path, f"{name}: dtype", "U64", "a type that tensors have, e.g. I64")
    return tensor(array.astype(_WIDENED.get(array.dtype, array.dtype), copy=False))


def write_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    keep: str | os.PathLike[str] | None = None,
) -> None:
    """Write arrays atomically; see ``save_file``, and ``write_atomically`` for ``keep``."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    # Wide types first, so that every array is aligned to its own size.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    end = 0
    for name in order:
        array = arrays[name]
        begin, end = end, end + array.nbytes
        dtype = NAMES[array.dtype.newbyteorder("<")]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST_HEADER:
        raise ValueError(f"{path}: header would have {len(text)} bytes, the format allows {LONGEST_HEADER}")
    with write_atomically(path, keep) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            array = arrays[name]
            # asarray, not ascontiguousarray: that one turns a scalar into a vector.
            file.write(np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C").data)


def read_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read all arrays and the metadata; the errors are those of ``load_file``."""
    with open(path, "rb") as file:
        entries, metadata, begin = _read_header(path, file)
        arrays = {}
        for name, entry in entries.items():
            file.seek(begin + entry.begin)
            stored: np.ndarray = np.empty(math.prod(entry.shape), DTYPES[entry.dtype])
            if file.readinto(stored.view(np.uint8).data) != stored.nbytes:
                _refuse(path, f"{name}: data_offsets", "the file became shorter while it was read", "a file at rest")
            try:
                stored = stored.reshape(entry.shape)
            except ValueError:  # sizes such as (0, 2**63), which hold nothing and yet fit no array
                _refuse(path, f"{name}: shape", list(entry.shape), "sizes that an array can have")
            arrays[name] = (stored.astype("<u4") << 16).view("<f4") if entry.dtype == "BF16" else stored
    return arrays, metadata


class _Entry(NamedTuple):
    """One tensor's place: its dtype's name, its shape, and its offsets in the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def _read_header(path: Any, file: BinaryIO) -> tuple[dict[str, _Entry], dict[str, str], int]:
    """Return the checked entries in the order of their data, the metadata, and where the data begin."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if len(start) < 8:
        _refuse(path, "header length", f"{len(start)} bytes", "8 bytes; the file is truncated or another one")
    (length,) = struct.unpack("<Q", start)
    if length > LONGEST_HEADER or length > size - 8:
        _refuse_pickles(path, start)
        _refuse(path, "header length", length, f"at most {min(LONGEST_HEADER, size - 8)}: the file has {size} bytes")
    header = _parse(path, file.read(length))
    metadata = _checked_metadata(path, header.pop("__metadata__", {}))
    entries = {name: _checked_entry(path, name, entry) for name, entry in header.items()}
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    position, available = 0, size - 8 - length
    for name, entry in ordered.items():
        if entry.begin != position:
            _refuse(path, f"{name}: data_offsets", [entry.begin, entry.end], f"to begin at {position}, without holes")
        position = entry.end
    if position != available:
        _refuse(path, "data", f"{available} bytes", f"{position}, the end of the last tensor")
    return ordered, metadata, 8 + length


def _parse(path: Any, text: bytes) -> dict[str, Any]:
    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in found if names.count(name) > 1)
            raise ValueError(f"the name {twice!r} stands twice")
        return found

    try:
        header = json.loads(text.decode(), object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError) as error:
        _refuse(path, "header", error, "JSON")
    if not isinstance(header, dict):
        _refuse(path, "header", type(header).__name__, "a JSON object")
    return header


def _checked_metadata(path: Any, metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse(path, "__metadata__", _short(metadata), "an object that maps names to strings")
    return metadata


def _checked_entry(path: Any, name: str, entry: Any) -> _Entry:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _refuse(path, name, _short(entry), "an object with dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        _refuse(path, f"{name}: dtype", _short(dtype), f"one of {', '.join(DTYPES)}")
    if not _are_sizes(shape) or len(shape) > MOST_DIMENSIONS:
        _refuse(path, f"{name}: shape", _short(shape), f"at most {MOST_DIMENSIONS} integers that are not negative")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        _refuse(path, f"{name}: data_offsets", _short(offsets), "[begin, end]")
    needed = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if offsets[1] - offsets[0] != needed:
        _refuse(path, f"{name}: data_offsets", f"{offsets[1] - offsets[0]} bytes",
                f"{needed} for {dtype} of shape {_short(shape)}")  # fmt: skip
    return _Entry(dtype, tuple(shape), *offsets)


def _are_sizes(values: Any) -> bool:
    # type() rather than isinstance(): JSON's true is no size. The bound keeps products of sizes short.
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _refuse_pickles(path: Any, start: bytes) -> None:
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise ValueError(
            f"{path}: this looks like a file of torch.save, a pickle, which could run code; nnfast reads safetensors. "
            "Convert it with PyTorch: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _refuse(path: Any, field: str, found: Any, expected: str) -> NoReturn:
    raise ValueError(f"{os.fspath(path)}: {field} is {found}, expected {expected}")
