"""Passes that decide over memory and order, each alone: a graph in, a graph out."""

from __future__ import annotations

import numpy as np

from nnfast.compiler.graph import Graph, made, node
from nnfast.compiler.passes.delay import delay
from nnfast.compiler.passes.groups import groups
from nnfast.compiler.passes.in_place import in_place
from nnfast.compiler.passes.placement import lifetimes, peak, placement
from nnfast.compiler.passes.recompute import recompute

from .graphs import given, outside, text


def test_in_place_reuses_what_dies():
    x, a, b, c = given((64,)), made((64,)), made((64,)), made((64,))
    graph = Graph([node("exp", x=x, y=a), node("log", x=a, y=b), node("add", a=a, b=b, y=c, alpha=1.0)], results=[c])
    in_place(graph)
    assert text(graph) == ["exp x=x0 -> y=%0", "log x=%0 -> y=%1", "add a=%0 b=%1 -> y=%0"]
    assert graph.results[0].buffer is graph.nodes[0]["y"].buffer


def test_in_place_never_touches_results_or_arguments():
    x, a, b = given((64,)), made((64,)), made((64,))
    graph = Graph([node("exp", x=x, y=a), node("log", x=a, y=b)], results=[a, b])
    in_place(graph)
    assert text(graph) == ["exp x=x0 -> y=%0", "log x=%0 -> y=%1"]


def test_groups():
    x, a, b, c = given((64,)), made((64,)), made((64,)), made((64,))
    graph = Graph(
        [
            node("exp", x=x, y=a),
            node("log", x=x, y=b),
            node("add", a=a, b=b, y=c, alpha=1.0),
            node("increment", step=outside("n", 1, dtype=np.int64)),
            node("scale", x=c, y=a, alpha=1.0, beta=0.0),
        ]
    )
    groups(graph)
    assert [item.group for item in graph.nodes] == [0, 0, 1, 1, 2]


def test_groups_see_parts_of_one_buffer():
    whole = made((4,), np.float64)
    from dataclasses import replace

    parts = [replace(whole, shape=(1,), offset=8 * i) for i in range(2)]
    graph = Graph([node("sum_squares", x=given((9,)), y=part) for part in (*parts, parts[0])])
    groups(graph)
    assert [item.group for item in graph.nodes] == [0, 0, 1]


def test_lifetimes_and_placement():
    x, a, b, c = given((1024,)), made((1024,)), made((1024,)), made((1024,))
    graph = Graph([node("exp", x=x, y=a), node("log", x=a, y=b), node("exp", x=b, y=c)],
                  results=[c])  # fmt: skip
    lives = lifetimes(graph)
    assert lives == {a.buffer: (0, 1), b.buffer: (1, 2), c.buffer: (2, 3)}
    offsets, size = placement(lives)
    assert offsets[a.buffer] == offsets[c.buffer] != offsets[b.buffer]
    assert size < 3 * 4096 + 3 * 2048


def test_nodes_of_one_group_share_no_memory():
    x, a, b = given((1024,)), made((1024,)), made((1024,))
    graph = Graph([node("exp", x=x, y=a), node("log", x=x, y=b)])
    groups(graph)
    offsets, _ = placement(lifetimes(graph))
    assert abs(offsets[a.buffer] - offsets[b.buffer]) >= 4096


def test_placement_never_overlaps_what_is_in_use():
    rng = np.random.default_rng(0)
    lives = {}
    for _ in range(200):
        first = int(rng.integers(0, 50))
        buffer = made((int(rng.integers(1, 3000)),)).buffer
        lives[buffer] = first, first + int(rng.integers(0, 10))
    offsets, size = placement(lives)
    items = list(lives.items())
    for i, (one, (begin, end)) in enumerate(items):
        assert offsets[one] % 64 == 0
        assert offsets[one] + one.nbytes <= size
        for other, (start, stop) in items[:i]:
            if begin <= stop and start <= end:
                assert offsets[one] >= offsets[other] + other.nbytes or offsets[other] >= offsets[one] + one.nbytes


def test_placement_tries_again_where_gaps_are_left(monkeypatch):
    rng = np.random.default_rng(4)
    lives = {}
    for _ in range(30):
        first = int(rng.integers(0, 20))
        lives[made((4096 * int(rng.integers(1, 9)),)).buffer] = first, first + int(rng.integers(0, 6))
    least = peak(lives)[1]
    assert placement(lives)[1] < 1.02 * least
    monkeypatch.setattr("nnfast.compiler.passes.placement.ROUNDS", 0)
    assert placement(lives)[1] > 1.1 * least


def test_recompute_splits_a_long_life(monkeypatch):
    """What is cheap to make again is made again behind the time of the most memory."""
    monkeypatch.setattr("nnfast.compiler.passes.recompute.ENOUGH", 0)
    monkeypatch.setattr("nnfast.compiler.passes.recompute.SMALLEST", 0)
    z, y, big, small, last = made((32, 8)), made((32, 8)), made((640, 8)), made((32, 8)), made((32, 8))
    graph = Graph(
        [
            node("exp", x=given((32, 8)), y=z),
            node("affine_forward", "join", x=z, y=y, activation=1),
            node("log", x=given((640, 8), argument=1), y=big),
            node("exp", x=big, y=made((640, 8))),
            node("add", a=y, b=z, y=small, alpha=1.0),
            node("add", a=y, b=small, y=last, alpha=1.0),
        ],
        results=[last],
    )
    recompute(graph)
    assert text(graph) == [
        "exp x=x0 -> y=%0",
        "affine_forward x=%0 -> y=%1",
        "log x=x1 -> y=%2",
        "exp x=%2 -> y=%3",
        "affine_forward x=%0 -> y=%4",
        "add a=%4 b=%0 -> y=%5",
        "add a=%4 b=%5 -> y=%6",
    ]


def test_recompute_leaves_small_steps_alone():
    z, y, last = made((32, 8)), made((32, 8)), made((32, 8))
    graph = Graph(
        [
            node("exp", x=given((32, 8)), y=z),
            node("affine_forward", x=z, y=y, activation=1),
            node("exp", x=z, y=last),
            node("add", a=y, b=last, y=made((32, 8)), alpha=1.0),
        ]
    )
    before = text(graph)
    recompute(graph)
    assert text(graph) == before


def residual_graph(shortcut=(64, 8)):
    """Two branches of a gradient, of which the shortcut's comes first; it also gives the gradient of a weight."""
    g, z = made((32, 8)), made((32, 8))
    dz, short, main, total = made((32, 8)), made(shortcut), made((32, 8)), made(shortcut)
    vectors_ = {name: outside(name, 8) for name in ("slope", "factor", "offset")}
    nodes = [
        node("exp", x=given((32, 8)), y=g),
        node("exp", x=given((32, 8), argument=1), y=z),
        node("affine_gradient", "short", dy=g, z=z, **vectors_, dx=dz),
        node("linear_backward_data", "short", dy=dz, w=outside("w", 8, 8), dx=short),
        node("linear_backward_weight", "short", x=given((32, 8)), dy=dz, dw=outside("dw", 8, 8)),
        node("log", "main", x=g, y=main),
        node("affine_backward", "join", dy=short, dy2=made(shortcut), y=given(shortcut, argument=2), dx=total,
             activation=1),
    ]  # fmt: skip
    nodes.insert(6, node("log", "main", x=given(shortcut, argument=2), y=nodes[-1]["dy2"]))
    return Graph(nodes, results=[total, main])


def test_delay_moves_a_branch_and_its_weight_gradient(monkeypatch):
    monkeypatch.setattr("nnfast.compiler.passes.delay.ENOUGH", 0)
    monkeypatch.setattr("nnfast.compiler.passes.delay.SMALLEST", 0)
    graph = residual_graph()
    delay(graph)
    assert [f"{item.place} {item.name}".strip() for item in graph.nodes] == [
        "exp",
        "main log",
        "exp",
        "short affine_gradient",
        "short linear_backward_data",
        "short linear_backward_weight",
        "main log",  # the other term, which needs nothing that would be kept for it
        "join affine_backward",
    ]


def test_delay_only_where_it_saves_memory(monkeypatch):
    monkeypatch.setattr("nnfast.compiler.passes.delay.SMALLEST", 0)
    graph = residual_graph()
    before = text(graph)
    delay(graph)  # a small step
    assert text(graph) == before
    monkeypatch.setattr("nnfast.compiler.passes.delay.ENOUGH", 0)
    graph = residual_graph(shortcut=(16, 8))
    before = text(graph)
    delay(graph)  # its result is smaller than what it is made of
    assert text(graph) == before


def test_delay_keeps_the_order_of_what_depends_on_each_other(monkeypatch):
    monkeypatch.setattr("nnfast.compiler.passes.delay.ENOUGH", 0)
    monkeypatch.setattr("nnfast.compiler.passes.delay.SMALLEST", 0)
    graph = residual_graph()
    weight = graph.nodes[4]
    graph.nodes.insert(5, node("add", "main", a=weight["dw"], b=weight["dw"], y=weight["dw"], alpha=1.0))
    before = text(graph)
    delay(graph)
    assert text(graph) == before
