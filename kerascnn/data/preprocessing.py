"""What happens to every image, in training, evaluation and serving: its crop, its size, and what normalises it.

The statistics come from the training split alone; they are stored with the run and reused as they are.
"""

import dataclasses
import math
import os
from typing import Any

import numpy as np
import tensorflow as tf

from kerascnn.data import crop as cropping
from kerascnn.data import statistics
from kerascnn.data.sources import Source
from kerascnn.data.statistics import measure_statistics
from kerascnn.registry import close_names

# What the modes subtract, divide by and multiply with, as fields of a Preprocessing made from Statistics.
MEASURED = {
    "channel_mean_std": lambda known: {"mean": known.mean, "std": np.where(known.std > 0, known.std, 1.0)},  # ResNet
    "channel_mean": lambda known: {"mean": known.mean},  # VGG
    # AlexNet, which subtracts it before it crops at random; here it is the mean of images as evaluation sees them.
    "mean_image": lambda known: {"mean_image": np.float32(known.mean_image)},
    "whiten": lambda known: {"mean_image": np.float32(known.mean_image), "whitening": np.float32(known.zca())},
}
CONSTANT = {"unit": 255.0, "none": 1.0}  # what these divide by; they need no image
MODES = (*MEASURED, *CONSTANT)


def _evaluation_crop(text):
    crop = cropping.parse(text)
    if crop.draws:
        raise ValueError(f"crop={text!r} is random: for evaluation, take 'resize' or 'center'.")
    return crop


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From an encoded image to a model's input, and from a label to its name.

    Attributes:
      image_size: (height, width) in pixels.
      channels: 1 to 4.
      mean, std: per channel, in levels of 0 to 255: the input is (pixel - mean) / std.
      class_names: in the order of the labels.
      computed_from: the split, and the number of images, that the statistics were taken from.
      crop: what is cut out of an image of another size, and how it is resized; see `kerascnn.data.crop`.
      mean_image: float32 [height, width, channels] to be subtracted besides; or None.
      whitening: float32 [d, d], which the d numbers of an image are multiplied with after that; or None.

    Raises:
      ValueError: these do not fit together, or the crop is random.
    """

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    computed_from: str
    crop: str = "resize"
    mean_image: np.ndarray | None = dataclasses.field(default=None, hash=False, repr=False)
    whitening: np.ndarray | None = dataclasses.field(default=None, hash=False, repr=False)

    def __post_init__(self) -> None:
        sides = (*self.image_size, self.channels)
        if len(sides) != 3 or not all(type(side) is int and side > 0 for side in sides):
            raise ValueError(f"image_size={self.image_size!r} and channels={self.channels!r} are no shape of an image.")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != self.channels or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name}={values!r} does not hold a number for each of {self.channels} channels.")
        if min(self.std) <= 0:
            raise ValueError(f"std={self.std!r} is not above 0.")
        if not all(isinstance(name, str) for name in (*self.class_names, self.computed_from)):
            raise ValueError("class_names and computed_from must be texts.")
        for name, shape in (("mean_image", sides), ("whitening", (math.prod(sides),) * 2)):
            array = getattr(self, name)
            if array is None:
                continue
            if np.shape(array) != shape or array.dtype != np.float32:
                raise ValueError(f"{name} is {array.dtype} {np.shape(array)}, not float32 {shape}.")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds what is no number.")
        _evaluation_crop(self.crop)

    def __eq__(self, other: object) -> bool:
        return statistics.same(self, other)

    def decode(self, encoded):
        """uint8 [height, width, channels] of one encoded image."""
        crop = _evaluation_crop(self.crop)
        return crop.encoded(encoded, tf.zeros([0]), size=self.image_size, channels=self.channels)

    def normalise(self, images):
        """float32 of uint8 images, of any leading shape."""
        inputs = (tf.cast(images, tf.float32) - np.float32(self.mean)) / np.float32(self.std)
        if self.mean_image is not None:
            inputs = inputs - self.mean_image
        if self.whitening is not None:
            white = tf.matmul(tf.reshape(inputs, [-1, len(self.whitening)]), self.whitening)
            inputs = tf.ensure_shape(tf.reshape(white, tf.shape(images)), images.shape)
        return inputs

    def save(self, path: str | os.PathLike) -> None:
        """Writes JSON, and the arrays to an .npz of the same name beside it; at once or not at all.

        Raises:
          OSError: they cannot be written; what was there before still is.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        arrays = {name: fields.pop(name) for name in ("mean_image", "whitening")}
        statistics.save(path, fields, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Preprocessing":
        """Reads what `save` wrote.

        Raises:
          ValueError: the files are something else, or damaged.
        """
        try:
            fields, arrays = statistics.load(path)
            tuples: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
            return cls(**{**tuples, **arrays})
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} does not hold a run's preprocessing: {error}") from error


def measure(
    source: Source,
    split: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    mode: str = "channel_mean_std",
    crop: str = "resize",
    on_corrupt: str = "error",
) -> Preprocessing:
    """The `Preprocessing` of a data source: one pass over `split`, which should be what the model trains on.

    Args:
      source: from `open_source`.
      split: the training split.
      image_size: the side of a square, or (height, width); None for the source's own size.
      mode: `channel_mean_std`, `channel_mean`, `mean_image`, `whiten` (ZCA, for images of up to 3,072 numbers; see
        `kerascnn.data.statistics`), `unit` or `none`; the last two are constant and read no image.
      crop: how evaluation gets an image to that size; see `kerascnn.data.crop`. The statistics are of such images.
      on_corrupt: `error`; or `skip`, which leaves out what cannot be decoded, up to 1 % of the split.

    Raises:
      ValueError: an unknown mode, a random crop, images that have no common size while none was given, or that are too
        large to be whitened, or that cannot be decoded.
    """
    if mode not in MODES:
        raise ValueError(f"no preprocessing {mode!r}: {close_names(mode, MODES)}")
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size or source.image_shape[:2]
    if height is None or width is None:
        raise ValueError(f"the images of {source.name} have no common size: give an image_size.")
    constant = Preprocessing(
        image_size=(height, width),
        channels=source.channels,
        mean=(0.0,) * source.channels,
        std=(CONSTANT.get(mode, 1.0),) * source.channels,
        class_names=source.class_names,
        computed_from="nothing",
        crop=crop,
    )
    source.size(split)
    if mode in CONSTANT:
        return constant
    products = mode == "whiten"
    known = source.keep(
        ("statistics", split, height, width, crop, products, on_corrupt),
        lambda: measure_statistics(source, split, constant.decode, pixel_products=products, on_corrupt=on_corrupt),
    )
    fields = MEASURED[mode](known)
    fields |= {name: tuple(fields[name].tolist()) for name in ("mean", "std") if name in fields}
    return dataclasses.replace(constant, **fields, computed_from=f"{known.name} ({known.images} images)")
