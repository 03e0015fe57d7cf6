"""How far an exported model is from the Keras model it was made from, on images that both are given."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from kerascnn.data import Preprocessing, Source
from kerascnn.data.synthetic import draw_image

MADE_UP = 64  # images, where no data set is at hand
BATCH = 32


@dataclasses.dataclass(frozen=True)
class Reference:
    """What the Keras model says of some images that went through the evaluation pipeline.

    Attributes:
      name: what they are, for people: "digits, test, 360 images".
      encoded: their files.
      inputs: float32 [n, height, width, channels], decoded and normalised.
      logits: float32 [n, classes].
      made_up: whether they are of no data set.
    """

    name: str
    encoded: list[bytes]
    inputs: np.ndarray
    logits: np.ndarray
    made_up: bool = False


def collect(
    model: keras.Model,
    preprocessing: Preprocessing,
    source: Source | None = None,
    split: str = "test",
    limit: int = 512,
) -> Reference:
    """What the model says of images of a split, or of made-up ones.

    Of a split with more than `limit` images so many are taken, evenly spread: in many data sets the classes stand one
    after the other. An image that cannot be read or decoded is left out, which the name then tells.

    Args:
      model: gives logits [batch, classes] for normalised images; not folded, as it was trained.
      preprocessing: of the run or checkpoint that the model came from.
      source: from `open_source`; None makes images up, the same ones each time.
      split: which of the source's.
      limit: the most images that are taken.

    Raises:
      ValueError: no image can be used, or the model gives what is no number.
    """
    if source is None:
        encoded = made_up(preprocessing)
        inputs, _ = _inputs(preprocessing, encoded)
        name = f"{len(encoded)} made-up images (no data set was named)"
    else:
        encoded, inputs, name = _read(preprocessing, source, split, limit)
    anything = tf.TensorSpec([None, *inputs.shape[1:]], tf.float32)  # the last batch is smaller: one graph for all
    forward = tf.function(lambda images: model(images, training=False), input_signature=[anything], autograph=False)
    parts = [forward(inputs[i : i + BATCH]).numpy() for i in range(0, len(inputs), BATCH)]
    logits = np.concatenate(parts).astype(np.float32)
    _check_finite(logits, f"the model {model.name}")
    return Reference(name, encoded, inputs, logits, made_up=source is None)


def calibration(preprocessing: Preprocessing, source: Source, split: str = "train", limit: int = 256) -> np.ndarray:
    """Normalised images of a split, evenly spread, for measuring the ranges that int8 has to cover.

    Returns:
      float32 [at most `limit`, height, width, channels].

    Raises:
      ValueError: no image can be used.
    """
    return _read(preprocessing, source, split, limit)[1]


def compare(reference: Reference, logits: np.ndarray) -> dict:
    """How another model's logits for the reference's images differ.

    Returns:
      `images`: their number; `max_difference`: the largest difference of a logit, in standard deviations of the
      reference's logits; `top1_agreement`: the share of images whose best class is one of the reference's best (there
      are several only where their logits are the same).

    Raises:
      ValueError: the logits are of another shape, or some are no numbers.
    """
    if logits.shape != reference.logits.shape:
        raise ValueError(f"logits {logits.shape} cannot be compared with those of the model, {reference.logits.shape}.")
    _check_finite(logits, "the exported model")
    expected = reference.logits.astype(np.float64)
    difference, spread = float(np.abs(logits - expected).max()), float(expected.std(dtype=np.float64))
    chosen = np.take_along_axis(expected, logits.argmax(-1)[:, np.newaxis], 1)[:, 0]
    return {
        "images": len(logits),
        "max_difference": difference / spread if spread else difference,  # where all logits are the same number
        "top1_agreement": float(np.mean(chosen == expected.max(-1))),
    }


def made_up(preprocessing: Preprocessing, count: int = MADE_UP, seed: int = 0) -> list[bytes]:
    """Image files with smooth colours and sharp outlines, JPEG and PNG in turn, the same for the same arguments.

    Their sizes differ from each other and mostly from the model's, so that resizing counts.
    """
    random = np.random.default_rng(seed)
    channels = 4 if preprocessing.channels in (2, 4) else 3  # with an alpha where the model sees one
    files = []
    for i in range(count):
        height, width = (max(4, round(side * random.uniform(0.6, 2.2))) for side in preprocessing.image_size)
        image = draw_image(random, height, width, channels)
        quality = int(random.integers(60, 96))
        if i % 2:
            files.append(tf.io.encode_png(image).numpy())
        else:
            files.append(tf.io.encode_jpeg(image[..., :3], quality=quality).numpy())
    return files


def _read(preprocessing, source, split, limit):
    """(files, normalised images, a name that says how many) of a split."""
    size = source.size(split)
    indices = np.linspace(0, size - 1, min(size, limit)).round().astype(np.int64)
    one = tf.TensorSpec([], tf.int64)
    read = tf.function(lambda index: source.read(split)(index)[0], input_signature=[one], autograph=False)
    files = []
    for index in indices:
        try:
            files.append(read(index).numpy())
        except tf.errors.OpError:
            files.append(b"")
    inputs, usable = _inputs(preprocessing, files)
    if not usable:
        raise ValueError(f"{source.name} {split}: none of {len(files)} images can be read and decoded.")
    counted = f"{len(usable)} images" if len(usable) == size else f"{len(usable)} of {size} images"
    lost = len(files) - len(usable)
    name = f"{source.name}, {split}, {counted}" + (f" ({lost} cannot be read)" if lost else "")
    return [files[i] for i in usable], inputs, name


def _inputs(preprocessing, files):
    """(normalised images, the places of their files): without those that cannot be decoded."""
    decode = tf.function(preprocessing.decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    images, places = [], []
    for i, file in enumerate(files):
        try:
            images.append(decode(file).numpy())
        except tf.errors.InvalidArgumentError:
            continue
        places.append(i)
    return preprocessing.normalise(np.stack(images)).numpy() if images else None, places


def _check_finite(logits, whose):
    wrong = int(np.sum(~np.isfinite(logits).all(-1)))
    if wrong:
        raise ValueError(f"{whose} gives what is no number (NaN or infinite) for {wrong} of {len(logits)} images.")
