"""Convolutions to time: the table of targets, and a sweep over what well-known networks consist of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

DIRECTIONS = ("forward", "data", "weight")
ELEMENT = 4  # bytes of a float32
ROW_SECONDS = 0.05  # what all directions of a row of the sweep take together, about
SLOW_FLOPS, SLOW_BYTES = 200e9, 15e9  # a second, of a peer that is slow: only to choose batch sizes


@dataclass(frozen=True)
class Shape:
    """A convolution of square images and kernels.

    Parameters
    ----------
    network : where it is found, or what it stands for.
    c, k, size, kernel : input channels, output channels, height and width of the image, of the kernel.
    stride, padding, groups : as usual; the padding is half the kernel if None.
    batch : images.
    targets : the ratio to reach by direction.
    """

    network: str
    c: int
    k: int
    size: int
    kernel: int
    stride: int = 1
    padding: int | None = None
    groups: int = 1
    batch: int = 128
    targets: Mapping[str, float] = field(default_factory=dict)

    @property
    def pad(self) -> int:
        """The padding in pixels."""
        return self.kernel // 2 if self.padding is None else self.padding

    @property
    def output(self) -> int:
        """Height and width of the output."""
        return (self.size + 2 * self.pad - self.kernel) // self.stride + 1

    @property
    def depthwise(self) -> bool:
        """Whether every channel has a kernel of its own: such a convolution is limited by memory."""
        return self.groups == self.c == self.k and self.groups > 1

    @property
    def directions(self) -> tuple[str, ...]:
        """What a training step computes: nobody needs the gradient of images."""
        return tuple(item for item in DIRECTIONS if item != "data" or self.c > 3)

    @property
    def name(self) -> str:
        """Such as ``3x3 s2 64->128 @32``."""
        kind = "depthwise " if self.depthwise else ""
        stride = f" s{self.stride}" if self.stride > 1 else ""
        channels = f"{self.c}" if self.c == self.k else f"{self.c}->{self.k}"
        groups = f" g{self.groups}" if self.groups > 1 and not self.depthwise else ""
        padding = "" if self.padding is None else f" p{self.padding}"
        return f"{kind}{self.kernel}x{self.kernel}{stride}{padding} {channels} @{self.size}{groups}"

    @property
    def lengths(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of x, w and y in memory: channels last."""
        return {
            "x": (self.batch, self.size, self.size, self.c),
            "w": (self.k, self.kernel, self.kernel, self.c // self.groups),
            "y": (self.batch, self.output, self.output, self.k),
        }

    @property
    def flops(self) -> int:
        """Multiplications and additions as the formula has them, the same in all directions."""
        return 2 * self.batch * self.output**2 * self.k * self.kernel**2 * self.c // self.groups

    @property
    def bytes(self) -> int:
        """What must move between memory and the processor, the same in all directions: x, w and y once each."""
        image, result = self.batch * self.size**2 * self.c, self.batch * self.output**2 * self.k
        return ELEMENT * (image + result + self.k * self.kernel**2 * self.c // self.groups)

    def summands(self, direction: str) -> int:
        """How many products an element of the result is the sum of, at most."""
        if direction == "weight":
            return self.batch * self.output**2
        return self.kernel**2 * (self.c if direction == "forward" else self.k) // self.groups


def batch_for(shape: Shape) -> int:
    """The largest power of two up to 128 with which a row takes about `ROW_SECONDS`."""
    one = replace(shape, batch=1)
    seconds = len(shape.directions) * (one.flops / SLOW_FLOPS + one.bytes / SLOW_BYTES)
    return next((batch for batch in (128, 64, 32, 16, 8, 4, 2) if batch * seconds <= ROW_SECONDS), 1)


def _row(targets: str, c: int, k: int, size: int, kernel: int, **rest: Any) -> Shape:
    wanted = zip(DIRECTIONS, targets.split(), strict=True)
    return Shape("", c, k, size, kernel, targets={key: float(value) for key, value in wanted if value != "-"}, **rest)


TABLE = (
    _row("1.3 1.3 1.1", 16, 16, 32, 3),
    _row("1.8 1.7 1.4", 32, 32, 16, 3),
    _row("2.0 2.0 1.6", 64, 64, 8, 3),
    _row("2.2 2.2 1.9", 64, 64, 32, 3),
    _row("2.4 2.4 2.0", 128, 128, 16, 3),
    _row("2.4 2.4 2.0", 256, 256, 8, 3),
    _row("2.2 2.2 1.8", 512, 512, 4, 3),
    _row("1.4 - 1.1", 1, 32, 28, 3),
    _row("1.5 - 1.1", 3, 16, 32, 3),
    _row("1.2 - 1.4", 3, 64, 32, 3),
    _row("1.0 - 1.4", 3, 64, 224, 7, stride=2, batch=32),
    _row("1.1 1.1 1.3", 64, 128, 32, 3, stride=2),
    _row("1.2 1.2 1.8", 64, 128, 32, 1),
    _row("1.1 1.1 1.2", 256, 64, 8, 1),
    _row("1.5 2.2 2.0", 144, 144, 32, 3, groups=144),
    _row("1.1 1.6 1.2", 144, 144, 32, 3, stride=2, groups=144),
    _row("1.1 1.0 1.1", 576, 576, 8, 3, groups=576),
    _row("1.5 3.0 1.2", 6, 16, 14, 5, padding=1),
)
"""What is to be reached, as ratios of PyTorch's time to nnfast's (forward, data gradient, weight gradient)."""

# Of each network: (c, k, size, kernel), then the stride and the groups where they are not 1.
_NETWORKS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "ResNet-18": (
        (64, 64, 56, 3), (64, 128, 56, 3, 2), (128, 128, 28, 3), (128, 256, 28, 3, 2), (256, 256, 14, 3),
        (256, 512, 14, 3, 2), (512, 512, 7, 3), (64, 128, 56, 1, 2), (256, 512, 14, 1, 2)),
    "ResNet-20": ((16, 16, 30, 3), (32, 32, 30, 3), (16, 32, 32, 3, 2), (32, 64, 16, 3, 2), (16, 32, 32, 1, 2)),
    "ResNet-50": (
        (3, 64, 112, 7, 2), (64, 256, 56, 1), (256, 64, 56, 1), (256, 512, 56, 1, 2), (128, 128, 56, 3, 2),
        (128, 512, 28, 1), (512, 128, 28, 1), (256, 1024, 14, 1), (1024, 256, 14, 1), (512, 2048, 7, 1),
        (2048, 512, 7, 1)),
    "MobileNetV2": (
        (3, 32, 112, 3, 2), (32, 32, 112, 3, 1, 32), (32, 16, 112, 1), (16, 96, 112, 1), (96, 96, 112, 3, 2, 96),
        (96, 24, 56, 1), (24, 144, 56, 1), (144, 144, 56, 3, 1, 144), (144, 144, 56, 3, 2, 144), (144, 32, 28, 1),
        (192, 192, 28, 3, 1, 192), (384, 96, 14, 1), (96, 576, 14, 1), (576, 576, 14, 3, 1, 576),
        (576, 576, 14, 3, 2, 576), (576, 160, 7, 1), (160, 960, 7, 1), (960, 960, 7, 3, 1, 960), (320, 1280, 7, 1)),
    "DenseNet": (
        (128, 32, 56, 3), (64, 128, 56, 1), (48, 12, 30, 3), (100, 48, 30, 1), (160, 48, 14, 1), (48, 48, 30, 3),
        (128, 32, 28, 3), (512, 256, 28, 1), (128, 32, 14, 3), (1000, 128, 7, 1)),
    "VGG-16": (
        (3, 64, 112, 3), (64, 64, 112, 3), (64, 128, 56, 3), (128, 256, 28, 3), (256, 512, 14, 3), (512, 512, 14, 3)),
    "EfficientNet": (
        (144, 144, 56, 5, 2, 144), (240, 240, 28, 5, 1, 240), (240, 240, 28, 3, 2, 240), (480, 480, 14, 5, 1, 480),
        (672, 672, 14, 5, 2, 672), (1152, 1152, 7, 5, 1, 1152), (40, 240, 28, 1), (112, 672, 14, 1), (192, 1152, 7, 1)),
    "ResNeXt": ((128, 128, 56, 3, 1, 32), (256, 256, 28, 3, 1, 32), (512, 512, 14, 3, 1, 32), (100, 100, 30, 3, 1, 4)),
    "Inception": ((16, 32, 28, 5), (24, 64, 14, 5), (48, 128, 7, 5), (96, 96, 30, 3), (48, 64, 28, 7),
                  (160, 160, 14, 7)),
}  # fmt: skip


FURTHER = ("ResNeXt", "Inception")
"""Networks with groups and large kernels, counted apart from the plain families."""


def _sweep() -> tuple[Shape, ...]:
    shapes = []
    for network, rows in _NETWORKS.items():
        for row in rows:
            c, k, size, kernel, stride, groups = (*row, *(1, 1)[len(row) - 4 :])
            shape = Shape(network, c, k, size, kernel, stride, groups=groups)
            shapes.append(replace(shape, batch=batch_for(shape)))
    return tuple(shapes)


SWEEP = _sweep()
"""Shapes of well-known networks, with batches that keep a row short."""
