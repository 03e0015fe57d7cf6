import numpy as np
import pytest

import kerascnn
from kerascnn import models, registry
from kerascnn.weights import torch_tables
from kerascnn.weights.names import translate
from tools import golden

SMALL = {"input_shape": (33, 32, 3), "num_classes": 3}


def test_stages_are_the_papers():
    # Table 1 but for its first convolution, which pads: 111, 55, 27, 13, and fire2 to fire9 have 128 to 512 channels.
    model = models.squeezenet1_0(input_shape=(227, 227, 3), initializer="zeros")
    stages = [model.get_layer(f"stage{i}").output.shape[1:] for i in range(1, 5)]
    assert stages == [(111, 111, 96), (55, 55, 256), (27, 27, 512), (13, 13, 512)]


def test_the_classifier_stands_ahead_of_the_pool():
    model = golden.fill(models.squeezenet1_1(**SMALL))
    last = [layer.name for layer in model.layers[-4:]]
    assert last == ["dropout", "logits", "logits_act", "pool"]
    assert model.get_layer("logits").output.shape[1:3] == model.get_layer("stage4").output.shape[1:3]
    assert np.asarray(model(golden.images((33, 32, 3)))).min() >= 0
    assert models.squeezenet1_1(**SMALL | {"num_classes": 0}).output_shape == (None, 512)


@pytest.mark.parametrize(("name", "side"), [("squeezenet1_0", 21), ("squeezenet1_1", 17)])
def test_the_least_size(name, side):
    assert registry.lookup(name).spec.min_size == side  # torchvision's own
    for fields in ({}, {"padding": "same"}, {"fractional_pool": 1.4}):
        least = registry.override(registry.lookup(name), fields).min_size
        model = kerascnn.create_model(name, input_shape=(least, least, 1), num_classes=0, pooling=None, **fields)
        assert model.output_shape == (None, 1, 1, 512)
    with pytest.raises(ValueError, match=f"images must be {side}x{side} or larger"):
        kerascnn.create_model(name, input_shape=(side - 1, side, 1))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"expand": 7}, "expand must be even, as half of the filters are 1x1, not 7"),
        ({"pooling": "catavgmax"}, "would give each class twice: set pooling='avg' or 'max'"),
    ],
)
def test_what_cannot_be_is_said(fields, says):
    with pytest.raises(ValueError, match=says):
        models.squeezenet1_0(**fields)


def test_names_of_torchvision():
    rules = torch_tables.TABLES["squeezenet"]["torchvision"](registry.lookup("squeezenet1_0").spec)
    names = {
        "stage1_conv1": "features.0",
        "stage2_block3_conv1": "features.5.squeeze",
        "stage3_block1_conv2a": "features.7.expand1x1",
        "stage4_block1_conv2b": "features.12.expand3x3",
        "logits": "classifier.1",
    }
    assert {name: translate(rules, name) for name in names} == names
