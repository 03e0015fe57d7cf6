"""keras-cv's layers as operations: the same numbers give the same pixels, whatever the global generators do."""

import re

import numpy as np
import pytest
import tensorflow as tf

from kerascnn.data import augment, draws

# One of each way in which keras-cv draws: a generator of its own, factors, gamma, shuffles, layers inside of layers.
LAYERS = [
    "GridMask(ratio_factor=0.5)",
    "RandomCutout(height_factor=0.5, width_factor=0.5, fill_mode='gaussian_noise')",
    "RandomShear(x_factor=0.3)",
    "ChannelShuffle(groups=3)",
    "AugMix",
    pytest.param("RandAugment(magnitude=0.5)", marks=pytest.mark.slow),  # as AugMix has, and dearer
    "RandomBrightness(factor=0.3)",
]
IMAGE = np.kron(np.random.default_rng(0).integers(0, 256, [6, 6, 3], np.uint8), np.ones([4, 4, 1], np.uint8))


def numbers(count):
    return draws.uniform(draws.key(1, tf.range(count)), 2)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_same_numbers_give_the_same_pixels(layer):
    u, results = numbers(10), []
    for global_seed, order, workers in ((1, 1, 1), (2, -1, 2)):
        tf.random.set_seed(global_seed)
        policy = augment.parse(f"keras_cv.{layer}")
        dataset = tf.data.Dataset.from_tensor_slices(u[::order]).map(lambda row, p=policy: p(IMAGE, row), workers)
        assert dataset.element_spec == tf.TensorSpec(IMAGE.shape, tf.uint8)
        results.append(np.stack(list(dataset.as_numpy_iterator()))[::order])
    np.testing.assert_array_equal(*results)
    assert len({result.tobytes() for result in results[0]}) >= 5
    assert augment.parse(f"keras_cv.{layer}").describe(u[0].numpy()) == [f"keras_cv.{layer.partition('(')[0]}"]


def test_layers_stand_between_operations_and_share_no_numbers():
    image = IMAGE.copy()
    policy = augment.parse(
        "invert(p=1), keras_cv.RandomFlip(mode='horizontal'), invert(p=1), keras_cv.RandomFlip(mode='horizontal')"
    )
    results = {policy(image, u).numpy().tobytes() for u in draws.uniform(draws.key(1, tf.range(12)), policy.draws)}
    assert policy.draws == 4
    assert results == {image.tobytes(), image[:, ::-1].tobytes()}


def test_keras_cv_itself_is_left_as_it_was():
    import keras_cv

    module = __import__("sys").modules[keras_cv.layers.GridMask.__module__]
    with pytest.raises(ValueError, match="Grayscale"):
        augment.parse("keras_cv.Grayscale")(IMAGE, [0.1, 0.2])
    assert module.tf is tf


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keras_cv.GridMusk", "keras_cv has no augmentation layer 'GridMusk': did you mean GridMask?"),
        (
            "keras_cv.CutMix",
            "keras_cv.CutMix needs labels or a batch, and here is one image; mix= joins images of a batch.",
        ),
        ("keras_cv.MixUp(alpha=0.2)", "keras_cv.MixUp needs labels or a batch"),
        ("keras_cv.DropBlock2D(rate=0.1, block_size=3)", "keras_cv has no augmentation layer 'DropBlock2D'"),
        ("keras_cv.GridMask(ratio=0.5)", "keras_cv.GridMask: "),
        ("keras_cv.RandomShear(x_factor=-1)", "keras_cv.RandomShear: "),
        ("keras_cv.RandomChoice", "keras_cv.RandomChoice: "),
        ("keras_cv.GridMask(ratio_factor=open)", "a plain value is wanted."),
        ("keras_cv", "is no name that can be called."),
    ],
)
def test_what_cannot_be_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        augment.parse(text)


@pytest.mark.parametrize(
    "text", ["keras_cv.Resizing(height=9, width=9)", "keras_cv.RandomAspectRatio(factor=(0.5, 2.0))"]
)
def test_sizes_are_for_the_crop_to_choose(text):
    with pytest.raises(ValueError, match=r"makes other sizes of \(24, 24, 3\): the size is for crop= to choose"):
        augment.parse(text)(IMAGE, numbers(1)[0])
