import keras
import numpy as np
import pytest

from kerascnn.layers import DropPath


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
