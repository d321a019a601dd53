"""Run folders, recipes, and what is built from a config."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from nnfast import models
from nnfast.data import ArrayDataset
from nnfast.io import save_file
from nnfast.train.recipes import USUAL_LR, recipe, usual_model
from nnfast.train.run import (
    build_model,
    build_trainer,
    check_data,
    evaluation_loader,
    load_model,
    mean_and_std,
    predict,
    training_loader,
)
from nnfast.train.run_config import OPTIMIZERS, RunConfig
from nnfast.train.run_folder import RunFolder, create_run_folder, open_run_folder

CONFIG = RunConfig(
    nnfast="0", model="digits-cnn", classes=["a", "b", "c"], channels=2, height=8, width=8, mean=[0.25, 0.5],
    std=[0.5, 0.125], data="x", images=6, epochs=4, batch_size=4, optimizer="sgd", lr=0.1, momentum=0.8,
    weight_decay=0.01, schedule="onecycle", augment="none", seed=3, backend="numba",
)  # fmt: skip


def data(images=6, size=8, classes=("a", "b", "c")):
    pixels = np.random.default_rng(0).integers(0, 256, (images, 2, size, size), dtype=np.uint8)
    return ArrayDataset(pixels, np.arange(images) % 3, list(classes))


@pytest.mark.parametrize("name", models.names())
def test_every_model_has_a_recipe_that_is_a_valid_config(name, tmp_path):
    from nnfast.train.run_config import load_run_config

    config = dataclasses.replace(CONFIG, model=name, **recipe(name)._asdict())
    config.save(tmp_path / "config.json")
    assert load_run_config(tmp_path / "config.json") == config


def test_every_optimizer_has_a_usual_lr_and_can_be_built():
    assert set(USUAL_LR) == set(OPTIMIZERS)
    for name in OPTIMIZERS:
        config = dataclasses.replace(CONFIG, optimizer=name, lr=USUAL_LR[name], schedule="none")
        group = build_trainer(config, build_model(config), 2, []).optimizer.param_groups[0]
        assert (group["lr"], group["weight_decay"]) == (USUAL_LR[name], 0.01)
        if name in ("sgd", "rmsprop"):
            assert group["momentum"] == 0.8


def test_usual_models_fit_the_images():
    for shape in ((1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 15, 9), (1, 64, 64)):
        models.create(usual_model(*shape), 10, shape[0], shape[1:])


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("none", [0.1, 0.1, 0.1, 0.1]),
        ("step", [0.1, 0.1, 0.01, 0.01]),
        ("cosine", [0.05 * (1 + np.cos(np.pi * step / 8)) for step in (1, 3, 5, 7)]),
    ],
)
def test_schedules(schedule, rates):
    config = dataclasses.replace(CONFIG, schedule=schedule)
    trainer = build_trainer(config, build_model(config), 2, [])
    history = trainer.fit(training_loader(config, data(), 0), epochs=4).history
    assert history["lr"] == pytest.approx(rates)


def test_one_cycle_goes_up_and_down_and_leaves_momentum():
    trainer = build_trainer(CONFIG, build_model(CONFIG), 2, [])
    rates = trainer.fit(training_loader(CONFIG, data(), 0), epochs=4).history["lr"]
    assert max(rates) < 0.1
    assert rates[0] > rates[1] > rates[2] > rates[3]
    assert rates[-1] < 1e-5
    assert max(rates) > 0.08
    assert trainer.optimizer.param_groups[0]["momentum"] == 0.8


def test_loaders_normalise():
    expected = (data().take(np.arange(6))[0] - np.reshape([0.25, 0.5], (2, 1, 1))) / np.reshape([0.5, 0.125], (2, 1, 1))
    [[images, labels]] = list(evaluation_loader(CONFIG, data()))
    np.testing.assert_allclose(images.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert labels.numpy().tolist() == [0, 1, 2, 0, 1, 2]
    shuffled = np.concatenate([images.numpy() for images, _ in training_loader(CONFIG, data(), 0)])
    assert not np.allclose(shuffled, expected)
    np.testing.assert_allclose(np.sort(shuffled.ravel()), np.sort(expected.ravel()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("augment", "names"),
    [
        ("none", []),
        ("crop", ["RandomCrop"]),
        ("flip", ["RandomHorizontalFlip"]),
        ("crop-flip", ["RandomCrop", "RandomHorizontalFlip"]),
    ],
)
def test_augmentations(augment, names):
    loader = training_loader(dataclasses.replace(CONFIG, augment=augment), data(), 0)
    transforms = loader.transform.transforms
    assert [type(transform).__name__ for transform in transforms] == [*names, "Normalize"]
    if "crop" in augment:
        assert transforms[0].padding == (1, 1, 1, 1)


def test_cifars_crop_is_the_usual_one():
    config = dataclasses.replace(CONFIG, augment="crop", height=32, width=32)
    crop = training_loader(config, data(), 0).transform.transforms[0]
    assert (crop.size, crop.padding) == ((32, 32), (4, 4, 4, 4))


def test_mean_and_std_are_measured_by_channel():
    many = data(600)
    pixels = many.images / 255
    mean, std = mean_and_std(many)
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(std, pixels.std(axis=(0, 2, 3)), atol=1e-5)


def test_a_constant_channel_has_std_1():
    images = np.full((3, 1, 2, 2), 51, np.uint8)
    assert mean_and_std(ArrayDataset(images, [0, 1, 2])) == ([0.2], [1.0])


def test_predict_gives_probabilities():
    model = build_model(CONFIG).eval()
    images = np.random.default_rng(1).random((5, 2, 8, 8), dtype=np.float32)
    probabilities = predict(model, CONFIG, images)
    assert probabilities.shape == (5, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(predict(model, CONFIG, images[2:3])[0], probabilities[2], rtol=1e-4)


def test_load_model_reads_what_was_saved(tmp_path):
    folder = RunFolder(tmp_path)
    model = build_model(CONFIG)
    save_file(model.state_dict(), folder.model)
    loaded = load_model(CONFIG, folder)
    assert not loaded.training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name].numpy(), value.numpy())


def test_a_model_file_that_does_not_fit_is_refused_in_one_line(tmp_path):
    folder = RunFolder(tmp_path)
    save_file(build_model(CONFIG).state_dict(), folder.model)
    other = dataclasses.replace(CONFIG, classes=["a", "b"])
    with pytest.raises(
        ValueError, match=f"^{re.escape(f'{folder.model}: does not fit {folder.config}: ')}.*fc.weight"
    ) as caught:
        load_model(other, folder)
    assert "\n" not in str(caught.value)


def test_check_data(tmp_path):
    folder = RunFolder(tmp_path)
    check_data(CONFIG, folder, "x", data())
    with pytest.raises(ValueError, match=re.escape(f"x: has images of 2x9x9, {tmp_path} was trained on 2x8x8")):
        check_data(CONFIG, folder, "x", data(size=9))
    with pytest.raises(ValueError, match=r"x: has classes a, b, d, .* was trained on a, b, c"):
        check_data(CONFIG, folder, "x", data(classes=("a", "b", "d")))


def test_create_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = create_run_folder(None, "lenet5"), create_run_folder(None, "lenet5")
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d-\d{6}-lenet5(-2)?", first.path.as_posix())
    assert first.path != second.path
    assert first.path.is_dir()
    assert create_run_folder("a/b", "lenet5").path.is_dir()


@pytest.mark.parametrize("file", ["config", "model", "checkpoint"])
def test_a_run_is_never_overwritten(tmp_path, file):
    getattr(RunFolder(tmp_path), file).write_text("x")
    with pytest.raises(FileExistsError, match=f"{re.escape(str(tmp_path))}: holds a run already .*--resume"):
        create_run_folder(tmp_path, "lenet5")


def test_a_run_folder_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError):
        create_run_folder(tmp_path / "file" / "run", "lenet5")


def test_open_run_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder, expected one that nnfast train made"):
        open_run_folder(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match=r"no run folder, it has no config\.json"):
        open_run_folder(tmp_path)
    RunFolder(tmp_path).config.write_text("{}")
    assert open_run_folder(tmp_path) == RunFolder(tmp_path)


def test_has_checkpoint(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.has_checkpoint()
    (tmp_path / "checkpoint.previous.safetensors").write_text("x")
    assert folder.has_checkpoint()
