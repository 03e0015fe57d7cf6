"""RegNet's stages by the paper's rule, and what only it has."""

import keras
import numpy as np
import pytest

from kerascnn import models, registry
from kerascnn.serve import fold
from tools import golden


# Depths, widths and group widths of the paper's RegNetX and RegNetY.
@pytest.mark.parametrize(
    ("name", "depths", "widths", "group"),
    [
        ("regnet_x_200mf", (1, 1, 4, 7), (24, 56, 152, 368), 8),
        ("regnetx_004", (1, 2, 7, 12), (32, 64, 160, 384), 16),
        ("regnet_x_600mf", (1, 3, 5, 7), (48, 96, 240, 528), 24),
        ("regnet_x_1_6gf", (2, 4, 10, 2), (72, 168, 408, 912), 24),
        ("regnet_x_32gf", (2, 7, 13, 1), (336, 672, 1344, 2520), 168),
        ("regnet_y_400mf", (1, 3, 6, 6), (48, 104, 208, 440), 8),
        ("regnety_008", (1, 3, 8, 2), (64, 128, 320, 768), 16),
        ("regnet_y_32gf", (2, 5, 12, 1), (232, 696, 1392, 3712), 232),
    ],
)
def test_the_stages_are_the_papers(name, depths, widths, group):
    stages = registry.lookup(name).spec.rows
    assert tuple(map(len, stages)) == depths
    assert tuple(rows[0].channels for rows in stages) == widths
    assert all(row.channels == row.groups * min(group, row.channels) for rows in stages for row in rows)


def test_torchvision_has_wider_stages():
    # 24.5 and 48.5 groups; 3.43 of them, of which three would be more than a tenth less.
    for name, stage, wide, paper in (
        ("regnet_x_400mf", 3, 400, 384),
        ("regnet_y_800mf", 3, 784, 768),
        ("regnet_y_8gf", 0, 224, 168),
    ):
        variant = registry.lookup(name)
        assert variant.spec.rows[stage][0].channels == wide
        assert registry.override(variant, {"widen": False}).rows[stage][0].channels == paper


def test_gates_are_measured_by_what_goes_into_the_block():
    model = models.regnet_y_200mf(input_shape=(32, 32, 3), num_classes=3)
    assert model.get_layer("stage2_block1_se_conv1").filters == 6  # of 24, where the block has 56
    assert not any("_se_" in layer.name for layer in models.regnet_x_200mf(input_shape=(32, 32, 3)).layers)
    assert model.get_layer("stage2_block1_conv2").groups == 7 and model.get_layer("stem_conv").filters == 32


def test_it_folds_to_convolutions():
    model = golden.fill(models.regnet_y_200mf(input_shape=(32, 32, 3), num_classes=3, depth=6))
    folded, images = fold(model), golden.images((32, 32, 3))
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    np.testing.assert_allclose(folded(images), model(images), atol=1e-4 * np.std(model(images)))


def test_other_names():
    assert registry.lookup("regnetx_004_tv").name == "regnet_x_400mf"
    assert registry.lookup("regnety_160").name == "regnet_y_16gf"


def test_a_ratio_of_one_is_refused():
    with pytest.raises(ValueError, match="regnet_x_200mf: ratio must be more than 1"):
        models.regnet_x_200mf(ratio=1.0)
