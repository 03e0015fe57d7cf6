"""Where pixels go: transforms of the plane, and the one resampling that a chain of them takes.

A transform is six float64 numbers (a, b, c, d, e, f), each a number for one image or [batch]. It says for every pixel
of the result where it comes from: (a x + b y + c, d x + e y + f), as Pillow's `Image.transform` has it. But x and y are
pixels right of and below the image's centre, so that turns and mirrors need no shift.
"""

import math
from typing import Literal

import tensorflow as tf

from kerascnn.data.pixels import ONE

Interpolation = Literal["nearest", "bilinear"]
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def turn(degrees):
    """About the centre, counter-clockwise."""
    angle = tf.cast(degrees, tf.float64) * (math.pi / 180)
    cos, sin = tf.cos(angle), tf.sin(angle)
    return cos, -sin, 0.0, sin, cos, 0.0


def lean(degrees_x, degrees_y=0.0):
    """Vertical lines lean to the right by the first angle, horizontal ones up by the second; the centre stays."""
    x, y = (tf.tan(tf.cast(degrees, tf.float64) * (math.pi / 180)) for degrees in (degrees_x, degrees_y))
    return 1.0, x, 0.0, y, 1.0, 0.0


def move(x, y):
    """By pixels to the right and down."""
    return 1.0, 0.0, -tf.cast(x, tf.float64), 0.0, 1.0, -tf.cast(y, tf.float64)


def zoom(factor):
    """About the centre: above 1 is closer."""
    part = 1 / tf.cast(factor, tf.float64)
    return part, 0.0, 0.0, 0.0, part, 0.0


def compose(*transforms):
    """One transform for several, the first one first."""
    a, b, c, d, e, f = IDENTITY
    for g, h, i, j, k, m in transforms:
        a, b, c, d, e, f = (
            a * g + b * j,
            a * h + b * k,
            a * i + b * m + c,
            d * g + e * j,
            d * h + e * k,
            d * i + e * m + f,
        )
    return a, b, c, d, e, f


def choose(condition, transform):
    """The transform where `condition` holds, elsewhere the identity."""
    return tuple(tf.where(condition, tf.cast(x, tf.float64), same) for x, same in zip(transform, IDENTITY, strict=True))


def warped(images, transform, *, fill: int = 0, interpolation: Interpolation = "nearest"):
    """Images moved as a transform says, sampled once.

    A pixel whose place of origin lies outside of the image is filled. `nearest` computes the places as Pillow does, in
    1/65536 of a pixel, and so gives its pixels; `bilinear` rounds where Pillow cuts fractions off, which would darken.

    Args:
      images: uint8 [height, width, channels], or a batch of them.
      transform: with a number for each image, or one number for all.
      fill: a level.
      interpolation: `nearest` or `bilinear`.
    """
    images = tf.convert_to_tensor(images)
    height, width = images.shape[-3:-1]
    places = origins(transform, height, width, interpolation)
    return sampled(images, places, fill=fill, interpolation=interpolation)


def origins(transform, height: int, width: int, interpolation: Interpolation):
    """Where each pixel comes from: int32 in 1/65536 of a pixel, as (x by column, x by row, y by column, y by row).

    The sum of both is the place, counted from the corner of the image. Each is [width] or [height] for one image.
    Places that are more than 16,384 pixels away are not told apart.
    """
    a, b, c, d, e, f = (tf.cast(x, tf.float64) for x in transform)
    c += width / 2 - a * (width / 2) - b * (height / 2)
    f += height / 2 - d * (width / 2) - e * (height / 2)
    bits = 16 if interpolation == "nearest" else 32
    return *_steps(a, b, c, width, height, bits), *_steps(d, e, f, width, height, bits)


def sampled(images, places, *, fill: int, interpolation: Interpolation):
    """The pixels of images at places from `origins`.

    Two functions, so that the places can be computed before a condition or a loop: XLA joins what it can, and inside of
    it would compute them, sines and all, for each pixel anew.
    """
    height, width, channels = images.shape[-3:]
    x = places[0][..., tf.newaxis, :] + places[1][..., :, tf.newaxis]
    y = places[2][..., tf.newaxis, :] + places[3][..., :, tf.newaxis]
    inside = (x >= 0) & (x < width * ONE) & (y >= 0) & (y < height * ONE)
    pixels = tf.reshape(images, [-1, channels])  # gathered whole: measured faster than channel by channel, or packed

    def gather(row, column):
        index = tf.clip_by_value(row, 0, height - 1) * width + tf.clip_by_value(column, 0, width - 1)
        if images.shape.rank == 4:
            index += tf.reshape(tf.range(tf.shape(images)[0]) * (height * width), [-1, 1, 1])
        return tf.gather(pixels, index)

    if interpolation == "nearest":
        values = gather(_whole(y), _whole(x))
    else:
        x, y = x - ONE // 2, y - ONE // 2
        left, top = _whole(x), _whole(y)
        right_share, low_share = (
            tf.bitwise.right_shift(tf.bitwise.bitwise_and(z, ONE - 1), 5)[..., tf.newaxis] for z in (x, y)
        )
        rows = []
        for row in (top, top + 1):
            start, end = (tf.cast(gather(row, column), tf.int32) for column in (left, left + 1))
            rows.append(start * 2048 + (end - start) * right_share)  # 8 + 11 bits, and 11 more below
        both = rows[0] * 2048 + (rows[1] - rows[0]) * low_share
        values = tf.cast(tf.bitwise.right_shift(both + 2**21, 22), tf.uint8)
    return tf.where(inside[..., tf.newaxis], values, tf.constant(fill, tf.uint8))


def _steps(a, b, c, width, height, bits):
    """a x + b y + c at the centres of pixels, in whole steps as Pillow goes: by column, and by row."""
    along, down, start = (
        tf.cast(tf.floor(x * 2.0**bits + 0.5), tf.int64)[..., tf.newaxis] for x in (a, b, c + 0.5 * a + 0.5 * b)
    )
    return (
        _to_fixed(start + along * tf.range(width, dtype=tf.int64), bits),
        _to_fixed(down * tf.range(height, dtype=tf.int64), bits),
    )


def _to_fixed(numbers, bits):
    limit = 2**30 - 1  # the sum of two stays within 32 bits
    numbers = tf.bitwise.right_shift(numbers, tf.constant(bits - 16, tf.int64))
    return tf.cast(tf.clip_by_value(numbers, -limit, limit), tf.int32)


def _whole(places):
    return tf.bitwise.right_shift(places, 16)
