import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import models, registry
from kerascnn.weights import torch_names
from tools import golden


def channels(model, layer):
    return model.get_layer(layer).output.shape[-1]


@pytest.mark.parametrize(
    ("name", "stem", "last", "head"),
    [
        ("mobilenet_v2", 32, 320, 1280),
        ("mobilenet_v2_035", 16, 112, 1280),
        ("mobilenet_v2_050", 16, 160, 1280),
        ("mobilenet_v2_075", 24, 240, 1280),
        ("mobilenet_v2_140", 48, 448, 1792),
        ("mobilenet_v2_110d", 32, 352, 1280),
    ],
)
def test_widths_of_v2(name, stem, last, head):
    model = kerascnn.create_model(name, input_shape=(32, 32, 3), initializer="zeros")
    assert (channels(model, "stem_conv"), channels(model, "stage5"), channels(model, "head_conv")) == (stem, last, head)


def test_110d_is_deeper_save_at_its_ends():
    names = [layer.name for layer in models.mobilenet_v2_110d(input_shape=(32, 32, 3)).layers]
    depths = [sum(name.startswith(f"stage{i}_") and name.endswith("_conv3") for name in names) for i in range(1, 6)]
    assert depths == [1, 3, 4, 9, 5]  # of 1, 2, 3, 7 and 4


def test_v1_is_depthwise_then_pointwise():
    model = models.mobilenet_v1(input_shape=(32, 32, 3))
    assert isinstance(model.get_layer("stage3_block1_conv1"), keras.layers.DepthwiseConv2D)
    assert model.get_layer("stage3_block1_conv1").strides == (2, 2)
    assert model.get_layer("stage3_block1_conv2").kernel.shape == (1, 1, 128, 256)
    assert [channels(model, f"stage{i}") for i in range(1, 6)] == [64, 128, 256, 512, 1024]


def test_an_inverted_residual_is_linear_at_its_end_and_added_where_shapes_agree():
    model = models.mobilenet_v2(input_shape=(32, 32, 3))
    names = {layer.name for layer in model.layers}
    assert "stage2_block2_act3" not in names and "stage2_block2_act2" in names
    assert "stage2_block2_add" in names and "stage2_block1_add" not in names
    assert "stage1_block1_conv1" not in names, "the first block does not expand"
    assert model.get_layer("stage2_block1_conv1").kernel.shape == (1, 1, 16, 96)


def test_squeeze_and_excitation():
    v1 = models.se_mobilenet_v1(input_shape=(32, 32, 3))
    assert v1.get_layer("stage5_block1_se_conv1").filters == 1024 // 16
    v2 = models.se_mobilenet_v2(input_shape=(32, 32, 3))
    assert v2.get_layer("stage2_block1_se_conv1").kernel.shape == (1, 1, 96, 24)


@pytest.mark.parametrize(
    "name", ["mobilenet_v1_025", "mobilenet_v2_035", "mobilenet_v3_small_minimal", "efficientnet_b0", "mnasnet_small"]
)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride_dilates(name, output_stride):
    fields = {"output_stride": output_stride, "initializer": "zeros"}  # which is quick
    model = kerascnn.create_model(name, input_shape=(64, 96, 3), **fields)
    assert model.get_layer("stage5").output.shape[1:3] == (64 // output_stride, 96 // output_stride)
    dilations = {layer.dilation_rate for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)}
    assert dilations == {32: {(1, 1)}, 16: {(1, 1), (2, 2)}, 8: {(1, 1), (2, 2), (4, 4)}}[output_stride]
    assert model.count_params() == registry.facts()[name]["params"]


@pytest.mark.parametrize(("name", "width"), [("mobilenet_v2", 0.1), ("efficientnet_b0", 0.05)])
def test_output_stride_adds_no_shortcuts(name, width):
    # So narrow that channels agree across a stride: where a dilation takes its place, there is no shortcut either.
    fields = {"input_shape": (32, 32, 3), "width": width, "initializer": "zeros"}
    nets = [kerascnn.create_model(name, output_stride=n, **fields) for n in (8, 16, 32)]
    first, *rest = [[layer.name for layer in net.layers if layer.name.endswith("_add")] for net in nets]
    assert rest == [first, first]


def test_zero_init_residual_starts_blocks_as_identities():
    model = models.mobilenet_v2(input_shape=(32, 32, 3), zero_init_residual=True)
    ends = [model.get_layer(name).output for name in ("stage2_block1_norm3", "stage2_block2_add")]
    before, after = map(np.asarray, keras.Model(model.input, ends)(golden.images((32, 32, 3))))
    assert np.any(before)
    np.testing.assert_array_equal(after, before)


def test_drop_path_falls_on_blocks_with_shortcuts_alone():
    model = models.mobilenet_v2(input_shape=(32, 32, 3), drop_path=0.17, drop_block=0.1)
    rates = {layer.name: layer.rate for layer in model.layers if layer.name.endswith("drop_path")}
    assert rates["stage2_block2_drop_path"] == pytest.approx(0.17 * 3 / 17)
    assert len(rates) == 10
    assert {name.split("_")[0] for name in (layer.name for layer in model.layers) if "drop_block" in name} == {
        "stage4",
        "stage5",
    }


def test_contradictions_are_said():
    with pytest.raises(ValueError, match="widths must be 5 numbers, one for each of depths"):
        models.mobilenet_v1(widths=(8, 16))
    with pytest.raises(ValueError, match=r"mobilenet_v1: width must be 0.05 or more"):
        models.mobilenet_v1(width=0)
    with pytest.raises(ValueError, match="mobilenet_v1 has no field 'drop_path'"):
        models.mobilenet_v1(drop_path=0.1)


@pytest.mark.parametrize(
    ("name", "tensor", "says"),
    [
        ("mobilenet_v1", "classifier.weight", r"mobilenet_v1: it lacks .*blocks\.0\.0\.bn1\.bias"),
        (
            "mobilenet_v1",
            "classifier.1.weight",
            "no rule gives the name of stage1_block1_conv1",
        ),  # as torchvision's v2 has it
        ("se_mobilenet_v1", "classifier.weight", "se_mobilenet_v1: no rule gives the name of stage1_block1_se_conv1"),
        ("se_mobilenet_v2", "classifier.1.weight", r"se_mobilenet_v2: it lacks .*features\.1\.conv\.1\.fc1\.weight"),
    ],
)
def test_weights_of_another_net_are_refused(name, tensor, says):
    with pytest.raises(ValueError, match=says):
        torch_names.assign(kerascnn.create_model(name, input_shape=(32, 32, 3)), {tensor: np.zeros((1000, 1280))})
