"""The networks by name, and what each is built for."""

from __future__ import annotations

import operator
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from nnfast import nn


class _Entry(NamedTuple):
    """Where a network is built, and the (C, H, W) that its authors built it for."""

    builder: str
    shape: tuple[int, int, int]


_NETWORKS = {
    "digits-cnn": _Entry("small.DigitsCNN", (1, 8, 8)),
    "mnist-cnn": _Entry("small.MNISTCNN", (1, 28, 28)),
    "lenet5": _Entry("small.LeNet5", (1, 28, 28)),
    "vgg-small": _Entry("vgg.VGGSmall", (3, 32, 32)),
    "resnet20": _Entry("resnet.resnet20", (3, 32, 32)),
    "resnet18": _Entry("resnet.resnet18", (3, 32, 32)),
    "mobilenetv2": _Entry("mobilenetv2.MobileNetV2", (3, 32, 32)),
}


def names() -> list[str]:
    """Return the names that ``create`` knows.

    Examples
    --------
    >>> "resnet20" in names()
    True
    """
    return list(_NETWORKS)


def default_shape(name: str) -> tuple[int, int, int]:
    """Return the (C, H, W) of the images that a network was made for.

    Raises
    ------
    ValueError
        If there is no such network; it lists those that there are.

    Examples
    --------
    >>> default_shape("lenet5")
    (1, 28, 28)
    """
    return _entry(name).shape


def create(
    name: str, num_classes: int = 10, in_channels: int | None = None, image_size: tuple[int, int] | None = None
) -> nn.Module:
    """Build a network with freshly initialised parameters.

    Parameters
    ----------
    name : str
        One of ``names()``.
    num_classes : int, default 10
    in_channels : int, optional
        Default: what the network was made for, 1 or 3.
    image_size : (int, int), optional
        Height and width. Default: what the network was made for. It sets the size of the first linear layer; networks
        that average over the image before it take any size, whatever is said here.

    Returns
    -------
    nn.Module
        From images (N, in_channels, H, W) to logits (N, num_classes).

    Raises
    ------
    ValueError
        If there is no such network, or an argument is out of range.

    Examples
    --------
    >>> create("lenet5", num_classes=26).fc3.out_features
    26
    """
    entry = _entry(name)
    channels, height, width = entry.shape
    if in_channels is not None:
        channels = in_channels
    if image_size is not None:
        height, width = image_size
    for argument, value in (("num_classes", num_classes), ("in_channels", channels), ("image_size", height),
                            ("image_size", width)):  # fmt: skip
        if not hasattr(value, "__index__") or isinstance(value, bool) or operator.index(value) < 1:
            raise ValueError(f"models.create: {argument} is {value!r}, expected a positive integer")
    module, _, function = entry.builder.partition(".")
    build: Callable[..., Any] = getattr(import_module(f"nnfast.models.{module}"), function)
    try:
        return build(num_classes=num_classes, in_channels=channels, image_size=(height, width))
    except ImageTooSmallError as error:
        raise ValueError(f"models.create: {name} cannot take images of {height}x{width}: {error}") from None


class ImageTooSmallError(ValueError):
    """The image vanishes before the first linear layer."""


def flat_features(channels: int, height: int, width: int) -> int:
    """Return how many numbers a feature map holds, which a linear layer then takes.

    Raises
    ------
    ImageTooSmallError
        If there is nothing left of it.
    """
    if height < 1 or width < 1:
        raise ImageTooSmallError(f"nothing is left of them before the first linear layer ({height}x{width})")
    return channels * height * width


def _entry(name: str) -> _Entry:
    if name not in _NETWORKS:
        raise ValueError(f"models: there is no {name!r}, expected one of {', '.join(_NETWORKS)}")
    return _NETWORKS[name]
