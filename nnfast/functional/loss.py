"""Losses."""

from __future__ import annotations

import numpy as np

from nnfast.dispatch import apply, check_values, reinterpret, rows, shaped_like
from nnfast.dtypes import int64
from nnfast.tape import record
from nnfast.tensor import Tensor

from .arithmetic import square, sub
from .reduce import mean, sum

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(reduction: str, who: str) -> None:
    """See that `reduction` is one of ``mean``, ``sum``, ``none``.

    Raises
    ------
    ValueError : it is not.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"{who}: {reduction!r} is not a valid value for reduction, expected one of {', '.join(REDUCTIONS)}"
        )


def _check_legacy(who: str, size_average: bool | None, reduce: bool | None) -> None:
    if size_average is not None or reduce is not None:
        raise NotImplementedError(
            f"{who}: size_average and reduce are not supported; use reduction='mean', 'sum' or 'none'"
        )


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross entropy of logits with class labels: ``-log(softmax(input)[target])``.

    Parameters
    ----------
    input : (N, C) or (N, C, H, W) logits, or (C,) for one sample.
    target : (N,), (N, H, W) or () labels, int64, in 0..C-1.
    weight : (C,) factors for classes, or None.
    ignore_index : a label that does not count.
    reduction : ``"mean"`` (over labels that count, by their weights), ``"sum"``, or ``"none"``.
    label_smoothing : how much of a label is shared out among all classes, in 0..1.
    size_average, reduce : PyTorch's old names; not supported.

    Returns
    -------
    Tensor
        One number; with ``reduction="none"``, a tensor of the shape of `target`.

    Raises
    ------
    ValueError : shapes that do not fit, labels outside of 0..C-1, an unknown `reduction` or `label_smoothing`.
    TypeError : labels that are not int64, logits that are not float32.
    NotImplementedError : class probabilities as targets.

    Examples
    --------
    >>> import nnfast
    >>> cross_entropy(nnfast.zeros(2, 4), nnfast.tensor([1, 3]))
    tensor(1.3863)
    """
    _check_legacy("cross_entropy", size_average, reduce)
    check_reduction(reduction, "cross_entropy")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    logits, labels = _checked_classes("cross_entropy", input, target, weight, ignore_index)
    mean = int(reduction == "mean")
    options = {"ignore_index": ignore_index, "label_smoothing": float(label_smoothing)}
    losses, lse, total, normaliser = apply(
        "cross_entropy_forward", x=logits, target=labels, weight=weight, mean=mean, **options
    )

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        dx = apply(
            "cross_entropy_backward",
            dy=reinterpret(dy, -1),
            x=logits,
            target=labels,
            weight=weight,
            lse=lse,
            normaliser=normaliser,
            **options,
        )
        return (shaped_like(dx, input),)

    y = reinterpret(losses, *target.shape) if reduction == "none" else reinterpret(total)
    return record(
        y, "cross_entropy", (input,), gradient, (input, labels) if weight is None else (input, labels, weight)
    )


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative log likelihood of class labels: ``-input[target]``.

    Parameters
    ----------
    input : (N, C) or (N, C, H, W) log-probabilities, such as `log_softmax` gives, or (C,) for one sample.
    target, weight, size_average, ignore_index, reduce, reduction : as in `cross_entropy`.

    Returns
    -------
    Tensor
        One number; with ``reduction="none"``, a tensor of the shape of `target`.

    Raises
    ------
    ValueError, TypeError : as in `cross_entropy`.

    Examples
    --------
    >>> import nnfast
    >>> nll_loss(nnfast.tensor([[-1.0, -2.0]]), nnfast.tensor([1]))
    tensor(2.)
    """
    _check_legacy("nll_loss", size_average, reduce)
    check_reduction(reduction, "nll_loss")
    scores, labels = _checked_classes("nll_loss", input, target, weight, ignore_index)
    mean = int(reduction == "mean")
    losses, total, normaliser = apply(
        "nll_loss_forward", x=scores, target=labels, weight=weight, ignore_index=ignore_index, mean=mean
    )
    classes, memory_shape = scores.shape[1], input.memory.shape  # the shape alone, so that input itself is not kept

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor]:
        dx = apply(
            "nll_loss_backward",
            dy=reinterpret(dy, -1),
            target=labels,
            weight=weight,
            normaliser=normaliser,
            classes=classes,
            ignore_index=ignore_index,
        )
        return (reinterpret(dx, *memory_shape),)

    y = reinterpret(losses, *target.shape) if reduction == "none" else reinterpret(total)
    return record(y, "nll_loss", (input,), gradient, (labels,) if weight is None else (labels, weight))


def _checked_classes(
    who: str, x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Logits as (M, C) and labels as (M,), both checked; off the tape."""
    for name, value in (("x", x), ("target", target), ("weight", weight)):
        if not isinstance(value, Tensor) and not (name == "weight" and value is None):
            raise TypeError(f"{who}: {name} is {type(value).__name__}, expected a Tensor")
    if not x.is_floating_point():
        raise TypeError(f"{who}: x is {x.dtype}, expected float32")
    if x.ndim not in (1, 2, 4):
        raise ValueError(f"{who}: x has shape {list(x.shape)}, expected (N, C), (N, C, H, W) or (C,)")
    classes = x.shape[0] if x.ndim == 1 else x.shape[1]
    expected = () if x.ndim == 1 else (x.shape[0], *x.shape[2:])
    if target.is_floating_point() and target.shape == x.shape:
        raise NotImplementedError(
            f"{who}: target is {target.dtype} of the shape of x: class probabilities are not supported; "
            "give int64 class labels"
        )
    if target.dtype != int64:
        raise TypeError(f"{who}: target is {target.dtype}, expected int64 class labels; convert them with .long()")
    if target.shape != expected:
        raise ValueError(
            f"{who}: target has shape {list(target.shape)}, x of shape {list(x.shape)} expects {list(expected)}"
        )
    if weight is not None and (weight.shape != (classes,) or weight.dtype != x.dtype):
        raise ValueError(
            f"{who}: weight is {weight.dtype} of shape {list(weight.shape)}, expected {x.dtype} of shape [{classes}]"
        )
    check_values(target, lambda labels: _check_range(who, labels, classes, ignore_index))
    return (reinterpret(x, 1, classes) if x.ndim == 1 else rows(x)), reinterpret(target, -1)


def _check_range(who: str, labels: np.ndarray, classes: int, ignore_index: int) -> None:
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        wrong &= labels != ignore_index
        if wrong.any():
            raise ValueError(
                f"{who}: target holds the label {labels[wrong].flat[0]}, expected 0 to {classes - 1}, "
                f"or ignore_index {ignore_index}"
            )


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The squared distance: ``(input - target) ** 2``.

    Parameters
    ----------
    input, target : of one shape. (PyTorch warns of shapes that differ but broadcast; here that is an error.)
    reduction : ``"mean"``, ``"sum"`` or ``"none"``.
    size_average, reduce : PyTorch's old names; not supported.

    Raises
    ------
    ValueError : shapes that differ, or an unknown `reduction`.

    Examples
    --------
    >>> import nnfast
    >>> mse_loss(nnfast.tensor([1.0, 2.0]), nnfast.tensor([1.0, 4.0]))
    tensor(2.)
    """
    _check_legacy("mse_loss", size_average, reduce)
    check_reduction(reduction, "mse_loss")
    if input.shape != target.shape:
        raise ValueError(f"mse_loss: target has shape {list(target.shape)}, x has {list(input.shape)}")
    squares = square(sub(input, target))
    if reduction == "none":
        return squares
    return mean(squares) if reduction == "mean" else sum(squares)
