"""Which steps are profiled, and what is told of them."""

from __future__ import annotations

import io
from contextlib import contextmanager

import pytest

import nnfast
from nnfast.compiler.function import Variant
from nnfast.train import ProfileSteps, TrainingInterrupted


class Profile:
    """Stands for what `nnfast.profile` gives: counts the runs of plans."""

    def __init__(self):
        self.runs = []
        self.open = True

    def table(self):
        return f"table of {len(self.runs)} runs"

    def trace(self, path):
        path.write_text(f"{len(self.runs)}")


@pytest.fixture
def profiles(monkeypatch):
    """Replace `nnfast.profile`, and return the list of profiles that were made."""
    made = []
    run = Variant.run

    @contextmanager
    def profile():
        made.append(Profile())
        yield made[-1]
        made[-1].open = False

    def counted(self, args, kwargs, *more):
        for one in made:
            if one.open:
                one.runs.append(args[0])
        return run(self, args, kwargs, *more)

    monkeypatch.setattr(nnfast, "profile", profile, raising=False)
    monkeypatch.setattr(Variant, "run", counted)
    return made


def test_a_window_of_steps_after_the_first_ones(make_trainer, loaders, profiles, tmp_path):
    lines = io.StringIO()
    callback = ProfileSteps(tmp_path / "trace.json", lines, warm_up=1, steps=3)
    make_trainer([callback]).fit(*loaders, epochs=3)
    [profile] = profiles
    assert profile.runs == ["a training step"] * 3
    assert not profile.open
    assert (tmp_path / "trace.json").read_text() == "3"
    assert lines.getvalue() == (
        f"profile of batches 2 to 4 of epoch 1, compiled; trace in {tmp_path / 'trace.json'}\ntable of 3 runs\n"
    )


def test_a_window_ends_before_the_last_batch_of_its_epoch(make_trainer, loaders, profiles, tmp_path):
    lines = io.StringIO()
    make_trainer([ProfileSteps(tmp_path / "t", lines, warm_up=7)]).fit(*loaders, epochs=3)
    assert [len(profile.runs) for profile in profiles] == [2]
    assert lines.getvalue().startswith("profile of batches 3 to 4 of epoch 2, compiled; ")


def test_a_window_never_begins_with_the_last_batch(make_trainer, loaders, profiles, tmp_path):
    lines = io.StringIO()
    make_trainer([ProfileSteps(tmp_path / "t", lines, warm_up=4)]).fit(*loaders, epochs=2)
    assert lines.getvalue().startswith("profile of batches 1 to 4 of epoch 2, compiled; ")


def test_too_few_steps_are_told(make_trainer, loaders, profiles, tmp_path):
    lines = io.StringIO()
    make_trainer([ProfileSteps(tmp_path / "t", lines)]).fit(*loaders, epochs=1)
    assert not profiles
    assert lines.getvalue() == "nothing was profiled: training had 5 steps, the first 5 to warm up\n"


def test_it_says_whether_steps_were_compiled(make_trainer, loaders, profiles, tmp_path):
    lines = io.StringIO()
    make_trainer([ProfileSteps(tmp_path / "t", lines)], compile=False).fit(*loaders, epochs=2)
    assert lines.getvalue().startswith(f"profile of batches 1 to 4 of epoch 2, eager; trace in {tmp_path}")


def test_an_interruption_ends_the_profile_and_keeps_the_trace(make_trainer, loaders, profiles, tmp_path):
    class Stop(ProfileSteps):
        def on_train_batch_end(self, batch, logs):
            super().on_train_batch_end(batch, logs)
            if batch == 2:
                self.trainer.interrupt()

    with pytest.raises(TrainingInterrupted):
        make_trainer([Stop(tmp_path / "t", warm_up=1)]).fit(*loaders)
    assert not profiles[0].open
    assert (tmp_path / "t").read_text() == "2"


def test_each_fit_has_its_own(make_trainer, loaders, profiles, tmp_path):
    trainer = make_trainer([ProfileSteps(tmp_path / "t", warm_up=1, steps=2)])
    trainer.fit(loaders[0])
    trainer.fit(loaders[0])
    assert [len(profile.runs) for profile in profiles] == [2, 2]
