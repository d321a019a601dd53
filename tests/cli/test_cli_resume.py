"""Ctrl-C and --resume, in real processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from nnfast.io import load

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")

COMMAND = [sys.executable, "-c", "import sys; from nnfast.cli import main; sys.exit(main())"]
RESULTS = ("model.safetensors", "history.csv", "config.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return data on which an epoch takes long enough to be interrupted in its middle."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "data.npz"
    images = rng.integers(0, 256, (4000, 8, 8, 1), dtype=np.uint8)
    np.savez(path, x_train=images, y_train=np.arange(4000) % 3, x_test=images[:20], y_test=np.arange(20) % 3)
    return path


def begin(data, folder, epochs=3):
    arguments = ["train", "--data", data, "--run", folder, "--epochs", epochs, "--batch-size", "4", "--threads", "1",
                 "--backend", "cython", "--no-plots"]  # fmt: skip
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell that runs the tests in its background has them, and their children, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def resume(folder, *arguments):
    command = [*COMMAND, "train", "--resume", str(folder), "--no-plots", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def interrupt_in_an_epoch(process, number, after_epochs):
    """Send a signal some batches after an epoch's line was printed."""
    line = ""
    while not line.startswith(f"epoch {after_epochs}/"):
        line = process.stdout.readline()
        assert line, process.stderr.read()
    time.sleep(0.1)
    process.send_signal(number)
    return process.communicate(timeout=60)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Return the results of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    process = begin(data, folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_ends_with_the_same_bytes(data, whole, tmp_path, number, code):
    folder = tmp_path / "run"
    process = begin(data, folder)
    _, err = interrupt_in_an_epoch(process, number, after_epochs=1)
    assert process.returncode == code
    match = re.fullmatch(
        r"nnfast: stopped in epoch 2 of 3 after (\d+) batches; go on from the last checkpoint with: "
        rf"nnfast train --resume {re.escape(str(folder))}\n",
        err,
    )
    assert match, err
    assert 0 < int(match[1]) < 1000
    state = load(folder / "checkpoint.safetensors")
    assert (state["epoch"], state["batch"]) == (1, int(match[1]))
    assert not (folder / "model.safetensors").exists()

    result = resume(folder)
    assert result.returncode == 0, result.stderr
    assert f"going on after 1 epochs and {match[1]} batches" in result.stdout
    assert [line.split("  ")[0] for line in result.stdout.splitlines()[1:3]] == ["epoch 2/3", "epoch 3/3"]
    assert {name: (folder / name).read_bytes() for name in RESULTS} == whole


def test_a_run_may_be_stopped_twice_and_moved(data, whole, tmp_path):
    folder = tmp_path / "run"
    _, err = interrupt_in_an_epoch(begin(data, folder), signal.SIGINT, after_epochs=1)
    assert "stopped in epoch 2" in err
    moved = folder.rename(tmp_path / "elsewhere")
    second = subprocess.Popen(
        [*COMMAND, "train", "--resume", str(moved), "--no-plots"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    _, err = interrupt_in_an_epoch(second, signal.SIGINT, after_epochs=2)
    assert "stopped in epoch 3" in err
    assert resume(moved).returncode == 0
    assert {name: (moved / name).read_bytes() for name in RESULTS} == whole


def test_a_killed_run_goes_on_from_the_epoch_before(data, whole, tmp_path):
    folder = tmp_path / "run"
    interrupt_in_an_epoch(begin(data, folder), signal.SIGKILL, after_epochs=1)
    assert (load(folder / "checkpoint.safetensors")["batch"]) == 0
    assert resume(folder).returncode == 0
    assert {name: (folder / name).read_bytes() for name in RESULTS} == whole


def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(data, whole, tmp_path):
    folder = tmp_path / "run"
    interrupt_in_an_epoch(begin(data, folder), signal.SIGINT, after_epochs=2)
    path = folder / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    result = resume(folder)
    assert result.returncode == 0
    assert re.match(rf"nnfast: warning: {re.escape(str(path))}: .*; going on from .*previous", result.stderr)
    assert result.stderr.count("\n") == 1
    assert {name: (folder / name).read_bytes() for name in RESULTS} == whole


def test_a_run_without_a_checkpoint_begins_at_the_start(data, whole, tmp_path):
    folder = tmp_path / "run"
    interrupt_in_an_epoch(begin(data, folder), signal.SIGINT, after_epochs=1)
    for file in folder.glob("checkpoint*"):
        file.unlink()
    assert resume(folder).returncode == 0
    assert {name: (folder / name).read_bytes() for name in RESULTS} == whole


# ------------------------------------------------------------------ what --resume refuses


def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def test_a_finished_run_writes_its_results_again(run, finished, tmp_path):
    folder = copied(finished, tmp_path)
    (folder / "model.safetensors").unlink()
    code, out, err = run("train", "--resume", folder, "--no-plots")
    assert (code, err) == (0, "")
    assert "epoch" not in out.splitlines()[1]
    assert (folder / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [(["--epochs", "9"], "epochs"), (["--lr", "0"], "lr"), (["--batch-size", "3"], "batch-size"),
     (["--model", "lenet5"], "model"), (["--run", "x"], "run"), (["--seed", "0"], "seed")],
)  # fmt: skip
def test_resume_excludes_settings(refused, finished, arguments, option):
    message = refused("train", "--resume", finished, *arguments)
    assert message == f"nnfast: --resume goes on with the settings of {finished}; remove --{option}"


def test_resume_of_what_is_no_run(refused, tmp_path):
    assert "no such folder" in refused("train", "--resume", "missing")
    assert "no run folder, it has no config.json" in refused("train", "--resume", tmp_path)


def test_resume_with_an_edited_config(refused, finished, tmp_path):
    folder = copied(finished, tmp_path)
    config = folder / "config.json"
    good = config.read_text()
    config.write_text(good.replace('"epochs": 6', '"epochs": "six"'))
    assert (
        refused("train", "--resume", folder) == f'nnfast: {config}: epochs is "six", expected an integer of at least 1'
    )
    config.write_text(good.replace('"digits-cnn"', '"digits"'))
    assert "there is no 'digits'" in refused("train", "--resume", folder)
    config.write_text(good.replace('"digits-cnn"', '"vgg-small"'))
    assert "cannot take images of 6x6" in refused("train", "--resume", folder)
    config.write_text(good.replace('"digits-cnn"', '"resnet20"'))
    assert refused("train", "--resume", folder).startswith(
        f"nnfast: {folder}/checkpoint.safetensors: does not fit this training run"
    )


def test_resume_with_other_data(refused, finished, tmp_path):
    assert "digits: has images of 1x8x8" in refused("train", "--resume", finished, "--data", "digits")
    images = np.zeros((6, 6, 6, 1), np.uint8)
    np.savez(tmp_path / "few.npz", x_train=images, y_train=np.arange(6) % 3, x_test=images, y_test=np.arange(6) % 3)
    message = refused("train", "--resume", finished, "--data", "few.npz")
    assert message == f"nnfast: few.npz: has 6 images to train on, {finished} was begun with 40"
