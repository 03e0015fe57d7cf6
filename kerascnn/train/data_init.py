"""First values of weights that come from the training data, as a recipe's `data_init` names them.

A run has them before its first step, and its checkpoints from then on.
"""

import dataclasses
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from kerascnn.data import Preprocessing, Source, calls

BATCH = 32  # images whose patches are in memory at the same time


@dataclasses.dataclass(frozen=True)
class WhitenPatches:
    """The first convolution whitens the patches that it sees.

    Its filters are the eigenvectors of the patches' second moments, each divided by the root of (eigenvalue + epsilon):
    what they give has a variance near 1, and is not correlated. Where there are twice as many filters as numbers in a
    patch, the others are their negatives, so that no sign is lost in an activation behind it. The largest eigenvalue
    comes first, and the largest number of each eigenvector is above 0, whatever library computes them.

    From D. Page, https://myrtle.ai/learn/how-to-train-your-resnet-8-bag-of-tricks/, by way of
    https://github.com/tysam-code/hlb-CIFAR10, with the negatives and the epsilon of airbench
    (https://arxiv.org/abs/2404.00498). As in its code, the mean of the patches is not subtracted: normalised images
    have one near 0. There the images are the first ones; here they are spread over the split, which may be in order of
    classes.

    Attributes:
      images: how many training images are looked at; all where there are fewer. They are as evaluation crops them, in
        the size of training, normalised and not augmented.
      epsilon: keeps directions in which patches hardly differ from being blown up.
    """

    images: int = 5000
    epsilon: float = 5e-4

    def __post_init__(self) -> None:
        if self.images < 1 or self.epsilon <= 0:
            raise ValueError(
                f"data_init: whiten_patches(images={self.images}, epsilon={self.epsilon}): images of 1 or more and an "
                "epsilon above 0 are wanted."
            )

    def layer(self, model: keras.Model) -> keras.layers.Conv2D:
        """The first convolution of a model.

        Raises:
          ValueError: it has none, or one whose number of filters does not fit.
        """
        layer = next((layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)), None)
        if layer is None:
            raise ValueError(f"data_init='whiten_patches': {model.name} has no convolution. Leave it out.")
        height, width, channels, filters = layer.kernel.shape
        numbers = height * width * channels
        if filters not in (numbers, 2 * numbers):
            raise ValueError(
                f"data_init='whiten_patches': {layer.name} of {model.name} has {filters} filters, and its patches of "
                f"{height}x{width}x{channels} want {numbers}, or {2 * numbers} with the negatives."
            )
        return layer

    def kernel(self, shape: tuple[int, int, int, int], batches: Iterator[np.ndarray]) -> np.ndarray:
        """The kernel, float64.

        Args:
          shape: of the kernel: (height, width, channels, filters).
          batches: of images, [n, height, width, channels], as the model takes them.
        """
        *sides, channels, filters = shape
        numbers = sides[0] * sides[1] * channels
        moments, count = np.zeros((numbers, numbers)), 0
        for images in batches:
            windows = np.lib.stride_tricks.sliding_window_view(np.float64(images), sides, (1, 2))
            patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, numbers)
            moments += patches.T @ patches
            count += len(patches)
        values, vectors = np.linalg.eigh(moments / count)
        values, vectors = values[::-1], vectors[:, ::-1]
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(numbers)])
        whitening = vectors / np.sqrt(np.maximum(values, 0) + self.epsilon)  # rounding may leave some below 0
        return np.concatenate([whitening, -whitening], 1)[:, :filters].reshape(shape)


KINDS: dict[str, Callable] = {"whiten_patches": WhitenPatches}


def parse(text: str) -> WhitenPatches | None:
    """What a recipe's `data_init` asks for; None for an empty text.

    Raises:
      ValueError: an unknown name, a value that cannot be, or several.
    """
    found = calls.evaluate(text, KINDS, "data_init")
    if len(found) > 1:
        raise ValueError(f"data_init={text!r}: one is wanted.")
    return found[0] if found else None


def images_of(source: Source, split: str, preprocessing: Preprocessing, count: int) -> Iterator[np.ndarray]:
    """Batches of normalised images, float32, spread evenly over a split. What cannot be decoded is left out."""
    size, read = source.size(split), source.read(split)
    count = min(count, size)
    indices = tf.data.Dataset.from_tensor_slices(np.arange(count) * size // count)

    @tf.autograph.experimental.do_not_convert
    def decode(index):
        return preprocessing.decode(read(index)[0])

    images = indices.map(decode, tf.data.AUTOTUNE).ignore_errors()
    for batch in images.batch(BATCH):
        yield preprocessing.normalise(batch).numpy()
