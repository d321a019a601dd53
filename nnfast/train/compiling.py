"""Watching kernels being compiled, from beside the thread that waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

_LOOK = 0.3  # seconds between two looks


class Compiling:
    """Watch the folder of compiled kernels until ``end`` is called.

    Parameters
    ----------
    tell : callable
        ``tell(kernels)``, the number of new ones, called from another thread as often as there are more.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._over = threading.Event()
        self._folder = _kernels_folder()
        self._thread: threading.Thread | None = None
        if self._folder is not None:
            self._before = _count(self._folder)
            self._thread = threading.Thread(target=self._watch, args=(self._folder,), daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Stop watching; nothing is told after that."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, folder: Path) -> None:
        told = 0
        while not self._over.wait(_LOOK):
            made = _count(folder) - self._before
            if made > told:
                told = made
                self._tell(made)


def _kernels_folder() -> Path | None:
    """Where the current backend keeps kernels that it compiles; None if it compiles or keeps none."""
    from nnfast.kernels.backends import current_backend

    if current_backend() != "numba":
        return None
    from nnfast.kernels.cache import cache_folder

    return cache_folder()


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.o"))
