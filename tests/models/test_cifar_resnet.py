import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import models
from tools import golden

SMALL = {"depths": (1, 2, 1), "num_classes": 3}
WIDE = SMALL | {"widen": 1}
# Few filters in few groups.
NEXT = SMALL | {"widths": (64, 64, 128), "groups": 2, "base_width": 4}


def test_wide_blocks_are_preactivated():
    model = models.wrn28_10(**WIDE)
    assert model.get_layer("stage2_block1_preact_norm").input is model.get_layer("stage1").output
    preact = model.get_layer("stage2_block1_preact_act").output
    assert model.get_layer("stage2_block1_shortcut_conv").input is preact
    assert model.get_layer("stage2_block2_add").input[0] is model.get_layer("stage2_block1_add").output
    assert model.get_layer("head_norm").input is model.get_layer("stage3").output
    assert not any("norm" in layer.name and "shortcut" in layer.name for layer in model.layers)


def test_wide_nets_widen_all_but_the_stem():
    model = models.wrn16_8(depths=(1, 1, 1), widen=2)
    assert model.get_layer("stem_conv").filters == 16
    assert [model.get_layer(f"stage{i}_block1_conv1").filters for i in (1, 2, 3)] == [32, 64, 128]
    for name, depth in (("wrn16_8", 16), ("wrn28_10", 28)):
        spec = kerascnn.registry.lookup(name).spec
        assert 2 * sum(spec.depths) + 4 == depth  # counted with the three shortcuts, without the classifier


def test_block_dropout_stands_between_the_convolutions():
    model = models.wrn28_10(**WIDE, block_dropout=0.3)
    layer = model.get_layer("stage1_block1_dropout")
    assert layer.rate == 0.3
    assert layer.input is model.get_layer("stage1_block1_act1").output
    assert model.get_layer("stage1_block1_conv2").input is layer.output


def test_resnext_blocks():
    model = models.resnext29_8x64d_cifar(depths=(1, 1, 1))
    assert model.get_layer("stem_conv").filters == 64
    assert [model.get_layer(f"stage1_block1_conv{n}").filters for n in (1, 2, 3)] == [512, 512, 256]
    assert model.get_layer("stage1_block1_conv2").groups == 8
    assert model.get_layer("stage2_block1_conv2").strides == (2, 2)
    projections = [layer.name for layer in model.layers if layer.name.endswith("shortcut_conv")]
    assert projections == [f"stage{i}_block1_shortcut_conv" for i in (1, 2, 3)]
    assert 3 * sum(kerascnn.registry.lookup("resnext29_8x64d_cifar").spec.depths) + 2 == 29


def test_bottlenecks_can_have_shortcuts_without_parameters():
    model = golden.fill(models.resnext29_8x64d_cifar(**NEXT, project=False))
    assert not any("shortcut" in layer.name for layer in model.layers)
    assert np.isfinite(model(golden.images((32, 32, 3)))).all()


def test_squeeze_and_excitation_weighs_the_branch():
    plain, se = models.resnet20_cifar(), models.seresnet20_cifar()
    units = [se.get_layer(f"stage{i}_block1_se_conv1").filters for i in (1, 2, 3)]
    assert units == [8, 8, 8]
    assert se.get_layer("stage1_block1_add").input[1] is se.get_layer("stage1_block1_se_scale").output
    more = 3 * sum(2 * 8 * width + 8 + width for width in (16, 32, 64))
    assert se.count_params() - plain.count_params() == more


@pytest.mark.parametrize(("name", "fields"), [("wrn28_10", WIDE), ("resnext29_8x64d_cifar", NEXT)])
def test_zero_init_residual_starts_blocks_as_identities(name, fields):
    model = models.create_model(name, **fields, zero_init_residual=True)
    layers = [model.get_layer(layer).output for layer in ("stage2_block1_add", "stage2_block2_add")]
    before, after = map(np.asarray, keras.Model(model.input, layers)(golden.images((32, 32, 3))))
    np.testing.assert_array_equal(after, before if name == "wrn28_10" else np.maximum(before, 0))


@pytest.mark.parametrize(
    ("name", "fields"), [("resnet20_cifar", SMALL), ("wrn28_10", WIDE), ("resnext29_8x64d_cifar", NEXT)]
)
def test_drops_reach_the_layers(name, fields):
    model = models.create_model(name, **fields, drop_path=0.4, drop_block=0.1)
    rates = [model.get_layer(f"stage{i}_block1_drop_path").rate for i in (1, 2, 3)]
    assert rates == pytest.approx([0.1, 0.2, 0.4])
    dropped = {layer.name.partition("_")[0] for layer in model.layers if layer.name.endswith("drop_block")}
    assert dropped == {"stage2", "stage3"}


@pytest.mark.parametrize("norm", ["group", "layer", "instance", "none"])
@pytest.mark.parametrize(("name", "fields"), [("wrn28_10", WIDE), ("resnext29_8x64d_cifar", NEXT)])
def test_norms(name, fields, norm):
    fields = fields | {"norm": norm, "padding": "same", "activation": "maxout", "pooling": "catavgmax"}
    model = models.create_model(name, **fields, input_shape=(None, None, 1))
    assert np.isfinite(model(golden.images((9, 13, 1)))).all()
    assert model.get_layer("stage1_block1_conv2").use_bias == (norm == "none")


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("plain20_cifar", {"drop_block": 0.1}, "plain20_cifar: project and drop_block need shortcuts, which shortcut="),
        ("plain20_cifar", {"project": True}, "project and drop_block need shortcuts"),
        ("resnet20_cifar", {"groups": 2}, "groups and base_width are for block='bottleneck'"),
        ("wrn28_10", {"depths": (1, 1)}, "wrn28_10: widths must be 2 numbers, one for each of depths"),
        ("wrn28_10", {"input_shape": (7, 8, 3)}, "images must be 8x8 or larger, not 7x8"),
        ("wrn28_10", {"se": True}, "wrn28_10 has no field 'se'"),
    ],
)
def test_what_cannot_be_is_said(name, fields, says):
    with pytest.raises(ValueError, match=says):
        models.create_model(name, **fields)
