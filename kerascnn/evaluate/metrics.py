"""What is counted over examples. Sums only, so that any split over batches and replicas adds up to the same."""

import numpy as np
import tensorflow as tf


def cross_entropy(labels, logits, smoothing: float = 0.0):
    """Softmax cross-entropy of each example, [batch]; `smoothing` of the target is spread over all classes.

    Args:
      labels: integers [batch], or shares of all classes, float [batch, classes].
      logits: [batch, classes]; the computation is in float32, and in float64 where they are.
      smoothing: the share that goes to all classes alike (arXiv:1512.00567, 7).
    """
    labels, logits = tf.convert_to_tensor(labels), widened(logits)
    if len(labels.shape) == 2:
        hard = tf.nn.softmax_cross_entropy_with_logits(tf.cast(labels, logits.dtype), logits)
    else:
        hard = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if not smoothing:
        return hard
    uniform = tf.reduce_logsumexp(logits, -1) - tf.reduce_mean(logits, -1)
    return (1 - smoothing) * hard + smoothing * uniform


def widened(logits):
    """Logits as a tensor in which a loss can be computed: half precisions become float32, the others stay."""
    logits = tf.convert_to_tensor(logits)
    return logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)


def sums(labels, logits, losses, weights=None):
    """[sum of losses, number right, number of examples] in the losses' dtype; a weight of 0 leaves an example out.

    Args:
      labels: integers [batch], or shares of all classes [batch, classes], of which the largest is the right one.
      logits: [batch, classes].
      losses: [batch].
      weights: [batch] of 0 and 1; None for all 1.
    """
    if len(labels.shape) == 2:
        labels = tf.argmax(labels, -1)
    losses = tf.convert_to_tensor(losses)
    right = tf.cast(tf.equal(tf.argmax(logits, -1, output_type=labels.dtype), labels), losses.dtype)
    weights = tf.ones_like(losses) if weights is None else tf.cast(weights, losses.dtype)
    losses = tf.math.multiply_no_nan(losses, weights)  # 0 where the weight is, even of an infinite loss
    return tf.stack([tf.reduce_sum(losses), tf.reduce_sum(right * weights), tf.reduce_sum(weights)])


def means(totals: np.ndarray) -> tuple[float, float]:
    """(mean loss, accuracy) from added-up `sums`."""
    loss, right, count = totals
    return float(loss / count), float(right / count)


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts [classes, classes]: rows are the true classes, columns the predicted ones."""
    return np.bincount(labels.astype(np.int64) * classes + predictions, minlength=classes**2).reshape(classes, classes)
