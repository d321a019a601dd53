"""Let convolutions and poolings do what follows to each pixel of their results while they store them.

Forward, that is adding up what a batch norm needs; backward, masking by the activation's derivative and adding up what
a batch norm's gradient (or a bias's) needs.
"""

from __future__ import annotations

import numpy as np

from nnfast.kernels.fused import NO_ACTIVATION

from ..graph import Graph, Node, made, node
from ..rewriting import Rewriting, same, zeros
from .fuse_loads import CONVOLUTIONS, fused

_DATA = ("conv2d_backward_data", "fused_conv2d_backward_data")
_SUMMED = ("fused_conv2d_backward_data", "fused_max_pool2d_backward", "affine_backward")


def fuse_stores(graph: Graph) -> None:
    """Move `channel_sums`, `affine_backward` and sums for biases into whoever makes what they read."""
    rewriting = Rewriting(graph)
    for item in graph.nodes:
        if item.name == "channel_sums":
            _moments(rewriting, item)
        elif item.name == "affine_backward":
            _gradient(rewriting, item)
    rewriting.close()
    rewriting = Rewriting(graph)
    for item in graph.nodes:
        if item.name == "sum_forward":
            _bias(rewriting, item)
    rewriting.close()


def _moments(rewriting: Rewriting, item: Node) -> None:
    maker = rewriting.uses.made_by(item["x"], *CONVOLUTIONS)
    if maker is None or maker.has("centre"):
        return
    rewriting.replace(maker, fused(maker, centre=item["centre"], sums=item["sums"]))
    rewriting.replace(item)


def _gradient(rewriting: Rewriting, item: Node) -> None:
    """Mask and sums of a gradient that one operation made, for this reader alone unless nothing is masked."""
    dy, activation = item["dy"], item.attributes["activation"]
    if item.has("dy2") or item.has("r") or not item.has("z") or item.has("y"):
        return
    if activation != NO_ACTIVATION and rewriting.uses.others(dy, item):
        return
    maker = rewriting.uses.made_by(dy, *_DATA, "max_pool2d_backward")
    if maker is None or maker.has("x") or maker.has("centre"):
        return
    if maker.name == "max_pool2d_backward":
        changed = _pooled(rewriting, maker, item)
    else:
        images = item["z"].reshaped(*maker["dx"].shape)
        norm = {name: item.operands[name] for name in ("scale", "shift", "centre")}
        changed = fused(maker, x=images, **norm, activation=activation)
    if changed is None:
        return
    changed.operands |= {"dx": item["dx"].reshaped(*maker["dx"].shape), "sums": item.operands["sums"]}
    if activation == NO_ACTIVATION:  # others may read what is not masked
        changed.operands["dx"] = maker["dx"]
        rewriting.substitute(item["dx"], maker["dx"])
    rewriting.replace(maker, changed)
    rewriting.replace(item)


def _pooled(rewriting: Rewriting, maker: Node, item: Node) -> Node | None:
    """The gradient of a pooling, masked by what it pooled, which is activated if what it pools is."""
    forward = rewriting.uses.made_by(maker["argmax"], "max_pool2d_forward", "fused_max_pool2d_forward")
    if forward is None:
        return None
    activation = item.attributes["activation"]
    if forward.name == "max_pool2d_forward":
        before = rewriting.uses.made_by(forward["x"], "affine_forward")
        pooled = None if before is None else before["x"]
        activated = NO_ACTIVATION if before is None else before.attributes["activation"]
    else:
        pooled, activated = forward["x"], forward.attributes["activation"]
    if activation != NO_ACTIVATION and (activated != activation or not same(pooled, item["z"])):
        return None
    images = {"x": item["z"].reshaped(*maker["dx"].shape)} if item.has("centre") else {}
    y = forward["y"] if activation != NO_ACTIVATION else None
    return node(
        "fused_max_pool2d_backward", maker.place, dy=maker["dy"], argmax=maker["argmax"], y=y, **images,
        centre=item.operands["centre"], dx=maker["dx"], activation=activation, **maker.attributes,
    )  # fmt: skip


def _bias(rewriting: Rewriting, item: Node) -> None:
    """A bias's gradient out of the sums that come with the gradient it sums."""
    x = item["x"]
    if x.shape[0] != 1 or x.dtype != np.float32:
        return
    maker = rewriting.uses.made_by(x, *_SUMMED, "conv2d_backward_data")
    if maker is None or maker["dx"].shape[-1] != x.shape[2] or not same(maker["dx"], x):
        return
    channels = x.shape[2]
    if not maker.has("centre"):
        sums = made((2, channels), np.float64)
        changed = fused(maker, centre=zeros(channels), sums=sums)
        if maker.name in _DATA and not changed.has("x"):
            return  # a convolution sums only around an image
        rewriting.replace(maker, changed)
        maker = changed
    rewriting.replace(item, node("channel_gradient", item.place, sums=maker["sums"], db=item["y"].reshaped(channels)))
