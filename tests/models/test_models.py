"""The ready-made networks: shapes, sizes and names as others have them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from nnfast.kernels import launch

from nnfast import models, nn, optim
from nnfast.grad_mode import no_grad
from nnfast.tensor import tensor

# Counted by hand from the layers' definitions in the papers and in pytorch/examples; torchvision's resnet18 has
# 11,689,512 with 1000 classes, a 7x7 stem on 3 channels (9,408 rather than 1,728 weights).
PARAMETERS = {
    "digits-cnn": 16 * 9 + 32 + 32 * 16 * 9 + 64 + 48 * 32 * 9 + 96 + 48 * 4 * 10 + 10,
    "mnist-cnn": 1_199_882,
    "lenet5": 61_706,
    "vgg-small": 1_187_274,
    "resnet20": 272_474,
    "resnet18": 11_689_512 - 513_000 + 5_130 - 9_408 + 1_728,
    "mobilenetv2": 2_236_682,
}


def test_models_and_initial_values_need_no_kernel(monkeypatch):
    """A first step on one backend would otherwise wait for another one's kernels."""
    monkeypatch.setattr(launch, "run", lambda name, *_: pytest.fail(f"{name} was run"))
    for name in models.names():
        optim.AdamW(models.create(name).parameters())
    weight = nn.Conv2d(3, 4, 3).weight
    for initialise in (nn.init.zeros_, nn.init.ones_, nn.init.kaiming_normal_, nn.init.xavier_uniform_):
        initialise(weight)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def logits(model, *shape):
    with no_grad():
        return model.eval()(tensor(np.zeros(shape, np.float32))).numpy()


def test_every_network_is_listed_here():
    assert models.names() == list(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_number_of_parameters(name):
    assert count(models.create(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_maps_images_to_logits(name):
    channels, height, width = models.default_shape(name)
    output = logits(models.create(name, num_classes=7), 2, channels, height, width)
    assert output.shape == (2, 7)
    assert np.isfinite(output).all()


@pytest.mark.parametrize("name", PARAMETERS)
def test_takes_other_channels_and_sizes(name):
    output = logits(models.create(name, 3, in_channels=2, image_size=(24, 32)), 1, 2, 24, 32)
    assert output.shape == (1, 3)


def test_resnet_has_torchvisions_keys():
    keys = list(models.create("resnet18").state_dict())
    assert keys[:6] == ["conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
                        "bn1.num_batches_tracked"]  # fmt: skip
    assert "layer1.0.conv1.weight" in keys
    assert "layer2.0.downsample.0.weight" in keys
    assert "layer2.0.downsample.1.running_var" in keys
    assert not any(key.startswith("layer1.0.downsample") for key in keys)
    assert "layer4.1.bn2.bias" in keys
    assert keys[-2:] == ["fc.weight", "fc.bias"]
    assert len(keys) == 122  # as torchvision's


def test_mobilenetv2_has_torchvisions_keys():
    keys = list(models.create("mobilenetv2").state_dict())
    assert keys[0] == "features.0.0.weight"
    assert "features.1.conv.0.0.weight" in keys  # the block without a widening layer
    assert "features.1.conv.1.weight" in keys
    assert "features.2.conv.1.0.weight" in keys
    assert "features.17.conv.3.running_mean" in keys
    assert "features.18.1.bias" in keys
    assert keys[-2:] == ["classifier.1.weight", "classifier.1.bias"]
    assert len(keys) == 314  # as torchvision's


def test_where_images_shrink():
    resnet, mobilenet = models.create("resnet20"), models.create("mobilenetv2")
    assert logits(resnet.layer1, 1, 16, 32, 32).shape == (1, 16, 32, 32)
    assert logits(resnet.layer2, 1, 16, 32, 32).shape == (1, 32, 16, 16)
    assert logits(resnet.layer3, 1, 32, 16, 16).shape == (1, 64, 8, 8)
    assert logits(mobilenet.features, 1, 3, 32, 32).shape == (1, 1280, 4, 4)


def test_mnist_cnn_has_the_keys_of_pytorchs_example():
    layers = ("conv1", "conv2", "fc1", "fc2")
    assert list(models.create("mnist-cnn").state_dict()) == [
        f"{n}.{part}" for n in layers for part in ("weight", "bias")
    ]


def test_initialisation_follows_the_seed():
    from nnfast.random import seed_everything

    weights = []
    for seed in (0, 0, 1):
        seed_everything(seed)
        weights.append(models.create("resnet20").state_dict()["layer1.0.conv1.weight"].numpy().copy())
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_residual_networks_begin_with_kaimings_spread():
    weight = models.create("resnet18").state_dict()["layer3.0.conv1.weight"].numpy()  # from 128 channels to 256
    assert weight.std() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("function", [models.create, models.default_shape])
def test_an_unknown_name_lists_the_known_ones(function):
    with pytest.raises(
        ValueError, match=re.escape(f"models: there is no 'resnet21', expected one of {', '.join(PARAMETERS)}")
    ):
        function("resnet21")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0, expected a positive integer"),
        ({"num_classes": 2.5}, "num_classes is 2.5"),
        ({"num_classes": True}, "num_classes is True"),
        ({"in_channels": -1}, "in_channels is -1"),
        ({"image_size": (28, 0)}, "image_size is 0"),
    ],
)
def test_create_refuses(arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"models.create: {message}")):
        models.create("lenet5", **arguments)


@pytest.mark.parametrize(("name", "size"), [("lenet5", (11, 28)), ("mnist-cnn", (28, 5)), ("vgg-small", (7, 8)),
                                            ("digits-cnn", (3, 8))])  # fmt: skip
def test_images_that_vanish_are_refused(name, size):
    with pytest.raises(ValueError, match=f"models.create: {name} cannot take images of {size[0]}x{size[1]}"):
        models.create(name, image_size=size)


@pytest.mark.parametrize(("name", "size"), [("lenet5", (12, 12)), ("mnist-cnn", (6, 6)), ("vgg-small", (8, 8)),
                                            ("digits-cnn", (4, 4))])  # fmt: skip
def test_the_smallest_images_do_not_vanish(name, size):
    channels = models.default_shape(name)[0]
    assert logits(models.create(name, image_size=size), 1, channels, *size).shape == (1, 10)
