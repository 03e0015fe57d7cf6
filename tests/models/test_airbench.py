import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import models, registry
from kerascnn.models.airbench import Copies
from tools import golden


@pytest.mark.parametrize(
    ("name", "convolutions", "total"),
    [("airbench94", 2, 1_971_362), ("airbench95", 2, 4_604_450), ("airbench96", 3, 12_717_474)],
)
def test_parameters_by_hand(name, convolutions, total):
    spec, channels = registry.lookup(name).spec, 24
    counted = 24 + 10 * (spec.widths[-1] + 1)  # the first layer's bias, and the classifier
    for width in spec.widths:
        counted += 9 * width * (channels + (convolutions - 1) * width) + convolutions * width
        channels = width
    model = kerascnn.create_model(name)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == counted == total
    fixed = [weight.shape for weight in model.non_trainable_weights if weight.name == "kernel"]
    assert fixed == [(2, 2, 3, 24)]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_kernel_stays_frozen_whatever_is_done_with_the_model(channels, tmp_path):
    model = models.airbench94(input_shape=(32, 32, channels), widths=(8, 8, 8))
    model.trainable = False
    model.trainable = True
    model.save(tmp_path / "model.keras")
    for kept in (model, keras.models.clone_model(model), kerascnn.load_model(tmp_path / "model.keras")):
        layer = kept.get_layer("stem_conv")
        assert layer.kernel.shape == (2, 2, channels, 8 * channels)
        assert [weight.name for weight in layer.trainable_weights] == ["bias"]


@pytest.mark.parametrize(("channels", "filters"), [(3, 3), (3, 5), (5, 3)])
def test_the_first_filters_copy_channels(channels, filters):
    image = golden.images((7, 6, channels))
    layer = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer=Copies("he_normal"))
    found, copies = np.asarray(layer(image)), min(channels, filters)
    np.testing.assert_allclose(found[..., :copies], image[..., :copies], atol=1e-6)
    if copies < filters:
        assert np.std(layer.kernel[..., copies:]) > 0.1


def test_groups_start_near_the_identity_unless_copies_are_not_wanted():
    for copies in (True, False):
        model = models.airbench94(copies=copies)
        layers = [model.get_layer(name).output for name in ("stage2_act1", "stage2_conv2")]
        before, after = map(np.asarray, keras.Model(model.input, layers)(golden.images((32, 32, 3))))
        assert np.allclose(after, before, atol=1e-5) == copies


def test_a_shortcut_leads_from_a_groups_first_activation_to_its_last():
    model = golden.fill(models.airbench96(widths=(8, 8, 8)))
    names = ("stage1_act1", "stage1_norm3", "stage1_add", "stage1")
    first, last, both, after = map(
        np.asarray,
        keras.Model(model.input, [model.get_layer(name).output for name in names])(golden.images((32, 32, 3))),
    )
    np.testing.assert_allclose(both, first + last, atol=1e-6)
    np.testing.assert_allclose(after, np.asarray(keras.ops.gelu(both, approximate=False)), atol=1e-6)
    with pytest.raises(ValueError, match="shortcut=True needs a depth of 2"):
        models.airbench96(depth=1)


def test_features_are_maxima_scaled_ahead_of_the_classifier():
    model = golden.fill(models.airbench94(widths=(8, 8, 8)))
    outputs = [model.get_layer("stage3").output, model.output]
    features, logits = map(np.asarray, keras.Model(model.input, outputs)(golden.images((32, 32, 3))))
    kernel, bias = model.get_layer("logits").get_weights()
    np.testing.assert_allclose(logits, features.max((1, 2)) / 9 @ kernel + bias, rtol=1e-4, atol=1e-6)
    bare = models.airbench94(widths=(8, 8, 8), num_classes=0)
    assert bare.layers[-1].name == "pool" and "scale" not in [layer.name for layer in bare.layers]


@pytest.mark.parametrize("fields", [{}, {"widths": (8,)}, {"patch": 3}, {"fractional_pool": 1.5}])
def test_the_least_size_is_least(fields):
    side = registry.override(registry.lookup("airbench94"), fields).min_size
    model = models.airbench94(input_shape=(side, side, 1), num_classes=0, pooling=None, **fields)
    assert model.output_shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match=f"airbench94: images must be {side}x{side} or larger"):
        models.airbench94(input_shape=(side, side - 1, 1), **fields)


def test_switches_reach_the_layers():
    model = models.airbench94(widths=(8, 8), norm="group", activation="prelu", fractional_pool=1.5, initializer="zeros")
    assert isinstance(model.get_layer("stage1_norm1"), keras.layers.GroupNormalization)
    assert isinstance(model.get_layer("stage2_act2"), keras.layers.PReLU)
    assert not np.any(model.get_layer("stem_conv").kernel)
    assert model.get_layer("stage1_pool").output.shape[1] == int(31 / 1.5)
    norm = models.airbench94(widths=(8,)).get_layer("stage1_norm2")
    assert (norm.scale, norm.momentum, norm.epsilon) == (False, 0.6, 1e-12)
    assert models.airbench94(widths=(8,), norm="none").get_layer("stage1_conv2").use_bias
