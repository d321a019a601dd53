"""From a list of samples to a batch, by the rules of ``torch.utils.data.default_collate``.

It goes in two steps, samples -> arrays -> tensors, because batch transforms work on the arrays in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnfast.data.memory import channels_last


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack samples into tensors.

    Parameters
    ----------
    batch : sequence
        Samples of one structure. Tensors, arrays and numbers are stacked along a new first dimension (float gives
        float64 and int gives int64, as in PyTorch); tuples and lists become a list, named tuples and mappings keep
        their type; strings and bytes stay a list.

    Returns
    -------
    Tensor, list, tuple, dict
        The samples' structure, with a batch in each place.

    Raises
    ------
    TypeError
        If a sample holds something else, e.g. None or a PIL image.
    RuntimeError
        If samples differ in shape or length.

    Examples
    --------
    >>> x, y = default_collate([(np.zeros((3, 8, 8), np.float32), 0), (np.ones((3, 8, 8), np.float32), 1)])
    >>> tuple(x.shape), tuple(y.shape)
    ((2, 3, 8, 8), (2,))
    """
    return as_tensors(collate_arrays(batch))


def collate_arrays(batch: Sequence[Any]) -> Any:
    """Do what ``default_collate`` does, with NumPy arrays in place of tensors; 4-D ones in channels-last memory."""
    from nnfast.tensor import Tensor

    first = batch[0]
    if isinstance(first, Tensor):
        return _stack([sample.numpy() for sample in batch])
    if isinstance(first, (np.ndarray, np.generic)) and first.dtype.kind in "biufc":
        return _stack([np.asarray(sample) for sample in batch])
    if isinstance(first, bool):
        return np.array(batch, dtype=np.bool_)
    if isinstance(first, int):
        return np.array(batch, dtype=np.int64)
    if isinstance(first, float):
        return np.array(batch, dtype=np.float64)
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return _same_mapping(
            first,
            {key: collate_arrays([sample[key] for sample in batch]) for key in first},
        )
    if isinstance(first, Sequence):
        return _collate_sequences(batch)
    found = f"arrays of {first.dtype}" if isinstance(first, (np.ndarray, np.generic)) else type(first).__name__
    raise TypeError(
        f"default_collate: samples hold {found}, expected tensors, numpy arrays, numbers, strings, dicts or lists; "
        "for anything else pass collate_fn="
    )


def as_tensors(batch: Any) -> Any:
    """Turn each array in a nested batch into a tensor; arrays are handed over, not copied."""
    from nnfast.tensor import from_numpy

    if isinstance(batch, np.ndarray):
        return from_numpy(batch)
    if isinstance(batch, Mapping):
        return _same_mapping(batch, {key: as_tensors(value) for key, value in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(as_tensors(value) for value in batch))
    if isinstance(batch, list):
        return [as_tensors(value) for value in batch]
    return batch


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise RuntimeError(f"default_collate: samples have shapes {sorted(shapes)}, expected all the same")
    if arrays[0].ndim == 3:
        # With out=, because np.stack alone would copy the inputs' memory order and need a second copy.
        c, h, w = arrays[0].shape
        nhwc = np.empty((len(arrays), h, w, c), dtype=np.result_type(*arrays))
        return np.stack([array.transpose(1, 2, 0) for array in arrays], out=nhwc).transpose(0, 3, 1, 2)
    stacked = np.stack(arrays)
    return channels_last(stacked) if stacked.ndim == 4 else stacked


def _collate_sequences(batch: Sequence[Any]) -> Any:
    lengths = {len(sample) for sample in batch}
    if len(lengths) > 1:
        raise RuntimeError(f"default_collate: samples have lengths {sorted(lengths)}, expected all the same")
    columns = [collate_arrays(column) for column in zip(*batch, strict=True)]
    first = batch[0]
    return type(first)(*columns) if isinstance(first, tuple) and hasattr(first, "_fields") else columns


def _same_mapping(like: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    try:
        return type(like)(values)  # type: ignore[call-arg]
    except TypeError:  # a mapping whose constructor takes something else, e.g. a defaultdict's factory
        return values
