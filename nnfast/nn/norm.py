"""Batch normalisation layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast import functional
from nnfast.creation import ones, zeros
from nnfast.dispatch import apply, reinterpret
from nnfast.dtypes import int64
from nnfast.tensor import Tensor, check_device, tensor
from nnfast.tracing import recorder

from .init import ones_, zeros_
from .module import Module
from .parameter import Parameter


class _BatchNorm(Module):
    """What one and two dimensions have in common."""

    dimensions: tuple[int, ...]
    expected: str

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_device(device, type(self).__name__)
        self.num_features, self.eps, self.affine = num_features, eps, affine
        self.track_running_stats = track_running_stats
        self.momentum = momentum
        self.register_parameter("weight", Parameter(ones(num_features, dtype=dtype)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_features, dtype=dtype)) if affine else None)
        self.register_buffer("running_mean", zeros(num_features, dtype=dtype) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, dtype=dtype) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", tensor(0, dtype=int64) if track_running_stats else None)

    @property
    def momentum(self) -> float | None:
        """How much of the running statistics is new in each step; None for a plain mean over all steps."""
        return None if self._cumulative else float(self.__dict__["_momentum_buffer"][0])

    @momentum.setter
    def momentum(self, value: float | None) -> None:
        # Kernels read the number from an array, so that it can change between runs of one plan.
        self._cumulative = value is None
        if value is not None:
            self.__dict__.setdefault("_momentum_buffer", np.zeros(1, np.float64))[0] = value

    def reset_running_stats(self) -> None:
        """Set the running statistics to mean 0 and variance 1."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Set running statistics, weight and bias to their initial values."""
        self.reset_running_stats()
        if self.affine:
            ones_(self.weight)
            zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.batch_norm`."""
        if input.ndim not in self.dimensions:
            raise ValueError(f"expected {self.expected} input (got {input.ndim}D input)")
        momentum: Any = self.__dict__.get("_momentum_buffer")
        update = self.training and self.track_running_stats
        if update and self.num_batches_tracked is not None:
            apply("increment", step=reinterpret(self.num_batches_tracked, 1))
            if self._cumulative:
                momentum = self._mean_momentum()
        batch_statistics = self.training or self.running_mean is None
        return functional.batch_norm(
            input,
            self.running_mean if update or not batch_statistics else None,
            self.running_var if update or not batch_statistics else None,
            self.weight,
            self.bias,
            batch_statistics,
            0.0 if momentum is None else momentum,
            self.eps,
        )

    def _mean_momentum(self) -> np.ndarray:
        """What makes the running statistics the mean over all steps, of which this one is counted already."""
        counted = self.num_batches_tracked
        capture = recorder()
        if capture is None:
            return np.array([1.0 / counted.item()])
        more = capture.writes(counted)  # a plan counts in its run, which comes later
        return capture.feed((1,), np.float64, lambda: np.array([1.0 / (counted.item() + more)]))

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images, channel by channel; see `functional.batch_norm`.

    Parameters
    ----------
    num_features : the channels C of (N, C, H, W).
    eps : added to the variance.
    momentum : how much of the running statistics is new in each step; None for a plain mean over all steps.
    affine : whether there are `weight` and `bias`.
    track_running_stats : whether there are running statistics; without, batches are normalised by themselves always.
    device : ``"cpu"`` or None.
    dtype : float32 by default.

    Attributes
    ----------
    weight, bias : (C,), initially 1 and 0, or None.
    running_mean, running_var : (C,), initially 0 and 1, or None.
    num_batches_tracked : the number of training steps, or None.

    Raises
    ------
    ValueError : input of another rank or number of channels.

    Examples
    --------
    >>> import nnfast
    >>> BatchNorm2d(3)(nnfast.rand(2, 3, 4, 4)).shape
    nnfast.Size([2, 3, 4, 4])
    """

    dimensions = (4,)
    expected = "4D"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of vectors, (N, C); parameters as in `BatchNorm2d`. Sequences, (N, C, L), are not supported.

    Examples
    --------
    >>> import nnfast
    >>> BatchNorm1d(3)(nnfast.rand(2, 3)).shape
    nnfast.Size([2, 3])
    """

    dimensions = (2,)
    expected = "2D"

    def forward(self, input: Tensor) -> Tensor:
        """See `functional.batch_norm`."""
        if input.ndim == 3:
            raise NotImplementedError(f"BatchNorm1d: input has shape {list(input.shape)}; only (N, C) is supported")
        return super().forward(input)
