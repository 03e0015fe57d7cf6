"""What a model says of each example of a split, and where it is most wrong."""

import keras
import numpy as np
import tensorflow as tf

from kerascnn import data
from kerascnn.data.batches import uint8_batches
from kerascnn.data.lost import Lost


def predict(
    model: keras.Model,
    source: data.Source,
    split: str,
    preprocessing: data.Preprocessing,
    batch_size: int,
    lost: Lost | None = None,
):
    """(indices [n], labels [n], logits [n, classes]) of every example of a split, in the source's order.

    Args:
      lost: the account of examples that cannot be used, which are left out if it skips them; None makes them an error.
    """
    lost = lost or Lost(source, split)
    anything = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)  # the last batch is smaller: one graph for all
    forward = tf.function(lambda images: model(images, training=False), input_signature=[anything])
    labels, logits = [], []
    for images, batch_labels in uint8_batches(
        source, split, batch_size=batch_size, preprocessing=preprocessing, lost=lost, train=False
    ):
        labels.append(batch_labels.numpy())
        logits.append(forward(preprocessing.normalise(images)).numpy())
    indices = np.setdiff1d(np.arange(source.size(split)), list(lost.elements))
    return indices, np.concatenate(labels), np.concatenate(logits)


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
