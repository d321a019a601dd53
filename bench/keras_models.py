"""The networks of `models.py` for Keras, which has other names and keeps channels last."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from bench.models import CLASSES, INVERTED


def _input(channels: int, size: int) -> Any:
    return layers.Input((size, size, channels))


def _conv_bn(
    x: Any, filters: int, size: int = 3, stride: int = 1, activation: str | None = "relu", depthwise: bool = False
) -> Any:
    if depthwise:
        x = layers.DepthwiseConv2D(size, stride, padding="same", use_bias=False)(x)
    else:
        x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x


def _lenet5() -> Any:
    i = _input(1, 28)
    x = layers.MaxPooling2D()(layers.Conv2D(6, 5, padding="same", activation="relu")(i))
    x = layers.Flatten()(layers.MaxPooling2D()(layers.Conv2D(16, 5, activation="relu")(x)))
    return keras.Model(i, layers.Dense(CLASSES)(layers.Dense(84, "relu")(layers.Dense(120, "relu")(x))))


def _mnist_cnn() -> Any:
    i = _input(1, 28)
    x = layers.Conv2D(64, 3, activation="relu")(layers.Conv2D(32, 3, activation="relu")(i))
    x = layers.Flatten()(layers.Dropout(0.25)(layers.MaxPooling2D()(x)))
    return keras.Model(i, layers.Dense(CLASSES)(layers.Dropout(0.5)(layers.Dense(128, "relu")(x))))


def _vgg_small() -> Any:
    i = x = _input(3, 32)
    for filters in (64, 128, 256):
        x = layers.MaxPooling2D()(_conv_bn(_conv_bn(x, filters), filters))
    return keras.Model(i, layers.Dense(CLASSES)(layers.Flatten()(x)))


def _resnet(widths: tuple[int, ...], blocks: int, size: int) -> Any:
    i, width = _input(3, size), widths[0]
    x = _conv_bn(i, width)
    for stage, filters in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage and block == 0 else 1
            shortcut = x if stride == 1 and width == filters else _conv_bn(x, filters, 1, stride, None)
            y = _conv_bn(_conv_bn(x, filters, 3, stride), filters, activation=None)
            x, width = layers.ReLU()(layers.Add()([y, shortcut])), filters
    return keras.Model(i, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def _mobilenetv2(size: int) -> Any:
    i, width = _input(3, size), 32
    x = _conv_bn(i, width, activation="relu6")
    for expand, filters, blocks, stride in INVERTED:
        for block in range(blocks):
            s = stride if block == 0 else 1
            y = _conv_bn(x, width * expand, 1, activation="relu6") if expand > 1 else x
            y = _conv_bn(y, width * expand, 3, s, "relu6", depthwise=True)
            y = _conv_bn(y, filters, 1, activation=None)
            x, width = (layers.Add()([x, y]) if s == 1 and width == filters else y), filters
    x = layers.GlobalAveragePooling2D()(_conv_bn(x, 1280, 1, activation="relu6"))
    return keras.Model(i, layers.Dense(CLASSES)(x))


BUILDERS = {
    "lenet5": lambda size: _lenet5(),
    "mnist_cnn": lambda size: _mnist_cnn(),
    "vgg_small": lambda size: _vgg_small(),
    "resnet20": lambda size: _resnet((16, 32, 64), 3, size),
    "resnet18": lambda size: _resnet((64, 128, 256, 512), 2, size),
    "mobilenetv2": _mobilenetv2,
}


def build(name: str, size: int = 0) -> Any:
    """The network called `name`; `size` as in `models.build`."""
    return BUILDERS[name](size or 32)
