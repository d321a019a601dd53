"""PyTorch's calls for nnfast's kernels, by the kernel's name. Imported by the interpreter that has PyTorch.

A maker takes the kernel's arrays as tensors, images and weights in NCHW order, what else PyTorch asks for, and the
attributes; it returns a call that gives results by the names that the kernel has for them. Gradients are ATen's own,
with only what is asked for; optimizers are `torch.optim`'s, fused where PyTorch has such.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch.nn import functional as F

aten = torch.ops.aten
Results = dict[str, torch.Tensor]
Maker = Callable[[SimpleNamespace, SimpleNamespace], Callable[[], Results]]


def _present(tensor: torch.Tensor) -> torch.Tensor | None:
    """None for an array that is absent."""
    return tensor if tensor.numel() else None


# ---------------------------------------------------------------- products


def _conv2d_forward(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
    b = _present(a.b)
    return lambda: {"y": torch.conv2d(a.x, a.w, b, o.stride, o.padding, o.dilation, o.groups)}


def _conv2d_backward(mask: list[bool], name: str) -> Maker:
    which = mask.index(True)

    def make(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
        window = o.stride, o.padding, o.dilation, False, [0, 0], o.groups
        return lambda: {name: aten.convolution_backward(a.dy, a.x, a.w, None, *window, mask)[which]}

    return make


# ---------------------------------------------------------------- pooling


def _max_pool2d_forward(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
    window = o.kernel_size, o.stride, o.padding, o.dilation, bool(o.ceil_mode)
    return lambda: {"y": aten.max_pool2d_with_indices(a.x, *window)[0]}


def _max_pool2d_backward(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
    window = o.kernel_size, o.stride, o.padding, o.dilation, False
    indices = aten.max_pool2d_with_indices(a.x, *window)[1]
    return lambda: {"dx": aten.max_pool2d_with_indices_backward(a.dy, a.x, *window, indices)}


def _avg_pool2d_forward(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
    window = o.kernel_size, o.stride, o.padding, bool(o.ceil_mode), bool(o.count_include_pad)
    return lambda: {"y": F.avg_pool2d(a.x, *window)}


def _avg_pool2d_backward(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
    window = o.kernel_size, o.stride, o.padding, False, bool(o.count_include_pad), None
    return lambda: {"dx": aten.avg_pool2d_backward(a.dy, a.x, *window)}


def _adaptive_avg_pool2d_backward(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
    if a.dy.shape[2:] == (1, 1):  # autograd's gradient of a mean
        return lambda: {"dx": a.dy.expand_as(a.x) / (o.size[0] * o.size[1])}
    return lambda: {"dx": aten._adaptive_avg_pool2d_backward(a.dy, a.x)}


# ---------------------------------------------------------------- norms, softmax, losses


def _batch_norm(training: bool) -> Maker:
    def make(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
        momentum = float(a.momentum) if training else 0.0
        weights = a.w, a.b, a.running_mean, a.running_var
        return lambda: {"y": aten.native_batch_norm(a.x, *weights, training, momentum, o.eps)[0]}

    return make


def _batch_norm_backward(training: bool) -> Maker:
    def make(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
        running = (None, None) if training else (a.running_mean, a.running_var)
        saved = (a.mean, a.invstd) if training else (None, None)
        eps = 0.0 if training else o.eps
        return lambda: dict(
            zip(
                ("dx", "dw", "db"),
                aten.native_batch_norm_backward(a.dy, a.x, a.w, *running, *saved, training, eps, [True] * 3),
                strict=True,
            )
        )

    return make


def _cross_entropy_forward(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
    reduction, smoothing = ("mean" if o.mean else "sum"), o.label_smoothing
    return lambda: {"y": F.cross_entropy(a.x, a.target, reduction=reduction, label_smoothing=smoothing).reshape(1)}


def _cross_entropy_backward(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
    """What autograd does of the mean without smoothing: the gradient of `nll_loss`, then that of `log_softmax`."""
    scores, total = torch.log_softmax(a.x, 1), torch.tensor(float(len(a.target)))

    def call() -> Results:
        dy = aten.nll_loss_backward(a.dy.reshape(()), scores, a.target, None, 1, o.ignore_index, total)
        return {"dx": aten._log_softmax_backward_data(dy, scores, 1, torch.float32)}

    return call


# ---------------------------------------------------------------- optimizers


def _optimizer(name: str, **fused: bool) -> Maker:
    def make(a: SimpleNamespace, o: SimpleNamespace) -> Callable[[], Results]:
        options = dict(vars(o))
        if "beta1" in options:
            options["betas"] = options.pop("beta1"), options.pop("beta2")
        options = {key: bool(value) if key in ("nesterov", "maximize") else value for key, value in options.items()}
        a.p.grad = a.g
        optimizer = getattr(torch.optim, name)([a.p], lr=float(a.lr), **options, **fused)

        def call() -> Results:
            optimizer.step()
            return {"p": a.p}

        return call

    return make


CALLS: dict[str, Maker] = {
    "conv2d_forward": _conv2d_forward,
    "conv2d_backward_data": _conv2d_backward([True, False, False], "dx"),
    "conv2d_backward_weight": _conv2d_backward([False, True, False], "dw"),
    "linear_forward": lambda a, o: lambda: {"y": F.linear(a.x, a.w, a.b)},
    "linear_backward_data": lambda a, o: lambda: {"dx": a.dy @ a.w},
    "linear_backward_weight": lambda a, o: lambda: {"dw": a.dy.t() @ a.x},
    "max_pool2d_forward": _max_pool2d_forward,
    "max_pool2d_backward": _max_pool2d_backward,
    "avg_pool2d_forward": _avg_pool2d_forward,
    "avg_pool2d_backward": _avg_pool2d_backward,
    "adaptive_avg_pool2d_forward": lambda a, o: lambda: {"y": F.adaptive_avg_pool2d(a.x, o.output_size)},
    "adaptive_avg_pool2d_backward": _adaptive_avg_pool2d_backward,
    "batch_norm_forward": _batch_norm(True),
    "batch_norm_inference": _batch_norm(False),
    "batch_norm_backward": _batch_norm_backward(True),
    "batch_norm_inference_backward": _batch_norm_backward(False),
    "relu_forward": lambda a, o: lambda: {"y": torch.relu(a.x)},
    "relu_backward": lambda a, o: lambda: {"dx": aten.threshold_backward(a.dy, a.y, 0)},
    "relu6_forward": lambda a, o: lambda: {"y": F.relu6(a.x)},
    "relu6_backward": lambda a, o: lambda: {"dx": aten.hardtanh_backward(a.dy, a.y, 0, 6)},
    "leaky_relu_forward": lambda a, o: lambda: {"y": F.leaky_relu(a.x, o.negative_slope)},
    "leaky_relu_backward": lambda a, o: lambda: {"dx": aten.leaky_relu_backward(a.dy, a.x, o.negative_slope, False)},
    "sigmoid_forward": lambda a, o: lambda: {"y": torch.sigmoid(a.x)},
    "sigmoid_backward": lambda a, o: lambda: {"dx": aten.sigmoid_backward(a.dy, a.y)},
    "tanh_forward": lambda a, o: lambda: {"y": torch.tanh(a.x)},
    "tanh_backward": lambda a, o: lambda: {"dx": aten.tanh_backward(a.dy, a.y)},
    "add": lambda a, o: lambda: {"y": torch.add(a.a, a.b, alpha=o.alpha)},
    "mul": lambda a, o: lambda: {"y": a.a * a.b},
    "softmax_forward": lambda a, o: lambda: {"y": torch.softmax(a.x, 1)},
    "softmax_backward": lambda a, o: lambda: {"dx": aten._softmax_backward_data(a.dy, a.y, 1, torch.float32)},
    "log_softmax_forward": lambda a, o: lambda: {"y": torch.log_softmax(a.x, 1)},
    "log_softmax_backward": lambda a, o: lambda: {"dx": aten._log_softmax_backward_data(a.dy, a.y, 1, torch.float32)},
    "cross_entropy_forward": _cross_entropy_forward,
    "cross_entropy_backward": _cross_entropy_backward,
    "sgd_step": _optimizer("SGD", fused=True),
    "adam_step": _optimizer("Adam", fused=True),
    "adamw_step": _optimizer("AdamW", fused=True),
    "adagrad_step": _optimizer("Adagrad", fused=True),
    "rmsprop_step": _optimizer("RMSprop"),
    "adadelta_step": _optimizer("Adadelta"),
}
