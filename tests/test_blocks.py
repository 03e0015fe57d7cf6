import dataclasses
import json
import math
import typing

import keras
import numpy as np
import pytest

from kerascnn import blocks, registry

RNG = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words(registry.Spec):
    """With the field of the families that have max pooling."""

    num_classes: registry.Classes = 5
    fractional_pool: registry.Ratio = None


def make(word, x, **fields):
    """The model of one word, `word(spec, x)`, for the NumPy input x."""
    spec = Words(**fields)
    image = keras.Input(x.shape[1:])
    return keras.Model(image, word(spec, image))


def run(word, x, training=False, **fields):
    return np.asarray(make(word, x, **fields)(x, training=training))


def normal(*shape):
    return RNG.standard_normal(shape).astype("float32")


def windows(x, size, stride, margin, value):
    """The windows that PyTorch's padding gives, (batch, height, width, channels, size, size)."""
    margins = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    padded = np.pad(x, margins, constant_values=value)
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))[:, ::stride, ::stride]


@pytest.mark.parametrize("side", [8, 9, 10])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (2, 2), (3, 1), (3, 2), (5, 1), (5, 2), (7, 4)])
def test_symmetric_padding_is_pytorchs(kernel, stride, side):
    x = normal(1, side, side + 3, 2)
    model = make(lambda spec, x: blocks.conv(spec, x, 4, kernel, stride, bias=False, name="conv"), x)
    weights = model.get_layer("conv").kernel.numpy()
    expected = np.einsum("bhwcij,ijcf->bhwf", windows(x, kernel, stride, (kernel - 1) // 2, 0), weights)
    np.testing.assert_allclose(np.asarray(model(x)), expected, atol=1e-5)


@pytest.mark.parametrize("side", [8, 9])
def test_same_padding_is_tensorflows(side):
    x = normal(1, side, side, 2)
    model = make(lambda spec, x: blocks.conv(spec, x, 4, 3, 2, name="conv"), x, padding="same")
    expected = keras.ops.conv(x, model.get_layer("conv").kernel, 2, "same")
    np.testing.assert_allclose(np.asarray(model(x)), np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (3, 1)])
def test_the_padding_of_max_pooling_never_wins(size, stride, side):
    x = -1 - abs(normal(1, side, side, 2))
    y = run(lambda spec, x: blocks.max_pool(spec, x, size, stride, name="pool"), x)
    np.testing.assert_array_equal(y, windows(x, size, stride, (size - 1) // 2, -math.inf).max((-1, -2)))


def test_max_pooling_survives_saving(tmp_path):
    x = -1 - abs(normal(1, 8, 8, 2))
    model = make(lambda spec, x: blocks.max_pool(spec, x, 3, 2, name="pool"), x)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(np.asarray(keras.saving.load_model(tmp_path / "m.keras")(x)), np.asarray(model(x)))


def test_the_config_of_max_pooling_is_json():
    model = make(lambda spec, x: blocks.max_pool(spec, x, 3, 2, name="pool"), normal(1, 8, 8, 2))
    json.loads(model.to_json(), parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))


@pytest.mark.parametrize("side", [7, 8, 9, 10])
@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, 2), (3, 3)])
def test_ceil_leaves_no_pixel_out(size, stride, side):
    x = normal(1, side, side, 2)
    y = run(lambda spec, x: blocks.max_pool(spec, x, size, stride, ceil=True, name="pool"), x)
    count = math.ceil((side - size) / stride) + 1
    at = [slice(i * stride, i * stride + size) for i in range(count)]  # a slice ends at the border by itself
    expected = [[x[0, rows, columns].max((0, 1)) for columns in at] for rows in at]
    np.testing.assert_array_equal(y[0], expected)


def test_a_margin_of_ones_own():
    x = normal(1, 11, 11, 2)
    model = make(lambda spec, x: blocks.conv(spec, x, 4, 5, 4, margin=1, bias=False, name="conv"), x)
    weights = np.asarray(model.get_layer("conv").kernel)
    expected = np.einsum("bijcuv,uvcf->bijf", windows(x, 5, 4, 1, 0), weights)
    np.testing.assert_allclose(np.asarray(model(x)), expected, atol=1e-5)
    for padding in ("symmetric", "same"):
        assert run(lambda spec, x: blocks.conv(spec, x, 4, 5, margin=0, name="conv"), x, padding=padding).shape[1] == 7


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_dilation_keeps_the_size(padding):
    def word(spec, x):
        return blocks.conv(spec, x, 1, 3, dilation=2, bias=False, initializer="small_normal", name="conv")

    model = make(word, normal(1, 9, 9, 1), padding=padding)
    x = np.zeros((1, 9, 9, 1), "float32")
    x[0, 4, 4] = 1
    y = np.asarray(model(x))[0, :, :, 0]
    assert y.shape == (9, 9)
    np.testing.assert_array_equal(np.unique(np.nonzero(y)[0]), [2, 4, 6])


@pytest.mark.parametrize(("stride", "dilation", "side"), [(1, 1, 8), (2, 1, 8), (2, 1, 9), (1, 2, 9)])
def test_depthwise_convolves_each_channel_by_itself(stride, dilation, side):
    def word(spec, x):
        return blocks.depthwise_norm(spec, x, 3, stride, dilation=dilation, act=None, name="conv")

    x = normal(1, side, side, 5)
    model = make(word, x, norm="none")
    kernel = np.asarray(model.get_layer("conv").kernel)
    extent = 2 * dilation + 1
    spread = np.zeros((extent, extent, 5))
    spread[::dilation, ::dilation] = kernel[..., 0]
    expected = np.einsum("bijcuv,uvc->bijc", windows(x, extent, stride, dilation, 0), spread)
    np.testing.assert_allclose(np.asarray(model(x)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "std"),
    [("he_normal", (2 / 9) ** 0.5), ("he_normal_fan_out", (2 / 9) ** 0.5), ("glorot_normal", (1 / 9) ** 0.5)],
)
def test_a_depthwise_kernel_sums_over_one_channel(name, std):
    def word(spec, x):
        return blocks.depthwise_norm(spec, x, 3, name="conv")

    kernel = np.asarray(make(word, normal(1, 4, 4, 512), initializer=name).get_layer("conv").kernel)
    assert kernel.std() == pytest.approx(std, rel=0.05)


def test_norm_act_stands_ahead():
    model = make(lambda spec, x: blocks.norm_act(spec, x, name="stage1_block1_norm1"), normal(1, 4, 4, 2))
    assert [layer.name for layer in model.layers[1:]] == ["stage1_block1_norm1", "stage1_block1_act1"]


@pytest.mark.parametrize(
    "word",
    [
        lambda spec, x: blocks.conv_norm(spec, x, 4, 3, groups=2, name="conv1"),
        lambda spec, x: blocks.depthwise_norm(spec, x, 3, name="conv1"),
        lambda spec, x: blocks.dense(spec, x, 4, name="dense1"),
    ],
)
def test_maxout_takes_the_larger_of_two_filters(word):
    x = normal(2, 6, 6, 4)
    model = make(word, x, activation="maxout", norm="none")
    assert model.output_shape[-1] == 4
    doubled = np.asarray(keras.Model(model.input, model.layers[1].output)(x))
    assert doubled.shape[-1] == 8
    np.testing.assert_array_equal(np.asarray(model(x)), doubled.reshape(*doubled.shape[:-1], 4, 2).max(-1))


def test_maxout_behind_a_sum_is_relu():
    x = normal(1, 2, 2, 4)
    y = run(lambda spec, x: blocks.activation(spec, x, name="act"), x, activation="maxout")
    np.testing.assert_array_equal(y, np.maximum(x, 0))


@pytest.mark.parametrize(
    ("gate", "gates"),
    [("sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("hard_sigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1))],
)
def test_squeeze_excite(gate, gates):
    x = normal(2, 5, 4, 6)
    model = make(lambda spec, x: blocks.squeeze_excite(spec, x, 3, gate=gate, name="se"), x)
    down, down_bias = (
        np.asarray(w).squeeze((0, 1)) if w.ndim == 4 else w for w in model.get_layer("se_conv1").get_weights()
    )
    up, up_bias = (
        np.asarray(w).squeeze((0, 1)) if w.ndim == 4 else w for w in model.get_layer("se_conv2").get_weights()
    )
    weights = gates(np.maximum(x.mean((1, 2)) @ down + down_bias, 0) @ up + up_bias)
    np.testing.assert_allclose(np.asarray(model(x)), x * weights[:, None, None], atol=1e-5)


@pytest.mark.parametrize(("channels", "taps"), [(16, 3), (64, 3), (256, 5), (512, 5), (1024, 5), (2048, 7)])
def test_channel_attention_sees_more_neighbours_in_wider_nets(channels, taps):
    model = make(lambda spec, x: blocks.channel_attention(x, name="eca"), normal(1, 2, 2, channels))
    assert model.count_params() == taps


def test_names_say_where_layers_stand():
    x = normal(1, 8, 8, 4)
    model = make(lambda spec, x: blocks.conv_norm(spec, x, 4, 3, 2, groups=2, name="stage3_block2_conv1"), x)
    names = [layer.name.removeprefix("stage3_block2_") for layer in model.layers[1:]]
    assert names == ["pad1", "conv1", "norm1", "act1"]
    assert model.get_layer("stage3_block2_conv1").kernel.shape == (3, 3, 2, 4)


@pytest.mark.parametrize("norm", typing.get_args(registry.Norm))
def test_a_convolution_has_a_bias_only_without_a_norm(norm):
    model = make(lambda spec, x: blocks.conv_norm(spec, x, 4, 3, name="conv"), normal(1, 4, 4, 2), norm=norm)
    assert model.get_layer("conv").use_bias == (norm == "none")


@pytest.mark.parametrize("norm", typing.get_args(registry.Norm))
def test_zero_init_starts_at_zero(norm):
    x = normal(2, 4, 4, 2)
    y = run(lambda spec, x: blocks.conv_norm(spec, x, 4, 3, act=None, zero_init=True, name="conv"), x, norm=norm)
    np.testing.assert_array_equal(y, 0)


AXES = {"batch": (0, 1, 2), "layer": (1, 2, 3), "channel": 3, "instance": (1, 2)}


@pytest.mark.parametrize(("norm", "axes"), AXES.items())
def test_what_a_norm_averages_over(norm, axes):
    x = normal(3, 4, 5, 6) * 2 + 1
    y = run(lambda spec, x: blocks.norm(spec, x, name="norm"), x, training=True, norm=norm, bn_epsilon=0.1)
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 0.1)
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("norm", ["channel", "layer", "group", "instance"])
def test_norms_of_pooled_features_average_over_channels(norm):
    x = normal(3, 6)
    y = run(lambda spec, x: blocks.norm(spec, x, name="norm"), x, norm=norm, bn_epsilon=0.1)
    np.testing.assert_allclose(y, (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 0.1), atol=1e-5)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 24), (16, 16), (33, 11), (37, 1)])
def test_groups_are_32_or_the_largest_divisor(channels, groups):
    x = normal(2, 4, 4, channels)
    y = run(lambda spec, x: blocks.norm(spec, x, name="norm"), x, norm="group", bn_epsilon=0)
    grouped = x.reshape(2, 16, groups, -1)
    expected = (grouped - grouped.mean((1, 3), keepdims=True)) / grouped.std((1, 3), keepdims=True)
    np.testing.assert_allclose(y, expected.reshape(x.shape), atol=1e-4)


def test_momentum_is_what_is_kept():
    x = normal(3, 4, 4, 2) + 5
    model = make(lambda spec, x: blocks.norm(spec, x, name="norm"), x, bn_momentum=0.75)
    model(x, training=True)
    expected = 0.25 * x.mean((0, 1, 2))
    np.testing.assert_allclose(np.asarray(model.get_layer("norm").moving_mean), expected, rtol=1e-5)


X = np.linspace(-8, 8, 81, dtype="float32")
SIGMOID = 1 / (1 + np.exp(-X))
# fmt: off
VALUES = {
    "relu":       np.maximum(X, 0),
    "relu6":      np.clip(X, 0, 6),
    "leaky_relu": np.where(X > 0, X, 0.01 * X),
    "prelu":      np.where(X > 0, X, 0.25 * X),
    "elu":        np.where(X > 0, X, np.expm1(X)),
    "selu":       1.0507010 * np.where(X > 0, X, 1.6732632 * np.expm1(X)),
    "gelu":       X * 0.5 * (1 + np.array([math.erf(x / math.sqrt(2)) for x in X])),
    "silu":       X * SIGMOID,
    "softplus":   np.log1p(np.exp(X)),
    "sigmoid":    SIGMOID,
    "tanh":       np.tanh(X),
    "hard_swish": X * np.clip(X + 3, 0, 6) / 6,
}
# fmt: on


@pytest.mark.parametrize("name", VALUES)
def test_activations(name):
    x = X.reshape(1, 1, -1, 1)
    y = run(lambda spec, x: blocks.activation(spec, x, name="act"), x, activation=name)
    np.testing.assert_allclose(y.ravel(), VALUES[name], atol=1e-5)


def test_the_registry_knows_the_same_activations():
    assert typing.get_args(registry.Activation) == tuple(blocks.ACTIVATIONS) == (*VALUES, "maxout")


def test_prelu_has_one_slope_a_channel():
    model = make(lambda spec, x: blocks.activation(spec, x, name="act"), normal(1, 4, 5, 6), activation="prelu")
    assert model.count_params() == 6


def test_the_activation_is_the_specs_or_anothers_or_none():
    x = X.reshape(1, 1, -1, 1)
    for act, name in (("spec", "tanh"), ("silu", "silu")):
        y = run(lambda spec, x, act=act: blocks.activation(spec, x, act, name="act"), x, activation="tanh")
        np.testing.assert_allclose(y.ravel(), VALUES[name], atol=1e-5)
    np.testing.assert_array_equal(run(lambda spec, x: blocks.activation(spec, x, None, name="act"), x), x)


def test_dense():
    x = normal(2, 6)
    model = make(lambda spec, x: blocks.dense(spec, x, 3, name="dense1"), x, activation="tanh")
    weights, bias = model.get_layer("dense1").get_weights()
    np.testing.assert_allclose(np.asarray(model(x)), np.tanh(x @ weights + bias), atol=1e-5)


def test_drop_connect_reaches_every_fully_connected_layer():
    def word(spec, x):
        return blocks.logits(spec, blocks.dense(spec, x, 8, name="dense1"))

    model = make(word, normal(2, 6), drop_connect=0.25)
    assert [model.get_layer(name).rate for name in ("dense1", "logits")] == [0.25, 0.25]
    assert model.get_layer("logits").dtype_policy.name == "float32"


@pytest.mark.parametrize("side", [3, 6, 9, 12])
def test_flatten_averages_to_a_side(side):
    x = normal(2, side, side, 2)
    y = run(lambda spec, x: blocks.flatten(x, side=6), x)
    cell = [(i * side // 6, -(-(i + 1) * side // 6)) for i in range(6)]  # PyTorch's windows
    expected = [[[x[n, a:b, c:d].mean((0, 1)) for c, d in cell] for a, b in cell] for n in range(2)]
    np.testing.assert_allclose(y, np.reshape(expected, (2, -1)), atol=1e-6)


def test_flatten_needs_a_size():
    with pytest.raises(ValueError, match=r"give input_shape=\(height, width, channels\)"):
        blocks.flatten(keras.Input((None, 4, 3)))


def test_linear_rates_end_at_the_last():
    assert blocks.linear_rates(0.2, 4) == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert blocks.linear_rates(0.0, 2) == [0, 0]


@pytest.mark.parametrize(
    ("output_stride", "plan"),
    [
        (32, [(2, 1, 1), (1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 1)]),
        (4, [(2, 1, 1), (1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 2)]),
        (2, [(2, 1, 1), (1, 1, 1), (1, 1, 2), (1, 2, 4), (1, 4, 4)]),
    ],
)
def test_dilations_stand_in_for_strides(output_stride, plan):
    assert blocks.dilations([2, 1, 2, 2, 1], output_stride) == plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Staged(registry.Spec):
    """With the fields that `stages` reads."""

    depths: tuple[registry.Size, ...] = (2, 1, 2)
    widths: tuple[registry.Size, ...] = (3, 4, 5)
    drop_path: registry.Rate = 0.5
    drop_block: registry.Rate = 0.2
    output_stride: typing.Literal[8, 32] = 32


def places(spec, rows, **fields):
    """The places that `stages` gives to its blocks, each with its row; and the names of the stages' ends."""
    seen = []

    def block(spec, x, row, place):
        seen.append((row, place))
        return keras.layers.Activation("relu", name=f"{place.name}_act")(x)

    image = keras.Input((8, 8, 1))
    model = keras.Model(image, blocks.stages(spec, image, rows, block, **fields))
    return seen, [layer.name for layer in model.layers if isinstance(layer, keras.layers.Identity)]


def test_stages_tell_each_block_its_place():
    seen, ends = places(Staged(output_stride=8), blocks.alike(Staged()), shrunk=4)
    assert ends == ["stage1", "stage2", "stage3"]
    rows, found = zip(*seen, strict=True)
    assert rows == tuple(map(blocks.Row, (3, 3, 4, 5, 5), (1, 1, 2, 2, 1)))
    assert [(place.name, place.number) for place in found] == [
        ("stage1_block1", 1), ("stage1_block2", 2), ("stage2_block1", 3), ("stage3_block1", 4), ("stage3_block2", 5),
    ]  # fmt: skip
    # A fourth behind the stem, an eighth in stage 2; stage 3 is dilated in place of its stride.
    assert [place[3:6] for place in found] == [(1, 1, 1), (1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 2)]
    assert [place.straight for place in found] == [True, True, False, False, True]
    assert [place.rate for place in found] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert [place.drop_block for place in found] == [0, 0, 0.2, 0.2, 0.2]


def test_stages_take_rates_and_a_spec_without_their_fields():
    seen, _ = places(Staged(), blocks.alike(Staged(), stride=2), rates=[0.1] * 5)
    assert [place.rate for _, place in seen] == [0.1] * 5 and seen[0][0].stride == seen[0][1].stride == 2
    seen, _ = places(Words(), blocks.alike(Staged()), shrunk=32)
    assert {(place.rate, place.drop_block, place.dilation) for _, place in seen} == {(0, 0, 1)}
    assert [place.stride for _, place in seen] == [1, 1, 2, 2, 1]


def test_a_stride_splits_rows_and_what_is_ahead_of_it_is_the_stems():
    one, two = blocks.Row(8, 1), blocks.Row(8, 2)
    assert blocks.split([one, two, one, two]) == [[one], [two, one], [two]]
    assert blocks.split([two]) == [[], [two]]
    _, ends = places(Staged(), blocks.split([two]))
    assert ends == ["stage1", "stage2"]


def test_depths_and_widths_are_one_for_each_stage():
    with pytest.raises(ValueError, match="widths must be 2 numbers, one for each of depths"):
        Staged(depths=(1, 1))


def test_drop_block_drops_from_both_sides_of_a_sum():
    x = np.ones((8, 14, 14, 4), "float32")

    def word(spec, x):
        return blocks.residual(x * 2, x, drop_block=0.3, name="stage1_block1")

    np.testing.assert_array_equal(run(word, x), 3)
    assert (run(word, x, training=True) == 0).any()
    names = {layer.name for layer in make(word, x).layers}
    assert {"stage1_block1_drop_block", "stage1_block1_shortcut_drop_block"} <= names


def test_residual_drops_the_branch_and_never_the_shortcut():
    x = np.ones((64, 2, 2, 1), "float32")

    def word(spec, x):
        return blocks.residual(x * 2, x, 0.5, name="stage1_block1")

    np.testing.assert_array_equal(run(word, x), 3)
    assert set(np.unique(run(word, x, training=True))) == {1, 5}
    assert {"stage1_block1_drop_path", "stage1_block1_add"} <= {layer.name for layer in make(word, x).layers}


@pytest.mark.parametrize(("pooling", "pool"), [("avg", np.mean), ("max", np.max)])
def test_classifier(pooling, pool):
    x = normal(2, 4, 5, 6)
    model = make(blocks.classifier, x, pooling=pooling)
    weights, bias = model.get_layer("logits").get_weights()
    np.testing.assert_allclose(np.asarray(model(x)), pool(x, (1, 2)) @ weights + bias, atol=1e-5)
    features = run(blocks.classifier, x, pooling=pooling, num_classes=0)
    np.testing.assert_allclose(features, pool(x, (1, 2)), atol=1e-6)


def test_both_poolings_stand_side_by_side():
    x = normal(2, 4, 5, 6)
    y = run(blocks.classifier, x, pooling="catavgmax", num_classes=0)
    np.testing.assert_allclose(y, np.concatenate([x.mean((1, 2)), x.max((1, 2))], -1), atol=1e-6)


@pytest.mark.parametrize(("channels", "rounded"), [(32, 32), (33, 32), (3.2, 8), (24 * 0.35, 8), (11, 16), (116, 120)])
def test_channels_round_to_eights_but_not_far_down(channels, rounded):
    assert blocks.round_channels(channels) == rounded


def test_dropout_stands_ahead_of_the_logits():
    model = make(blocks.classifier, normal(1, 4, 4, 6), dropout=0.5)
    assert [layer.name for layer in model.layers[1:]] == ["pool", "dropout", "logits"]


def test_the_first_loss_is_at_chance():
    logits = run(blocks.classifier, normal(64, 4, 4, 64) + 1, num_classes=10)
    loss = keras.losses.sparse_categorical_crossentropy(np.arange(64) % 10, logits, from_logits=True)
    assert np.mean(loss) == pytest.approx(math.log(10), abs=0.03)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_logits_are_float32_under_mixed_precision(policy):
    def word(spec, x):
        return blocks.classifier(spec, blocks.conv(spec, x, 4, 3, name="conv"))

    keras.config.set_dtype_policy(policy)
    try:
        model = make(word, normal(1, 4, 4, 2))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    assert model.get_layer("conv").output.dtype == policy.removeprefix("mixed_")
