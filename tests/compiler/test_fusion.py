"""Passes that fuse, each alone: a graph in, a graph out."""

from __future__ import annotations

import numpy as np

from nnfast.compiler.graph import Graph, made, node
from nnfast.compiler.passes.dead_code import dead_code
from nnfast.compiler.passes.fuse_loads import fuse_loads
from nnfast.compiler.passes.fuse_stores import fuse_stores
from nnfast.compiler.passes.join_pixels import join_pixels
from nnfast.compiler.passes.split_norms import split_norms

from .graphs import IMAGES, ROWS, WINDOW, convolution, given, norm, outside, text, vectors


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
