"""What can listen to a training loop and steer it; hooks and arguments have Keras' names."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnfast.io.safetensors import as_array, save_file

if TYPE_CHECKING:
    from nnfast import nn
    from nnfast.train.trainer import Trainer

Logs = dict[str, float]


class Callback:
    """Base of callbacks: override what you need. A hook that is not overridden costs nothing.

    ``logs`` holds running means during an epoch (``loss``, ``accuracy``), and the epoch's at its end (also
    ``val_loss``, ``val_accuracy`` and ``lr``). Set ``self.trainer.stop_training = True`` to stop after the epoch.

    Attributes
    ----------
    trainer : Trainer
        Whose loop it is; set before the first hook is called.
    """

    trainer: Trainer

    @property
    def model(self) -> nn.Module:
        """The model in training."""
        return self.trainer.model

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint has to keep for the callback to go on as if it had never stopped."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""

    def on_train_begin(self, logs: Logs) -> None:
        """Before the first epoch, or before the first one after a resume."""

    def on_train_end(self, logs: Logs) -> None:
        """After the last epoch; not after an error or an interruption."""

    def on_exception(self, error: BaseException) -> None:
        """When training ends by an error or an interruption."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Before an epoch; epochs count from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a training step; batches count from 0 in each epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """After a training step."""

    def on_test_begin(self, logs: Logs) -> None:
        """Before an evaluation, or a validation within training."""

    def on_test_end(self, logs: Logs) -> None:
        """After an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a batch is evaluated."""

    def on_test_batch_end(self, batch: int, logs: Logs) -> None:
        """After a batch was evaluated."""

    def on_predict_begin(self, logs: Logs) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Logs) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a batch is predicted."""

    def on_predict_batch_end(self, batch: int, logs: Logs) -> None:
        """After a batch was predicted."""


class _Monitor(Callback):
    """Keeps the best value of one of an epoch's logs."""

    def __init__(self, monitor: str, min_delta: float, mode: str) -> None:
        name = type(self).__name__
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{name}: mode is {mode!r}, expected 'auto', 'min' or 'max'")
        if mode == "auto":
            mode = _usual_mode(monitor)
        if not mode:
            raise ValueError(f"{name}: mode is 'auto', which does not know {monitor!r}; pass 'min' or 'max'")
        if not (math.isfinite(min_delta) and min_delta >= 0):
            raise ValueError(f"{name}: min_delta is {min_delta!r}, expected a number that is not negative")
        self.monitor = monitor
        self.min_delta = min_delta
        self.mode = mode
        self.best = self._worst()

    def _worst(self) -> float:
        return math.inf if self.mode == "min" else -math.inf

    def improves(self, logs: Logs) -> bool:
        """Say whether the monitored value is better than the best by more than min_delta; then it is the best.

        Raises
        ------
        ValueError
            If there is no such value.
        """
        if self.monitor not in logs:
            raise ValueError(
                f"{type(self).__name__}: monitor is {self.monitor!r}, expected one of {', '.join(logs)}"
                + ("; val_... need fit(validation_loader=...)" if self.monitor.startswith("val_") else "")
            )
        value = logs[self.monitor]
        better = self.best - value > self.min_delta if self.mode == "min" else value - self.best > self.min_delta
        if better:
            self.best = value
        return better

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best = state["best"]


def _usual_mode(monitor: str) -> str:
    if monitor.endswith(("loss", "error")):
        return "min"
    return "max" if monitor.endswith(("acc", "accuracy", "precision", "recall", "auc")) else ""


class EarlyStopping(_Monitor):
    """Stop when a quantity has stopped improving.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Which of the epoch's logs.
    min_delta : float, default 0
        A smaller change is no improvement.
    patience : int, default 0
        Epochs without improvement after which training stops.
    mode : {"auto", "min", "max"}, default "auto"
        Whether less or more is better; "auto" knows losses, errors and accuracies by their names.
    restore_best_weights : bool, default False
        End with the weights of the best epoch, not of the last one.

    Attributes
    ----------
    best : float
        The best value so far.
    stopped_epoch : int
        The epoch after which it stopped training, or 0.

    Examples
    --------
    >>> EarlyStopping(monitor="val_accuracy", patience=3).mode
    'max'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        mode: str = "auto",
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__(monitor, min_delta, mode)
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 0:
            raise ValueError(f"EarlyStopping: patience is {patience!r}, expected an integer that is not negative")
        self.patience = patience
        self.restore_best_weights = restore_best_weights
        self.wait = 0
        self.stopped_epoch = 0
        self.best_weights: dict[str, Any] | None = None

    def on_train_begin(self, logs: Logs) -> None:
        if not self.trainer.resumed:
            self.best = self._worst()
            self.wait = self.stopped_epoch = 0
            self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.improves(logs):
            self.wait = 0
            if self.restore_best_weights:
                self.best_weights = _copied(self.model)
            return
        self.wait += 1
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.trainer.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        if self.best_weights is not None:
            from nnfast.tensor import tensor

            self.model.load_state_dict({name: tensor(array) for name, array in self.best_weights.items()})

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "wait": self.wait,
            "stopped_epoch": self.stopped_epoch,
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.wait = state["wait"]
        self.stopped_epoch = state["stopped_epoch"]
        self.best_weights = state["best_weights"]


def _copied(model: nn.Module) -> dict[str, Any]:
    return {name: as_array("state_dict", name, value).copy() for name, value in model.state_dict().items()}


class ModelCheckpoint(_Monitor):
    """Write the model's state dict after each epoch, as safetensors.

    For everything that a resume needs, see ``Trainer.fit(checkpoint=...)``.

    Parameters
    ----------
    filepath : path
        May hold ``{epoch}``, which counts from 1, and the epoch's logs: ``"{epoch:02d}-{val_loss:.3f}.safetensors"``.
    monitor : str, default "val_loss"
        Which of the epoch's logs says what is best.
    save_best_only : bool, default False
        Write only when the monitored value is better than ever before.
    mode : {"auto", "min", "max"}, default "auto"
        Whether less or more is better; "auto" knows losses, errors and accuracies by their names.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, 0, mode if save_best_only or _usual_mode(monitor) else "min")
        self.filepath = os.fspath(filepath)
        self.save_best_only = save_best_only

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.save_best_only and not self.improves(logs):
            return
        try:
            path = Path(self.filepath.format(epoch=epoch + 1, **logs))
        except KeyError as error:
            raise ValueError(
                f"ModelCheckpoint: filepath {self.filepath!r} names {error}, expected epoch, {', '.join(logs)}"
            ) from None
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(self.model.state_dict(), path)
