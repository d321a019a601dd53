"""config.json: all that makes a run what it is. The same config and data give the same bits, but for "auto" kernels."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from nnfast.io.atomic import write_atomically
from nnfast.kernels import BACKENDS
from nnfast.train.tiers import AUTO

OPTIMIZERS = ("sgd", "adam", "adamw", "adagrad", "rmsprop", "adadelta")
WITH_MOMENTUM = ("sgd", "rmsprop")
SCHEDULES = ("none", "cosine", "onecycle", "step")
AUGMENTATIONS = ("none", "crop", "flip", "crop-flip")


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes
    ----------
    nnfast : str
        The version that wrote it.
    model : str
        One of ``nnfast.models.names()``.
    classes : list of str
        The classes' names, by label.
    channels, height, width : int
        Of the images.
    mean, std : list of float
        Of the training images in 0..1, one for each channel; images are normalised by them.
    data : str
        Name or path of the data set.
    images : int
        How many images it has to train on.
    epochs, batch_size : int
    optimizer : str
        One of ``OPTIMIZERS``.
    lr, momentum, weight_decay : float
    schedule : str
        Of the learning rate, one of ``SCHEDULES``.
    augment : str
        One of ``AUGMENTATIONS``.
    seed : int
        Of initialisation, order, augmentation and dropout.
    backend : str
        Which kernels; they round differently. "auto": Cython's until Numba's are compiled, see ``nnfast.train.tiers``.
    eager : bool
        Whether operations run one by one, rather than whole steps as plans; these round differently.
    """

    nnfast: str
    model: str
    classes: list[str]
    channels: int
    height: int
    width: int
    mean: list[float]
    std: list[float]
    data: str
    images: int
    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    schedule: str
    augment: str
    seed: int
    backend: str
    eager: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return self.channels, self.height, self.width

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the config as JSON, atomically."""
        with write_atomically(path) as file:
            file.write((json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n").encode())


def load_run_config(path: str | os.PathLike[str]) -> RunConfig:
    """Read a config, which somebody may have edited.

    Raises
    ------
    ValueError
        If it is no JSON, lacks a field, has one too many, or a value is out of range; it names the file and the field.
    OSError
        If it cannot be read.
    """
    where = os.fspath(path)
    with open(path, "rb") as file:
        content = file.read()
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: no JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{where}: holds {type(values).__name__}, expected a JSON object")
    values.setdefault("eager", True)  # runs from before there was a choice go on as they were begun
    names = [field.name for field in fields(RunConfig)]
    for name in values:
        if name not in names:
            raise ValueError(f"{where}: {name} is no field, expected {', '.join(names)}")
    for name in names:
        if name not in values:
            raise ValueError(f"{where}: {name} is missing")
        expected, holds = _CHECKS[name]
        if not holds(values[name]):
            raise ValueError(f"{where}: {name} is {_short(values[name])}, expected {expected}")
    for name in ("mean", "std"):
        if len(values[name]) != values["channels"]:
            raise ValueError(f"{where}: {name} has {len(values[name])} values, expected {values['channels']}")
    return RunConfig(**values)


Check = tuple[str, Callable[[Any], bool]]


def _is_integer(value: Any, smallest: int) -> bool:
    return type(value) is int and smallest <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _integer(smallest: int) -> Check:
    return f"an integer of at least {smallest}", lambda value: _is_integer(value, smallest)


def _choice(*allowed: str) -> Check:
    return f"one of {', '.join(allowed)}", lambda value: isinstance(value, str) and value in allowed


def _list(expected: str, holds: Callable[[Any], bool]) -> Check:
    return f"a list of {expected}", lambda value: isinstance(value, list) and bool(value) and all(map(holds, value))


_TEXT: Check = "a text", lambda value: isinstance(value, str)
_NOT_NEGATIVE: Check = "a number that is not negative", lambda value: _is_number(value) and value >= 0
_CHECKS: dict[str, Check] = {
    "nnfast": _TEXT,
    "model": _TEXT,  # models.create knows the names
    "classes": _list("names", lambda value: isinstance(value, str)),
    "channels": _integer(1),
    "height": _integer(1),
    "width": _integer(1),
    "mean": _list("numbers", _is_number),
    "std": _list("numbers that are not 0", lambda value: _is_number(value) and value != 0),
    "data": _TEXT,
    "images": _integer(1),
    "epochs": _integer(1),
    "batch_size": _integer(1),
    "optimizer": _choice(*OPTIMIZERS),
    "lr": _NOT_NEGATIVE,
    "momentum": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "schedule": _choice(*SCHEDULES),
    "augment": _choice(*AUGMENTATIONS),
    "seed": _integer(0),
    "backend": _choice(*BACKENDS, AUTO),
    "eager": ("true or false", lambda value: isinstance(value, bool)),
}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
