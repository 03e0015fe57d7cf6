"""What is done to pixel values agrees with Pillow where Pillow has it, and else with a NumPy reference."""

import colorsys

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from kerascnn.data import pixels

RNG = np.random.default_rng(0)
FACTORS = [0.0, 0.1, 0.5, 0.73, 1.0, 1.31, 1.9, 2.0, 3.7]


def noise(shape, low=0, high=256):
    return RNG.integers(low, high, shape, np.uint8)


# Every level, few levels, one level, one other pixel; grey and colour, odd and even sides.
IMAGES = {
    "noise": noise([37, 52, 3]),
    "grey": noise([24, 31, 1]),
    "narrow": noise([30, 20, 3], 90, 140),
    "two levels": noise([16, 16, 1], 7, 9),
    "flat": np.full([12, 9, 3], 77, np.uint8),
    "spot": np.pad(noise([1, 1, 3], 1), [(5, 7), (9, 2), (0, 0)]),
    "ramp": np.tile(np.arange(256, dtype=np.uint8)[:, np.newaxis, np.newaxis], [1, 5, 1]),
    "small": noise([2, 3, 3]),
}
images = pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)


def pil(image):
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def array(image):
    pixels = np.asarray(image)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def same(ours, pillow):
    np.testing.assert_array_equal(ours, array(pillow))


def close(ours, reference, levels=1.0):
    np.testing.assert_allclose(np.float64(ours), np.float64(reference), rtol=0, atol=levels)


@images
def test_what_pillow_does_in_integers_is_the_same(image):
    same(pixels.inverted(image), ImageOps.invert(pil(image)))
    same(pixels.equalized(image), ImageOps.equalize(pil(image)))
    for bits in range(1, 9):
        same(pixels.posterized(image, bits), ImageOps.posterize(pil(image), bits))
    for threshold in (0, 1, 100, 128, 255, 256, 99.5):
        same(pixels.solarized(image, threshold), ImageOps.solarize(pil(image), threshold))


@images
def test_autocontrast_is_within_a_level_of_pillow(image):
    ours = pixels.autocontrasted(image)
    close(ours, array(ImageOps.autocontrast(pil(image))))
    # Nothing is cut down from a whole number: exactly (x - low) * 255 // (high - low).
    low, high = np.int64(image).min((0, 1)), np.int64(image).max((0, 1))
    exact = np.where(high > low, (np.int64(image) - low) * 255 // np.maximum(high - low, 1), image)
    np.testing.assert_array_equal(ours, exact)


@images
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (pixels.brightened, ImageEnhance.Brightness),
        (pixels.contrasted, ImageEnhance.Contrast),
        (pixels.coloured, ImageEnhance.Color),
        (pixels.sharpened, ImageEnhance.Sharpness),
    ],
)
def test_enhancements_are_within_a_level_of_pillow(image, ours, theirs):
    for factor in FACTORS:
        reference = array(theirs(pil(image)).enhance(factor))
        result = ours(image, factor)
        close(result, reference)
        assert np.mean(np.asarray(result) != reference) < 0.02  # it cuts fractions off where Pillow does


@images
def test_grey_is_pillows(image):
    grey = ImageOps.grayscale(pil(image))
    same(pixels.greyed(image), grey if image.shape[-1] == 1 else grey.convert("RGB"))


@pytest.mark.parametrize("turns", [-0.5, -0.21, 0.0, 0.07, 0.5])
def test_hue_is_turned_in_hsv(turns):
    image = np.concatenate([noise([9, 14, 3]), noise([4, 14, 3], 100, 103)])

    def turn(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel / 255)
        return np.multiply(colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value), 255)

    close(pixels.hue_turned(image, turns), np.apply_along_axis(turn, -1, np.float64(image)), 0.51)


def test_pca_adds_the_components_of_the_colours():
    image, amounts = noise([6, 7, 3]), np.array([0.3, -0.2, 0.1])
    shift = pixels.PCA_VECTORS @ (amounts * pixels.PCA_VALUES) * 255
    close(pixels.pca_shifted(image, amounts), np.clip(image + shift, 0, 255), 0.51)
    np.testing.assert_allclose(pixels.PCA_VECTORS.T @ pixels.PCA_VECTORS, np.eye(3), atol=2e-3)


@images
@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.3, 2.0])
def test_blur_is_the_true_gaussian(image, sigma):
    reference = scipy.ndimage.gaussian_filter(np.float64(image), (sigma, sigma, 0), mode="nearest", radius=(8, 8, 0))
    close(pixels.blurred(image, sigma, 2.0), reference, 0.51)


def test_noise_is_normal_and_from_its_numbers_alone():
    image = np.full([200, 200, 3], 128, np.uint8)
    first, again, other = (np.float64(pixels.noisy(image, 12.0, [0.5, z])) for z in (0.25, 0.25, 0.3))
    np.testing.assert_array_equal(first, again)
    assert np.mean(first != other) > 0.9
    assert abs(np.mean(first) - 128) < 0.2 and abs(np.std(first) - 12) < 0.2
    assert abs(np.mean(np.abs(first - 128) < 12) - 0.6827) < 0.03
    assert np.mean(pixels.noisy(np.uint8(image * 0), 12.0, [0.1, 0.2]) == 0) > 0.45
    np.testing.assert_array_equal(pixels.noisy(image, 0.0, [0.5, 0.5]), image)


@pytest.mark.parametrize("box", [(2, 3, 4, 5), (-2, -1, 5, 4), (8, 9, 9, 9), (0, 0, 0, 5), (0, 0, 11, 13)])
def test_erasing_fills_the_part_of_the_box_that_is_inside(box):
    image, fill = noise([11, 13, 3]), noise([11, 13, 3])
    top, left, height, width = box
    mask = np.zeros([11, 13, 1], bool)
    mask[max(top, 0) : top + height, max(left, 0) : left + width] = True
    np.testing.assert_array_equal(pixels.erased(image, *box, 99), np.where(mask, 99, image))
    np.testing.assert_array_equal(pixels.erased(image, *box, fill), np.where(mask, fill, image))


def test_static_has_every_level_equally_often():
    images = np.zeros([2, 256, 256, 3], np.uint8)
    both = pixels.static(images, np.float32([[0.1, 0.2], [0.1, 0.3]])).numpy()
    one = pixels.static(images[1], np.float32([0.1, 0.3])).numpy()
    np.testing.assert_array_equal(both[1], one)
    counts = np.bincount(one.ravel(), minlength=256)
    assert np.sum((counts - 768) ** 2 / 768) < 255 + 5 * np.sqrt(2 * 255)  # chi squared, five deviations
    assert abs(np.corrcoef(both[0].ravel(), both[1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(one[:, :-1].ravel(), one[:, 1:].ravel())[0, 1]) < 0.02


WITH_STRENGTH = {
    "inverted": (pixels.inverted, None),
    "posterized": (pixels.posterized, [1, 4, 8]),
    "solarized": (pixels.solarized, [0, 100, 256]),
    "autocontrasted": (pixels.autocontrasted, None),
    "equalized": (pixels.equalized, None),
    "brightened": (pixels.brightened, [0.1, 1.0, 1.9]),
    "contrasted": (pixels.contrasted, [0.1, 1.0, 1.9]),
    "coloured": (pixels.coloured, [0.1, 1.0, 1.9]),
    "sharpened": (pixels.sharpened, [0.1, 1.0, 1.9]),
    "greyed": (pixels.greyed, None),
}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", WITH_STRENGTH)
def test_batches_and_compiled_code_give_the_pixels_of_one_image(name, channels):
    change, strengths = WITH_STRENGTH[name]
    batch = np.stack([noise([13, 10, channels]), noise([13, 10, channels], 60, 99), noise([13, 10, channels], 9, 10)])
    arguments = [] if strengths is None else [np.array(strengths)]
    alone = [change(image, *(a[i] for a in arguments)) for i, image in enumerate(batch)]
    np.testing.assert_array_equal(change(batch, *arguments), alone)
    np.testing.assert_array_equal(tf.function(change, jit_compile=True)(batch, *arguments), alone)


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize(
    "change",
    [
        pixels.greyed,
        lambda image: pixels.coloured(image, 0.3),
        lambda image: pixels.hue_turned(image, 0.3),
        lambda image: pixels.pca_shifted(image, [0.5, 0.5, 0.5]),
    ],
)
def test_colours_change_where_there_are_colours(change, channels):
    image = noise([8, 9, channels])
    changed = change(image).numpy()
    assert changed.shape == image.shape
    if channels < 3:
        np.testing.assert_array_equal(changed, image)
    else:
        np.testing.assert_array_equal(changed[..., 3], image[..., 3])
        np.testing.assert_array_equal(changed[..., :3], change(image[..., :3]))
        assert np.any(changed != image)
