import keras
import numpy as np
import pytest
import tensorflow as tf

import kerascnn
from kerascnn import models, registry
from kerascnn.weights import torch_tables
from kerascnn.weights.names import translate
from tools import golden

AUX = {"input_shape": (32, 33, 3), "num_classes": 3, "include_aux": True}


@pytest.fixture(scope="module")
def googlenet():
    return models.googlenet()


def test_stages_are_the_papers(googlenet):
    # Table 1: "output size" behind each module.
    modules = {
        "stage3_block1": (28, 28, 256), "stage3_block2": (28, 28, 480), "stage4_block1": (14, 14, 512),
        "stage4_block2": (14, 14, 512), "stage4_block3": (14, 14, 512), "stage4_block4": (14, 14, 528),
        "stage4_block5": (14, 14, 832), "stage5_block1": (7, 7, 832), "stage5_block2": (7, 7, 1024),
    }  # fmt: skip
    found = {name: googlenet.get_layer(f"{name}_concat").output.shape[1:] for name in modules}
    assert found == modules
    sides = [googlenet.get_layer(f"stage{i}").output.shape[1] for i in range(1, 6)]
    assert sides == [112, 56, 28, 14, 7]


def test_parameters_are_torchvisions(googlenet):
    assert kerascnn.complexity(googlenet).trainable_params == 6_624_904


def test_with_5x5_and_biases_it_is_the_papers_but_for_response_normalisation():
    # Each module of Table 1 has its parameters counted there without biases, in thousands: 3a has 159K.
    rows = kerascnn.complexity(models.googlenet(large_kernel=5, norm="none")).layers
    first = [row for row in rows if row.name.startswith("stage3_block1") and row.params]
    weights = sum(row.params - row.output_shape[-1] for row in first)
    assert weights == 163_328
    assert weights // 1024 == 159
    # As Caffe's bvlc_googlenet has it without the auxiliary classifiers.
    assert sum(row.params for row in rows) == 6_998_552


def test_auxiliary_classifiers():
    model = golden.fill(models.googlenet(**AUX))
    logits, aux1, aux2 = model(golden.images((32, 33, 3)))
    assert logits.shape == aux1.shape == aux2.shape == (2, 3)
    plain = golden.fill(models.googlenet(**AUX | {"include_aux": False}))
    np.testing.assert_array_equal(np.asarray(plain(golden.images((32, 33, 3)))), np.asarray(logits))
    for i, behind in ((1, "stage4_block1_concat"), (2, "stage4_block4_concat")):
        assert model.get_layer(f"aux{i}_pool").input is model.get_layer(behind).output
        assert model.get_layer(f"aux{i}_dense1").kernel.shape == (2048, 1024)
        assert model.get_layer(f"aux{i}_dropout").rate == 0.7
    assert model.get_layer("dropout").rate == 0.2


def test_auxiliary_classifiers_get_gradients_and_survive_saving(tmp_path):
    model = golden.fill(models.googlenet(**AUX))
    x = golden.images((32, 33, 3))
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_sum(y * golden.images(y.shape[1:])) for y in model(x))
    weights = [w for w in model.trainable_weights if w.path.startswith("aux")]
    assert len(weights) == 2 * 7
    for weight, gradient in zip(weights, tape.gradient(loss, [w.value for w in weights]), strict=True):
        assert np.isfinite(gradient).all(), weight.path
        assert np.any(gradient), weight.path
    model.save(tmp_path / "model.keras")
    for loaded, saved in zip(kerascnn.load_model(tmp_path / "model.keras")(x), model(x), strict=True):
        np.testing.assert_array_equal(np.asarray(loaded), np.asarray(saved))


@pytest.mark.parametrize("side", [15, 16, 17])
def test_any_size_from_15_on(side):
    model = models.googlenet(input_shape=(side, 48, 1), num_classes=0, pooling=None)
    assert model.output_shape == (None, 1, 2, 1024)


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_the_least_size_follows_the_table(stages):
    modules = [[[1] * 6]] * stages
    side = registry.override(registry.lookup("googlenet"), {"modules": modules}).min_size
    fields = {"modules": modules, "num_classes": 0, "pooling": None}
    assert models.googlenet(input_shape=(side, side, 1), **fields).output_shape == (None, 1, 1, 4)
    with pytest.raises(ValueError, match=f"images must be {side}x{side} or larger"):
        models.googlenet(input_shape=(side - 1, side, 1), **fields)


def test_switches_reach_the_layers():
    model = models.googlenet(
        input_shape=(33, 33, 3), norm="batch", activation="prelu", fractional_pool=1.41, initializer="zeros",
        pooling="catavgmax", bn_momentum=0.5,
    )  # fmt: skip
    norm = model.get_layer("stage3_block2_branch3_norm2")
    assert (norm.epsilon, norm.momentum) == (1e-3, 0.5)
    assert isinstance(model.get_layer("stage4_block3_branch2_act1"), keras.layers.PReLU)
    assert not np.any(model.get_layer("stage1_conv1").kernel)
    assert model.get_layer("stage5_pool").ratio == 1.41
    assert isinstance(model.get_layer("stage5_block1_branch4_pool"), keras.layers.MaxPooling2D)
    assert model.get_layer("pool").output.shape == (None, 2048)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"include_aux": True, "num_classes": 0}, "num_classes=0 leaves none: set include_aux=False"),
        ({"include_aux": True, "modules": [[[1] * 6]]}, "include_aux=True needs four modules or more in the second"),
        ({"input_shape": (14, 15, 3)}, "googlenet: images must be 15x15 or larger, not 14x15"),
        ({"large_kernel": 7}, "googlenet: large_kernel must be 3 or 5, not 7"),
        ({"bn_epsilon": -1.0}, "googlenet: bn_epsilon must be 0 or more"),
    ],
)
def test_what_cannot_be_is_said(fields, says):
    with pytest.raises(ValueError, match=says):
        kerascnn.create_model("googlenet", **fields)


def test_names_of_torchvision():
    rules = torch_tables.TABLES["inception"]["torchvision"](registry.lookup("googlenet").spec)
    names = {
        "stage1_conv1": "conv1.conv",
        "stage2_norm2": "conv3.bn",
        "stage3_block1_branch1_conv1": "inception3a.branch1.conv",
        "stage4_block5_branch3_norm2": "inception4e.branch3.1.bn",
        "stage5_block2_branch4_conv1": "inception5b.branch4.1.conv",
        "aux1_norm": "aux1.conv.bn",
        "aux2_dense1": "aux2.fc1",
        "aux2_logits": "aux2.fc2",
        "logits": "fc",
    }
    assert {name: translate(rules, name) for name in names} == names
