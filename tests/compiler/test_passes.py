"""Each pass alone: a graph in, a graph out."""

from __future__ import annotations

import numpy as np

from nnfast.compiler.graph import GUARD, Graph, Node, made, node
from nnfast.compiler.passes.commit import commit
from nnfast.compiler.passes.dead_code import dead_code
from nnfast.compiler.passes.delay import delay
from nnfast.compiler.passes.finite import finite
from nnfast.compiler.passes.fuse_loads import fuse_loads
from nnfast.compiler.passes.fuse_stores import fuse_stores
from nnfast.compiler.passes.groups import groups
from nnfast.compiler.passes.in_place import in_place
from nnfast.compiler.passes.join_pixels import join_pixels
from nnfast.compiler.passes.placement import lifetimes, peak, placement
from nnfast.compiler.passes.recompute import recompute
from nnfast.compiler.passes.rename import rename
from nnfast.compiler.passes.split_norms import split_norms

from .graphs import given, outside, text

WINDOW = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
IMAGES = (2, 4, 4, 8)
ROWS = (32, 8)


def convolution(x, y, name="w"):
    return node("conv2d_forward", "conv", x=x, w=outside(name, 8, 3, 3, 8), y=y, **WINDOW)


def norm(x, y, mean, invstd):
    return node(
        "batch_norm_forward", "bn", x=x.reshaped(*ROWS), w=outside("gamma", 8), b=outside("beta", 8),
        momentum=outside("momentum", 1, dtype=np.float64), running_mean=outside("mean", 8),
        running_var=outside("var", 8), y=y.reshaped(*ROWS), mean=mean, invstd=invstd, eps=1e-5,
    )  # fmt: skip


def vectors(count):
    return [made((8,)) for _ in range(count)]


# ---------------------------------------------------------------- dead code, names


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


# ---------------------------------------------------------------- fusion


def forward_graph():
    """conv -> norm -> relu -> conv, of which only the last output is wanted."""
    z, n, a, y = (made(IMAGES) for _ in range(4))
    mean, invstd = vectors(2)
    nodes = [
        convolution(given(IMAGES), z, "w1"),
        norm(z, n, mean, invstd),
        node("relu_forward", "relu", x=n, y=a),
        convolution(a, y, "w2"),
    ]
    return Graph(nodes, results=[y])


def test_split_norms():
    graph = forward_graph()
    split_norms(graph)
    assert text(graph) == [
        "conv2d_forward x=x0 w=w1 -> y=%0",
        "channel_sums x=%0 centre=mean -> sums=%1",
        "batch_norm_statistics sums=%1 centre=mean w=gamma b=beta -> mean=%2 var=%3 invstd=%4 scale=%5 shift=%6",
        "batch_norm_running mean=%2 var=%3 momentum=momentum running_mean=mean running_var=var ->",
        "affine_forward x=%0 scale=%5 shift=%6 -> y=%7",
        "relu_forward x=%7 -> y=%8",
        "conv2d_forward x=%8 w=w2 -> y=%9",
    ]
    assert graph.nodes[2].attributes == {"count": 32, "eps": 1e-5}


def test_split_norms_leaves_float64_alone():
    graph = forward_graph()
    wide = made(IMAGES, np.float64)
    graph.nodes[1].operands["x"] = wide.reshaped(*ROWS)
    split_norms(graph)
    assert "batch_norm_forward" in [item.name for item in graph.nodes]


def test_join_pixels_forward():
    graph = forward_graph()
    split_norms(graph)
    join_pixels(graph)
    assert text(graph)[4:] == ["affine_forward x=%0 scale=%5 shift=%6 -> y=%7", "conv2d_forward x=%7 w=w2 -> y=%8"]
    assert graph.nodes[4].attributes == {"activation": 1}


def test_join_pixels_keeps_what_somebody_else_needs():
    graph = forward_graph()
    graph.results.append(graph.nodes[1]["y"])
    split_norms(graph)
    join_pixels(graph)
    assert [item.name for item in graph.nodes][4:] == ["affine_forward", "relu_forward", "conv2d_forward"]


def test_fuse_loads_and_stores_forward():
    graph = forward_graph()
    for run in (split_norms, join_pixels, fuse_loads):
        run(graph)
    assert text(graph)[-1] == "fused_conv2d_forward x=%0 w=w2 scale=%5 shift=%6 -> y=%7"
    assert graph.nodes[-1].attributes["activation"] == 1
    fuse_stores(graph)
    assert text(graph) == [
        "fused_conv2d_forward x=x0 w=w1 centre=mean -> y=%0 sums=%1",
        "batch_norm_statistics sums=%1 centre=mean w=gamma b=beta -> mean=%2 var=%3 invstd=%4 scale=%5 shift=%6",
        "batch_norm_running mean=%2 var=%3 momentum=momentum running_mean=mean running_var=var ->",
        "fused_conv2d_forward x=%0 w=w2 scale=%5 shift=%6 -> y=%7",
    ]


def test_residual_addition():
    """relu(norm(z) + x) is one pass over pixels."""
    z, n, s, a = (made(IMAGES) for _ in range(4))
    mean, invstd = vectors(2)
    x = given(IMAGES)
    nodes = [
        convolution(x, z),
        norm(z, n, mean, invstd),
        node("add", a=n, b=x, y=s, alpha=1.0),
        node("relu_forward", x=s, y=a),
    ]
    graph = Graph(nodes, results=[a])
    for run in (split_norms, join_pixels, fuse_loads):
        run(graph)
    assert text(graph)[-1] == "affine_forward x=%0 scale=%5 shift=%6 r=x0 -> y=%7"
    assert graph.nodes[-1].attributes["activation"] == 1


def backward_graph(others=False):
    """The gradient of conv -> norm -> relu -> conv."""
    graph = forward_graph()
    first, bn, relu, second = graph.nodes
    dy, da, dn, dz = given(IMAGES, argument=1), made(IMAGES), made(IMAGES), made(IMAGES)
    backward = [
        node("conv2d_backward_data", "second", dy=dy, w=second["w"], dx=da, size=(4, 4), **WINDOW),
        node("relu_backward", "relu", dy=da, y=relu["y"], dx=dn),
        node(
            "batch_norm_backward", "bn", dy=dn.reshaped(*ROWS), x=bn["x"], w=bn["w"], mean=bn["mean"],
            invstd=bn["invstd"], dx=dz.reshaped(*ROWS), dw=outside("dgamma", 8), db=outside("dbeta", 8),
        ),
        node("conv2d_backward_weight", "first", x=first["x"], dy=dz, dw=outside("dw", 8, 3, 3, 8),
             kernel_size=(3, 3), **WINDOW),
    ]  # fmt: skip
    graph.nodes += backward
    if others:
        graph.results.append(da)
    return graph


def test_fusion_backward():
    graph = backward_graph()
    for run in (split_norms, join_pixels, fuse_loads, fuse_stores, dead_code):
        run(graph)
    assert text(graph)[-3:] == [
        "fused_conv2d_backward_data dy=x1 w=w2 x=%0 scale=%5 shift=%6 centre=%2 -> dx=%8 sums=%9",
        "batch_norm_gradient sums=%9 w=gamma mean=%2 invstd=%4 -> dw=dgamma db=dbeta slope=%10 factor=%11 offset=%12",
        "fused_conv2d_backward_weight x=x0 dy=%8 z=%0 slope=%10 factor=%11 offset=%12 -> dw=dw",
    ]
    assert graph.nodes[-3].attributes["activation"] == 1


def test_a_gradient_that_is_wanted_is_not_masked_in_place():
    graph = backward_graph(others=True)
    for run in (split_norms, join_pixels, fuse_loads, fuse_stores, dead_code):
        run(graph)
    names = [item.name for item in graph.nodes]
    assert "conv2d_backward_data" in names
    assert "affine_backward" in names


def test_bias_gradient_comes_with_the_sums():
    x, da, dn = given(IMAGES), made(IMAGES), made(IMAGES)
    z, a = made(IMAGES), made(IMAGES)
    graph = Graph(
        [
            convolution(x, z),
            node("relu_forward", x=z, y=a),
            node("conv2d_backward_data", dy=given(IMAGES, argument=1), w=outside("w2", 8, 3, 3, 8), dx=da, size=(4, 4),
                 **WINDOW),
            node("relu_backward", dy=da, y=a, dx=dn),
            node("sum_forward", x=dn.reshaped(1, 32, 8), y=outside("db", 1, 8)),
        ]
    )  # fmt: skip
    for run in (join_pixels, fuse_loads, fuse_stores, dead_code):
        run(graph)
    assert text(graph) == [
        "conv2d_forward x=x0 w=w -> y=%0",
        "fused_conv2d_backward_data dy=x1 w=w2 x=%0 centre=zeros -> dx=%1 sums=%2",
        "channel_gradient sums=%2 -> db=db",
    ]


def test_pooling_activates_on_load_and_masks_on_store():
    x, z, a = given(IMAGES), made(IMAGES), made(IMAGES)
    y, argmax = made((2, 2, 2, 8)), made((2, 2, 2, 8), np.uint8)
    window = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    da, dz = made(IMAGES), made(IMAGES)
    graph = Graph(
        [
            convolution(x, z),
            node("relu_forward", x=z, y=a),
            node("max_pool2d_forward", x=a, y=y, argmax=argmax, ceil_mode=0, **window),
            node(
                "max_pool2d_backward", dy=given((2, 2, 2, 8), argument=1), argmax=argmax, dx=da, size=(4, 4), **window
            ),
            node("relu_backward", dy=da, y=a, dx=dz),
        ],
        results=[y, dz],
    )
    for run in (join_pixels, fuse_loads, fuse_stores, dead_code):
        run(graph)
    assert text(graph) == [
        "conv2d_forward x=x0 w=w -> y=%0",
        "fused_max_pool2d_forward x=%0 -> y=%1 argmax=%2",
        "fused_max_pool2d_backward dy=x1 argmax=%2 y=%1 -> dx=%3",
    ]


# ---------------------------------------------------------------- safety


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


# ---------------------------------------------------------------- memory and order


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


def test_a_gradient_that_two_convolutions_need_is_composed_once():
    graph = backward_graph()
    weight = graph.nodes[-1]
    graph.nodes.append(
        node("conv2d_backward_data", "first", dy=weight["dy"], w=graph.nodes[0]["w"], dx=outside("dx", *IMAGES),
             size=(4, 4), **WINDOW)
    )  # fmt: skip
    for run in (split_norms, join_pixels, fuse_loads, fuse_stores, dead_code):
        run(graph)
    assert text(graph)[-3:] == [
        "affine_gradient dy=%8 z=%0 slope=%10 factor=%11 offset=%12 -> dx=%13",
        "conv2d_backward_weight x=x0 dy=%13 -> dw=dw",
        "conv2d_backward_data dy=%13 w=w1 -> dx=dx",
    ]


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
