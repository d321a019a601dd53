"""Watching the folder of compiled kernels."""

from __future__ import annotations

import threading

import pytest

import nnfast
from nnfast.train import compiling
from nnfast.train.compiling import Compiling


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Watch an empty folder instead, and look often."""
    monkeypatch.setattr(compiling, "_kernels_folder", lambda: tmp_path)
    monkeypatch.setattr(compiling, "_LOOK", 0.005)
    return tmp_path


def test_new_kernels_are_counted(folder):
    (folder / "known.o").touch()
    told, seen = [], threading.Event()

    def tell(kernels):
        told.append(kernels)
        seen.set()

    watch = Compiling(tell)
    for number in (1, 2):
        seen.clear()
        (folder / f"{number}.o").touch()
        assert seen.wait(10)
    watch.end()
    assert told == [1, 2]


def test_nothing_is_told_without_new_kernels_and_no_thread_is_left(folder):
    before = threading.active_count()
    watch = Compiling(lambda kernels: pytest.fail("told"))
    assert threading.active_count() == before + 1
    assert not watch._over.wait(0.05)
    watch.end()
    assert threading.active_count() == before


def test_backends_that_compile_nothing_are_not_watched():
    before = threading.active_count()
    with nnfast.backend("cython"):
        watch = Compiling(lambda kernels: None)
    assert threading.active_count() == before
    watch.end()


def test_numbas_kernels_are_watched_where_they_are_kept():
    from nnfast.kernels.cache import cache_folder

    with nnfast.backend("numba"):
        assert compiling._kernels_folder() == cache_folder()
