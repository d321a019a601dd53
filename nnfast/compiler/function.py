"""`nnfast.compile`: a function that is captured once for each kind of arguments, and then replayed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, Any

from nnfast import dispatch
from nnfast.grad_mode import is_grad_enabled
from nnfast.kernels import runtime
from nnfast.kernels.backends import current_backend
from nnfast.kernels.choice import chosen_by_sizes, get_conv_algorithm
from nnfast.kernels.launch import aligned_empty
from nnfast.kernels.threads import get_num_threads
from nnfast.tensor import Tensor, wrap_memory
from nnfast.tracing import recorder

from .nesting import kind_of
from .optimize import PASSES
from .plan import Arena
from .variant import Variant

if TYPE_CHECKING:
    from .listing import Listing

KEPT = 32
"""Kinds of arguments, and plans for each of them, that a function keeps; the oldest goes first."""


class CompiledFunction:
    """What `compile` returns; call it as the function itself.

    Attributes
    ----------
    function : what was compiled.
    variants : what was captured so far, by kind of arguments.
    latest : what was captured last.
    """

    def __init__(self, function: Callable[..., Any], without: Collection[str]) -> None:
        self.function = function
        self.without = frozenset(without)
        self.variants: dict[Any, list[Variant]] = {}
        self.latest: Variant | None = None
        self.arena = Arena()
        self._gradients: dict[int, tuple[Tensor, Tensor]] = {}
        self._lock = threading.RLock()
        update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if recorder() is not None:  # within another capture: part of it
            return self.function(*args, **kwargs)
        with self._lock:
            if dispatch.timed_run is not None:
                from .profiler import timed_call

                return timed_call(self, args, kwargs)
            return self.variant(*args, **kwargs).run(args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """A compiled method, of the instance that it is called on."""
        return self if instance is None else MethodType(self, instance)

    def variant(self, *args: Any, **kwargs: Any) -> Variant:
        """The capture that fits these arguments and the present state of modules and optimizers; made if need be."""
        backend = current_backend()
        key = (
            kind_of((args, kwargs)),
            is_grad_enabled(),
            backend,
            get_conv_algorithm(),
            chosen_by_sizes(),
            runtime.usable_threads(get_num_threads()),
        )
        known = self.variants.setdefault(key, [])
        for variant in known:
            if variant.guards.hold():
                return variant
        made = Variant(self, args, kwargs, backend)
        known.append(made)
        self.latest = made
        del known[:-KEPT]
        self.variants[key] = self.variants.pop(key)  # the youngest
        for old in list(self.variants)[:-KEPT]:
            del self.variants[old]
        used = {id(leaf) for variants in self.variants.values() for one in variants for leaf, _ in one.kept}
        self._gradients = {key: value for key, value in self._gradients.items() if key in used}
        return made

    def gradient(self, leaf: Tensor, like: Tensor) -> Tensor:
        """The gradient of a leaf that all plans compute, in the same memory."""
        known = self._gradients.get(id(leaf))
        if known is None or known[1].shape != like.shape or known[1].dtype != like.dtype:
            memory = aligned_empty("gradient", like.memory.shape, like.dtype)
            known = self._gradients[id(leaf)] = leaf, wrap_memory(memory)
        return known[1]

    def plan(self) -> Listing:
        """What was captured last, before and after the passes, to be printed.

        Raises
        ------
        RuntimeError : the function was not called yet.
        """
        if self.latest is None:
            raise RuntimeError("compile: nothing was captured yet; call the function first")
        from .listing import listed

        return listed(self.latest)


def compile(
    function: Callable[..., Any] | None = None, *, without: Collection[str] = ()
) -> CompiledFunction | Callable[[Callable[..., Any]], CompiledFunction]:
    """Capture what a function does to tensors on its first call, and replay it as one plan from then on.

    Parameters
    ----------
    function : a whole training step (forward pass, loss, ``backward()``, clipping, ``optimizer.step()``), or a forward
        pass without gradients. Its arguments may hold tensors in any nesting; other arguments must be hashable.
    without : names of passes to leave out, for looking into a difference; see `nnfast.compiler.optimize.PASSES`.

    Returns
    -------
    CompiledFunction
        To be called as `function`. Returned tensors are copies. It is captured again, at once and by itself, for other
        shapes, types or plain arguments, after ``train()`` or ``eval()``, for another backend, and when parameters,
        modules or optimizers are changed.

    Raises
    ------
    CaptureError : at the call, where the function depends on values of tensors, e.g. by ``item()`` or a branch.
    NonFiniteError : the loss or a gradient is not finite; parameters and statistics are as before the call.

    Notes
    -----
    Python in the function runs when it is captured, and not again: what it prints or appends to a list happens once.
    Learning rates, schedules, settings of optimizers and random numbers are the exception: each run has its own.
    NumPy arrays that it makes, and values that it reads of tensors from outside, are those of the first call.

    The ``grad`` of parameters is the same memory after every call; `clone` what must outlive the next one.

    Examples
    --------
    >>> import nnfast
    >>> from nnfast import nn, optim
    >>> from nnfast import functional as F
    >>> model = nn.Linear(2, 2)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
    >>> @nnfast.compile
    ... def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = F.cross_entropy(model(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> x, y = nnfast.ones(4, 2), nnfast.tensor([0, 0, 1, 0])
    >>> bool(step(x, y) > step(x, y))
    True
    """
    unknown = set(without) - set(PASSES)
    if unknown:
        raise ValueError(f"compile: without names {', '.join(sorted(unknown))}; there are {', '.join(PASSES)}")
    if function is None:
        return lambda function: CompiledFunction(function, without)
    if not callable(function):
        raise TypeError(f"compile: function is {type(function).__name__}, expected something to call")
    return CompiledFunction(function, without)
