"""What a plan took for granted when it was captured, and whether it still holds."""

from __future__ import annotations

from typing import Any

from nnfast.tensor import Tensor
from nnfast.tracing import structure

from .capture import Capture

_PLAIN = (int, float, str, bool)


class Guards:
    """The state of everything that a captured function saw, apart from its arguments.

    What seldom changes (which modules, parameters and states there are, modes, flags, memory) is compared only when
    `nnfast.tracing.structure` tells that something did.
    """

    def __init__(self, capture: Capture) -> None:
        self.gradients = [
            (leaf, before, None if before is None else before.array)
            for leaf, before, looked_at in capture.leaves.values()
            if looked_at
        ]
        self.values = [(value, value()) for value in capture.guards]
        self._tensors = list(capture.tensors.values())
        self._states = [(value, value()) for value in capture.states]
        members = {id(part): part for module in capture.modules.values() for part in module.modules()}
        self._modules = [(module, _settings(module)) for module in members.values()]
        self._held: object = None
        self._failed: object = None

    def hold(self) -> bool:
        """Whether a plan that was captured then may run now."""
        now = structure()
        if now is not self._held:
            if now is self._failed:
                return False
            if not self._same_structure():
                self._failed = now
                return False
            self._held = now
        for leaf, before, memory in self.gradients:
            if leaf._grad is not before and not _same_gradient(leaf._grad, before, memory):
                return False
        return all(value() == known for value, known in self.values)

    def _same_structure(self) -> bool:
        for tensor, array, requires_grad in self._tensors:
            if tensor.array is not array or tensor._requires_grad is not requires_grad:
                return False
        return all(_unchanged(module, known) for module, known in self._modules) and all(
            value() == known for value, known in self._states
        )


def _same_gradient(now: Tensor | None, before: Tensor | None, memory: Any) -> bool:
    """Whether a leaf has no gradient, as before, or one in the same memory."""
    return now is not None and before is not None and now.array is memory


def _settings(module: Any) -> dict[str, Any]:
    """A module's attributes, and for each of its tables what is in it."""
    return {
        name: list(value.items()) if name in module._tables else value
        for name, value in module.__dict__.items()
        if not _computed(value)
    }


def _plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(_plain(part) for part in value))


def _computed(value: Any) -> bool:
    """Whether a module keeps a result of its last call: no plan depends on it."""
    return isinstance(value, Tensor) and (value.node is not None or value.storage.capture is not None)


def _unchanged(module: Any, known: dict[str, Any]) -> bool:
    """Whether a module has the same attributes: equal numbers, texts and tuples of them, the same of all else."""
    count = 0
    for name, value in module.__dict__.items():
        before = known.get(name, known)
        if before is known:
            if _computed(value):
                continue
            return False
        count += 1
        if before is value:
            continue
        if name in module._tables:
            if len(before) != len(value):
                return False
            for (key, member), (other_key, other) in zip(value.items(), before, strict=True):
                if key != other_key or member is not other:
                    return False
        elif not (type(value) is type(before) and _plain(value) and value == before):
            return False
    return count == len(known)
