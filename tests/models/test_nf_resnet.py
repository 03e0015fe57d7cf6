"""What only NF-ResNets have: scaled kernels, and branches whose variance is known."""

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import blocks, models, registry
from kerascnn.layers import StandardizedConv2D
from kerascnn.serve import fold
from tools import golden

SMALL = {"input_shape": (32, 32, 3), "num_classes": 3, "depths": (3, 2), "widths": (8, 16)}


@pytest.fixture(scope="module")
def model():
    return golden.fill(models.nf_resnet26(**SMALL))


def test_a_branch_sees_a_variance_of_one(model):
    # Behind the first block of a stage the sum has 1 + 0.2 ** 2, and each block adds as much.
    scales = {layer.name: layer.scale for layer in model.layers if layer.name.endswith("_beta")}
    expected = {"stage1_block2": 1.04, "stage1_block3": 1.08, "stage2_block1": 1.12, "stage2_block2": 1.04}
    assert scales == {f"{name}_beta": pytest.approx(variance**-0.5) for name, variance in expected.items()}
    assert model.get_layer("stage1_block1_alpha").scale == 0.2


def test_every_convolution_is_standardized_and_has_a_bias(model):
    convs = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convs) == 1 + 3 * 5 + 2
    assert all(
        isinstance(conv, StandardizedConv2D) and conv.use_bias and conv.gamma == 1.7139588594436646 for conv in convs
    )
    assert not any("norm" in layer.name for layer in model.layers)


@pytest.mark.parametrize("act", ["relu", "silu", "hard_swish", "prelu", "maxout"])
def test_a_variance_of_one_stays_one(act):
    spec = registry.override(registry.lookup("nf_resnet26"), {"activation": act})
    image = keras.Input((16, 16, 64))
    x = blocks.conv(spec, blocks.ACTIVATIONS[act]((1, 2), name="act")(image), 256, 1, name="conv")
    x = keras.Model(image, x)(golden.images((16, 16, 64), 8))
    assert np.std(x) == pytest.approx(1, abs=0.05)


def test_its_gains_are_saved(model, tmp_path):
    model.save(tmp_path / "model.keras")
    images = golden.images(SMALL["input_shape"])
    np.testing.assert_array_equal(kerascnn.load_model(tmp_path / "model.keras")(images), model(images))


def test_it_starts_as_its_shortcuts():
    new = models.nf_resnet26(**SMALL)
    assert not np.any(new.get_layer("stage1_block1_conv3").gain) and np.all(new.get_layer("stage1_block1_conv2").gain)
    assert np.all(models.nf_resnet26(**SMALL, zero_init_residual=False).get_layer("stage1_block1_conv3").gain)


def test_folded_it_has_plain_convolutions(model):
    folded = fold(model)
    assert not any(isinstance(layer, StandardizedConv2D) for layer in folded.layers)
    images = golden.images(SMALL["input_shape"])
    expected = np.asarray(model(images))
    np.testing.assert_allclose(folded(images), expected, atol=1e-4 * expected.std())


def test_a_wrong_number_of_widths_is_said():
    with pytest.raises(ValueError, match="nf_resnet26: widths must be 2 numbers, one for each of depths"):
        models.nf_resnet26(depths=(1, 1))
