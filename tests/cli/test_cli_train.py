"""``nnfast train``: what it leaves, what it says, what it refuses."""

from __future__ import annotations

import csv
import errno
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from nnfast.compiler.function import Variant
from nnfast.io import load
from nnfast.train import Trainer

FILES = ["checkpoint.previous.safetensors", "checkpoint.safetensors", "config.json", "confusion.png", "curves.png",
         "history.csv", "model.safetensors"]  # fmt: skip


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def settings(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.fixture
def train(run, small_data, tmp_path):
    """Return a function that trains for an epoch on the small data."""

    def call(*arguments, folder="run"):
        wanted = ["--data", small_data, "--epochs", 1, "--run", tmp_path / folder, "--backend", "cython", "--no-plots"]
        return *run("train", *wanted, *arguments), tmp_path / folder

    return call


def test_what_a_run_leaves(finished):
    assert names(finished) == FILES
    for picture, size in (("curves.png", (1000, 400)), ("confusion.png", (800, 700))):
        with Image.open(finished / picture) as image:
            assert image.size == size
            assert np.asarray(image).std() > 5
    rows = list(csv.DictReader((finished / "history.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert float(rows[-1]["val_accuracy"]) == 1
    assert load(finished / "checkpoint.safetensors")["epoch"] == 6


def test_config_says_what_was_chosen(finished, small_data):
    config = settings(finished)
    assert config["model"] == "digits-cnn"
    assert (config["channels"], config["height"], config["width"]) == (1, 6, 6)
    assert config["classes"] == ["0", "1", "2"]
    assert (config["epochs"], config["batch_size"], config["lr"]) == (6, 10, 0.01)
    assert (config["optimizer"], config["schedule"], config["seed"]) == ("adamw", "onecycle", 0)
    assert (config["data"], config["images"], config["backend"]) == (str(small_data), 40, "cython")


def test_the_model_is_that_of_the_last_step(finished):
    model, checkpoint = load(finished / "model.safetensors"), load(finished / "checkpoint.safetensors")["model"]
    assert list(checkpoint) == list(checkpoint | model)
    for name, value in model.items():
        np.testing.assert_array_equal(value.numpy(), checkpoint[name].numpy())


def test_output(train):
    code, out, err, folder = train()
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].startswith("digits-cnn (")
    assert "40 images of 1x6x6" in lines[0]
    assert "cython compiled on" in lines[0]
    assert lines[1].startswith("epoch 1/1  loss ")
    assert re.fullmatch(r"accuracy \d+\.\d\d%, loss \d\.\d{4} on 20 held-out images", lines[2])
    assert str(folder) in lines[3]
    assert lines[3].endswith(f"nnfast predict {folder} IMAGE")
    assert len(lines) == 4


def test_quiet_prints_the_last_line_only(train):
    code, out, err, folder = train("--quiet")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    assert str(folder) in out


def test_no_plots(train):
    assert names(train()[-1]) == [name for name in FILES if not name.endswith((".png", "previous.safetensors"))]


def test_a_run_folder_is_made_by_date_and_model(run, small_data, tmp_path):
    code, out, _ = run("train", "--data", small_data, "--epochs", 1, "--no-plots", "--quiet", "--backend", "cython")
    [folder] = (tmp_path / "runs").iterdir()
    assert code == 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}-digits-cnn", folder.name)
    assert f"runs/{folder.name}" in out


def test_the_same_seed_gives_the_same_bits_with_any_threads_and_workers(train):
    contents = []
    for number, arguments in enumerate([["--threads", 1], ["--threads", 2, "--workers", 2], ["--seed", 1]]):
        folder = train(*arguments, folder=f"run{number}")[-1]
        contents.append([(folder / name).read_bytes() for name in ("model.safetensors", "history.csv")])
    assert contents[0] == contents[1]
    assert contents[0][0] != contents[2][0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optimizer", "sgd"], {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9}),
        (["--optimizer", "adam"], {"optimizer": "adam", "lr": 0.001, "momentum": 0.0}),
        (["--optimizer", "rmsprop", "--momentum", 0.5], {"optimizer": "rmsprop", "lr": 0.001, "momentum": 0.5}),
        (["--optimizer", "adamw"], {"lr": 0.01}),
        (["--lr", 0], {"lr": 0.0}),
        (["--weight-decay", 0, "--schedule", "none"], {"weight_decay": 0.0, "schedule": "none"}),
        (["--augment", "flip", "--seed", 7], {"augment": "flip", "seed": 7}),
        (["--batch-size", 7], {"batch_size": 7}),
        (["--model", "resnet20", "--schedule", "step"], {"model": "resnet20", "batch_size": 128, "lr": 0.1}),
        (["--backend", "reference"], {"backend": "reference"}),
        (["--eager"], {"eager": True}),
        ([], {"eager": False}),
    ],
)
def test_arguments_reach_the_run(train, monkeypatch, arguments, expected):
    fits = []
    monkeypatch.setattr(Trainer, "fit", lambda self, *_, **__: fits.append(self))
    code, _, err, folder = train("--quiet", *arguments)
    assert (code, err) == (0, "")
    assert {name: settings(folder)[name] for name in expected} == expected
    assert fits[0].compile is not settings(folder)["eager"]
    group = fits[0].optimizer.param_groups[0]
    if "weight_decay" in expected:
        assert group["weight_decay"] == 0
    if settings(folder)["schedule"] == "none":
        assert group["lr"] == settings(folder)["lr"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "argument --epochs: is '0', expected an integer of at least 1; see nnfast train --help"),
        (["--epochs", "x"], "argument --epochs: is 'x'"),
        (["--batch-size", "-1"], "argument --batch-size: is '-1'"),
        (["--lr", "nan"], "argument --lr: is 'nan', expected a number that is not negative"),
        (["--lr", "-1"], "argument --lr: is '-1'"),
        (["--seed", "-1"], "argument --seed: is '-1', expected an integer of at least 0"),
        (["--seed", str(2**63)], "argument --seed: is"),
        (["--threads", "0"], "argument --threads: is '0'"),
        (["--optimizer", "lion"], "argument --optimizer: invalid choice: 'lion'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--model", "resnet21"], "models: there is no 'resnet21', expected one of digits-cnn, mnist-cnn, lenet5"),
        (["--model", "lenet5"], "models.create: lenet5 cannot take images of 8x8"),
        (["--momentum", "0.5"], "--momentum is for sgd and rmsprop, the optimizer is adamw"),
        (["--data", "missing"], "open_dataset: missing: no such file or folder"),
    ],
)
def test_wrong_usage_is_told_in_one_line(refused, tmp_path, arguments, message):
    assert refused("train", *arguments).startswith(f"nnfast: {message}")
    assert not list(tmp_path.iterdir())  # nothing is written before all is known to fit


@pytest.mark.parametrize("folder", ["file/run", "/proc/nnfast/run"])
def test_a_run_folder_that_cannot_be_made(refused, small_data, tmp_path, folder):
    (tmp_path / "file").write_text("x")
    message = refused("train", "--data", small_data, "--run", folder)
    assert message.startswith(f"nnfast: {folder.rpartition('/')[0]}")


def test_a_run_is_never_overwritten(refused, finished, small_data):
    message = refused("train", "--data", small_data, "--run", finished)
    assert message == (
        f"nnfast: {finished}: holds a run already (config.json); choose another folder, "
        f"or go on with --resume {finished}"
    )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nonsense"])
def test_damaged_data(refused, tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    assert "data.npz" in refused("train", "--data", "data.npz")


def test_a_full_disk_while_training_keeps_the_checkpoint(train, run, monkeypatch, tmp_path):
    syncs = []
    sync = os.fsync

    def full_from_the_second_epoch(handle):
        syncs.append(handle)
        if len(syncs) > 6:  # config.json, history.csv and the checkpoint, each with its folder
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full_from_the_second_epoch)
    code, _, err, folder = train("--epochs", 3, "--quiet")
    monkeypatch.undo()
    assert code == 1
    assert err == (
        f"nnfast: {folder}/history.csv: No space left on device; go on from the last checkpoint with: "
        f"nnfast train --resume {folder}\n"
    )
    assert load(folder / "checkpoint.safetensors")["epoch"] == 1
    assert names(folder) == ["checkpoint.safetensors", "config.json", "history.csv"]
    monkeypatch.chdir(tmp_path)
    assert run("train", "--resume", folder, "--quiet", "--no-plots")[0] == 0
    whole = train("--epochs", 3, "--quiet", folder="whole")[-1]
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (folder / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()


def test_a_loss_that_is_not_finite(train):
    code, _, err, folder = train("--optimizer", "sgd", "--lr", "1e30", "--schedule", "none", "--quiet", "--epochs", 9)
    assert code == 1
    assert err.startswith("nnfast: Trainer.fit: ")
    assert re.search(r"epoch \d, batch \d", err)
    assert f"nnfast train --resume {folder}" in err
    assert err.count("\n") == 1


def test_eager_runs_are_eager_and_say_so(train, run, monkeypatch, tmp_path):
    monkeypatch.setattr(Variant, "__init__", lambda *_: pytest.fail("captured"))
    code, out, err, folder = train("--eager")
    assert (code, err) == (0, "")
    assert "cython eager on" in out.splitlines()[0]
    assert run("evaluate", folder)[0] == 0


def test_compiled_and_eager_runs_agree(train):
    losses = []
    for number, arguments in enumerate([[], ["--eager"]]):
        folder = train("--quiet", "--augment", "none", "--batch-size", 12, *arguments, folder=f"run{number}")[-1]
        [row] = csv.DictReader((folder / "history.csv").read_text().splitlines())
        losses.append((float(row["loss"]), float(row["val_loss"])))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_resume_takes_eager_from_the_run(refused, finished):
    message = refused("train", "--resume", finished, "--eager")
    assert message == f"nnfast: --resume goes on with the settings of {finished}; remove --eager"


@pytest.mark.parametrize("arguments", [[], ["--eager"]])
def test_profile(train, arguments):
    code, out, err, folder = train("--profile", "--batch-size", 4, *arguments)
    assert (code, err) == (0, "")
    title = re.search(r"^profile of batches 6 to 9 of epoch 1, (compiled|eager); trace in (.*)$", out, re.MULTILINE)
    assert title[1] == ("eager" if arguments else "compiled")
    assert title[2] == str(folder / "trace.json")
    assert "conv2d" in out
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert any("conv2d" in event["name"] for event in events)


def test_nnfast_traceback_shows_where_an_error_comes_from(run, monkeypatch):
    monkeypatch.setenv("NNFAST_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        run("train", "--data", "missing")
