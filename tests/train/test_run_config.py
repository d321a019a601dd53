"""config.json, as written and as edited by hand."""

from __future__ import annotations

import json
import re

import pytest

from nnfast.train.run_config import RunConfig, load_run_config

CONFIG = RunConfig(
    nnfast="0.1.0", model="lenet5", classes=["null", "één"], channels=1, height=8, width=9, mean=[0.5], std=[0.25],
    data="digits", images=10, epochs=3, batch_size=4, optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=0.0,
    schedule="cosine", augment="crop-flip", seed=0, backend="cython",
)  # fmt: skip


@pytest.fixture
def path(tmp_path):
    CONFIG.save(tmp_path / "config.json")
    return tmp_path / "config.json"


def test_round_trip(path):
    assert load_run_config(path) == CONFIG
    assert CONFIG.shape == (1, 8, 9)


def test_numbers_may_be_written_as_integers(path):
    path.write_text(path.read_text().replace('"lr": 0.1', '"lr": 1'))
    assert load_run_config(path).lr == 1


def test_a_run_from_before_steps_were_compiled_stays_eager(path):
    values = json.loads(path.read_text())
    assert values.pop("eager") is False
    path.write_text(json.dumps(values))
    assert load_run_config(path).eager is True


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("epochs", "3", 'is "3", expected an integer of at least 1'),
        ("epochs", 0, "is 0, expected an integer of at least 1"),
        ("epochs", True, "is true"),
        ("epochs", 3.5, "is 3.5"),
        ("seed", -1, "is -1, expected an integer of at least 0"),
        ("seed", 2**63, "is 9223372036854775808"),
        ("lr", -0.1, "is -0.1, expected a number that is not negative"),
        ("lr", None, "is null"),
        ("lr", float("nan"), "is NaN"),
        ("lr", float("inf"), "is Infinity"),
        ("optimizer", "lion", 'is "lion", expected one of sgd, adam'),
        ("optimizer", ["sgd"], 'is ["sgd"]'),
        ("schedule", "", 'is "", expected one of none, cosine'),
        ("augment", "cutout", "expected one of none, crop"),
        ("backend", "cuda", "expected one of"),
        ("eager", 1, "is 1, expected true or false"),
        ("classes", [], "is [], expected a list of names"),
        ("classes", ["a", 2], 'is ["a", 2]'),
        ("classes", "ab", 'is "ab"'),
        ("mean", [0.1, 0.2], "has 2 values, expected 1"),
        ("mean", ["0"], "expected a list of numbers"),
        ("std", [0], "is [0], expected a list of numbers that are not 0"),
        ("data", 5, "is 5, expected a text"),
        ("channels", 3, "expected 3"),
    ],
)
def test_a_wrong_value_is_refused_by_field(path, field, value, expected):
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    named = "mean" if field == "channels" else field
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {named} ')}.*{re.escape(expected)}"):
        load_run_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON: Expecting value: line 1"),
        ('{"epochs": 3,}', "no JSON: "),
        ("\udcff", "no JSON: "),
        ("[" * 100_000, "no JSON: "),
        ("[]", "holds list, expected a JSON object"),
        ("{}", "nnfast is missing"),
        ('{"epoch": 3}', "epoch is no field, expected nnfast, model"),
    ],
)
def test_what_is_no_config_is_refused_by_name(path, text, message):
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}"):
        load_run_config(path)
