import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import models
from tools import golden

TINY = [
    ["FusedIB", 0, 3, 4, 8, 1, 2],
    ["UIB", 5, 3, 4, 16, 2, 2],
    ["UIB", 3, 0, 2, 24, 1, 2],
    ["UIB", 0, 0, 2, 24, 1, 1],
]


def tiny(**fields):
    return models.mobilenet_v4_conv_small(rows=TINY, hidden=32, input_shape=(64, 64, 3), num_classes=3, **fields)


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("mobilenet_v4_conv_small", (32, 32, 64, 96, 128)),
        ("mobilenet_v4_conv_small_050", (32, 16, 32, 48, 64)),  # the first convolution is as wide
        ("mobilenet_v4_conv_medium", (32, 48, 80, 160, 256)),
        ("mobilenet_v4_conv_large", (24, 48, 96, 192, 512)),
    ],
)
def test_widths(name, widths):
    model = kerascnn.create_model(name, input_shape=(32, 32, 3), initializer="zeros")
    assert tuple(model.get_layer(f"stage{i}").output.shape[-1] for i in range(1, 6)) == widths
    assert model.get_layer("hidden_conv").filters == 1280


def test_the_block_with_any_of_its_depthwise_convolutions():
    layers = {layer.name: layer for layer in tiny().layers}
    # Where there are two, the one between strides.
    assert layers["stage3_block1_conv0"].strides == (1, 1) and layers["stage3_block1_conv0"].kernel_size == (5, 5)
    assert layers["stage3_block1_conv2"].strides == (2, 2) and layers["stage3_block1_conv2"].kernel_size == (3, 3)
    assert "stage3_block1_act0" not in layers and "stage3_block1_act2" in layers
    # Where there is one ahead, it does.
    assert layers["stage4_block1_conv0"].strides == (2, 2) and "stage4_block1_conv2" not in layers
    assert {"stage4_block2_conv0", "stage4_block2_conv2"}.isdisjoint(layers)
    assert layers["stage4_block2_conv1"].filters == 48 and "stage4_block2_add" in layers


def test_a_convolution_alone_has_no_shortcut():
    names = {
        layer.name for layer in models.mobilenet_v4_conv_small(input_shape=(32, 32, 3), initializer="zeros").layers
    }
    assert "stage2_block2_act1" in names and "stage2_block2_add" not in names


def test_the_hidden_units_have_a_norm_where_it_can_tell_them_apart():
    assert isinstance(tiny().get_layer("hidden_norm"), keras.layers.BatchNormalization)
    model = tiny(norm="instance")
    assert "hidden_norm" not in {layer.name for layer in model.layers}
    one, other = np.asarray(golden.fill(model)(golden.images((64, 64, 3))))
    assert np.any(one != other)


def test_a_row_without_the_kernel_that_it_needs_is_named():
    for row in (["UIB", 0, 0, 4, 8, 1, 2], ["Conv2D", 3, 0, 1, 8, 1, 1], ["FusedIB", 0, 0, 4, 8, 1, 1]):
        with pytest.raises(ValueError, match=rf"mobilenet_v4_conv_small: rows: Row.kind='{row[0]}', .* needs a kernel"):
            models.mobilenet_v4_conv_small(rows=[row])
