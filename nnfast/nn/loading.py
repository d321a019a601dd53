"""Loading a module's state: everything is checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast.grad_mode import no_grad
from nnfast.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from .module import Module


def load_state_dict(module: Module, state: Mapping[str, Any], strict: bool) -> tuple[list[str], list[str]]:
    """See `Module.load_state_dict`."""
    if not isinstance(state, Mapping):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(state)}.")
    wanted = {
        f"{prefix}.{name}" if prefix else name: value
        for prefix, part in module.named_modules(remove_duplicate=False)
        for name, value in part._own_state()
    }
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in wanted]
    pairs = {name: (wanted[name], _tensor(name, state[name])) for name in state if name in wanted}
    errors = _errors(missing if strict else [], unexpected if strict else [], pairs)
    if errors:
        raise RuntimeError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t" + "\n\t".join(errors))
    with no_grad():
        for target, source in pairs.values():
            target.copy_(source)
    return missing, unexpected


def _tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray):
        return from_numpy(value)
    raise TypeError(f"load_state_dict: {name} is {type(value).__name__}, expected a Tensor or an array")


def _errors(missing: list[str], unexpected: list[str], pairs: Mapping[str, tuple[Tensor, Tensor]]) -> list[str]:
    errors = []
    if unexpected:
        errors.append(f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
    if missing:
        errors.append(f"Missing key(s) in state_dict: {_quoted(missing)}. ")
    for name, (target, source) in pairs.items():
        if target.shape != source.shape:
            errors.append(
                f"size mismatch for {name}: copying a param with shape {source.shape} from checkpoint, "
                f"the shape in current model is {target.shape}."
            )
    return errors


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
