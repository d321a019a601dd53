"""A small VGG (Simonyan and Zisserman 2015) with batch normalisation."""

from __future__ import annotations

from nnfast import nn
from nnfast.models.registry import flat_features
from nnfast.tensor import Tensor


class VGGSmall(nn.Module):
    """Three pairs of 3x3 convolutions with 64, 128 and 256 channels; keys as in torchvision's ``vgg13_bn``.

    Parameters
    ----------
    num_classes : int, default 10
    in_channels : int, default 3
    image_size : (int, int), default (32, 32)
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, image_size: tuple[int, int] = (32, 32)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for width in (64, 128, 256):
            for _ in range(2):
                conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(flat_features(channels, image_size[0] // 8, image_size[1] // 8), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(self.features(x).flatten(1))
