import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import models, registry
from kerascnn.weights import keras_names, torch_tables
from kerascnn.weights.names import translate

SMALL = {"input_shape": (64, 64, 3), "num_classes": 3, "middle": 1, "initializer": "zeros"}


def test_stages_are_the_papers():
    # Figure 5: 19x19x728 through the middle flow.
    stages = [tuple(shape) for shape in registry.facts()["xception"]["stages"].values()]
    assert stages == [(147, 147, 64), (74, 74, 128), (37, 37, 256), (19, 19, 728), (10, 10, 2048)]


@pytest.mark.parametrize(
    ("name", "layers"), [("xception", 36), ("xception41", 41), ("xception65", 65), ("xception71", 71)]
)
def test_depth_is_in_the_name(name, layers):
    filters = [row.filters for row in registry.lookup(name).spec.rows]
    assert 2 + sum(map(len, filters)) == layers  # the stem has two


def test_plain_blocks_pool_and_aligned_ones_stride():
    plain, aligned = models.xception(**SMALL), models.xception41(**SMALL)
    assert isinstance(plain.get_layer("stage2_block1_pool"), keras.layers.MaxPooling2D)
    assert plain.get_layer("stage2_block1_conv3").strides == (1, 1)
    assert aligned.get_layer("stage2_block1_conv5").strides == (2, 2)
    names = {layer.name for layer in plain.layers}, {layer.name for layer in aligned.layers}
    assert "stage2_block1_norm1" not in names[0] and "stage2_block1_norm1" in names[1]
    assert all("stage2_block1_preact_act" not in found for found in names), "the stem ends with an activation"
    assert all("stage3_block1_preact_act" in found for found in names)
    assert "stage5_block2_add" not in names[0] | names[1]


def test_preact_shortcuts_see_the_norm():
    model = models.xception41p(**SMALL)
    assert model.get_layer("stage4_block2_add").input[0] is model.get_layer("stage4_block2_preact_act").output
    assert model.get_layer("stage2_block1_shortcut_conv").input is model.get_layer("stage2_block1_preact_act").output
    assert model.layers[-4].name == "stage5_act"


@pytest.mark.parametrize("name", ["xception", "xception41", "xception41p"])
def test_a_block_can_start_as_its_shortcut(name):
    model = kerascnn.create_model(name, **SMALL | {"initializer": "he_normal"}, zero_init_residual=True, drop_path=0.3)
    last = "stage4_block2_conv6" if name == "xception41p" else "stage4_block2_norm6"
    assert not np.any(model.get_layer(last).weights[0])
    assert model.get_layer("stage4_block2_drop_path").rate == pytest.approx(0.3 * 4 / 6)


@pytest.mark.parametrize("name", ["xception", "xception41", "xception41p"])
def test_output_stride(name):
    model = kerascnn.create_model(name, **SMALL, output_stride=8)
    assert model.get_layer("stage5").output.shape[1] == 8
    dilations = [model.get_layer(f"stage{i}_block1_conv1").dilation_rate[0] for i in (2, 3, 4, 5)]
    assert dilations == [1, 1, 1, 2]
    assert model.get_layer("stage5_block2_conv1").dilation_rate == (4, 4)


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("xception", {"input_shape": (6, 7, 3)}, "xception: images must be 7x7 or larger, not 6x7"),
        ("xception", {"form": "plane"}, "form must be plain, aligned or preact, not 'plane': did you mean plain?"),
        ("xception41", {"exit": ()}, "entry and exit need a block each, or more"),
    ],
)
def test_what_cannot_be_is_said(name, fields, says):
    with pytest.raises(ValueError, match=says.replace("?", r"\?")):
        kerascnn.create_model(name, **fields)


NAMES = {
    "xception": {
        "stem_norm2": "bn2",
        "stage2_block1_conv1": "block1.rep.0.conv1",
        "stage2_block1_norm4": "block1.rep.4",
        "stage4_block9_conv6": "block11.rep.7.pointwise",
        "stage5_block1_shortcut_norm": "block12.skipbn",
        "stage5_block2_conv4": "conv4.pointwise",
        "stage5_block2_norm2": "bn3",
        "logits": "fc",
    },
    "xception41": {
        "stem_conv2": "stem.1.conv",
        "stage3_block1_norm5": "blocks.1.stack.conv3.bn_dw",
        "stage4_block9_conv2": "blocks.10.stack.conv1.conv_pw",
        "stage5_block1_shortcut_norm": "blocks.11.shortcut.bn",
        "logits": "head.fc",
    },
    "xception41p": {
        "stem_norm1": "stem.0.bn",
        "stem_conv2": "stem.1",
        "stage2_block1_preact_norm": "blocks.0.norm",
        "stage2_block1_norm2": "blocks.0.stack.conv2.norm",
        "stage2_block1_shortcut_conv": "blocks.0.shortcut",
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_timm(name):
    rules = torch_tables.TABLES["xception"]["timm"](registry.lookup(name).spec)
    assert {ours: translate(rules, ours) for ours in NAMES[name]} == NAMES[name]


def test_names_of_keras():
    rules = keras_names.TABLES["xception"](registry.lookup("xception").spec)
    names = {
        "stem_norm1": "block1_conv1_bn",
        "stage2_block1_conv1": "block2_sepconv1/depthwise",
        "stage4_block9_conv6": "block12_sepconv3/pointwise",
        "stage5_block1_shortcut_conv": "conv2d_4",
        "stage5_block2_norm4": "block14_sepconv2_bn",
    }
    assert {ours: translate(rules, ours) for ours in names} == names
