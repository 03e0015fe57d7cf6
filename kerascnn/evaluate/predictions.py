"""What a model says of each example of a split, and where it is most wrong."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kerascnn import data
from kerascnn.data.batches import uint8_batches
from kerascnn.data.decode import MAX_PIXELS
from kerascnn.data.lost import Lost


def predicted_batches(
    model: keras.Model,
    source: data.Source,
    split: str,
    preprocessing: data.Preprocessing,
    batch_size: int,
    lost: Lost | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(labels [batch], logits [batch, classes]) of every example of a split, in the source's order.

    Args:
      lost: the account of examples that cannot be used, which are left out if it skips them; None makes them an error.
    """
    anything = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)  # the last batch is smaller: one graph for all
    forward = tf.function(lambda images: model(images, training=False), input_signature=[anything])
    for images, labels in uint8_batches(
        source,
        split,
        batch_size=batch_size,
        preprocessing=preprocessing,
        lost=lost or Lost(source, split),
        train=False,
    ):
        yield labels.numpy(), forward(preprocessing.normalise(images)).numpy()


def predict(
    model: keras.Model,
    source: data.Source,
    split: str,
    preprocessing: data.Preprocessing,
    batch_size: int,
    lost: Lost | None = None,
):
    """(indices [n], labels [n], logits [n, classes]) of every example of a split; see `predicted_batches`."""
    lost = lost or Lost(source, split)
    batches = list(predicted_batches(model, source, split, preprocessing, batch_size, lost))
    labels, logits = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return np.setdiff1d(np.arange(source.size(split)), list(lost.elements)), labels, logits


def classify(
    model: keras.Model, preprocessing: data.Preprocessing, paths: Iterable[str], top: int = 5
) -> Iterator[tuple[str, list[tuple[str, float]] | str]]:
    """For each image file, in order, (path, its `top` (class, probability), best first; or what is wrong with it)."""
    decode = tf.function(preprocessing.decode, input_signature=[tf.TensorSpec([], tf.string)])
    for path in paths:
        try:
            image = decode(Path(path).read_bytes())
        except OSError as error:
            yield path, error.strerror or str(error)
        except tf.errors.InvalidArgumentError:
            yield path, f"not a whole JPEG, PNG, GIF or BMP image, or one of more than {MAX_PIXELS:,} pixels"
        else:
            logits = model(preprocessing.normalise(image[tf.newaxis]), training=False)
            scores = tf.nn.softmax(logits)[0].numpy()
            best = np.argsort(-scores, kind="stable")[:top]
            yield path, [(preprocessing.class_names[i], float(scores[i])) for i in best]


def worst_mistakes(
    source: data.Source,
    split: str,
    preprocessing: data.Preprocessing,
    indices: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    count: int = 24,
) -> list[dict]:
    """The wrong predictions that the model was surest of, worst first, as `kerascnn.report` shows them.

    Args:
      source, split, preprocessing: what the examples came from.
      indices, labels, logits: what `predict` gave.
      count: at most so many.

    Returns:
      Mappings with index, image (uint8 [height, width, channels], as the model saw it), label, prediction and score,
      the predicted class's probability.
    """
    scores = tf.nn.softmax(logits).numpy()
    predicted = logits.argmax(-1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-scores[wrong, predicted[wrong]], kind="stable")][:count]
    if not len(worst):
        return []
    read = source.read(split)
    names = preprocessing.class_names
    return [
        {
            "index": int(indices[i]),
            "image": preprocessing.decode(read(tf.constant(indices[i]))[0]).numpy(),
            "label": names[labels[i]],
            "prediction": names[predicted[i]],
            "score": float(scores[i, predicted[i]]),
        }
        for i in worst
    ]
