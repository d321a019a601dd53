"""Which buffer an array is part of, by its address."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from .graph import OUTSIDE, Buffer, Operand


class Memory:
    """Pieces of memory by their addresses, and the buffers that they are."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._known: list[tuple[int, int, Buffer]] = []
        self._alive: list[np.ndarray] = []

    def add(self, array: np.ndarray, buffer: Buffer) -> None:
        """Note memory, and keep it."""
        start = array.__array_interface__["data"][0]
        place = bisect_right(self._starts, start)
        self._starts.insert(place, start)
        self._known.insert(place, (start, start + array.nbytes, buffer))
        self._alive.append(array)

    def operand(self, array: np.ndarray) -> Operand | None:
        """The operand that an array stands for; None for one without elements. Unknown memory is from outside."""
        if array.size == 0:
            return None
        start = array.__array_interface__["data"][0]
        place = bisect_right(self._starts, start) - 1
        if place < 0 or start >= self._known[place][1]:
            root = array
            while isinstance(root.base, np.ndarray):
                root = root.base
            self.add(root, Buffer(root.nbytes, OUTSIDE, array=root))
            place = bisect_right(self._starts, start) - 1
        first, _, buffer = self._known[place]
        return Operand(buffer, array.shape, array.dtype, start - first)
