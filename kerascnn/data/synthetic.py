"""Images that nobody took, in the form of a data set that is not here: to see that something runs, and how fast."""

import zlib

import numpy as np
import tensorflow as tf

SIZE = 256  # images of a split
SIDES = (96, 160)  # in pixels, where the images of a data set differ in size


def draw_image(random: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """uint8 [height, width, channels] of smooth colours and sharp outlines."""

    def smooth():
        cells = random.uniform(0, 255, (*random.integers(2, 7, 2), channels))
        return tf.clip_by_value(tf.image.resize(cells, [height, width], "bicubic"), 0, 255).numpy()

    outline = smooth()[..., :1] > 128
    return np.where(outline, smooth(), smooth()).astype(np.uint8)


def split(
    name: str, shape: tuple[int | None, int | None, int], classes: int, *, jpeg: bool
) -> tuple[list[bytes], list[int]]:
    """(image files, labels) of a split, the same for the same arguments.

    Args:
      name: of the split; those with other names are other images.
      shape: (height, width, channels); a side that is None differs from image to image.
      classes: the number of classes.
      jpeg: the files are JPEG, else PNG.
    """
    random = np.random.default_rng(zlib.crc32(name.encode()))
    encode = tf.io.encode_jpeg if jpeg else tf.io.encode_png
    files = []
    for _ in range(SIZE):
        height, width = (side or int(random.integers(*SIDES)) for side in shape[:2])
        files.append(encode(draw_image(random, height, width, shape[2])).numpy())
    return files, random.integers(0, classes, SIZE).tolist()
