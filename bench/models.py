"""The networks of `bench.peers`, written once for any library with torch.nn's names. Imports none of them."""

from __future__ import annotations

from typing import Any

Network = tuple[Any, tuple[int, int, int]]
"""A module, and the channels, height and width of its images."""

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
CLASSES = 10
INVERTED = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""MobileNetV2's stages with CIFAR's strides: expansion, channels, blocks, stride of the first block."""


def _conv(nn: Any, i: int, o: int, k: int = 3, stride: int = 1, groups: int = 1) -> Any:
    return nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)


def _basic_block(nn: Any, F: Any) -> Any:
    class BasicBlock(nn.Module):  # type: ignore[misc]
        def __init__(self, i: int, o: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = _conv(nn, i, o, 3, stride), nn.BatchNorm2d(o)
            self.conv2, self.bn2 = _conv(nn, o, o), nn.BatchNorm2d(o)
            self.shortcut = nn.Sequential()
            if stride != 1 or i != o:
                self.shortcut = nn.Sequential(_conv(nn, i, o, 1, stride), nn.BatchNorm2d(o))

        def forward(self, x: Any) -> Any:
            out = F.relu(self.bn1(self.conv1(x)))
            return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))

    return BasicBlock


def _inverted_residual(nn: Any) -> Any:
    class InvertedResidual(nn.Module):  # type: ignore[misc]
        def __init__(self, i: int, o: int, stride: int, expand: int) -> None:
            super().__init__()
            h = i * expand
            layers = [] if expand == 1 else [_conv(nn, i, h, 1), nn.BatchNorm2d(h), nn.ReLU6()]
            layers += [_conv(nn, h, h, 3, stride, h), nn.BatchNorm2d(h), nn.ReLU6()]
            self.body = nn.Sequential(*layers, _conv(nn, h, o, 1), nn.BatchNorm2d(o))
            self.residual = stride == 1 and i == o

        def forward(self, x: Any) -> Any:
            return x + self.body(x) if self.residual else self.body(x)

    return InvertedResidual


def _lenet5(nn: Any, F: Any) -> Network:
    layers = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    layers += [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES)]
    return nn.Sequential(*layers), GREY


def _mnist_cnn(nn: Any, F: Any) -> Network:
    layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
    layers += [nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, CLASSES)]
    return nn.Sequential(*layers), GREY


def _vgg_small(nn: Any, F: Any) -> Network:
    layers, i = [], 3
    for o in (64, 128, 256):
        for _ in range(2):
            layers += [_conv(nn, i, o), nn.BatchNorm2d(o), nn.ReLU()]
            i = o
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 16, CLASSES)), COLOUR


def _resnet(nn: Any, F: Any, widths: tuple[int, ...], blocks: int) -> Network:
    block_class, i = _basic_block(nn, F), widths[0]
    layers = [_conv(nn, 3, i), nn.BatchNorm2d(i), nn.ReLU()]
    for stage, o in enumerate(widths):
        for block in range(blocks):
            layers.append(block_class(i, o, 2 if stage and block == 0 else 1))
            i = o
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, CLASSES)), COLOUR


def _mobilenetv2(nn: Any, F: Any) -> Network:
    block_class, i = _inverted_residual(nn), 32
    layers = [_conv(nn, 3, i), nn.BatchNorm2d(i), nn.ReLU6()]
    for expand, o, blocks, stride in INVERTED:
        for block in range(blocks):
            layers.append(block_class(i, o, stride if block == 0 else 1, expand))
            i = o
    layers += [_conv(nn, i, 1280, 1), nn.BatchNorm2d(1280), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(1280, CLASSES)), COLOUR


BUILDERS = {
    "lenet5": _lenet5,
    "mnist_cnn": _mnist_cnn,
    "vgg_small": _vgg_small,
    "resnet20": lambda nn, F: _resnet(nn, F, (16, 32, 64), 3),
    "resnet18": lambda nn, F: _resnet(nn, F, (64, 128, 256, 512), 2),
    "mobilenetv2": _mobilenetv2,
}
NAMES = tuple(BUILDERS)
ANY_SIZE = ("resnet20", "resnet18", "mobilenetv2")
"""Networks that average over what is left of an image, and so take images of any size."""


def build(name: str, nn: Any, F: Any, size: int = 0) -> Network:
    """The network called `name` from a library's `nn` and `nn.functional`, and the shape of one image.

    `size` is the image's height and width, for networks in `ANY_SIZE`; 0 means what the network was made for.
    """
    network, (channels, height, width) = BUILDERS[name](nn, F)
    return network, (channels, size or height, size or width)
