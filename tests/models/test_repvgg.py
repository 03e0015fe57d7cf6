import pytest

from kerascnn import models, registry

# Tables 2 and 3 of https://arxiv.org/abs/2101.03697: layers, and the multipliers of 64, 128, 256 and 512 channels.
PAPER = {
    "repvgg_a0": ((2, 4, 14, 1), 0.75, 2.5),
    "repvgg_a1": ((2, 4, 14, 1), 1, 2.5),
    "repvgg_a2": ((2, 4, 14, 1), 1.5, 2.75),
    "repvgg_b0": ((4, 6, 16, 1), 1, 2.5),
    "repvgg_b1": ((4, 6, 16, 1), 2, 4),
    "repvgg_b2": ((4, 6, 16, 1), 2.5, 5),
    "repvgg_b3": ((4, 6, 16, 1), 3, 5),
}
SHALLOW = {"depths": (2, 3, 1, 1), "widths": (16, 32, 48, 64), "input_shape": (32, 32, 3)}


@pytest.mark.parametrize("name", PAPER)
def test_stages_are_the_papers(name):
    depths, a, b = PAPER[name]
    spec = registry.lookup(name).spec
    assert spec.depths == depths and spec.widths == (64 * a, 128 * a, 256 * a, 512 * b)


def test_a_norm_stands_alone_where_the_shape_stays():
    names = {layer.name for layer in models.repvgg_a0(**SHALLOW).layers}
    assert {name[:13] for name in names if name.endswith("branch3_norm")} == {
        "stage1_block2", "stage2_block2", "stage2_block3",
    }  # fmt: skip
    assert "stem_branch2_conv" in names and "stem_branch1_act" not in names


def test_every_second_layer_is_grouped():
    model = models.repvgg_b1g4(**SHALLOW)
    groups = {layer.name[:13]: layer.groups for layer in model.layers if layer.name.endswith("branch1_conv")}
    assert list(groups.values()) == [1, 1, 4, 1, 4, 1, 1, 1]
    assert model.get_layer("stage1_block2_branch2_conv").groups == 4


def test_widths_are_as_many_as_depths():
    with pytest.raises(ValueError, match="widths must be 4 numbers, one for each of depths"):
        models.repvgg_a0(widths=(8, 8))
