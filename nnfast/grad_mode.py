"""Whether operations are written on the tape: one switch per thread, with PyTorch's ways to turn it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any


class _Mode(threading.local):
    enabled = True


_mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operations are recorded in this thread.

    Examples
    --------
    >>> is_grad_enabled()
    True
    """
    return _mode.enabled


class _Switch:
    """Sets the mode inside a ``with`` block or a decorated function, and back afterwards."""

    def __init__(self, mode: bool) -> None:
        self._value = bool(mode)
        self._previous: list[bool] = []

    def __enter__(self) -> None:
        self._previous.append(_mode.enabled)
        _mode.enabled = self._value

    def __exit__(self, *_: object) -> None:
        _mode.enabled = self._previous.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        mode = self._value

        @wraps(function)
        def switched(*args: Any, **kwargs: Any) -> Any:
            with _Switch(mode):  # one per call: the function may run in several threads
                return function(*args, **kwargs)

        return switched


class no_grad(_Switch):
    """Do not record operations inside a ``with`` block or a decorated function.

    Examples
    --------
    >>> with no_grad():
    ...     is_grad_enabled()
    False
    """

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        if function is None:
            return super().__new__(cls)
        return _Switch(False)(function)  # @no_grad without parentheses

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        super().__init__(False)


class enable_grad(_Switch):
    """Record operations inside a ``with`` block or a decorated function, even within `no_grad`.

    Examples
    --------
    >>> with no_grad(), enable_grad():
    ...     is_grad_enabled()
    True
    """

    def __init__(self) -> None:
        super().__init__(True)


class inference_mode(_Switch):
    """As `no_grad`; ``inference_mode(False)`` records. Tensors made inside may be used anywhere afterwards.

    Examples
    --------
    >>> with inference_mode():
    ...     is_grad_enabled()
    False
    """

    def __init__(self, mode: bool = True) -> None:
        super().__init__(not mode)


class set_grad_enabled(_Switch):
    """Turn recording on or off from now on; as a context manager or decorator, inside it only.

    Parameters
    ----------
    mode : whether to record.

    Examples
    --------
    >>> with set_grad_enabled(False):
    ...     is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        self._before = _mode.enabled
        _mode.enabled = self._value

    def __enter__(self) -> None:
        self._previous.append(self._before)
        _mode.enabled = self._value

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        _mode.enabled = self._before
        return super().__call__(function)
