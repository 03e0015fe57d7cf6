import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import models, registry
from kerascnn.layers import ChannelShuffle
from kerascnn.weights import torch_tables
from kerascnn.weights.names import translate

SMALL = {"input_shape": (64, 64, 3), "num_classes": 3, "depths": (2, 2, 2)}


def test_channels_are_dealt_out():
    shuffle = ChannelShuffle(2)
    dealt = np.asarray(shuffle(np.arange(6, dtype="float32").reshape(1, 1, 1, 6))).ravel()
    assert dealt.tolist() == [0, 3, 1, 4, 2, 5]
    back = ChannelShuffle(3)(shuffle(np.arange(24, dtype="float32").reshape(1, 2, 2, 6)))
    np.testing.assert_array_equal(np.asarray(back).ravel(), np.arange(24))
    assert ChannelShuffle.from_config(shuffle.get_config()).groups == 2
    assert shuffle(keras.Input((None, None, 6))).shape == (None, None, None, 6)


def test_stages_are_the_papers():
    stages = [tuple(shape) for shape in registry.facts()["shufflenet_v2_x1_0"]["stages"].values()]
    assert stages == [(56, 56, 24), (28, 28, 116), (14, 14, 232), (7, 7, 464)]


def test_half_of_the_channels_pass():
    model = models.shufflenet_v2_x0_5(**SMALL)
    first, second = (model.get_layer(f"stage2_block{j}_concat").input for j in (1, 2))
    assert [x.shape[-1] for x in first] == [x.shape[-1] for x in second] == [24, 24]
    assert first[0] is model.get_layer("stage2_block1_branch1_act2").output
    assert "stage2_block2_branch1_conv1" not in {layer.name for layer in model.layers}
    assert model.get_layer("stage2_block2_branch2_conv1").input.shape[-1] == 24


def test_output_stride():
    model = models.shufflenet_v2_x0_5(**SMALL, output_stride=8)
    assert [model.get_layer(f"stage{i}").output.shape[1] for i in (2, 3, 4)] == [8, 8, 8]
    assert [model.get_layer(f"stage4_block{j}_branch2_conv2").dilation_rate[0] for j in (1, 2)] == [2, 4]


@pytest.mark.parametrize(
    ("widths", "says"),
    [((48, 96), "widths must be 3 numbers, one for each of depths"), ((47, 96, 192), "widths must be even")],
)
def test_what_cannot_be_is_said(widths, says):
    with pytest.raises(ValueError, match=says):
        kerascnn.create_model("shufflenet_v2_x0_5", widths=widths)


def test_names_of_torchvision():
    rules = torch_tables.TABLES["shufflenet_v2"]["torchvision"](registry.lookup("shufflenet_v2_x1_0").spec)
    names = {
        "stem_norm": "conv1.1",
        "stage2_block1_branch1_conv2": "stage2.0.branch1.2",
        "stage3_block8_branch2_norm3": "stage3.7.branch2.6",
        "head_conv": "conv5.0",
        "logits": "fc",
    }
    assert {name: translate(rules, name) for name in names} == names
