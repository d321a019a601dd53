"""Train one network on CIFAR-10 with PyTorch or nnfast, whose names are the same: one JSON line an epoch.

Run by `bench.accuracy` with the interpreter that has the library. Images, labels, their order and their augmentation
come from one NumPy generator, so that runs of one seed see the same batches whatever the library; initial weights are
drawn by each library.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib import import_module
from typing import Any

import models  # type: ignore[import-not-found]  # beside this file
import numpy as np

PADDING = 4
BATCH = 128


def augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random crops of images (N, C, H, W) that were padded by 4 black pixels, half of them mirrored."""
    n, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING)))
    tops, lefts = rng.integers(0, 2 * PADDING + 1, (2, n))
    mirrored = rng.random(n) < 0.5
    made = np.empty_like(images)
    for i in range(n):
        crop = padded[i, :, tops[i] : tops[i] + height, lefts[i] : lefts[i] + width]
        made[i] = crop[:, :, ::-1] if mirrored[i] else crop
    return made


def normalised(images: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Bytes as float32 with mean 0 and deviation 1 in each channel, in channels-last memory."""
    values = (images.astype(np.float32) / 255 - mean[:, None, None]) / std[:, None, None]
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def main() -> None:
    """Train and print the accuracy on the test images after every epoch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("library", choices=("torch", "nnfast"))
    parser.add_argument("data", help="an .npz file with x_train, y_train, x_test, y_test; bytes and int64")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch = import_module(args.library)
    nn, F = import_module(f"{args.library}.nn"), import_module(f"{args.library}.nn.functional")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    arrays = np.load(args.data)
    x_train, y_train, x_test, y_test = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    mean = (x_train.mean((0, 2, 3)) / 255).astype(np.float32)
    std = (x_train.std((0, 2, 3)) / 255).astype(np.float32)

    model, _ = models.build(args.model, nn, F)
    if args.library == "torch":
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=5e-4)
    steps = len(x_train) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs * steps)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def predict(x: Any) -> Any:
        with torch.no_grad():
            return model(x)

    if args.library == "nnfast":
        step, predict = torch.compile(step), torch.compile(predict)
    test = normalised(x_test, mean, std)
    for epoch in range(args.epochs):
        start = time.perf_counter()
        model.train()
        order = rng.permutation(len(x_train))
        losses = []
        for i in range(steps):
            chosen = order[i * BATCH : (i + 1) * BATCH]
            batch = normalised(augmented(x_train[chosen], rng), mean, std)
            losses.append(step(torch.from_numpy(batch), torch.from_numpy(y_train[chosen])).item())
            schedule.step()
        model.eval()
        right = 0
        for first in range(0, len(test), 500):
            scores = predict(torch.from_numpy(test[first : first + 500])).numpy()
            right += int((scores.argmax(1) == y_test[first : first + 500]).sum())
        print(json.dumps({
            "library": args.library, "model": args.model, "seed": args.seed, "epoch": epoch + 1,
            "loss": round(float(np.mean(losses)), 4), "accuracy": round(100 * right / len(test), 2),
            "seconds": round(time.perf_counter() - start, 1),
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
