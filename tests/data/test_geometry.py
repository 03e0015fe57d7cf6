"""Transforms move pixels as Pillow's do, and several are one resampling."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerascnn.data import geometry

RNG = np.random.default_rng(0)
SHAPES = [(8, 8, 1), (24, 31, 3), (17, 5, 1), (60, 47, 3)]
TRANSFORMS = {
    "turn": geometry.turn(17.3),
    "turn back": geometry.turn(-121.0),
    "lean": geometry.lean(20.0),
    "lean up": geometry.lean(0.0, -33.0),
    "chain": geometry.compose(
        geometry.zoom(0.7), geometry.turn(40.0), geometry.lean(5.0, 10.0), geometry.move(2.3, -1.9)
    ),
}
transforms = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
shapes = pytest.mark.parametrize("shape", SHAPES)


def noise(shape):
    return RNG.integers(0, 256, shape, np.uint8)


def numbers(transform):
    return [float(x) for x in transform]


def pillow(image, transform, resample, fill=0):
    """The same by Pillow, whose x and y begin at the corner."""
    a, b, c, d, e, f = numbers(transform)
    height, width = image.shape[:2]
    c, f = c + width / 2 - a * width / 2 - b * height / 2, f + height / 2 - d * width / 2 - e * height / 2
    planes = [
        Image.fromarray(plane).transform(
            (width, height), Image.Transform.AFFINE, (a, b, c, d, e, f), resample, fillcolor=fill
        )
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, -1)


@shapes
@transforms
def test_nearest_is_the_same_as_pillows(transform, shape):
    for fill in (0, 128):
        image = noise(shape)
        np.testing.assert_array_equal(
            geometry.warped(image, transform, fill=fill), pillow(image, transform, Image.Resampling.NEAREST, fill)
        )


@shapes
@transforms
def test_bilinear_is_within_a_level_of_pillows(transform, shape):
    image = noise(shape)
    ours = np.float64(geometry.warped(image, transform, fill=9, interpolation="bilinear"))
    theirs = np.float64(pillow(image, transform, Image.Resampling.BILINEAR, 9))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1)
    assert np.mean(ours - theirs) > 0.1  # rounded, where Pillow cuts off


@shapes
def test_the_angle_is_pillows(shape):
    image = noise(shape)
    turned = np.stack([Image.fromarray(plane).rotate(30) for plane in np.moveaxis(image, -1, 0)], -1)
    np.testing.assert_array_equal(geometry.warped(image, geometry.turn(30.0)), turned)


def test_whole_moves_mirrors_and_quarter_turns_are_exact():
    image = noise((9, 9, 3))
    mirror = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    for interpolation in ("nearest", "bilinear"):

        def warped(*chain, interpolation=interpolation):
            return geometry.warped(image, geometry.compose(*chain), interpolation=interpolation).numpy()

        np.testing.assert_array_equal(warped(geometry.IDENTITY), image)
        np.testing.assert_array_equal(warped(mirror), image[:, ::-1])
        np.testing.assert_array_equal(warped(geometry.turn(90.0)), np.rot90(image))
        np.testing.assert_array_equal(warped(mirror, geometry.turn(90.0)), np.rot90(image[:, ::-1]))
        shifted = np.pad(image, [(2, 0), (0, 3), (0, 0)])[:9, 3:]
        np.testing.assert_array_equal(warped(geometry.move(-3, 2)), shifted)
        np.testing.assert_array_equal(warped(geometry.move(-3, 2), geometry.move(3, -2)), image)


# A spot right of the centre, or below it, and where it goes: (x, y) in pixels.
@pytest.mark.parametrize(
    ("transform", "start", "end"),
    [
        (geometry.turn(90.0), (20, 0), (0, -20)),
        (geometry.move(7.0, -5.0), (0, 0), (7, -5)),
        (geometry.zoom(1.5), (10, -6), (15, -9)),
        (geometry.lean(45.0), (0, -10), (10, -10)),
        (geometry.lean(0.0, 45.0), (10, 0), (10, -10)),
        (geometry.compose(geometry.move(10.0, 0.0), geometry.turn(90.0)), (0, 0), (0, -10)),
        (geometry.compose(geometry.turn(90.0), geometry.move(10.0, 0.0)), (0, 0), (10, 0)),
    ],
)
def test_directions(transform, start, end):
    y, x = np.mgrid[-40:41, -40:41]
    spot = np.uint8(255 * np.exp(-((x - start[0]) ** 2 + (y - start[1]) ** 2) / 20))[..., np.newaxis]
    weights = np.float64(geometry.warped(spot, transform, interpolation="bilinear"))[..., 0]
    centre = np.sum(x * weights) / weights.sum(), np.sum(y * weights) / weights.sum()
    np.testing.assert_allclose(centre, end, atol=0.1)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_a_batch_gets_the_pixels_that_each_would_get_alone(interpolation):
    batch, degrees = noise((5, 14, 11, 3)), np.array([0.0, 3.0, -70.0, 90.0, 12.5])
    alone = [
        geometry.warped(image, geometry.turn(angle), interpolation=interpolation)
        for image, angle in zip(batch, degrees, strict=True)
    ]
    compiled = tf.function(
        lambda images, angles: geometry.warped(images, geometry.turn(angles), interpolation=interpolation),
        jit_compile=True,
    )
    np.testing.assert_array_equal(geometry.warped(batch, geometry.turn(degrees), interpolation=interpolation), alone)
    np.testing.assert_array_equal(compiled(batch, degrees), alone)


def test_places_far_outside_are_filled():
    image = noise((6, 6, 1))
    for transform in (geometry.zoom(1e-5), geometry.move(1e9, 0.0), geometry.move(0.0, -1e12)):
        a = geometry.warped(image, transform, fill=200).numpy()
        assert np.mean(a == 200) >= 0.5, numbers(transform)


def test_chosen_or_identity():
    a = geometry.choose(np.array([True, False]), geometry.zoom(np.array([2.0, 2.0])))
    np.testing.assert_array_equal(a[0], [0.5, 1.0])
