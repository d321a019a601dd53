"""Join what is done to each pixel in a row: normalise, add, activate; and backwards: add, mask, sum up.

`affine_forward` and `affine_backward` do all of it in one pass over memory. What the next passes cannot move into a
convolution or pooling stays such a pass.
"""

from __future__ import annotations

import numpy as np

from nnfast.kernels.fused import NO_ACTIVATION, RELU, RELU6

from ..graph import Graph, Node, Operand, node
from ..rewriting import Rewriting, rows, same
from .fuse_loads import CONVOLUTIONS

ACTIVATIONS = {"relu": RELU, "relu6": RELU6}


def join_pixels(graph: Graph) -> None:
    """Join additions and activations with the batch norms (or convolutions) before them, and their gradients."""
    rewriting = Rewriting(graph)
    for item in graph.nodes:
        if item.name == "add":
            _add(rewriting, item)
        elif item.name.removesuffix("_forward") in ACTIVATIONS:
            _activate(rewriting, item)
        elif item.name.removesuffix("_backward") in ACTIVATIONS:
            _mask(rewriting, item)
        elif item.name == "affine_backward":
            _sum(rewriting, item)
    rewriting.close()


def _norm(rewriting: Rewriting, operand: Operand, reader: Node) -> Node | None:
    """The `affine_forward` that makes an operand for this reader alone, without anything added or activated."""
    maker = rewriting.uses.made_by(operand, "affine_forward")
    if maker is None or maker.has("r") or maker.attributes["activation"] != NO_ACTIVATION:
        return None
    return maker if rewriting.uses.stable(maker["x"]) and not rewriting.uses.others(operand, reader) else None


def _add(rewriting: Rewriting, item: Node) -> None:
    """``norm(x) + r`` and ``norm(x) + norm(r)``."""
    if item.attributes["alpha"] != 1.0 or item["a"].same_memory(item["b"]) or len(item["y"].shape) not in (2, 4):
        return
    first, second = _norm(rewriting, item["a"], item), _norm(rewriting, item["b"], item)
    other = item["b"]
    if first is None:
        first, second, other = second, None, item["a"]
    if first is None:
        return
    operands = {name: first.operands[name] for name in ("x", "scale", "shift")}
    if second is None:
        operands["r"] = rows(other)
    else:
        operands |= {"r": second["x"], "r_scale": second.operands["scale"], "r_shift": second.operands["shift"]}
        rewriting.replace(second)
    rewriting.replace(first)
    rewriting.replace(item, node("affine_forward", item.place, **operands, y=rows(item["y"]), activation=NO_ACTIVATION))


def _activate(rewriting: Rewriting, item: Node) -> None:
    """An activation of what an `affine_forward` makes for it alone, or of a convolution's output."""
    x, y = item["x"], item["y"]
    if x.dtype != np.float32 or len(x.shape) not in (2, 4) or x.same_memory(y):
        return
    activation = ACTIVATIONS[item.name.removesuffix("_forward")]
    maker = rewriting.uses.made_by(x, "affine_forward")
    alone = maker is not None and maker.attributes["activation"] == NO_ACTIVATION
    if maker is not None and alone and rewriting.uses.stable(maker["x"]) and not rewriting.uses.others(x, item):
        rewriting.replace(maker)
        operands = {array.name: maker.operands[array.name] for array in maker.op.inputs}
        rewriting.replace(item, node("affine_forward", item.place, **operands, y=rows(y), activation=activation))
    elif rewriting.uses.made_by(x, *CONVOLUTIONS):
        rewriting.replace(item, node("affine_forward", item.place, x=rows(x), y=rows(y), activation=activation))


def _mask(rewriting: Rewriting, item: Node) -> None:
    """The gradient of an activation that is part of an `affine_forward`, and the addition that made dy for it alone."""
    y = item["y"]
    forward = rewriting.uses.made_by(y, "affine_forward")
    activation = ACTIVATIONS[item.name.removesuffix("_backward")]
    if forward is None or forward.attributes["activation"] != activation:
        return
    operands = {"dy": rows(item["dy"])}
    if forward.has("r"):
        operands["y"] = rows(y)
    else:  # the mask follows from the activation's input, so that its output need not be kept
        operands |= {"z": forward["x"]} | {name: forward[name] for name in ("scale", "shift") if forward.has(name)}
    operands |= _terms(rewriting, item["dy"], item)
    rewriting.replace(item, node("affine_backward", item.place, **operands, dx=rows(item["dx"]), activation=activation))


def _terms(rewriting: Rewriting, dy: Operand, reader: Node) -> dict[str, Operand]:
    """The two terms of a gradient that was added up for this reader alone, as dy and dy2; else nothing."""
    added = rewriting.uses.made_by(dy, "add")
    if added is None or added.attributes["alpha"] != 1.0 or rewriting.uses.others(dy, reader):
        return {}
    if not (rewriting.uses.stable(added["a"]) and rewriting.uses.stable(added["b"])):
        return {}
    rewriting.replace(added)
    return {"dy": rows(added["a"]), "dy2": rows(added["b"])}


def _sum(rewriting: Rewriting, item: Node) -> None:
    """The sums that a batch norm's gradient needs, by whoever makes that gradient in a pass over pixels."""
    if item.attributes["activation"] != NO_ACTIVATION or item.has("dy2"):
        return
    dy, z = item["dy"], item["z"]
    maker = rewriting.uses.made_by(dy, "affine_backward")
    if maker is not None and not maker.has("centre") and (not maker.has("z") or same(maker["z"], z)):
        rewriting.update(maker, z=z, centre=item["centre"], sums=item["sums"])
    elif maker is not None and maker.has("centre") and not maker.has("r"):
        rewriting.update(maker, r=z, r_centre=item["centre"], r_sums=item["sums"])
    elif (added := rewriting.uses.made_by(dy, "add")) is not None and added.attributes["alpha"] == 1.0:
        operands = {"dy": rows(added["a"]), "dy2": rows(added["b"]), "dx": rows(added["y"])}
        sums = {name: item[name] for name in ("z", "centre", "sums")}
        rewriting.replace(added, node("affine_backward", item.place, **operands, **sums, activation=NO_ACTIVATION))
    else:
        return
    rewriting.replace(item)
    rewriting.substitute(item["dx"], dy)
