"""A checkpoint is never lost: not to a full disk, not to a damaged file."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys

import pytest

from nnfast.io import load, save
from nnfast.train import load_checkpoint, save_checkpoint
from nnfast.train.checkpoint import previous_checkpoint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.safetensors"


def position(trainer):
    return trainer.epoch, trainer.batch


def test_the_one_before_is_kept(make_trainer, loaders, path):
    trainer = make_trainer()
    trainer.fit(*loaders, epochs=3, checkpoint=path)
    assert load(path)["epoch"] == 3
    assert load(previous_checkpoint(path))["epoch"] == 2
    assert sorted(file.name for file in path.parent.iterdir()) == [previous_checkpoint(path).name, path.name]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_checkpoint(make_trainer, loaders, path, monkeypatch, function):
    trainer = make_trainer()
    trainer.fit(*loaders, epochs=1, checkpoint=path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="No space left") as caught:
        trainer.fit(*loaders, epochs=1, checkpoint=path)
    monkeypatch.undo()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    resumed = make_trainer()
    load_checkpoint(resumed, path)
    assert position(resumed) == (1, 0)


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX")
def test_a_file_that_the_system_cuts_off_keeps_the_old_checkpoint(path):
    """The process may not write files of more than 20 kB; the second checkpoint needs more."""
    save({"old": True}, path)
    script = """if True:
        import resource, signal, sys
        import numpy as np
        from nnfast.io import save
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            save({"new": np.zeros(1_000_000)}, sys.argv[1], keep=sys.argv[1] + ".previous")
        except OSError as error:
            print(error.filename)
    """
    result = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == str(path), result.stderr
    assert load(path) == {"old": True}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-1])])
def test_the_previous_checkpoint_stands_in(make_trainer, loaders, path, weights, damage):
    whole = make_trainer()
    whole.fit(*loaders, epochs=2, checkpoint=path)
    damage(path)
    resumed = make_trainer()
    with pytest.warns(RuntimeWarning, match=f"{re.escape(str(path))}.*going on from {re.escape(str(path.parent))}"):
        assert load_checkpoint(resumed, path) == previous_checkpoint(path)
    assert position(resumed) == (1, 0)
    resumed.fit(*loaders, epochs=2)
    assert weights(resumed.model) == weights(whole.model)


def test_without_a_previous_one_the_error_is_told(make_trainer, path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(make_trainer(), path)
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match=re.escape(f"{path}: header length is 5 bytes")):
        load_checkpoint(make_trainer(), path)


def test_another_models_checkpoint_is_refused_by_name(make_trainer, path):
    state = make_trainer().state_dict()
    state["model"] = {"other.weight": state["model"]["5.weight"]}
    save(state, path)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: does not fit this training run: .*other.weight"):
        load_checkpoint(make_trainer(), path)


def test_a_file_that_is_no_checkpoint_is_refused_by_name(make_trainer, path):
    save({"a": 1}, path)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: does not fit .* state lacks model, optimizer"):
        load_checkpoint(make_trainer(), path)


def test_equal_positions_give_equal_bytes_but_for_the_time(make_trainer, loaders, path):
    contents = []
    for _ in range(2):
        trainer = make_trainer()
        loaders[0].set_epoch(0)
        trainer.fit(*loaders, epochs=1)
        trainer.history.history["seconds"] = [0.0]
        save_checkpoint(trainer, path)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
