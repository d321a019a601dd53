"""Calling callbacks: only the methods that are there, so that a hook that nobody uses costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nnfast.train.callbacks import Callback

if TYPE_CHECKING:
    from nnfast.train.trainer import Trainer


class Hooks:
    """The hooks that some callbacks override.

    Parameters
    ----------
    trainer : Trainer
        Introduced to each callback.
    callbacks : sequence of Callback
        Called in this order.
    """

    def __init__(self, trainer: Trainer, callbacks: Sequence[Callback]) -> None:
        self._methods: dict[str, list[Callable[..., None]]] = {}
        for callback in callbacks:
            callback.trainer = trainer
            for name in vars(Callback):
                method = getattr(callback, name)
                # An instance may hold a plain function under a hook's name; that counts too.
                if name.startswith("on_") and getattr(method, "__func__", None) is not vars(Callback)[name]:
                    self._methods.setdefault(name, []).append(method)

    def __contains__(self, name: str) -> bool:
        return name in self._methods

    def call(self, name: str, *arguments: Any) -> None:
        """Call a hook of all callbacks."""
        for method in self._methods.get(name, ()):
            method(*arguments)
