"""Passes that tidy up and that keep a step safe, each alone: a graph in, a graph out."""

from __future__ import annotations

import numpy as np

from nnfast.compiler.graph import GUARD, Graph, Node, made, node
from nnfast.compiler.passes.commit import commit
from nnfast.compiler.passes.dead_code import dead_code
from nnfast.compiler.passes.finite import finite
from nnfast.compiler.passes.rename import rename

from .graphs import IMAGES, WINDOW, given, outside, text


def test_dead_code_keeps_what_results_and_outside_need():
    x, a, b, c = given(IMAGES), made(IMAGES), made(IMAGES), made(IMAGES)
    counter = outside("counter", 1, dtype=np.int64)
    graph = Graph(
        [
            node("relu_forward", x=x, y=a),
            node("relu_forward", x=a, y=b),
            node("relu_forward", x=a, y=c),
            node("increment", step=counter),
        ],
        results=[b],
    )
    dead_code(graph)
    assert text(graph) == ["relu_forward x=x0 -> y=%0", "relu_forward x=%0 -> y=%1", "increment step=counter ->"]


def test_dead_code_drops_the_gradient_of_the_input():
    dy, dx, dw = made(IMAGES), made(IMAGES), outside("dw", 8, 3, 3, 8)
    graph = Graph(
        [
            node("relu_forward", x=given(IMAGES), y=dy),
            node("conv2d_backward_data", dy=dy, w=outside("w", 8, 3, 3, 8), dx=dx, size=(4, 4), **WINDOW),
            node("conv2d_backward_weight", x=given(IMAGES), dy=dy, dw=dw, kernel_size=(3, 3), **WINDOW),
        ]
    )
    dead_code(graph)
    assert [item.name for item in graph.nodes] == ["relu_forward", "conv2d_backward_weight"]


def test_rename_gives_what_overwrites_a_buffer_of_its_own():
    x, a = given(IMAGES), made(IMAGES)
    graph = Graph([node("relu6_forward", x=x, y=a), node("relu_forward", x=a, y=a), node("exp", x=a, y=made(IMAGES))],
                  results=[a])  # fmt: skip
    rename(graph)
    assert text(graph) == ["relu6_forward x=x0 -> y=%0", "relu_forward x=%0 -> y=%1", "exp x=%1 -> y=%2"]
    assert graph.results[0].buffer is graph.nodes[1]["y"].buffer


def test_rename_leaves_outside_memory_and_parts_alone():
    gradient, part = outside("g", 4), made((4,))
    half = part.reshaped(2)
    graph = Graph(
        [
            node("fill", y=part, value=0.0),
            node("add", a=gradient, b=part, y=gradient, alpha=1.0),
            node("scale", x=given((2,)), y=half, alpha=1.0, beta=0.0),
        ],
        results=[part],
    )
    before = text(graph)
    rename(graph)
    assert text(graph) == before


def step_graph():
    """Two parameters with gradients, a counter before the loss, and a step of SGD."""
    loss = made((1,))
    gradients = [made((3,)), made((5,))]
    counter = outside("counter", 1, dtype=np.int64)
    nodes = [
        node("increment", "bn", step=counter),
        node("scale", x=given((1,)), y=loss, alpha=2.0, beta=0.0),
        *(node("scale", x=given(g.shape, argument=1 + i), y=g, alpha=1.0, beta=0.0) for i, g in enumerate(gradients)),
    ]
    for name, gradient in zip("ab", gradients, strict=True):
        step = outside(f"step_{name}", 1, dtype=np.int64)
        nodes.append(node("increment", step=step))
        nodes.append(
            node(
                "sgd_step", "optimizer", g=gradient, lr=outside("lr", 1, dtype=np.float64), step=step,
                p=outside(name, *gradient.shape), momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=0, maximize=0,
            )
        )  # fmt: skip
    return Graph(nodes, losses=[loss])


def test_finite_guards_the_first_step():
    graph = step_graph()
    finite(graph)
    names = [item.name for item in graph.nodes]
    # The counter of the first step stands before the step itself; `commit` takes it behind the guard.
    assert names[5:9] == ["sum_squares", "sum_squares", "finite", "guard"]
    labels, squares = graph.watched
    assert labels == ["the gradient of a", "the gradient of b"]
    assert squares.shape == (2,)
    assert [item["y"].offset for item in graph.nodes[5:7]] == [0, 8]


def test_commit_changes_nothing_before_the_guard():
    graph = step_graph()
    finite(graph)
    commit(graph)
    guard = next(i for i, item in enumerate(graph.nodes) if item.op is GUARD)
    assert all(operand.buffer.kind == "made" for item in graph.nodes[:guard] for operand in item.writes)
    assert [item.name for item in graph.nodes[guard + 1 :]] == ["increment"] * 3 + ["sgd_step"] * 2


def test_commit_leaves_what_is_read_before_the_guard():
    graph = step_graph()
    counter = graph.nodes[0]["step"]
    graph.nodes.insert(1, Node(graph.nodes[0].op, {"step": counter}))
    total = made((1,), np.float64)
    graph.nodes.insert(2, node("finite", squares=outside("s", 1, dtype=np.float64), total=total))
    graph.nodes.insert(3, node("copy_strided", x=counter, y=made((1,)), shape=(1,) * 6, x_strides=(0,) * 6,
                               y_strides=(0,) * 6, x_offset=0, y_offset=0))  # fmt: skip
    finite(graph)
    commit(graph)
    assert [item.name for item in graph.nodes[:2]] == ["increment", "increment"]
