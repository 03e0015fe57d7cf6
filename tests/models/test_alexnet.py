import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import models, registry
from tools import golden

SMALL = {"input_shape": (63, 67, 1), "num_classes": 3, "hidden": (8, 8)}


def names(model):
    return [layer.name for layer in model.layers]


def parameters(name):
    """Of a row of the table, by hand."""
    spec = registry.lookup(name).spec
    total, channels = 0, 3
    for filters, kernel, _, _, groups in (conv for convs in spec.stages for conv in convs):
        total += (kernel**2 * channels // groups + 1) * filters
        channels = filters
    units = 6 * 6 * channels
    for width in (*spec.hidden, spec.num_classes):
        total, units = total + (units + 1) * width, width
    return total


# torchvision's; Caffe's bvlc_alexnet; and the net of Zeiler and Fergus's Figure 3.
@pytest.mark.parametrize(
    ("name", "count"), [("alexnet", 61_100_840), ("alexnet_grouped", 60_965_224), ("zfnet", 62_357_608)]
)
def test_parameters(name, count):
    assert kerascnn.create_model(name, initializer="zeros").count_params() == parameters(name) == count


@pytest.mark.parametrize(
    ("name", "convs", "stages"),
    [
        ("alexnet", (55, 27, 13, 13, 13), (27, 13, 6)),
        ("alexnet_grouped", (55, 27, 13, 13, 13), (27, 13, 6)),
        ("zfnet", (110, 26, 13, 13, 13), (55, 13, 6)),  # Figure 3
    ],
)
def test_images_shrink_as_in_the_papers(name, convs, stages):
    model = kerascnn.create_model(name, num_classes=0, pooling=None)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert tuple(layer.output.shape[1] for layer in convolutions) == convs
    assert tuple(model.get_layer(f"stage{i}").output.shape[1] for i in (1, 2, 3)) == stages


def test_two_gpus_are_two_groups():
    convs = [layer for layer in models.alexnet_grouped(**SMALL).layers if isinstance(layer, keras.layers.Conv2D)]
    assert [conv.groups for conv in convs] == [1, 2, 1, 2, 2]


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("alexnet_grouped", ["act1", "response_norm", "pool"]),
        ("zfnet", ["act1", "pool", "response_norm"]),
        ("alexnet", ["act1", "pool"]),
    ],
)
def test_where_responses_are_normalised(name, order):
    model = kerascnn.create_model(name, **SMALL)
    for stage in ("stage1", "stage2"):
        first = names(model).index(f"{stage}_act1")
        assert names(model)[first : first + len(order) + 1] == [*(f"{stage}_{word}" for word in order), stage]
    assert "stage3_response_norm" not in names(model)


def test_dropout_is_ahead_of_hidden_layers_in_torchvisions_form_and_behind_them_in_the_papers():
    def head(name, **fields):
        model = kerascnn.create_model(name, **SMALL | fields)
        return names(model)[names(model).index("flatten") + 1 :]

    hidden = ["dense1", "dense1_act", "dense2", "dense2_act"]
    assert head("alexnet") == ["dropout1", *hidden[:2], "dropout2", *hidden[2:], "logits"]
    assert head("alexnet_grouped") == [*hidden[:2], "dropout2", *hidden[2:], "dropout", "logits"]
    for name in ("alexnet", "alexnet_grouped"):
        assert head(name, dropout=0.0) == [*hidden, "logits"]
    model = models.zfnet(**SMALL, dropout=0.25)
    assert [model.get_layer(name).rate for name in ("dropout2", "dropout")] == [0.25, 0.25]


def test_features_are_the_last_hidden_layers():
    assert models.zfnet(**SMALL | {"num_classes": 0, "hidden": (8, 5)}).output_shape == (None, 5)


@pytest.mark.parametrize("fields", [{}, {"padding": "same"}, {"fractional_pool": 1.41}])
@pytest.mark.parametrize("name", ["alexnet", "zfnet"])
def test_the_least_size_is_least(name, fields):
    fields = fields | {"num_classes": 0, "pooling": None}
    spec = registry.override(registry.lookup(name), fields)
    side = spec.min_size
    assert min(kerascnn.create_model(name, input_shape=(side, side, 1), **fields).output_shape[1:]) == 1
    if side > 1:
        with pytest.raises(ValueError, match=f"{name}: images must be {side}x{side} or larger"):
            kerascnn.create_model(name, input_shape=(side, side - 1, 1), **fields)


def test_the_least_size_is_torchvisions():
    assert registry.lookup("alexnet").spec.min_size == 63


def test_switches_reach_the_layers():
    model = models.alexnet(
        **SMALL, norm="batch", activation="prelu", padding="same", bn_epsilon=0.1, conv_bias=True, drop_connect=0.2,
        fractional_pool=1.41, initializer="zeros",
    )  # fmt: skip
    conv = model.get_layer("stage1_conv1")
    assert (conv.padding, conv.use_bias, model.get_layer("stage3_norm3").epsilon) == ("same", True, 0.1)
    assert not np.any(conv.kernel)
    assert isinstance(model.get_layer("dense2_act"), keras.layers.PReLU)
    assert model.get_layer("dense1").rate == 0.2
    assert model.get_layer("stage2_pool").ratio == 1.41


def test_rows_come_back_from_a_file(tmp_path):
    stages = [[[4, 11, 4, 2, 1]], [[8, 3, 1, 1, 2]]]
    model = golden.fill(models.alexnet_grouped(**SMALL, stages=stages))
    model.save(tmp_path / "model.keras")
    loaded = kerascnn.load_model(tmp_path / "model.keras")
    assert loaded.overrides["stages"] == stages
    x = golden.images((63, 67, 1))
    np.testing.assert_array_equal(np.asarray(loaded(x)), np.asarray(model(x)))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"input_shape": (None, None, 3)}, "needs a fixed image size: give input_shape="),
        ({"pooling": "max"}, "alexnet: pooling must be avg or None"),
        ({"response_norm": "before"}, "response_norm must be .*: did you mean before_pool"),
        ({"stages": [[[64, 11, 4, -1, 1]]]}, "alexnet: stages must be 0 or more"),
    ],
)
def test_what_cannot_be_is_said(fields, says):
    with pytest.raises(ValueError, match=says):
        kerascnn.create_model("alexnet", **fields)
