"""A training loop written out, as one writes it in PyTorch: only the import lines differ.

python examples/train_mnist.py FOLDER_WITH_MNIST [--epochs 2]
"""

import argparse

import nnfast as torch
from nnfast import functional as F
from nnfast import nn, optim
from nnfast.data import DataLoader, open_dataset


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5)
        self.conv2 = nn.Conv2d(16, 32, 5)
        self.fc1 = nn.Linear(512, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def main() -> None:
    """Train and test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    train, test = open_dataset(arguments.folder)
    model = Net()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(arguments.epochs):
        model.train()
        for x, y in DataLoader(train, batch_size=128, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum(int((model(x).argmax(1) == y).sum()) for x, y in DataLoader(test, batch_size=1000))
        print(f"epoch {epoch + 1}: {right / len(test):.2%} of {len(test)} test images are right")


if __name__ == "__main__":
    main()
