import dataclasses
import math
import typing

import keras
import numpy as np
import pytest

from kerascnn import blocks, registry

RNG = np.random.default_rng(0)


def make(word, x, **fields):
    """The model of one word, `word(spec, x)`, for the NumPy input x."""
    spec = dataclasses.replace(registry.Spec(num_classes=5), **fields)
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


@pytest.mark.parametrize(("norm", "axes"), [("batch", (0, 1, 2)), ("layer", (1, 2, 3)), ("instance", (1, 2))])
def test_what_a_norm_averages_over(norm, axes):
    x = normal(3, 4, 5, 6) * 2 + 1
    y = run(lambda spec, x: blocks.norm(spec, x, name="norm"), x, training=True, norm=norm, bn_epsilon=0.1)
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 0.1)
    np.testing.assert_allclose(y, expected, atol=1e-5)


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


X = np.linspace(-4, 4, 41, dtype="float32")
SIGMOID = 1 / (1 + np.exp(-X))
# fmt: off
VALUES = {
    "relu":       np.maximum(X, 0),
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
    assert typing.get_args(registry.Activation) == tuple(blocks.ACTIVATIONS) == tuple(VALUES)


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


def test_flatten_needs_a_size():
    with pytest.raises(ValueError, match=r"give input_shape=\(height, width, channels\)"):
        blocks.flatten(keras.Input((None, 4, 3)))


def test_linear_rates_end_at_the_last():
    assert blocks.linear_rates(0.2, 4) == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert blocks.linear_rates(0.0, 2) == [0, 0]


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
