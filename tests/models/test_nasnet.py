import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import layers, models, registry
from kerascnn.weights import keras_names
from kerascnn.weights.names import translate

SMALL = {"input_shape": (33, 33, 3), "num_classes": 3, "depths": (2, 2, 2), "width": 8}


def inputs(model, name):
    """The layers whose outputs a layer reads."""
    read = model.get_layer(name).input
    return [x._keras_history.operation.name for x in (read if isinstance(read, list) else [read])]


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("nasnet_mobile", [(111, 32), (56, 44), (28, 264), (14, 528), (7, 1056)]),
        ("nasnet_large", [(165, 96), (83, 168), (42, 1008), (21, 2016), (11, 4032)]),
    ],
)
def test_stages_end_with_the_filters_of_their_names(name, stages):
    """The paper calls them NASNet-A (4 @ 1056) and (6 @ 4032)."""
    facts = registry.facts()[name]["stages"].values()
    assert [(height, channels) for height, _, channels in facts] == stages


def test_a_cell_sees_the_two_before_it():
    for skip, seen in ((False, "stage3"), (True, "stage3_block2_concat")):
        model = models.nasnet_mobile(**SMALL, skip_reduction=skip)
        assert inputs(model, "stage4_block2_input_act") == ["stage4_block1_concat"]
        assert inputs(model, "stage4_block2_adjust_act") == [seen]
        assert inputs(model, "stage4_block3_adjust_act") == ["stage4_block1_concat"]
        assert inputs(model, "stage4_block1_adjust_act") == ["stage3_block2_concat"]


def test_a_larger_map_is_seen_as_its_even_and_its_odd_pixels():
    model = models.nasnet_mobile(**SMALL)
    pad, crop, pool = (model.get_layer(f"stage3_block1_adjust_{part}") for part in ("pad", "crop", "pool2"))
    rows = np.arange(5.0, dtype="float32").reshape(1, 5, 1, 1) * np.ones((1, 5, 5, 1), "float32")
    assert np.asarray(pool(crop(pad(rows))))[0, :, 0, 0].tolist() == [1, 3, 0]


def test_pools_may_see_zeros():
    for zeros, pools in ((True, 1), (False, 0)):
        model = models.nasnet_mobile(**SMALL | {"input_shape": (34, 33, 3)}, pool_zeros=zeros)
        pads = [layer for layer in model.layers if layer.name.endswith("block1_pad")]
        assert len(pads) == 4 * pools
        assert model.get_layer("stage5").output.shape[1:3] == (1, 1)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"width": 6}, "width must be a multiple of 4, not 6"),
        ({"depths": (4, 4)}, "depths must be tuple"),
        ({"pool_zeros": True, "input_shape": (None, None, 3)}, "needs padding='same', and a fixed input_shape"),
        ({"pool_zeros": True, "padding": "symmetric"}, "needs padding='same', and a fixed input_shape"),
        ({"input_shape": (2, 3, 3)}, "images must be 3x3 or larger"),
        ({"include_aux": True, "num_classes": 0}, "num_classes=0 leaves none: set include_aux=False"),
        ({"include_aux": True, "input_shape": (None, 33, 3)}, "include_aux=True needs a fixed input_shape"),
    ],
)
def test_what_cannot_be_is_said(fields, says):
    with pytest.raises(ValueError, match=says):
        kerascnn.create_model("nasnet_mobile", **fields)


def test_names_of_keras():
    rules = keras_names.TABLES["nasnet"](registry.lookup("nasnet_mobile").spec)
    names = {
        "stem_norm": "stem_bn1",
        "stage2_block1_left5_conv3": "separable_conv_2_reduction_left4_stem_1/depthwise",
        "stage3_block1_adjust_conv2": "adjust_conv_2_stem_2",
        "stage3_block2_input_conv": "normal_conv_1_0",
        "stage4_block1_input_norm": "reduction_bn_1_reduce_4",
        "stage4_block2_adjust_norm": "adjust_bn_5",
        "stage5_block1_right3_norm2": "separable_conv_1_bn_reduction_right3_reduce_8",
        "stage5_block5_adjust_conv": "adjust_conv_projection_12",
    }
    assert {ours: translate(rules, ours) for ours in names} == names


def test_what_operations_give_is_dropped_the_more_the_later_their_cell():
    model = models.nasnet_mobile(**SMALL | {"depths": (1, 1, 1)}, drop_path=0.7)
    rates = {layer.name: layer.rate for layer in model.layers if isinstance(layer, layers.DropPath)}
    cells = ["stage2_block1", *(f"stage{i}_block{j}" for i in (3, 4, 5) for j in (1, 2))]
    for number, cell in enumerate(cells, 1):
        reduces = cell.endswith("1")
        operations = "left1 right1 left2 right2 left3 left5 " + ("right3 right4 right5" if reduces else "left4 right4")
        found = {name: rate for name, rate in rates.items() if name.startswith(f"{cell}_")}
        assert set(found) == {f"{cell}_{operation}_drop_path" for operation in operations.split()}
        assert list(found.values()) == pytest.approx([0.7 * number / 7] * len(found))
    images = np.ones((64, 33, 33, 3), "float32")
    cell = keras.Model(model.input, model.get_layer("stage5_block2_left3_drop_path").output)
    assert 0.5 < np.mean(~np.any(cell(images, training=True), (1, 2, 3))) < 0.9  # whole images


@pytest.mark.parametrize(("side", "pooled"), [(224, 4), (96, 1), (33, 1)])
def test_the_auxiliary_classifier_sees_the_whole_map(side, pooled):
    fields = SMALL | {"depths": (1, 1, 1), "input_shape": (side, side, 3), "initializer": "zeros"}
    model = models.nasnet_mobile(**fields, include_aux=True)
    assert model.get_layer("aux1_act").input is model.get_layer("stage4").output
    assert model.get_layer("aux1_conv1").output.shape == (None, pooled, pooled, 128)
    assert model.get_layer("aux1_conv2").output.shape == (None, 1, 1, 768)
    assert [output.shape for output in model.outputs] == [(None, 3), (None, 3)]
    assert model.outputs[1] is model.get_layer("aux1_logits").output
