"""Where the time of training steps goes, seen from a training loop."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any, TextIO

from nnfast.train.callbacks import Callback, Logs

WARM_UP = 5  # steps before the profiled ones: they are captured, and kernels are compiled and chosen
STEPS = 20


class ProfileSteps(Callback):
    """Profile some steps of an epoch; write a trace when they are over, and a table at the end of the epoch.

    Parameters
    ----------
    trace : path
        Of a file in Chrome's trace format.
    stream : text stream, optional
        Where the table goes; None leaves it out.
    warm_up, steps : int
        How many steps of ``fit`` come before, and how many are profiled; fewer where the epoch ends, and never its
        last.

    Attributes
    ----------
    profile : what ``nnfast.profile`` gave, or None before.
    """

    def __init__(
        self,
        trace: str | os.PathLike[str],
        stream: TextIO | None = None,
        warm_up: int = WARM_UP,
        steps: int = STEPS,
    ) -> None:
        self.trace, self.stream = trace, stream
        self.warm_up, self.steps = warm_up, steps
        self.profile: Any = None
        self._open = ExitStack()
        self._seen = self._begin = self._profiled = 0
        self._over = self._told = False

    def on_train_begin(self, logs: Logs) -> None:
        self.profile = None
        self._seen = self._profiled = 0
        self._over = self._told = False

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        if 1 < self.trainer.batches == batch + 1:  # may be a smaller batch, which has a plan of its own
            self._finish()
        elif self.profile is None and self._seen >= self.warm_up:
            import nnfast

            self._begin = batch
            profile: Any = nnfast.profile
            self.profile = self._open.enter_context(profile())

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        self._seen += 1
        if self.profile is not None and not self._over:
            self._profiled += 1
            if self._profiled == self.steps:
                self._finish()

    def on_test_begin(self, logs: Logs) -> None:
        self._finish()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._finish()
        if self._over and not self._told:
            batches = f"batches {self._begin + 1} to {self._begin + self._profiled} of epoch {epoch + 1}"
            mode = "compiled" if self.trainer.compiled else "eager"
            self._tell(f"profile of {batches}, {mode}; trace in {os.fspath(self.trace)}\n{self.profile.table()}")

    def on_train_end(self, logs: Logs) -> None:
        if not self._told:
            self._tell(f"nothing was profiled: training had {self._seen} steps, the first {self.warm_up} to warm up")

    def on_exception(self, error: BaseException) -> None:
        self._finish()

    def _finish(self) -> None:
        if self.profile is None or self._over:
            return
        self._open.close()
        self._over = True
        if self._profiled:
            self.profile.trace(self.trace)

    def _tell(self, text: str) -> None:
        self._told = True
        if self.stream is not None:
            print(text, file=self.stream, flush=True)
