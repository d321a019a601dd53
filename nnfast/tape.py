"""The tape: what was computed from what, and how gradients flow back along it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TypeAlias

from .dispatch import apply, filled
from .dtypes import legacy_name
from .grad_mode import no_grad
from .tensor import Tensor, recording
from .tracing import recorder

Gradients: TypeAlias = Sequence["Tensor | None"]
Rule: TypeAlias = Callable[[Tensor, tuple[bool, ...]], Gradients]
"""``rule(dy, needs)`` gives one gradient per input, None where ``needs`` says that nobody wants it."""


class Node:
    """One recorded operation.

    It refers to the nodes (for leaves: the tensors) that its inputs came from, never to its own output, so that what
    nobody holds any more is freed at once. What the gradient rule needs of values hangs on the rule alone.
    """

    __slots__ = ("__weakref__", "_retained", "capture", "edges", "needs", "operation", "place", "rule", "saved")

    def __init__(self, operation: str, inputs: Sequence[Tensor | None], rule: Rule, saves: Sequence[Tensor]) -> None:
        self.operation = operation
        self.needs = tuple(x is not None and x.requires_grad for x in inputs)
        self.edges: tuple[Node | Tensor | None, ...] = tuple(
            (x.node or x) if x is not None and need else None for x, need in zip(inputs, self.needs, strict=True)
        )
        self.rule: Rule | None = rule
        self.saved = [(x, x.storage.version) for x in saves]
        self._retained: weakref.ref[Tensor] | None = None
        self.capture = recorder()
        self.place = "" if self.capture is None else self.capture.place()

    def name(self) -> str:
        """PyTorch's way to write an operation's name: ``Conv2dBackward0``."""
        return f"{''.join(part.capitalize() for part in self.operation.split('_'))}Backward0"

    def __repr__(self) -> str:
        return f"<{self.name()}>"

    def retain(self, tensor: Tensor) -> None:
        """Store the gradient of `tensor`, this node's output, in its `grad`."""
        self._retained = weakref.ref(tensor)

    def gradients(self, dy: Tensor) -> Gradients:
        """The gradients of the inputs."""
        self._check_usable()
        retained = None if self._retained is None else self._retained()
        if retained is not None:
            retained._grad = dy if retained._grad is None else apply("add", a=retained._grad, b=dy, alpha=1.0)
        assert self.rule is not None
        capture = recorder()
        if capture is None:
            return self.rule(dy, self.needs)
        with capture.at(self.place):
            return self.rule(dy, self.needs)

    def _check_usable(self) -> None:
        if self.rule is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have "
                f"already been freed), in {self.operation}. Saved intermediate values of the graph are freed when you "
                "call .backward(). Specify retain_graph=True if you need to backward through the graph a second time."
            )
        for x, version in self.saved:
            if x.storage.version != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"[{legacy_name(x.dtype)}Tensor {list(x.shape)}], saved by {self.operation}, is at version "
                    f"{x.storage.version}; expected version {version} instead."
                )

    def free(self) -> None:
        """Let go of saved tensors; what saved none can run again, as in PyTorch."""
        if self.saved:
            self.rule = None
            self.saved = []


def record(
    y: Tensor, operation: str, inputs: Sequence[Tensor | None], rule: Rule, saves: Sequence[Tensor] = ()
) -> Tensor:
    """`y` as the result of a differentiable operation.

    Parameters
    ----------
    y : the result, off the tape.
    operation : its name.
    inputs : the tensors it was computed from; None for absent ones.
    rule : the gradients of `inputs` from that of `y`; see `Rule`.
    saves : every tensor whose values the rule reads.

    Returns
    -------
    Tensor
        `y` itself if nothing is recorded, else another tensor on the same memory.
    """
    if not recording(*inputs):
        return y
    made = y.alias()
    made.node = Node(operation, inputs, rule, saves)
    made._requires_grad = True
    return made


@no_grad()
def backward(root: Tensor, gradient: Tensor | None, retain_graph: bool) -> None:
    """See `Tensor.backward`."""
    dy = _root_gradient(root, gradient)
    capture = recorder()
    if capture is not None:
        capture.differentiates(root)
    if root.node is None:
        _accumulate(root, dy, shared=True)
        return
    pending: dict[Node, Tensor] = {root.node: dy}
    for node in _order(root.node):
        if node not in pending:
            continue
        dy = pending.pop(node)
        gradients = node.gradients(dy)
        if not retain_graph:
            node.free()
        for edge, dx in zip(node.edges, gradients, strict=True):
            if edge is None or dx is None:
                continue
            if isinstance(edge, Tensor):
                # A rule may hand on dy itself, which others may use too; whatever else it returns is new.
                _accumulate(edge, dx, shared=dx.storage is dy.storage)
            else:
                known = pending.get(edge)
                pending[edge] = dx if known is None else apply("add", a=known, b=dx, alpha=1.0)


def _root_gradient(root: Tensor, gradient: Tensor | None) -> Tensor:
    if not root.requires_grad:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    if gradient is None:
        if root.numel() != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        return filled(root.shape, root.dtype, 1.0)
    if gradient.shape != root.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[0] has a shape of {gradient.shape} and output[0] has a "
            f"shape of {root.shape}."
        )
    if gradient.dtype != root.dtype:
        raise RuntimeError(f"backward: gradient is {gradient.dtype}, expected {root.dtype}")
    return gradient.alias()


def _order(root: Node) -> list[Node]:
    """Every node that `root` was computed from, each before those that it was computed from itself."""
    finished: list[Node] = []
    seen = {root}
    stack = [(root, iter(root.edges))]
    while stack:
        node, edges = stack[-1]
        for edge in edges:
            if isinstance(edge, Node) and edge not in seen:
                seen.add(edge)
                stack.append((edge, iter(edge.edges)))
                break
        else:
            finished.append(node)
            stack.pop()
    return finished[::-1]


def _accumulate(leaf: Tensor, dx: Tensor, shared: bool) -> None:
    known = leaf.grad
    if known is not None:
        apply("add", {"y": known}, a=known, b=dx, alpha=1.0)
    elif shared:
        leaf.grad = apply("scale", x=dx, alpha=1.0, beta=0.0)
    else:
        leaf.grad = dx.alias()
