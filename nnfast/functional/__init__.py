"""Differentiable operations: shape rule, kernel calls and gradient rule of each stand in one place."""

from .activation import leaky_relu, log_softmax, relu, relu6, sigmoid, softmax, tanh
from .arithmetic import abs, add, compare, div, exp, log, logical_not, mul, neg, pow, sqrt, square, sub
from .cast import cast, conversion_target
from .conv import conv2d, fold, unfold
from .dropout import dropout
from .indexing import change, copy_, fill_, index, set_index
from .join import cat, chunk, pad, split, stack, unbind
from .linear import linear, matmul
from .loss import cross_entropy, mse_loss, nll_loss
from .norm import batch_norm
from .pool import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from .reduce import argmax, argmin, max, mean, min, std, sum, var
from .shape import (
    clone,
    expand,
    flatten,
    permute,
    reshape,
    squeeze,
    t,
    transpose,
    unflatten,
    unsqueeze,
)

__all__ = [
    "abs", "adaptive_avg_pool2d", "add", "argmax", "argmin", "avg_pool2d", "batch_norm", "cast", "cat", "change",
    "chunk", "clone", "compare", "conv2d", "conversion_target", "copy_", "cross_entropy", "div", "dropout", "exp",
    "expand", "fill_", "flatten", "fold", "index", "leaky_relu", "linear", "log", "log_softmax", "logical_not",
    "matmul", "max", "max_pool2d", "mean", "min", "mse_loss", "mul", "neg", "nll_loss", "pad", "permute", "pow",
    "relu", "relu6", "reshape", "set_index", "sigmoid", "softmax", "split", "sqrt", "square", "squeeze", "stack",
    "std", "sub", "sum", "t", "tanh", "transpose", "unbind", "unflatten", "unfold", "unsqueeze", "var",
]  # fmt: skip


def __getattr__(name: str) -> object:
    raise AttributeError(f"nnfast.functional has no {name!r}; it has {', '.join(__all__)}")
