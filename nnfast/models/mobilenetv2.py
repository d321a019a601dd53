"""MobileNetV2 (Sandler et al. 2018) for small images; keys as in torchvision."""

from __future__ import annotations

from nnfast import nn
from nnfast.tensor import Tensor

# Expansion, channels, blocks, stride of the first block. The paper's table with two strides of 2 fewer, and none in
# the stem: it was made for 224x224, and 32x32 would vanish.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _conv_bn_relu6(i: int, o: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, a 3x3 one for each channel, a 1x1 one that narrows; around them a shortcut."""

    def __init__(self, inp: int, oup: int, stride: int, expand_ratio: int) -> None:
        super().__init__()
        hidden = inp * expand_ratio
        self.use_res_connect = stride == 1 and inp == oup
        layers: list[nn.Module] = [] if expand_ratio == 1 else [_conv_bn_relu6(inp, hidden, 1)]
        layers += [
            _conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, oup, 1, bias=False),
            nn.BatchNorm2d(oup),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, inp, H, W) to (N, oup, H/stride, W/stride)."""
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """17 inverted residuals, averaged over the image, and a linear layer.

    Parameters
    ----------
    num_classes : int, default 10
    in_channels : int, default 3
    image_size : (int, int)
        Without effect: the network averages over the image.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, image_size: tuple[int, int] = (32, 32)) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_bn_relu6(in_channels, 32, 3)]
        channels = 32
        for expand_ratio, width, blocks, stride in _STAGES:
            for block in range(blocks):
                layers.append(InvertedResidual(channels, width, stride if block == 0 else 1, expand_ratio))
                channels = width
        layers.append(_conv_bn_relu6(channels, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
