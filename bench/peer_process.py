"""Starts PyTorch's worker (`peer.py`), talks to it, and starts it again when it hangs or dies.

PyTorch's weight gradient of strided 1x1 convolutions was seen to hang, to crash and to be wrong (oneDNN issue 6035).
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from .timing import Turn

ROOT = Path(__file__).parents[1]
ALLOCATOR = ("glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:"
             "glibc.malloc.top_pad=268435456")  # fmt: skip
"""Keeps memory that was freed, which costs PyTorch 10-40 % otherwise: what an expert sets."""
START_SECONDS = 60.0


class PeerError(RuntimeError):
    """The peer hung, died or refused; it is started anew on the next request."""


def torch_python(chosen: str | None) -> str:
    """The interpreter that has PyTorch: `chosen`, else ``$NNFAST_TORCH_PYTHON``, else this one.

    Raises
    ------
    SystemExit : this interpreter would have to be it and has no PyTorch.
    """
    python = chosen or os.environ.get("NNFAST_TORCH_PYTHON")
    if python:
        return python
    if importlib.util.find_spec("torch") is None:
        raise SystemExit("PyTorch is not installed here: name an interpreter that has it with --torch-python PATH or "
                         "NNFAST_TORCH_PYTHON (see bench/README.md)")  # fmt: skip
    return sys.executable


class Peer:
    """PyTorch's worker on `threads` threads, which has `limit` seconds for every answer."""

    def __init__(self, python: str, threads: int, limit: float) -> None:
        self.python, self.threads, self.limit = python, threads, limit
        self.version = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.loaded: dict[str, Any] | None = None

    def load(self, folder: str, stride: int, padding: int, groups: int) -> None:
        """Take x, w and dy from the ``.npy`` files in `folder`."""
        self.loaded = {"do": "load", "folder": folder, "stride": stride, "padding": padding, "groups": groups}
        self._ask(self.loaded)

    def save(self, direction: str, file: str) -> None:
        """Compute once and write the result, channels last, to `file`."""
        self._ask({"do": "save", "direction": direction, "file": file})

    def time(self, direction: str, calls: int) -> Turn:
        """A turn of `calls` calls."""
        return Turn(**self._ask({"do": "time", "direction": direction, "calls": calls}))

    def close(self) -> None:
        """End the worker."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _start(self) -> subprocess.Popen[bytes]:
        environment = os.environ | {"GLIBC_TUNABLES": ALLOCATOR}
        command = [self.python, "-m", "bench.peer", str(self.threads)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.process = process
        self.version = self._read(process, START_SECONDS)["version"]
        return process

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self.process
        if process is None:
            process = self._start()
            if self.loaded is not None and request is not self.loaded:
                self._exchange(process, self.loaded)
        return self._exchange(process, request)

    def _exchange(self, process: subprocess.Popen[bytes], request: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # reading says how it ended
            process.stdin.write(json.dumps(request).encode() + b"\n")
        return self._read(process, self.limit)

    def _read(self, process: subprocess.Popen[bytes], limit: float) -> dict[str, Any]:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], limit)
        line = process.stdout.readline() if ready else b""
        if not line.endswith(b"\n"):
            if ready:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(5)
            ended = process.returncode
            self.close()
            raise PeerError(f"died ({ended})" if ready else f"no answer in {limit:.0f} s")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"].splitlines()[0])
        return answer
