"""Why training may end before its last epoch."""

from __future__ import annotations


class TrainingInterrupted(Exception):
    """Training stopped at a batch because ``Trainer.interrupt`` was called.

    Attributes
    ----------
    signal : int or None
        The signal's number, if it was one.
    """

    def __init__(self, message: str, signal: int | None = None) -> None:
        super().__init__(message)
        self.signal = signal


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite."""
