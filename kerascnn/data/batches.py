"""source -> decode and crop -> augment -> batch -> mix -> normalise: uint8 until the last step, all chance from a seed.

Everything begins with the number of a batch. It says which elements are in it and which numbers are drawn for each, so
that any batch can be made at any time, by any worker, and comes out the same.
"""

import math
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from kerascnn.data import augment as augmentation
from kerascnn.data import crop as cropping
from kerascnn.data import draws, records, service
from kerascnn.data import mix as mixing
from kerascnn.data.lost import Lost
from kerascnn.data.preprocessing import Preprocessing, measure
from kerascnn.data.sources import Source, open_source

CHUNK = 64  # images that one thread makes in a row: what a thread's turn costs is shared by them
MEMORY_BYTES = 2**28  # what is kept in memory without being asked for: as pixels, or else encoded
FOR_EVER = 2**62  # the number of a batch that no training reaches


def pipeline(
    source: Source | str,
    split: str,
    *,
    batch_size: int,
    image_size: int | None = None,
    crop: str = "random_resized",
    augment: str | None = None,
    mix: str | None = None,
    preprocess: Preprocessing | str = "channel_mean_std",
    train: bool = True,
    seed: int = 0,
    start_step: int = 0,
    shard: tuple[int, int] = (0, 1),
    data_dir: str | os.PathLike | None = None,
    cache: str | os.PathLike | None = None,
    on_corrupt: str = "error",
    data_service: str | None = None,
) -> tf.data.Dataset:
    """Batches of (float32 images [batch, height, width, channels], int64 labels [batch]).

    For training it goes on for ever: each epoch in an order of its own and in whole batches, so that the up to
    `batch_size - 1` elements that an epoch leaves out are others each time. What becomes of element i in epoch e
    depends on (seed, e, i) alone. For evaluation every element comes once, in order; the last batch may be smaller.

    Args:
      source: what `open_source` gave, or a name for it.
      split: `train`, `test`, ..., or a slice of one, as in `train[:90%]`.
      batch_size: the global one; each shard gets its equal share of every batch.
      image_size: the side in pixels; None for the source's own. Not with a `Preprocessing`, which has it.
      crop: for training; see `kerascnn.data.crop`. For evaluation one without chance is taken as it is; in place of
        another comes `resize` for `pad` and `center` for the rest. Not looked at in evaluation with a `Preprocessing`.
      augment: for training only; see `kerascnn.data.augment`.
      mix: for training only; see `kerascnn.data.mix`. Labels become float32 [batch, classes].
      preprocess: a `Preprocessing`, or the mode of one that is measured here on the split `train`.
      train: see above.
      seed: any integer of 64 bits.
      start_step: where to go on, in batches since the first epoch.
      shard: (number of this worker, number of workers).
      data_dir: where TFDS keeps its files.
      cache: `memory`, or a folder on a quick disk, to keep the encoded images in.
      on_corrupt: `error`, or `skip` to do without elements that cannot be used: `kerascnn.data.lost` says how.
      data_service: the address of a dispatcher of tf.data's service, to prepare training images elsewhere. Which
        batches come then, and in which order, is up to the workers; each is what it would be without them.

    Raises:
      ValueError: a name that does not exist, a number out of range, or a split that is smaller than one batch.
      tf.errors.InvalidArgumentError: (when run) an element that cannot be used; the message names it.
    """
    if isinstance(source, str):
        source = open_source(source, data_dir)
    if isinstance(preprocess, Preprocessing):
        if image_size is not None:
            raise ValueError("a Preprocessing has an image size already: leave image_size out.")
        prepared = preprocess
    else:
        prepared = measure(
            source,
            split if train else "train",
            image_size=image_size,
            mode=preprocess,
            crop=evaluation_crop(crop),
        )
    batches = uint8_batches(
        source,
        split,
        preprocessing=prepared,
        batch_size=batch_size,
        crop=crop,
        augment=augment,
        mix=mix,
        train=train,
        seed=seed,
        start_step=start_step,
        shard=shard,
        cache=cache,
        lost=Lost(source, split, on_corrupt),
        data_service=data_service,
    )
    # Compiled, it is one pass over the pixels, with the same results; a product of matrices would not gain.
    normalise = tf.function(prepared.normalise, jit_compile=prepared.whitening is None, autograph=False)
    return batches.map(lambda images, labels: (normalise(images), labels), tf.data.AUTOTUNE).prefetch(2)


def evaluation_crop(crop: str) -> str:
    """The crop for evaluation beside one for training: the same if it holds no chance."""
    parsed = cropping.parse(crop)
    if not parsed.draws:
        return crop
    return "resize" if parsed.batch else "center"


def steps_per_epoch(source: Source, split: str, batch_size: int) -> int:
    """Whole batches in an epoch of training.

    Raises:
      ValueError: there is not even one.
    """
    size = source.size(split)
    if size < batch_size:
        raise ValueError(f"{source.name} {split} has {size} elements, less than one batch of {batch_size}.")
    return size // batch_size


# What is mapped is written for graphs as it stands; AutoGraph would rewrite all of it first, for seconds.
@tf.autograph.experimental.do_not_convert
def uint8_batches(
    source: Source,
    split: str,
    *,
    preprocessing: Preprocessing,
    batch_size: int,
    lost: Lost,
    crop: str = "resize",
    augment: str | None = None,
    mix: str | None = None,
    train: bool = True,
    seed: int = 0,
    start_step: int = 0,
    shard: tuple[int, int] = (0, 1),
    cache: str | os.PathLike | None = None,
    data_service: str | None = None,
) -> tf.data.Dataset:
    """`pipeline` before it normalises: a quarter of the bytes, for a loop that has `preprocessing` do it on the device.

    Args:
      preprocessing: gives the size, the channels, and the crop of evaluation.
      lost: keeps account of elements that cannot be used.
      The others: as in `pipeline`.
    """
    cut = cropping.parse(crop if train else preprocessing.crop)
    policy = augmentation.parse(augment if train else None)
    mixer = mixing.parse(mix if train else None)
    if data_service and not train:
        raise ValueError("a data service promises no order, nor that each element comes once: not for evaluation.")
    if cache and cache != "memory":
        source = records.cached(source, split, os.fspath(cache))
    if train:
        steps_per_epoch(source, split, batch_size)  # or its error
    if start_step < 0:
        raise ValueError(f"start_step={start_step} is below 0.")
    plan = _Plan(
        size=source.size(split),
        batch_size=batch_size,
        shard=shard,
        seed=seed,
        train=train,
        repeats=mixer.repeats,
        counts=(cut.draws, policy.draws, mixer.draws),
    )
    shape = (*preprocessing.image_size, preprocessing.channels)
    read, locate, classes = source.read(split), source.locate(split), len(source.class_names)
    # The workers of a service would have to be sent what is kept in memory here.
    pixels = None if data_service else _pixels(source, split, cut, shape)

    def made_together(number):
        numbers, index, u_cut, u_policy, u_mix = plan(number)
        images, labels, usable = (tf.gather(kept, index) for kept in pixels)
        images = policy.batch(cut.batch(images, u_cut) if cut.draws else images, u_policy)
        return images, labels, usable, numbers, index, u_mix

    def load(index, u):
        if pixels:
            return cut.image(pixels.images[index], u, shape[:2]), pixels.labels[index]
        encoded, label = read(index)
        return cut.encoded(encoded, u, size=shape[:2], channels=shape[2]), label

    def finish(images, labels, usable, numbers, index, u_mix):
        if train:  # whole batches, whose size XLA wants to know
            images, labels = (tf.ensure_shape(x, [plan.share, *x.shape[1:]]) for x in (images, labels))
        usable &= (labels >= 0) & (labels < classes)
        images, labels = lost.mend(images, labels, usable, index, locate, keep_size=train)
        if mixer.mode:
            v = draws.uniform(draws.key(seed, -1, numbers[0]), mixer.batch_draws)
            images, labels = mixer(images, labels, u_mix, v, classes)
        return images, labels, tf.boolean_mask(index, ~usable), numbers[0]

    numbers = tf.data.Dataset.range(*((start_step, FOR_EVER) if train else (plan.batches,)))
    if pixels and policy.batch and (cut.batch or not cut.draws):
        batches = numbers.map(made_together, tf.data.AUTOTUNE)
    else:
        if not pixels and (cache == "memory" or (not data_service and source.nbytes(split) <= MEMORY_BYTES)):
            read = _remembered(source, split)
        chunks = numbers.flat_map(lambda number: tf.data.Dataset.from_tensor_slices(plan(number)).batch(CHUNK))
        batches = _in_chunks(chunks, load, policy, shape)
        if plan.share > CHUNK:
            batches = batches.rebatch(plan.share, drop_remainder=train)
    batches = batches.map(finish, tf.data.AUTOTUNE)
    if data_service:
        batches = service.distribute(batches, data_service)
    batches = lost.watch(batches, locate, numbered=bool(data_service))
    options = tf.data.Options()
    options.deterministic = not data_service
    cardinality = tf.data.INFINITE_CARDINALITY if train else plan.batches
    return batches.apply(tf.data.experimental.assert_cardinality(cardinality)).with_options(options).prefetch(2)


class _Plan:
    """From the number of a batch to the elements of this worker's share of it, and the numbers drawn for each.

    Called with an int64 number, it gives tensors of one row an element: the batch's number, the element's index, and
    uniform numbers for the crop, the augmentation and the mixing.

    Attributes:
      size: elements of the split.
      share: rows of a whole batch.
      batches: in one pass of evaluation.
    """

    def __init__(self, *, size, batch_size, shard, seed, train, repeats, counts):
        worker, workers = shard
        if not 0 <= worker < workers:
            raise ValueError(f"shard={shard}: (number of this worker from 0 on, number of workers) is wanted.")
        if batch_size < 1 or batch_size % workers:
            raise ValueError(f"batch_size={batch_size} cannot be shared out among {workers} workers.")
        self.size, self.share = size, batch_size // workers
        self._batch_size, self._first, self._seed = batch_size, worker * self.share, seed
        self._train, self._counts = train, counts
        self._images = -(-batch_size // repeats)  # of the last ones there may be a copy less
        self.batches = max(0, -(-(size - self._first) // batch_size))

    def __call__(self, number):
        rows = tf.range(self._first, self._first + self.share, dtype=tf.int64)
        if self._train:
            steps = self.size // self._batch_size
            epoch, step = number // steps, number % steps
            # The copies of an image lie far apart, since neighbours are mixed with each other.
            places, copies = step * self._images + rows % self._images, rows // self._images
            index = draws.permuted(places, draws.key(self._seed, epoch), self.size)
        else:
            places = number * self._batch_size + rows
            index = places[places < self.size]
            epoch, copies = 0, tf.zeros_like(index)
        return tf.fill(tf.shape(index), number), index, *drawn(self._seed, epoch, index, copies, self._counts)


def drawn(seed, epoch, index, copy, counts) -> list:
    """The uniform numbers that make an element's pixels what they are, [..., n] for each n of `counts`.

    Args:
      seed, epoch, index, copy: integers, or tensors of them; `copy` counts the augmentations of one image in a batch.
      counts: how many numbers the crop, the augmentation and the mixing take.
    """
    return tf.split(draws.uniform(draws.key(seed, epoch, index, copy), sum(counts)), counts, -1)


class _Pixels(NamedTuple):
    """A split as it lies in memory: uint8 [size, height, width, channels], int64 [size], bool [size]."""

    images: tf.Tensor
    labels: tf.Tensor
    usable: tf.Tensor


def _pixels(source, split, cut, shape) -> _Pixels | None:
    """The decoded images, where they have one size and are not too many; all of the cut that is no chance is done."""
    if None in source.image_shape:
        return None
    if cut.draws and not cut.batch:
        shape = (*source.image_shape[:2], shape[-1])
    if cut.draws:
        cut = cropping.parse("resize")
    if source.size(split) * math.prod(shape) > MEMORY_BYTES:
        return None
    return source.keep(("pixels", split, cut, shape), lambda: _decoded(source, split, cut, shape))


def _decoded(source, split, cut, shape):
    size, read = source.size(split), source.read(split)

    def load(index, u):
        encoded, label = read(index)
        return cut.encoded(encoded, u, size=shape[:2], channels=shape[2]), label

    def chunk(index):
        none = tf.zeros([tf.size(index), 0])
        return index, index, none, none, none

    images, labels, usable = np.empty([size, *shape], np.uint8), np.empty(size, np.int64), np.empty(size, bool)
    chunks = tf.data.Dataset.range(size).batch(CHUNK).map(chunk)
    for *found, index, _, _ in _in_chunks(chunks, load, augmentation.parse(None), shape).as_numpy_iterator():
        images[index], labels[index], usable[index] = found
    return _Pixels(tf.constant(images), tf.constant(labels), tf.constant(usable))


def _remembered(source, split):
    """Its `read`, from memory. What cannot be read is remembered as an image of no bytes, which cannot be decoded."""
    kept, labels = source.keep(("encoded", split), lambda: _encoded(source.size(split), source.read(split)))
    return lambda index: (kept[index], labels[index])


def _encoded(size, read):
    encoded, labels = [b""] * size, np.zeros(size, np.int64)
    elements = tf.data.Dataset.range(size).map(lambda index: (index, *read(index)), tf.data.AUTOTUNE).ignore_errors()
    for index, *element in tqdm(elements.as_numpy_iterator(), "reading", size, delay=3, unit=" images", leave=False):
        encoded[index], labels[index] = element
    return tf.constant(encoded), tf.constant(labels)


def _in_chunks(chunks, load, policy, shape):
    """Makes images a chunk at a time, several chunks at once; what fails leaves a black row that is marked unusable.

    Args:
      chunks: (batch's numbers, indices, draws for the crop, for the policy, for the mixing), a row an element.
      load: (index, draws) to (uint8 image, label).
      policy: (image, draws) to image.
      shape: of an image.

    Returns:
      (images, labels, usable, numbers, indices, draws for the mixing), a row an element.
    """
    nothing = (tf.zeros([0], tf.int32), tf.zeros([0, *shape], tf.uint8), tf.zeros([0], tf.int64))

    def chunk(numbers, index, u_cut, u_policy, u_mix):
        rows = tf.range(tf.size(index))
        loaded = (
            tf.data.Dataset.from_tensor_slices((rows, index, u_cut, u_policy))
            .map(lambda row, index, u_cut, u_policy: (row, u_policy, *load(index, u_cut)))
            .ignore_errors()  # alone: an error of the policy is not the file's fault
        )
        made = loaded.map(lambda row, u, image, label: (row, policy(image, u), label)).batch(CHUNK)
        made = made.concatenate(tf.data.Dataset.from_tensors(nothing)).take(1)
        return tf.data.Dataset.zip(made, tf.data.Dataset.from_tensors((numbers, index, u_mix)))

    def fill(made, asked):
        rows, images, labels = made
        count = tf.size(asked[1])

        def spread(values):
            return tf.scatter_nd(rows[:, tf.newaxis], values, [count, *values.shape[1:]])

        whole = tf.size(rows) == count
        images = tf.cond(whole, lambda: images, lambda: spread(images))
        labels = tf.cond(whole, lambda: labels, lambda: spread(labels))
        return images, labels, spread(tf.ones_like(rows)) > 0, *asked

    return chunks.interleave(chunk, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).map(fill)


@tf.autograph.experimental.do_not_convert
def padded(dataset: tf.data.Dataset, batch_size: int, batches: int) -> tf.data.Dataset:
    """Evaluation batches all of one size: (images, labels, weights), where filling has the weight 0 and the rest 1.

    So every replica gets the same shapes and the same number of batches, and each element still counts once.

    Args:
      batches: how many there are to be in the end; those that `dataset` lacks consist of filling.
    """

    def pad(images, labels):
        missing = batch_size - tf.shape(labels)[0]
        weights = tf.pad(tf.ones_like(labels, tf.float32), [[0, missing]])
        images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
        labels = tf.pad(labels, [[0, missing]])
        return tuple(tf.ensure_shape(x, [batch_size, *x.shape[1:]]) for x in (images, labels, weights))

    images, labels = (tf.zeros([0, *spec.shape[1:]], spec.dtype) for spec in dataset.element_spec)
    empty = tf.data.Dataset.from_tensors((images, labels)).repeat()
    return dataset.concatenate(empty).take(batches).map(pad)
