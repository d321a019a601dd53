"""Random numbers: one generator for everything that is drawn, and the seeds of dropout.

The numbers are a function of the seed and of what was drawn before, never of backends or threads.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from .tracing import recorder

LARGEST_SEED = 2**64 - 1


class _State:
    def __init__(self) -> None:
        entropy = np.random.SeedSequence().generate_state(1, np.uint64)
        self.seed(int(entropy[0]))
        self.given = False

    def seed(self, seed: int) -> None:
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self.dropout_seed = seed
        self.dropout_count = 0
        self.given = True


_state = _State()


def default_generator() -> np.random.Generator:
    """The generator that everything is drawn from unless another one is given.

    Examples
    --------
    >>> _ = manual_seed(0)
    >>> round(float(default_generator().random()), 4)
    0.637
    """
    return _state.generator


def manual_seed(seed: int) -> np.random.Generator:
    """Start nnfast's random numbers anew.

    Parameters
    ----------
    seed : a whole number from -2**63 to 2**64 - 1; negative ones count from 2**64, as in PyTorch.

    Returns
    -------
    numpy.random.Generator
        The default generator.

    Raises
    ------
    ValueError : another number.

    Examples
    --------
    >>> first = manual_seed(1).random()
    >>> first == manual_seed(1).random()
    True
    """
    number = int(seed)
    if number < 0:
        number += LARGEST_SEED + 1
    if not 0 <= number <= LARGEST_SEED or (int(seed) < -(2**63)):
        raise ValueError(f"manual_seed: seed is {seed}, expected a number from -2**63 to 2**64 - 1")
    _state.seed(number)
    return _state.generator


def seed_given() -> bool:
    """Whether somebody gave a seed, or a state to continue from.

    Examples
    --------
    >>> _ = manual_seed(0)
    >>> seed_given()
    True
    """
    return _state.given


def seed_everything(seed: int) -> int:
    """Seed nnfast, NumPy's global generator and Python's `random`; return the seed.

    Examples
    --------
    >>> seed_everything(3)
    3
    """
    manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    return seed


def next_seed() -> np.ndarray:
    """The (seed, count) of the next dropout mask: two uint64, the key and the upper counter of Philox."""
    capture = recorder()
    return _draw_seed() if capture is None else capture.feed((2,), np.uint64, _draw_seed)


def _draw_seed() -> np.ndarray:
    seed = np.array([_state.dropout_seed, _state.dropout_count], np.uint64)
    _state.dropout_count += 1
    return seed


def get_rng_state() -> dict[str, Any]:
    """The state of nnfast's random numbers, as a dictionary that JSON can hold.

    Examples
    --------
    >>> state = get_rng_state()
    >>> first = default_generator().random()
    >>> set_rng_state(state)
    >>> first == default_generator().random()
    True
    """
    return {
        "generator": _state.generator.bit_generator.state,
        "dropout": [_state.dropout_seed, _state.dropout_count],
        "given": _state.given,
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Continue from a state that `get_rng_state` gave.

    Raises
    ------
    ValueError : something else.
    """
    try:
        seed, count = (int(number) for number in state["dropout"])
        generator = np.random.PCG64()
        generator.state = state["generator"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"set_rng_state: not a state of nnfast's random numbers ({error!r})") from None
    if not (0 <= seed <= LARGEST_SEED and 0 <= count <= LARGEST_SEED):
        raise ValueError(f"set_rng_state: dropout is {state['dropout']}, expected two numbers from 0 to 2**64 - 1")
    # The generator object stays, for others may hold it.
    _state.generator.bit_generator.state = generator.state
    _state.dropout_seed, _state.dropout_count = seed, count
    _state.given = True


def resume_rng_state(state: dict[str, Any]) -> None:
    """`set_rng_state` for a run that goes on: a seed is given if one was when it began."""
    set_rng_state(state)
    _state.given = bool(state.get("given", True))  # older states do not say it
