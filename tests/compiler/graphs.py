"""Small graphs as text: what passes are given and what they make of it."""

from __future__ import annotations

import numpy as np

from nnfast.compiler.graph import INPUT, OUTSIDE, Buffer, Graph, Node, Operand, made, node

WINDOW = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
IMAGES = (2, 4, 4, 8)
ROWS = (32, 8)


def given(shape, dtype=np.float32, argument=0):
    """An argument of a function."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return Operand(Buffer(size, INPUT, argument=argument), shape, np.dtype(dtype))


def outside(name, *shape, dtype=np.float32):
    """Memory that outlives a run, such as a parameter."""
    array = np.zeros(shape, dtype)
    return Operand(Buffer(array.nbytes, OUTSIDE, name, array), shape, array.dtype)


def text(graph: Graph) -> list[str]:
    """One line a node, ``name reads -> writes``; made buffers are numbered in the order in which they appear."""
    numbers: dict[Buffer, str] = {}

    def name(operand: Operand) -> str:
        buffer = operand.buffer
        if buffer.kind == INPUT:
            return f"x{buffer.argument}"
        if buffer.kind == OUTSIDE:
            return buffer.name
        return numbers.setdefault(buffer, f"%{len(numbers)}")

    def line(node: Node) -> str:
        reads = [
            f"{array.name}={name(node[array.name])}"
            for array in node.op.inputs + node.op.updates
            if node.has(array.name)
        ]
        writes = [f"{array.name}={name(node[array.name])}" for array in node.op.outputs if node.has(array.name)]
        return " ".join([node.name, *reads, "->", *writes])

    return [line(node) for node in graph.nodes]


def convolution(x, y, name="w"):
    """A 3x3 convolution of IMAGES with a weight from outside."""
    return node("conv2d_forward", "conv", x=x, w=outside(name, 8, 3, 3, 8), y=y, **WINDOW)


def norm(x, y, mean, invstd):
    """A batch norm of IMAGES in training, whose other operands are from outside."""
    return node(
        "batch_norm_forward", "bn", x=x.reshaped(*ROWS), w=outside("gamma", 8), b=outside("beta", 8),
        momentum=outside("momentum", 1, dtype=np.float64), running_mean=outside("mean", 8),
        running_var=outside("var", 8), y=y.reshaped(*ROWS), mean=mean, invstd=invstd, eps=1e-5,
    )  # fmt: skip


def vectors(count):
    """Made operands of a number for each channel."""
    return [made((8,)) for _ in range(count)]
