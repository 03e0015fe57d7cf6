"""What a model says of each example, and the mistakes that it was surest of."""

import keras
import numpy as np
import pytest

from kerascnn import data
from kerascnn.evaluate.predictions import predict, worst_mistakes


@pytest.fixture(scope="module")
def source(data_dir):
    return data.open_source("digits", data_dir)


@pytest.fixture(scope="module")
def preprocessing(source):
    return data.measure(source, "train")


@pytest.fixture(scope="module")
def test_set(source):
    """(pixels, labels) of the 360."""
    plain = data.measure(source, "train[:1]", mode="none")
    images, labels = next(iter(data.pipeline(source, "test", batch_size=360, preprocess=plain, train=False)))
    return np.uint8(images), labels.numpy()


@pytest.mark.parametrize("batch_size", [7, 64, 360, 1000])
def test_every_example_in_its_order_in_inference_mode(batch_size, source, preprocessing, test_set):
    image = keras.Input([8, 8, 1])
    x = keras.layers.Flatten()(keras.layers.Dropout(0.9)(image))
    model = keras.Model(image, keras.layers.Dense(10)(x))
    indices, labels, logits = predict(model, source, "test", preprocessing, batch_size)
    kernel, bias = model.get_weights()
    pixels = (np.float64(test_set[0]) - preprocessing.mean) / preprocessing.std
    np.testing.assert_array_equal(indices, np.arange(360))
    np.testing.assert_array_equal(labels, test_set[1])
    np.testing.assert_allclose(logits, pixels.reshape(360, 64) @ kernel + bias, atol=1e-4)


def logits_with(labels, mistakes):
    """Sure and right but for `mistakes`: {place: (class, logit)}."""
    logits = 9 * np.eye(10, dtype=np.float32)[labels]
    for place, (prediction, logit) in mistakes.items():
        logits[place] = 0
        logits[place, prediction] = logit
    return logits


def test_worst_mistakes_come_first_with_their_images(source, preprocessing, test_set):
    images, labels = test_set
    wrong = {place: ((labels[place] + 1 + n) % 10, 1.0 + n) for n, place in enumerate([300, 2, 359, 0, 117])}
    logits = logits_with(labels, wrong)
    found = worst_mistakes(source, "test", preprocessing, np.arange(360), labels, logits)
    assert [mistake["index"] for mistake in found] == [117, 0, 359, 2, 300]
    for mistake in found:
        place = mistake["index"]
        np.testing.assert_array_equal(mistake["image"], images[place])
        assert mistake["image"].dtype == np.uint8
        assert mistake["label"] == str(labels[place])
        prediction, logit = wrong[place]
        assert mistake["prediction"] == str(prediction)
        assert mistake["score"] == pytest.approx(np.exp(logit) / (np.exp(logit) + 9), rel=1e-5)
    few = worst_mistakes(source, "test", preprocessing, np.arange(360), labels, logits, count=2)
    assert [mistake["index"] for mistake in few] == [117, 0]


def test_equally_sure_mistakes_keep_the_order_of_the_split(source, preprocessing, test_set):
    labels = test_set[1]
    logits = logits_with(labels, {place: ((labels[place] + 1) % 10, 3.0) for place in (250, 3, 40)})
    found = worst_mistakes(source, "test", preprocessing, np.arange(360), labels, logits)
    assert [mistake["index"] for mistake in found] == [3, 40, 250]


def test_a_slice_counts_from_its_own_start(source, preprocessing, test_set):
    images, labels = (part[100:120] for part in test_set)
    logits = logits_with(labels, {5: ((labels[5] + 1) % 10, 3.0)})
    (mistake,) = worst_mistakes(source, "test[100:120]", preprocessing, np.arange(20), labels, logits)
    assert mistake["index"] == 5
    np.testing.assert_array_equal(mistake["image"], images[5])


def test_no_mistakes(source, preprocessing, test_set):
    labels = test_set[1]
    assert worst_mistakes(source, "test", preprocessing, np.arange(360), labels, logits_with(labels, {})) == []
