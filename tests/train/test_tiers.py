"""A run that begins on Cython's kernels and moves to Numba's: when it does, what says so, and what it leaves behind."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import numpy as np
import pytest
from nnfast.kernels import background
from nnfast.kernels.backends import current_backend
from nnfast.kernels.choice import chosen_by_sizes

import nnfast
from nnfast import random as nnfast_random
from nnfast.train import Callback, ProgressBar, load_checkpoint, tiers
from nnfast.train.errors import TrainingInterrupted


class FakeBuilder:
    """Compiles nothing: what is missing is what `left` says, and it fails if it is told to."""

    made: list[FakeBuilder] = []

    def __init__(self, folder):
        self.folder, self.needs, self.ended = folder, [], False
        self.made.append(self)

    def need(self, needs):
        self.needs += needs

    def failure(self):
        return self.reason

    def end(self):
        self.ended = True

    reason = None


@pytest.fixture
def builder(monkeypatch):
    """Pretend that kernels are missing until a test says otherwise: ``builder.left.clear()``.

    Those that are really missing in the tests' cache are compiled by the run itself when it has moved.
    """
    made = type("Builder", (FakeBuilder,), {"made": [], "left": {"kernel"}, "unsettled": set()})
    monkeypatch.delenv("NNFAST_BACKEND", raising=False)
    monkeypatch.setattr(background, "Builder", made)
    monkeypatch.setattr(background, "missing", lambda needs: list(made.left))
    monkeypatch.setattr(background, "unsettled", lambda needs: list(made.unsettled))
    monkeypatch.setattr(nnfast_random._state, "given", False)
    return made


class Watch(Callback):
    """Notes the backend of every batch, and calls something at the end of given ones."""

    def __init__(self, **then):
        self.train, self.test, self.then = [], [], then

    def on_train_batch_end(self, batch, logs):
        self.train.append((self.trainer.epoch, batch, current_backend()))
        if (self.trainer.epoch, batch) in self.then.get("at", {}):
            self.then["at"][self.trainer.epoch, batch]()

    def on_test_batch_end(self, batch, logs):
        self.test.append((self.trainer.epoch, batch, current_backend()))


@pytest.fixture
def unseeded(make_trainer, monkeypatch):
    """Return a function that makes a trainer in whose run nobody gave a seed, although it is the same every time."""

    def make(*arguments, **options):
        made = make_trainer(*arguments, **options)
        monkeypatch.setattr(nnfast_random._state, "given", False)
        return made

    return make


@pytest.fixture
def batches(loaders):
    """Return the loaders as somebody makes them who gives no seed."""
    loaders[0].seed_given = False
    return loaders


def backends(calls, epoch):
    return {name for number, _, name in calls if number == epoch}


def test_a_run_moves_between_epochs_when_all_is_there_and_only_then(unseeded, batches, builder):
    watch = Watch(at={(1, 2): builder.left.clear})
    trainer = unseeded([watch])
    history = trainer.fit(*batches, epochs=4)
    assert [backends(watch.train, epoch) for epoch in range(4)] == [{"cython"}, {"cython"}, {"numba"}, {"numba"}]
    assert [backends(watch.test, epoch) for epoch in range(4)] == [{"cython"}, {"cython"}, {"numba"}, {"numba"}]
    assert history.backend == ["cython", "cython", "numba", "numba"]
    assert [one.ended for one in builder.made] == [True]
    assert {variant.backend for variant in variants(trainer)} == {"numba"}, "Cython's plans are still kept"
    assert current_backend() == "numba"
    assert tiers.active() is None


def variants(trainer):
    return [one for known in trainer._steps()._compiled.variants.values() for one in known]


def test_both_kinds_of_computations_and_a_smaller_batch_are_asked_for(unseeded, builder):
    data = [(nnfast.ones(n, 1, 4, 4), nnfast.zeros(n, dtype=nnfast.int64)) for n in (4, 4, 3)]
    unseeded().fit(data, data, epochs=2)
    [one] = builder.made
    sizes = {need.operands["x"][0][0] for need in one.needs if need.op == "conv2d_forward" or "fused_conv" in need.op}
    assert sizes == {3, 4}
    operations = {need.op for need in one.needs}
    assert any("backward" in name for name in operations)
    assert any(name.startswith("adam") for name in operations)


def test_an_unsettled_choice_of_algorithms_keeps_the_run_where_it_is(unseeded, batches, builder):
    builder.unsettled.add("choice")
    watch = Watch(at={(0, 1): builder.left.clear, (1, 1): builder.unsettled.clear})
    assert unseeded([watch]).fit(*batches, epochs=3).backend == ["cython", "cython", "numba"]


def test_a_run_whose_kernels_are_there_is_numbas_from_its_first_step(unseeded, batches, builder):
    builder.left.clear()
    watch = Watch()
    assert unseeded([watch]).fit(*batches, epochs=2).backend == ["numba", "numba"]
    assert {name for _, _, name in watch.train} == {"numba"}
    assert builder.made == []


@pytest.mark.parametrize("how", ["manual_seed", "set_rng_state", "loader", "backend", "variable", "untiered"])
def test_with_a_seed_or_a_chosen_backend_nothing_moves(unseeded, batches, builder, monkeypatch, how):
    trainer = unseeded(tiered=False if how == "untiered" else None)
    if how == "manual_seed":
        nnfast.manual_seed(1)
    if how == "set_rng_state":
        nnfast.set_rng_state(nnfast.get_rng_state())
    batches[0].seed_given = how == "loader"
    if how == "variable":
        monkeypatch.setenv("NNFAST_BACKEND", "cython")
    with nnfast.backend("numba") if how == "backend" else nullcontext():
        history = trainer.fit(*batches, epochs=2)
    assert history.backend == ["cython" if how == "variable" else "numba"] * 2
    assert builder.made == []


def test_sizes_alone_choose_algorithms_on_cython_and_with_a_seed(make_trainer, unseeded, batches, builder):
    """There is no time to measure before a first step, and what was measured may be something else in another cache."""
    seen = []

    class Look(Callback):
        def on_train_batch_end(self, batch, logs):
            seen.append(chosen_by_sizes())

    unseeded([Look(), Watch(at={(0, 2): builder.left.clear})]).fit(*batches, epochs=2)
    assert seen == ["cython"] * 5 + [None] * 5
    seen.clear()
    make_trainer([Look()]).fit(*batches, epochs=1)
    assert seen == ["numba"] * 5


def test_tiered_begins_on_cython_in_spite_of_a_seed(make_trainer, loaders, builder):
    assert make_trainer(tiered=True).fit(*loaders, epochs=1).backend == ["cython"]


def test_loaders_say_whether_a_seed_was_given():
    data = nnfast.data.ArrayDataset(np.zeros((4, 1, 2, 2), np.uint8), np.zeros(4, np.int64))
    loader = nnfast.data.DataLoader(data)
    assert not loader.seed_given
    assert loader.seed >= 0
    assert not loader.seed_given
    assert nnfast.data.DataLoader(data, seed=0).seed_given
    assert nnfast.data.DataLoader(data, generator=np.random.default_rng(0)).seed_given


def test_eager_runs_move_too(unseeded, batches, builder):
    watch = Watch(at={(0, 2): builder.left.clear})
    history = unseeded([watch], compile=False).fit(*batches, epochs=2)
    assert history.backend == ["cython", "numba"]
    assert history.compiled == [False, False]
    assert not any("fused" in need.op for need in builder.made[0].needs)


def test_a_step_that_cannot_be_captured_waits(unseeded, batches, builder):
    trainer = unseeded()
    loss = trainer.loss
    trainer.loss = lambda outputs, labels: loss(outputs, labels) * (2 if float(outputs[0, 0]) > 9 else 1)
    with pytest.warns(UserWarning, match="runs eagerly"):
        assert trainer.fit(*batches, epochs=1).backend == ["numba"]
    assert builder.made == []


def test_what_is_called_after_a_run_does_not_wait_either(unseeded, batches, builder):
    watch = Watch()
    trainer = unseeded([watch])
    trainer.fit(batches[0], epochs=1)
    trainer.evaluate(batches[1])
    assert {name for _, _, name in watch.test} == {"cython"}
    assert len(builder.made) == 1
    builder.left.clear()
    trainer.evaluate(batches[1])
    assert {name for _, _, name in watch.test[2:]} == {"numba"}


# ---------------------------------------------------------------- failures


def test_a_failing_builder_leaves_the_run_on_cython_with_one_message(unseeded, batches, builder):
    builder.reason = "LLVM ERROR: out of memory"
    trainer = unseeded()
    captures_again = Watch(at={(1, 2): trainer._steps().forget_plans})
    trainer.callbacks.append(captures_again)
    with pytest.warns(RuntimeWarning) as caught:
        history = trainer.fit(*batches, epochs=3)
    [warning] = caught
    assert str(warning.message) == (
        "Numba's kernels could not be compiled (LLVM ERROR: out of memory); training goes on with Cython's"
    )
    assert history.backend == ["cython"] * 3
    assert [one.ended for one in builder.made] == [True]


def test_a_process_that_cannot_be_started_is_no_reason_to_stop(unseeded, batches, builder, monkeypatch):
    def refused(folder):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(background, "Builder", refused)
    with pytest.warns(RuntimeWarning, match="could not be compiled .*unavailable.*goes on with Cython's") as caught:
        assert unseeded().fit(*batches, epochs=2).backend == ["cython"] * 2
    assert len(caught) == 1


@pytest.mark.parametrize("error", [TrainingInterrupted, ZeroDivisionError, KeyboardInterrupt])
def test_whatever_ends_a_run_ends_the_builder(unseeded, batches, builder, error):
    def fail():
        raise error("stop")

    with pytest.raises(error):
        unseeded([Watch(at={(0, 2): fail})]).fit(*batches, epochs=2)
    assert [one.ended for one in builder.made] == [True]
    assert current_backend() == "numba"


# ---------------------------------------------------------------- what says so


def test_lines_of_epochs_say_which_backend_ran(unseeded, batches, builder, capsys):
    unseeded([ProgressBar(), Watch(at={(0, 2): builder.left.clear})]).fit(*batches, epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cython, until the kernels of numba are compiled, once for this machine ..."
    assert [line.split()[-1] for line in lines[1:] if line.startswith("epoch")] == ["cython", "numba"]


def test_the_bar_says_how_many_kernels_there_are(unseeded, batches, builder, monkeypatch):
    seen = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("nnfast.train.progress._REFRESH", 0.0)
    bar = ProgressBar()

    class Look(Callback):
        def on_train_batch_end(self, batch, logs):
            seen.append(bar._bar.postfix)

    unseeded([bar, Look(), Watch(at={(0, 4): builder.left.clear})]).fit(*batches, epochs=2)
    assert all("cython compiled, compiling numba: " in text for text in seen[:5])
    assert all(text.endswith("numba compiled") for text in seen[5:])


def test_checkpoints_keep_the_backends(unseeded, batches, builder, tmp_path):
    def stop():
        trainer.interrupt()

    path = tmp_path / "checkpoint.safetensors"
    trainer = unseeded([Watch(at={(1, 2): stop})])
    with pytest.raises(TrainingInterrupted):
        trainer.fit(*batches, epochs=3, checkpoint=path)
    builder.left.clear()
    resumed = unseeded([Watch()])
    load_checkpoint(resumed, path)
    history = resumed.fit(*batches, epochs=3)
    assert history.backend == ["cython", "cython+numba", "numba"]


def test_a_seeded_run_is_resumed_as_one(make_trainer, unseeded, loaders, batches, builder, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    make_trainer().fit(*batches, epochs=1, checkpoint=path)
    resumed = unseeded()
    load_checkpoint(resumed, path)
    assert resumed.fit(*batches, epochs=2).backend == ["numba", "numba"]
    assert builder.made == []


def test_an_older_checkpoint_does_not_know_the_backend(make_trainer, loaders):
    trainer = make_trainer()
    trainer.fit(*loaders, epochs=1)
    state = trainer.state_dict()
    del state["history"]["backend"], state["history"]["ran"], state["random"]["given"]
    resumed = make_trainer()
    resumed.load_state_dict(state)
    assert resumed.fit(*loaders, epochs=2).backend == ["unknown", current_backend()]
