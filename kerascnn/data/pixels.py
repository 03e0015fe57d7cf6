"""What is done to the values of pixels, each with its strength given: uint8 in, uint8 out, in integers where it can be.

All functions take images uint8 [..., height, width, channels] and a strength for each of them, of shape [...]: a number
for one image, a vector for a batch. In integers the pixels are the same however many images are computed at once, on
every machine. What Pillow has is done as Pillow does it. Images of one or two channels are grey, where colours matter,
and a fourth channel then stays as it is.
"""

import math

import numpy as np
import tensorflow as tf

from kerascnn.data import draws

ONE = 2**16  # of the fixed-point numbers
_LUMA = (19595, 38470, 7471)  # ITU-R 601-2 in 1/ONE, as Pillow's convert("L") has it

# The principal components of the colours of ImageNet's pixels, of values from 0 to 1; columns are components.
# Krizhevsky et al. (AlexNet, 2012, 4.1) give no numbers; these are of fb.resnet.torch, datasets/imagenet.lua (2016).
PCA_VALUES = np.array([0.2175, 0.0188, 0.0045])
PCA_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def inverted(images):
    """The negative: 255 minus each value (`ImageOps.invert`)."""
    return 255 - images


def posterized(images, bits):
    """The highest `bits` bits of each value, an integer from 0 to 8 (`ImageOps.posterize`)."""
    mask = 256 - tf.bitwise.left_shift(1, 8 - _each(bits))
    return _levels(tf.bitwise.bitwise_and(tf.cast(images, tf.int32), mask))


def solarized(images, threshold):
    """The negative of values of `threshold` (a number up to 256) and above (`ImageOps.solarize`)."""
    return tf.where(
        tf.cast(images, tf.int32) < _each(tf.math.ceil(tf.cast(threshold, tf.float64))), images, 255 - images
    )


def autocontrasted(images):
    """Each channel stretched to 0..255, in integers (`ImageOps.autocontrast`, within one level)."""
    low, high = (tf.cast(f(images, [-3, -2], keepdims=True), tf.int32) for f in (tf.reduce_min, tf.reduce_max))
    slope = 255 * ONE // tf.maximum(high - low, 1) + 1  # a little more, so that whole quotients are not cut down by one
    stretched = _levels(tf.bitwise.right_shift((tf.cast(images, tf.int32) - low) * slope, 16))
    return tf.where(high > low, stretched, images)


def equalized(images):
    """Each channel with its values spread so that their histogram becomes flat (`ImageOps.equalize`)."""
    pixels, channels = math.prod(images.shape[-3:-1]), images.shape[-1]
    planes = tf.reshape(tf.cast(images, tf.int32), [-1, pixels, channels])
    tables = 256 * tf.range(tf.shape(planes)[0])[:, tf.newaxis]
    # One channel at a time: measured, half of the time that all at once take.
    histogram = tf.stack([_histogram(planes[..., i] + tables, 256 * tf.size(tables)) for i in range(channels)], 1)
    last = tf.reduce_max(tf.where(histogram > 0, tf.range(256), 0), -1, keepdims=True)
    step = (pixels - tf.gather(histogram, last, batch_dims=2)) // 255
    before = tf.cumsum(histogram, -1, exclusive=True)
    table = tf.where(step > 0, tf.minimum((step // 2 + before) // tf.maximum(step, 1), 255), tf.range(256))
    places = planes + channels * tables[..., tf.newaxis] + 256 * tf.range(channels)
    flat = tf.reshape(tf.cast(table, tf.uint8), [-1])
    # A condition that needs the table keeps XLA from computing its entry for each pixel anew.
    return tf.cond(
        tf.reduce_any(table != tf.range(256)),
        lambda: tf.reshape(tf.gather(flat, places), tf.shape(images)),
        lambda: tf.convert_to_tensor(images),
    )


def _histogram(values, size):
    """int32 [size / 256, 256]: how often each integer from 0 to `size` - 1 comes in `values`."""
    none = tf.zeros([0], tf.int32)
    counts = tf.raw_ops.DenseBincount(input=tf.reshape(values, [-1]), size=size, weights=none, binary_output=False)
    return tf.reshape(counts, [-1, 256])


def brightened(images, factor):
    """`factor` times each value, cut down to whole numbers (`ImageEnhance.Brightness`)."""
    return _blended(0, images, factor)


def contrasted(images, factor):
    """Each value's distance from the mean grey, times `factor` (`ImageEnhance.Contrast`)."""
    total = tf.reduce_sum(tf.cast(_luma(images), tf.int64), [-3, -2, -1], keepdims=True)
    count = images.shape[-3] * images.shape[-2]
    return _blended(tf.cast((2 * total + count) // (2 * count), tf.int32), images, factor)


def coloured(images, factor):
    """Each pixel's distance from its grey, times `factor`: 0 is grey (`ImageEnhance.Color`). Grey stays as it is."""
    return _on_colours(images, lambda colours: _blended(_luma(colours), colours, factor))


def greyed(images):
    """All three colours as their grey (`ImageOps.grayscale`); the shape stays. Grey stays as it is."""
    return _on_colours(images, lambda colours: _levels(tf.broadcast_to(_luma(colours), tf.shape(colours))))


def sharpened(images, factor):
    """Each pixel's distance from the smoothed image, times `factor`: 0 smooths (`ImageEnhance.Sharpness`).

    As in Pillow (its filter SMOOTH) the outermost pixels stay as they are.
    """
    height, width, channels = images.shape[-3:]
    if min(height, width) < 3:
        return tf.identity(images)
    # Rows of numbers, where a neighbour is `channels` further: XLA's inner loop is then a long one.
    lines = tf.reshape(images, [*tf.unstack(tf.shape(images)[:-2]), width * channels])
    values = tf.cast(lines, tf.int32)
    rows = values[..., :-2, :] + values[..., 1:-1, :] + values[..., 2:, :]
    inner = values[..., 1:-1, channels:-channels]
    sums = rows[..., : -2 * channels] + rows[..., channels:-channels] + rows[..., 2 * channels :] + 4 * inner
    smooth = tf.bitwise.right_shift((2 * sums + 13) * 20165, 19)  # (2 x + 13) // 26, without a division
    sharp = _mixed(smooth, inner, tf.cast(factor, tf.float64)[..., tf.newaxis, tf.newaxis])
    sharp = tf.concat([lines[..., 1:-1, :channels], sharp, lines[..., 1:-1, -channels:]], -1)
    return tf.reshape(tf.concat([lines[..., :1, :], sharp, lines[..., -1:, :]], -2), tf.shape(images))


def hue_turned(images, turns):
    """The hue of each pixel `turns` further (1 is once around) in HSV, rounded. Grey stays as it is."""

    def turn(colours):
        red, green, blue = tf.unstack(tf.cast(colours, tf.float32), axis=-1)
        high = tf.maximum(tf.maximum(red, green), blue)
        range_ = high - tf.minimum(tf.minimum(red, green), blue)
        part = 1 / tf.where(range_ > 0, range_, 1)
        sextant = tf.where(
            high == red,
            (green - blue) * part,
            tf.where(high == green, 2 + (blue - red) * part, 4 + (red - green) * part),
        )
        sextant += 6 * tf.cast(turns, tf.float32)[..., tf.newaxis, tf.newaxis]
        places = ((start + sextant) / 6 for start in (5.0, 3.0, 1.0))
        places = (6 * (place - tf.floor(place)) for place in places)  # floormod is a slow call
        turned = [high - range_ * tf.clip_by_value(tf.minimum(place, 4 - place), 0, 1) for place in places]
        return tf.cast(tf.round(tf.stack(turned, -1)), tf.uint8)

    return _on_colours(images, turn)


def pca_shifted(images, amounts):
    """Each pixel plus the principal components of ImageNet's colours, each times its amount and its eigenvalue.

    As Krizhevsky et al. (2012) shift colours; rounded. Grey stays as it is.

    Args:
      images: uint8 [..., height, width, channels].
      amounts: [..., 3].
    """
    shift = 255 * tf.linalg.matvec(PCA_VECTORS * PCA_VALUES, tf.cast(amounts, tf.float64))
    shift = tf.cast(tf.round(shift), tf.int32)[..., tf.newaxis, tf.newaxis, :]
    return _on_colours(images, lambda x: _levels(tf.clip_by_value(tf.cast(x, tf.int32) + shift, 0, 255)))


def blurred(images, sigma, largest: float):
    """The true Gaussian of this deviation in pixels, rounded; Pillow's is made of boxes. Edges go on outside.

    Args:
      images: uint8 [..., height, width, channels].
      sigma: above 0.
      largest: the largest sigma there will be. The Gaussian is cut off at four times that.
    """
    reach = max(1, math.ceil(4 * largest))
    places = np.arange(-reach, reach + 1)
    weights = tf.exp(-(places**2) / (2 * tf.cast(sigma, tf.float64)[..., tf.newaxis] ** 2))
    weights = tf.cast(weights / tf.reduce_sum(weights, -1, keepdims=True), tf.float32)
    values = tf.cast(images, tf.float32)
    for axis in (-3, -2):
        side = images.shape[axis]
        wide = tf.gather(values, np.clip(np.arange(-reach, side + reach), 0, side - 1), axis=axis)
        taps = [wide[..., i : i + side, :, :] if axis == -3 else wide[..., i : i + side, :] for i in range(len(places))]
        values = sum(tap * weights[..., i, tf.newaxis, tf.newaxis, tf.newaxis] for i, tap in enumerate(taps))
    return tf.cast(tf.round(values), tf.uint8)


def noisy(images, deviation, numbers):
    """Each value plus normal noise of this deviation, in levels; rounded.

    Args:
      images: uint8 [..., height, width, channels].
      deviation: 0 or more.
      numbers: two uniform numbers for each image, [..., 2], which the noise is made of.
    """
    # Of 24 bits, as draws.uniform gives them, and in the middle of each step: never 0.
    uniform = tf.cast(tf.bitwise.right_shift(_words(images, numbers), tf.constant(40, tf.uint64)), tf.float32) * 2**-24
    noise = tf.math.erfinv(2 * (uniform + 2**-25) - 1) * math.sqrt(2)
    deviation = tf.cast(deviation, tf.float32)[..., tf.newaxis, tf.newaxis, tf.newaxis]
    return _levels(tf.clip_by_value(tf.round(tf.cast(images, tf.float32) + deviation * noise), 0, 255))


def erased(images, top, left, height, width, fill):
    """A box of whole pixels filled; what of it lies outside of the image does not matter.

    Args:
      images: uint8 [..., height, width, channels].
      top: and the others, integers [...].
      left: the box's first column.
      height: of the box.
      width: of the box.
      fill: a level, or uint8 images.
    """
    rows, columns = (tf.range(side) for side in images.shape[-3:-1])
    top, left, height, width = (tf.cast(x, tf.int32)[..., tf.newaxis] for x in (top, left, height, width))
    inside_rows = (rows >= top) & (rows < top + height)
    inside_columns = (columns >= left) & (columns < left + width)
    inside = inside_rows[..., :, tf.newaxis, tf.newaxis] & inside_columns[..., tf.newaxis, :, tf.newaxis]
    return tf.where(inside, tf.cast(fill, tf.uint8), images)


def static(images, numbers):
    """Images of the same shape where every value is drawn evenly from 0..255.

    Args:
      images: of the shape wanted.
      numbers: two uniform numbers for each, [..., 2].
    """
    return _levels(tf.bitwise.right_shift(_words(images, numbers), tf.constant(56, tf.uint64)))


def _words(images, numbers):
    """uint64 like the images: all bits at random, from two uniform numbers [..., 2] for each."""
    first, second = tf.unstack(draws.seed(tf.stack(tf.unstack(tf.cast(numbers, tf.float32), axis=-1))))
    places = tf.reshape(tf.range(math.prod(images.shape[-3:])), images.shape[-3:])
    return draws.key(*(word[..., tf.newaxis, tf.newaxis, tf.newaxis] for word in (first, second)), places)


def _each(strength):
    """An integer for each image, where it can be computed with the image's values."""
    return tf.cast(strength, tf.int32)[..., tf.newaxis, tf.newaxis, tf.newaxis]


def _levels(values):
    return tf.cast(values, tf.uint8)


def _luma(images):
    """int32 [..., height, width, 1]."""
    values = tf.cast(images, tf.int32)
    if images.shape[-1] < 3:
        return values[..., :1]
    red, green, blue = (values[..., i : i + 1] * weight for i, weight in enumerate(_LUMA))
    return tf.bitwise.right_shift(red + green + blue + ONE // 2, 16)


def _blended(start, images, factor):
    factor = tf.cast(factor, tf.float64)[..., tf.newaxis, tf.newaxis, tf.newaxis]
    return _mixed(start, tf.cast(images, tf.int32), factor)


def _mixed(start, end, factor):
    """start + factor * (end - start), cut down to whole numbers and to 0..255, as Pillow blends."""
    factor = tf.cast(tf.floor(factor * ONE + 0.5), tf.int32)
    blend = start * ONE + factor * (end - start) + 128  # what rounding the factor can take from a whole number
    return _levels(tf.clip_by_value(tf.bitwise.right_shift(blend, 16), 0, 255))


def _on_colours(images, change):
    channels = images.shape[-1]
    if channels < 3:
        return tf.identity(images)
    return change(images) if channels == 3 else tf.concat([change(images[..., :3]), images[..., 3:]], -1)
