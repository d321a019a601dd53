"""What a run leaves on disk, and under which names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nnfast.train.checkpoint import previous_checkpoint


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Examples
    --------
    >>> RunFolder(Path("runs/first")).history.as_posix()
    'runs/first/history.csv'
    """

    path: Path

    @property
    def config(self) -> Path:
        """All settings of the run."""
        return self.path / "config.json"

    @property
    def model(self) -> Path:
        """The trained parameters."""
        return self.path / "model.safetensors"

    @property
    def checkpoint(self) -> Path:
        """What a resume needs."""
        return self.path / "checkpoint.safetensors"

    def has_checkpoint(self) -> bool:
        """Say whether there is one, be it the previous one."""
        return self.checkpoint.exists() or previous_checkpoint(self.checkpoint).exists()

    @property
    def history(self) -> Path:
        """Loss, accuracy and learning rate of each epoch."""
        return self.path / "history.csv"

    @property
    def curves(self) -> Path:
        """The history as a picture."""
        return self.path / "curves.png"

    @property
    def confusion(self) -> Path:
        """Which class is taken for which, as a picture."""
        return self.path / "confusion.png"

    @property
    def trace(self) -> Path:
        """When each part of some training steps ran, for chrome://tracing and ui.perfetto.dev."""
        return self.path / "trace.json"


def create_run_folder(path: str | os.PathLike[str] | None, model: str) -> RunFolder:
    """Make the folder of a new run.

    Parameters
    ----------
    path : path, optional
        Default: ``runs/<date>-<time>-<model>``.
    model : str

    Raises
    ------
    FileExistsError
        If there is a run in it already.
    OSError
        If it cannot be made.
    """
    chosen = _unused(Path("runs", f"{datetime.now():%Y-%m-%d-%H%M%S}-{model}")) if path is None else Path(path)
    folder = RunFolder(chosen)
    for taken in (folder.config, folder.checkpoint, folder.model):
        if taken.exists():
            raise FileExistsError(
                f"{folder.path}: holds a run already ({taken.name}); choose another folder, or go on with "
                f"--resume {folder.path}"
            )
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"cannot make the run folder ({error.strerror})", str(folder.path)) from error
    return folder


def open_run_folder(path: str | os.PathLike[str]) -> RunFolder:
    """Return the folder of a run that exists.

    Raises
    ------
    FileNotFoundError
        If there is none, or it is not a run's.
    """
    folder = RunFolder(Path(path))
    if not folder.path.is_dir():
        raise FileNotFoundError(f"{folder.path}: no such folder, expected one that nnfast train made")
    if not folder.config.is_file():
        raise FileNotFoundError(f"{folder.path}: no run folder, it has no {folder.config.name}")
    return folder


def _unused(path: Path) -> Path:
    """Count on, for two runs that begin in the same second."""
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
