"""The built-in data: 1,797 real handwritten digits, as a TensorFlow Datasets builder that downloads nothing.

The images are those of the UCI "Optical Recognition of Handwritten Digits" test set (E. Alpaydin and C. Kaynak, 1998),
as scikit-learn ships them: 8x8 pixels with 17 levels of grey. They take the same road as ImageNet: encoded images in
TFRecords, read by `tfds.load`.
"""

from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

TEST_IMAGES = 360


class Digits(tfds.core.GeneratorBasedBuilder):
    """Handwritten digits, 8x8 grey, 10 classes; 1,437 to train on and 360 to test."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "scikit-learn's digits, every fifth of each class held out."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        from sklearn.datasets import load_digits

        digits = load_digits()
        # 17 levels to 256: multiples of 15.9375, so that none fall together and 16 becomes 255.
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
        test = test_indices(digits.target)
        train = np.setdiff1d(np.arange(len(images)), test)
        return {
            "train": self._generate_examples(images, digits.target, train),
            "test": self._generate_examples(images, digits.target, test),
        }

    def _generate_examples(self, images, labels, indices):
        for index in indices:
            yield int(index), {"image": images[index], "label": int(labels[index])}


def test_indices(labels: np.ndarray) -> np.ndarray:
    """The held-out examples: evenly spaced over the examples sorted by class, so each class gives its share.

    Written out rather than drawn, so that no library's next version can move an example from one side to the other.
    """
    by_class = np.argsort(labels, kind="stable")
    places = (np.arange(TEST_IMAGES) + 0.5) * len(labels) / TEST_IMAGES
    return np.sort(by_class[places.astype(int)])
