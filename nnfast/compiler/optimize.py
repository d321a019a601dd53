"""The passes in order: from what was captured to what is run."""

from __future__ import annotations

from collections.abc import Callable, Collection

from .graph import Graph
from .passes.algorithms import algorithms
from .passes.dead_code import dead_code

PASSES: dict[str, Callable[[Graph], None]] = {
    "dead_code": dead_code,
}
"""Passes that may be left out, by name; plans are right without any of them."""


def optimize(graph: Graph, backend: str, without: Collection[str] = ()) -> Graph:
    """A rewritten copy of a graph, with backends and algorithms chosen."""
    made = graph.copy()
    for name, run in PASSES.items():
        if name not in without:
            run(made)
    algorithms(made, backend)
    return made
