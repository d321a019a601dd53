"""Take batch norms apart into sums over pixels, numbers for every channel, and what is done to each pixel.

Forward: ``channel_sums`` -> ``batch_norm_statistics`` (-> ``batch_norm_running``) -> ``affine_forward``, where
``y = x * scale + shift``. Backward: ``affine_backward`` (sums only) -> ``batch_norm_gradient`` -> ``affine_gradient``,
where ``dx = slope * dy + factor * x + offset``. Later passes move the work on pixels into the operations around.
"""

from __future__ import annotations

import numpy as np

from nnfast.kernels.fused import NO_ACTIVATION

from ..graph import Graph, Node, Operand, made, node
from ..rewriting import Rewriting, zeros


def split_norms(graph: Graph) -> None:
    """Replace every batch norm in training, and its gradient."""
    rewriting = Rewriting(graph)
    for item in graph.nodes:
        if item.name == "batch_norm_forward" and _single(item):
            rewriting.replace(item, *_forward(item))
        elif item.name == "batch_norm_backward" and _single(item):
            rewriting.replace(item, *_backward(item))
        elif item.name == "batch_norm_inference" and _single(item):
            rewriting.replace(item, *_inference(item))
    rewriting.close()


def _single(item: Node) -> bool:
    """Whether it computes in float32, as the pieces do in every backend."""
    return item["x"].dtype == np.float32


def _vector(item: Node) -> Operand:
    return made((item["x"].shape[1],))


def _sums(channels: int) -> Operand:
    return made((2, channels), np.float64)


def _forward(item: Node) -> list[Node]:
    x, place = item["x"], item.place
    count, channels = x.shape
    # Sums around the running mean lose nothing to cancellation, and it is part of what a resume restores.
    centre = item["running_mean"] if item.has("running_mean") else zeros(channels)
    sums, var, scale, shift = _sums(channels), _vector(item), _vector(item), _vector(item)
    pieces = [
        node("channel_sums", place, x=x, centre=centre, sums=sums),
        node(
            "batch_norm_statistics", place, sums=sums, centre=centre, w=item.operands["w"], b=item.operands["b"],
            mean=item["mean"], var=var, invstd=item["invstd"], scale=scale, shift=shift,
            count=count, eps=item.attributes["eps"],
        ),
    ]  # fmt: skip
    if item.has("running_mean"):
        pieces.append(
            node(
                "batch_norm_running", place, mean=item["mean"], var=var, momentum=item["momentum"],
                running_mean=item["running_mean"], running_var=item["running_var"], count=count,
            )
        )  # fmt: skip
    return [
        *pieces,
        node("affine_forward", place, x=x, scale=scale, shift=shift, y=item["y"], activation=NO_ACTIVATION),
    ]


def _backward(item: Node) -> list[Node]:
    dy, x, place = item["dy"], item["x"], item.place
    count, channels = x.shape
    sums, same = _sums(channels), made(dy.shape)
    slope, factor, offset = _vector(item), _vector(item), _vector(item)
    return [
        node("affine_backward", place, dy=dy, z=x, centre=item["mean"], dx=same, sums=sums, activation=NO_ACTIVATION),
        node(
            "batch_norm_gradient", place, sums=sums, w=item.operands["w"], mean=item["mean"], invstd=item["invstd"],
            dw=item["dw"], db=item["db"], slope=slope, factor=factor, offset=offset, count=count,
        ),
        node("affine_gradient", place, dy=same, z=x, slope=slope, factor=factor, offset=offset, dx=item["dx"]),
    ]  # fmt: skip


def _inference(item: Node) -> list[Node]:
    x, place = item["x"], item.place
    scale, shift = _vector(item), _vector(item)
    return [
        node(
            "batch_norm_scale", place, running_mean=item["running_mean"], running_var=item["running_var"],
            w=item.operands["w"], b=item.operands["b"], scale=scale, shift=shift, eps=item.attributes["eps"],
        ),
        node("affine_forward", place, x=x, scale=scale, shift=shift, y=item["y"], activation=NO_ACTIVATION),
    ]  # fmt: skip
