"""How each ready-made model is trained unless told otherwise."""

from __future__ import annotations

from typing import NamedTuple


class Recipe(NamedTuple):
    """Defaults of ``nnfast train``; the fields are those of ``RunConfig``."""

    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    schedule: str
    augment: str


# The digits: 99.3 % on the held-out split as a mean over 8 seeds, 99.2 % at least; shifts by one pixel are all that 8x8
# images can take. MNIST: 98.9 to 99.0 % after 2 epochs. Colour images: the papers' settings of SGD, with the learning
# rate in one cycle (Smith and Topin 2018), which suits any number of epochs.
_RECIPES = {
    "digits-cnn": Recipe(12, 64, "adamw", 0.01, 0.0, 0.01, "onecycle", "crop"),
    "mnist-cnn": Recipe(4, 128, "adamw", 0.004, 0.0, 0.01, "onecycle", "none"),
    "lenet5": Recipe(8, 64, "adamw", 0.003, 0.0, 0.01, "onecycle", "none"),
    "vgg-small": Recipe(20, 128, "sgd", 0.05, 0.9, 5e-4, "onecycle", "crop-flip"),
    "resnet20": Recipe(30, 128, "sgd", 0.1, 0.9, 5e-4, "onecycle", "crop-flip"),
    "resnet18": Recipe(30, 128, "sgd", 0.1, 0.9, 5e-4, "onecycle", "crop-flip"),
    "mobilenetv2": Recipe(30, 128, "sgd", 0.1, 0.9, 4e-5, "onecycle", "crop-flip"),
}

# Where another optimizer than the recipe's is asked for, the recipe's learning rate means nothing: PyTorch's defaults,
# but for SGD, whose 0.001 is far too small here.
USUAL_LR = {"sgd": 0.05, "adam": 1e-3, "adamw": 1e-3, "adagrad": 1e-2, "rmsprop": 1e-3, "adadelta": 1.0}


def recipe(model: str) -> Recipe:
    """Return the defaults for a model.

    Examples
    --------
    >>> recipe("resnet20").augment
    'crop-flip'
    """
    return _RECIPES[model]


def usual_model(channels: int, height: int, width: int) -> str:
    """Return the model that images of a shape get unless one is named.

    Examples
    --------
    >>> usual_model(1, 8, 8), usual_model(1, 28, 28), usual_model(3, 32, 32)
    ('digits-cnn', 'mnist-cnn', 'resnet20')
    """
    if max(height, width) < 16:
        return "digits-cnn"
    return "mnist-cnn" if channels == 1 and max(height, width) <= 32 else "resnet20"
