"""PyTorch's worker (`peer.py`) as `bench.convolutions` sees it: loaded with a shape again when it was started anew.

PyTorch's weight gradient of strided 1x1 convolutions was seen to hang, to crash and to be wrong (oneDNN issue 6035).
"""

from __future__ import annotations

from typing import Any

from .timing import Turn
from .worker import PeerError, Worker, interpreter

ALLOCATOR = ("glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:"
             "glibc.malloc.top_pad=268435456")  # fmt: skip
"""Keeps memory that was freed, which costs PyTorch 10-40 % otherwise: what an expert sets."""


def torch_python(chosen: str | None) -> str:
    """The interpreter that has PyTorch, see `interpreter`.

    Raises
    ------
    SystemExit : there is none.
    """
    try:
        return interpreter("torch", chosen)
    except PeerError as error:
        raise SystemExit(str(error)) from error


class Peer(Worker):
    """PyTorch's worker on `threads` threads, which has `limit` seconds for every answer."""

    def __init__(self, python: str, threads: int, limit: float) -> None:
        command = [python, "-m", "bench.peer", str(threads)]
        super().__init__(command, limit, {"GLIBC_TUNABLES": ALLOCATOR})
        self.loaded: dict[str, Any] | None = None

    @property
    def version(self) -> str:
        """PyTorch's."""
        return self.hello.get("version", "")

    def load(self, folder: str, stride: int, padding: int, groups: int) -> None:
        """Take x, w and dy from the ``.npy`` files in `folder`."""
        self.loaded = {"do": "load", "folder": folder, "stride": stride, "padding": padding, "groups": groups}
        self.ask(self.loaded)

    def save(self, direction: str, file: str) -> None:
        """Compute once and write the result, channels last, to `file`."""
        self.ask({"do": "save", "direction": direction, "file": file})

    def time(self, direction: str, calls: int) -> Turn:
        """A turn of `calls` calls."""
        return Turn(**self.ask({"do": "time", "direction": direction, "calls": calls}))

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, see `Worker.ask`; a new process is given the shape first."""
        if self.process is None and self.loaded is not None and request is not self.loaded:
            super().ask(self.loaded)
        return super().ask(request)
