import keras
import numpy as np
import pytest

from kerascnn import models
from tools import golden

SMALL = {"depths": (1, 2, 2, 1), "input_shape": (33, 33, 3), "num_classes": 3}


@pytest.fixture(scope="module")
def senet154():
    return models.senet154(**SMALL)


def test_senet154_is_the_papers(senet154):
    """Its appendix lists what SENet-154 changes of a ResNeXt-152."""
    filters = [senet154.get_layer(f"stage2_block1_conv{n}").filters for n in (1, 2, 3)]
    assert filters == [256, 512, 512]  # the first of a 64x4d block would have 512 too
    assert senet154.get_layer("stage2_block1_conv2").groups == 64
    assert [senet154.get_layer(f"stem_conv{n}").filters for n in (1, 2, 3)] == [64, 64, 128]
    kernels = [senet154.get_layer(f"stage{i}_block1_shortcut_conv").kernel_size for i in range(1, 5)]
    assert kernels == [(1, 1), (3, 3), (3, 3), (3, 3)]
    assert senet154.get_layer("dropout").rate == 0.2


def test_squeeze_and_excitation_has_a_sixteenth_of_the_channels(senet154):
    units = [senet154.get_layer(f"stage{i}_block1_se_conv1").filters for i in range(1, 5)]
    assert units == [16, 32, 64, 128]
    basic = models.legacy_seresnet18(**SMALL)
    assert basic.get_layer("stage1_block1_se_conv1").filters == 4
    assert all(basic.get_layer(f"stage1_block1_se_conv{n}").use_bias for n in (1, 2))
    assert models.legacy_seresnet18(**SMALL, reduction=1000).get_layer("stage4_block1_se_conv1").filters == 1


def test_the_place_of_the_stride():
    for name, strides in (("legacy_seresnet50", [2, 1, 1]), ("legacy_seresnext50_32x4d", [1, 2, 1])):
        model = models.create_model(name, **SMALL)
        assert [model.get_layer(f"stage2_block1_conv{n}").strides[0] for n in (1, 2, 3)] == strides


def test_an_activation_stands_ahead_of_the_basic_blocks_excitation_alone():
    basic, bottleneck = models.legacy_seresnet18(**SMALL), models.legacy_seresnet50(**SMALL)
    assert basic.get_layer("stage1_block1_se_pool").input is basic.get_layer("stage1_block1_act2").output
    assert bottleneck.get_layer("stage1_block1_se_pool").input is bottleneck.get_layer("stage1_block1_norm3").output


@pytest.mark.parametrize("size", [3, 32, 33])
def test_the_stems_pool_leaves_no_pixel_out(size):
    model = golden.fill(models.legacy_seresnet18(**SMALL | {"input_shape": (size, size, 3)}))
    layers = [model.get_layer(name).output for name in ("stem_act1", "stem_pool")]
    before, after = map(np.asarray, keras.Model(model.input, layers)(golden.images((size, size, 3))))
    starts = range(0, max(before.shape[1] - 1, 1), 2)
    expected = [[before[:, i : i + 3, j : j + 3].max((1, 2)) for j in starts] for i in starts]
    np.testing.assert_array_equal(after, np.moveaxis(expected, 2, 0))


def test_switches_reach_the_layers():
    model = models.legacy_seresnext50_32x4d(
        **SMALL, drop_path=0.6, drop_block=0.1, zero_init_residual=True, fractional_pool=1.5
    )
    rates = [model.get_layer(f"stage{i}_block1_drop_path").rate for i in range(1, 5)]
    assert rates == pytest.approx([0.1, 0.2, 0.4, 0.6])
    dropped = {layer.name.partition("_")[0] for layer in model.layers if layer.name.endswith("drop_block")}
    assert dropped == {"stage3", "stage4"}
    assert not np.any(model.get_layer("stage3_block2_norm3").gamma)
    assert np.all(model.get_layer("stage3_block2_norm2").gamma)
    assert type(model.get_layer("stem_pool")).__name__ == "FractionalMaxPooling2D"


def test_a_basic_block_that_starts_at_zero_can_learn():
    model = models.legacy_seresnet18(**SMALL, zero_init_residual=True, activation="elu")
    assert not np.any(model.get_layer("stage1_block1_norm2").gamma)


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("senet154", {"depths": (1, 1)}, "senet154: widths must be 2 numbers, one for each of depths"),
        ("legacy_seresnet18", {"groups": 2}, "groups, base_width, halve_first and stride_in_1x1 are for block="),
        ("legacy_seresnet18", {"stride_in_1x1": True}, "are for block='bottleneck'"),
        ("legacy_seresnet18", {"zero_init_residual": True}, "relu let no basic block learn: try activation='elu'"),
        ("legacy_seresnet50", {"input_shape": (2, 8, 3)}, "images must be 3x3 or larger, not 2x8"),
        ("legacy_seresnet50", {"shortcut_kernel": 5}, "shortcut_kernel must be 1 or 3, not 5"),
    ],
)
def test_what_cannot_be_is_said(name, fields, says):
    with pytest.raises(ValueError, match=says):
        models.create_model(name, **fields)
