"""Keras' training step on TensorFlow. Imported by the interpreter that has them."""

from __future__ import annotations

import os
from collections.abc import Callable

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")  # both are read on import

import keras
import numpy as np
import tensorflow as tf

from bench.keras_models import build
from bench.models import CLASSES

VERSION = f"{tf.__version__}, Keras {keras.__version__}"


def training_step(model: str, batch: int, threads: int, variant: str, size: int = 0) -> Callable[[], float]:
    """Forward, backward and Adam on one batch, always the same, by ``train_on_batch``; there is one variant."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    network = build(model, size)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *network.input_shape[1:]), np.float32)
    y = rng.integers(0, CLASSES, batch)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(1e-3), loss)
    return lambda: network.train_on_batch(x, y)
