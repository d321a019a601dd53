"""Processes that time something on request: one JSON object a line each way, and asleep between two requests.

`Worker` is the side that asks, `serve` the side that answers. Imports no library that is timed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0
SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl
INSTALL = {
    "torch": "python -m venv torch && torch/bin/pip install torch numpy "
             "--index-url https://download.pytorch.org/whl/cpu",
    "tensorflow": "python -m venv tensorflow && tensorflow/bin/pip install tensorflow-cpu keras numpy",
}  # fmt: skip


class PeerError(RuntimeError):
    """The process hung, died or refused; where it has ended, the next request starts it anew."""


def interpreter(library: str, chosen: str | None) -> str:
    """The interpreter that has `library`: `chosen`, else ``$NNFAST_<LIBRARY>_PYTHON``, else this one.

    Raises
    ------
    PeerError : there is no such interpreter, or this one would have to be it and has no such library.
    """
    variable = f"NNFAST_{library.upper()}_PYTHON"
    python = chosen or os.environ.get(variable)
    if python:
        if shutil.which(python) is None:
            raise PeerError(f"{python} is not a program (--{library}-python or {variable})")
        return python
    if importlib.util.find_spec(library) is None:
        raise PeerError(f"{library} is not installed here: {INSTALL[library]}, then --{library}-python "
                        f"{library}/bin/python or {variable} (see bench/README.md)")  # fmt: skip
    return sys.executable


class Worker:
    """A process that calls `serve`, and has `limit` seconds for every answer.

    It is started by the first request. Between requests it is stopped (``SIGSTOP``), so that no thread pool of its
    own spins on the cores where another one is timed.
    """

    def __init__(self, command: Sequence[str], limit: float, environment: Mapping[str, str]) -> None:
        self.command, self.limit, self.environment = command, limit, environment
        self.hello: dict[str, Any] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.messages: IO[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request.

        Raises
        ------
        PeerError : there is none within the limit, the process ended, or it answered with an error.
        """
        process = self.process or self._start()
        assert process.stdin is not None
        _signal(process, signal.SIGCONT)
        with suppress(BrokenPipeError):  # reading says how it ended
            process.stdin.write(json.dumps(request).encode() + b"\n")
        return self._read(process, self.limit)

    def close(self) -> None:
        """End the process and what it started."""
        if self.process is not None:
            _signal(self.process, signal.SIGKILL)
            self.process.communicate()
            self.process = None
        if self.messages is not None:
            self.messages.close()
            self.messages = None

    def _start(self) -> subprocess.Popen[bytes]:
        self.messages = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        try:
            process = subprocess.Popen(
                self.command, cwd=ROOT, env=os.environ | dict(self.environment), bufsize=0, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.messages,
            )  # fmt: skip
        except OSError as error:
            self.close()
            raise PeerError(str(error)) from error
        self.process = process
        self.hello = self._read(process, max(START_SECONDS, self.limit))
        return process

    def _read(self, process: subprocess.Popen[bytes], limit: float) -> dict[str, Any]:
        line = self._line(process, limit)
        if line is None:
            self.close()
            raise PeerError(f"no answer in {limit:.0f} s")
        if not line.endswith(b"\n"):
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            ended = f"died ({process.returncode}) {self._last_message()}".rstrip()
            self.close()
            raise PeerError(ended)
        _signal(process, signal.SIGSTOP)
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"].splitlines()[0])
        return answer

    def _line(self, process: subprocess.Popen[bytes], limit: float) -> bytes | None:
        """A line of the process's, what it wrote of one before it ended, or None if it took too long."""
        assert process.stdout is not None
        deadline, line = time.monotonic() + limit, b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            part = process.stdout.read(1 << 16)
            if not part:
                break
            line += part
        return line

    def _last_message(self) -> str:
        """The last line that the process wrote to its error output."""
        assert self.messages is not None
        self.messages.seek(0)
        lines = self.messages.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _signal(process: subprocess.Popen[bytes], which: signal.Signals) -> None:
    """Send a signal to a process and to those that it started."""
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(process.pid, which)


def serve(hello: Callable[[], dict[str, Any]], answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Say `hello`, then answer requests from the standard input until it ends; errors are answers, too."""
    if sys.platform == "linux":  # a stopped process would never see that the one who asks has ended
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, int(signal.SIGKILL))
        with suppress(OSError):  # where memory ends, this process shall end and no other
            Path("/proc/self/oom_score_adj").write_text("1000")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between answers

    def tell(made: Callable[[], dict[str, Any]]) -> None:
        try:
            told = made()
        except Exception as error:  # whatever a library raises belongs into its row of the table
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), file=answers, flush=True)

    tell(hello)
    for line in sys.stdin:
        request = json.loads(line)
        tell(lambda request=request: answer(request))  # type: ignore[misc]
