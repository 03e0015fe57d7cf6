"""From a file's bytes to uint8 pixels: the one road for training, evaluation and the exported bundle."""

import tensorflow as tf


def decode(encoded, channels: int):
    """The pixels of one PNG, JPEG, BMP or GIF (its first frame), uint8 [height, width, channels].

    Grey images are repeated to three channels and colour is turned to grey as `channels` asks. TensorFlow drops alpha
    and the lower half of 16 bits; it does not look at a photograph's orientation, nor at the palette of a BMP.

    Raises:
      tf.errors.InvalidArgumentError: (when run) the bytes are no such image, or are cut short; or one channel is asked
        of a CMYK JPEG.
    """

    def image(channels):
        return tf.io.decode_image(encoded, channels=channels, expand_animations=False)

    if channels != 1:
        return tf.ensure_shape(image(channels), [None, None, channels])
    # Of the four, two can be decoded to grey.
    can = tf.reduce_any(tf.equal(tf.strings.substr(encoded, 0, 2), [b"\x89P", b"\xff\xd8"]))
    grey = tf.cond(can, lambda: image(1), lambda: tf.image.rgb_to_grayscale(image(3)))
    return tf.ensure_shape(grey, [None, None, 1])


def resize(image, size: tuple[int, int]):
    """Resizes one uint8 image to (height, width): bilinear, antialiased, rounded; untouched where it fits already."""

    def resized():
        pixels = tf.image.resize(image, size, antialias=True)
        return tf.cast(tf.round(pixels), tf.uint8)  # bilinear weights never leave [0, 255]

    fits = tf.reduce_all(tf.equal(tf.shape(image)[:2], size))
    return tf.ensure_shape(tf.cond(fits, lambda: image, resized), [*size, image.shape[-1]])
