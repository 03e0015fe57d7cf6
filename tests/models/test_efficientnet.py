import collections

import keras
import pytest

import kerascnn
from kerascnn import models, registry
from kerascnn.weights import catalog

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
    "efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet_lite4": (1, 4, 4, 6, 6, 8, 1),  # both ends stay
    "efficientnet_v2_b0": (1, 2, 2, 3, 5, 8),
    "efficientnet_v2_b3": (2, 3, 3, 5, 7, 12),
    "efficientnet_v2_s": (2, 4, 4, 6, 9, 15),  # Table 4 of the second paper
}
SIZES = (224, 240, 260, 300, 380, 456, 528, 600, 224, 300, 224, 300, 384)
HEADS = (1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560)


@pytest.mark.parametrize(("name", "size"), [*zip(DEPTHS, SIZES, strict=True)])
def test_scaling(name, size):
    spec = registry.lookup(name).spec
    rows = [row for row, *_ in spec.blocks]
    assert tuple(rows.count(i) for i in range(len(spec.rows))) == DEPTHS[name]
    assert spec.input_shape == (size, size, 3)


@pytest.mark.parametrize(("name", "head"), [*zip(DEPTHS, HEADS, strict=False)][:4])
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


def shallow(name, **fields):
    """The net with one block for each row, which are drawn quickly."""
    rows = [row._replace(repeats=1) for row in registry.lookup(name).spec.rows]
    return kerascnn.create_model(name, rows=rows, input_shape=(64, 64, 3), initializer="zeros", **fields)


def test_lite_has_no_gates_relu6_and_ends_that_are_not_scaled():
    model = shallow("efficientnet_lite4")
    acts = {layer.activation.__name__ for layer in model.layers if isinstance(layer, keras.layers.Activation)}
    assert acts == {"relu6"}
    assert (model.get_layer("stem_conv").filters, model.get_layer("head_conv").filters) == (32, 1280)
    assert model.get_layer("stage5").output.shape[-1] == 448  # 1.4 times 320


def test_fused_blocks():
    model = shallow("efficientnet_v2_s")
    names = {layer.name for layer in model.layers}
    # The first row does not expand: a convolution with an activation, and the shortcut around both.
    assert model.get_layer("stage1_block1_conv1").kernel.shape == (3, 3, 24, 24)
    assert {"stage1_block1_act1", "stage1_block1_add"} <= names and "stage1_block1_conv2" not in names
    assert model.get_layer("stage2_block1_conv1").kernel.shape == (3, 3, 24, 96)
    assert model.get_layer("stage2_block1_conv2").kernel.shape == (1, 1, 96, 48)
    assert not {"stage2_block1_act2", "stage2_block1_add", "stage2_block1_se_conv1"} & names
    assert model.get_layer("stage4_block1_se_conv1").filters == 16  # a quarter of the 64 that come in
    assert isinstance(model.get_layer("stage4_block1_conv2"), keras.layers.DepthwiseConv2D)


def test_fused_blocks_dilate_and_start_as_their_shortcuts():
    model = shallow("efficientnet_v2_s", output_stride=8, zero_init_residual=True)
    rates = collections.Counter(
        layer.dilation_rate[0] for layer in model.layers if getattr(layer, "kernel_size", (1, 1)) != (1, 1)
    )
    assert rates == {1: 1 + 3 + 1, 2: 1 + 1}  # what strides sees what it saw; the row behind it sees twice as far
    assert model.get_layer("stage5").output.shape[1:3] == (8, 8)
    assert not model.get_layer("stage1_block1_norm1").gamma.numpy().any()
    assert model.get_layer("stage2_block1_norm2").gamma.numpy().all(), "no shortcut leads past it"


def test_b_variants_round_to_the_nearest():
    stems = [shallow(f"efficientnet_v2_b{i}").get_layer("stem_conv") for i in (2, 3)]
    assert [stem.filters for stem in stems] == [32, 40]  # of 35.2 and 38.4
    assert stems[0].padding == "same"
    assert [row.channels for _, row in registry.lookup("efficientnet_v2_b3").spec.blocks][::16] == [16, 136]


@pytest.mark.parametrize(
    ("theirs", "ours", "form"),
    [
        ("tf_efficientnet_b0", "efficientnet_b0", {"padding": "same", "bn_epsilon": 1e-3}),
        ("tf_efficientnet_lite4", "efficientnet_lite4", {"padding": "same", "bn_epsilon": 1e-3}),
        ("tf_efficientnetv2_s", "efficientnet_v2_s", {"padding": "same", "bn_epsilon": 1e-3}),
        ("tf_efficientnetv2_xl", "efficientnet_v2_xl", {"padding": "same", "bn_epsilon": 1e-3}),
        ("tf_efficientnetv2_b3", "efficientnet_v2_b3", {}),
        ("efficientnetv2_s", "efficientnet_v2_s", {"bn_epsilon": 1e-5}),
        ("efficientnet_lite0", "efficientnet_lite0", {}),
    ],
)
def test_the_form_of_timms_nets(theirs, ours, form):
    assert catalog.our_model(theirs) == (ours, form)


def test_other_nets_of_timm_are_not_taken_for_ours():
    for name in ("efficientnetv2_rw_s", "efficientnet_b1_pruned", "tf_efficientnet_es"):
        with pytest.raises(ValueError, match="no model of ours is timm's"):
            catalog.our_model(name)
