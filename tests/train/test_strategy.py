import keras
import pytest
import tensorflow as tf

from kerascnn.train.strategy import dtype_policy, make_strategy


def test_names():
    assert isinstance(make_strategy("one_device"), tf.distribute.OneDeviceStrategy)
    assert isinstance(make_strategy("mirrored"), tf.distribute.MirroredStrategy)
    with pytest.raises(ValueError, match="there are one_device and mirrored"):
        make_strategy("tpu")


def test_the_policy_is_put_back_also_after_an_error():
    before = keras.config.dtype_policy().name
    with pytest.raises(ZeroDivisionError), dtype_policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == before
