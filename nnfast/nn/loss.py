"""Losses as modules."""

from __future__ import annotations

from nnfast import functional
from nnfast.functional.loss import check_reduction
from nnfast.tensor import Tensor

from .module import Module


def _check_legacy(who: str, size_average: bool | None, reduce: bool | None) -> None:
    if size_average is not None or reduce is not None:
        raise NotImplementedError(
            f"{who}: size_average and reduce are not supported; use reduction='mean', 'sum' or 'none'"
        )


class CrossEntropyLoss(Module):
    """The cross entropy of logits with class labels; see `functional.cross_entropy`.

    Parameters
    ----------
    weight : (C,) factors for classes, or None.
    ignore_index : a label that does not count.
    reduction : ``"mean"``, ``"sum"`` or ``"none"``.
    label_smoothing : how much of a label is shared out among all classes, in 0..1.
    size_average, reduce : PyTorch's old names; not supported.

    Examples
    --------
    >>> import nnfast
    >>> CrossEntropyLoss()(nnfast.zeros(1, 2), nnfast.tensor([0]))
    tensor(0.6931)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        _check_legacy("CrossEntropyLoss", size_average, reduce)
        check_reduction(reduction, "CrossEntropyLoss")
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """See `functional.cross_entropy`."""
        return functional.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(Module):
    """The negative log likelihood of class labels; see `functional.nll_loss`. Parameters as in `CrossEntropyLoss`.

    Examples
    --------
    >>> import nnfast
    >>> NLLLoss()(nnfast.tensor([[-1.0, -2.0]]), nnfast.tensor([1]))
    tensor(2.)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        _check_legacy("NLLLoss", size_average, reduce)
        check_reduction(reduction, "NLLLoss")
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """See `functional.nll_loss`."""
        return functional.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class MSELoss(Module):
    """The squared distance; see `functional.mse_loss`.

    Parameters
    ----------
    reduction : ``"mean"``, ``"sum"`` or ``"none"``.
    size_average, reduce : PyTorch's old names; not supported.

    Examples
    --------
    >>> import nnfast
    >>> MSELoss()(nnfast.zeros(2), nnfast.ones(2))
    tensor(1.)
    """

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__()
        _check_legacy("MSELoss", size_average, reduce)
        check_reduction(reduction, "MSELoss")
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """See `functional.mse_loss`."""
        return functional.mse_loss(input, target, reduction=self.reduction)
