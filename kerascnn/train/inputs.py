"""What a run reads: its source, what is done to every image, and the batches that come of it."""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from kerascnn import data
from kerascnn.data import augment, crop, mix
from kerascnn.data.batches import padded, steps_per_epoch, uint8_batches
from kerascnn.data.lost import Lost, listed
from kerascnn.train.recipe import Recipe
from kerascnn.train.run_dir import RunDir


class Inputs:
    """The data of a run.

    Attributes:
      source: of both splits.
      preprocessing: of evaluation and serving; from the run's folder, or measured on the training split. Training
        normalises in the same way.
      image_size: (height, width) of the training images.
      steps_per_epoch: whole batches of the training split.
      step_size: examples that a step trains on.

    Raises:
      ValueError: something that the recipe names does not exist or does not fit.
      OSError: a file is missing, or a folder cannot be written.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunDir,
        *,
        data_dir: str | os.PathLike | None = None,
        cache: str | os.PathLike | None = None,
        on_corrupt: str = "error",
        data_service: str | None = None,
    ):
        self.source = data.open_source(recipe.data, data_dir)
        self.steps_per_epoch = steps_per_epoch(self.source, recipe.train_split, recipe.batch_size)
        self.train_lost = Lost(self.source, recipe.train_split, on_corrupt)
        self.test_lost = Lost(self.source, recipe.test_split, on_corrupt)
        self._recipe, self._cache, self._data_service = recipe, cache, data_service
        crop.parse(recipe.crop)
        augment.parse(recipe.augment)
        # How many examples a step has: one way of mixing makes one of two.
        self.step_size = recipe.batch_size // mix.parse(recipe.mix).rows
        if folder.recipe.exists() and folder.preprocessing.exists():  # without a recipe, it may be of another one
            self.preprocessing = data.Preprocessing.load(folder.preprocessing)
        else:
            self.preprocessing = data.measure(
                self.source,
                recipe.train_split,
                image_size=recipe.test_image_size or recipe.image_size,
                mode=recipe.preprocess,
                crop=recipe.test_crop,
                on_corrupt=on_corrupt,
            )
        self._training = _at_size(self.preprocessing, recipe)
        self.image_size = self._training.image_size

    def train_batches(self, *, seed: int, start_step: int, shard: tuple[int, int]) -> tf.data.Dataset:
        """(uint8 images, labels) of one worker, from a step on and for ever."""
        return uint8_batches(
            self.source,
            self._recipe.train_split,
            preprocessing=self._training,
            batch_size=self._recipe.batch_size,
            lost=self.train_lost,
            crop=self._recipe.crop,
            augment=self._recipe.augment,
            mix=self._recipe.mix,
            seed=seed,
            start_step=start_step,
            shard=shard,
            cache=self._cache,
            data_service=self._data_service,
        )

    def test_batches(self, *, batch_size: int, shard: tuple[int, int]) -> tf.data.Dataset:
        """(uint8 images, labels, weights) of one worker's share of the test split, filled up with examples of weight 0.

        Every worker gets as many batches: those that `batch_size`, the global one, makes of the split.
        """
        batches = uint8_batches(
            self.source,
            self._recipe.test_split,
            preprocessing=self.preprocessing,
            batch_size=batch_size,
            lost=self.test_lost,
            train=False,
            shard=shard,
            cache=self._cache,
        )
        wanted = -(-self.source.size(self._recipe.test_split) // batch_size)
        return padded(batches, batch_size // shard[1], wanted)

    @tf.autograph.experimental.do_not_convert
    def class_counts(self) -> np.ndarray:
        """How many examples of the training split each class has."""
        labels = self.source.labels(self._recipe.train_split)
        if labels is None:  # they stand in the files
            indices = tf.data.Dataset.range(self.source.size(self._recipe.train_split))
            read = self.source.read(self._recipe.train_split)
            found = indices.map(lambda index: read(index)[1], tf.data.AUTOTUNE).ignore_errors()
            labels = np.fromiter(found.as_numpy_iterator(), np.int64)
        return np.bincount(labels, minlength=len(self.source.class_names))

    def lost(self) -> dict[str, object]:
        """What could not be used, for the report; empty if all could."""
        names = listed([self.train_lost, self.test_lost])
        lost: dict[str, object] = {"Skipped": {str(i): name for i, name in enumerate(names, 1)}} if names else {}
        if self.train_lost.batches:
            lost["Batches of the data service that did not come"] = self.train_lost.batches
        return lost


def _at_size(preprocessing, recipe):
    """The same for training images, where these have a size of their own."""
    if not recipe.test_image_size:
        return preprocessing
    if recipe.preprocess in ("mean_image", "whiten"):
        raise ValueError(f"preprocess={recipe.preprocess!r} is of images of one size: leave test_image_size out.")
    return dataclasses.replace(preprocessing, image_size=(recipe.image_size,) * 2)
