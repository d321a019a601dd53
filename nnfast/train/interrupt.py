"""Ctrl-C and SIGTERM: the first one stops training at the next batch, the second one at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnfast.train.trainer import Trainer


@contextmanager
def stop_on_signals(trainer: Trainer) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM in the ``with`` block into ``trainer.interrupt``.

    The trainer ends its batch, writes the checkpoint and raises ``TrainingInterrupted``. A second signal does what it
    did before: a KeyboardInterrupt, or death. Python delivers signals to the main thread; elsewhere nothing is done.

    Parameters
    ----------
    trainer : Trainer
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            # None: a handler that was not installed from Python, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        trainer.interrupt(number)

    try:
        for number, handler in before.items():
            # A shell starts background jobs with SIGINT ignored, and so it stays.
            if handler is not signal.SIG_IGN:
                signal.signal(number, stop)
        yield
    finally:
        restore()
