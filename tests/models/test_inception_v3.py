import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import models, registry
from kerascnn.weights import keras_names, torch_tables
from kerascnn.weights.names import translate

V3, RESNET = (registry.lookup(name).spec.stages for name in ("inception_v3", "inception_resnet_v2"))
SHALLOW = [[V3[0][0]], [V3[1][0]], V3[2][:2], V3[3][:2], V3[4][:2]]
SHALLOW_RESNET = [[RESNET[0][0]], [RESNET[1][0]], RESNET[2][:3], RESNET[3][:2], RESNET[4][:2]]
SMALL = {"input_shape": (75, 80, 3), "num_classes": 3, "initializer": "zeros"}


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        # The sizes of https://arxiv.org/abs/1512.00567 (Table 1) and https://arxiv.org/abs/1602.07261 (figures 3 to 9).
        ("inception_v3", [(147, 64), (71, 192), (35, 288), (17, 768), (8, 2048)]),
        ("inception_v4", [(147, 64), (71, 192), (35, 384), (17, 1024), (8, 1536)]),
        ("inception_resnet_v2", [(147, 64), (71, 192), (35, 320), (17, 1088), (8, 2080)]),
    ],
)
def test_stages_are_the_papers(name, stages):
    facts = registry.facts()[name]["stages"].values()
    assert [(height, channels) for height, _, channels in facts] == stages


def test_kernels_are_factorised():
    model = models.inception_v3(**SMALL)
    sizes = [model.get_layer(f"stage4_block2_branch2_conv{n}").kernel_size for n in (1, 2, 3)]
    assert sizes == [(1, 1), (1, 7), (7, 1)]
    for half, size in (("a", (1, 3)), ("b", (3, 1))):
        assert model.get_layer(f"stage5_block2_branch2_conv2{half}").kernel_size == size
    assert model.get_layer("stage5_block2_branch2_concat").output.shape[-1] == 768


@pytest.mark.parametrize(("side", "pool"), [(299, keras.layers.AveragePooling2D), (80, None)])
def test_the_auxiliary_classifier_is_torchvisions(side, pool):
    fields = {"include_aux": True, "initializer": "zeros", "input_shape": (side, side, 3)}
    model = models.inception_v3(**fields)
    assert model.get_layer("aux1_pool").input is model.get_layer("stage4").output
    assert pool is None or type(model.get_layer("aux1_pool")) is pool
    assert model.get_layer("aux1_pool").output.shape == (None, 5, 5, 768)
    assert model.get_layer("aux1_conv2").output.shape == (None, 1, 1, 768)
    assert kerascnn.complexity(model).trainable_params == 27_161_264  # as torchvision has it
    assert [output.shape for output in model.outputs] == [(None, 1000), (None, 1000)]


def test_average_pools_may_see_zeros():
    x = np.full((1, 75, 75, 3), 7, "float32")
    for zeros in (True, False):
        model = models.inception_v3(**SMALL | {"input_shape": (75, 75, 3)}, pool_zeros=zeros, stages=SHALLOW)
        pool = model.get_layer("stage3_block2_branch4_pool")
        seen = keras.Model(model.get_layer("stage3_block1_pool").output, pool.output)
        corner = np.asarray(seen(np.ones((1, 7, 7, 192), "float32")))[0, 0, 0, 0]
        assert corner == pytest.approx(4 / 9 if zeros else 1)
        assert np.isfinite(model(x)).all()


def test_residual_modules_are_scaled():
    model = models.inception_resnet_v2(**SMALL)
    scales = [model.get_layer(f"{name}_scale").scale for name in ("stage3_block3", "stage4_block2", "stage5_block2")]
    assert scales == [0.17, 0.1, 0.2]
    names = {layer.name for layer in model.layers}
    last = f"stage5_block{len(RESNET[4])}"
    assert model.get_layer(f"{last}_scale").scale == 1 and f"{last}_act" not in names and f"{last}_add" in names


def test_a_module_that_adds_can_start_as_its_input():
    fields = {"num_classes": 0, "zero_init_residual": True, "drop_path": 0.2, "stages": SHALLOW_RESNET}
    model = models.inception_resnet_v2(input_shape=(75, 75, 3), **fields)
    ends = [layer for layer in model.layers if layer.name in ("stage3_block3_conv", "stage4_block2_conv")]
    assert len(ends) == 2 and not any(np.any(layer.kernel) for layer in ends)
    assert model.get_layer("stage4_block2_drop_path").rate == pytest.approx(0.2 * 2 / 3)


@pytest.mark.parametrize("name", ["inception_v3", "inception_v4", "inception_resnet_v2"])
def test_the_least_size(name):
    assert registry.lookup(name).spec.min_size == 75
    assert registry.override(registry.lookup(name), {"padding": "same"}).min_size == 1


def test_any_size_with_padding():
    fields = {"num_classes": 0, "pooling": None, "initializer": "zeros", "stages": SHALLOW}
    assert models.inception_v3(input_shape=(75, 75, 1), **fields).output_shape == (None, 1, 1, 2048)
    padded = models.inception_v3(input_shape=(33, 9, 1), padding="same", **fields)
    assert padded.output_shape == (None, 2, 1, 2048)


def test_norms_without_a_scale():
    model = models.inception_v3(**SMALL, bn_scale=False, stages=SHALLOW)
    kinds = {weight.name for layer in model.layers if "_norm" in layer.name for weight in layer.weights}
    assert kinds == {"beta", "moving_mean", "moving_variance"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"include_aux": True, "num_classes": 0}, "num_classes=0 leaves none: set include_aux=False"),
        ({"include_aux": True, "stages": SHALLOW[:1]}, "include_aux=True needs two stages or more"),
        ({"input_shape": (74, 75, 3)}, "inception_v3: images must be 75x75 or larger, not 74x75"),
        (
            {"stages": [[[["64 3"], 0.0, True]]]},
            "no step of a branch is '64 3': write such as '64 1x1', '96 3x3/2', 'a",
        ),
    ],
)
def test_what_cannot_be_is_said(fields, says):
    with pytest.raises(ValueError, match=says):
        kerascnn.create_model("inception_v3", **fields)


NAMES = {
    "inception_v3": {
        "stage2_block1_norm2": "Conv2d_4a_3x3.bn",
        "stage3_block2_branch3_conv2": "Mixed_5b.branch3x3dbl_2.conv",
        "stage4_block1_branch1_conv1": "Mixed_6a.branch3x3.conv",
        "stage5_block3_branch3_conv3b": "Mixed_7c.branch3x3dbl_3b.conv",
        "aux1_conv2": "AuxLogits.conv1.conv",
        "aux1_logits": "AuxLogits.fc",
        "logits": "fc",
    },
    "inception_v4": {
        "stage2_block1_branch2_conv1": "features.3.conv.conv",
        "stage2_block2_branch2_norm4": "features.4.branch1.3.bn",
        "stage5_block2_branch4_conv1": "features.19.branch3.1.conv",
        "stage5_block4_branch3_conv4a": "features.21.branch2_3a.conv",
        "logits": "last_linear",
    },
    "inception_resnet_v2": {
        "stage3_block2_branch1_conv1": "mixed_5b.branch0.conv",
        "stage4_block1_branch2_norm3": "mixed_6a.branch1.2.bn",
        "stage4_block21_conv": "repeat_1.19.conv2d",
        "stage5_block11_conv": "block8.conv2d",
        "head_conv": "conv2d_7b.conv",
        "logits": "classif",
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_torchvision_and_timm(name):
    rules = torch_tables.TABLES["inception_v3"]["torchvision"](registry.lookup(name).spec)
    assert {ours: translate(rules, ours) for ours in NAMES[name]} == NAMES[name]


def test_automatic_names_of_keras_begin_at_one():
    renamed = keras_names.from_one({"conv2d", "conv2d_2", "batch_normalization_7", "batch_normalization_9", "conv_7b"})
    assert renamed == {
        "conv2d": "conv2d_1", "conv2d_2": "conv2d_3", "batch_normalization_7": "batch_normalization_1",
        "batch_normalization_9": "batch_normalization_3", "conv_7b": "conv_7b",
    }  # fmt: skip
