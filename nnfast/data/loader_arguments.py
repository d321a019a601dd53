"""What a DataLoader refuses, and in which words."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_dataset(dataset: Any, shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
    """Refuse what cannot be indexed, has no length, or cannot be shuffled."""
    if not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"DataLoader: dataset is {type(dataset).__name__} without __getitem__; "
            "iterable-style data sets are not supported"
        )
    if sampler is None and batch_sampler is None and not hasattr(dataset, "__len__"):
        raise TypeError(f"DataLoader: dataset is {type(dataset).__name__} without __len__, expected one or a sampler")
    if shuffle and len(dataset) == 0:
        raise ValueError("DataLoader: dataset is empty, expected at least one sample to shuffle")


def check_order(batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: Any) -> None:
    """Refuse arguments that do not say one order and one batch size."""
    if shuffle not in (True, False, None):
        raise ValueError(f"DataLoader: shuffle is {shuffle!r}, expected True or False")
    if drop_last is not True and drop_last is not False:
        raise ValueError(f"DataLoader: drop_last is {drop_last!r}, expected True or False")
    if sampler is not None and shuffle:
        raise ValueError("DataLoader: sampler excludes shuffle=True")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError("DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last")
        return
    if batch_size is None:
        raise ValueError("DataLoader: batch_size=None (no batching) is not supported; iterate over the dataset itself")
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"DataLoader: batch_size is {batch_size!r}, expected a positive integer")


def check_workers(
    num_workers: Any,
    timeout: Any,
    prefetch_factor: Any,
    persistent_workers: Any,
    multiprocessing_context: Any,
) -> None:
    """Refuse what threads do not do, and workers' arguments without workers."""
    if not hasattr(num_workers, "__index__") or num_workers < 0:
        raise ValueError(f"DataLoader: num_workers is {num_workers!r}, expected an integer that is not negative")
    if timeout < 0:
        raise ValueError(f"DataLoader: timeout is {timeout!r}, expected a number that is not negative")
    if prefetch_factor is not None and (not hasattr(prefetch_factor, "__index__") or prefetch_factor < 1):
        raise ValueError(f"DataLoader: prefetch_factor is {prefetch_factor!r}, expected a positive integer")
    if num_workers == 0:
        for name, given in (
            ("timeout", timeout != 0),
            ("prefetch_factor", prefetch_factor is not None),
            ("persistent_workers", persistent_workers),
        ):
            if given:
                raise ValueError(f"DataLoader: {name} needs workers, got num_workers = 0")
    if multiprocessing_context is not None:
        raise ValueError(
            f"DataLoader: multiprocessing_context is {multiprocessing_context!r}, expected None: workers are threads"
        )
