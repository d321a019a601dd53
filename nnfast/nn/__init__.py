"""Layers, losses and initial values, with the names of ``torch.nn``."""

from nnfast import functional

from . import init, utils
from .activation import LeakyReLU, LogSoftmax, ReLU, ReLU6, Sigmoid, Softmax, Tanh
from .container import ModuleList, Sequential
from .conv import Conv2d, Fold, Unfold
from .dropout import Dropout
from .linear import Identity, Linear
from .loss import CrossEntropyLoss, MSELoss, NLLLoss
from .module import Module
from .norm import BatchNorm1d, BatchNorm2d
from .parameter import Parameter
from .pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from .shape import Flatten, Unflatten

__all__ = [
    "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Conv2d", "CrossEntropyLoss", "Dropout",
    "Flatten", "Fold", "Identity", "LeakyReLU", "Linear", "LogSoftmax", "MSELoss", "MaxPool2d", "Module",
    "ModuleList", "NLLLoss", "Parameter", "ReLU", "ReLU6", "Sequential", "Sigmoid", "Softmax", "Tanh", "Unflatten",
    "Unfold", "functional", "init", "utils",
]  # fmt: skip


def __getattr__(name: str) -> object:
    raise AttributeError(f"nnfast.nn has no {name!r}; it has {', '.join(__all__)}")
