"""Augmentations do what they say with the draws of their seed, and a wrong text is answered with the right one."""

import re

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from kerascnn.data import augment

RNG = np.random.default_rng(0)
SHAPES = [(8, 8, 1), (24, 31, 3), (17, 5, 1)]
SEEDS = [[0, 0], [1, 2], [-5, 2**31 - 1], [77, 123456]]


def noise(shape):
    return RNG.integers(0, 256, shape, np.uint8)


def moved(image, seed, degrees=0.0, translate=0.0, scale=0.0, shear=0.0):
    """`affine` once more, by SciPy: zoom, turn, lean, move."""
    draws = np.float64(tf.random.stateless_uniform([5], seed, -1, 1))
    angle, lean = draws[[0, 4]] * np.radians([degrees, shear])
    # In (row, column).
    forward = np.array([[1, 0], [-np.tan(lean), 1]]) @ [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    forward *= 1 + draws[3] * scale
    centre = (np.array(image.shape[:2]) - 1) / 2
    shift = draws[[2, 1]] * translate * image.shape[:2]
    back = np.linalg.inv(forward)
    channels = [
        scipy.ndimage.affine_transform(plane, back, centre - back @ (centre + shift), order=1, mode="grid-constant")
        for plane in np.float64(np.moveaxis(image, -1, 0))
    ]
    return np.stack(channels, -1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "ranges",
    [
        {"degrees": 30},
        {"translate": 0.3},
        {"scale": 0.5},
        {"shear": 25},
        {"degrees": 180, "translate": 0.1, "scale": 0.2, "shear": 10},
    ],
)
def test_affine_is_one_bilinear_resampling(ranges, shape):
    image = noise(shape)
    for seed in SEEDS:
        ours = augment.affine(image, seed, **ranges)
        assert ours.shape == shape and ours.dtype == tf.uint8
        np.testing.assert_allclose(ours, moved(image, seed, **ranges), atol=0.52)  # rounding


@pytest.mark.parametrize("shape", SHAPES)
def test_affine_without_ranges_changes_nothing(shape):
    image = noise(shape)
    for seed in SEEDS:
        np.testing.assert_array_equal(augment.affine(image, seed), image)


# A spot right of the centre, or below it, and what its way from there says: (x, y) in pixels, before and after.
@pytest.mark.parametrize(
    ("ranges", "start", "measured", "low", "high"),
    [
        ({"degrees": 20}, (20, 0), lambda x, y: np.degrees(np.arctan2(y, x)), -20, 20),
        ({"degrees": 20}, (20, 0), np.hypot, 20, 20),
        ({"translate": 0.1}, (20, 0), lambda x, y: x - 20, -8.1, 8.1),
        ({"translate": 0.1}, (20, 0), lambda x, y: y, -8.1, 8.1),
        ({"scale": 0.2}, (20, 0), np.hypot, 16, 24),
        ({"scale": 0.2}, (20, 0), lambda x, y: y, 0, 0),
        ({"shear": 20}, (0, 20), lambda x, y: np.degrees(np.arctan2(x, y)), -20, 20),
        ({"shear": 20}, (0, 20), lambda x, y: y, 20, 20),
    ],
)
def test_affine_fills_its_ranges_and_stays_inside(ranges, start, measured, low, high):
    y, x = np.mgrid[-40:41, -40:41]
    spot = np.uint8(255 * np.exp(-((x - start[0]) ** 2 + (y - start[1]) ** 2) / 20))[..., np.newaxis]
    move = tf.function(lambda seed: augment.affine(tf.constant(spot), seed, **ranges))
    values = []
    for i in range(60):
        weights = np.float64(move(tf.constant([i, 7]))[..., 0])
        values.append(measured(np.sum(x * weights) / weights.sum(), np.sum(y * weights) / weights.sum()))
    slack = 0.1 + 0.01 * (high - low)
    assert low - slack < min(values) < low + 0.1 * (high - low) + slack
    assert high + slack > max(values) > high - 0.1 * (high - low) - slack


@pytest.mark.parametrize("shape", SHAPES)
def test_horizontal_flip_mirrors_half_of_the_images(shape):
    image = noise(shape)
    flips = 0
    for i in range(40):
        flipped = augment.horizontal_flip(tf.constant(image), [i, 3])
        flip = float(tf.random.stateless_uniform([], [i, 3])) < 0.5
        np.testing.assert_array_equal(flipped, image[:, ::-1] if flip else image)
        flips += flip
    assert 10 < flips < 30


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pixels", [0, 1, 4])
def test_pad_crop_is_a_window_of_the_padded_image(pixels, shape):
    image = noise(shape)
    padded = np.pad(image, [(pixels, pixels), (pixels, pixels), (0, 0)])
    windows = {
        padded[top : top + shape[0], left : left + shape[1]].tobytes(): (top, left)
        for top in range(2 * pixels + 1)
        for left in range(2 * pixels + 1)
    }
    crop = tf.function(lambda seed: augment.pad_crop(tf.constant(image), seed, pixels=pixels))
    found = {windows[crop(tf.constant([i, 5])).numpy().tobytes()] for i in range(60)}
    assert {top for top, _ in found} == {left for _, left in found} == set(range(2 * pixels + 1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("text", ["affine(degrees=20, scale=0.1)", "pad_crop()", "pad_crop(pixels=2), affine(shear=9)"])
def test_pixels_depend_on_the_seed_alone(text, shape):
    policy = augment.parse(text)
    image = noise(shape)
    results = []
    for global_seed in (1, 2):
        tf.random.set_seed(global_seed)
        results.append([policy(image, seed).numpy().tobytes() for seed in SEEDS])
    assert results[0] == results[1]
    assert len(set(results[0])) == len(SEEDS)
    in_graph = tf.function(policy)(tf.constant(image), tf.constant(SEEDS[1]))
    assert in_graph.shape == shape and in_graph.numpy().tobytes() == results[0][1]


@pytest.mark.parametrize("text", [None, "", "  "])
def test_no_text_changes_nothing(text):
    image = noise((4, 5, 3))
    np.testing.assert_array_equal(augment.parse(text)(image, [1, 2]), image)


def test_several_follow_one_another_each_with_draws_of_its_own():
    image = tf.constant(noise((9, 9, 1)))
    once = augment.pad_crop(image, tf.random.fold_in([3, 4], 0), pixels=2)
    twice = augment.pad_crop(once, tf.random.fold_in([3, 4], 1), pixels=2)
    policy = augment.parse("pad_crop(pixels=2),\n  pad_crop(pixels=2)")
    np.testing.assert_array_equal(policy(image, [3, 4]), twice)


FORM = "is not of the form 'name(key=number)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("afine(degrees=10)", "no augmentation 'afine': did you mean affine?"),
        ("cutout()", "no augmentation 'cutout': there are affine, horizontal_flip, pad_crop."),
        ("affine(degree=10)", "affine has no parameter 'degree': did you mean degrees?"),
        ("affine(x=10)", "affine has no parameter 'x': there are degrees, translate, scale, shear."),
        ("affine(**{'degrees': 1})", "affine has no parameter None"),
        ("affine(seed=1)", "affine has no parameter 'seed'"),
        ("horizontal_flip(p=1)", "horizontal_flip has no parameter 'p': it takes none."),
        ("affine(degrees=1, degrees=2)", "affine is given degrees twice."),
        ("affine(degrees='ten')", "affine(degrees='ten'): a number from 0 on is wanted."),
        ("affine(degrees=ten)", "affine(degrees=ten): a number"),
        ("affine(degrees={[]: 1})", "affine(degrees={[]: 1}): a number"),
        ("affine(degrees=True)", "affine(degrees=True): a number"),
        ("affine(degrees=-10)", "affine(degrees=-10): a number from 0 on"),
        ("affine(degrees=1e999)", "affine(degrees=1e309): a number"),
        ("pad_crop(pixels=1.5)", "pad_crop(pixels=1.5): a whole number from 0 on is wanted."),
        ("affine(10)", FORM),
        ("affine", FORM),
        ("os.system('ls')", FORM),
        ("affine(degrees=1", FORM),
        ("affine() horizontal_flip()", FORM),
        ("affine()] + [affine()", FORM),
        ("affine() for x in y", FORM),
        (",", FORM),
        ("\0", FORM),
    ],
)
def test_a_wrong_text_is_answered_with_what_to_type(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        augment.parse(text)
