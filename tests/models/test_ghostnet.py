import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import models
from tools import golden


@pytest.mark.parametrize(
    ("name", "stem", "widths", "head"),
    [
        ("ghostnet_100", 16, (16, 24, 40, 112, 160), 960),
        ("ghostnet_050", 8, (8, 12, 20, 56, 80), 480),
        ("ghostnet_130", 20, (20, 32, 52, 144, 208), 1248),
    ],
)
def test_widths(name, stem, widths, head):
    model = kerascnn.create_model(name, input_shape=(32, 32, 3), initializer="zeros")
    assert model.get_layer("stem_conv").filters == stem
    assert tuple(model.get_layer(f"stage{i}").output.shape[-1] for i in range(1, 6)) == widths
    assert (model.get_layer("head_conv").filters, model.get_layer("dense1").units) == (head, 1280)


@pytest.fixture(scope="module")
def net():
    return golden.fill(models.ghostnet_050(input_shape=(32, 32, 3)))


def test_half_of_a_map_is_made_of_the_other_half(net):
    first = net.get_layer("stage2_block1_conv1")
    ghosts = net.get_layer("stage2_block1_conv2")
    assert first.kernel.shape == (1, 1, 8, 12) and ghosts.kernel.shape == (3, 3, 12, 1)
    assert isinstance(ghosts, keras.layers.DepthwiseConv2D)
    outputs = [net.get_layer(f"stage2_block1_{name}").output for name in ("act1", "act2", "ghost1")]
    half, other, both = map(np.asarray, keras.Model(net.input, outputs)(golden.images((32, 32, 3))))
    np.testing.assert_array_equal(both, np.concatenate([half, other], -1))


def test_blocks(net):
    names = {layer.name for layer in net.layers}
    # Between the two ghosts of a block stands a convolution where it strides, and its shortcut has one too.
    strided = {name.removesuffix("_conv3") for name in names if name.endswith("_conv3")}
    assert strided == {f"stage{i}_block1" for i in range(2, 6)}
    assert {name.removesuffix("_shortcut_conv1") for name in names if name.endswith("_shortcut_conv1")} == strided | {
        "stage4_block5"  # where channels change
    }
    assert not {"stage2_block1_act3", "stage2_block1_act4", "stage2_block1_act5"} & names
    assert net.get_layer("stage3_block1_se_act2").activation.__name__ == "hard_sigmoid"
    assert net.get_layer("stage3_block1_se_conv1").kernel.shape == (1, 1, 36, 12)  # of 9, in fours


def test_zero_init_residual_starts_blocks_as_identities():
    model = models.ghostnet_050(input_shape=(32, 32, 3), zero_init_residual=True)
    ends = [model.get_layer(name).output for name in ("stage2_block1_add", "stage2")]
    before, after = map(np.asarray, keras.Model(model.input, ends)(golden.images((32, 32, 3))))
    assert np.any(before)
    np.testing.assert_array_equal(after, before)


def test_what_follows_a_dilated_stride_dilates():
    model = models.ghostnet_050(input_shape=(64, 64, 3), output_stride=16, initializer="zeros")
    rates = {name: model.get_layer(f"stage5_{name}").dilation_rate for name in ("block1_conv3", "block1_conv5")}
    assert rates == {"block1_conv3": (1, 1), "block1_conv5": (2, 2)}
    assert model.get_layer("stage5").output.shape[1:3] == (4, 4)
