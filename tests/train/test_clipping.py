"""Each way to clip against formulas in NumPy."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerascnn.train.clipping import make_clip


@pytest.fixture(scope="module")
def model():
    x = inputs = keras.Input([8, 8, 4], dtype="float64")
    x = keras.layers.Conv2D(6, 3, name="stem_conv", dtype="float64")(x)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="stage1_conv1", dtype="float64")(x)
    x = keras.layers.BatchNormalization(name="stage1_norm1", dtype="float64")(x)
    x = keras.layers.GlobalAveragePooling2D(dtype="float64")(x)
    x = keras.layers.Dense(5, name="dense1", dtype="float64")(x)
    heads = [keras.layers.Dense(2, name=name, dtype="float64")(x) for name in ("logits", "aux1_logits")]
    model = keras.Model(inputs, heads)
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    model.get_layer("dense1").bias.assign(np.zeros(5))  # smaller than any epsilon
    return model


@pytest.fixture(scope="module")
def gradients(model):
    """Of sizes from 1e-3 to 10, one of them 0."""
    random = np.random.default_rng(1)
    sizes = np.geomspace(1e-3, 10, len(model.trainable_variables))
    sizes[3] = 0
    return [random.normal(size=v.shape) * size for v, size in zip(model.trainable_variables, sizes, strict=True)]


def clipped(text, model, gradients):
    return [g.numpy() for g in make_clip(text, model)([tf.constant(g) for g in gradients])]


def test_nothing_is_clipped_without_a_text(model, gradients):
    for found, given in zip(clipped("", model, gradients), gradients, strict=True):
        np.testing.assert_array_equal(found, given)


def test_value(model, gradients):
    for found, given in zip(clipped("value(limit=0.2)", model, gradients), gradients, strict=True):
        np.testing.assert_array_equal(found, np.clip(given, -0.2, 0.2))


def test_norm(model, gradients):
    norms = [np.linalg.norm(given) for given in gradients]
    assert min(norms) < 2 < max(norms)
    for found, given, norm in zip(clipped("norm(limit=2)", model, gradients), gradients, norms, strict=True):
        np.testing.assert_allclose(found, given if norm <= 2 else given * 2 / norm, rtol=1e-14)


@pytest.mark.parametrize("limit", [0.5, 1e4])
def test_global_norm(model, gradients, limit):
    norm = np.linalg.norm(np.concatenate([given.ravel() for given in gradients]))
    assert 0.5 < norm < 1e4
    found = clipped(f"global_norm(limit={limit})", model, gradients)
    for one, given in zip(found, gradients, strict=True):
        np.testing.assert_allclose(one, given * min(1, limit / norm), rtol=1e-14)


def test_global_norm_as_pytorch():
    layers = [
        keras.layers.Dense(3, use_bias=False, name="dense1"),
        keras.layers.Dense(1, use_bias=False, name="logits"),
    ]
    model = keras.Sequential([keras.Input([2]), *layers])
    found = clipped("global_norm", model, [np.arange(1.0, 7.0).reshape(2, 3), np.ones([3, 1])])
    # clip_grad_norm_(max_norm=1) of PyTorch 2.13.0, which adds 1e-6 to the norm, 9.6954
    np.testing.assert_allclose(found[0], np.arange(1, 7).reshape(2, 3) * 0.10314211398758256, rtol=2e-7)
    np.testing.assert_allclose(found[1], np.full([3, 1], 0.10314211398758256), rtol=2e-7)


def test_agc(model, gradients):
    limit, epsilon = 0.1, 1e-2
    found = clipped(f"agc(limit={limit}, epsilon={epsilon})", model, gradients)
    changed = []
    for variable, one, given in zip(model.trainable_variables, found, gradients, strict=True):
        weight = variable.numpy()
        # Where the units of a weight are: each index of these axes is one.
        units = {"stem_conv/kernel": (3,), "stage1_conv1/kernel": (2, 3), "dense1/kernel": (1,)}.get(variable.path, ())
        if "logits" in variable.path:
            np.testing.assert_array_equal(one, given)
            continue
        wanted = given.copy()
        for unit in np.ndindex(*[weight.shape[axis] for axis in units]):
            where = [slice(None)] * weight.ndim
            for axis, i in zip(units, unit, strict=True):
                where[axis] = i
            largest = limit * max(np.linalg.norm(weight[tuple(where)]), epsilon)
            norm = np.linalg.norm(given[tuple(where)])
            if norm > largest:
                wanted[tuple(where)] *= largest / norm
        np.testing.assert_allclose(one, wanted, rtol=1e-13, err_msg=variable.path)
        changed.append(not np.array_equal(wanted, given))
    assert any(changed) and not all(changed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("globalnorm", "clip: there is no 'globalnorm': did you mean global_norm"),
        ("norm, value", "clip='norm, value': give one."),
        ("norm(limit=0)", "clip: norm(limit=0): above 0 is wanted."),
        ("value(limit=-1)", "clip: value(limit=-1): above 0 is wanted."),
        ("global_norm(limit=0)", "clip: global_norm(limit=0): above 0 is wanted."),
        ("agc(epsilon=0)", "clip: agc(epsilon=0): above 0 is wanted."),
    ],
)
def test_wrong_texts_are_named(model, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_clip(text, model)
