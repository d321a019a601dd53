"""Batch normalisation."""

from __future__ import annotations

import numpy as np

from nnfast.dispatch import apply, rows, shaped_like
from nnfast.tape import record
from nnfast.tensor import Tensor


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | np.ndarray = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise every channel: ``(input - mean) / sqrt(var + eps) * weight + bias``.

    Parameters
    ----------
    input : (N, C) or (N, C, H, W).
    running_mean, running_var : (C,), or None for none. In training they become ``(1 - momentum) * running + momentum *
        batch statistic``, with the unbiased variance.
    weight, bias : (C,), or None for 1 and 0.
    training : use the statistics of this batch (the biased variance) instead of the running ones.
    momentum : how much of the running statistics is new; an array of one float64 is read when kernels run.
    eps : added to the variance.

    Returns
    -------
    Tensor
        Of the shape of `input`.

    Raises
    ------
    ValueError : shapes that do not fit, one value per channel only, or no running statistics outside of training.
    TypeError : types other than float32.

    Examples
    --------
    >>> import nnfast
    >>> batch_norm(nnfast.tensor([[1.0], [3.0]]), None, None, training=True)
    tensor([[-1.0000],
            [ 1.0000]])
    """
    _check_batch_norm(input, running_mean, running_var, weight, bias, training)
    if not training:
        assert running_mean is not None
        assert running_var is not None
        return _with_running_statistics(input, running_mean, running_var, weight, bias, eps)
    buffer = momentum if isinstance(momentum, np.ndarray) else np.array([momentum], np.float64)
    y, mean, invstd = apply(
        "batch_norm_forward",
        x=rows(input),
        w=weight,
        b=bias,
        momentum=buffer,
        running_mean=running_mean,
        running_var=running_var,
        eps=float(eps),
    )

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
        dx, dw, db = apply("batch_norm_backward", dy=rows(dy), x=rows(input), w=weight, mean=mean, invstd=invstd)
        return shaped_like(dx, dy), dw, db

    saves = (input,) if weight is None else (input, weight)
    return record(shaped_like(y, input), "batch_norm", (input, weight, bias), gradient, saves)


def _with_running_statistics(
    x: Tensor, running_mean: Tensor, running_var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    statistics = {"w": weight, "running_mean": running_mean, "running_var": running_var, "eps": float(eps)}
    y = apply("batch_norm_inference", x=rows(x), b=bias, **statistics)

    def gradient(dy: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
        dx, dw, db = apply("batch_norm_inference_backward", dy=rows(dy), x=rows(x), **statistics)
        return shaped_like(dx, dy), dw, db

    saves = [value for value in (x, running_mean, running_var, weight) if value is not None]
    return record(shaped_like(y, x), "batch_norm", (x, weight, bias), gradient, saves)


def _check_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        found = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"batch_norm: x is {found}, expected a Tensor of float32")
    if x.ndim not in (2, 4):
        raise ValueError(f"batch_norm: x has shape {list(x.shape)}, expected (N, C) or (N, C, H, W)")
    channels = x.shape[1]
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, value in named.items():
        if value is not None and value.shape != (channels,):
            raise ValueError(f"batch_norm: {name} has shape {list(value.shape)}, x has {channels} channels")
        if value is not None and value.dtype != x.dtype:
            raise TypeError(f"batch_norm: {name} is {value.dtype}, expected {x.dtype} as x")
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: running_mean and running_var must both be given, or neither")
    if not training and running_mean is None:
        raise ValueError("batch_norm: running_mean and running_var are None, expected tensors outside of training")
    if training and x.numel() <= channels:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
