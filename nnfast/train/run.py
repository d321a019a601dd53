"""From a config to what is trained: model, loaders, optimizer, schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from nnfast import models, nn, optim
from nnfast.data import DataLoader, ImageDataset
from nnfast.data.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, Transform
from nnfast.grad_mode import no_grad
from nnfast.io.safetensors import load_file
from nnfast.tensor import from_numpy
from nnfast.train.callbacks import Callback
from nnfast.train.run_config import WITH_MOMENTUM, RunConfig
from nnfast.train.run_folder import RunFolder
from nnfast.train.steps import Steps
from nnfast.train.tiers import AUTO
from nnfast.train.trainer import Trainer

if TYPE_CHECKING:
    from nnfast.optim import Optimizer

EVALUATION_BATCH = 250  # of no consequence for results: evaluation treats each image by itself
_MOST_IMAGES_TO_MEASURE = 10_000


def build_model(config: RunConfig) -> nn.Module:
    """Return the config's model with fresh parameters."""
    return models.create(config.model, len(config.classes), config.channels, (config.height, config.width))


def load_model(config: RunConfig, folder: RunFolder) -> nn.Module:
    """Return the trained model of a run, in evaluation mode.

    Raises
    ------
    ValueError
        If the file is damaged, or does not fit the config.
    OSError
        If it cannot be read.
    """
    model = build_model(config)
    state = load_file(folder.model)
    try:
        model.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        # PyTorch's message has a line for each key.
        raise ValueError(f"{folder.model}: does not fit {folder.config}: {' '.join(str(error).split())}") from error
    return model.eval()


def build_trainer(config: RunConfig, model: nn.Module, batches: int, callbacks: Sequence[Callback]) -> Trainer:
    """Return a trainer for a model, with the config's optimizer and schedule.

    Parameters
    ----------
    config : RunConfig
    model : nn.Module
    batches : int
        How many an epoch has.
    callbacks : sequence of Callback
    """
    optimizer = _optimizer(config, model)
    scheduler, interval = _scheduler(config, optimizer, batches)
    return Trainer(model, optimizer, nn.CrossEntropyLoss(), scheduler, callbacks, scheduler_interval=interval,
                   compile=not config.eager, tiered=config.backend == AUTO)  # fmt: skip


def training_loader(config: RunConfig, dataset: ImageDataset, workers: int) -> DataLoader:
    """Return the loader of the training part: shuffled, augmented, normalised."""
    augmentation: list[Transform] = []
    if "crop" in config.augment:
        # An eighth of the image is what is usual for 32x32, and one pixel for 8x8.
        padding = (max(1, config.width // 8), max(1, config.height // 8))
        augmentation.append(RandomCrop((config.height, config.width), padding))
    if "flip" in config.augment:
        augmentation.append(RandomHorizontalFlip())
    transform = Compose([*augmentation, normalisation(config)])
    return DataLoader(
        dataset, config.batch_size, shuffle=True, num_workers=workers, transform=transform, seed=config.seed
    )


def evaluation_loader(config: RunConfig, dataset: ImageDataset, workers: int = 0) -> DataLoader:
    """Return the loader of the test part: in order, normalised."""
    return DataLoader(dataset, EVALUATION_BATCH, num_workers=workers, transform=normalisation(config), seed=config.seed)


def normalisation(config: RunConfig) -> Normalize:
    """Return what every image goes through before the model."""
    return Normalize(config.mean, config.std)


def predict(model: nn.Module, config: RunConfig, images: np.ndarray) -> np.ndarray:
    """Return the probability of each class.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    config : RunConfig
    images : numpy.ndarray
        float32 in 0..1, shape (N, C, H, W).

    Returns
    -------
    numpy.ndarray
        float64, shape (N, classes).
    """
    normalise = normalisation(config)
    # A plan is worth making for batches that come again.
    steps = Steps(model, compile=not config.eager and len(images) > EVALUATION_BATCH)
    logits = []
    with no_grad():
        for begin in range(0, len(images), EVALUATION_BATCH):
            batch = normalise(np.asarray(images[begin : begin + EVALUATION_BATCH], dtype=np.float32))
            logits.append(steps.predict(from_numpy(batch)).numpy())
    return softmax(np.concatenate(logits).astype(np.float64), axis=1)


def mean_and_std(dataset: ImageDataset) -> tuple[list[float], list[float]]:
    """Measure mean and standard deviation of each channel, over at most 10,000 images spread over the data set.

    Examples
    --------
    >>> from nnfast.data import ArrayDataset
    >>> images = np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1, 1)
    >>> mean_and_std(ArrayDataset(images, [0, 1]))
    ([0.5], [0.5])
    """
    chosen = np.linspace(0, len(dataset) - 1, min(len(dataset), _MOST_IMAGES_TO_MEASURE)).astype(np.int64)
    total: Any = 0.0
    squares: Any = 0.0
    pixels = 0
    for begin in range(0, len(chosen), EVALUATION_BATCH):
        images = dataset.take(chosen[begin : begin + EVALUATION_BATCH])[0]
        channels = images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1]).astype(np.float64)
        total = total + channels.sum(axis=0)
        squares = squares + np.square(channels).sum(axis=0)
        pixels += len(channels)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - np.square(mean), 0.0))
    # A constant channel has nothing to scale; rounded, for a file that people read.
    return [round(value, 6) for value in mean.tolist()], [round(value, 6) or 1.0 for value in std.tolist()]


def check_data(config: RunConfig, folder: RunFolder, data: str, dataset: ImageDataset) -> None:
    """Refuse data of another shape or with other classes than a run's.

    Raises
    ------
    ValueError
        It names the data and the run.
    """
    shape = tuple(dataset.images.shape[1:])
    if shape != config.shape:
        found, expected = ("x".join(map(str, sizes)) for sizes in (shape, config.shape))
        raise ValueError(f"{data}: has images of {found}, {folder.path} was trained on {expected}")
    if dataset.classes != config.classes:
        raise ValueError(f"{data}: has classes {_listed(dataset.classes)}, {folder.path} was trained on "
                         f"{_listed(config.classes)}")  # fmt: skip


def _optimizer(config: RunConfig, model: nn.Module) -> Optimizer:
    classes = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW, "adagrad": optim.Adagrad,
               "rmsprop": optim.RMSprop, "adadelta": optim.Adadelta}  # fmt: skip
    arguments: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer in WITH_MOMENTUM:
        arguments["momentum"] = config.momentum
    return classes[config.optimizer](model.parameters(), **arguments)


def _scheduler(config: RunConfig, optimizer: Optimizer, batches: int) -> tuple[Any, str | None]:
    """Return the schedule, and whether it makes its step each batch or each epoch."""
    schedules = optim.lr_scheduler
    steps = config.epochs * batches
    if config.schedule == "onecycle":
        # Momentum stays where it is set: as a constant it can be chosen by --momentum.
        return schedules.OneCycleLR(optimizer, config.lr, total_steps=steps, cycle_momentum=False), "batch"
    if config.schedule == "cosine":
        return schedules.CosineAnnealingLR(optimizer, T_max=steps), "batch"
    if config.schedule == "step":
        return schedules.StepLR(optimizer, step_size=-(-config.epochs // 3), gamma=0.1), "epoch"
    return None, None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:10])}, ... ({len(names)})"
