import json
import os
import subprocess
import sys

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerascnn.layers import (
    AdaptiveAveragePooling2D,
    DropBlock,
    DropConnectDense,
    DropPath,
    EfficientChannelAttention,
    FractionalMaxPooling2D,
    GlobalResponseNormalization,
    LayerScale,
    LocalResponseNormalization,
    Maxout,
    Preprocess,
    StandardizedConv2D,
)


@pytest.mark.parametrize("shape", [(512, 4, 6, 3), (512, 5)])
def test_drop_path_drops_whole_images_and_scales_the_rest(shape):
    x = np.random.default_rng(0).uniform(1, 2, shape).astype("float32")
    y = np.asarray(DropPath(0.25, seed=3)(x, training=True))
    kept = y.reshape(len(y), -1)[:, 0] != 0
    np.testing.assert_array_equal(y[~kept], 0)
    np.testing.assert_allclose(y[kept], x[kept] / 0.75, rtol=1e-6)
    assert kept.mean() == pytest.approx(0.75, abs=0.06)


def test_drop_path_does_nothing_at_test_time():
    x = np.ones((8, 2, 2, 1), "float32")
    for y in (DropPath(0.5)(x), DropPath(0.5)(x, training=False), DropPath(0.0)(x, training=True)):
        np.testing.assert_array_equal(np.asarray(y), x)


def test_drop_path_draws_anew_each_step_and_alike_from_a_seed():
    x = np.ones((64, 1), "float32")
    one, other = DropPath(0.5, seed=7), DropPath(0.5, seed=7)
    first, second = np.asarray(one(x, training=True)), np.asarray(one(x, training=True))
    assert (first != second).any()
    np.testing.assert_array_equal(np.asarray(other(x, training=True)), first)


def test_drop_path_keeps_shape_and_dtype():
    layer = DropPath(0.5, dtype="mixed_bfloat16")
    y = layer(keras.KerasTensor((None, None, 7, 3)))
    assert y.shape == (None, None, 7, 3)
    assert y.dtype == "bfloat16"


def test_drop_path_survives_saving():
    layer = DropPath(0.25, seed=3, name="d")
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == "kerascnn>DropPath"
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize("rate", [1, -0.1, 5])
def test_drop_path_refuses_a_wrong_rate(rate):
    with pytest.raises(ValueError, match=f"rate must be 0 or more, and less than 1, not {rate}"):
        DropPath(rate)


def test_drop_block_drops_squares_and_keeps_the_sum():
    x = np.ones((64, 20, 24, 4), "float32")
    y = np.asarray(DropBlock(0.2, block_size=5, seed=1)(x, training=True))
    dropped = y == 0
    # Each dropped pixel lies in a square of dropped pixels.
    squares = np.lib.stride_tricks.sliding_window_view(dropped, (5, 5), (1, 2)).all((-1, -2))
    covered = np.zeros_like(dropped)
    for i in range(5):
        for j in range(5):
            covered[:, i : i + squares.shape[1], j : j + squares.shape[2]] |= squares
    np.testing.assert_array_equal(covered, dropped)
    assert dropped.mean() == pytest.approx(0.2, abs=0.03)
    np.testing.assert_allclose(y.sum((1, 2)), 20 * 24, rtol=1e-5)
    assert len({channel.tobytes() for channel in dropped[0].transpose(2, 0, 1)}) > 1


def test_drop_block_does_nothing_at_test_time_and_fits_small_maps():
    x = np.ones((8, 3, 9, 2), "float32")
    np.testing.assert_array_equal(np.asarray(DropBlock(0.5)(x)), x)
    y = np.asarray(DropBlock(0.5, seed=1)(x, training=True))
    assert np.isfinite(y).all() and (y == 0).any()
    with pytest.raises(ValueError, match="DropBlock needs a fixed image size: give input_shape="):
        DropBlock(0.5)(keras.KerasTensor((None, None, 7, 3)))


def test_drop_connect_masks_weights_and_keeps_the_expected_value():
    layer = DropConnectDense(64, 0.4, seed=1)
    x = np.ones((2, 512), "float32")
    layer.build(x.shape)
    layer.kernel.assign(np.ones((512, 64)))
    layer.bias.assign(np.full(64, 7.0))
    np.testing.assert_allclose(np.asarray(layer(x)), 512 + 7)
    y = np.asarray(layer(x, training=True)) - 7
    kept = y * 0.6
    np.testing.assert_allclose(kept, kept.round(), atol=1e-3)  # whole weights stay or go
    assert kept.mean() / 512 == pytest.approx(0.6, abs=0.02)
    np.testing.assert_array_equal(y[0], y[1])  # one draw for the batch
    assert (np.asarray(layer(x, training=True)) - 7 != y).any()


@pytest.mark.parametrize(("side", "ratio"), [(32, 1.41), (33, 1.5), (9, 1.2), (64, 1.99), (3, 1.5), (2, 1.5), (7, 1.0)])
@pytest.mark.parametrize("size", [2, 3])
def test_fractional_pooling_is_the_largest_of_windows_one_or_two_apart(side, ratio, size):
    layer = FractionalMaxPooling2D(ratio, size, seed=1)
    rows = np.arange(side, dtype="float32")[None, :, None, None] * np.ones((1, 1, side + 5, 1), "float32")
    for training in (False, True):
        y = np.asarray(layer(rows, training=training))
        assert y.shape == layer.compute_output_shape(rows.shape) == (1, int(side / ratio), int((side + 5) / ratio), 1)
        last = y[0, :, 0, 0]  # the last row of each window
        assert last[0] == min(size, side) - 1 or len(last) == 1
        assert set(np.diff(last)) <= {0, 1, 2}
        assert last[-1] == side - 1 or len(last) == 1


def test_fractional_pooling_draws_in_training_alone():
    x = np.random.default_rng(0).standard_normal((2, 31, 31, 3)).astype("float32")
    layer = FractionalMaxPooling2D(1.5, seed=1)
    np.testing.assert_array_equal(np.asarray(layer(x)), np.asarray(layer(x)))
    drawn = {np.asarray(layer(x, training=True)).tobytes() for _ in range(4)}
    assert len(drawn) > 1
    with pytest.raises(ValueError, match="fractional pooling needs a fixed image size"):
        layer(keras.KerasTensor((None, None, 7, 3)))
    with pytest.raises(ValueError, match="ratio must be 1 or more, and less than 2, not 2"):
        FractionalMaxPooling2D(2)


def test_maxout_takes_the_larger_of_neighbours():
    x = np.random.default_rng(0).standard_normal((2, 3, 6)).astype("float32")
    np.testing.assert_array_equal(np.asarray(Maxout()(x)), x.reshape(2, 3, 3, 2).max(-1))


def test_channel_attention():
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 9)).astype("float32")
    layer = EfficientChannelAttention(3)
    y = np.asarray(layer(x))
    kernel = np.asarray(layer.kernel)
    sums = [np.correlate(np.pad(means, 1), kernel) for means in x.mean((1, 2))]
    np.testing.assert_allclose(y, x / (1 + np.exp(-np.array(sums)))[:, None, None], atol=1e-6)


@pytest.mark.parametrize("gamma", [None, 1.7])
def test_a_standardized_kernel(gamma):
    x = np.random.default_rng(0).standard_normal((2, 6, 5, 4)).astype("float32")
    layer = StandardizedConv2D(6, 3, groups=2, gamma=gamma, epsilon=1e-5, kernel_initializer="he_normal")
    layer.build(x.shape)
    kernel = np.asarray(layer.kernel)
    expected = (kernel - kernel.mean((0, 1, 2))) / np.sqrt(kernel.var((0, 1, 2)) + 1e-5)
    if gamma:
        layer.gain.assign(np.arange(6))
        expected = expected * np.arange(6) * gamma / np.sqrt(3 * 3 * 2)
    np.testing.assert_allclose(layer.standardized(), expected, atol=1e-5)
    plain = keras.layers.Conv2D.from_config(layer.plain_config())
    plain.build(x.shape)
    plain.set_weights([expected, np.arange(6)])
    layer.bias.assign(np.arange(6))
    np.testing.assert_allclose(layer(x), plain(x), atol=1e-4)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_adaptive_pooling_is_pytorchs(count):
    for side in range(1, 17):
        x = np.random.default_rng(side).standard_normal((2, side, 5, 3)).astype("float32")
        layer = AdaptiveAveragePooling2D((count, 5))
        windows = [(i * side // count, -(-(i + 1) * side // count)) for i in range(count)]
        expected = np.stack([x[:, a:b].mean(1) for a, b in windows], 1)
        np.testing.assert_allclose(np.asarray(layer(x)), expected, atol=1e-6)
        assert layer.compute_output_shape(x.shape) == expected.shape


LAYERS = [
    AdaptiveAveragePooling2D(3),
    DropBlock(0.1, block_size=3, seed=1),
    DropConnectDense(4, 0.1, activation="relu", seed=1),
    FractionalMaxPooling2D(1.3, 3, seed=1),
    Maxout(),
    EfficientChannelAttention(5),
    StandardizedConv2D(4, 3, padding="same", groups=2, gamma=1.7, gain_initializer="zeros", activation="relu"),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_layers_survive_saving(layer):
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == f"kerascnn>{type(layer).__name__}"
    assert keras.saving.deserialize_keras_object(config).get_config() == layer.get_config()


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_layers_compute_in_half_precision(layer, policy):
    copy = type(layer).from_config({**layer.get_config(), "dtype": policy, "name": None})
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 6)).astype("float32")
    for training in (False, True):
        call = (
            {}
            if isinstance(layer, Maxout | EfficientChannelAttention | AdaptiveAveragePooling2D | StandardizedConv2D)
            else {"training": training}
        )
        y = copy(x, **call)
        assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")
        assert np.isfinite(np.asarray(keras.ops.cast(y, "float32"))).all()


@pytest.mark.parametrize("shape", [(2, 3, 4, 7), (2, 3)])
def test_local_response_normalization_is_alexnets(shape):
    x = np.random.default_rng(0).normal(0, 30, shape).astype("float32")
    channels = shape[-1]
    sums = [(x[..., max(i - 2, 0) : i + 3] ** 2).sum(-1) for i in range(channels)]
    expected = x / (2 + 1e-4 * np.stack(sums, -1)) ** 0.75
    np.testing.assert_allclose(np.asarray(LocalResponseNormalization()(x)), expected, rtol=1e-5)


def test_local_response_normalization_has_fields():
    x = np.array([[3.0, 4.0, 1.0]], "float32")
    y = np.asarray(LocalResponseNormalization(size=3, alpha=0.5, beta=1, bias=1)(x))
    np.testing.assert_allclose(y, x / (1 + 0.5 * np.array([[25, 26, 17]])), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_local_response_normalization_squares_do_not_overflow(dtype):
    layer = LocalResponseNormalization(dtype=dtype)
    y = layer(np.full((1, 2, 2, 8), 1000, "float32"))
    assert y.dtype == dtype.removeprefix("mixed_")
    expected = 1000 / (2 + 1e-4 * 5e6) ** 0.75
    np.testing.assert_allclose(np.asarray(keras.ops.cast(y, "float32"))[..., 2:6], expected, rtol=1e-2)


def test_local_response_normalization_survives_saving():
    layer = LocalResponseNormalization(3, 0.1, 0.5, 1.0, name="n")
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == "kerascnn>LocalResponseNormalization"
    assert keras.saving.deserialize_keras_object(config).get_config() == layer.get_config()
    assert layer(keras.KerasTensor((None, None, 7, 3))).shape == (None, None, 7, 3)


@pytest.mark.parametrize("size", [0, 4, -1])
def test_local_response_normalization_needs_a_centre(size):
    with pytest.raises(ValueError, match=f"size must be odd and 1 or more, not {size}"):
        LocalResponseNormalization(size)


FILTERS = {"bilinear": 2, "bicubic": 3, "lanczos": 1}  # Pillow's numbers
MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)


def pillows(image, whole, size, interpolation):
    """An image resized to `whole` and cut in the middle, as Pillow does it."""
    resized = PIL.Image.fromarray(image).resize(whole[::-1], FILTERS[interpolation])
    top, left = (round((a - b) / 2) for a, b in zip(whole, size, strict=True))
    return np.asarray(resized.crop((left, top, left + size[1], top + size[0])), np.float32)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("sides", "fields", "whole"),
    [
        ((90, 120), {}, (54, 73)),
        ((120, 90), {}, (97, 73)),
        ((30, 40), {"fraction": 1.0}, (48, 64)),
        ((120, 90), {"squash": True, "fraction": 0.9}, (53, 71)),
        ((48, 64), {"squash": True, "fraction": 0.9}, (53, 71)),
        ((48, 64), {}, (48, 64)),
    ],
)
def test_preprocess_is_pillows_resize_and_a_cut(sides, fields, whole, interpolation):
    # Of little contrast: Pillow cuts off what the filters throw over the ends already between its two passes.
    images = np.random.default_rng(0).integers(100, 156, (2, *sides, 3), np.uint8)
    layer = Preprocess((48, 64), MEAN, STD, interpolation=interpolation, **fields)
    expected = np.stack([pillows(image, whole, (48, 64), interpolation) for image in images])
    for dtype in ("uint8", "int32", "float32"):
        levels = np.asarray(layer(images.astype(dtype))) * np.float32(STD) + np.float32(MEAN)
        np.testing.assert_allclose(levels, levels.round(), atol=1e-4)
        assert np.abs(levels - expected).max() < 1.5  # Pillow rounds in between
        assert np.abs(levels - expected).mean() < 0.3


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_preprocess_computes_in_float32(policy):
    images = np.random.default_rng(0).uniform(0, 255, (2, 50, 60, 3)).astype("float32")
    half, single = (Preprocess((48, 64), MEAN, STD, dtype=dtype) for dtype in (policy, "float32"))
    y = half(images)
    assert y.dtype == policy.removeprefix("mixed_")
    np.testing.assert_array_equal(y, keras.ops.cast(single(images), y.dtype))


def test_preprocess_survives_saving(tmp_path):
    layer = Preprocess((12, 16), [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], 0.9, "bicubic", True, name="p")
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == "kerascnn>Preprocess"
    assert keras.saving.deserialize_keras_object(json.loads(json.dumps(config))).get_config() == layer.get_config()
    image = keras.Input((20, 30, 3), dtype="uint8")
    model = keras.Model(image, layer(image))
    assert model.output_shape == (None, 12, 16, 3)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), np.uint8)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), layer(x), atol=1e-5)  # compiled, and not


@pytest.mark.parametrize(
    ("fields", "shape", "says"),
    [
        (
            {"interpolation": "nearest"},
            (1, 9, 9, 3),
            "interpolation must be bilinear or bicubic or lanczos, not 'nearest'",
        ),
        ({"fraction": 0}, (1, 9, 9, 3), "fraction must be more than 0, and 1 or less, not 0"),
        ({}, (None, None, 9, 3), "Preprocess needs a fixed image size"),
        ({}, (9, 9, 3), "Preprocess needs a fixed image size"),
        ({}, (1, 9, 9, 1), "images of 1 channels need as many in mean="),
    ],
)
def test_preprocess_refuses_what_cannot_be(fields, shape, says):
    with pytest.raises(ValueError, match=says):
        Preprocess((8, 8), MEAN, STD, **fields)(keras.KerasTensor(shape))


JAX = """
import sys
import jax, keras, numpy as np
from kerascnn.layers import Preprocess

assert keras.backend.backend() == "jax"
x = np.load(sys.argv[1])
for squash in (False, True):
    layer = Preprocess((24, 32), (100.0, 110.0, 120.0), (50.0, 60.0, 70.0), 0.9, "bicubic", squash)
    np.save(f"{sys.argv[1]}.{squash}.npy", jax.jit(layer)(x))
"""


def test_preprocess_on_jax_is_that_on_tensorflow(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (2, 50, 60, 3), np.uint8)
    path = tmp_path / "x.npy"
    np.save(path, x)
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", JAX, path], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for squash in (False, True):
        ours = np.asarray(Preprocess((24, 32), MEAN, STD, 0.9, "bicubic", squash)(x))
        theirs = np.load(f"{path}.{squash}.npy")
        assert theirs.shape == (2, 24, 32, 3)
        assert np.abs(theirs - ours).mean() < 1e-4  # a level now and then, where one half is rounded


def test_layer_scale_multiplies_channels():
    layer = LayerScale(0.5)
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype("float32")
    np.testing.assert_allclose(np.asarray(layer(x)), x / 2)
    layer.scale.assign(np.arange(5))
    np.testing.assert_allclose(np.asarray(layer(x)), x * np.arange(5))
    assert LayerScale.from_config(layer.get_config()).start == 0.5


def test_global_response_normalization_is_the_papers():
    layer, rng = GlobalResponseNormalization(), np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4, 5)).astype("float32")
    np.testing.assert_array_equal(np.asarray(layer(x)), x)  # it starts as nothing
    gamma, beta = rng.standard_normal((2, 5)).astype("float32")
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    norms = np.sqrt((x**2).sum((1, 2), keepdims=True))
    expected = gamma * (x * norms / (norms.mean(-1, keepdims=True) + 1e-6)) + beta + x
    np.testing.assert_allclose(np.asarray(layer(x)), expected, rtol=1e-5, atol=1e-5)
    half = GlobalResponseNormalization(dtype="mixed_float16")
    assert np.isfinite(np.asarray(half(1000 * x))).all()  # whose squares float16 has not


def test_global_response_normalization_has_a_gradient_where_channels_are_silent():
    layer = GlobalResponseNormalization()
    x = tf.zeros((1, 2, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(layer(x))
    np.testing.assert_array_equal(tape.gradient(y, x), np.ones(x.shape))
