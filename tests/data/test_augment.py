"""A text becomes a policy: what it names happens in its order, with the numbers given, alone or in a batch."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kerascnn.data import augment, draws, geometry, operations, pixels, policies

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.integers(0, 256, shape, np.uint8)


def numbers(policy, count, key=1):
    return draws.uniform(draws.key(key, tf.range(count)), policy.draws).numpy()


@pytest.mark.parametrize("text", [None, "", "  ", "color_jitter"])
def test_no_text_changes_nothing(text):
    image, policy = noise(4, 5, 3), augment.parse(text)
    assert policy.draws == 0 and policy.describe(np.zeros(0)) == []
    np.testing.assert_array_equal(policy(image, np.zeros(0)), image)


def test_several_follow_one_another_each_with_numbers_of_its_own():
    image = noise(9, 11, 3)
    policy = augment.parse("brightness(strength=0.5),\n solarize(low=0), contrast")
    u = np.float32([0.1, 0.5, 0.9])
    bright = pixels.brightened(image, operations.between(0.1, 0.5, 1.5))
    expected = pixels.contrasted(pixels.solarized(bright, 128), operations.between(0.9, 0.6, 1.4))
    np.testing.assert_array_equal(policy(image, u), expected)
    assert policy.describe(u) == ["brightness 0.60", "solarize 128", "contrast 1.32"]


def test_neighbouring_transforms_are_one():
    # Out of the image and back: two resamplings would have lost it. A fill of another level begins anew.
    image, u = noise(20, 20, 3), np.float32([0, 0.5, 1 - 2**-24, 0.5])
    np.testing.assert_array_equal(augment.parse("translate(x=1), translate(x=1)")(image, u), image)
    lost = augment.parse("translate(x=1), translate(x=1, fill=7)")(image, u).numpy()
    assert np.all(lost[:, :-1] == 0) or np.all(lost == 7) or np.mean(lost == image) < 0.2
    chain = geometry.compose((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), geometry.turn(30.0))
    turned = augment.parse("horizontal_flip, rotate(degrees=60)")(image, [0.3, 0.75])
    np.testing.assert_array_equal(turned, geometry.warped(image, chain, interpolation="bilinear"))
    # The bilinear one decides; a flip that is not drawn is left out.
    turned = augment.parse("horizontal_flip, rotate(degrees=60)")(image, [0.7, 0.75])
    np.testing.assert_array_equal(turned, geometry.warped(image, geometry.turn(30.0), interpolation="bilinear"))


def test_pad_crop_is_a_window_of_the_padded_image():
    image, pixels = noise(8, 7, 1), 2
    policy = augment.parse("pad_crop(pixels=2)")
    padded = np.pad(image, [(pixels, pixels), (pixels, pixels), (0, 0)])
    windows = {padded[y : y + 8, x : x + 7].tobytes(): (y, x) for y in range(5) for x in range(5)}
    found = {windows[policy(image, u).numpy().tobytes()] for u in numbers(policy, 200)}
    assert len(found) == 25


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        ("affine(degrees=15, translate=0.15, scale=0.15, shear=10)", 1),
        ("pad_crop(pixels=2), horizontal_flip", 3),
        pytest.param("horizontal_flip, vertical_flip", 3, marks=pytest.mark.slow),
        ("vertical_flip, quarter_turn, brightness, rotate(p=0.5), zoom(fill=9), cutout(side=4)", 3),
        ("contrast, color, sharpness, equalize, autocontrast, invert", 3),
        ("posterize, solarize, pca, grayscale(p=0.5), random_erasing", 4),
    ],
)
def test_a_batch_gets_the_pixels_that_each_image_would_get_alone(text, channels):
    policy, images = augment.parse(text), noise(24, 10, 10, channels)
    u = numbers(policy, 24)
    alone = [policy(image, row).numpy() for image, row in zip(images, u, strict=True)]
    assert len({image.tobytes() for image in alone}) > 20
    dataset = tf.data.Dataset.from_tensor_slices((images, u)).batch(16).map(policy.batch)  # and the last, smaller one
    np.testing.assert_array_equal(np.concatenate(list(dataset.as_numpy_iterator())), alone)


@pytest.mark.parametrize("text", ["randaugment", "color_jitter(hue=0.1)", "gaussian_blur", "overhead"])
def test_some_can_only_be_done_one_by_one(text):
    assert augment.parse(text).batch is None


def test_pixels_depend_on_the_numbers_alone():
    policy, image = augment.parse("pad_crop, horizontal_flip, randaugment, gaussian_noise(p=1)"), noise(16, 16, 3)
    u = numbers(policy, 24)
    results = []
    for global_seed, workers in ((1, 1), (2, 8)):
        tf.random.set_seed(global_seed)
        dataset = tf.data.Dataset.from_tensor_slices(u).map(lambda row: policy(image, row), workers)
        assert dataset.element_spec.shape == (16, 16, 3)
        results.append(np.stack(list(dataset.as_numpy_iterator())))
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(results[0][3], policy(image, u[3]))
    assert len({result.tobytes() for result in results[0]}) == 24


def test_only_what_is_drawn_is_computed():
    def compiled(policy):
        (function,) = policy.parts
        arguments = tf.zeros([16, 16, 3], tf.uint8), tf.zeros(policy.draws)
        return function.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")

    def conditions(text):
        """How many branches each condition of the compiled program has."""
        found = re.findall(
            r" conditional\(.*(?:branch_computations={(.*?)}|true_computation)", compiled(augment.parse(text))
        )
        return [branches.count(",") + 1 for branches in found]

    assert len(conditions("invert, gaussian_blur")) == 2
    assert conditions("randaugment").count(11) == 1


def test_images_of_unknown_size_are_refused():
    with pytest.raises(ValueError, match=r"the height, width and channels of images must be known, not \(None, 4, 3\)"):
        tf.function(augment.parse("rotate")).get_concrete_function(tf.TensorSpec([None, 4, 3], tf.uint8), tf.zeros(1))


def test_importing_does_not_import_keras_cv():
    code = "import sys, kerascnn.data.augment as a; a.parse('natural'); print('keras_cv' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_presets_and_policies_stand_in_a_list():
    assert [o.name for o in augment.parse("text, 3augment").operations] == [
        *("affine", "brightness", "contrast"),
        *("threeaugment", "color_jitter", "horizontal_flip"),
    ]
    assert augment.parse("3augment(jitter=0)").draws == augment.parse("threeaugment(jitter=0.0)").draws
    assert set(augment.FUNCTIONS) == {*operations.OPERATIONS, *policies.POLICIES, "keras_cv"}


FORM = "is not of the form 'name(key=value)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("afine(degrees=10)", "augment: there is no 'afine': did you mean affine?"),
        ("4augment", "augment='4augment'"),
        ("affine(degree=10)", "affine has no parameter 'degree': did you mean degrees?"),
        ("affine(**{'degrees': 1})", "affine has no parameter None"),
        ("affine(degrees=1, degrees=2)", "affine is given degrees twice."),
        ("affine(degrees='ten')", "affine(degrees='ten'): a number is wanted."),
        ("affine(degrees=True)", "affine(degrees=True): a number"),
        ("affine(degrees=-10)", "affine(degrees=-10): a number from 0 to 180 is wanted."),
        ("affine(scale=1)", "affine(scale=1): a number from 0 to 0.99 is wanted."),
        ("affine(degrees=1e999)", "affine(degrees=1e309): a number"),
        ("pad_crop(pixels=1.5)", "pad_crop(pixels=1.5): a whole number is wanted."),
        ("rotate(interpolation='cubic')", "'nearest' or 'bilinear' is wanted."),
        ("autoaugment(policy='mnist')", "'imagenet' or 'cifar10' or 'svhn' is wanted."),
        ("natural(p=1)", "natural has no parameter 'p'"),
        ("affine(10)", FORM),
        ("affine(degrees=1", FORM),
        ("affine() horizontal_flip()", FORM),
        (",", FORM),
    ],
)
def test_a_wrong_text_is_answered_with_what_to_type(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        augment.parse(text)
