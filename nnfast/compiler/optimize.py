"""The passes in order: from what was captured to what is run."""

from __future__ import annotations

from collections.abc import Callable, Collection

from .graph import Graph
from .passes.algorithms import algorithms
from .passes.commit import commit
from .passes.dead_code import dead_code
from .passes.delay import delay
from .passes.finite import finite
from .passes.fuse_loads import fuse_loads
from .passes.fuse_stores import fuse_stores
from .passes.groups import groups
from .passes.in_place import in_place
from .passes.join_pixels import join_pixels
from .passes.recompute import recompute
from .passes.rename import rename
from .passes.split_norms import split_norms

PASSES: dict[str, Callable[[Graph], None]] = {
    "rename": rename,
    "dead_code": dead_code,
    "split_norms": split_norms,
    "join_pixels": join_pixels,
    "fuse_loads": fuse_loads,
    "fuse_stores": fuse_stores,
    "leftovers": dead_code,
    "finite": finite,
    "commit": commit,
    "delay": delay,
    "recompute": recompute,
    "in_place": in_place,
    "groups": groups,
}
"""Passes that may be left out, by name; plans are right without any of them."""


def optimize(graph: Graph, backend: str, without: Collection[str] = ()) -> Graph:
    """A rewritten copy of a graph, with backends and algorithms chosen."""
    made = rewritten(graph, without)
    algorithms(made, backend)
    return made


def rewritten(graph: Graph, without: Collection[str] = ()) -> Graph:
    """A copy of a graph after all passes but those named."""
    made = graph.copy()
    for name, run in PASSES.items():
        if name not in without:
            run(made)
    return made
