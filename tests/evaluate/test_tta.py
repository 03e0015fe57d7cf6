"""Views made by NumPy, and logits averaged by it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerascnn import data
from kerascnn.evaluate import tta
from kerascnn.evaluate.predictions import predict

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 2)).astype(np.uint8)


@pytest.fixture(scope="module")
def digits(data_dir):
    return data.open_source("digits", data_dir)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    image = keras.Input([8, 8, 1])
    return keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(keras.layers.Dropout(0.9)(image))))


def mirrored(image):
    return image[:, :, ::-1]


def seen(text, size=(6, 5)):
    views = tta.parse(text, size)
    assert sum(views.weights) == 1
    return [view.numpy() for view in views.see(tf.constant(IMAGES), views.size)], views.weights


def test_flip_exchanges_left_and_right():
    (first, second), weights = seen("flip")
    np.testing.assert_array_equal(first, IMAGES)
    np.testing.assert_array_equal(second, IMAGES[:, :, ::-1])
    assert weights == (0.5, 0.5)


@pytest.mark.parametrize("pixels", [1, 2])
def test_shifts_go_up_and_left_and_down_and_right_over_mirrored_borders(pixels):
    found, weights = seen(f"flip_and_shift(pixels={pixels})")
    wide = np.pad(IMAGES, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), "reflect")
    moved = wide[:, : -2 * pixels, : -2 * pixels], wide[:, 2 * pixels :, 2 * pixels :]
    expected = [view for image in (IMAGES, *moved) for view in (image, mirrored(image))]
    for view, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(view, wanted)
    assert weights == (0.25, 0.25, 0.125, 0.125, 0.125, 0.125)


def test_ten_crops_are_corners_centre_and_their_mirror_images():
    views = tta.parse("ten_crops(scales=(5, 9))", (4, 3))
    found = [view.numpy() for view in views.see(tf.constant(IMAGES), views.size)]
    corners = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]
    expected = [IMAGES[:, top : top + 4, left : left + 3] for top, left in corners]
    expected = [view for image in expected for view in (image, mirrored(image))]
    for view, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(view, wanted)
    assert views.weights == (0.1,) * 10 and views.scales == (5, 9)


def test_without_a_text_there_is_one_view():
    assert tta.parse("", (8, 8)) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("flop", "tta: there is no 'flop': did you mean flip"),
        ("flip, flip", "one is wanted"),
        ("flip_and_shift(pixels=0)", "pixels=0.*1 or more"),
        ("flip_and_shift(pixels=4)", "needs images of 5 pixels a side, and these are 8x4"),
        ("ten_crops", "scales"),
        ("ten_crops(scales=(8, 7))", "crops of 8x4 do not fit into 7x7"),
        ("ten_crops(scales=(0,))", "1 pixel or more"),
    ],
)
def test_what_cannot_be_is_said(text, says):
    with pytest.raises(ValueError, match=says):
        tta.parse(text, (4, 8))


@pytest.mark.parametrize("compile_all", [False, True])
def test_logits_are_averaged_by_weight_inside_of_the_compiled_function(compile_all, model):
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
    views = tta.parse("flip_and_shift", (8, 8))
    logits = tf.function(tta.make_logits(model, lambda x: tf.cast(x, tf.float32) / 9, views), jit_compile=compile_all)
    kernel, bias = model.get_weights()
    of_each = [view.numpy().reshape(4, 64) / 9 @ kernel + bias for view in views.see(tf.constant(images), (8, 8))]
    expected = np.tensordot(views.weights, of_each, 1)
    np.testing.assert_allclose(logits(tf.constant(images)), expected, rtol=1e-4, atol=1e-4)


def test_predictions_see_the_views(model, digits):
    preprocessing = data.measure(digits, "train[:20]")
    _, labels, averaged = predict(model, digits, "test[:20]", preprocessing, 8, tta="flip")
    kernel, bias = model.get_weights()
    kernel = kernel.reshape(8, 8, 10)
    images = np.stack([preprocessing.decode(encoded).numpy() for encoded, _ in digits.dataset("test[:20]")])
    inputs = preprocessing.normalise(images).numpy()[..., 0]
    both = np.tensordot(inputs, kernel, 2) + bias, np.tensordot(inputs[:, :, ::-1], kernel, 2) + bias
    np.testing.assert_allclose(averaged, np.mean(both, 0), atol=1e-4)
    np.testing.assert_array_equal(labels, [int(label) for _, label in digits.dataset("test[:20]")])


def test_crops_at_several_scales_are_of_images_decoded_at_each(model, digits):
    preprocessing = data.measure(digits, "train[:20]", mode="mean_image", crop="center(fraction=0.8)")
    _, _, found = predict(model, digits, "test[:10]", preprocessing, 4, tta="ten_crops(scales=(8, 12))")
    kernel, bias = model.get_weights()
    expected = []
    for scale in (8, 12):
        whole = dataclasses.replace(preprocessing, image_size=(scale, scale), crop="resize", mean_image=None)
        images = np.stack([whole.decode(encoded).numpy() for encoded, _ in digits.dataset("test[:10]")])
        end = scale - 8
        for top, left in [(0, 0), (0, end), (end, 0), (end, end), (end // 2, end // 2)]:
            crop = images[:, top : top + 8, left : left + 8]
            for view in (crop, mirrored(crop)):
                expected.append(preprocessing.normalise(view).numpy().reshape(10, 64) @ kernel + bias)
    np.testing.assert_allclose(found, np.mean(expected, 0), atol=1e-3)


@pytest.mark.parametrize(
    ("crop", "whole"),
    [
        ("resize", "resize"),
        ("center(interpolation='bicubic')", "center(fraction=1.0, interpolation='bicubic', antialias=True)"),
        ("squash(antialias=False)", "squash(fraction=1.0, interpolation='bilinear', antialias=False)"),
    ],
)  # fmt: skip
def test_a_scale_has_all_of_the_side_that_the_crop_covers(crop, whole, digits):
    preprocessing = data.measure(digits, "train", mode="unit", crop=crop)
    assert tta.at_scale(preprocessing, 20).crop == whole
    assert tta.at_scale(preprocessing, 20).image_size == (20, 20)
