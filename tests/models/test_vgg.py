import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import models, registry
from kerascnn.weights import torch_names, torch_tables
from kerascnn.weights.names import named_weights, translate
from tools import golden

SMALL = {"input_shape": (32, 45, 1), "num_classes": 3, "widths": (2, 2, 4, 4, 4), "hidden": (8, 8)}


def test_vgg16_layer_by_layer():
    # MISSION.md's table, in order.
    rows = kerascnn.complexity(models.vgg16(initializer="zeros")).layers
    found = [row.params or "pool" for row in rows if row.params or row.kind == "MaxPooling2D"]
    # fmt: off
    assert found == [
        1_792, 36_928, "pool", 73_856, 147_584, "pool", 295_168, 590_080, 590_080, "pool",
        1_180_160, 2_359_808, 2_359_808, "pool", 2_359_808, 2_359_808, 2_359_808, "pool",
        102_764_544, 16_781_312, 4_097_000,
    ]
    # fmt: on
    assert sum(row.params for row in rows) == 138_357_544


@pytest.mark.parametrize("side, pooled", [(7, True), (2, True), (1, False)])
def test_fully_connected_layers_see_a_map_of_a_given_side(side, pooled):
    fields = {"depths": (2, 2, 4), "widths": (2, 3, 4), "hidden": (5, 6), "side": side}
    model = kerascnn.create_model("vgg11", num_classes=3, input_shape=(8, 8, 1), **fields)
    assert model.get_layer("dense1").kernel.shape == (4 * side**2, 5)
    assert ("flatten_pool" in [layer.name for layer in model.layers]) == pooled  # three poolings leave one pixel


# Table 2 of the paper, in millions.
@pytest.mark.parametrize(("name", "millions"), [("vgg11", 133), ("vgg13", 133), ("vgg16", 138), ("vgg19", 144)])
def test_the_papers_table_2(name, millions):
    spec = registry.lookup(name).spec
    total, channels = 0, 3
    for depth, width in zip(spec.depths, spec.widths, strict=True):
        for _ in range(depth):
            total, channels = total + (9 * channels + 1) * width, width
    total += (49 * 512 + 1) * 4096 + 4097 * 4096 + 4097 * 1000
    assert round(total / 1e6) == millions
    assert sum(spec.depths) + len(spec.hidden) + 1 == int(name.removeprefix("vgg"))


def test_batch_norm_keeps_biases():
    model = models.vgg11_bn(**SMALL)
    convs = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(convs) == len(norms) == 8
    assert all(conv.use_bias for conv in convs)
    assert not any("norm" in layer.name for layer in models.vgg11(**SMALL).layers)


def test_dropout_stands_behind_each_hidden_layer():
    names = [layer.name for layer in models.vgg11(**SMALL).layers]
    head = ["flatten", "dense1", "dense1_act", "dropout2", "dense2", "dense2_act", "dropout", "logits"]
    assert names[names.index("flatten") :] == head
    assert models.vgg11(**SMALL).get_layer("dropout2").rate == 0.5
    assert not any("dropout" in layer.name for layer in models.vgg11(**SMALL, dropout=0.0).layers)


def test_features_are_the_last_hidden_layers():
    assert models.vgg13(**SMALL | {"num_classes": 0, "hidden": (8, 5)}).output_shape == (None, 5)


def test_the_feature_map_of_any_size():
    fields = SMALL | {"input_shape": (None, None, 1), "num_classes": 0, "pooling": None}
    assert models.vgg11(**fields)(golden.images((64, 97, 1))).shape == (2, 2, 3, 4)


def test_switches_reach_the_layers():
    model = models.vgg11(**SMALL, activation="prelu", fractional_pool=1.41, drop_connect=0.2, initializer="zeros")
    assert isinstance(model.get_layer("stage5_act2"), keras.layers.PReLU)
    assert isinstance(model.get_layer("dense1_act"), keras.layers.PReLU)
    assert model.get_layer("stage1_pool").ratio == 1.41
    assert model.get_layer("logits").rate == 0.2
    assert not np.any(model.get_layer("dense2").kernel)
    assert models.vgg11(**SMALL | {"input_shape": (1, 2, 1)}, fractional_pool=1.41).output_shape == (None, 3)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"input_shape": (None, None, 3)}, "needs a fixed image size: give input_shape="),
        ({"input_shape": (31, 32, 3)}, "vgg11: images must be 32x32 or larger, not 31x32"),
        ({"depths": (1, 1)}, "widths must be 2 numbers, one for each of depths"),
        ({"pooling": "max"}, "vgg11: pooling must be avg or None"),
    ],
)
def test_what_cannot_be_is_said(fields, says):
    with pytest.raises(ValueError, match=says):
        kerascnn.create_model("vgg11", **fields)


@pytest.mark.parametrize(
    ("name", "library", "last"),
    [
        ("vgg16", "torchvision", ("features.28", None, "classifier.0", "classifier.6")),
        ("vgg16_bn", "torchvision", ("features.40", "features.41", "classifier.0", "classifier.6")),
        ("vgg16_bn", "timm", ("features.40", "features.41", "pre_logits.fc1", "head.fc")),
    ],
)
def test_names_of_torch(name, library, last):
    rules = torch_tables.TABLES["vgg"][library](registry.lookup(name).spec)
    ours = ("stage5_conv3", "stage5_norm3", "dense1", "logits")
    assert [translate(rules, a) for a, b in zip(ours, last, strict=True) if b] == [b for b in last if b]


def test_the_first_dense_layer_is_a_convolution_in_timm():
    spec = {**SMALL, "input_shape": (32, 32, 1)}
    model = models.vgg11(**spec)
    rng = np.random.default_rng(0)
    tensors = {}
    for (module, kind), (_, weight) in named_weights(
        model, torch_tables.TABLES["vgg"]["timm"](registry.override(registry.lookup("vgg11"), spec))
    ).items():
        shape = weight.shape[::-1]
        if len(weight.shape) == 4:
            shape = (*shape[:2], 3, 3)
        elif module == "pre_logits.fc1" and kind == "kernel":
            shape = (8, 4, 7, 7)
        elif module == "pre_logits.fc2" and kind == "kernel":
            shape = (8, 8, 1, 1)
        tensors[f"{module}.{torch_names.SUFFIX[kind]}"] = rng.standard_normal(shape).astype("float32")
    torch_names.assign(model, tensors)
    kernel = np.asarray(model.get_layer("dense1").kernel).reshape(7, 7, 4, 8)
    np.testing.assert_array_equal(kernel, tensors["pre_logits.fc1.weight"].transpose(2, 3, 1, 0))
