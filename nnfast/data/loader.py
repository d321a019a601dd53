"""Batches in a reproducible order, loaded ahead by threads.

Two promises hold here, and the rest of the file serves them. The order of epoch e is a function of (seed, e), and the
random numbers of a transform are a function of (seed, e, batch): so any ``num_workers``, and a run resumed in the
middle of an epoch, see the same bits. And a loop that is left early, or fails, leaves no thread behind.
"""

from __future__ import annotations

import itertools
import operator
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from nnfast.data.collate import as_tensors, collate_arrays, default_collate
from nnfast.data.loader_arguments import check_dataset, check_order, check_workers
from nnfast.data.order import generator_for, permutation
from nnfast.data.subset import takes_batches
from nnfast.data.transforms import draws

# What a derived random stream is for; part of its key, so that order and augmentation are independent.
ORDER, TRANSFORM = 0, 1


class _Epoch(NamedTuple):
    """What one iteration depends on, fixed when it begins; setting the loader's seed later does not reach into it."""

    seed: int
    number: int


class _WorkerTimeout(RuntimeError):
    """PyTorch raises RuntimeError here; a type of its own tells it from one that the data set raised."""


class DataLoader:
    """Iterate over a data set in batches; arguments and defaults are those of ``torch.utils.data.DataLoader``.

    Workers are threads: nothing is pickled, and ``worker_init_fn`` and the data set run in this process. Random
    numbers drawn inside ``dataset[i]`` come from wherever it takes them, hence in no fixed order with workers;
    ``transform`` is where reproducible augmentation belongs.

    Parameters
    ----------
    dataset : Dataset
        With ``__getitem__`` and ``__len__``; iterable-style data sets are not supported. Array-backed ones are cut
        into batches by ``take``, others through ``__getitems__`` if they have it, else sample by sample.
    batch_size : int, default 1
        PyTorch's ``None`` (no batching) is not supported.
    shuffle : bool, default False
        A new order each epoch.
    sampler : iterable of index, optional
        Gives the order, in place of ``shuffle``.
    batch_sampler : iterable of list of index, optional
        Gives the batches, in place of batch_size, shuffle, sampler and drop_last.
    num_workers : int, default 0
        Threads that load ahead; 0 loads in the caller's.
    collate_fn : callable, optional
        From a list of samples to a batch. Default: ``default_collate``.
    pin_memory : bool, default False
        Warns and does nothing, as in PyTorch on a machine without an accelerator.
    drop_last : bool, default False
        Leave out a last batch that is not full.
    timeout : float, default 0
        Seconds to wait for a worker's batch before RuntimeError; 0 waits for ever. Needs workers.
    worker_init_fn : callable, optional
        Called with the worker's number, in its thread, before its first batch.
    multiprocessing_context : None
        There are no processes: anything else is an error.
    generator : numpy.random.Generator, optional
        Where the seed is drawn from, once.
    prefetch_factor : int, optional
        Batches loaded ahead by each worker, default 2. Needs workers.
    persistent_workers : bool, default False
        Accepted if there are workers, without effect: threads start in microseconds and keep no state between epochs.
    transform : callable, optional
        ``transform(images, generator) -> images`` on each batch's first array, float32 of shape (N, C, H, W), before
        it becomes a tensor; see ``nnfast.data.transforms``. ``generator`` belongs to the seed, epoch and batch.
    seed : int, optional
        Of order and transforms. Default: drawn from ``generator`` or nnfast's global generator at first need.

    Attributes
    ----------
    epoch : int
        The epoch that the next iteration will run.
    seed : int
        May be read (to store it in a checkpoint) and set (to resume from one).
    seed_given : bool
        Whether it follows from the arguments, rather than from nnfast's global generator.

    Raises
    ------
    ValueError
        For arguments that are out of range or exclude one another.
    TypeError
        If ``dataset`` cannot be indexed.

    Examples
    --------
    >>> from nnfast.data import ArrayDataset
    >>> data = ArrayDataset(np.zeros((10, 1, 8, 8), dtype=np.uint8), np.arange(10))
    >>> loader = DataLoader(data, batch_size=4, shuffle=True, seed=0, num_workers=2)
    >>> len(loader), [tuple(x.shape) for x, y in loader]
    (3, [(4, 1, 8, 8), (4, 1, 8, 8), (2, 1, 8, 8)])
    >>> loader.set_epoch(3)
    >>> whole = [y.numpy().tolist() for x, y in loader]
    >>> loader.set_epoch(3)
    >>> [y.numpy().tolist() for x, y in loader.batches(start=1)] == whole[1:]
    True
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = False,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Sequence[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: None = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        transform: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
        seed: int | None = None,
    ) -> None:
        check_dataset(dataset, shuffle, sampler, batch_sampler)
        check_order(batch_size, shuffle, sampler, batch_sampler, drop_last)
        check_workers(
            num_workers,
            timeout,
            prefetch_factor,
            persistent_workers,
            multiprocessing_context,
        )
        if pin_memory:
            warnings.warn(
                "DataLoader: pin_memory=True has no effect, there is no device but the CPU",
                stacklevel=2,
            )
        if transform is not None and collate_fn is not None:
            raise ValueError("DataLoader: transform excludes collate_fn; call the transform inside collate_fn")
        if generator is not None and seed is not None:
            raise ValueError("DataLoader: got both generator and seed, expected one of them")
        if generator is not None and not callable(getattr(generator, "integers", None)):
            raise TypeError(
                f"DataLoader: generator is {type(generator).__name__}, expected a numpy.random.Generator; "
                "for a number use seed="
            )
        self.dataset = dataset
        self.batch_size = None if batch_sampler is not None else batch_size
        self.shuffle = bool(shuffle)
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = default_collate if collate_fn is None else collate_fn
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.generator = generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.transform = transform
        self.epoch = 0
        self.seed_given = seed is not None or generator is not None
        self._seed: int | None = None
        if seed is not None:
            self.seed = seed

    @property
    def seed(self) -> int:
        """The seed of order and transforms; drawn now if none was given."""
        if self._seed is None:
            generator = self.generator
            if generator is None:
                from nnfast.random import default_generator

                generator = default_generator()
            self._seed = int(generator.integers(2**63))
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        if not hasattr(seed, "__index__") or operator.index(seed) < 0:
            raise ValueError(f"DataLoader: seed is {seed!r}, expected an integer that is not negative")
        self._seed = operator.index(seed)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration runs; those after it count on from there.

        Also calls ``set_epoch`` of the sampler or batch sampler, if it has one.

        Parameters
        ----------
        epoch : int
            From 0.
        """
        if not hasattr(epoch, "__index__") or operator.index(epoch) < 0:
            raise ValueError(f"DataLoader.set_epoch: epoch is {epoch!r}, expected an integer that is not negative")
        self.epoch = operator.index(epoch)
        for source in (self.sampler, self.batch_sampler):
            if callable(getattr(source, "set_epoch", None)):
                source.set_epoch(self.epoch)  # type: ignore[union-attr]

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        assert self.batch_size is not None
        samples = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        return self.batches()

    def batches(self, start: int = 0) -> Iterator[Any]:
        """Iterate over the next epoch from batch ``start`` on; the batches before it are not loaded.

        Parameters
        ----------
        start : int, default 0
            0..len(self).

        Returns
        -------
        iterator
            Of what ``collate_fn`` returns; by default a list ``[images, labels]`` of tensors.

        Raises
        ------
        ValueError
            If ``start`` is out of range.
        """
        if start < 0 or (start > 0 and hasattr(self._index_source(), "__len__") and start > len(self)):
            raise ValueError(f"DataLoader.batches: start is {start}, expected 0..{len(self)}")
        # A seed is drawn only for those who need one, and here, where no two threads could both draw.
        epoch = _Epoch(self.seed if self.shuffle or self.transform is not None else 0, self.epoch)
        self.epoch += 1
        _keep_memory()
        return self._load_ahead(epoch, start) if self.num_workers else self._load_in_turn(epoch, start)

    def _index_source(self) -> Any:
        for source in (self.batch_sampler, self.sampler):
            if source is not None:
                return source
        return self.dataset

    def _load_in_turn(self, epoch: _Epoch, start: int) -> Iterator[Any]:
        for number, indices in self._numbered_indices(epoch, start):
            yield self._batch(epoch, number, indices)

    def _load_ahead(self, epoch: _Epoch, start: int) -> Iterator[Any]:
        """Keep ``num_workers * prefetch_factor`` batches in flight and give them out in order."""
        worker_numbers, worker = itertools.count(), threading.local()

        def load(number: int, indices: Any) -> Any:
            if not hasattr(worker, "number"):
                worker.number = next(worker_numbers)
                if self.worker_init_fn is not None:
                    self.worker_init_fn(worker.number)
            return self._batch(epoch, number, indices)

        assert self.prefetch_factor is not None
        in_flight: deque[Future[Any]] = deque()
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="nnfast-data")
        stuck = False
        try:
            for number, indices in self._numbered_indices(epoch, start):
                in_flight.append(pool.submit(load, number, indices))
                if len(in_flight) == self.num_workers * self.prefetch_factor:
                    yield self._finished(in_flight.popleft())
            while in_flight:
                yield self._finished(in_flight.popleft())
        except _WorkerTimeout:
            stuck = True
            raise
        finally:
            # Also reached when the loop is left early: the generator is closed then. A stuck thread cannot be
            # stopped, so waiting for it would turn the timeout into a hang.
            pool.shutdown(wait=not stuck, cancel_futures=True)

    def _finished(self, batch: Future[Any]) -> Any:
        try:
            return batch.result(self.timeout or None)
        except FutureTimeout:
            if batch.done():  # finished just now, or the data set itself raised a TimeoutError
                return batch.result()
            raise _WorkerTimeout(f"DataLoader: no batch after timeout = {self.timeout} seconds") from None

    def _numbered_indices(self, epoch: _Epoch, start: int) -> Iterator[tuple[int, Any]]:
        return itertools.islice(enumerate(self._index_batches(epoch)), start, None)

    def _index_batches(self, epoch: _Epoch) -> Iterable[Any]:
        if self.batch_sampler is not None:
            yield from self.batch_sampler
            return
        assert self.batch_size is not None
        if self.sampler is not None:
            indices = iter(self.sampler)
            while chunk := list(itertools.islice(indices, self.batch_size)):
                if len(chunk) == self.batch_size or not self.drop_last:
                    yield chunk
            return
        n = len(self.dataset)
        order = permutation(n, epoch.seed, ORDER, epoch.number) if self.shuffle else np.arange(n)
        for begin in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[begin : begin + self.batch_size]

    def _batch(self, epoch: _Epoch, number: int, indices: Any) -> Any:
        if self.collate_fn is not default_collate:
            return self.collate_fn(self._samples(indices))
        if takes_batches(self.dataset):
            batch: Any = list(self.dataset.take(_as_index_array(indices)))
        else:
            batch = collate_arrays(self._samples(indices))
        if self.transform is not None:
            generator = generator_for(epoch.seed, TRANSFORM, epoch.number, number) if draws(self.transform) else None
            batch = self._transformed(batch, generator)
        return as_tensors(batch)

    def _samples(self, indices: Any) -> list[Any]:
        keys = indices.tolist() if isinstance(indices, np.ndarray) else list(indices)
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.dataset.__getitems__(keys)
        return [self.dataset[key] for key in keys]

    def _transformed(self, batch: Any, generator: np.random.Generator | None) -> Any:
        if isinstance(batch, np.ndarray):
            return _apply(self.transform, batch, generator)
        if isinstance(batch, list) and batch and isinstance(batch[0], np.ndarray):
            return [_apply(self.transform, batch[0], generator), *batch[1:]]
        raise TypeError(
            f"DataLoader: transform needs samples that are images or tuples that begin with one, got a batch that is "
            f"{type(batch).__name__}; use collate_fn="
        )


@cache
def _keep_memory() -> None:
    """Make the C library keep the memory of batches for the next ones, rather than give it back to the system.

    glibc maps blocks that are larger than any it has unmapped so far (up to 32 MB), and gives back what is free beyond
    twice that. Each batch would then cost its page faults, 0.4 ms for 128 images of 28x28. The block here is never
    touched: it costs address space, for a moment.
    """
    np.empty(31 << 20, np.uint8)


def _apply(transform: Any, images: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
    result = transform(images, generator)
    if not isinstance(result, np.ndarray) or result.shape[:1] != images.shape[:1]:
        found = f"shape {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
        raise TypeError(
            f"DataLoader: transform {transform!r} returned {found}, expected a numpy.ndarray of {len(images)} images"
        )
    return result


def _as_index_array(indices: Any) -> np.ndarray:
    if isinstance(indices, np.ndarray):
        return indices
    return np.array([operator.index(index) for index in indices], dtype=np.int64)
