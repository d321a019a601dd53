"""Small graphs as text: what passes are given and what they make of it."""

from __future__ import annotations

import numpy as np

from nnfast.compiler.graph import INPUT, OUTSIDE, Buffer, Graph, Node, Operand


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
