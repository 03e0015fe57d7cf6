import keras
import numpy as np
import pytest
import tensorflow as tf

import kerascnn
from kerascnn import models, registry
from tools import golden

SHALLOW = {"depths": (1, 2, 1, 1), "widths": (16, 24, 32, 40), "input_shape": (32, 32, 3), "num_classes": 5}

# Sections 3 of https://arxiv.org/abs/2201.03545 and 4 of https://arxiv.org/abs/2301.00808: channels, blocks.
PAPERS = {
    "convnext_tiny": ((96, 192, 384, 768), (3, 3, 9, 3)),
    "convnext_small": ((96, 192, 384, 768), (3, 3, 27, 3)),
    "convnext_base": ((128, 256, 512, 1024), (3, 3, 27, 3)),
    "convnext_large": ((192, 384, 768, 1536), (3, 3, 27, 3)),
    "convnext_xlarge": ((256, 512, 1024, 2048), (3, 3, 27, 3)),
    "convnextv2_atto": ((40, 80, 160, 320), (2, 2, 6, 2)),
    "convnextv2_femto": ((48, 96, 192, 384), (2, 2, 6, 2)),
    "convnextv2_pico": ((64, 128, 256, 512), (2, 2, 6, 2)),
    "convnextv2_nano": ((80, 160, 320, 640), (2, 2, 8, 2)),
    "convnextv2_huge": ((352, 704, 1408, 2816), (3, 3, 27, 3)),
}


@pytest.mark.parametrize("name", PAPERS)
def test_stages_are_the_papers(name):
    spec = registry.lookup(name).spec
    assert (spec.widths, spec.depths) == PAPERS[name]


def kinds(model, kind):
    return [layer.name for layer in model.layers if type(layer).__name__ == kind]


def test_a_block():
    model = models.convnext_atto(**SHALLOW)
    names = [layer.name.removeprefix("stage1_block1_") for layer in model.layers if "stage1_block1" in layer.name]
    assert names == ["conv1", "norm1", "conv2", "act2", "conv3", "scale", "add"]
    assert model.get_layer("stage1_block1_conv1").kernel.shape == (7, 7, 16, 1)
    assert model.get_layer("stage1_block1_conv2").kernel.shape == (1, 1, 16, 64)
    assert all(layer.use_bias for layer in model.layers if "conv" in layer.name)
    np.testing.assert_allclose(model.get_layer("stage1_block1_scale").scale, 1e-6)
    assert len(kinds(model, "LayerNormalization")) == 1 + 5 + 3 + 1  # stem, blocks, between stages, head
    assert model.layers[-2].name == "head_norm"


def test_the_second_version_has_responses_normalised_and_no_scales():
    model = models.convnextv2_atto(**SHALLOW)
    assert len(kinds(model, "GlobalResponseNormalization")) == 5 and not kinds(model, "LayerScale")


@pytest.mark.parametrize(("name", "widths"), [("convnext_atto_ols", (8, 16)), ("convnext_nano_ols", (16, 16))])
def test_overlapping_stems(name, widths):
    model = getattr(models, name)(**SHALLOW)
    assert tuple(model.get_layer(f"stem_conv{i}").filters for i in (1, 2)) == widths
    assert model.get_layer("stage1").output.shape[1:3] == (8, 8)
    assert models.convnext_atto_ols(**SHALLOW | {"input_shape": (29, 29, 3)}).output_shape == (None, 5)


def test_branches_are_dropped_at_rates_from_zero_on():
    model = models.convnext_tiny(**SHALLOW)
    rates = {layer.name: layer.rate for layer in model.layers if layer.name.endswith("drop_path")}
    assert [name[:13] for name in rates] == ["stage2_block1", "stage2_block2", "stage3_block1", "stage4_block1"]
    assert list(rates.values()) == pytest.approx([0.025, 0.05, 0.075, 0.1])


def test_each_of_inceptions_branches_sees_a_share():
    model = models.inception_next_tiny(**SHALLOW)
    kernels = [model.get_layer(f"stage1_block1_branch{i}_conv").kernel.shape for i in (1, 2, 3)]
    assert kernels == [(3, 3, 2, 1), (1, 11, 2, 1), (11, 1, 2, 1)]
    assert model.get_layer("dense1").units == 120
    assert type(model.get_layer("stem_norm")) is keras.layers.BatchNormalization
    assert type(model.get_layer("head_norm")) is keras.layers.LayerNormalization


@pytest.mark.parametrize("name", ["convnext_atto", "convnextv2_atto", "inception_next_atto"])
@pytest.mark.parametrize("norm", ["channel", "batch", "group", "instance", "none"])
def test_norms_reach_all_layers_and_gradients_all_weights(name, norm):
    model = golden.fill(kerascnn.create_model(name, norm=norm, **SHALLOW | {"input_shape": (64, 64, 3)}))
    images = golden.images((64, 64, 3), 4)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images) * golden.images((5,), 4))
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert np.isfinite(gradient).all() and np.any(gradient), weight.path
    assert any("norm" in layer.name for layer in model.layers) == (norm != "none")


@pytest.mark.parametrize(("stride", "side"), [(32, 2), (16, 4), (8, 8)])
@pytest.mark.parametrize("name", ["convnext_atto", "inception_next_atto"])
def test_dilation_keeps_the_map_large(name, stride, side):
    model = kerascnn.create_model(name, output_stride=stride, **SHALLOW | {"input_shape": (64, 64, 3)})
    assert model.get_layer("stage4").output.shape[1:3] == (side, side)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"widths": (8, 16)}, "widths must be 4 numbers, one for each of depths"),
        ({"expand": (4,)}, "expand must be 4 numbers"),
        ({"input_shape": (31, 32, 3)}, "images must be 32x32 or larger"),
        ({"stem": "deep"}, "stem must be patch, overlap or tiered"),
    ],
)
def test_what_cannot_be_is_said(fields, says):
    with pytest.raises(ValueError, match=says):
        models.convnext_atto(**fields)
