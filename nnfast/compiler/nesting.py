"""Arguments and results of compiled functions: tensors in nested tuples, lists and dictionaries."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from nnfast.nn.parameter import Parameter
from nnfast.tensor import Tensor


def tensors(value: Any) -> list[Tensor]:
    """The tensors in a nesting, each once. Parameters are not among them: a plan knows them by their memory."""
    found: dict[int, Tensor] = {}

    def visit(part: Any) -> None:
        if isinstance(part, Tensor):
            if not isinstance(part, Parameter):
                found.setdefault(id(part), part)
        elif isinstance(part, Mapping):
            for item in part.values():
                visit(item)
        elif isinstance(part, (tuple, list)):
            for item in part:
                visit(item)

    visit(value)
    return list(found.values())


def mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """The same nesting where everything of a class is changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, Mapping):
        items = {key: mapped(item, kind, change) for key, item in value.items()}
        if type(value) is dict:
            return items
        made = copy.copy(value)
        made.update(items)  # type: ignore[attr-defined]
        return made
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, kind, change) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(item, kind, change) for item in value)
    return value


def kind_of(value: Any) -> Any:
    """What of an argument a plan depends on: shapes and types of tensors, values of all else.

    Raises
    ------
    TypeError : an argument that is neither a tensor nor hashable.
    """
    numbers: dict[int, int] = {}

    def kind(part: Any) -> Any:
        if isinstance(part, Tensor):
            if isinstance(part, Parameter):
                return "parameter", id(part)
            number = numbers.setdefault(id(part), len(numbers))
            wanted = part._requires_grad
            return part.array.shape, part.array.dtype.num, wanted, wanted and part._grad is not None, number
        if isinstance(part, (int, str, bool, type(None))):
            return type(part), part
        if isinstance(part, float):
            return float, part.hex()  # 0.0 and -0.0 are equal, and one NaN is as good as another
        if isinstance(part, Mapping):
            return type(part), tuple([(key, kind(item)) for key, item in part.items()])
        if isinstance(part, (tuple, list)):
            return type(part), tuple([kind(item) for item in part])
        try:
            hash(part)
        except TypeError:
            raise TypeError(
                f"compile: an argument is {type(part).__name__}, expected tensors, or what is hashable; make a tensor "
                "of an array with nnfast.from_numpy"
            ) from None
        return type(part), part

    return kind(value)
