"""Each operation does to an image what it says with what it drew: against Pillow or NumPy, in the compiled pipeline."""

import colorsys
import math

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from kerascnn.data import augment, draws, geometry, operations, pixels

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, [24, 24, 3], np.uint8)


def numbers(operation, count=1, key=5):
    return draws.uniform(draws.key(key, tf.range(count)), operation.draws)


def drawn(operation, count=400):
    return [np.asarray(x) for x in operation.draw(numbers(operation, count))]


def pillow(change):
    return lambda image, *strengths: np.asarray(change(Image.fromarray(image), *strengths))


def moved(transform, bilinear=False):
    """By Pillow, from the transform's float64 numbers."""

    def reference(image, *strengths):
        height, width = image.shape[:2]
        a, b, c, d, e, f = (float(x) for x in transform(height, width, *strengths))
        c, f = c + width / 2 - a * width / 2 - b * height / 2, f + height / 2 - d * width / 2 - e * height / 2
        resample = Image.Resampling.BILINEAR if bilinear else Image.Resampling.NEAREST
        pillow = Image.fromarray(image)
        return np.asarray(pillow.transform((width, height), Image.Transform.AFFINE, (a, b, c, d, e, f), resample))

    return reference


def window(image, x, y):
    padded = np.pad(image, [(4, 4), (4, 4), (0, 0)])
    return padded[4 - y : 4 - y + image.shape[0], 4 - x : 4 - x + image.shape[1]]


def jittered(image, strengths, order):
    for i in order:
        enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[i]
        image = np.asarray(enhance(Image.fromarray(image)).enhance(float(strengths[i])))
    return image


def hue_turned(image, turns):
    def turn(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel / 255)
        return np.multiply(colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value), 255)

    return np.apply_along_axis(turn, -1, np.float64(image))


def shifted(image, amounts):
    return np.clip(image + pixels.PCA_VECTORS @ (amounts * pixels.PCA_VALUES) * 255, 0, 255)


def blurred(image, sigma):
    return scipy.ndimage.gaussian_filter(np.float64(image), (sigma, sigma, 0), mode="nearest", radius=(8, 8, 0))


def hole(image, x, y):
    image, top, left = image.copy(), int(y * image.shape[0]) - 4, int(x * image.shape[1]) - 4
    image[max(top, 0) : top + 8, max(left, 0) : left + 8] = 0
    return image


def box(image, share, slope, x, y, _):
    image, (height, width) = image.copy(), image.shape[:2]
    rows = min(math.floor(math.sqrt(share * height * width * slope) + 0.5), height)
    columns = min(math.floor(math.sqrt(share * height * width / slope) + 0.5), width)
    top, left = math.floor(y * (height - rows + 1)), math.floor(x * (width - columns + 1))
    image[top : top + rows, left : left + columns] = 50
    return image


def turned(height, width, angle, x, y, factor, leaning):
    """Zoom, turn, lean, move, written once more: forward as a matrix, y upwards, and then its inverse."""
    angle, leaning = math.radians(angle), math.radians(leaning)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    forward = np.array([[1, math.tan(leaning)], [0, 1]]) @ turn * factor
    flip = np.diag([1, -1])
    back = flip @ np.linalg.inv(forward) @ flip
    shift = -back @ [x * width, y * height]
    return back[0, 0], back[0, 1], shift[0], back[1, 0], back[1, 1], shift[1]


# The text, the reference (image, *drawn), and how many levels they may differ by.
# fmt: off
REFERENCES = {
    "horizontal_flip": ("horizontal_flip(p=1)", lambda image: image[:, ::-1], 0),
    "vertical_flip":   ("vertical_flip(p=1)", lambda image: image[::-1], 0),
    "quarter_turn":    ("quarter_turn", np.rot90, 0),
    "pad_crop":        ("pad_crop", window, 0),
    "rotate":          ("rotate(degrees=180, interpolation='nearest')", pillow(lambda image, x: image.rotate(x)), 0),
    "shear":           ("shear(x=40, y=20)", moved(lambda h, w, x, y: geometry.lean(x, y), True), 1),
    "translate":       ("translate(x=0.5, y=0.3)", moved(lambda h, w, x, y: (1, 0, -x * w, 0, 1, -y * h), True), 1),
    "zoom":            ("zoom(scale=0.5)", moved(lambda h, w, factor: (1 / factor, 0, 0, 0, 1 / factor, 0), True), 1),
    "affine":          ("affine(degrees=90, translate=0.2, scale=0.3, shear=20)", moved(turned, True), 1),
    "brightness":      ("brightness", pillow(lambda image, x: ImageEnhance.Brightness(image).enhance(x)), 1),
    "contrast":        ("contrast", pillow(lambda image, x: ImageEnhance.Contrast(image).enhance(x)), 1),
    "color":           ("color(strength=0.9)", pillow(lambda image, x: ImageEnhance.Color(image).enhance(x)), 1),
    "sharpness":       ("sharpness", pillow(lambda image, x: ImageEnhance.Sharpness(image).enhance(x)), 1),
    "hue":             ("hue(shift=0.5)", hue_turned, 0.51),
    "color_jitter":    ("color_jitter(brightness=0.1, contrast=0.2, saturation=0.2)", jittered, 3),  # one at each step
    "grayscale":       ("grayscale(p=1)", pillow(lambda image: ImageOps.grayscale(image).convert("RGB")), 0),
    "pca":             ("pca", shifted, 0.51),
    "posterize":       ("posterize(low=1)", pillow(ImageOps.posterize), 0),
    "solarize":        ("solarize(low=0)", pillow(ImageOps.solarize), 0),
    "invert":          ("invert(p=1)", pillow(ImageOps.invert), 0),
    "equalize":        ("equalize(p=1)", pillow(ImageOps.equalize), 0),
    "autocontrast":    ("autocontrast(p=1)", pillow(ImageOps.autocontrast), 1),
    "gaussian_blur":   ("gaussian_blur(p=1)", blurred, 0.51),
    "gaussian_noise":  ("gaussian_noise(p=1)", pixels.noisy, 1),
    "cutout":          ("cutout(side=8)", hole, 0),
    "random_erasing":  ("random_erasing(p=1, high=0.9, fill=50)", box, 0),
}
# fmt: on


def test_every_operation_has_a_reference():
    assert list(REFERENCES) == list(operations.OPERATIONS)


@pytest.mark.parametrize("name", REFERENCES)
def test_operations_agree_with_their_reference(name):
    text, reference, levels = REFERENCES[name]
    policy, operation = augment.parse(text), augment.parse(text).operations[0]
    image = IMAGE if name != "autocontrast" else IMAGE // 2 + 60
    results = set()
    for u in numbers(operation, 6 if operation.draws else 1):
        ours = policy(image, u).numpy()
        expected = reference(image, *(x.numpy() for x in operation.draw(u)))
        np.testing.assert_allclose(np.float64(ours), np.float64(expected), rtol=0, atol=levels)
        assert len(policy.describe(u)) >= (name != "quarter_turn")
        results.add(ours.tobytes())
    assert len(results) > 1 or not operation.draws


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", operations.OPERATIONS)
def test_operations_take_one_to_four_channels(name, channels):
    operation = augment.parse(REFERENCES[name][0]).operations[0]
    image = tf.constant(RNG.integers(0, 256, [12, 12, channels], np.uint8))
    u = numbers(operation)[0]
    if operation.apply:
        changed = operation.apply(image, *operation.draw(u))
    else:
        changed = geometry.warped(image, operation.transform(12, 12, *operation.draw(u)))
    assert changed.shape == image.shape and changed.dtype == tf.uint8


# What is drawn, and from where to where.
@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("rotate(degrees=20)", [(-20, 20)]),
        ("shear(x=10, y=5)", [(-10, 10), (-5, 5)]),
        ("translate(x=0.1, y=0.2)", [(-0.1, 0.1), (-0.2, 0.2)]),
        ("zoom(scale=0.3)", [(0.7, 1.3)]),
        (
            "affine(degrees=9, translate=0.1, scale=0.2, shear=8)",
            [(-9, 9), (-0.1, 0.1), (-0.1, 0.1), (0.8, 1.2), (-8, 8)],
        ),
        ("pad_crop(pixels=3)", [(-3, 3), (-3, 3)]),
        ("quarter_turn", [(0, 3)]),
        ("brightness(strength=0.4)", [(0.6, 1.4)]),
        ("color(strength=1.5)", [(0, 2.5)]),
        ("hue(shift=0.2)", [(-0.2, 0.2)]),
        ("posterize(low=3, high=6)", [(3, 6)]),
        ("solarize(low=100, high=200)", [(100, 200)]),
        ("gaussian_blur(low=0.5, high=3)", [(0.5, 3)]),
        ("gaussian_noise(deviation=20)", [(0, 20)]),
        ("random_erasing(low=0.1, high=0.4)", [(0.1, 0.4), (0.3, 1 / 0.3)]),
    ],
)
def test_strengths_fill_their_ranges_and_stay_inside(text, ranges):
    for values, (low, high) in zip(drawn(augment.parse(text).operations[0]), ranges, strict=False):
        slack = 0.03 * (high - low)
        assert low - 1e-4 <= values.min() <= low + slack
        assert high - slack <= values.max() <= high + 1e-4


@pytest.mark.parametrize("name", [name for name in operations.OPERATIONS if name not in ("quarter_turn", "pad_crop")])
def test_p_is_the_share_of_images_that_are_changed(name):
    needed = {"color_jitter": "brightness=0.4, ", "affine": "degrees=30, "}
    arguments = (needed | {"posterize": "high=4, ", "solarize": "high=128, "}).get(name, "")
    policy = augment.parse(f"{name}({arguments}p=0.3)")
    u = draws.uniform(draws.key(1, tf.range(40)), policy.draws).numpy()
    image = IMAGE // 2 + 60
    for row in (u[u[:, -1] >= 0.3][0], u[u[:, -1] < 0.3][0]):
        changed = row[-1] < 0.3
        assert np.any(policy(image, row) != image) == changed
        assert bool(policy.describe(row)) == changed


def test_pca_amounts_are_normal():
    (amounts,) = drawn(operations.pca(deviation=0.1), 5000)
    assert amounts.shape == (5000, 3)
    np.testing.assert_allclose(amounts.mean(0), 0, atol=0.005)
    np.testing.assert_allclose(amounts.std(0), 0.1, atol=0.004)
    assert abs(np.mean(np.abs(amounts) < 0.1) - 0.6827) < 0.02


def test_every_order_of_the_jitter_is_drawn():
    _, orders = drawn(operations.color_jitter(brightness=0.1, contrast=0.1, hue=0.1))
    assert {tuple(order) for order in orders} == {(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)}


def test_erasing_fills_with_noise_of_its_own():
    policy = augment.parse("random_erasing(low=1, high=1, ratio=1, p=1)")
    first, second = (policy(IMAGE, u).numpy() for u in draws.uniform(draws.key(tf.range(2)), policy.draws))
    assert np.mean(first != second) > 0.9 and np.mean(first != IMAGE) > 0.9


def test_quarter_turns_are_for_squares():
    with pytest.raises(ValueError, match="quarter_turn: images must be square, not 12x9; rotate"):
        augment.parse("quarter_turn")(IMAGE[:12, :9], [0.5])


@pytest.mark.parametrize(
    "text",
    [
        "rotate(degrees=181)", "affine(scale=1)", "affine(scale=1.5)", "affine(scale=-0.1)", "affine(degrees=-1)",
        "affine(shear=90)", "zoom(scale=1)", "translate(x=2)", "shear(y=85)", "pad_crop(pixels=-1)",
        "brightness(strength=-1)", "hue(shift=0.6)", "color_jitter(hue=0.6)", "color_jitter(contrast=-0.1)",
        "posterize(low=0)", "posterize(low=5, high=4)", "solarize(high=257)", "gaussian_blur(low=0)",
        "gaussian_blur(low=3, high=2)", "gaussian_noise(deviation=-1)", "cutout(side=-1)",
        "random_erasing(low=0.5, high=0.4)", "random_erasing(ratio=0)", "random_erasing(fill=256)", "invert(p=1.1)",
        "equalize(p=-0.1)", "rotate(fill=300)", "cutout(fill=-1)",
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused_at_once(text):
    name = text.partition("(")[0]
    with pytest.raises(ValueError, match=rf"^{name}\(\w+=.*\): a number from .* to .* is wanted\."):
        augment.parse(text)
