"""The training loop."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast.kernels.backends import chosen_backend, try_numba
from nnfast.train.callbacks import Callback, Logs
from nnfast.train.checkpoint import save_checkpoint
from nnfast.train.errors import NonFiniteLossError, TrainingInterrupted
from nnfast.train.history import History
from nnfast.train.hooks import Hooks
from nnfast.train.metrics import Means, accuracy
from nnfast.train.schedule import step_after_epoch, usual_interval
from nnfast.train.steps import TRAIN, Steps
from nnfast.train.tiers import Tiers, begin_on_cython, same_bits, seeded, tell_without_numba

if TYPE_CHECKING:
    from nnfast import nn
    from nnfast.tensor import Tensor

Metric = Callable[[np.ndarray, np.ndarray], float]

_STATE = ("model", "optimizer", "scheduler", "random", "loader", "epoch", "batch", "means", "rate", "stop_training",
          "history", "callbacks")  # fmt: skip


class Trainer:
    """Train, evaluate and apply a model.

    Parameters
    ----------
    model : nn.Module
    optimizer : optim.Optimizer
    loss : callable
        ``loss(outputs, labels)`` gives a scalar tensor: the batch's mean. Means over an epoch weigh each batch by its
        number of samples.
    scheduler : learning rate scheduler, optional
    callbacks : sequence of Callback
        Their hooks are called in this order.
    metrics : mapping of str to callable, optional
        ``metric(outputs, labels) -> float`` on numpy arrays: the batch's mean. Default: ``{"accuracy": accuracy}``.
    scheduler_interval : {"epoch", "batch"}, optional
        When the scheduler makes its step. Default: each batch for one-cycle and cyclic schedules, which are made for
        that, each epoch for others.
    compile : bool, default True
        Run training steps, evaluations and predictions through ``nnfast.compile``. What cannot be captured runs
        eagerly, after one warning that says why. Compiled and eager steps round differently.
    tiered : bool, optional
        Whether ``fit`` begins on Cython's kernels while Numba's are compiled, and moves to Numba between two epochs,
        rather than wait for them; see ``nnfast.train.tiers``. Default: where no seed was given, so that the results of
        runs with a seed do not depend on what is compiled. A backend that somebody chose runs in any case.

    Attributes
    ----------
    compiled : bool
        Whether training steps are compiled: they were not found impossible to capture.
    samples : int
        Trained on in the current epoch.
    history : History
        Of the current or last call of ``fit``.
    epoch, batch : int
        The position: epochs that are complete, and batches of the next one that are.
    epochs, batches : int
        How many epochs ``fit`` trains, and how many batches one has.
    stop_training : bool
        Set it in a callback to stop after the epoch.
    resumed : bool
        Whether the current call of ``fit`` goes on from a checkpoint.

    Examples
    --------
    >>> from nnfast import data, nn, optim
    >>> train, test = data.digits()
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.5), nn.CrossEntropyLoss())
    >>> history = trainer.fit(data.DataLoader(train, 64, shuffle=True, seed=0), epochs=3)
    >>> history.history["accuracy"][-1] > 0.8
    True
    >>> sorted(trainer.evaluate(data.DataLoader(test, 64)))
    ['accuracy', 'loss']
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        loss: Callable[[Tensor, Tensor], Tensor],
        scheduler: Any = None,
        callbacks: Sequence[Callback] = (),
        metrics: Mapping[str, Metric] | None = None,
        scheduler_interval: str | None = None,
        compile: bool = True,
        tiered: bool | None = None,
    ) -> None:
        if scheduler_interval not in (None, "epoch", "batch"):
            raise ValueError(f"Trainer: scheduler_interval is {scheduler_interval!r}, expected 'epoch' or 'batch'")
        for position, callback in enumerate(callbacks):
            if not isinstance(callback, Callback):
                raise TypeError(f"Trainer: callbacks[{position}] is {callback!r}, expected a Callback")
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval or usual_interval(scheduler)
        self.callbacks = list(callbacks)
        self.metrics = {"accuracy": accuracy} if metrics is None else dict(metrics)
        self.compile = compile
        self.tiered = tiered
        self.history = History()
        self.epoch = self.batch = self.epochs = self.batches = 0
        self.stop_training = False
        self.resumed = False
        self._means = Means()
        self._rate = math.nan  # the last step's learning rate
        self._loader_state: dict[str, int] = {}
        self._to_resume: dict[str, Any] | None = None
        self._interrupted: tuple[bool, int | None] = (False, None)
        self._hooks = Hooks(self, ())
        self._known_steps: Steps | None = None
        self._tiered = self._seeded = False  # of the last call of fit

    @property
    def compiled(self) -> bool:
        """Whether training steps are compiled."""
        return self._steps().compiled(TRAIN)

    @property
    def samples(self) -> int:
        """How many samples the current epoch has trained on."""
        return self._means.samples

    def fit(
        self,
        train_loader: Any,
        validation_loader: Any = None,
        epochs: int = 1,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train; after ``load_state_dict`` or ``load_checkpoint``, go on from there.

        Parameters
        ----------
        train_loader : DataLoader or iterable
            Of batches ``(inputs, labels)``. A resume in the middle of an epoch needs the same order again: nnfast's
            DataLoader gives it; any other iterable must do so by itself.
        validation_loader : DataLoader or iterable, optional
            Evaluated after each epoch.
        epochs : int, default 1
            In total, with those from before a resume.
        checkpoint : path, optional
            Everything that a resume needs is written there after each epoch, and when ``interrupt`` is called; see
            ``load_checkpoint``.

        Returns
        -------
        History

        Raises
        ------
        TrainingInterrupted
            If ``interrupt`` was called.
        NonFiniteLossError
            If the loss is NaN or infinite, or a gradient in a compiled step, which then names the layer and leaves
            the parameters as they were; the checkpoint stays the one from before.
        ValueError
            If the loader is empty, or a callback monitors what there is not.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0:
            raise ValueError(f"Trainer.fit: epochs is {epochs!r}, expected an integer that is not negative")
        self._prepare(train_loader, epochs)
        self._hooks = Hooks(self, [self.history, *self.callbacks])
        self._seeded = not self.tiered and seeded(train_loader)
        self._tiered = not self._seeded if self.tiered is None else self.tiered
        if chosen_backend() is None:
            if not self._tiered:
                try_numba()
            tell_without_numba()
        with self._kernels(compiles=True) as tiers:
            try:
                self._hooks.call("on_train_begin", {})
                while self.epoch < epochs and not self.stop_training:
                    self._fit_epoch(train_loader, validation_loader)
                    if checkpoint is not None:
                        save_checkpoint(self, checkpoint)
                    if tiers is not None and tiers.between_epochs():
                        self._steps().forget_plans()
                self._hooks.call("on_train_end", {name: values[-1] for name, values in self.history.history.items()})
            except BaseException as error:
                if checkpoint is not None and isinstance(error, TrainingInterrupted):
                    save_checkpoint(self, checkpoint)
                self._hooks.call("on_exception", error)
                raise
        return self.history

    def evaluate(self, loader: Any) -> Logs:
        """Return the loss and the metrics over a loader, with the model in evaluation mode.

        Parameters
        ----------
        loader : DataLoader or iterable
            Of batches ``(inputs, labels)``.

        Returns
        -------
        dict of str to float
            ``loss`` and the metrics.

        Raises
        ------
        ValueError
            If the loader is empty.
        """
        self._hooks = Hooks(self, self.callbacks)
        with self._kernels():
            return self._evaluate(loader, "Trainer.evaluate")

    def predict(self, loader: Any) -> np.ndarray:
        """Return the model's outputs over a loader, in evaluation mode.

        Parameters
        ----------
        loader : DataLoader or iterable
            Of inputs, or of batches that begin with them.

        Returns
        -------
        numpy.ndarray
            Shape (N, ...), in the loader's order.

        Raises
        ------
        ValueError
            If the loader is empty.
        """
        from nnfast.tensor import Tensor

        self._hooks = Hooks(self, self.callbacks)
        self._hooks.call("on_predict_begin", {})
        outputs = []
        with self._kernels(), _evaluating(self.model):
            for number, batch in enumerate(loader):
                self._hooks.call("on_predict_batch_begin", number, {})
                outputs.append(_array(self._steps().predict(batch if isinstance(batch, Tensor) else batch[0])))
                self._hooks.call("on_predict_batch_end", number, {})
        if not outputs:
            raise ValueError("Trainer.predict: the loader gives no batches, expected at least one")
        self._hooks.call("on_predict_end", {})
        return np.concatenate(outputs)

    def _kernels(self, compiles: bool = False) -> AbstractContextManager[Tiers | None]:
        """Which kernels run in ``fit``, and in what is called after it; see ``nnfast.train.tiers``."""
        if self._tiered:
            return begin_on_cython(compiles)
        return same_bits() if self._seeded else nullcontext()

    def interrupt(self, signal: int | None = None) -> None:
        """Make ``fit`` stop at the next batch; may be called from a signal handler or another thread."""
        self._interrupted = (True, signal)

    def state_dict(self) -> dict[str, Any]:
        """Return all that ``fit`` needs to go on, with the same bits if a seed was given: for ``nnfast.save``."""
        from nnfast.random import get_rng_state

        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "random": get_rng_state(),
            "loader": self._loader_state,
            "epoch": self.epoch,
            "batch": self.batch,
            "means": self._means.state_dict(),
            "rate": self._rate,
            "stop_training": self.stop_training,
            "history": self.history.state_dict(),
            "callbacks": [[type(callback).__name__, callback.state_dict()] for callback in self._stateful_callbacks()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned; the next ``fit`` goes on from there.

        Raises
        ------
        ValueError
            If the state belongs to other callbacks with a state, or with or without a scheduler to the opposite.
        """
        missing = [name for name in _STATE if name not in state]
        if missing:
            raise ValueError(f"Trainer.load_state_dict: state lacks {', '.join(missing)}")
        callbacks = self._stateful_callbacks()
        ours, theirs = [type(callback).__name__ for callback in callbacks], [name for name, _ in state["callbacks"]]
        if ours != theirs:
            raise ValueError(f"Trainer.load_state_dict: state has callbacks {theirs}, expected {ours}")
        if (state["scheduler"] is None) != (self.scheduler is None):
            raise ValueError(
                f"Trainer.load_state_dict: state is {'without' if state['scheduler'] is None else 'with'} a scheduler, "
                f"the trainer is {'without' if self.scheduler is None else 'with'} one"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        for callback, (_, kept) in zip(callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(kept)
        self.history = History()
        self.history.load_state_dict(state["history"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.stop_training = state["stop_training"]
        self._means.load_state_dict(state["means"])
        self._rate = state["rate"]
        # The generators wait for fit: what is built between here and there (a loader, a model) may draw from them.
        self._to_resume = {"random": state["random"], "loader": state["loader"]}

    def _stateful_callbacks(self) -> list[Callback]:
        """Return those that a checkpoint has to know; others may come and go, such as a progress bar."""
        return [callback for callback in self.callbacks if type(callback).state_dict is not Callback.state_dict]

    def _prepare(self, train_loader: Any, epochs: int) -> None:
        self.resumed = self._to_resume is not None
        self.epochs = epochs
        self.batches = len(train_loader) if hasattr(train_loader, "__len__") else 0
        self._interrupted = (False, None)
        if self._to_resume is None:
            self.epoch = self.batch = 0
            self.stop_training = False
            self.history = History()
            self._means = Means()
            # Reading a loader's seed may draw it: here, always, rather than whenever a checkpoint happens to be due.
            self._loader_state = {
                name: int(getattr(train_loader, name)) for name in ("seed", "epoch") if hasattr(train_loader, name)
            }
            return
        from nnfast.random import resume_rng_state

        self._loader_state = dict(self._to_resume["loader"])
        if "seed" in self._loader_state:
            train_loader.seed = self._loader_state["seed"]
        if "epoch" in self._loader_state:
            train_loader.set_epoch(self._loader_state["epoch"])
        resume_rng_state(self._to_resume["random"])
        self._to_resume = None

    def _fit_epoch(self, train_loader: Any, validation_loader: Any) -> None:
        self._hooks.call("on_epoch_begin", self.epoch, {})
        self._train(train_loader)
        logs = self._means.values()
        if validation_loader is not None:
            validated = self._evaluate(validation_loader, "Trainer.fit: validation_loader")
            logs |= {f"val_{name}": value for name, value in validated.items()}
        logs["lr"] = self._rate
        self._hooks.call("on_epoch_end", self.epoch, logs)
        if self.scheduler is not None and self.scheduler_interval == "epoch":
            step_after_epoch(self.scheduler, logs)
        # From here on the position is the next epoch's, so that a checkpoint never repeats what was recorded.
        self.epoch += 1
        self.batch = 0
        self._means = Means()
        if "epoch" in self._loader_state:
            self._loader_state["epoch"] = int(train_loader.epoch)

    def _train(self, loader: Any) -> None:
        self.model.train()
        batches = self._remaining_batches(loader)
        try:
            for inputs, labels in batches:
                self._hooks.call("on_train_batch_begin", self.batch, {})
                self._train_batch(inputs, labels)
                if "on_train_batch_end" in self._hooks:
                    self._hooks.call("on_train_batch_end", self.batch, self._means.values())
                self.batch += 1
                self._check_interrupted()
        finally:
            # An error's traceback would keep the generator, and with it the loader's threads, alive.
            if hasattr(batches, "close"):
                batches.close()
        if not self._means.samples:
            raise ValueError("Trainer.fit: train_loader gives no batches, expected at least one")

    def _remaining_batches(self, loader: Any) -> Iterator[Any]:
        if self.batch == 0:
            return iter(loader)
        return loader.batches(start=self.batch) if hasattr(loader, "batches") else islice(loader, self.batch, None)

    def _steps(self) -> Steps:
        """The computations; made anew where model, loss or optimizer were replaced, in a callback for example."""
        known, wanted = self._known_steps, (self.model, self.loss, self.optimizer, self.compile)
        if known is None or any(new is not old for new, old in zip(wanted, known.made_of, strict=True)):
            known = self._known_steps = Steps(*wanted)
        return known

    def _train_batch(self, inputs: Tensor, labels: Tensor) -> None:
        self._rate = float(self.optimizer.param_groups[0]["lr"])
        try:
            loss, outputs = self._steps().train(inputs, labels)
        except FloatingPointError as error:
            if not self.compiled:
                raise
            reason = str(error).removeprefix("nnfast.compile: ").rstrip(".")
            raise NonFiniteLossError(
                f"Trainer.fit: epoch {self.epoch + 1}, batch {self.batch + 1}: {reason}"
            ) from error
        if self.scheduler is not None and self.scheduler_interval == "batch":
            self.scheduler.step()
        value = float(loss.item())
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"Trainer.fit: loss is {value} in epoch {self.epoch + 1}, batch {self.batch + 1}, expected a finite "
                "number; a smaller learning rate often helps"
            )
        self._means.add(len(labels), {"loss": value, **self._measured(outputs, labels)})

    def _evaluate(self, loader: Any, operation: str) -> Logs:
        means = Means()
        self._hooks.call("on_test_begin", {})
        with _evaluating(self.model):
            for number, (inputs, labels) in enumerate(loader):
                self._hooks.call("on_test_batch_begin", number, {})
                loss, outputs = self._steps().evaluate(inputs, labels)
                means.add(len(labels), {"loss": float(loss.item()), **self._measured(outputs, labels)})
                if "on_test_batch_end" in self._hooks:
                    self._hooks.call("on_test_batch_end", number, means.values())
                self._check_interrupted()
        if not means.samples:
            raise ValueError(f"{operation}: the loader gives no batches, expected at least one")
        self._hooks.call("on_test_end", means.values())
        return means.values()

    def _measured(self, outputs: Tensor, labels: Tensor) -> Logs:
        if not self.metrics:
            return {}
        arrays = _array(outputs), _array(labels)
        return {name: float(metric(*arrays)) for name, metric in self.metrics.items()}

    def _check_interrupted(self) -> None:
        wanted, signal = self._interrupted
        if wanted:
            raise TrainingInterrupted(
                f"stopped in epoch {self.epoch + 1} of {self.epochs} after {self.batch} batches", signal
            )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode without gradients, and back to the mode that was."""
    from nnfast.grad_mode import no_grad

    training = model.training
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        model.train(training)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()
