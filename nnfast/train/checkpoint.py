"""Everything that a training run needs to go on, in one file; the one before it is kept."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from nnfast.io.state import load, save

if TYPE_CHECKING:
    from nnfast.train.trainer import Trainer


def previous_checkpoint(path: str | os.PathLike[str]) -> Path:
    """Return where the checkpoint before the one at ``path`` is kept.

    Examples
    --------
    >>> previous_checkpoint("run/checkpoint.safetensors").name
    'checkpoint.previous.safetensors'
    """
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Write a trainer's whole state, atomically; the checkpoint that it replaces becomes the previous one.

    Parameters
    ----------
    trainer : Trainer
    path : path

    Raises
    ------
    OSError
        If it cannot be written; the old one is then still there.
    """
    save(trainer.state_dict(), path, keep=previous_checkpoint(path))


def load_checkpoint(trainer: Trainer, path: str | os.PathLike[str]) -> Path:
    """Read a trainer's whole state; the next ``fit`` goes on from there, with the same bits if a seed was given.

    If the newest checkpoint is missing or damaged, the previous one is read, with a warning: a run that goes on from
    an older checkpoint ends with the same bits, only later.

    Parameters
    ----------
    trainer : Trainer
        Built as the one that was saved: same model, optimizer, scheduler and callbacks.
    path : path

    Returns
    -------
    Path
        The file that was read.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged, or belongs to another kind of trainer; it names the file.
    """
    path = Path(path)
    previous = previous_checkpoint(path)
    try:
        state = load(path)
    except (ValueError, FileNotFoundError) as error:
        if not previous.exists():
            raise
        warnings.warn(f"{error}; going on from {previous}", RuntimeWarning, stacklevel=2)
        path, state = previous, load(previous)
    try:
        trainer.load_state_dict(state)
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        # PyTorch's message has a line for each key.
        raise ValueError(f"{path}: does not fit this training run: {' '.join(str(error).split())}") from error
    return path
