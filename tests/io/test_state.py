"""nnfast.save and nnfast.load."""

from __future__ import annotations

import json
import math
import re

import hypothesis
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st

from nnfast.io.safetensors import write_arrays
from nnfast.io.state import KEY, load, save
from nnfast.tensor import Tensor, tensor

SCALARS = st.none() | st.booleans() | st.integers(-(2**130), 2**130) | st.floats() | st.text(max_size=5)
KEYS = st.text(max_size=3) | st.sampled_from(["$", "a.b", "a", "b", "__metadata__"]) | st.integers() | st.booleans()
ARRAYS = st.builds(lambda size: np.arange(size, dtype=np.float32), st.integers(0, 4))
STATES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS | st.tuples(st.integers(), st.text(max_size=2)), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        # Types of keys too: 1 and True are equal.
        return [(type(k), k) for k in a] == [(type(k), k) for k in b] and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


@hypothesis.given(STATES)
@hypothesis.settings(max_examples=300, deadline=None)
def test_nested_state_makes_the_round_trip(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "state"
    save(state, path)
    assert same(load(path), state)


def test_tensors_stay_tensors_and_arrays_arrays(tmp_path):
    save({"t": tensor([1.0, 2.0]), "a": np.array([3])}, tmp_path / "s")
    back = load(tmp_path / "s")
    assert isinstance(back["t"], Tensor)
    assert isinstance(back["a"], np.ndarray)
    assert back["t"].numpy().tolist() == [1.0, 2.0]


def test_numpy_scalars_become_numbers(tmp_path):
    save([np.float64(0.1), np.int64(3), np.bool_(True)], tmp_path / "s")
    assert same(load(tmp_path / "s"), [0.1, 3, True])


def test_tensors_are_named_by_their_place(tmp_path):
    save({"optimizer": {"state": {0: {"exp_avg": np.zeros(2)}}}}, tmp_path / "s")
    assert list(safetensors.numpy.load_file(tmp_path / "s")) == ["optimizer.state.0.exp_avg"]


def test_paths_that_read_alike_stay_apart(tmp_path):
    state = {"a.b": np.array([1]), "a": {"b": np.array([2]), "b'": np.array([3])}, "__metadata__": np.array([4])}
    save(state, tmp_path / "s")
    assert same(load(tmp_path / "s"), state)


def test_a_state_dict_is_a_plain_file_as_well(tmp_path):
    save({"fc.weight": np.ones(2), "fc.bias": np.zeros(1)}, tmp_path / "s")
    assert set(safetensors.numpy.load_file(tmp_path / "s")) == {"fc.weight", "fc.bias"}


def test_load_reads_plain_files(tmp_path):
    safetensors.numpy.save_file({"fc.weight": np.ones(2)}, tmp_path / "s")
    back = load(tmp_path / "s")
    assert list(back) == ["fc.weight"]
    assert isinstance(back["fc.weight"], Tensor)


def test_equal_states_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        save({"x": np.ones(3), "y": [1, 2.5, "z"], 3: None}, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j])
def test_save_names_what_it_cannot_hold(tmp_path, value):
    with pytest.raises(TypeError, match=re.escape(f"save: a.1 is {type(value).__name__}, expected Tensor")):
        save({"a": [0, value]}, tmp_path / "s")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        json.dumps({"$": "unknown"}),
        json.dumps({"$": "array", "name": "missing"}),
        json.dumps({"$": "array"}),
        json.dumps({"$": "dict", "items": 5}),
        json.dumps({"$": "dict", "items": [[[], 1]]}),
        json.dumps({"$": ["array"]}),
        json.dumps({"$": "float", "value": "x"}),
        "[" * 100_000,
    ],
)
def test_damaged_state_is_refused_by_name(tmp_path, text):
    path = tmp_path / "s"
    write_arrays(path, {"x": np.zeros(1)}, {KEY: text})
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {KEY} is damaged"):
        load(path)
