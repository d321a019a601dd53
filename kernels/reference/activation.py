"""Activations, element by element, and their gradients.

Gradients take the output `y` where that is enough, so that the input need not be kept. All arrays of one call have one
shape, and outputs may be the same memory as inputs.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit


def relu_forward(x: np.ndarray, y: np.ndarray) -> None:
    """Rectified linear unit: ``y = 0 where x <= 0, x elsewhere``. NaN stays NaN.

    Parameters
    ----------
    x : any shape.
    y : written.

    Notes
    -----
    `torch.nn.functional.relu`. V. Nair, G. E. Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines",
    2010.
    """
    y[...] = np.where(x <= 0, 0, x)


def relu_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """Gradient of ReLU: ``dx = 0 where y <= 0, dy elsewhere`` (also where y is NaN).

    Parameters
    ----------
    dy : gradient of the loss with respect to the output.
    y : the output of `relu_forward` (its input does as well).
    dx : written.
    """
    dx[...] = np.where(y <= 0, 0, dy)


def relu6_forward(x: np.ndarray, y: np.ndarray) -> None:
    """ReLU that saturates at 6: ``y = min(max(x, 0), 6)``. NaN stays NaN.

    Parameters
    ----------
    x : any shape.
    y : written.

    Notes
    -----
    `torch.nn.functional.relu6`. A. Krizhevsky, "Convolutional Deep Belief Networks on CIFAR-10", 2010.
    """
    y[...] = np.clip(x, 0, 6)


def relu6_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """Gradient of ReLU6: ``dx = dy where 0 < y < 6, 0 elsewhere`` (also where y is NaN).

    Parameters
    ----------
    dy : gradient of the loss with respect to the output.
    y : the output of `relu6_forward` (its input does as well).
    dx : written.

    Notes
    -----
    For NaN PyTorch's own answer is 0 or dy, depending on the element's place in a vector register.
    """
    dx[...] = np.where((y > 0) & (y < 6), dy, 0)


def leaky_relu_forward(x: np.ndarray, y: np.ndarray, negative_slope: float) -> None:
    """ReLU that lets a little through: ``y = x where x > 0, negative_slope * x elsewhere``.

    Parameters
    ----------
    x : any shape.
    y : written.
    negative_slope : the slope below 0.

    Notes
    -----
    `torch.nn.functional.leaky_relu`. A. L. Maas, A. Y. Hannun, A. Y. Ng, "Rectifier Nonlinearities Improve Neural
    Network Acoustic Models", 2013.
    """
    # np.where takes both branches everywhere: the one not chosen must not warn (0 * inf, or an overflow).
    with np.errstate(invalid="ignore", over="ignore"):
        y[...] = np.where(x > 0, x, negative_slope * x)


def leaky_relu_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray, negative_slope: float) -> None:
    """Gradient of leaky ReLU: ``dx = dy where x > 0, negative_slope * dy elsewhere``.

    Parameters
    ----------
    dy : gradient of the loss with respect to the output.
    x : the input of `leaky_relu_forward`.
    dx : written.
    negative_slope : the slope below 0.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # as in leaky_relu_forward
        dx[...] = np.where(x > 0, dy, negative_slope * dy)


def sigmoid_forward(x: np.ndarray, y: np.ndarray) -> None:
    """Logistic function: ``y = 1 / (1 + exp(-x))``, computed without overflow: 0 at -1000, 1 at 1000.

    Parameters
    ----------
    x : any shape.
    y : written.

    Notes
    -----
    `torch.sigmoid`.
    """
    y[...] = expit(x)


def sigmoid_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """Gradient of the logistic function: ``dx = dy * (1 - y) * y``.

    Parameters
    ----------
    dy : gradient of the loss with respect to the output.
    y : the output of `sigmoid_forward`.
    dx : written.
    """
    dx[...] = dy * (1 - y) * y


def tanh_forward(x: np.ndarray, y: np.ndarray) -> None:
    """Hyperbolic tangent: ``y = tanh(x)``.

    Parameters
    ----------
    x : any shape.
    y : written.

    Notes
    -----
    `torch.tanh`.
    """
    y[...] = np.tanh(x)


def tanh_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """Gradient of the hyperbolic tangent: ``dx = dy * (1 - y**2)``.

    Parameters
    ----------
    dy : gradient of the loss with respect to the output.
    y : the output of `tanh_forward`.
    dx : written.
    """
    dx[...] = dy * (1 - y * y)
