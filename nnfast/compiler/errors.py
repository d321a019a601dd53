"""What is raised where a function does what a plan cannot repeat."""

from __future__ import annotations

import sys
from types import FrameType


class CaptureError(RuntimeError):
    """A function does something that a plan cannot repeat; the traceback's last line of the user's says where."""


ADVICE = (
    "Return the tensor and look at it outside of the compiled function, keep this part out of it, or run eagerly "
    "(without nnfast.compile; Trainer(..., compile=False); nnfast train --eager)."
)


def user_call() -> tuple[str, str]:
    """What was called in nnfast, and where outside of it."""
    frame: FrameType | None = sys._getframe(1)
    name = ""
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "nnfast":
        if not frame.f_code.co_filename.endswith("grad_mode.py"):  # a decorator
            name = frame.f_code.co_name
        frame = frame.f_back
    place = "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return f"{name}()", place
