"""What a plan took for granted when it was captured, and whether it still holds."""

from __future__ import annotations

from typing import Any

from nnfast.tensor import Tensor

from .capture import Capture

_PLAIN = (int, float, str, bool, type(None))


def _settings(module: Any) -> dict[str, Any]:
    """A module's numbers and flags, such as `training`, and which parameters, buffers and modules it has."""
    plain = {}
    for name, value in module.__dict__.items():
        if isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(isinstance(part, _PLAIN) for part in value)):
            plain[name] = value
        elif isinstance(value, (dict, list)) and name.startswith("_"):
            members = value.values() if isinstance(value, dict) else value
            plain[name] = tuple(id(member) for member in members)
    return plain


class Guards:
    """The state of everything that a captured function saw, apart from its arguments."""

    def __init__(self, capture: Capture) -> None:
        self.tensors = list(capture.tensors.values())
        self.gradients = [
            (leaf, before, None if before is None else before.array)
            for leaf, before, looked_at in capture.leaves.values()
            if looked_at
        ]
        self.values = [(value, value()) for value in capture.guards]
        self.modules = [(module, _settings(module)) for module in capture.modules.values()]

    def hold(self) -> bool:
        """Whether a plan that was captured then may run now."""
        for tensor, array, requires_grad in self.tensors:
            if tensor.array is not array or tensor._requires_grad is not requires_grad:
                return False
        for leaf, before, memory in self.gradients:
            if not _same_gradient(leaf._grad, before, memory):
                return False
        return all(_settings(module) == known for module, known in self.modules) and all(
            value() == known for value, known in self.values
        )


def _same_gradient(now: Tensor | None, before: Tensor | None, memory: Any) -> bool:
    """Whether a leaf has no gradient, as before, or one in the same memory."""
    if now is None or before is None:
        return now is before
    return now is before or now.array is memory
