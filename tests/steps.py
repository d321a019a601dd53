"""Every step is run eagerly and compiled, from the same seeds, and must give the same bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

import nnfast
from nnfast import nn, optim
from nnfast.compiler.graph import Graph
from nnfast.compiler.optimize import PASSES
from nnfast.random import get_rng_state

Compile = Callable[[Callable[..., Any]], Any]


def plain(function: Callable[..., Any]) -> Any:
    """A compiled function without rewriting passes, which may change the last bits."""
    return nnfast.compile(function, without=PASSES)


def bits(value: Any) -> Any:
    """A nesting of tensors, modules and optimizers as something that compares equal if all bits are equal."""
    if isinstance(value, nnfast.Tensor):
        gradient = None if value.grad is None else bits(value.grad)
        array = value.detach().numpy()
        return str(array.dtype), array.shape, array.tobytes(), value.requires_grad, gradient
    if isinstance(value, nn.Module):
        return {name: bits(x) for name, x in (*value.named_parameters(), *value.named_buffers())}
    if isinstance(value, optim.Optimizer):
        return bits(value.state_dict())
    if isinstance(value, Mapping):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [bits(item) for item in value]
    return value.tobytes() if isinstance(value, np.ndarray) else value


def compare(build: Callable[[Compile], tuple[Callable[[int], Any], Any]], calls: int = 4) -> list[Any]:
    """Run what `build` makes eagerly and compiled, and compare all results and states after every call.

    Parameters
    ----------
    build : gets what to compile with; gives a function of a call's number, and everything whose state is compared.

    Returns
    -------
    list
        The compiled functions.
    """
    compiled: list[Any] = []

    def note(function: Callable[..., Any]) -> Any:
        compiled.append(plain(function))
        return compiled[-1]

    states = []
    for how in (lambda function: function, note):
        nnfast.manual_seed(1)
        call, watched = build(how)
        states.append([])
        for number in range(calls):
            result = bits(call(number))
            states[-1].append((result, bits(watched), get_rng_state()))
    for number, (eager, plan) in enumerate(zip(*states, strict=True)):
        assert eager == plan, f"call {number} differs"
    for function in compiled:
        for variants in function.variants.values():
            for variant in variants:
                check_buffers(variant.captured)
    return compiled


def check_buffers(graph: Graph) -> None:
    """See that no memory is known under two names: passes take buffers for distinct."""
    arrays = [buffer.array for buffer in graph.buffers() if buffer.array is not None]
    places = sorted((array.__array_interface__["data"][0], array.nbytes) for array in arrays)
    for (start, nbytes), (following, _) in pairwise(places):
        assert start + nbytes <= following


def captures(function: Any) -> int:
    """How often a function was captured."""
    return sum(len(variants) for variants in function.variants.values())


def batch(number: int, n: int = 6, features: int = 5, classes: int = 3) -> tuple[nnfast.Tensor, nnfast.Tensor]:
    """Vectors and labels, other ones for each number."""
    rng = np.random.default_rng(number)
    x = rng.standard_normal((n, features)).astype(np.float32)
    return nnfast.from_numpy(x), nnfast.from_numpy(rng.integers(0, classes, n))


def images(number: int, n: int = 4, classes: int = 3) -> tuple[nnfast.Tensor, nnfast.Tensor]:
    """Images of three channels and labels."""
    rng = np.random.default_rng(number)
    x = rng.standard_normal((n, 3, 6, 6)).astype(np.float32)
    return nnfast.from_numpy(x), nnfast.from_numpy(rng.integers(0, classes, n))


def perceptron(dropout: float = 0.0) -> nn.Module:
    """Two linear layers."""
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def convnet() -> nn.Module:
    """A convolution with batch normalisation and pooling, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    )
