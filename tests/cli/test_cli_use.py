"""``nnfast predict`` and ``nnfast evaluate``."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def images(small_data):
    """Return the test images, uint8 (20, 6, 6), of the classes 1, 2, 0, 1, 2, 0, ..."""
    with np.load(small_data) as arrays:
        return arrays["x_test"][..., 0], arrays["y_test"]


LINE = r"{}: {} +(\d+\.\d\d)%\n"


def test_predict_an_image(run, finished, images, tmp_path):
    Image.fromarray(images[0][1]).save("image.png")
    code, out, err = run("predict", finished, "image.png")
    assert (code, err) == (0, "")
    assert float(re.fullmatch(LINE.format("image.png", images[1][1]), out)[1]) > 60


def test_predict_makes_images_fit(run, finished, images, tmp_path):
    """A larger picture in colour is made grey and small."""
    Image.fromarray(images[0][0]).resize((60, 60), Image.Resampling.NEAREST).convert("RGB").save(
        "image.jpg", quality=95
    )
    code, out, _ = run("predict", finished, "image.jpg")
    assert code == 0
    assert re.fullmatch(LINE.format("image.jpg", images[1][0]), out)


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda a: a[0], id="HW"),
        pytest.param(lambda a: a[:1], id="CHW"),
        pytest.param(lambda a: a[:1, None], id="NCHW"),
        pytest.param(lambda a: a[0] / 255, id="float64"),
        pytest.param(lambda a: (a[0] / 255).astype(np.float32), id="float32"),
        pytest.param(lambda a: np.asfortranarray(a[0]), id="Fortran order"),
    ],
)
def test_predict_an_array(run, finished, images, made):
    np.save("image.npy", made(images[0]))
    outputs = run("predict", finished, "image.npy")
    np.save("image.npy", images[0][0])
    assert outputs == run("predict", finished, "image.npy")
    assert re.fullmatch(LINE.format("image.npy", images[1][0]), outputs[1])


def test_predict_many(run, finished, images):
    np.save("images.npy", images[0][:3, None])
    _, out, _ = run("predict", finished, "images.npy", "images.npy")
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"images.npy[{i}]" for i in range(3)] * 2
    assert [line.split()[1] for line in lines[:3]] == [str(label) for label in images[1][:3]]


def test_predict_by_index_is_the_same(run, finished, images):
    np.save("images.npy", images[0][:2, None])
    by_file = run("predict", finished, "images.npy")[1]
    by_index = run("predict", finished, "--index", 0, 1)[1]
    assert [line.split(": ")[1] for line in by_index.splitlines()] == [
        line.split(": ")[1] for line in by_file.splitlines()
    ]
    assert [re.search(r"\(a (\d)\)", line)[1] for line in by_index.splitlines()] == [
        str(label) for label in images[1][:2]
    ]


def test_predict_top(run, finished, images):
    _, out, _ = run("predict", finished, "--index", 0, "--top", 5)
    percents = [float(text) for text in re.findall(r"(\d+\.\d\d)%", out)]
    assert len(percents) == 3
    assert percents == sorted(percents, reverse=True)
    assert sum(percents) == pytest.approx(100, abs=0.03)


def test_predict_invert(run, finished, images):
    Image.fromarray(255 - images[0][0]).save("negative.png")
    Image.fromarray(images[0][0]).save("positive.png")
    positive = run("predict", finished, "positive.png")[1].split(": ")[1]
    assert run("predict", finished, "negative.png", "--invert")[1].split(": ")[1] == positive
    assert run("predict", finished, "negative.png")[1].split(": ")[1] != positive


def test_predict_reads_colour_and_is_as_the_digits_are_shown(run, tmp_path):
    """A network for colour images, and a file without a suffix that Pillow knows."""
    rng = np.random.default_rng(0)
    np.savez("colour.npz", x_train=rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), y_train=np.arange(6) % 2,
             x_test=np.zeros((2, 8, 8, 3), np.uint8), y_test=[0, 1])  # fmt: skip
    assert (
        run("train", "--data", "colour.npz", "--run", "run", "--epochs", 1, "--no-plots", "--backend", "cython")[0] == 0
    )
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("grey.png")
    assert run("predict", "run", "grey.png")[1].split(": ")[1] == run("predict", "run", "--index", 0)[1].split(": ")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "predict: nothing to predict, expected FILEs or --index"),
        (["missing.png"], "missing.png: No such file or directory"),
        (["missing.npy"], "missing.npy: No such file or directory"),
        (["text.png"], "text.png: not a readable image"),
        (["text.npy"], "text.npy: no array that can be read"),
        (["objects.npy"], "objects.npy: no array that can be read"),
        (["lying.npy"], "lying.npy: no array that can be read"),
        (["int.npy"], "int.npy: holds int64, expected uint8 or floats in 0..1"),
        (["shape.npy"], "shape.npy: has shape (7, 7), expected (1, 6, 6) or (N, 1, 6, 6)"),
        (["empty.npy"], "empty.npy: has shape (0, 1, 6, 6)"),
        (["--index", "20"], "predict: --index 20 is out of range"),
        (["--index", "-1"], "argument --index: is '-1'"),
        (["--data", "digits"], "predict: --data needs --index"),
        (["--index", "0", "--data", "digits"], "digits: has images of 1x8x8"),
        (["--top", "0", "x.png"], "argument --top: is '0'"),
    ],
)
def test_predict_refuses(refused, finished, arguments, message):
    for name in ("text.png", "text.npy"):
        with open(name, "w") as file:
            file.write("nonsense")
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save("int.npy", np.zeros((6, 6), np.int64))
    np.save("shape.npy", np.zeros((7, 7), np.uint8))
    np.save("empty.npy", np.zeros((0, 1, 6, 6), np.uint8))
    np.save("lying.npy", np.zeros((6, 6), np.uint8))
    with open("lying.npy", "r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(content.replace(b"(6, 6), }" + b" " * 14, b"(60000000, 60000000), }"))
    assert refused("predict", finished, *arguments).startswith(f"nnfast: {message}")


@pytest.mark.parametrize("command", [["predict", "--index", "0"], ["evaluate"]])
def test_a_run_folder_that_is_none_or_damaged(refused, finished, tmp_path, command):
    name, *rest = command
    assert "no such folder" in refused(name, "missing", *rest)
    assert "no run folder" in refused(name, tmp_path, *rest)
    folder = shutil.copytree(finished, tmp_path / "copy")
    model = folder / "model.safetensors"
    good = model.read_bytes()
    model.write_bytes(good[:-1])
    assert refused(name, folder, *rest).startswith(f"nnfast: {model}: data is ")
    model.unlink()
    assert refused(name, folder, *rest) == f"nnfast: {model}: No such file or directory"
    model.write_bytes(good)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"digits-cnn"', '"resnet20"'))
    assert refused(name, folder, *rest).startswith(f"nnfast: {model}: does not fit {config}: ")


def test_evaluate(run, finished, small_data):
    code, out, err = run("evaluate", finished)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"digits-cnn from {finished} on the 20 test images of {small_data}"
    assert re.fullmatch(r"loss 0\.\d{4}, accuracy 100\.00%", lines[1])
    assert [line.split() for line in lines[3:]] == [["class", "precision", "recall", "images"]] + [
        [label, "100.00%", "100.00%", support] for label, support in (("0", "6"), ("1", "7"), ("2", "7"))
    ]


def test_evaluate_on_other_data(run, refused, finished, small_data, tmp_path):
    with np.load(small_data) as arrays:
        held = dict(arrays)
    np.savez("wrong.npz", **(held | {"y_test": (held["y_test"] + 1) % 3}))
    _, out, _ = run("evaluate", finished, "--data", "wrong.npz")
    assert "accuracy 0.00%" in out
    assert "digits: has images of 1x8x8" in refused("evaluate", finished, "--data", "digits")
    np.savez("more.npz", **(held | {"y_train": np.arange(40) % 4}))
    assert "more.npz: has classes 0, 1, 2, 3" in refused("evaluate", finished, "--data", "more.npz")


def test_evaluate_is_what_training_measured(run, finished):
    rows = (finished / "history.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    assert (
        f"loss {float(last['val_loss']):.4f}, accuracy {float(last['val_accuracy']):.2%}"
        in run("evaluate", finished)[1]
    )
