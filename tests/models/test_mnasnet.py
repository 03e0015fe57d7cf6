import keras
import pytest

from kerascnn import models


@pytest.mark.parametrize(
    ("build", "stem", "widths"),
    [
        (models.mnasnet1_0, 32, (16, 24, 40, 96, 320)),
        (models.mnasnet0_5, 16, (8, 16, 24, 48, 160)),
        (models.semnasnet_100, 32, (16, 24, 40, 112, 320)),
        (models.mnasnet_small, 8, (8, 16, 16, 32, 144)),
    ],
)
def test_widths(build, stem, widths):
    model = build(input_shape=(32, 32, 3), initializer="zeros")
    assert model.get_layer("stem_conv").filters == stem
    assert tuple(model.get_layer(f"stage{i}").output.shape[-1] for i in range(1, 6)) == widths
    assert model.get_layer("head_conv").filters == 1280


def test_gates_are_where_the_table_has_them_and_a_quarter_of_what_comes_in():
    model = models.semnasnet_100(input_shape=(32, 32, 3), initializer="zeros")
    gates = {layer.name: layer.kernel.shape[2:] for layer in model.layers if layer.name.endswith("_se_conv1")}
    assert gates == {
        "stage3_block1_se_conv1": (72, 6),
        "stage3_block2_se_conv1": (120, 10),
        "stage3_block3_se_conv1": (120, 10),
        "stage4_block5_se_conv1": (480, 20),
        "stage4_block6_se_conv1": (672, 28),
        "stage5_block1_se_conv1": (672, 28),
        "stage5_block2_se_conv1": (960, 40),
        "stage5_block3_se_conv1": (960, 40),
    }


def test_kernels():
    model = models.mnasnet1_0(input_shape=(32, 32, 3), initializer="zeros")
    kernels = [layer.kernel_size[0] for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    assert kernels == [3] + 3 * [3] + 3 * [5] + 3 * [5] + 2 * [3] + 4 * [5] + [3]
    assert "stage1_block1_conv1" not in {layer.name for layer in model.layers}, "the first block does not expand"


def test_only_the_small_nets_first_block_has_a_shortcut():
    fields = {"input_shape": (32, 32, 3), "initializer": "zeros"}
    first = [{layer.name for layer in build(**fields).layers} for build in (models.mnasnet_small, models.mnasnet1_0)]
    assert ["stage1_block1_add" in names for names in first] == [True, False]
