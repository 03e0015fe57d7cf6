"""source -> decode -> augment one image -> batch -> normalise: uint8 until the last step, all chance from a seed."""

import os

import tensorflow as tf

from kerascnn.data import augment as augmentation
from kerascnn.data.preprocessing import Preprocessing, measure
from kerascnn.data.sources import Source, open_source

# Encoded images held for shuffling: about 2 GB of ImageNet's. TFDS has shuffled its files once, when they were made.
SHUFFLE_BUFFER = 16_384
CACHE_BYTES = 2**28  # a training split up to this size stays in memory, encoded


def pipeline(
    source: Source | str,
    split: str,
    *,
    batch_size: int,
    image_size: int | None = None,
    augment: str | None = None,
    preprocess: Preprocessing | str = "channel_mean_std",
    train: bool = True,
    seed: int = 0,
    start_step: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """Batches of (float32 images [batch, height, width, channels], int64 labels [batch]).

    For training it goes on for ever: each epoch in an order of its own and in whole batches, so that the up to
    `batch_size - 1` elements that an epoch leaves out are others each time. What becomes of element i in epoch e
    depends on (seed, e, i) alone. For evaluation every element comes once, in order; the last batch may be smaller.

    Args:
      source: what `open_source` gave, or a name for it.
      split: `train`, `test`, ..., or a TFDS slice of one.
      batch_size: the global one.
      image_size: the side in pixels; None for the source's own. Not with a `Preprocessing`, which has it.
      augment: for training only; see `kerascnn.data.augment`.
      preprocess: a `Preprocessing`, or the mode of one that is measured here on the split `train`.
      seed: any integer of 64 bits.
      start_step: where to go on, in batches since the first epoch.
      data_dir: where TFDS keeps its files.

    Raises:
      ValueError: a name that does not exist, or a split that is smaller than one batch.
    """
    if isinstance(source, str):
        source = open_source(source, data_dir)
    if isinstance(preprocess, Preprocessing):
        if image_size is not None:
            raise ValueError("a Preprocessing has an image size already: leave image_size out.")
        prepared = preprocess
    else:
        prepared = measure(source, split if train else "train", image_size=image_size, mode=preprocess)
    elements = source.dataset(split)
    if train:
        policy = augmentation.parse(augment)
        if source.nbytes(split) <= CACHE_BYTES:
            elements = elements.cache()
        steps = steps_per_epoch(source, split, batch_size)
        elements = _endless(elements, source.size(split), steps, batch_size, seed, start_step)

        def prepare(epoch_seed, index, encoded, label):
            return policy(prepared.decode(encoded), tf.random.fold_in(epoch_seed, index)), label

        dataset = elements.map(prepare, tf.data.AUTOTUNE)
    else:
        dataset = elements.map(lambda encoded, label: (prepared.decode(encoded), label), tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size, drop_remainder=train)
    return dataset.map(lambda images, labels: (prepared.normalise(images), labels)).prefetch(tf.data.AUTOTUNE)


def steps_per_epoch(source: Source, split: str, batch_size: int) -> int:
    """Whole batches in an epoch of training.

    Raises:
      ValueError: there is not even one.
    """
    size = source.size(split)
    if size < batch_size:
        raise ValueError(f"{source.name} {split} has {size} elements, less than one batch of {batch_size}.")
    return size // batch_size


def _endless(elements, size, steps, batch_size, seed, start_step):
    """(epoch's seed, index, encoded, label) epoch after epoch, from the batch number `start_step` on."""
    elements = elements.enumerate()

    def epoch(number):
        epoch_seed = tf.random.fold_in([seed, 0], number)
        shuffled = _shuffle(elements, min(size, SHUFFLE_BUFFER), epoch_seed)
        done = tf.where(number == start_step // steps, start_step % steps, 0)
        whole = shuffled.take(steps * batch_size).skip(tf.cast(done, tf.int64) * batch_size)
        return whole.map(lambda index, element: (epoch_seed, index, *element))

    return tf.data.Dataset.range(start_step // steps, tf.int64.max).flat_map(epoch)


def _shuffle(dataset, buffer_size, seed):
    """`dataset.shuffle` with a seed that is a tensor, which the method cannot take once a global seed is set."""
    seeds = tf.random.stateless_uniform([2], seed, None, None, tf.int64)
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(dataset),
        buffer_size=buffer_size,
        seed=seeds[0],
        seed2=seeds[1],
        output_types=[spec.dtype for spec in tf.nest.flatten(dataset.element_spec)],
        output_shapes=[spec.shape for spec in tf.nest.flatten(dataset.element_spec)],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(shuffled, dataset.element_spec)


def padded(dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Evaluation batches all of one size: (images, labels, weights), where filling has the weight 0 and the rest 1.

    So every replica gets the same shapes and the same number of batches, and each element still counts once.
    """

    def pad(images, labels):
        missing = batch_size - tf.shape(labels)[0]
        weights = tf.pad(tf.ones_like(labels, tf.float32), [[0, missing]])
        images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
        labels = tf.pad(labels, [[0, missing]])
        return tuple(tf.ensure_shape(x, [batch_size, *x.shape[1:]]) for x in (images, labels, weights))

    return dataset.map(pad)
