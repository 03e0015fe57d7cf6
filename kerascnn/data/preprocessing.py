"""What happens to every image, in training as in serving: its size, and its numbers' mean and deviation.

The statistics come from the training split alone; they are stored with the run and reused as they are.
"""

import dataclasses
import json
import os
from typing import Any

import numpy as np
import tensorflow as tf

from kerascnn.data.decode import decode, resize
from kerascnn.data.sources import Source

# What is subtracted and what is divided by, from the training images' mean and deviation.
MODES = {
    "channel_mean_std": lambda mean, std: (mean, std),  # ResNet
    "channel_mean": lambda mean, std: (mean, np.ones_like(std)),  # VGG
    "unit": lambda mean, std: (np.zeros_like(mean), np.full_like(std, 255.0)),  # into [0, 1]
    "none": lambda mean, std: (np.zeros_like(mean), np.ones_like(std)),
}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From an encoded image to a model's input, and from a label to its name.

    Attributes:
      image_size: (height, width) in pixels.
      channels: 1 or 3.
      mean, std: per channel, in levels of 0 to 255: the input is (pixel - mean) / std.
      class_names: in the order of the labels.
      computed_from: the split, and the number of images, that the statistics were taken from.
    """

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    computed_from: str

    def decode(self, encoded):
        """uint8 [height, width, channels] of one encoded image."""
        return resize(decode(encoded, self.channels), self.image_size)

    def normalise(self, images):
        """float32 of uint8 images, of any leading shape."""
        return (tf.cast(images, tf.float32) - np.float32(self.mean)) / np.float32(self.std)

    def save(self, path) -> None:
        """Writes JSON, at once or not at all."""
        temporary = f"{path}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(self), file, indent=2)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path) -> "Preprocessing":
        """Reads what `save` wrote.

        Raises:
          ValueError: the file is something else.
        """
        with open(path, encoding="utf-8") as file:
            try:
                fields: dict[str, Any] = json.load(file)
                tuples: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
                return cls(**tuples)
            except (TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"{path} does not hold a run's preprocessing: {error}") from error


def measure(source: Source, split: str, *, image_size: int | None = None, mode: str = "channel_mean_std"):
    """The `Preprocessing` of a data source: one pass over `split`, which should be what the model trains on.

    Args:
      source: from `open_source`.
      split: the training split.
      image_size: the side of the square that images are resized to; None for the source's own size.
      mode: `channel_mean_std`, `channel_mean`, `unit` or `none`.

    Raises:
      ValueError: an unknown mode, or the images have no common size and none was given.
    """
    if mode not in MODES:
        raise ValueError(f"no preprocessing {mode!r}: there are {', '.join(MODES)}.")
    height, width = (image_size, image_size) if image_size else source.image_shape[:2]
    if height is None or width is None:
        raise ValueError(f"the images of {source.name} have no common size: give an image_size.")

    def moments(encoded, _):
        pixels = tf.cast(resize(decode(encoded, source.channels), (height, width)), tf.int64)
        return tf.reduce_sum(pixels, [0, 1]), tf.reduce_sum(pixels**2, [0, 1])

    # Sums of integers: exact, whatever the order.
    zeros = tf.zeros([source.channels], tf.int64)
    totals = (
        source.dataset(split)
        .map(moments, tf.data.AUTOTUNE)
        .reduce((zeros, zeros), lambda sums, element: (sums[0] + element[0], sums[1] + element[1]))
    )
    count = source.size(split) * height * width
    mean, mean_of_squares = (np.float64(total) / count for total in totals)
    std = np.sqrt(np.maximum(mean_of_squares - mean**2, 0))
    mean, std = MODES[mode](mean, np.where(std > 0, std, 1.0))  # a channel that never changes stays finite
    return Preprocessing(
        image_size=(height, width),
        channels=source.channels,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        class_names=source.class_names,
        computed_from=f"{source.name} {split} ({source.size(split)} images)",
    )
