"""PyTorch's worker (`peer.py`) as the benchmarks see it: loaded with a kernel again when it was started anew.

PyTorch's weight gradient of strided 1x1 convolutions was seen to hang, to crash and to be wrong (oneDNN issue 6035).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def load(self, folder: str, op: str, attributes: Mapping[str, Any], formats: Sequence[str]) -> None:
        """Take a kernel's arrays from the ``.npy`` files in `folder`, in each of the memory formats."""
        self.loaded = {"do": "load", "folder": folder, "op": op, "attributes": dict(attributes),
                       "formats": list(formats)}  # fmt: skip
        self.ask(self.loaded)

    def save(self, memory_format: str, folder: str) -> None:
        """Compute once and write the results by name, channels last, into `folder`."""
        self.ask({"do": "save", "format": memory_format, "folder": folder})

    def time(self, memory_format: str, calls: int) -> Turn:
        """A turn of `calls` calls."""
        return Turn(**self.ask({"do": "time", "format": memory_format, "calls": calls}))

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, see `Worker.ask`; a new process is given the kernel first."""
        if self.process is None and self.loaded is not None and request is not self.loaded:
            super().ask(self.loaded)
        return super().ask(request)
