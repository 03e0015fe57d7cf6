"""Which part of an image a model sees: one window of it, decoded and resized without the rest wherever that can be.

A crop is named as it is called: `"random_resized(scale=(0.2, 1))"` for training, `"center(fraction=0.95)"` for
evaluation. Sizes are (height, width) and windows (top, left, height, width), in pixels.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from kerascnn.data import calls, decode

Interpolation = Literal["bilinear", "bicubic", "lanczos"]

TRIES = 10  # of a random window, as torchvision has it

# What a JPEG can be shrunk by while it is decoded.
RATIOS = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Crop:
    """A way to make uint8 [*size, channels] of an image of any size.

    Attributes:
      draws: how many uniform numbers it takes.
      plan: (u, int32 height and width of the image, size) -> (the window that is needed, None for the whole image; and
        what `finish` is to know).
      finish: (uint8 pixels of the window, what `plan` gave, size) -> uint8 [*size, channels].
      words: (u, height, width) -> what was drawn.
      coarse: `finish` for a window at least twice as high and wide as the size; if there is one, a JPEG with such a
        window is shrunk by 2, 4 or 8 while it is decoded.
      batch: (uint8 [batch, height, width, channels] that has the size already, u [batch, draws]) -> the pixels that
        `image` gives for each; None where there is no faster way than image by image.
    """

    draws: int
    plan: Callable[[Any, Any, tuple[int, int]], tuple[Any, Any]]
    finish: Callable[[Any, Any, tuple[int, int]], Any]
    words: Callable[[np.ndarray, int, int], str]
    coarse: Callable[[Any, Any, tuple[int, int]], Any] | None = None
    batch: Callable[[Any, Any], Any] | None = None

    def encoded(self, encoded, u, size: tuple[int, int], channels: int):
        """The crop of an encoded image; of a JPEG, no more is decoded than the window.

        All of a JPEG is decoded where its end-of-image marker is not at its end: of those that were cut short, the
        decoder tells that; others have bytes behind it. So what is damaged below the window is no error, what is
        missing there is one.

        Args:
          encoded: a string scalar.
          u: float32 [draws] in [0, 1).
          size: (height, width) of the result.
          channels: 1 to 4, as in `kerascnn.data.decode.decode`.

        Returns:
          uint8 [*size, channels].

        Raises:
          tf.errors.InvalidArgumentError: (when run) as `decode` does.
        """

        jpeg, other = (
            functools.partial(function, self, size=tuple(size), channels=channels)
            for function in (Crop._of_jpeg, Crop._of_other)
        )
        whole = tf.logical_and(decode.is_jpeg(encoded), decode.ends_as_jpeg(encoded))
        return tf.ensure_shape(decode.choose(whole, jpeg, other, encoded, u), [*size, channels])

    def _of_jpeg(self, encoded, u, size, channels):
        shape = decode.jpeg_shape(encoded)
        window, rest = self.plan(u, shape[:2], size)
        if self.coarse is None:
            part = decode.decode_jpeg(encoded, shape, window, channels=channels)
        else:
            shrunk = functools.partial(_shrunk, size=size, channels=channels)
            plain = functools.partial(decode.decode_jpeg, channels=channels)
            part = decode.choose(_is_coarse(window, size), shrunk, plain, encoded, shape, window)
        return self.finish(tf.ensure_shape(part, [None, None, channels]), rest, size)

    def _of_other(self, encoded, u, size, channels):
        return self.image(decode.decode(encoded, channels), u, size)

    def image(self, image, u, size: tuple[int, int]):
        """The crop of uint8 [height, width, channels], as uint8 [*size, channels]; u and size as above."""
        window, rest = self.plan(u, tf.shape(image)[:2], size)

        def plain():
            return self.finish(image if window is None else _cut(image, window), rest, size)

        def coarse():
            return self.coarse(_cut(image, _snapped(window, size)[0]), rest, size)

        made = plain() if self.coarse is None else tf.cond(_is_coarse(window, size), coarse, plain)
        return tf.ensure_shape(made, [*size, image.shape[-1]])

    def describe(self, u: np.ndarray, height: int, width: int) -> str:
        """What was drawn for an image of this height and width, in few words; a window as "WIDTHxHEIGHT at (X, Y)"."""
        return self.words(u, height, width)


@functools.cache
def parse(text: str) -> Crop:
    """The crop that a text calls for, such as `center(fraction=0.95)`.

    Raises:
      ValueError: it is not of the form `name(key=value)`, or a name, a key or a value is wrong.
    """
    crops = calls.evaluate(text, CROPS, "crop")
    if len(crops) != 1:
        raise ValueError(f"crop={text!r}: one crop is wanted, such as {' or '.join(CROPS)}.")
    return crops[0]


def random_resized(
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    interpolation: Interpolation = "bilinear",
    antialias: bool = False,
) -> Crop:
    """A window of random area and form, resized (arXiv:1409.4842, section 6).

    Ten windows are drawn and the first that fits is taken, as torchvision does it; where none does, the largest one of
    an allowed form in the centre.

    Args:
      scale: the range of the area, in shares of the image's.
      ratio: the range of width / height, even in its logarithm.
      interpolation: `bilinear`, `bicubic` or `lanczos`.
      antialias: as Pillow, and so torchvision on Pillow's images, does it. Without, which is faster, up to every second
        pixel counts for nothing; windows that are larger than that are shrunk by 2, 4 or 8 first, JPEGs while they are
        decoded.
    """
    _require(0 < scale[0] <= scale[1] <= 1, f"random_resized(scale={scale}): 0 < lowest <= highest <= 1 is wanted.")
    _require(0 < ratio[0] <= ratio[1], f"random_resized(ratio={ratio}): 0 < lowest <= highest is wanted.")
    # From uniform numbers to areas and to half logarithms of ratios, ten each: in one multiplication and one addition.
    lowest = np.repeat(np.array([scale[0], math.log(ratio[0]) / 2], np.float32), TRIES)
    spread = np.repeat(np.array([scale[1], math.log(ratio[1]) / 2], np.float32), TRIES) - lowest

    def window(u, sides):
        real = tf.cast(sides, tf.float32)
        areas, forms = tf.split(lowest + spread * u[: 2 * TRIES], 2)
        roots, forms = tf.sqrt(areas * tf.reduce_prod(real)), tf.exp(forms)
        central = tf.minimum(real, real[::-1] * np.float32([1 / ratio[0], ratio[1]]))
        tries = tf.concat([tf.stack([roots / forms, roots * forms], 1), central[tf.newaxis]], 0)
        tries = tf.maximum(tf.round(tries), 1.0)
        first = tf.argmax(tf.reduce_all(tries <= real, 1))
        chosen = tries[first]
        spare = real - chosen
        start = tf.where(first < TRIES, u[2 * TRIES :] * (spare + 1), spare / 2)
        return tf.cast(tf.concat([start, chosen], 0), tf.int32)

    return _windowed(2 * TRIES + 2, lambda u, sides, size: window(u, sides), interpolation, antialias)


def scale_jitter(
    *, shortest: tuple[int, int] = (256, 480), interpolation: Interpolation = "bilinear", antialias: bool = False
) -> Crop:
    """The image resized to a random shorter side, and a random window of the size out of that (arXiv:1409.1556, 3.1).

    It is computed as a window of the original, to whole pixels, which is then resized; where the shorter side is drawn
    below the size, the window ends where the image does.

    Args:
      shortest: the range of the shorter side, in whole pixels; the ResNet paper's is the default.
      interpolation, antialias: as for `random_resized`.
    """
    _require(1 <= shortest[0] <= shortest[1], f"scale_jitter(shortest={shortest}): 1 <= lowest <= highest is wanted.")

    def side(u):
        return shortest[0] + tf.floor(u[0] * float(shortest[1] - shortest[0] + 1))

    def window(u, sides, size):
        real = tf.cast(sides, tf.float32)
        chosen = tf.round(np.float32(size) * (tf.reduce_min(real) / side(u)))
        chosen = tf.clip_by_value(chosen, 1.0, real)
        return tf.cast(tf.concat([u[1:] * (real - chosen + 1), chosen], 0), tf.int32)

    def words(u, height, width):
        return f"shorter side {int(side(tf.constant(u)))}, {u[2]:.0%} right, {u[1]:.0%} down"

    crop = _windowed(3, window, interpolation, antialias)
    return dataclasses.replace(crop, words=words)


def pad(*, pixels: int = 4) -> Crop:
    """Black on every side, then the size cut out anywhere (arXiv:1512.03385, 4.2, for CIFAR); resized first if need be.

    Args:
      pixels: how wide the black is.
    """
    _require(pixels >= 0, f"pad(pixels={pixels}): a whole number from 0 on is wanted.")

    def starts(u):
        return tf.cast(u * float(2 * pixels + 1), tf.int32)

    def finish(image, u, size):
        padded = tf.pad(decode.resize(image, size), [[pixels, pixels], [pixels, pixels], [0, 0]])
        return _cut(padded, tf.concat([starts(u), size], 0))

    # Compiled: one pass over the pixels. A batch of another shape is compiled anew.
    @tf.function(jit_compile=True, autograph=False)
    def batch(images, u):
        count, (height, width, channels) = tf.shape(images)[0], images.shape[1:]
        offsets = starts(u) - pixels
        rows, columns = (tf.range(n) + offsets[:, i, tf.newaxis] for i, n in enumerate((height, width)))
        inside = ((rows >= 0) & (rows < height))[:, :, tf.newaxis] & ((columns >= 0) & (columns < width))[:, tf.newaxis]
        rows, columns = tf.clip_by_value(rows, 0, height - 1), tf.clip_by_value(columns, 0, width - 1)
        places = tf.reshape(rows[:, :, tf.newaxis] * width + columns[:, tf.newaxis], [count, height * width])
        moved = tf.gather(tf.reshape(images, [count, height * width, channels]), places, batch_dims=1)
        moved = tf.reshape(moved, [count, height, width, channels])
        return tf.where(inside[..., tf.newaxis], moved, tf.zeros([], tf.uint8))

    def words(u, height, width):
        down, right = (pixels - starts(tf.constant(u))).numpy()
        return f"moved by ({right}, {down})"

    return Crop(2, lambda u, sides, size: (None, u), finish, words, batch=batch)


def resize() -> Crop:
    """All of the image, squashed to the size, bilinear and antialiased; untouched where it fits already."""
    return Crop(
        draws=0,
        plan=lambda u, sides, size: (None, None),
        finish=lambda image, _, size: decode.resize(image, size),
        words=lambda u, height, width: "all of it",
    )


def center(*, fraction: float = 0.875, interpolation: Interpolation = "bilinear", antialias: bool = True) -> Crop:
    """The centre of the image after a resize that keeps its form; an image of the size itself is left untouched.

    Each side of the size is divided by the fraction and rounded down; the image is resized until it just covers that,
    the other side rounded down too; the first pixel is half the difference, rounded to even. So it is in torchvision
    and, for squares, in timm. It is computed as one window, with the pixels that resizing all of it and cutting would
    give.

    Args:
      fraction: the size as a share of what it is cut from: 224 / 256 is 0.875.
      interpolation: `bilinear`, `bicubic` or `lanczos`.
      antialias: as Pillow does it.
    """
    _require(0 < fraction <= 1, f"center(fraction={fraction}): a number above 0 and up to 1 is wanted.")

    def resized(sides, size):
        covered = _covered(size, fraction)
        # Whole numbers, for which side fits tighter: covered / sides is to be the same for both, and enough for both.
        by_height = tf.stack([covered[0], covered[0] * sides[1] // sides[0]])
        by_width = tf.stack([covered[1] * sides[0] // sides[1], covered[1]])
        covering = tf.where(covered[0] * sides[1] >= covered[1] * sides[0], by_height, by_width)
        return tf.where(tf.reduce_all(tf.equal(sides, size)), sides, covering)

    return _central(resized, f"centre, {fraction:.1%}", interpolation, antialias)


def squash(*, fraction: float = 1.0, interpolation: Interpolation = "bilinear", antialias: bool = True) -> Crop:
    """The centre of the image after a resize that does not keep its form; with fraction=1, all of the image.

    Each side of the size is divided by the fraction and rounded down, and the image is resized to that, also one of the
    size itself; the first pixel is as for `center`. So it is in timm, whose `crop_mode` has this name.

    Args:
      fraction: the size as a share of what it is cut from.
      interpolation, antialias: as for `center`.
    """
    _require(0 < fraction <= 1, f"squash(fraction={fraction}): a number above 0 and up to 1 is wanted.")
    words = f"squashed centre, {fraction:.1%}"
    return _central(lambda sides, size: _covered(size, fraction), words, interpolation, antialias)


CROPS = {function.__name__: function for function in (random_resized, scale_jitter, pad, resize, center, squash)}


def _covered(size, fraction):
    """What the size is `fraction` of, in whole pixels."""
    return tf.constant([math.floor(side / fraction + 1e-9) for side in size], tf.int64)


def _central(resized, words, interpolation, antialias):
    """A `Crop` out of the middle of the image, resized to what `resized(sides, size)` says, int64 [2]."""
    _, radius = decode.FILTERS[interpolation]

    def plan(u, sides, size):
        sides = tf.cast(sides, tf.int64)
        whole = resized(sides, size)
        scale = tf.cast(whole, tf.float32) / tf.cast(sides, tf.float32)
        offset = tf.round(tf.cast(whole - size, tf.float32) / 2)
        # The pixels that the filter reaches, and one more, for a JPEG's colours differ beside the edge of a window.
        reach = 1 + radius * (tf.maximum(1.0, 1 / scale) if antialias else 1.0)
        start = tf.maximum(tf.floor(offset / scale - reach), 0.0)
        end = tf.minimum(tf.math.ceil((offset + size) / scale + reach), tf.cast(sides, tf.float32))
        window = tf.cast(tf.concat([start, end - start], 0), tf.int32)
        return window, (scale, offset - start * scale)

    def finish(part, rest, size):
        scale, offset = rest
        return decode.resample(part, size, scale, offset, interpolation, antialias)

    return Crop(0, plan, finish, lambda u, height, width: words)


def _windowed(draws, window, interpolation, antialias):
    """A `Crop` that is a window of the original, then resized."""

    def words(u, height, width):
        top, left, high, wide = window(tf.constant(u), tf.constant([height, width]), None).numpy()
        return f"crop {wide}x{high} at ({left}, {top})"

    return Crop(
        draws,
        plan=lambda u, sides, size: (window(u, sides, size), None),
        finish=lambda part, _, size: decode.stretch(part, size, interpolation, antialias),
        words=words,
        coarse=lambda part, _, size: decode.stretch(part, size, interpolation, True),
    )


def _shrunk(encoded, shape, window, size, channels):
    """The window of a JPEG, shrunk while decoding as far as leaves it as large as the size."""
    window, power = _snapped(window, size)
    shrink = functools.partial(decode.decode_jpeg, encoded, shape, channels=channels)
    return tf.switch_case(power, [functools.partial(shrink, window // ratio, ratio=ratio) for ratio in RATIOS])


def _is_coarse(window, size):
    return tf.reduce_all(window[2:] >= 2 * np.int32(size))


def _snapped(window, size):
    """(the window in multiples of what it can be shrunk by and still be as large as the size; the place in RATIOS)."""
    spare = tf.reduce_min(window[2:] // size)
    power = tf.math.count_nonzero(spare >= RATIOS[1:], dtype=tf.int32)
    ratio = tf.bitwise.left_shift(1, power)
    return window // ratio * ratio, power


def _cut(image, window):
    return tf.slice(image, tf.concat([window[:2], [0]], 0), tf.concat([window[2:], [image.shape[-1]]], 0))


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
