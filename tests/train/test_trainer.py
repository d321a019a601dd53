"""The training loop: what it computes, in which order it calls, how it stops and goes on."""

from __future__ import annotations

import math
import re
import threading

import numpy as np
import pytest

from nnfast import nn, optim
from nnfast.data import DataLoader
from nnfast.grad_mode import is_grad_enabled
from nnfast.random import default_generator, seed_everything
from nnfast.tensor import tensor
from nnfast.train import (
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    NonFiniteLossError,
    Trainer,
    TrainingInterrupted,
    load_checkpoint,
)


class Recorder(Callback):
    """Writes down every hook that is called."""

    def __init__(self):
        self.calls = []


def _recording(name):
    return lambda self, *arguments: self.calls.append((name, *arguments[:-1]))


for _name in [name for name in vars(Callback) if name.startswith("on_")]:
    setattr(Recorder, _name, _recording(_name))


class StopAfter(Callback):
    """Interrupts the trainer after a number of batches."""

    def __init__(self, batches, hook="on_train_batch_end"):
        self.left = batches
        setattr(self, hook, self.count)

    def count(self, *_):
        self.left -= 1
        if self.left == 0:
            self.trainer.interrupt(2)


def test_fit_is_the_loop_that_everybody_writes(make_trainer, loaders, weights):
    trainer = make_trainer(compile=False)
    history = trainer.fit(loaders[0], epochs=2)

    other = make_trainer()
    losses, right = [], []
    for _ in range(2):
        total = hits = 0.0
        loaders[0].set_epoch(len(losses))
        for inputs, labels in loaders[0]:
            other.optimizer.zero_grad()
            outputs = other.model(inputs)
            loss = other.loss(outputs, labels)
            loss.backward()
            other.optimizer.step()
            other.scheduler.step()
            total += loss.item() * len(labels)
            hits += (outputs.detach().numpy().argmax(1) == labels.numpy()).sum()
        losses.append(total / 40)
        right.append(hits / 40)

    assert weights(trainer.model) == weights(other.model)
    assert history.history["loss"] == pytest.approx(losses)
    assert history.history["accuracy"] == pytest.approx(right)


def test_training_learns():
    seed_everything(0)
    inputs = np.random.default_rng(0).random((64, 2), dtype=np.float32)
    batches = [(tensor(inputs), tensor((inputs[:, 0] > inputs[:, 1]).astype(np.int64)))]
    model = nn.Linear(2, 2)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=5.0), nn.CrossEntropyLoss())
    history = trainer.fit(batches, epochs=100).history
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["accuracy"][-1] > 0.95


def test_batches_weigh_by_their_samples(make_trainer):
    batches = [(tensor(np.full((n, 1, 4, 4), n, np.float32)), tensor(np.full(n, n % 3, np.int64))) for n in (6, 2)]
    trainer = make_trainer(metrics={"size": lambda outputs, labels: float(len(labels))})
    logs = trainer.evaluate(batches)
    assert logs["size"] == (6 * 6 + 2 * 2) / 8
    each = [trainer.evaluate([batch])["loss"] for batch in batches]
    assert logs["loss"] == pytest.approx((6 * each[0] + 2 * each[1]) / 8)
    assert "accuracy" not in logs


def test_hooks_are_called_in_keras_order(make_trainer, loaders):
    recorder = Recorder()
    make_trainer([recorder]).fit(*loaders, epochs=2)
    train = [call for batch in range(5) for call in (("on_train_batch_begin", batch), ("on_train_batch_end", batch))]
    test = [call for batch in range(2) for call in (("on_test_batch_begin", batch), ("on_test_batch_end", batch))]
    epochs = [
        call
        for epoch in range(2)
        for call in (
            ("on_epoch_begin", epoch),
            *train,
            ("on_test_begin",),
            *test,
            ("on_test_end",),
            ("on_epoch_end", epoch),
        )
    ]
    assert recorder.calls == [("on_train_begin",), *epochs, ("on_train_end",)]


def test_hooks_of_prediction(make_trainer, loaders):
    recorder = Recorder()
    outputs = make_trainer([recorder]).predict(loaders[1])
    batches = [call for n in range(2) for call in (("on_predict_batch_begin", n), ("on_predict_batch_end", n))]
    assert recorder.calls == [("on_predict_begin",), *batches, ("on_predict_end",)]
    assert outputs.shape == (12, 3)


def test_predict_takes_bare_inputs_and_gives_the_models_outputs(make_trainer, loaders):
    trainer = make_trainer()
    bare = trainer.predict([inputs for inputs, _ in loaders[1]])
    trainer.model.eval()
    expected = np.concatenate([trainer.model(inputs).detach().numpy() for inputs, _ in loaders[1]])
    np.testing.assert_array_equal(bare, expected)


def test_callbacks_see_the_logs_of_batch_and_epoch(make_trainer, loaders):
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, batch, logs):
            seen.append(sorted(logs))

        def on_epoch_end(self, epoch, logs):
            seen.append(sorted(logs))

    make_trainer([Watch()]).fit(*loaders, epochs=1)
    assert seen[:5] == [["accuracy", "loss"]] * 5
    assert seen[5] == ["accuracy", "loss", "lr", "val_accuracy", "val_loss"]


def test_absent_hooks_are_never_called(make_trainer, loaders, monkeypatch):
    """Not even the base class's empty ones, and no logs are computed for them."""
    for name in [name for name in vars(Callback) if name.startswith("on_")]:
        if name != "on_epoch_end":
            monkeypatch.setattr(Callback, name, lambda *_: pytest.fail("called"))
    make_trainer([Callback()]).fit(*loaders, epochs=1)


def test_modes_and_gradients(make_trainer, loaders):
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, batch, logs):
            seen.append(("train", self.model.training, is_grad_enabled()))

        def on_test_batch_end(self, batch, logs):
            seen.append(("test", self.model.training, is_grad_enabled()))

    trainer = make_trainer([Watch()])
    trainer.fit(*loaders, epochs=2)
    assert set(seen) == {("train", True, True), ("test", False, False)}
    trainer.model.eval()
    trainer.evaluate(loaders[1])
    assert not trainer.model.training
    trainer.model.train()
    trainer.evaluate(loaders[1])
    assert trainer.model.training


def test_evaluation_leaves_the_model_as_it_was(make_trainer, loaders, weights):
    trainer = make_trainer()
    before = weights(trainer.model)
    trainer.evaluate(loaders[0])
    assert weights(trainer.model) == before


def test_history(make_trainer, loaders):
    trainer = make_trainer()
    history = trainer.fit(*loaders, epochs=3)
    assert isinstance(history, History)
    assert history is trainer.history
    assert history.epoch == [0, 1, 2]
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"]
    assert all(len(values) == 3 for values in history.history.values())
    assert all(seconds > 0 for seconds in history.history["seconds"])
    assert trainer.evaluate(loaders[1])["loss"] == history.history["val_loss"][-1]


def test_lr_is_that_of_the_epochs_last_step(make_trainer, loaders):
    assert make_trainer(scheduler="step", lr=0.4).fit(*loaders, epochs=3).history["lr"] == [0.4, 0.2, 0.1]
    trainer = make_trainer(scheduler="step", lr=0.4, scheduler_interval="batch")
    assert trainer.fit(*loaders, epochs=2).history["lr"] == pytest.approx([0.4 / 2**4, 0.4 / 2**9])


def test_one_cycle_steps_each_batch(make_trainer, loaders):
    trainer = make_trainer()
    trainer.fit(*loaders, epochs=2)
    assert trainer.scheduler.last_epoch == 10


def test_a_plateau_is_watched_on_the_validation_loss(make_trainer, loaders):
    trainer = make_trainer(scheduler=None)
    trainer.scheduler = optim.lr_scheduler.ReduceLROnPlateau(
        trainer.optimizer, factor=0.5, patience=0, threshold=100, threshold_mode="abs"
    )
    history = trainer.fit(*loaders, epochs=3).history
    assert history["lr"][0] > history["lr"][-1]
    assert trainer.scheduler.best == history["val_loss"][0]


def test_a_second_fit_begins_anew_but_for_the_model(make_trainer, loaders):
    trainer = make_trainer()
    trainer.fit(*loaders, epochs=2)
    history = trainer.fit(*loaders, epochs=1)
    assert history.epoch == [0]
    assert trainer.epoch == 1


def test_stop_training_ends_after_the_epoch(make_trainer, loaders):
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs):
            self.trainer.stop_training = True

    history = make_trainer([Stop()]).fit(*loaders, epochs=5)
    assert history.epoch == [0]
    assert "val_loss" in history.history


def test_zero_epochs(make_trainer, loaders):
    assert make_trainer().fit(*loaders, epochs=0).history == {}


# ------------------------------------------------------------------ interruption and resume


def interrupted_and_resumed(make_trainer, make_loaders, path, stop, callbacks=list, epochs=3):
    """Train until an interruption, go on in a new trainer; return the latter."""
    trainer = make_trainer([*callbacks(), stop])
    with pytest.raises(TrainingInterrupted) as caught:
        trainer.fit(*make_loaders(), epochs=epochs, checkpoint=path)
    assert caught.value.signal == 2
    resumed = make_trainer(callbacks())
    default_generator().random(7)  # what happened in between is of no consequence
    assert load_checkpoint(resumed, path) == path
    resumed.fit(*make_loaders(), epochs=epochs, checkpoint=path)
    return resumed


@pytest.fixture
def make_loaders(loaders):
    def make():
        train, validation = loaders
        # A wrong seed: the checkpoint holds the right one.
        return DataLoader(train.dataset, 8, shuffle=True, seed=5, transform=train.transform, num_workers=2), validation

    return make


@pytest.mark.parametrize("scheduler", [None, "onecycle", "step"])
@pytest.mark.parametrize("batches", [1, 4, 5, 6, 10, 14, 15])
def test_a_resumed_run_ends_with_the_same_bits(make_trainer, make_loaders, weights, tmp_path, scheduler, batches):
    def make(callbacks=()):
        return make_trainer(callbacks, scheduler=scheduler)

    whole = make([CSVLogger(tmp_path / "whole.csv")])
    whole.fit(*make_loaders(), epochs=3)
    resumed = interrupted_and_resumed(
        make,
        make_loaders,
        tmp_path / "c.safetensors",
        StopAfter(batches),
        lambda: [CSVLogger(tmp_path / "resumed.csv")],
    )
    assert weights(resumed.model) == weights(whole.model)
    assert (tmp_path / "resumed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    without_time = [{k: v for k, v in t.history.history.items() if k != "seconds"} for t in (whole, resumed)]
    assert without_time[0] == without_time[1]
    assert len(resumed.history.history["seconds"]) == 3


def test_an_interruption_in_the_validation_repeats_only_the_validation(make_trainer, make_loaders, weights, tmp_path):
    whole = make_trainer()
    whole.fit(*make_loaders(), epochs=3)
    recorder = Recorder()
    path = tmp_path / "c.safetensors"
    with pytest.raises(TrainingInterrupted, match="stopped in epoch 2 of 3 after 5 batches"):
        make_trainer([StopAfter(3, "on_test_batch_end")]).fit(*make_loaders(), epochs=3, checkpoint=path)
    resumed = make_trainer([recorder])
    load_checkpoint(resumed, path)
    resumed.fit(*make_loaders(), epochs=3)
    assert [call[0] for call in recorder.calls[:3]] == ["on_train_begin", "on_epoch_begin", "on_test_begin"]
    assert weights(resumed.model) == weights(whole.model)
    assert resumed.history.history["val_loss"] == whole.history.history["val_loss"]


def test_the_loaders_seed_is_the_checkpoints(make_trainer, loaders, weights, tmp_path):
    whole = make_trainer()
    whole.fit(*loaders, epochs=2)
    loaders[0].set_epoch(0)
    with pytest.raises(TrainingInterrupted):
        make_trainer([StopAfter(3)]).fit(*loaders, epochs=2, checkpoint=tmp_path / "c")
    loaders[0].seed = 99
    resumed = make_trainer()
    load_checkpoint(resumed, tmp_path / "c")
    resumed.fit(*loaders, epochs=2)
    assert loaders[0].seed == 5
    assert weights(resumed.model) == weights(whole.model)


def test_a_loader_without_a_seed_resumes_as_well(make_trainer, loaders, weights, tmp_path):
    """Its seed is drawn from the generator, at the same moment whether the run is stopped or not."""

    def fresh():
        return DataLoader(loaders[0].dataset, 8, shuffle=True)

    whole = make_trainer()
    whole.fit(fresh(), epochs=2)
    with pytest.raises(TrainingInterrupted):
        make_trainer([StopAfter(7)]).fit(fresh(), epochs=2, checkpoint=tmp_path / "c")
    resumed = make_trainer()
    load_checkpoint(resumed, tmp_path / "c")
    resumed.fit(fresh(), epochs=2)
    assert weights(resumed.model) == weights(whole.model)


def test_plain_iterables_resume_by_skipping(make_trainer, loaders, weights, tmp_path):
    batches = list(loaders[0])
    whole = make_trainer()
    whole.fit(batches, epochs=2)
    with pytest.raises(TrainingInterrupted):
        make_trainer([StopAfter(7)]).fit(batches, epochs=2, checkpoint=tmp_path / "c")
    resumed = make_trainer()
    load_checkpoint(resumed, tmp_path / "c")
    resumed.fit(batches, epochs=2)
    assert weights(resumed.model) == weights(whole.model)


def test_early_stopping_resumes(make_trainer, make_loaders, weights, tmp_path):
    def callbacks():
        return [EarlyStopping("loss", min_delta=100, patience=2, restore_best_weights=True)]

    whole = make_trainer(callbacks())
    whole.fit(*make_loaders(), epochs=6)
    resumed = interrupted_and_resumed(make_trainer, make_loaders, tmp_path / "c", StopAfter(12), callbacks, epochs=6)
    assert whole.epoch == resumed.epoch == 3
    assert weights(resumed.model) == weights(whole.model)
    again = make_trainer(callbacks())
    load_checkpoint(again, tmp_path / "c")
    again.fit(*make_loaders(), epochs=6)
    assert again.epoch == 3  # that it had stopped is part of the checkpoint
    assert weights(again.model) == weights(whole.model)


def test_interrupt_from_another_thread_stops_and_calls_on_exception(make_trainer, loaders):
    class InThread(Callback):
        def on_train_batch_end(self, batch, logs):
            thread = threading.Thread(target=self.trainer.interrupt)
            thread.start()
            thread.join()

    recorder = Recorder()
    with pytest.raises(TrainingInterrupted, match="stopped in epoch 1 of 9 after 1 batches") as caught:
        make_trainer([InThread(), recorder]).fit(*loaders, epochs=9)
    assert caught.value.signal is None
    assert recorder.calls[-1] == ("on_exception",)
    assert ("on_train_end",) not in recorder.calls


def test_the_loaders_threads_end_with_an_interruption(make_trainer, make_loaders):
    before = threading.active_count()
    with pytest.raises(TrainingInterrupted) as caught:
        make_trainer([StopAfter(2)]).fit(*make_loaders(), epochs=9)
    assert caught.value.__traceback__ is not None
    assert threading.active_count() == before


def test_state_dict_of_another_trainer_is_refused(make_trainer, loaders):
    trainer = make_trainer([CSVLogger("unused.csv")])
    state = trainer.state_dict()
    with pytest.raises(ValueError, match=re.escape("state has callbacks ['CSVLogger'], expected []")):
        make_trainer().load_state_dict(state)
    with pytest.raises(ValueError, match="state is with a scheduler, the trainer is without one"):
        make_trainer([CSVLogger("unused.csv")], scheduler=None).load_state_dict(state)
    del state["epoch"], state["means"]
    with pytest.raises(ValueError, match="state lacks epoch, means"):
        make_trainer([CSVLogger("unused.csv")]).load_state_dict(state)


def test_callbacks_without_a_state_may_come_and_go(make_trainer):
    make_trainer().load_state_dict(make_trainer([Callback()]).state_dict())


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_and_names_the_place(make_trainer, loaders, tmp_path, value, compiled):
    class Poison(Callback):
        def on_train_batch_begin(self, batch, logs):
            if (self.trainer.epoch, batch) == (1, 2):
                good = self.trainer.loss
                self.trainer.loss = lambda outputs, labels: good(outputs, labels) + value

    path = tmp_path / "c.safetensors"
    trainer = make_trainer([Poison()], compile=compiled)
    with pytest.raises(NonFiniteLossError, match=rf"Trainer.fit: .*loss is {value}.*") as caught:
        trainer.fit(*loaders, epochs=3, checkpoint=path)
    assert "epoch 2, batch 3" in str(caught.value)
    resumed = make_trainer()
    load_checkpoint(resumed, path)
    assert (resumed.epoch, resumed.batch) == (1, 0)
    assert all(np.isfinite(value.numpy()).all() for value in resumed.model.state_dict().values())


def test_empty_loaders_are_refused(make_trainer, loaders):
    with pytest.raises(ValueError, match=r"Trainer\.fit: train_loader gives no batches"):
        make_trainer().fit([])
    with pytest.raises(ValueError, match=r"Trainer\.fit: validation_loader: the loader gives no batches"):
        make_trainer().fit(loaders[0], [])
    with pytest.raises(ValueError, match=r"Trainer\.evaluate: the loader gives no batches"):
        make_trainer().evaluate([])
    with pytest.raises(ValueError, match=r"Trainer\.predict: the loader gives no batches"):
        make_trainer().predict([])


@pytest.mark.parametrize("epochs", [-1, 1.5, True])
def test_fit_refuses_epochs(make_trainer, loaders, epochs):
    with pytest.raises(ValueError, match=f"Trainer.fit: epochs is {epochs}, expected an integer"):
        make_trainer().fit(loaders[0], epochs=epochs)


def test_constructor_refuses(make_trainer):
    with pytest.raises(ValueError, match="scheduler_interval is 'step', expected 'epoch' or 'batch'"):
        make_trainer(scheduler_interval="step")
    with pytest.raises(
        TypeError, match=re.escape("callbacks[1] is <class 'nnfast.train.callbacks.Callback'>, expected a")
    ):
        make_trainer([Callback(), Callback])
