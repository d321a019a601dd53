"""What happened in each epoch: in memory, and as a CSV file."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping
from typing import Any

from nnfast.io.atomic import write_atomically
from nnfast.kernels.backends import current_backend
from nnfast.train.callbacks import Callback, Logs


class History(Callback):
    """Every epoch's logs, as ``Trainer.fit`` returns them.

    Attributes
    ----------
    epoch : list of int
        The epochs, from 0.
    history : dict of str to list of float
        ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``, ``lr`` and ``seconds``, which is wall time including
        validation and without interruptions; one value for each epoch.
    compiled : list of bool
        Whether each epoch's training steps were compiled.
    backend : list of str
        Whose kernels ran each epoch: ``numba``, ``cython`` or ``reference``; ``cython+numba`` for an epoch that was
        interrupted and went on with others.
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}
        self.compiled: list[bool] = []
        self.backend: list[str] = []
        self._before = 0.0  # seconds of the current epoch that passed before a resume
        self._ran_before: list[str] = []  # backends of that time
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.epoch.append(epoch)
        self.compiled.append(self.trainer.compiled)
        self.backend.append("+".join(self._ran()))
        for name, value in {**logs, "seconds": self._elapsed()}.items():
            self.history.setdefault(name, []).append(value)
        self._before = self._began = 0.0
        self._ran_before = []

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": list(self.epoch),
            "history": self.history,
            "compiled": list(self.compiled),
            "backend": list(self.backend),
            "elapsed": self._elapsed(),
            "ran": self._ran(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch = list(state["epoch"])
        self.history = {name: list(values) for name, values in state["history"].items()}
        self.compiled = list(state.get("compiled", [False] * len(self.epoch)))  # older checkpoints ran eagerly
        self.backend = list(state.get("backend", ["unknown"] * len(self.epoch)))
        self._before = state["elapsed"]
        self._ran_before = list(state.get("ran", []))

    def _elapsed(self) -> float:
        return self._before + (time.perf_counter() - self._began if self._began else 0.0)

    def _ran(self) -> list[str]:
        """The backends that ran the current epoch so far."""
        return list(dict.fromkeys([*self._ran_before, *([current_backend()] if self._began else [])]))


class CSVLogger(Callback):
    """Write every epoch's logs to a CSV file, with a header; times are left out.

    The file is replaced as a whole after each epoch. Its numbers are written so that reading gives the same floats;
    a run with a seed that was stopped and resumed leaves the same bytes as one that never was.

    Parameters
    ----------
    filename : path
    separator : str, default ","

    Raises
    ------
    OSError
        If the file cannot be written.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",") -> None:
        self.filename = filename
        self.separator = separator
        self._rows: list[dict[str, float]] = []

    def on_train_begin(self, logs: Logs) -> None:
        if not self.trainer.resumed:
            self._rows = []

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._rows.append({"epoch": epoch, **logs})
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, delimiter=self.separator, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        with write_atomically(self.filename) as file:
            file.write(text.getvalue().encode())

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rows = [dict(row) for row in state["rows"]]
