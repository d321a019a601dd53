"""Three small networks for grey images."""

from __future__ import annotations

from nnfast import functional as F
from nnfast import nn
from nnfast.models.registry import flat_features
from nnfast.tensor import Tensor


class DigitsCNN(nn.Module):
    """For the 8x8 digits that ship with nnfast: three 3x3 convolutions, one linear layer, 20,698 parameters.

    Parameters
    ----------
    num_classes : int, default 10
    in_channels : int, default 1
    image_size : (int, int), default (8, 8)
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: tuple[int, int] = (8, 8)) -> None:
        super().__init__()
        height, width = image_size
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(48)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(flat_features(48, height // 4, width // 4), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, in_channels, H, W) to logits (N, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.max_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        return self.fc(self.dropout(x.flatten(1)))


class MNISTCNN(nn.Module):
    """The network of PyTorch's MNIST example (pytorch/examples, ``mnist/main.py``), with logits as its output.

    Parameters
    ----------
    num_classes : int, default 10
    in_channels : int, default 1
    image_size : (int, int), default (28, 28)
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: tuple[int, int] = (28, 28)) -> None:
        super().__init__()
        height, width = image_size
        self.conv1 = nn.Conv2d(in_channels, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(flat_features(64, (height - 4) // 2, (width - 4) // 2), 128)
        self.fc2 = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, in_channels, H, W) to logits (N, num_classes)."""
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = self.dropout1(F.max_pool2d(x, 2)).flatten(1)
        return self.fc2(self.dropout2(F.relu(self.fc1(x))))


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998) as it is taught today: ReLU and max pooling.

    Parameters
    ----------
    num_classes : int, default 10
    in_channels : int, default 1
    image_size : (int, int), default (28, 28)
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: tuple[int, int] = (28, 28)) -> None:
        super().__init__()
        height, width = image_size
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(flat_features(16, (height // 2 - 4) // 2, (width // 2 - 4) // 2), 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, in_channels, H, W) to logits (N, num_classes)."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))
