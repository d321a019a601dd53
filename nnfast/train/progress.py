"""A progress bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from nnfast.train.callbacks import Callback, Logs


class ProgressBar(Callback):
    """Show how training goes: a bar while an epoch runs (on a terminal only), and a line when it is over.

    Parameters
    ----------
    stream : text stream, optional
        Where the lines go; default standard output. The bar goes to standard error, so that the lines alone end up in
        a file or a pipe.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream
        self._bar: Any = None

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        if not sys.stderr.isatty():
            return
        from tqdm import tqdm

        trainer = self.trainer
        self._bar = tqdm(
            desc=self._title(epoch), initial=trainer.batch, total=trainer.batches, unit="batch", leave=False,
            dynamic_ncols=True, file=sys.stderr,
        )  # fmt: skip

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        if self._bar is not None:
            self._bar.set_postfix(_formatted(logs), refresh=False)
            self._bar.update(1)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._close()
        values = "  ".join(f"{name} {text}" for name, text in _formatted(logs).items())
        seconds = self.trainer.history.history["seconds"][-1]
        print(f"{self._title(epoch)}  {values}  {seconds:.1f} s", file=self.stream or sys.stdout, flush=True)

    def on_exception(self, error: BaseException) -> None:
        self._close()

    def _title(self, epoch: int) -> str:
        width = len(str(self.trainer.epochs))
        return f"epoch {epoch + 1:{width}}/{self.trainer.epochs}"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _formatted(logs: Logs) -> dict[str, str]:
    return {
        name: f"{value:.2%}" if name.endswith("accuracy") else f"{value:.3g}" if name == "lr" else f"{value:.4f}"
        for name, value in logs.items()
    }
