"""Losses and counts against NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from kerascnn.evaluate import metrics

RNG = np.random.default_rng(0)


def reference(labels, logits, smoothing):
    logits = np.float64(logits)
    shifted = logits - logits.max(-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    targets = np.eye(logits.shape[-1])[labels] * (1 - smoothing) + smoothing / logits.shape[-1]
    return -np.sum(targets * log_probabilities, -1)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 2000.0])
def test_cross_entropy(scale, smoothing, dtype):
    logits = tf.cast(RNG.normal(0, scale, [64, 10]), dtype)
    labels = RNG.integers(0, 10, 64)
    losses = metrics.cross_entropy(labels, logits, smoothing)
    assert losses.dtype == tf.float32 and losses.shape == [64]
    np.testing.assert_allclose(
        losses, reference(labels, tf.cast(logits, tf.float64), smoothing), rtol=2e-6, atol=2e-6 * max(1, scale)
    )


def test_smoothing_makes_certainty_costly():
    sure, even = [[100.0, 0.0]], [[0.0, 0.0]]
    for logits, smoothing, loss in [(sure, 0.0, 0), (sure, 0.2, 10), (even, 0.2, np.log(2))]:
        np.testing.assert_allclose(metrics.cross_entropy([0], logits, smoothing), [loss], rtol=1e-6)


def test_gradient_of_the_smoothed_loss_is_softmax_minus_target():
    logits = tf.constant(RNG.normal(size=[5, 4]), tf.float32)
    labels = np.array([0, 3, 1, 1, 2])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = metrics.cross_entropy(labels, logits, 0.1)
    targets = np.eye(4)[labels] * 0.9 + 0.1 / 4
    np.testing.assert_allclose(tape.gradient(losses, logits), tf.nn.softmax(logits) - targets, atol=1e-6)


@pytest.mark.parametrize("weights", [None, np.float32([1, 0, 1, 1, 0])])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_sums_count_what_has_a_weight(dtype, weights):
    logits = np.float32([[2, 1], [2, 1], [1, 2], [1, 2], [0, 9]])
    labels = np.array([0, 0, 0, 1, 1], dtype)  # all right but the third
    losses = np.float32([0.5, 1, 2, 4, 8])
    sums = metrics.sums(labels, logits, losses, weights)
    assert sums.dtype == tf.float32
    np.testing.assert_array_equal(sums, [15.5, 4, 5] if weights is None else [6.5, 2, 3])
    loss, accuracy = metrics.means(np.float64(sums))
    assert (loss, accuracy) == ((3.1, 0.8) if weights is None else (pytest.approx(6.5 / 3), pytest.approx(2 / 3)))


@pytest.mark.parametrize("loss", [np.inf, np.nan])
def test_an_example_without_weight_does_not_count_whatever_its_loss(loss):
    sums = metrics.sums(np.array([0, 1]), np.float32([[1, 0], [1, 0]]), np.float32([0.25, loss]), np.float32([1, 0]))
    np.testing.assert_array_equal(sums, [0.25, 1, 1])
    assert np.isnan(metrics.sums(np.array([0]), np.float32([[1, 0]]), np.float32([np.nan]))[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_confusion_has_a_row_for_each_true_class(dtype):
    labels, predictions = RNG.integers(0, 30, [2, 500]).astype(dtype)
    counts = metrics.confusion(labels, predictions, 30)
    assert counts.shape == (30, 30) and counts.sum() == 500
    for true, predicted in [(0, 0), (3, 17), (29, 28), (29, 29)]:
        assert counts[true, predicted] == np.sum((labels == true) & (predictions == predicted))
    np.testing.assert_array_equal(counts.sum(1), np.bincount(labels, minlength=30))
    np.testing.assert_array_equal(counts.sum(0), np.bincount(predictions, minlength=30))
