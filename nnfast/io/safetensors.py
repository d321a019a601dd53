"""The safetensors format, written and read by the ``safetensors`` package. Nothing is ever unpickled.

What the package leaves to do: files replaced as a whole (``write_atomically``), and errors that name the file and the
field, for which the header is checked before the package reads it.

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
from typing import TYPE_CHECKING, Any, NoReturn

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
    """Write a state dict; equal tensors give equal bytes (the order of several metadata is not fixed).

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
    from safetensors.numpy import save

    # asarray, not ascontiguousarray: that one turns a scalar into a vector.
    content = save({name: np.asarray(array, order="C") for name, array in arrays.items()}, dict(metadata or {}))
    with write_atomically(path, keep) as file:
        file.write(content)


def read_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read all arrays and the metadata; the errors are those of ``load_file``."""
    from safetensors import SafetensorError, deserialize

    with open(path, "rb") as file:
        content = file.read()
    metadata = _checked_header(path, content)
    try:
        stored = dict(deserialize(content))
    except SafetensorError as error:
        _refuse(path, "content", error, "a whole safetensors file")
    arrays = {}
    for name, entry in stored.items():
        try:
            array = np.frombuffer(entry["data"], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        except ValueError:  # sizes such as (0, 2**63), which hold nothing and yet fit no array
            _refuse(path, f"{name}: shape", entry["shape"], "sizes that an array can have")
        arrays[name] = (array.astype("<u4") << 16).view("<f4") if entry["dtype"] == "BF16" else array
    return arrays, metadata


def _checked_header(path: Any, content: bytes) -> dict[str, str]:
    """Return the metadata of a file whose header agrees with itself and with the file's size."""
    size = len(content)
    if size < 8:
        _refuse(path, "header length", f"{size} bytes", "8 bytes; the file is truncated or another one")
    (length,) = struct.unpack_from("<Q", content)
    if length > LONGEST_HEADER or length > size - 8:
        _refuse_pickles(path, content)
        _refuse(path, "header length", length, f"at most {min(LONGEST_HEADER, size - 8)}: the file has {size} bytes")
    header = _parse(path, content[8 : 8 + length])
    metadata = _checked_metadata(path, header.pop("__metadata__", {}))
    places = sorted((_checked_offsets(path, name, entry), name) for name, entry in header.items())
    position, available = 0, size - 8 - length
    for (begin, end), name in places:
        if begin != position:
            _refuse(path, f"{name}: data_offsets", [begin, end], f"to begin at {position}, without holes")
        position = end
    if position != available:
        _refuse(path, "data", f"{available} bytes", f"{position}, the end of the last tensor")
    return metadata


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


def _checked_offsets(path: Any, name: str, entry: Any) -> tuple[int, int]:
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
    return offsets[0], offsets[1]


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
