"""The safetensors format, judged by the ``safetensors`` package and by files that lie."""

from __future__ import annotations

import json
import re
import struct
import tracemalloc

import hypothesis
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st

from nnfast.io.safetensors import DTYPES, load_file, read_arrays, save_file, write_arrays
from nnfast.tensor import tensor

ARRAYS = {
    "weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "scalar": np.array(7, dtype=np.int64),
    "bytes": np.array([1, 2, 255], dtype=np.uint8),
    "flag": np.array([True, False]),
    "double": np.array([np.nan, np.inf, -0.0, 5e-324]),
    "naïve name": np.array([1.5], dtype=np.float16),
}


def write_raw(path, header, data=b""):
    """Write a file with any header: an object becomes JSON, bytes are taken as they are."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def assert_same(actual, expected):
    assert set(actual) == set(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].shape == array.shape, name
        assert actual[name].tobytes() == array.tobytes(), name


def test_the_package_reads_what_we_write(tmp_path):
    path = tmp_path / "a.safetensors"
    write_arrays(path, ARRAYS, {"who": "nnfast"})
    assert_same(safetensors.numpy.load_file(path), ARRAYS)
    with safetensors.safe_open(path, "np") as opened:
        assert opened.metadata() == {"who": "nnfast"}


def test_we_read_what_the_package_writes(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file(ARRAYS, path, {"b": "2", "a": "1"})
    arrays, metadata = read_arrays(path)
    assert_same(arrays, ARRAYS)
    assert metadata == {"a": "1", "b": "2"}


@pytest.mark.parametrize("code", sorted(set(DTYPES.values())))
def test_every_dtype_comes_back(tmp_path, code):
    array = np.arange(2).astype(code)
    write_arrays(tmp_path / "a", {"x": array})
    assert_same(read_arrays(tmp_path / "a")[0], {"x": array})
    assert_same(safetensors.numpy.load_file(tmp_path / "a"), {"x": array})


def test_equal_state_gives_equal_bytes(tmp_path):
    write_arrays(tmp_path / "a", ARRAYS, {"x": "1"})
    write_arrays(tmp_path / "b", dict(reversed(ARRAYS.items())), {"x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), id="channels last"),
        pytest.param(lambda a: np.repeat(a, 2, axis=3)[..., ::2], id="strided"),
        pytest.param(lambda a: a.astype(">f4"), id="big-endian"),
    ],
)
def test_memory_order_is_no_part_of_the_file(tmp_path, stored):
    weight = ARRAYS["weight"]
    write_arrays(tmp_path / "a", {"w": weight})
    write_arrays(tmp_path / "b", {"w": stored(weight)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_make_the_round_trip(tmp_path):
    x = tensor(np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2))
    save_file({"x": x}, tmp_path / "a")
    assert safetensors.numpy.load_file(tmp_path / "a")["x"].ravel().tolist() == list(range(24))
    back = load_file(tmp_path / "a")["x"]
    assert type(back) is type(x)
    np.testing.assert_array_equal(back.numpy(), x.numpy())


def test_tensors_that_require_gradients_can_be_saved(tmp_path):
    x = tensor(np.ones(3, np.float32), requires_grad=True)
    save_file({"x": x}, tmp_path / "a")
    assert not load_file(tmp_path / "a")["x"].requires_grad


def test_bfloat16_is_read_as_float32(tmp_path):
    exact = np.array([1.0, -2.5, 3e38, 0.0], dtype=np.float32)
    kept = (exact.view(np.uint32) >> 16).astype("<u2")
    header = {"x": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}
    [array] = read_arrays(write_raw(tmp_path / "a", header, kept.tobytes()))[0].values()
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, exact, rtol=2**-7)


@pytest.mark.parametrize(("stored", "read"), [("<f2", "float32"), ("<u2", "int32"), ("<u4", "int64")])
def test_load_file_widens_what_tensors_lack(tmp_path, stored, read):
    write_arrays(tmp_path / "a", {"x": np.array([1, 2], stored)})
    back = load_file(tmp_path / "a")["x"].numpy()
    assert (back.dtype, back.tolist()) == (np.dtype(read), [1, 2])


def test_load_file_refuses_uint64(tmp_path):
    write_arrays(tmp_path / "a", {"x": np.array([1], np.uint64)})
    with pytest.raises(ValueError, match="x: dtype is U64"):
        load_file(tmp_path / "a")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": [1.0]}, "save_file: x is list, expected Tensor or numpy.ndarray"),
        ({1: np.zeros(1)}, "save_file: a name is 1, expected a string"),
        ({"__metadata__": np.zeros(1)}, "save_file: a tensor is called '__metadata__'"),
        ({"x": np.zeros(1, complex)}, "save_file: x is complex128, expected one of"),
        ({"x": np.array(["a"])}, "save_file: x is <U1"),
    ],
)
def test_save_file_refuses(tmp_path, tensors, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        save_file(tensors, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_every_truncation_is_an_error_that_names_the_file(tmp_path):
    whole = tmp_path / "whole"
    write_arrays(whole, {"x": np.arange(5, dtype=np.int16), "y": np.zeros(2)}, {"a": "b"})
    content = whole.read_bytes()
    path = tmp_path / "cut"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: "):
            read_arrays(path)


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "field"),
    [
        (b"", "header is"),
        (b"nonsense", "header is"),
        (b"\xff\xfe", "header is"),
        (b"[1]", "header is list"),
        (b"[" * 100_000, "header is"),
        (b'{"x": ' + b"9" * 10_000 + b"}", "header is"),
        (b'{"x": {"dtype": "F32"}, "x": {"dtype": "F64"}}', "header is the name 'x' stands twice"),
        ({"__metadata__": {"a": 1}}, "__metadata__ is"),
        ({"__metadata__": "a"}, "__metadata__ is"),
        ({"x": 5}, "x is 5"),
        ({"x": {"dtype": "F32", "shape": [2]}}, "x is"),
        ({"x": entry() | {"more": 1}}, "x is"),
        ({"x": entry("F33")}, "x: dtype is 'F33'"),
        ({"x": entry(["F32"])}, "x: dtype is"),
        ({"x": entry(shape=(-2,))}, "x: shape is"),
        ({"x": entry(shape=(2.0,))}, "x: shape is"),
        ({"x": entry(shape=(True, 2))}, "x: shape is"),
        ({"x": entry(shape=(2**64,))}, "x: shape is"),
        ({"x": entry(shape=(1,) * 33, offsets=(0, 4))}, "x: shape is"),
        ({"x": entry() | {"shape": "2"}}, "x: shape is"),
        ({"x": entry(shape=(3,))}, "x: data_offsets is 8 bytes, expected 12"),
        ({"x": entry(shape=(2**62, 2**62))}, "x: data_offsets is 8 bytes"),
        ({"x": entry(offsets=(8, 0))}, "x: data_offsets is [8, 0]"),
        ({"x": entry(offsets=(0, 8, 8))}, "x: data_offsets is"),
        ({"x": entry(offsets=(-8, 0))}, "x: data_offsets is"),
        ({"x": entry(offsets=(1, 9))}, "x: data_offsets is [1, 9], expected to begin at 0"),
        ({"x": entry(), "y": entry()}, "y: data_offsets is [0, 8], expected to begin at 8"),
        ({"x": entry(shape=(1,), offsets=(0, 4))}, "data is 8 bytes, expected 4"),
        ({"x": entry(shape=(1024,), offsets=(0, 4096))}, "data is 8 bytes, expected 4096"),
        ({}, "data is 8 bytes, expected 0"),
        ({"x": entry(), "z": entry(shape=(0, 2**62, 2**62), offsets=(8, 8))}, "z: shape is"),
    ],
)
def test_a_header_that_lies_is_refused_by_field(tmp_path, header, field):
    path = write_raw(tmp_path / "a", header, bytes(8))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {field}')}"):
        read_arrays(path)


@pytest.mark.parametrize("length", [2**64 - 1, 2**40, 9])
def test_a_header_length_beyond_the_file_costs_no_memory(tmp_path, length):
    path = tmp_path / "a"
    path.write_bytes(struct.pack("<Q", length) + b"{}      ")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="header length is"):
            read_arrays(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("start", [b"PK\x03\x04" + bytes(30), b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."])
def test_a_pickle_is_named_for_what_it_is(tmp_path, start):
    (tmp_path / "model.pt").write_bytes(start)
    with pytest.raises(ValueError, match=r"model.pt: .*torch.save.*safetensors.torch.save_file"):
        load_file(tmp_path / "model.pt")


def test_a_header_of_640_bytes_is_no_pickle(tmp_path):
    """Its length begins with the bytes 80 02, as pickles do."""
    path = write_raw(tmp_path / "a", json.dumps({"x": entry()}).encode().ljust(0x280), bytes(8))
    assert list(read_arrays(path)[0]) == ["x"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from(list(DTYPES)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
SIZES = st.integers(-1, 9) | st.integers(2**31 - 2, 2**64)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(list(DTYPES)) | JSON_VALUES,
        "shape": st.lists(SIZES, max_size=4) | JSON_VALUES,
        "data_offsets": st.lists(SIZES, min_size=1, max_size=3) | JSON_VALUES,
    }
)


def read_or_refuse(path):
    """Return the arrays, or None after a ValueError that names the file; nothing else may happen."""
    try:
        return read_arrays(path)[0]
    except ValueError as error:
        named = str(error).startswith(f"{path}: ")
    assert named
    return None


@hypothesis.given(
    header=st.dictionaries(st.sampled_from(["x", "y", "__metadata__"]), ENTRIES | JSON_VALUES, max_size=3),
    data=st.binary(max_size=40),
)
@hypothesis.settings(max_examples=400, deadline=None)
def test_any_header_is_read_right_or_refused(tmp_path_factory, header, data):
    path = write_raw(tmp_path_factory.getbasetemp() / "fuzzed", header, data)
    arrays = read_or_refuse(path)
    if arrays is not None:
        assert sum(header[name]["data_offsets"][1] - header[name]["data_offsets"][0] for name in arrays) == len(data)


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=300, deadline=None)
def test_any_damaged_byte_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged"
    write_arrays(path, {"x": np.arange(6, dtype=np.float32), "y": np.zeros((2, 2))}, {"a": "b"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    read_or_refuse(path)
