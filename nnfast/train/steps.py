"""A training step, an evaluation and a prediction of a model, compiled where that is possible."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from nnfast.train.tiers import active

if TYPE_CHECKING:
    from nnfast import nn
    from nnfast.tensor import Tensor

TRAIN, EVALUATE, PREDICT = "a training step", "an evaluation", "a prediction"

Computed = tuple[Any, Any]  # the loss, None without labels, and the model's outputs


class Steps:
    """Computations of one model, through ``nnfast.compile`` unless that is not wanted, or not possible.

    A computation that cannot be captured runs eagerly from then on, and the others stay compiled: which ones are
    depends on the model alone, so a run that is resumed gives the same bits. Each place is told once.

    Parameters
    ----------
    model : nn.Module
    loss : callable, optional
        ``loss(outputs, labels)``; not needed for predictions.
    optimizer : optim.Optimizer, optional
        Needed for training.
    compile : bool, default True

    Attributes
    ----------
    made_of : the arguments.

    Examples
    --------
    >>> from nnfast import nn, ones
    >>> steps = Steps(nn.Linear(2, 3).eval())
    >>> steps.predict(ones(4, 2)).shape, steps.compiled()
    (nnfast.Size([4, 3]), True)
    """

    def __init__(self, model: nn.Module, loss: Any = None, optimizer: Any = None, compile: bool = True) -> None:
        import nnfast

        self.made_of = model, loss, optimizer, compile
        self._eager: set[str] = set() if compile else {TRAIN, EVALUATE, PREDICT}
        self._told: set[str] = set()
        self._step_apart = optimizer is not None and not _steps_by_kernels(optimizer)
        self._computation = _computation(model, loss, optimizer, self._step_apart)
        # One function for all of them: their plans share an arena.
        self._compiled: Any = nnfast.compile(self._computation)

    def compiled(self, what: str = PREDICT) -> bool:
        """Whether a computation is compiled, as far as is known yet."""
        return what not in self._eager

    def train(self, inputs: Any, labels: Any) -> Computed:
        """One step of the optimizer; the loss and the outputs from before it.

        Raises
        ------
        FloatingPointError
            If a compiled step has a loss or a gradient that is not finite; parameters are as before.
        """
        computed = self._call(TRAIN, inputs, labels)
        if self._step_apart:
            self.made_of[2].step()
        return computed

    def evaluate(self, inputs: Any, labels: Any) -> Computed:
        """The loss and the outputs; gradients are off where it is called."""
        return self._call(EVALUATE, inputs, labels)

    def predict(self, inputs: Any) -> Tensor:
        """The outputs; gradients are off where it is called."""
        return self._call(PREDICT, inputs, None)[1]

    def forget_plans(self) -> None:
        """Capture everything again when it is called next, and give back the memory of what was captured."""
        import nnfast

        self._compiled = nnfast.compile(self._computation)

    def _call(self, what: str, inputs: Any, labels: Any) -> Computed:
        from nnfast.compiler.capture import CaptureError

        foreign = _foreign(inputs) or _foreign(labels)
        self._tell_tiers(what, inputs, labels, foreign is None)
        if what in self._eager:
            return self._computation(what, inputs, labels)
        if foreign is not None:
            self._give_up(what, f"a batch holds {foreign}", "expected tensors alone")
            return self._computation(what, inputs, labels)
        try:
            return self._compiled(what, inputs, labels)
        except CaptureError as error:
            self._give_up(what, _place(error), str(error))
        return self._computation(what, inputs, labels)

    def _tell_tiers(self, what: str, inputs: Any, labels: Any, tensors: bool) -> None:
        """In a run on Cython's kernels, say what is about to run, for Numba's to be compiled."""
        from nnfast.compiler.capture import CaptureError
        from nnfast.compiler.optimize import PASSES

        tiers = active()
        if tiers is None or not tiers.waiting:
            return
        try:
            if not tensors:
                raise CaptureError("a batch holds something else")
            variant = self._compiled.variant(what, inputs, labels)
        except CaptureError:
            tiers.cannot_look()
        else:
            tiers.look(variant, PASSES if what in self._eager else self._compiled.without)

    def _give_up(self, what: str, place: str, reason: str) -> None:
        self._eager.add(what)
        if place not in self._told:
            self._told.add(place)
            text = f"{what} cannot be compiled and runs eagerly, which is slower: {place}: {reason}"
            warnings.warn(text, UserWarning, stacklevel=4)


def _computation(model: nn.Module, loss: Any, optimizer: Any, step_apart: bool) -> Callable[..., Computed]:
    """The function that is compiled. It holds no `Steps`, whose memory then goes when the last reference does."""

    def step(what: str, inputs: Any, labels: Any) -> Computed:
        if what == TRAIN:
            optimizer.zero_grad()
        outputs = model(inputs)
        value: Any = None if what == PREDICT else loss(outputs, labels)
        if what == TRAIN:
            value.backward()
            if not step_apart:
                optimizer.step()
        return value, outputs

    return step


def _steps_by_kernels(optimizer: Any) -> bool:
    """Whether an optimizer keeps to nnfast's own step; what another one's Python counts would stand still in a plan."""
    from nnfast.optim import Optimizer

    return getattr(optimizer.step, "__func__", None) is Optimizer.step


def _foreign(value: Any) -> str | None:
    """The type of something in a batch that is no tensor; None if there is nothing such."""
    from nnfast.tensor import Tensor

    if isinstance(value, Tensor) or value is None:
        return None
    if isinstance(value, (tuple, list, Mapping)):
        parts = value.values() if isinstance(value, Mapping) else value
        return next((found for found in map(_foreign, parts) if found is not None), None)
    return type(value).__name__


def _place(error: BaseException) -> str:
    """Where the user's code does what cannot be captured: the last line that is neither nnfast's nor NumPy's."""
    frames = list(traceback.walk_tb(error.__traceback__))
    theirs = [(frame, line) for frame, line in frames if _package(frame) not in ("nnfast", "numpy")]
    frame, line = (theirs or frames)[-1]
    return f"{frame.f_code.co_filename}, line {line}, in {frame.f_code.co_name}"


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]
