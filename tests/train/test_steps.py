"""Compiled training steps in the trainer: the same results, and what happens where a model cannot be captured."""

from __future__ import annotations

import gc
import re
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest

from nnfast import nn, ones, optim
from nnfast.compiler.function import Variant
from nnfast.data import DataLoader
from nnfast.random import seed_everything
from nnfast.tensor import from_numpy, tensor
from nnfast.train import Callback, History, NonFiniteLossError, Trainer
from nnfast.train.steps import EVALUATE, TRAIN, Steps


class Peeking(nn.Module):
    """Looks at a value, in training or in evaluation or in both."""

    def __init__(self, modes=(True, False)):
        super().__init__()
        self.flat, self.fc = nn.Flatten(), nn.Linear(16, 3)
        self.modes = modes

    def forward(self, x):
        if self.training in self.modes and x.sum().item() > 1e9:  # this line is told
            return self.fc(self.flat(x)) * 0
        return self.fc(self.flat(x))


LINES = Path(__file__).read_text(encoding="utf-8").splitlines()
THE_LINE = 1 + next(i for i, line in enumerate(LINES) if "# this line is told" in line)


class Halving(optim.SGD):
    """An optimizer with a step of its own, which counts in Python."""

    steps = 0

    def step(self, closure=None):
        self.steps += 1
        self.param_groups[0]["lr"] = 0.1 / self.steps
        return super().step(closure)


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def trainer_of(model=linear, optimizer=optim.SGD, **arguments):
    seed_everything(1)
    made = model()
    arguments.setdefault("loss", nn.CrossEntropyLoss())
    return Trainer(made, optimizer(made.parameters(), lr=0.1), **arguments)


@pytest.fixture
def ragged(loaders):
    """Return loaders whose last batches are smaller."""
    train, validation = loaders
    return (
        DataLoader(train.dataset, 12, shuffle=True, seed=5, transform=train.transform),
        DataLoader(validation.dataset, 8),
    )


@pytest.mark.parametrize("scheduler", [None, "onecycle", "step"])
def test_compiled_and_eager_training_agree(make_trainer, ragged, scheduler):
    made = []
    for compile in (True, False):
        ragged[0].set_epoch(0)
        trainer = make_trainer(scheduler=scheduler, compile=compile)
        trainer.fit(*ragged, epochs=3)
        made.append(trainer)
    compiled, eager = made
    for name, values in eager.history.history.items():
        if name != "seconds":
            np.testing.assert_allclose(compiled.history.history[name], values, rtol=1e-3, err_msg=name)
    for name, value in eager.model.state_dict().items():
        np.testing.assert_allclose(compiled.model.state_dict()[name].numpy(), value.numpy(), rtol=1e-2, atol=1e-4)
    assert (compiled.compiled, compiled.history.compiled) == (True, [True] * 3)
    assert (eager.compiled, eager.history.compiled) == (False, [False] * 3)
    np.testing.assert_allclose(compiled.predict(ragged[1]), eager.predict(ragged[1]), rtol=1e-2, atol=1e-4)


def test_each_kind_of_batch_is_captured_once(make_trainer, ragged, monkeypatch):
    captured = []
    init = Variant.__init__
    monkeypatch.setattr(Variant, "__init__", lambda self, *args: (captured.append(args[1][0]), init(self, *args))[1])
    make_trainer().fit(*ragged, epochs=4)
    assert sorted(captured) == [TRAIN, TRAIN, EVALUATE, EVALUATE] or sorted(captured) == sorted([TRAIN, EVALUATE] * 2)


def test_a_trainer_that_was_told_so_never_captures(make_trainer, loaders, monkeypatch):
    monkeypatch.setattr(Variant, "__init__", lambda *_: pytest.fail("captured"))
    trainer = make_trainer(compile=False)
    trainer.fit(*loaders, epochs=1)
    trainer.evaluate(loaders[1])
    trainer.predict(loaders[1])


def test_what_cannot_be_captured_runs_eagerly_after_one_warning(loaders, weights):
    trainer = trainer_of(Peeking)
    with pytest.warns(UserWarning, match="cannot be compiled") as caught:
        trainer.fit(*loaders, epochs=2)
    trainer.evaluate(loaders[1])  # told already: another warning would be an error
    [warning] = caught
    text = str(warning.message)
    assert text.startswith("a training step cannot be compiled and runs eagerly, which is slower: ")
    assert re.search(rf"test_steps\.py, line {THE_LINE}, in forward: .*item\(\) needs the values", text), text
    assert "compile=False" in text
    assert (trainer.compiled, trainer.history.compiled) == (False, [False, False])

    loaders[0].set_epoch(0)
    eager = trainer_of(Peeking, compile=False)
    eager.fit(*loaders, epochs=2)
    assert weights(trainer.model) == weights(eager.model)
    assert trainer.history.history["val_loss"] == eager.history.history["val_loss"]


def test_an_evaluation_that_cannot_be_captured_leaves_training_compiled(loaders):
    trainer = trainer_of(lambda: Peeking(modes=(False,)))
    with pytest.warns(UserWarning, match="an evaluation cannot be compiled"):
        trainer.fit(*loaders, epochs=2)
    assert trainer.compiled
    assert trainer.history.compiled == [True, True]


def test_a_loss_that_cannot_be_captured_is_named(loaders):
    def loss(outputs, labels):
        return nn.CrossEntropyLoss()(outputs, labels) * float(labels.numpy().max() >= 0)

    trainer = trainer_of(loss=loss)
    with pytest.warns(UserWarning, match=r"test_steps\.py, line \d+, in loss: ") as caught:
        trainer.fit(*loaders, epochs=1)
    assert len(caught) == 1
    trainer.predict(loaders[1])
    assert trainer._steps().compiled()


def test_batches_that_hold_no_tensors_run_eagerly():
    class Arrays(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(from_numpy(x["x"]))

    trainer = trainer_of(Arrays)
    batch = {"x": np.ones((4, 2), np.float32)}, tensor([0, 1, 0, 1])
    with pytest.warns(UserWarning, match="a training step cannot be compiled .*: a batch holds ndarray: expected tens"):
        trainer.fit([batch], epochs=2)
    assert not trainer.compiled


def test_nested_tensors_are_compiled():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(x["a"] + x["b"][0])

    trainer = trainer_of(Pair)
    trainer.fit([({"a": ones(4, 2), "b": [ones(4, 2)]}, tensor([0, 1, 0, 1]))], epochs=2)
    assert trainer.compiled


def test_an_optimizer_with_a_step_of_its_own_makes_it_every_time(loaders, weights):
    results = []
    for compile in (True, False):
        loaders[0].set_epoch(0)
        trainer = trainer_of(optimizer=Halving, compile=compile)
        trainer.fit(loaders[0], epochs=2)
        assert trainer.optimizer.steps == 10
        assert trainer.compiled is compile
        results.append(trainer)
    for compiled, eager in zip(results[0].model.parameters(), results[1].model.parameters(), strict=True):
        np.testing.assert_allclose(compiled.detach().numpy(), eager.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_a_loss_replaced_while_training_is_used(loaders):
    class Replace(Callback):
        def on_train_batch_begin(self, batch, logs):
            if batch == 2:
                self.trainer.loss = lambda outputs, labels: nn.CrossEntropyLoss()(outputs, labels) * 0 + 7

    trainer = trainer_of(callbacks=[Replace()], optimizer=lambda p, lr: optim.SGD(p, lr=0.0))
    before = trainer.evaluate(loaders[0])["loss"]
    loaders[0].set_epoch(0)
    loss = trainer.fit(loaders[0], epochs=1).history["loss"][0]
    assert loss == pytest.approx((2 * before + 3 * 7) / 5, rel=0.2)
    assert trainer.evaluate(loaders[1])["loss"] == 7


def test_a_step_that_a_plan_stops_names_epoch_batch_and_layer(make_trainer, loaders, monkeypatch):
    runs = []
    run = Variant.run

    def stopped(self, args, kwargs, *more):
        runs.append(args[0])
        if runs.count(TRAIN) == 8:
            raise FloatingPointError(
                "the loss is nan; the first such values came out of conv2d_forward in 0. Lower lr."
            )
        return run(self, args, kwargs, *more)

    monkeypatch.setattr(Variant, "run", stopped)
    with pytest.raises(
        NonFiniteLossError, match=r"^Trainer\.fit: epoch 2, batch 3: the loss is nan; .* in 0\. Lower lr$"
    ) as caught:
        make_trainer().fit(*loaders, epochs=3)
    assert isinstance(caught.value.__cause__, FloatingPointError)


def test_an_eager_floating_point_error_is_the_users_own(loaders):
    def loss(outputs, labels):
        raise FloatingPointError("mine")

    with pytest.raises(FloatingPointError, match=r"^mine$"):
        trainer_of(loss=loss, compile=False).fit(loaders[0])


def test_an_older_history_ran_eagerly():
    history = History()
    history.load_state_dict({"epoch": [0, 1], "history": {"loss": [2.0, 1.0]}, "elapsed": 0.0})
    assert history.compiled == [False, False]


def test_steps_that_are_dropped_are_freed_at_once():
    gc.collect()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            steps = Steps(nn.Linear(2, 2).eval())
            assert steps.predict(ones(3, 2)).shape == (3, 2)
        gone = weakref.ref(steps)
        del steps
        assert gone() is None
    finally:
        gc.enable()
