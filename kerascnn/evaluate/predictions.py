"""What a model says of each example of a split, and where it is most wrong."""

import keras
import numpy as np
import tensorflow as tf

from kerascnn import data


def predict(model: keras.Model, source: data.Source, split: str, preprocessing: data.Preprocessing, batch_size: int):
    """(labels [n], logits [n, classes]) of every example of a split, in the source's order."""
    anything = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)  # the last batch is smaller: one graph for all
    forward = tf.function(lambda images: model(images, training=False), input_signature=[anything])
    labels, logits = [], []
    for images, batch_labels in data.pipeline(
        source, split, batch_size=batch_size, preprocess=preprocessing, train=False
    ):
        labels.append(batch_labels.numpy())
        logits.append(forward(images).numpy())
    return np.concatenate(labels), np.concatenate(logits)


def worst_mistakes(
    source: data.Source,
    split: str,
    preprocessing: data.Preprocessing,
    labels: np.ndarray,
    logits: np.ndarray,
    count: int = 24,
) -> list[dict]:
    """The wrong predictions that the model was surest of, worst first, as `kerascnn.report` shows them.

    Args:
      source, split, preprocessing: what the examples came from.
      labels, logits: what `predict` gave.
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
    wanted = tf.constant(worst, tf.int64)
    # Chosen before they are decoded.
    chosen = source.dataset(split).enumerate().filter(lambda index, _: tf.reduce_any(wanted == index))
    images = {int(index): preprocessing.decode(encoded).numpy() for index, (encoded, _) in chosen}
    names = preprocessing.class_names
    return [
        {
            "index": int(i),
            "image": images[int(i)],
            "label": names[labels[i]],
            "prediction": names[predicted[i]],
            "score": float(scores[i, predicted[i]]),
        }
        for i in worst
    ]
