import numpy as np
import pytest

from kerascnn import models, weights
from tools import golden

SMALL = {"depths": (2, 1, 1, 2), "growth": 4, "input_shape": (32, 32, 3), "num_classes": 3}
CIFAR = {"depths": (2, 3), "num_classes": 3}


def test_each_layer_adds_its_growth_behind_what_came_before():
    model = models.densenet121(**SMALL)
    widths = [model.get_layer(f"stage1_block{j}_concat").output.shape[-1] for j in (1, 2)]
    assert widths == [12, 16]
    first, new = model.get_layer("stage1_block1_concat").input
    assert first is model.get_layer("stem_pool").output
    assert new is model.get_layer("stage1_block1_conv2").output
    assert [model.get_layer(f"stage1_block1_conv{n}").filters for n in (1, 2)] == [16, 4]


def test_stages_end_ahead_of_the_transitions():
    model = models.densenet121(**SMALL)
    assert [tuple(model.get_layer(f"stage{i}").output.shape[1:]) for i in range(1, 5)] == [
        (8, 8, 16), (4, 4, 12), (2, 2, 10), (1, 1, 13),
    ]  # fmt: skip
    assert model.get_layer("stage2_transition_norm").input is model.get_layer("stage1").output
    assert model.get_layer("stage4").input is model.get_layer("stage4_act").output


def test_the_papers_depth_and_channels():
    assert 3 * 2 * 16 + 4 == 100  # a stem, two transitions and a classifier
    model = models.densenet_bc100_cifar()
    assert model.get_layer("stem_conv").filters == 2 * 12
    convs = [layer for layer in model.layers if "conv" in layer.name]
    assert len(convs) == 99
    # What stays of 24 + 16 * 12 channels, and of what comes then.
    assert [model.get_layer(f"stage{i}_transition_conv").filters for i in (2, 3)] == [108, 150]


def test_compression():
    model = models.densenet_bc100_cifar(**CIFAR, compression=1)
    assert model.get_layer("stage2_transition_conv").filters == 24 + 2 * 12
    model = models.densenet_bc100_cifar(**CIFAR, compression=1e-3)
    assert model.get_layer("stage2_transition_conv").filters == 1


def test_switches_reach_the_layers():
    model = models.densenet121(**SMALL, conv_dropout=0.2, bn_size=2, fractional_pool=1.5, activation="maxout")
    assert model.get_layer("stage4_block2_dropout").rate == 0.2
    assert model.get_layer("stage1_block1_conv1").filters == 2 * 2 * 4
    assert type(model.get_layer("stem_pool")).__name__ == "FractionalMaxPooling2D"
    form = weights.form("keras", "densenet121")
    norm = models.densenet121(**SMALL, **form).get_layer("stage2_transition_norm")
    assert (norm.epsilon, norm.momentum) == (1.001e-5, 0.99)
    assert weights.form("keras", "densenet_bc100_cifar") == {}


@pytest.mark.parametrize("norm", ["group", "layer", "instance", "none"])
def test_norms(norm):
    model = models.densenet_bc100_cifar(**CIFAR, norm=norm, padding="same", input_shape=(None, None, 1))
    assert np.isfinite(model(golden.images((9, 13, 1)))).all()
    convs = [layer for layer in model.layers if "conv" in layer.name]
    assert {layer.use_bias for layer in convs} == {norm == "none"}


@pytest.mark.parametrize(
    "fields", [{"input_shape": (29, 30, 1)}, {"input_shape": (31, 40, 1), "fractional_pool": 1.99}]
)
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_the_least_size(fields, padding):
    model = models.densenet121(**SMALL | fields, padding=padding)
    assert np.isfinite(model(golden.images(fields["input_shape"]))).all()


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("densenet121", {"input_shape": (28, 32, 3)}, "densenet121: images must be 29x29 or larger, not 28x32"),
        ("densenet121", {"input_shape": (30, 32, 3), "fractional_pool": 1.5}, "images must be 31x31 or larger"),
        ("densenet121", {"compression": 0.0}, "compression must be more than 0, and 1 or less, not 0.0"),
        ("densenet121", {"compression": 1.5}, "compression must be more than 0, and 1 or less, not 1.5"),
        ("densenet121", {"drop_path": 0.1}, "densenet121 has no field 'drop_path'"),
        ("densenet_bc100_cifar", {"fractional_pool": 1.5}, "has no field 'fractional_pool'"),
        ("densenet_bc100_cifar", {"input_shape": (3, 8, 3)}, "images must be 4x4 or larger, not 3x8"),
    ],
)
def test_what_cannot_be_is_said(name, fields, says):
    with pytest.raises(ValueError, match=says):
        models.create_model(name, **fields)
