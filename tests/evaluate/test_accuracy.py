"""Counts against NumPy's own sorting, and classes by their names."""

import numpy as np
import pytest

import kerascnn
from kerascnn import data
from kerascnn.evaluate.accuracy import accuracy, matched, rank


@pytest.fixture(scope="module")
def digits(data_dir):
    return data.open_source("digits", data_dir)


@pytest.fixture(scope="module")
def model():
    return kerascnn.create_model("lenet5", input_shape=(32, 32, 1))


def prepared(digits, **options):
    return data.measure(digits, "train", image_size=32, **options)


def test_ranks_are_places_in_the_order_of_logits():
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 6, (200, 9)).astype(np.float32)  # with ties, of which the earlier class stands first
    labels = rng.integers(0, 9, 200)
    order = np.argsort(-logits, 1, kind="stable")
    np.testing.assert_array_equal(
        rank(logits, labels), [list(row).index(label) for row, label in zip(order, labels, strict=True)]
    )


@pytest.mark.parametrize("batch_size", [64, pytest.param(7, marks=pytest.mark.slow)])
def test_every_example_counts_once(digits, model, batch_size):
    preprocessing = prepared(digits)
    found = accuracy(model, digits, "test", preprocessing, batch_size=batch_size)
    images, labels = [], []
    for encoded, label in digits.dataset("test"):
        images.append(preprocessing.normalise(preprocessing.decode(encoded)).numpy())
        labels.append(int(label))
    order = np.argsort(-np.asarray(model.predict(np.stack(images), verbose=0)), 1)
    hits = order == np.array(labels)[:, np.newaxis]
    assert found == (pytest.approx(hits[:, 0].mean()), pytest.approx(hits[:, :5].any(1).mean()), 360)


def test_classes_may_be_others_of_the_model(digits):
    wide = kerascnn.create_model("lenet5", num_classes=12)
    found = accuracy(wide, digits, "test[:50]", prepared(digits), labels=[11, *range(9)])
    assert found.images == 50
    with pytest.raises(ValueError, match="lenet5 has 4 classes, digits has 10"):
        accuracy(kerascnn.create_model("lenet5", num_classes=4), digits, "test[:50]", prepared(digits))


def test_what_is_no_number_is_an_error(digits):
    broken = kerascnn.create_model("lenet5")
    broken.get_layer("logits").bias.assign(np.full(10, np.nan))
    with pytest.raises(ValueError, match="lenet5 gives what is no number"):
        accuracy(broken, digits, "test[:50]", prepared(digits))


def test_classes_are_matched_by_any_of_their_names():
    fish, words = ["n01440764", "n01443537", "n01484850"], ["tench", "goldfish", "great white shark"]
    assert matched(["goldfish", "tench"], words, fish) == [1, 0]
    assert matched(["n01484850"], words, fish) == [2]
    assert matched(["a", "b", "c"], words, fish) == [0, 1, 2]  # as many: in their order
    with pytest.raises(
        ValueError, match="3 classes do not include 'goldfisch', one of the data's 2: did you mean goldfish"
    ):
        matched(["tench", "goldfisch"], words, fish)
