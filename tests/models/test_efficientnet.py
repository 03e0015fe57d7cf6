import keras
import pytest

from kerascnn import models, registry

# The authors' code and torchvision agree on these; Table 1 of the paper has the first.
DEPTHS = {
    "efficientnet_b0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet_b1": (2, 3, 3, 4, 4, 5, 2),
    "efficientnet_b2": (2, 3, 3, 4, 4, 5, 2),
    "efficientnet_b3": (2, 3, 3, 5, 5, 6, 2),
    "efficientnet_b4": (2, 4, 4, 6, 6, 8, 2),
    "efficientnet_b5": (3, 5, 5, 7, 7, 9, 3),
    "efficientnet_b6": (3, 6, 6, 8, 8, 11, 3),
    "efficientnet_b7": (4, 7, 7, 10, 10, 13, 4),
}
SIZES = (224, 240, 260, 300, 380, 456, 528, 600)
HEADS = (1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560)


@pytest.mark.parametrize(("name", "size"), [*zip(DEPTHS, SIZES, strict=True)])
def test_scaling(name, size):
    spec = registry.lookup(name).spec
    rows = [row for row, *_ in spec.blocks]
    assert tuple(rows.count(i) for i in range(7)) == DEPTHS[name]
    assert spec.input_shape == (size, size, 3)


@pytest.mark.parametrize(("name", "head"), [*zip(DEPTHS, HEADS, strict=True)][:4])
def test_the_last_convolution_is_scaled_too(name, head):
    assert getattr(models, name)(num_classes=0, input_shape=(32, 32, 3)).output_shape == (None, head)


def test_gates_are_a_quarter_of_what_comes_into_the_block():
    model = models.efficientnet_b0(input_shape=(32, 32, 3))
    assert model.get_layer("stage1_block1_se_conv1").kernel.shape == (1, 1, 32, 8)
    assert model.get_layer("stage2_block1_se_conv1").kernel.shape == (1, 1, 96, 4)
    assert model.get_layer("stage2_block1_se_act1").activation.__name__ == "silu"


def test_branches_are_dropped_at_rates_from_zero_on():
    model = models.efficientnet_b0(input_shape=(32, 32, 3))
    rates = {layer.name: layer.rate for layer in model.layers if layer.name.endswith("drop_path")}
    assert rates["stage2_block2_drop_path"] == pytest.approx(0.2 * 2 / 16)
    assert rates["stage5_block4_drop_path"] == pytest.approx(0.2 * 14 / 16)
    assert not [
        layer
        for layer in models.efficientnet_b0(input_shape=(32, 32, 3), drop_path=0.0).layers
        if "drop_" in layer.name
    ]


def test_each_stage_halves():
    model = models.efficientnet_b0(input_shape=(64, 64, 3))
    assert [model.get_layer(f"stage{i}").output.shape[1:] for i in range(1, 6)] == [
        (32, 32, 16),
        (16, 16, 24),
        (8, 8, 40),
        (4, 4, 112),
        (2, 2, 320),
    ]
    assert isinstance(model.get_layer("stage4_block1_conv2"), keras.layers.DepthwiseConv2D)
