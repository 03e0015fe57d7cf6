import typing

import keras
import numpy as np
import pytest

from kerascnn import initializers, registry

SHAPE = (3, 3, 64, 128)  # fan_in 576, fan_out 1152


def draw(name, shape=SHAPE):
    return np.asarray(initializers.get(name)(shape))


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("he_normal", (2 / 576) ** 0.5),
        ("he_normal_fan_out", (2 / 1152) ** 0.5),
        ("glorot_uniform", (2 / (576 + 1152)) ** 0.5),
        ("glorot_normal", (2 / (576 + 1152)) ** 0.5),
        ("lecun_normal", (1 / 576) ** 0.5),
        ("small_normal", 0.01),
        ("large_normal", 0.05),
        ("transformer_normal", 0.02),
        ("zeros", 0.0),
    ],
)
def test_scale(name, std):
    values = draw(name)
    assert values.std() == pytest.approx(std, rel=0.02)
    assert abs(values.mean()) <= 0.02 * std


@pytest.mark.parametrize("name", [name for name in initializers.TABLE if name.endswith(("normal", "fan_out"))])
def test_normal_is_not_truncated(name):
    values = draw(name)
    assert np.mean(abs(values) > 2.5 * values.std()) == pytest.approx(0.0124, rel=0.2)


def test_two_layers_start_apart_and_a_seed_brings_them_back():
    keras.utils.set_random_seed(1)
    first, second = draw("he_normal"), draw("he_normal")
    assert not np.allclose(first, second)
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(draw("he_normal"), first)


def test_a_wrong_name_offers_the_close_ones():
    with pytest.raises(ValueError, match=r"no initializer 'he_norm': did you mean he_normal, "):
        initializers.get("he_norm")
    with pytest.raises(ValueError, match=r"no initializer 'xyzzy': did you mean he_normal, .*, zeros\?"):
        initializers.get("xyzzy")


def test_the_registry_knows_the_same_names():
    assert typing.get_args(registry.Initializer) == tuple(initializers.TABLE)
