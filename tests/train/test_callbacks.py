"""EarlyStopping, ModelCheckpoint, CSVLogger and ProgressBar."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

import nnfast
from nnfast.grad_mode import no_grad
from nnfast.train import Callback, CSVLogger, EarlyStopping, ModelCheckpoint, ProgressBar, progress


class FakeTrainer:
    """What the callbacks below need of a trainer."""

    def __init__(self, model=None):
        self.model = model
        self.resumed = False
        self.stop_training = False


def epochs_run(stopping, values, trainer=None):
    """Feed a monitored value an epoch; return how many epochs ran."""
    stopping.trainer = trainer or FakeTrainer()
    stopping.trainer.stop_training = False
    stopping.on_train_begin({})
    for epoch, value in enumerate(values):
        stopping.on_epoch_end(epoch, {"loss": 0.0, stopping.monitor: value})
        if stopping.trainer.stop_training:
            return epoch + 1
    return len(values)


@pytest.mark.parametrize(
    ("arguments", "values", "expected"),
    [
        ({}, [3, 2, 1, 1, 0], 4),  # patience 0: the first epoch without improvement
        ({"patience": 2}, [3, 2, 4, 1, 1, 1, 0], 6),
        ({"patience": 3}, [3, 2, 1], 3),
        ({"min_delta": 0.5}, [3, 2, 1.6, 1], 3),
        ({"min_delta": 0.5, "patience": 2}, [3, 2.6, 2.2, 2.1, 2], 5),  # each step counts from the best, not the last
        ({"monitor": "val_accuracy"}, [0.1, 0.2, 0.2, 0.3], 3),
        ({"monitor": "score", "mode": "max"}, [1, 2, 1], 3),
        ({"monitor": "val_accuracy", "mode": "min"}, [0.2, 0.1, 0.3], 3),
        ({"patience": 1}, [math.nan, math.nan, 1], 2),
        ({"patience": 2}, [math.nan, 1, 0.5], 3),
    ],
)
def test_early_stopping(arguments, values, expected):
    stopping = EarlyStopping(**arguments)
    assert epochs_run(stopping, values) == expected
    assert stopping.stopped_epoch == (expected - 1 if expected < len(values) or stopping.trainer.stop_training else 0)


def test_early_stopping_begins_anew_with_each_fit():
    stopping = EarlyStopping(patience=1)
    assert epochs_run(stopping, [1, 2]) == 2
    assert epochs_run(stopping, [5, 4, 4]) == 3
    assert stopping.best == 4


@pytest.mark.parametrize(("restore", "expected"), [(True, 1.0), (False, 3.0)])
def test_early_stopping_restores_the_best_weights(make_trainer, restore, expected):
    model = make_trainer().model
    stopping = EarlyStopping(patience=5, restore_best_weights=restore)
    stopping.trainer = FakeTrainer(model)
    stopping.on_train_begin({})
    bias = dict(model.named_parameters())["5.bias"]
    for epoch, (loss, value) in enumerate([(2, 0.0), (1, 1.0), (3, 2.0), (3, 3.0)]):
        with no_grad():
            bias.fill_(value)  # in place, as optimizers do
        stopping.on_epoch_end(epoch, {"val_loss": loss})
    stopping.on_train_end({})
    assert model.state_dict()["5.bias"].numpy().tolist() == [expected] * 3


@pytest.mark.parametrize("make", [EarlyStopping, lambda **a: ModelCheckpoint("x", save_best_only=True, **a)])
def test_a_missing_quantity_lists_what_there_is(make):
    callback = make(monitor="val_loss")
    with pytest.raises(
        ValueError, match=r"monitor is 'val_loss', expected one of loss, lr; val_\.\.\. need fit\(valid"
    ):
        callback.on_epoch_end(0, {"loss": 1.0, "lr": 0.1})


def test_a_missing_quantity_in_a_real_run(make_trainer, loaders):
    with pytest.raises(ValueError, match="EarlyStopping: monitor is 'val_loss', expected one of loss, accuracy, lr"):
        make_trainer([EarlyStopping()]).fit(loaders[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "best"}, "mode is 'best', expected 'auto', 'min' or 'max'"),
        ({"monitor": "score"}, "mode is 'auto', which does not know 'score'; pass 'min' or 'max'"),
        ({"min_delta": -1}, "min_delta is -1"),
        ({"min_delta": math.nan}, "min_delta is nan"),
        ({"patience": -1}, "patience is -1"),
        ({"patience": 1.5}, "patience is 1.5"),
    ],
)
def test_early_stopping_refuses(arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"EarlyStopping: {message}")):
        EarlyStopping(**arguments)


def test_model_checkpoint_writes_each_epoch(make_trainer, loaders, tmp_path):
    trainer = make_trainer([ModelCheckpoint(tmp_path / "deep" / "{epoch:02d}-{val_loss:.3f}.safetensors")])
    history = trainer.fit(*loaders, epochs=2).history
    files = sorted(path.name for path in (tmp_path / "deep").iterdir())
    assert files == [f"{n + 1:02d}-{loss:.3f}.safetensors" for n, loss in enumerate(history["val_loss"])]
    saved = safetensors.numpy.load_file(tmp_path / "deep" / files[-1])
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(saved[name], value.numpy())


def test_model_checkpoint_save_best_only(make_trainer, tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}", monitor="val_accuracy", save_best_only=True)
    checkpoint.trainer = FakeTrainer(make_trainer().model)
    for epoch, value in enumerate([0.5, 0.4, 0.6, 0.6]):
        checkpoint.on_epoch_end(epoch, {"val_accuracy": value})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3"]


def test_model_checkpoint_resumes_with_the_best(make_trainer, tmp_path):
    first = ModelCheckpoint(tmp_path / "m", save_best_only=True)
    first.best = 0.1
    second = ModelCheckpoint(tmp_path / "m", save_best_only=True)
    second.load_state_dict(first.state_dict())
    second.trainer = FakeTrainer(make_trainer().model)
    second.on_epoch_end(5, {"val_loss": 0.2})
    assert not (tmp_path / "m").exists()


def test_model_checkpoint_names_a_wrong_field(make_trainer):
    checkpoint = ModelCheckpoint("{epoch}-{val_f1}")
    checkpoint.trainer = FakeTrainer(make_trainer().model)
    with pytest.raises(ValueError, match=r"filepath '\{epoch\}-\{val_f1\}' names 'val_f1', expected epoch, loss"):
        checkpoint.on_epoch_end(0, {"loss": 1.0})


def test_csv_logger_writes_what_the_history_holds(make_trainer, loaders, tmp_path):
    path = tmp_path / "history.csv"
    lengths = []

    class Watch(Callback):
        def on_epoch_end(self, epoch, logs):
            lengths.append(len(path.read_text().splitlines()))

    history = make_trainer([CSVLogger(path), Watch()]).fit(*loaders, epochs=3).history
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert lengths == [2, 3, 4]  # written after each epoch, not at the end
    assert list(rows[0]) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr"]
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    for name in rows[0].keys() - {"epoch"}:
        assert [float(row[name]) for row in rows] == history[name]


def test_csv_logger_begins_anew_with_each_fit(make_trainer, loaders, tmp_path):
    trainer = make_trainer([CSVLogger(tmp_path / "h.csv", separator=";")])
    for _ in range(2):
        trainer.fit(loaders[0], epochs=1)
        assert (tmp_path / "h.csv").read_text().count("\n0;") == 1


def test_progress_is_one_line_an_epoch_without_a_terminal(make_trainer, loaders, capsys):
    with nnfast.backend("cython"):  # which has nothing to compile, and to say so
        make_trainer([ProgressBar()]).fit(*loaders, epochs=2)
    out, err = capsys.readouterr()
    pattern = (
        r"epoch {}/2  loss \d\.\d{{4}}  accuracy \d+\.\d\d%  val_loss .*  val_accuracy .*%  lr [\d.e-]+  \d+\.\d s  "
        r"[\d,]+ images/s  cython"
    )
    lines = out.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(pattern.format(n), line) for n, line in enumerate(lines, start=1)), out
    assert err == ""


def test_progress_is_a_bar_on_a_terminal(make_trainer, loaders, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal, lines = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    trainer = make_trainer([ProgressBar(lines)])
    trainer.fit(*loaders, epochs=1)
    assert "epoch 1/1" in terminal.getvalue()
    assert "0/5" in terminal.getvalue()
    assert re.search(r"accuracy=.*, [\d,-]+ images/s, numba compiled", terminal.getvalue())
    assert lines.getvalue().count("\n") == 1
    assert trainer.callbacks[0]._bar is None


def test_kernels_that_are_compiled_are_told(make_trainer, loaders, monkeypatch):
    class Compiles:
        """Tells of two new kernels at once."""

        def __init__(self, tell):
            tell(1)
            tell(2)

        def end(self):
            ended.append(self)

    ended, lines = [], io.StringIO()
    monkeypatch.setattr(progress, "Compiling", Compiles)
    make_trainer([ProgressBar(lines)], compile=False).fit(*loaders, epochs=2)
    assert [line[:9] for line in lines.getvalue().splitlines()] == ["compiling", "epoch 1/2", "epoch 2/2"]
    assert len(ended) == 1  # the second epoch watches no more


def test_speed_is_that_of_training_steps_alone(make_trainer, monkeypatch):
    """The first step, which compiles, does not count, nor does what is between steps."""
    now = iter([0.0, 100.0, 200.0, 200.5])
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    bar, trainer = ProgressBar(io.StringIO()), SimpleNamespace(samples=0, compiled=True)
    bar.trainer = trainer
    bar.on_train_begin({})
    assert bar._speed() == "- images/s"
    for batch in range(2):
        bar.on_train_batch_begin(batch, {})
        trainer.samples += 1000
        bar.on_train_batch_end(batch, {})
    assert bar._speed() == "2,000 images/s"


def test_the_bar_is_closed_by_an_error(make_trainer, loaders, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    class Broken(Callback):
        def on_train_batch_end(self, batch, logs):
            raise RuntimeError("broken")

    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = ProgressBar(io.StringIO())
    with pytest.raises(RuntimeError, match="broken"):
        make_trainer([bar, Broken()]).fit(*loaders)
    assert bar._bar is None
