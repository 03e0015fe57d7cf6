"""Test-time augmentation: several views of each image, whose logits are averaged.

A text names the views, as in `flip`. What is averaged are logits; some of the papers have probabilities. The views are
made of uint8 images, inside of the compiled function that computes the logits, and the model sees one view of a batch
after the other: more views need more time, and little more memory.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kerascnn.data import calls
from kerascnn.data.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class Views:
    """What is seen of each image.

    Attributes:
      weights: how much the logits of each view count; their sum is 1.
      see: (uint8 images [batch, height, width, channels], (height, width) of a view) -> the views, a list of as many.
      least: images have so many pixels a side, or more.
      scales: the sides of the squares that an image is made to, each of which is seen; none for the model's own size.
      size: (height, width) of a view, once `parse` knows it.
    """

    weights: tuple[float, ...]
    see: Callable
    least: int = 1
    scales: tuple[int, ...] = ()
    size: tuple[int, int] = (0, 0)


def flip() -> Views:
    """The image and its mirror image, left and right exchanged (https://arxiv.org/abs/1409.1556, 3.2)."""
    return Views((1 / 2,) * 2, lambda images, size: _mirrored([images]))


def flip_and_shift(*, pixels: int = 1) -> Views:
    """`flip`, and both also moved up and left, and down and right; the moved ones together count as much as the others.

    The pixels at the borders are mirrored into what is laid bare. With one pixel these are the views of airbench
    (https://arxiv.org/abs/2404.00498).

    Args:
      pixels: how far they are moved.
    """
    if pixels < 1:
        raise ValueError(f"tta: flip_and_shift(pixels={pixels}): 1 or more is wanted.")

    def see(images, size):
        height, width = size
        wide = tf.pad(images, [[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]], "REFLECT")
        moved = [wide[:, start : start + height, start : start + width] for start in (0, 2 * pixels)]
        return _mirrored([images, *moved])

    return Views((1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 8, 1 / 8), see, least=pixels + 1)


def ten_crops(*, scales: tuple[int, ...]) -> Views:
    """The four corners and the centre of an image, and their mirror images, at each of several sizes.

    AlexNet has one size, 256 for crops of 224 (https://doi.org/10.1145/3065386, 4.1). With the sizes of ResNet, 224,
    256, 384, 480 and 640 (https://arxiv.org/abs/1512.03385, 3.4, which sees the whole of each), there are 50 views. The
    image is the square in the middle of the file's, or all of it where the crop is `resize`.

    Args:
      scales: the side of the image, in pixels, out of which crops of the model's size are taken.
    """
    if min(scales) < 1:
        raise ValueError(f"tta: ten_crops(scales={scales}): sides of 1 pixel or more are wanted.")

    def see(images, size):
        (height, width), (high, wide) = images.shape[1:3], size
        down, right = height - high, width - wide
        corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
        return _mirrored([images[:, top : top + high, left : left + wide] for top, left in corners])

    return Views((1 / 10,) * 10, see, scales=scales)


VIEWS: dict[str, Callable] = {"flip": flip, "flip_and_shift": flip_and_shift, "ten_crops": ten_crops}


def parse(text: str, image_size: tuple[int, int]) -> Views | None:
    """The views that a text names; None for an empty one.

    Args:
      text: one of `VIEWS`.
      image_size: (height, width) of what the model takes.

    Raises:
      ValueError: an unknown name, a value that cannot be, several names, or images too small for the views.
    """
    found = calls.evaluate(text, VIEWS, "tta")
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"tta={text!r}: one is wanted, as in 'flip'.")
    views: Views = found[0]
    height, width = image_size
    if min(image_size) < views.least:
        raise ValueError(f"tta={text!r} needs images of {views.least} pixels a side, and these are {width}x{height}.")
    if views.scales and min(views.scales) < max(image_size):
        raise ValueError(
            f"tta={text!r}: crops of {width}x{height} do not fit into {min(views.scales)}x{min(views.scales)}."
        )
    return dataclasses.replace(views, size=image_size)


def make_logits(model: keras.Model, normalise: Callable, views: Views | None) -> Callable:
    """A function of uint8 images [batch, height, width, channels] that gives a model's logits, [batch, classes].

    To be compiled by who calls it. Of a model with several outputs it is the first.

    Args:
      normalise: from uint8 images to the model's input.
      views: from `parse`; None for the images as they are.
    """

    def seen(images):
        return keras.tree.flatten(model(normalise(images), training=False))[0]

    def averaged(images):
        stacked = tf.stack(views.see(images, views.size))
        logits = tf.map_fn(seen, stacked, fn_output_signature=model.outputs[0].dtype, parallel_iterations=1)
        weights = np.reshape(views.weights, (-1, 1, 1))
        return tf.reduce_sum(tf.cast(weights, logits.dtype) * logits, 0)

    return averaged if views else seen


def at_scale(preprocessing: Preprocessing, scale: int) -> Preprocessing:
    """What makes the images of which views are seen at a scale: squares of that side. It does not normalise."""
    (crop,) = calls.evaluate(preprocessing.crop, WHOLE, "crop")
    return dataclasses.replace(
        preprocessing, image_size=(scale, scale), crop=crop, mean_image=None, whitening=None
    )  # fmt: skip


def _whole(name):
    def crop(*, fraction: float = 1.0, interpolation: str = "bilinear", antialias: bool = True) -> str:
        return f"{name}(fraction=1.0, interpolation={interpolation!r}, antialias={antialias})"

    return crop


# The crops of evaluation, to that which leaves nothing out of the side that it covers.
WHOLE: dict[str, Callable] = {"resize": lambda: "resize", "center": _whole("center"), "squash": _whole("squash")}


def _mirrored(images):
    return [view for image in images for view in (image, tf.reverse(image, [2]))]
