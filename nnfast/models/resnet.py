"""Residual networks (He et al. 2016) for small images; keys as in torchvision."""

from __future__ import annotations

from collections.abc import Sequence

from nnfast import functional as F
from nnfast import nn
from nnfast.tensor import Tensor


def resnet20(num_classes: int = 10, in_channels: int = 3, image_size: tuple[int, int] = (32, 32)) -> ResNet:
    """Build the 20-layer network of the paper's section 4.2, with 1x1 convolutions as shortcuts (its option B).

    Parameters
    ----------
    num_classes : int, default 10
    in_channels : int, default 3
    image_size : (int, int)
        Without effect: the network averages over the image.
    """
    return ResNet((16, 32, 64), 3, num_classes, in_channels)


def resnet18(num_classes: int = 10, in_channels: int = 3, image_size: tuple[int, int] = (32, 32)) -> ResNet:
    """Build torchvision's ``resnet18`` with a stem for small images: 3x3 with stride 1, and no pooling.

    Parameters
    ----------
    num_classes : int, default 10
    in_channels : int, default 3
    image_size : (int, int)
        Without effect: the network averages over the image.
    """
    return ResNet((64, 128, 256, 512), 2, num_classes, in_channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x: Tensor) -> Tensor:
        """From (N, inplanes, H, W) to (N, planes, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + shortcut)


class ResNet(nn.Module):
    """A stem, stages of basic blocks that halve the image from the second on, and a linear layer.

    Parameters
    ----------
    widths : sequence of int
        Channels of each stage.
    blocks : int
        Blocks in each stage.
    num_classes, in_channels : int
    """

    def __init__(self, widths: Sequence[int], blocks: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        inplanes = widths[0]
        self.stages = len(widths)
        for number, planes in enumerate(widths, start=1):
            stage = []
            for block in range(blocks):
                stage.append(BasicBlock(inplanes, planes, stride=2 if number > 1 and block == 0 else 1))
                inplanes = planes
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inplanes, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """From (N, in_channels, H, W) to logits (N, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        for number in range(1, self.stages + 1):
            x = getattr(self, f"layer{number}")(x)
        return self.fc(self.avgpool(x).flatten(1))
