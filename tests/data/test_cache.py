import warnings
from pathlib import Path

import numpy as np
import pytest

from nnfast.data.cache import cache_folder, cached_images


def image(value=0):
    return np.full((2, 3, 4, 1), value, dtype=np.uint8)


def never():
    raise AssertionError("built again")


def stored(cache_home):
    return [path for path in cache_home.rglob("*") if path.is_file()]


def test_built_once_then_memory_mapped(cache_home):
    first = cached_images(["a", 1], lambda: image(7))
    again = cached_images(["a", 1], never)
    for images in (first, again):
        assert isinstance(images, np.memmap)
        assert np.array_equal(images, image(7))
        assert not images.flags.writeable
    (file,) = stored(cache_home)
    assert file.name == "images.npy"
    assert file.parent.parent == cache_home / "nnfast" / "datasets"


def test_other_keys_are_other_entries():
    assert cached_images(["a", 1], lambda: image(1))[0, 0, 0, 0] == 1
    assert cached_images(["a", 2], lambda: image(2))[0, 0, 0, 0] == 2
    assert cached_images(["a", None], lambda: image(3))[0, 0, 0, 0] == 3


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"garbage" * 100, "header", "cut", "pickle", "float", "flat"])
def test_a_damaged_entry_is_rebuilt(cache_home, content):
    cached_images(["a"], lambda: image(1))
    (file,) = stored(cache_home)
    whole = file.read_bytes()
    file.unlink()
    if content == "cut":
        file.write_bytes(whole[:-1])
    elif content == "header":
        file.write_bytes(whole.replace(b"}", b" ", 1))
    elif content == "pickle":
        np.save(file, np.array([print], dtype=object), allow_pickle=True)
    elif content in ("float", "flat"):
        np.save(file, image().astype(np.float32) if content == "float" else image().ravel())
    else:
        file.write_bytes(content)
    assert np.array_equal(cached_images(["a"], lambda: image(2)), image(2))
    assert np.array_equal(cached_images(["a"], never), image(2))


def test_nothing_is_left_of_a_build_that_failed(cache_home):
    with pytest.raises(ValueError, match="broken"):
        cached_images(["a"], lambda: (_ for _ in ()).throw(ValueError("broken")))
    assert stored(cache_home) == []


def test_nothing_is_left_of_a_write_that_failed(cache_home, monkeypatch):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nnfast.data.cache.os.replace", full)
    with pytest.warns(UserWarning, match=r"decoded images are not cached, .*: No space left on device"):
        images = cached_images(["a"], lambda: image(1))
    assert np.array_equal(images, image(1))
    assert stored(cache_home) == []
    assert list((cache_home / "nnfast" / "datasets").iterdir()) == []


def test_an_unwritable_cache_is_said_once(cache_home):
    cache_home.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="decoded images are not cached, they are decoded again each time") as said:
        assert np.array_equal(cached_images(["a"], lambda: image(1)), image(1))
    assert str(cache_home) in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(cached_images(["a"], lambda: image(2)), image(2))


def test_no_home_folder(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.warns(UserWarning, match="Could not determine home directory"):
        assert np.array_equal(cached_images(["a"], lambda: image(1)), image(1))


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache-home" / "nnfast"
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == tmp_path / ".cache" / "nnfast"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "nnfast"
