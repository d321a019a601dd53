"""``nnfast.save`` and ``nnfast.load``: nested state in one safetensors file, without pickle.

Tensors and arrays are the file's tensors, named by their path (``optimizer.state.0.exp_avg``). Everything around them
is JSON in the metadata, where a tensor is ``{"$": "tensor", "name": ...}``. What JSON lacks is tagged in the same way:
tuples, dicts whose keys are not all strings, and floats that are not finite. So a plain state dict written by ``save``
is a plain safetensors file as well, and ``load`` reads plain files.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from nnfast.io.safetensors import as_array, as_tensor, read_arrays, write_arrays

KEY = "nnfast.state"  # of the JSON text in the metadata
TAG = "$"


def save(obj: Any, f: str | os.PathLike[str], keep: str | os.PathLike[str] | None = None) -> None:
    """Write nested state to a file, atomically.

    Parameters
    ----------
    obj : nested dict, list, tuple
        Of tensors, numpy arrays, strings, numbers, booleans and None.
    f : path
        Replaced as a whole or not at all.
    keep : path, optional
        Where the file that is replaced goes.

    Raises
    ------
    TypeError
        If ``obj`` holds something else; it names the place.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"epoch": 3, "betas": (0.9, 0.999), "state": {0: np.arange(2)}}, f"{folder}/state.safetensors")
    ...     load(f"{folder}/state.safetensors")
    {'epoch': 3, 'betas': (0.9, 0.999), 'state': {0: array([0, 1])}}
    """
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_encode(obj, (), arrays), allow_nan=False, separators=(",", ":"))
    write_arrays(f, arrays, {KEY: text}, keep)


def load(f: str | os.PathLike[str]) -> Any:
    """Read what ``save`` wrote, or the state dict in a plain safetensors file.

    Parameters
    ----------
    f : path

    Returns
    -------
    object
        Equal to what was saved, in fresh memory; an ordered dict is a dict.

    Raises
    ------
    ValueError
        If the file is not whole, or wrong; it names the file and the field.
    OSError
        If the file cannot be read.
    """
    arrays, metadata = read_arrays(f)
    if KEY not in metadata:
        return {name: as_tensor(f, name, array) for name, array in arrays.items()}
    try:
        return _decode(json.loads(metadata[KEY]), arrays, f)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{os.fspath(f)}: {KEY} is damaged ({error!r}), expected what nnfast.save writes") from None


def _encode(value: Any, place: tuple[str, ...], arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {TAG: "float", "value": str(float(value))}
    if isinstance(value, Mapping):
        items = {key: _encode(item, (*place, str(key)), arrays) for key, item in value.items()}
        if all(isinstance(key, str) for key in items) and TAG not in items:
            return items
        keys = [_encode(key, (*place, "key"), arrays) for key in items]
        return {TAG: "dict", "items": [list(pair) for pair in zip(keys, items.values(), strict=True)]}
    if isinstance(value, (list, tuple)):
        items_in_order = [_encode(item, (*place, str(i)), arrays) for i, item in enumerate(value)]
        return {TAG: "tuple", "items": items_in_order} if isinstance(value, tuple) else items_in_order
    name = _unused(".".join(place) or "value", arrays)
    try:
        arrays[name] = as_array("save", name, value)
    except TypeError as error:
        raise TypeError(f"{error}, or a string, number, boolean, None, dict, list or tuple") from None
    return {TAG: "array" if isinstance(value, np.ndarray) else "tensor", "name": name}


def _unused(name: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Give a name of its own to a tensor whose path reads like another's, e.g. {"a.b": x, "a": {"b": y}}."""
    while name in arrays or name == "__metadata__":
        name += "'"
    return name


def _decode(value: Any, arrays: Mapping[str, np.ndarray], path: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays, path) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: _decode(item, arrays, path) for key, item in value.items()}
    kind = value[TAG]
    if kind == "dict":
        return {_decode(key, arrays, path): _decode(item, arrays, path) for key, item in value["items"]}
    if kind == "tuple":
        return tuple(_decode(item, arrays, path) for item in value["items"])
    if kind == "float":
        return float(value["value"])
    if kind == "array":
        return arrays[value["name"]]
    if kind == "tensor":
        return as_tensor(path, value["name"], arrays[value["name"]])
    raise ValueError(f"unknown tag {kind!r}")
