"""The ResNets' structure, and what stands in place of a 3x3 in Res2Net, SKNet and ResNeSt."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerascnn import models, registry
from kerascnn.serve import fold
from tools import golden

SMALL = {"input_shape": (32, 32, 3), "num_classes": 3, "depths": (2, 1), "widths": (16, 16)}
# Groups that fit these widths.
NARROW = {
    "res2next50": {"groups": 2, "base_width": 16},
    "skresnext50_32x4d": {"groups": 2, "base_width": 32},
    "resnest50d_4s2x40d": {"base_width": 64},
}
SLOW = ("skresnext50_32x4d", "resnest14d", "res2net50_26w_4s")
MIDDLES = ["res2next50", "skresnet18", "resnest50d_4s2x40d", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)]


def small(name, **fields):
    return models.create_model(name, **SMALL | NARROW.get(name, {}) | fields)


@pytest.mark.parametrize(
    ("name", "depth"),
    [("resnet50", 50), ("resnet200d", 200), ("resnet14t", 14), ("ecaresnet269d", 269), ("resnetrs420", 420)],
)
def test_layers_are_as_many_as_the_name_says(name, depth):
    spec = registry.lookup(name).spec
    stem = 1 if name != "resnetrs420" else 0  # whose name is rounded
    assert abs(3 * sum(spec.depths) + 1 + stem - depth) <= (13 if name == "resnetrs420" else 0)


@pytest.mark.parametrize(
    ("name", "widths"),
    [("resnet50d", (32, 32, 64)), ("resnet50t", (24, 32, 64)), ("resnet50s", (64, 64, 128))],
)
def test_stems(name, widths):
    model = small(name)
    assert tuple(model.get_layer(f"stem_conv{n}").filters for n in (1, 2, 3)) == widths
    assert small("ecaresnetlight").get_layer("stem_conv").kernel_size == (7, 7)


def test_the_parts_of_a_res2net():
    model = small("res2net50_26w_4s")
    names = {layer.name for layer in model.layers}
    # Width 26 of 64, in four parts; three of them have a 3x3.
    assert model.get_layer("stage1_block1_conv1").filters == 4 * (16 * 26 // 64)
    assert {f"stage1_block2_part{i}_conv" for i in (1, 2, 3)} <= names and "stage1_block2_part4_conv" not in names
    # Where the shape stays, each part sees the one before; where it changes none does, and the last is pooled.
    assert {"stage1_block2_part2_add", "stage1_block2_part3_add", "stage2_block1_part4_pool"} <= names
    assert not {"stage1_block2_part1_add", "stage2_block1_part2_add", "stage1_block2_part4_pool"} & names


def test_the_paths_of_an_sknet():
    model = small("skresnet18")
    assert [model.get_layer(f"stage1_block1_path{i}_conv").dilation_rate for i in (1, 2)] == [(1, 1), (2, 2)]
    assert model.get_layer("stage1_block1_path1_conv").input.shape[-1] == 32  # a half of the 64
    assert model.get_layer("stage1_block1_attention_conv1").filters == 16
    whole = small("skresnext50_32x4d")
    assert whole.get_layer("stage1_block1_path2_conv").input.shape[-1] == 16
    assert whole.get_layer("stage1_block1_attention_conv1").filters == 32


def test_a_path_that_strides_is_a_dilated_kernel_at_every_second_pixel():
    model = golden.fill(small("skresnet18"))
    path = model.get_layer("stage2_block1_path2_conv")
    assert (path.strides, path.dilation_rate) == ((1, 1), (1, 1))
    source = model.get_layer("stage2_block1_path2_pool").input
    x, y = keras.Model(model.input, [source, path.output])(golden.images(SMALL["input_shape"]))
    dilated = keras.ops.conv(keras.ops.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0))), path.kernel, dilation_rate=2)
    np.testing.assert_allclose(y, dilated[:, ::2, ::2], atol=1e-5)


def test_the_gates_of_an_attention_sum_to_one():
    for name, count in (("skresnet18", 2), ("resnest50d_4s2x40d", 4)):
        model = golden.fill(small(name))
        gates = keras.Model(model.input, model.get_layer("stage2_block1_attention_act2").output)
        sums = np.sum(gates(golden.images(SMALL["input_shape"])), 2)
        assert gates.output.shape[2] == count
        np.testing.assert_allclose(sums, 1, atol=1e-6)
    one = small("resnest50d_1s4x24d").get_layer("stage1_block1_attention_act2")
    assert one.activation is keras.activations.sigmoid


def test_a_resnest_strides_in_a_pool():
    for name, source in (("resnest14d", "attention"), ("resnest50d_4s2x40d", "conv1")):
        model = small(name)
        assert model.get_layer("stage2_block1_conv2").strides == (1, 1)
        assert not any(layer.name.startswith("stage1_block1_pool2") for layer in model.layers)
        convs = [layer.name for layer in model.layers]
        assert (convs.index("stage2_block1_pool2") < convs.index("stage2_block1_conv2")) == (source == "conv1")


def test_zeros_count_in_an_average():
    model = small("resnest14d", norm="none", activation="sigmoid")  # sigmoid(0) is no zero
    pool = model.get_layer("stage2_block1_pool2")
    padded = model.get_layer("stage2_block1_pool2_pad").output
    x, y = keras.Model(model.input, [padded, pool.output])(golden.images(SMALL["input_shape"]))
    assert not np.any(x[:, 0]) and pool.padding == "valid"
    np.testing.assert_allclose(y[:, 0, 0], np.mean(x[:, :3, :3], (1, 2)), atol=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {"norm": "group", "activation": "maxout", "padding": "same", "se": True, "drop_path": 0.2},
        pytest.param(
            {
                "norm": "none",
                "activation": "prelu",
                "output_stride": 8,
                "input_shape": (33, 45, 1),
                "depths": (1, 1, 1),
                "widths": (16, 16, 16),
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"norm": "instance", "rematerialize": True, "eca": True, "conv_bias": True, "input_shape": (None, None, 2)},
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda fields: fields["norm"],
)
@pytest.mark.parametrize("name", MIDDLES)
def test_switches(name, fields):
    model = small(name, **fields)
    again = models.Classifier.from_config(model.get_config())
    assert again.to_json() == model.to_json()
    images = golden.images([side or 40 for side in model.input_shape[1:]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images, training=True) ** 2)
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    if "output_stride" in fields:
        assert model.get_layer("stage3").output.shape[1:3] == (5, 6)


@pytest.mark.parametrize("name", MIDDLES)
def test_every_weight_gets_a_gradient_and_norms_fold(name):
    model = golden.fill(small(name))
    images = golden.images(SMALL["input_shape"])
    with tf.GradientTape() as tape:
        y = model(images, training=False)
        loss = tf.reduce_sum(y * golden.images(y.shape[1:]))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert np.isfinite(gradient).all() and np.any(gradient), weight.path
    folded = fold(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    np.testing.assert_allclose(folded(images), y, atol=1e-4 * np.std(y))


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("resnet18", {"scales": 4}, "resnet18: scales and radix are for block='bottleneck'"),
        ("resnet50", {"radix": 2, "sk": True}, "scales, sk and radix stand in the same place: set one of them"),
        ("resnet50", {"stem_widths": (24, 32, 64)}, "stem_widths needs deep_stem=True, but for the last of them"),
    ],
)
def test_what_cannot_be_is_said(name, fields, says):
    with pytest.raises(ValueError, match=says):
        models.create_model(name, **fields)
