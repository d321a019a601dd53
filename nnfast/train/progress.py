"""A progress bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Any, TextIO

import numpy as np

from nnfast.kernels.backends import current_backend
from nnfast.train.callbacks import Callback, Logs
from nnfast.train.compiling import Compiling
from nnfast.train.tiers import active

_REFRESH = 0.1  # seconds between two looks of the bar
_LOOK = 1.0  # seconds between two looks how many kernels are compiled
_RECENT = 100  # steps that the speed is a median of; those that are captured or interrupted do not count then


class ProgressBar(Callback):
    """Show how training goes: a bar while an epoch runs (on a terminal only), and a line when it is over.

    Images/s are those of training steps alone, without loading and validation. Both say which backend's kernels run.
    While the first epoch waits for kernels that are being compiled, or runs on Cython's until they are, the bar, or a
    line, says so.

    Parameters
    ----------
    stream : text stream, optional
        Where the lines go; default standard output. The bar goes to standard error, so that the lines alone end up in
        a file or a pipe.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream
        self._bar: Any = None
        self._backend = self._progress = ""
        self._seconds_an_image: deque[float] = deque(maxlen=_RECENT)
        self._began = self._shown = self._looked = 0.0
        self._samples = 0
        self._compiling: Compiling | None = None
        self._told_compiling = False
        self._first = True

    def on_train_begin(self, logs: Logs) -> None:
        self._first = True
        self._seconds_an_image.clear()

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        trainer = self.trainer
        self._samples = trainer.samples
        self._first = self._first or current_backend() != self._backend
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                desc=self._title(epoch), initial=trainer.batch, total=trainer.batches, unit="batch", leave=False,
                dynamic_ncols=True, file=sys.stderr,
            )  # fmt: skip
        if self._first:
            self._compiling = Compiling(self._tell_compiling)

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        now, samples = time.perf_counter(), self.trainer.samples
        self._seconds_an_image.append((now - self._began) / max(1, samples - self._samples))
        self._samples = samples
        if self._first:
            self._seconds_an_image.clear()
            self._first, self._backend = False, current_backend()
            self._tell_tiers()
        if self._bar is not None:
            self._bar.update(1)
            if now - self._shown >= _REFRESH:
                self._shown = now
                self._bar.set_postfix_str(", ".join([*_pairs(logs), self._speed(), self._description()]))

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._close()
        values = "  ".join(f"{name} {text}" for name, text in _formatted(logs).items())
        seconds = self.trainer.history.history["seconds"][-1]
        self._print(f"{self._title(epoch)}  {values}  {seconds:.1f} s  {self._speed()}  "
                    f"{self.trainer.history.backend[-1]}")  # fmt: skip

    def on_exception(self, error: BaseException) -> None:
        self._close()

    def _title(self, epoch: int) -> str:
        width = len(str(self.trainer.epochs))
        return f"epoch {epoch + 1:{width}}/{self.trainer.epochs}"

    def _speed(self) -> str:
        if not self._seconds_an_image:
            return "- images/s"
        return f"{1 / float(np.median(self._seconds_an_image)):,.0f} images/s"

    def _description(self) -> str:
        """Which kernels run, and while better ones are being compiled, how many of them there are."""
        mode = f"{current_backend()} {'compiled' if self.trainer.compiled else 'eager'}"
        tiers = active()
        if tiers is None or not tiers.waiting:
            return mode
        now = time.perf_counter()
        if now - self._looked >= _LOOK:
            self._looked, self._progress = now, tiers.progress()
        return f"{mode}, compiling numba: {self._progress}" if self._progress else mode

    def _tell_tiers(self) -> None:
        tiers = active()
        if self._bar is None and tiers is not None and tiers.waiting:
            self._print("cython, until the kernels of numba are compiled, once for this machine ...")

    def _tell_compiling(self, kernels: int) -> None:
        """Called from another thread while this one waits for kernels, mostly in the first step."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"compiling kernels: {kernels}")
        elif not self._told_compiling:
            self._told_compiling = True
            self._print("compiling kernels, once for this machine ...")

    def _print(self, line: str) -> None:
        print(line, file=self.stream or sys.stdout, flush=True)

    def _close(self) -> None:
        if self._compiling is not None:
            self._compiling.end()
            self._compiling = None
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _pairs(logs: Logs) -> list[str]:
    return [f"{name}={text}" for name, text in _formatted(logs).items()]


def _formatted(logs: Logs) -> dict[str, str]:
    return {
        name: f"{value:.2%}" if name.endswith("accuracy") else f"{value:.3g}" if name == "lr" else f"{value:.4f}"
        for name, value in logs.items()
    }
