import keras
import numpy as np
import pytest

from kerascnn import models, registry, weights
from kerascnn.serve import fold
from tools import golden

SMALL = {"depths": (1, 2, 2, 1), "widths": (8, 8, 16, 16), "input_shape": (64, 64, 3), "num_classes": 3}
CIFAR = {"depths": (1, 2), "widths": (8, 16), "num_classes": 3}


def outputs(model, *names):
    images = golden.images(model.input_shape[1:])
    return map(np.asarray, keras.Model(model.input, [model.get_layer(name).output for name in names])(images))


@pytest.mark.parametrize(("name", "fields", "last"), [("resnetv2_50", SMALL, 4), ("preact_resnet110_cifar", CIFAR, 2)])
def test_nothing_stands_behind_the_sums(name, fields, last):
    model = models.create_model(name, **fields)
    assert isinstance(model.get_layer("stage2").input._keras_history.operation, keras.layers.Add)
    assert model.get_layer("stage2_block1_preact_norm").input is model.get_layer("stage1").output
    assert model.get_layer("head_norm").input is model.get_layer(f"stage{last}").output
    assert model.get_layer("pool").input is model.get_layer("head_act").output


def test_new_channels_see_the_activation_and_old_ones_do_not():
    model = models.resnetv2_50(**SMALL)
    assert model.get_layer("stage2_block1_shortcut_conv").input is model.get_layer("stage2_block1_preact_act").output
    assert model.get_layer("stage2_block2_add").input[0] is model.get_layer("stage2_block1_add").output
    assert not any("norm" in layer.name and "shortcut" in layer.name for layer in model.layers)


def test_the_first_cifar_block_shares_its_activation():
    model = models.preact_resnet110_cifar(**CIFAR)
    assert model.get_layer("stage1_block1_add").input[0] is model.get_layer("stage1_block1_preact_act").output
    model = models.resnetv2_18(**SMALL | {"widths": (64, 8, 16, 16)})  # timm's does not
    assert model.get_layer("stage1_block1_add").input[0] is model.get_layer("stem_pool").output


@pytest.mark.parametrize(("name", "depth", "per_block"), [
    ("preact_resnet110_cifar", 110, 2), ("preact_resnet164_cifar", 164, 3), ("resnetv2_50", 50, 3),
    ("resnetv2_34", 34, 2),
])  # fmt: skip
def test_layers_are_as_many_as_the_name_says(name, depth, per_block):
    assert sum(registry.lookup(name).spec.depths) * per_block + 2 == depth  # the stem and the classifier


class TestKerasForm:
    """keras.applications' ResNet50V2, by the overrides of its row."""

    FORM = weights.form("keras", "resnetv2_50")

    @pytest.mark.parametrize(
        ("name", "params"), [("resnetv2_50", 25_613_800), ("resnetv2_101", 44_675_560), ("resnetv2_152", 60_380_648)]
    )
    def test_parameters(self, name, params):
        # Blocks behind the first of a stage are alike, so that a short net gives the parameters of a long one.
        assert weights.form("keras", name) == self.FORM
        depths, total = registry.lookup(name).spec.depths, 0
        short = models.create_model(name, depths=(2, 2, 2, 2), **self.FORM)
        for layer in short.layers:
            stage, _, rest = layer.name.removeprefix("stage").partition("_")
            total += layer.count_params() * (depths[int(stage) - 1] - 1 if rest.startswith("block2") else 1)
        assert total == params

    def test_strides_stand_last(self):
        model = models.resnetv2_50(**SMALL | {"depths": (2, 2, 2, 2)}, **self.FORM)
        strides = {(i, j): model.get_layer(f"stage{i}_block{j}_conv2").strides[0] for i in range(1, 5) for j in (1, 2)}
        assert [key for key, stride in strides.items() if stride == 2] == [(1, 2), (2, 2), (3, 2)]
        assert [model.get_layer(f"stage{i}").output.shape[1] for i in range(1, 5)] == [8, 4, 2, 2]
        before, pooled = outputs(model, "stage1_block1_add", "stage1_block2_shortcut_pool")
        np.testing.assert_array_equal(pooled, before[:, ::2, ::2])

    def test_biases_stand_where_no_norm_follows(self):
        model = models.resnetv2_50(**SMALL, **self.FORM)
        biased = {layer.name for layer in model.layers if getattr(layer, "use_bias", False)}
        outer = {layer.name for layer in model.layers if layer.name.endswith(("_conv3", "shortcut_conv", "stem_conv"))}
        assert biased == outer | {"logits"}
        assert not models.resnetv2_50(**SMALL).get_layer("stem_conv").use_bias

    def test_the_pool_sees_zeros(self):
        fields = SMALL | {"input_shape": (8, 8, 3)}
        for zeros in (False, True):
            model = golden.fill(models.resnetv2_50(**fields, pool_zeros=zeros))
            before, after = outputs(model, "stem_conv", "stem_pool")
            window = before[:, :2, :2].max((1, 2))
            np.testing.assert_array_equal(after[:, 0, 0], np.maximum(window, 0) if zeros else window)

    def test_norm(self):
        layer = models.resnetv2_50(**SMALL, **self.FORM).get_layer("head_norm")
        assert (layer.epsilon, layer.momentum) == (1.001e-5, 0.99)


class TestBit:
    """The nets of Big Transfer."""

    def test_it_is_wide_with_standardized_kernels_and_group_norm(self):
        spec = registry.lookup("resnetv2_152x4_bit").spec
        assert (sum(spec.depths) * 3 + 2, spec.widths) == (152, (256, 512, 1024, 2048))
        model = models.resnetv2_50x3_bit(**SMALL | {"widths": (24, 24, 24, 24)})
        assert model.get_layer("stem_conv").filters == 24
        convs = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
        assert {(type(conv).__name__, conv.epsilon, conv.gamma) for conv in convs} == {
            ("StandardizedConv2D", 1e-8, None)
        }
        assert model.get_layer("head_norm").groups == 32 and model.get_layer("stem_pool").padding == "valid"

    def test_folded_it_has_plain_convolutions(self):
        model = golden.fill(models.resnetv2_50x1_bit(**SMALL))
        folded, images = fold(model), golden.images(SMALL["input_shape"])
        assert "StandardizedConv2D" not in {type(layer).__name__ for layer in folded.layers}
        np.testing.assert_allclose(folded(images), model(images), atol=1e-4 * np.std(model(images)))


def test_zero_init_residual_starts_blocks_as_identities():
    for name, conv in (("resnetv2_50", "stage2_block2_conv3"), ("resnetv2_18", "stage2_block2_conv2")):
        model = models.create_model(name, **SMALL, zero_init_residual=True, conv_bias=True)
        assert not np.any(model.get_layer(conv).kernel)
        before, after = outputs(model, "stage2_block1_add", "stage2")
        np.testing.assert_array_equal(after, before)


def test_switches_reach_the_layers():
    model = models.resnetv2_50d(**SMALL, drop_path=0.6, drop_block=0.1, fractional_pool=1.5, output_stride=8)
    rates = [model.get_layer(f"stage{i}_block1_drop_path").rate for i in range(1, 5)]
    assert rates == pytest.approx([0.1, 0.2, 0.4, 0.6])
    dropped = {layer.name.partition("_")[0] for layer in model.layers if layer.name.endswith("drop_block")}
    assert dropped == {"stage3", "stage4"}
    assert type(model.get_layer("stem_pool")).__name__ == "FractionalMaxPooling2D"
    assert [model.get_layer(f"stage{i}_block1_conv2").dilation_rate[0] for i in range(1, 5)] == [1, 1, 1, 2]
    assert model.get_layer("stage3_block2_conv2").dilation_rate == (2, 2)
    assert type(model.get_layer("stage2_block1_shortcut_pool")).__name__ == "AveragePooling2D"


def test_maxout_has_twice_the_filters_ahead_of_it():
    model = models.preact_resnet164_cifar(**CIFAR, activation="maxout")
    assert [model.get_layer(f"stage1_block1_conv{n}").filters for n in (1, 2, 3)] == [16, 16, 32]
    assert type(model.get_layer("stage1_block1_preact_act")).__name__ == "Activation"


@pytest.mark.parametrize("norm", ["group", "layer", "instance", "none"])
def test_norms(norm):
    model = models.preact_resnet164_cifar(**CIFAR, norm=norm, input_shape=(None, None, 1))
    assert np.isfinite(model(golden.images((9, 13, 1)))).all()
    assert model.get_layer("stage1_block1_conv3").use_bias == (norm == "none")


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("resnetv2_50", {"depths": (1, 1)}, "resnetv2_50: widths must be 2 numbers, one for each of depths"),
        ("resnetv2_50", {"pool_zeros": True, "fractional_pool": 1.5}, "fractional_pool pads nothing: set pool_zeros="),
        ("resnetv2_50", {"block": "bottlneck"}, "block must be basic or bottleneck, .*did you mean bottleneck"),
        ("preact_resnet110_cifar", {"fractional_pool": 1.5}, "has no field 'fractional_pool'"),
        ("preact_resnet110_cifar", {"output_stride": 8}, "has no field 'output_stride'"),
    ],
)
def test_what_cannot_be_is_said(name, fields, says):
    with pytest.raises(ValueError, match=says):
        models.create_model(name, **fields)
