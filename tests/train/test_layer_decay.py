"""Which weights share a rate, in models with blocks, with stages alone and without either."""

import keras
import pytest

from kerascnn import create_model
from kerascnn.train.layer_decay import depths


def by_layer(model):
    """{layer: its depth}, the same for all its weights."""
    found: dict[str, set[int]] = {}
    for variable, depth in zip(model.trainable_variables, depths(model), strict=True):
        found.setdefault(variable.path.split("/")[0], set()).add(depth)
    assert all(len(depth) == 1 for depth in found.values())
    return {name: depth.pop() for name, depth in found.items()}


def test_each_block_is_a_group():
    found = by_layer(create_model("resnet20_cifar"))
    assert found.pop("logits") == 0
    assert found.pop("stem_conv") == found.pop("stem_norm") == 10
    for name, depth in found.items():
        stage, block = int(name[5]), int(name.split("_block")[1][0])
        assert depth == 9 - (3 * (stage - 1) + block - 1), name


def test_a_layer_of_a_stage_without_blocks_is_a_group():
    found = by_layer(create_model("lenet5"))
    assert found == {"stage1_conv1": 2, "stage2_conv1": 1, "dense1": 0, "dense2": 0, "logits": 0}


def test_what_stands_behind_the_last_stage_is_the_head():
    found = by_layer(create_model("mobilenet_v2", input_shape=(32, 32, 3)))
    assert found["head_conv"] == found["head_norm"] == found["logits"] == 0
    assert found["stage5_block4_conv3"] == 1 and found["stage5_block1_norm1"] == 4
    assert found["stage1_block1_conv2"] == 17
    assert found["stem_conv"] == found["stem_norm"] == 18


def test_auxiliary_heads_are_heads_though_they_branch_off_earlier():
    found = by_layer(create_model("googlenet", input_shape=(96, 96, 3), include_aux=True))
    assert {depth for name, depth in found.items() if name.startswith("aux") or name == "logits"} == {0}
    assert {depth for name, depth in found.items() if name.startswith("stage4_block5_")} == {3}
    # A stage without blocks: each convolution with its norm
    assert found["stage2_conv2"] == found["stage2_norm2"] == 10 and found["stage1_conv1"] == found["stage1_norm1"] == 12


@pytest.mark.slow  # DenseNet takes 10 s to build
def test_transitions_are_groups_and_the_last_norm_is_none():
    found = by_layer(create_model("densenet121", input_shape=(32, 32, 3)))
    assert found["stage4_norm"] == found["stage4_block16_conv2"] == 1
    assert found["stage4_block1_conv1"] == 16
    assert found["stage4_transition_norm"] == found["stage4_transition_conv"] == 17
    assert found["stem_conv"] == 58 + 3 + 1


def test_a_model_without_classifier_keeps_a_place_for_it():
    found = by_layer(create_model("resnet20_cifar", num_classes=0))
    assert found["stage3_block3_conv2"] == 1 and found["stem_conv"] == 10


def test_without_names_of_stages_each_layer_is_a_group():
    layers = [keras.layers.Dense(3), keras.layers.ReLU(), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    assert depths(keras.Sequential([keras.Input([4]), *layers])) == [2, 2, 1, 1, 0, 0]


def test_frozen_layers_are_left_out():
    model = create_model("lenet5")
    model.get_layer("stage2_conv1").trainable = False
    assert by_layer(model) == {"stage1_conv1": 2, "dense1": 0, "dense2": 0, "logits": 0}
