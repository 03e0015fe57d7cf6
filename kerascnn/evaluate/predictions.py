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
from kerascnn.evaluate import tta as test_time


def predicted_batches(
    model: keras.Model,
    source: data.Source,
    split: str,
    preprocessing: data.Preprocessing,
    batch_size: int,
    lost: Lost | None = None,
    tta: str = "",
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(labels [batch], logits [batch, classes]) of every example of a split, in the source's order.

    Args:
      lost: the account of examples that cannot be used, which are left out if it skips them; None makes them an error.
      tta: the views of each image whose logits are averaged; see `kerascnn.evaluate.tta`.
    """
    views = test_time.parse(tta, preprocessing.image_size)
    logits_of = test_time.make_logits(model, preprocessing.normalise, views)
    at_scales = [test_time.at_scale(preprocessing, scale) for scale in views.scales] if views else []
    prepared, functions, lost = at_scales or [preprocessing], [], lost or Lost(source, split)
    for each in prepared:  # the last batch is smaller: one graph for all of a scale
        anything = tf.TensorSpec([None, *each.image_size, each.channels], tf.uint8)
        functions.append(tf.function(logits_of, input_signature=[anything], autograph=False))
    scales = [
        uint8_batches(source, split, batch_size=batch_size, preprocessing=each, lost=lost, train=False)
        for each in prepared
    ]
    for batches in zip(*scales, strict=True):
        found = [function(images).numpy() for function, (images, _) in zip(functions, batches, strict=True)]
        yield batches[0][1].numpy(), np.mean(found, 0)


def predict(
    model: keras.Model,
    source: data.Source,
    split: str,
    preprocessing: data.Preprocessing,
    batch_size: int,
    lost: Lost | None = None,
    tta: str = "",
):
    """(indices [n], labels [n], logits [n, classes]) of every example of a split; see `predicted_batches`."""
    lost = lost or Lost(source, split)
    batches = list(predicted_batches(model, source, split, preprocessing, batch_size, lost, tta))
    labels, logits = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return np.setdiff1d(np.arange(source.size(split)), list(lost.elements)), labels, logits


def classify(
    model: keras.Model, preprocessing: data.Preprocessing, paths: Iterable[str], top: int = 5
) -> Iterator[tuple[str, list[tuple[str, float]] | str]]:
    """For each image file, in order, (path, its `top` (class, probability), best first; or what is wrong with it)."""
    decode = tf.function(preprocessing.decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
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
