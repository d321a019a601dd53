"""Types of arguments, and those that several commands take."""

from __future__ import annotations

import argparse
import math

from nnfast.kernels import BACKENDS


def positive_integer(text: str) -> int:
    """Read an integer of at least 1."""
    return _integer(text, 1)


def natural_number(text: str) -> int:
    """Read an integer of at least 0."""
    return _integer(text, 0)


def not_negative(text: str) -> float:
    """Read a number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"is {text!r}, expected a number that is not negative")
    return value


def add_execution_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --backend and --threads."""
    parser.add_argument("--backend", choices=BACKENDS, help="which kernels compute (default: numba)")
    parser.add_argument("--threads", type=positive_integer, metavar="N",
                        help="threads that compute; results do not depend on it (default: all CPUs)")  # fmt: skip


def use_threads(threads: int | None) -> None:
    """Apply --threads."""
    if threads is not None:
        import nnfast

        nnfast.set_num_threads(threads)


def _integer(text: str, smallest: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = smallest - 1
    if not smallest <= value < 2**63:
        raise argparse.ArgumentTypeError(f"is {text!r}, expected an integer of at least {smallest}")
    return value
