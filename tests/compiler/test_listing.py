"""Listings say what a graph and a plan do: exact lines of small ones."""

from __future__ import annotations

import numpy as np
import pytest

import nnfast
from nnfast import functional as F
from nnfast import nn, optim
from nnfast.compiler.graph import GUARD, INPUT, OUTSIDE, Buffer, Graph, Node, Operand, made, node
from nnfast.compiler.listing import Names, graph_listing, lines, listed, listing
from nnfast.compiler.optimize import PASSES

FLOAT = np.dtype(np.float32)


def small_graph() -> Graph:
    x = Operand(Buffer(24, INPUT, argument=0), (2, 3), FLOAT)
    w = Operand(Buffer(48, OUTSIDE, "fc.weight"), (4, 3), FLOAT)
    lr, step = (
        Operand(Buffer(8, OUTSIDE), (1,), np.dtype(np.float64)),
        Operand(Buffer(8, OUTSIDE), (1,), np.dtype("i8")),
    )
    other = Operand(Buffer(8, OUTSIDE), (1,), np.dtype("i8"))
    y, z = made((2, 4)), made((2, 4))
    nodes = [
        node("linear_forward", "fc", x=x, w=w, b=None, y=y),
        node("increment", "optimizer", step=step),
        node("increment", "optimizer", step=other),
        node("relu_forward", "act", x=Operand(y.buffer, (2,), FLOAT, 16), y=Operand(z.buffer, (2,), FLOAT, 24)),
        node("sgd_step", "optimizer", g=z, lr=lr, step=step, p=w, momentum_buffer=None),
        Node(GUARD, {"total": lr}),
    ]
    nodes[1].group = nodes[2].group = 3
    for item in nodes:
        item.backend, item.algorithm = "numba", "default"
    nodes[0].algorithm, nodes[3].backend = "panels", "cython"
    return Graph(nodes, [z])


def test_lines_of_a_graph():
    with nnfast.backend("numba"):
        assert [line.rstrip() for line in graph_listing(small_graph()).splitlines()] == [
            "0       fc         linear_forward  panels    x=x0[2,3] w=fc.weight[4,3] -> y=%0[2,4]",
            "1  {3}  optimizer  increment                 -> step:=$step[1]:int64",
            "2  {3}  optimizer  increment                 -> step:=$step#2[1]:int64",
            "3       act        relu_forward    !cython!  x=%0+16[2] -> y=%1+24[2]",
            "4       optimizer  sgd_step                  g=%1[2,4] lr=$lr[1]:float64 step=$step[1]:int64"
            " -> p:=fc.weight[4,3]",
            "5                  guard                     total=$lr[1]:float64 ->",
            "returns %1[2,4]",
        ]


def test_printing_a_graph_lists_it():
    graph = small_graph()
    assert str(graph) == graph_listing(graph)


def test_a_backend_is_marked_only_where_it_is_not_the_one_asked_for():
    graph = small_graph()
    assert [row.marked for row in lines(graph, Names(graph), "numba")] == [False, False, False, True, False, False]
    assert [row.marked for row in lines(graph, Names(graph), "cython")] == [True, True, True, False, True, True]


def test_empty_graph():
    assert graph_listing(Graph()) == ""


def model_and_step():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @nnfast.compile(without=PASSES)
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


@pytest.fixture
def variant():
    with nnfast.backend("numba"):
        yield model_and_step().variant(nnfast.ones(5, 3), nnfast.tensor([0, 1, 0, 1, 0]))


def test_lines_of_a_captured_step(variant):
    shown = str(listing(variant)).splitlines()
    captured = [" ".join(line.split()) for line in shown[1 : shown.index("")]]
    assert captured[:3] == [
        "0 0 linear_forward x=x0[5,3] w=0.weight[4,3] b=0.bias[4] -> y=%0[5,4]",
        "1 1 relu_forward x=%0[5,4] -> y=%1[5,4]",
        "2 2 linear_forward x=%1[5,4] w=2.weight[2,4] b=2.bias[2] -> y=%2[5,2]",
    ]
    [step] = [line for line in captured if "p:=2.weight[2,4]" in line]
    assert "optimizer sgd_step g=2.weight.grad[2,4] lr=$lr[1]:float64 step=$step" in step
    assert shown[0] == f"captured: {len(variant.captured.nodes)} nodes"


def test_buffers_have_the_same_names_before_and_after_the_passes(variant):
    shown = listed(variant)
    assert [row.reads for row in shown.captured] == [row.reads for row in shown.nodes]
    assert [row.number for row in shown.nodes] == list(range(len(variant.graph.nodes)))


def test_offsets_are_those_of_the_plan(variant):
    first = next(row for row in listing(variant).splitlines() if "@" in row)
    node = variant.graph.nodes[0]
    offset = variant.plan.offsets[node["y"].buffer]
    assert f"y=%0[5,4]@{offset}+80" in first
    assert node.temporary is None or f"temporary@{variant.plan.offsets[node.temporary]}" in first


def test_totals(variant):
    lines = str(listing(variant)).splitlines()[-4:]
    every = sum(buffer.nbytes for buffer in variant.plan.offsets)
    count = len(variant.graph.nodes)
    assert lines[0].startswith("returns: %")
    assert lines[1] == f"nodes: {len(variant.captured.nodes)} captured, {count} after the passes"
    assert lines[2] == f"arena: {variant.plan.size / 1e6:.3f} MB for buffers of {every / 1e6:.3f} MB in all"
    assert lines[3] == "parameters: 4 with 26 elements"


def test_plan_prints_and_has_fields():
    step = model_and_step()
    with pytest.raises(RuntimeError, match="call the function first"):
        step.plan()
    with nnfast.backend("reference"):
        step(nnfast.ones(5, 3), nnfast.tensor([0, 1, 0, 1, 0]))
        five = step.plan()
        step(nnfast.ones(7, 3), nnfast.tensor([0, 1, 0, 1, 0, 1, 0]))
        seven = step.plan()
    assert five.backend == "reference"
    assert five.parameters == (12, 4, 8, 2)
    assert five.nodes[0].operation == "linear_forward"
    assert five.nodes[0].reads == ("x=x0[5,3]", "w=0.weight[4,3]", "b=0.bias[4]")
    assert seven.nodes[0].reads[0] == "x=x0[7,3]"
    assert five.buffer_bytes < seven.buffer_bytes
    assert "x=x0[5,3] w=0.weight[4,3]" in str(five)


def test_two_models_with_the_same_names_are_told_apart():
    one, two = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    both = nnfast.compile(lambda x: two(one(x)))
    with nnfast.backend("reference"):
        both(nnfast.ones(2, 3))
    reads = [row.reads for row in both.plan().nodes if row.operation == "linear_forward"]
    assert [read[1] for read in reads] == ["w=weight[3,3]", "w=weight#2[3,3]"]
