import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import models, registry
from tools import golden


@pytest.mark.parametrize(("name", "channels"), [("nin", 3), ("nin_cifar", 3)])
def test_parameters_by_hand(name, channels):
    spec = registry.lookup(name).spec
    total = 0
    for block in spec.blocks:
        for width, kernel in zip(block.widths, (block.kernel, 1, 1), strict=False):
            total, channels = total + (kernel**2 * channels + 1) * width, width
    total += (channels + 1) * spec.num_classes
    assert kerascnn.create_model(name).count_params() == total == {"nin": 7_595_176, "nin_cifar": 966_986}[name]


@pytest.mark.parametrize(("name", "sides"), [("nin", (54, 27, 13, 6)), ("nin_cifar", (32, 16, 8))])
def test_each_stage_is_half_as_large(name, sides):
    model = kerascnn.create_model(name)
    assert tuple(model.get_layer(f"stage{i}").output.shape[1] for i in range(1, len(sides) + 1)) == sides


def test_classes_behind_the_average_are_the_papers_ahead_of_it():
    model = golden.fill(models.nin_cifar(input_shape=(8, 8, 3)))
    features = keras.Model(model.input, model.get_layer("stage3").output)(golden.images((8, 8, 3)))
    kernel, bias = model.get_layer("logits").get_weights()
    maps = keras.ops.conv(features, kernel[None, None]) + bias  # the paper's last layer, but for its ReLU
    expected = np.asarray(maps).mean((1, 2))
    np.testing.assert_allclose(np.asarray(model(golden.images((8, 8, 3)))), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "stages"), [("nin", ["stage4"]), ("nin_cifar", ["stage2", "stage3"])])
def test_dropout_stands_between_blocks(name, stages):
    model = kerascnn.create_model(name, dropout=0.3)
    found = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.name for layer in found] == [f"{stage}_dropout" for stage in stages]
    assert {layer.rate for layer in found} == {0.3}
    assert not any("dropout" in layer.name for layer in kerascnn.create_model(name, dropout=0.0).layers)


@pytest.mark.parametrize("fields", [{}, {"padding": "same"}, {"fractional_pool": 1.41}])
@pytest.mark.parametrize("name", ["nin", "nin_cifar"])
def test_the_least_size_is_least(name, fields):
    side = registry.override(registry.lookup(name), fields).min_size
    model = kerascnn.create_model(name, input_shape=(side, side, 1), num_classes=0, pooling=None, **fields)
    assert model.output_shape[1] == 1
    if side > 1:
        with pytest.raises(ValueError, match=f"{name}: images must be {side}x{side} or larger"):
            kerascnn.create_model(name, input_shape=(side, side - 1, 1), **fields)


@pytest.mark.parametrize("size", [(4, 4, 3), (9, 31, 3)])
def test_any_size(size):
    model = models.nin_cifar(input_shape=(None, None, 3), num_classes=5)
    assert model(golden.images(size)).shape == (2, 5)


@pytest.mark.parametrize(("pooling", "features"), [("avg", 192), ("max", 192), ("catavgmax", 384)])
def test_pooled_features(pooling, features):
    assert models.nin_cifar(num_classes=0, pooling=pooling).output_shape == (None, features)


def test_switches_reach_the_layers():
    model = models.nin_cifar(norm="group", activation="prelu", fractional_pool=1.41, initializer="zeros")
    assert isinstance(model.get_layer("stage1_norm3"), keras.layers.GroupNormalization)
    assert isinstance(model.get_layer("stage3_act2"), keras.layers.PReLU)
    assert not model.get_layer("stage1_conv2").use_bias
    assert not np.any(model.get_layer("stage1_conv1").kernel)
    assert model.get_layer("stage2").output.shape[1] == int(32 / 1.41)
