"""That a model remembers what it is stands in tests/models/test_models.py; here is how it trains in less memory."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerascnn
from tools import golden

SMALL = {"input_shape": (64, 64, 3), "num_classes": 3}
IMAGES = golden.images((64, 64, 3), 8)
CASES = [
    ("resnet18", {"depths": (2, 1, 1, 1), "dropout": 0.2, "drop_path": 0.2}),
    ("densenet_bc100_cifar", {"depths": (4, 4, 4)}),
    ("mobilenet_v3_small", {}),
    ("googlenet", {}),
]


def both(name, fields):
    """A plain model and one that computes again, with the same weights and the same seeds."""
    plain = golden.fill(kerascnn.create_model(name, **SMALL, **fields))
    again = kerascnn.create_model(name, rematerialize=True, **SMALL, **fields)
    for new, old in zip(again.variables, plain.variables, strict=True):
        new.assign(old)
    return plain, again


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("name", "fields"), CASES[:1] + [pytest.param(*row, marks=pytest.mark.slow) for row in CASES[1:]]
)
def test_gradients_and_running_averages_are_the_plain_models(name, fields, compiled):
    def step(model):
        with tf.GradientTape() as tape:
            y = model(IMAGES, training=True)
            loss = tf.reduce_sum(y * golden.images((3,), 8))
        return y, tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    plain, again = both(name, fields)
    results = [(tf.function(step) if compiled else step)(model) for model in (plain, again)]
    assert ("_segments" in vars(again)) == compiled
    # Norms take away what a bias ahead of them adds, so that some gradients are rounding alone.
    rounding = 1e-5 * max(np.abs(value).max() for value in tf.nest.flatten(results))
    for expected, actual in zip(*map(tf.nest.flatten, results), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=rounding)
    for expected, actual in zip(plain.non_trainable_variables, again.non_trainable_variables, strict=True):
        np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-5, atol=1e-6)  # moved once


def test_it_is_the_same_model_at_test_time_and_in_its_file(tmp_path):
    plain, again = both("resnet18", {})
    assert [layer.name for layer in again.layers] == [layer.name for layer in plain.layers]
    np.testing.assert_array_equal(np.asarray(again(IMAGES)), np.asarray(plain(IMAGES)))
    again.save(tmp_path / "model.keras")
    loaded = kerascnn.load_model(tmp_path / "model.keras")
    assert loaded.overrides["rematerialize"] is True
    assert [weight.path for weight in loaded.weights] == [weight.path for weight in plain.weights]
    assert len(loaded._segments) > 2


def test_it_trains_by_fit():
    model = kerascnn.create_model("resnet18", depths=(1, 1, 1, 1), rematerialize=True, **SMALL)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(IMAGES, np.arange(8) % 3, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert "_segments" in vars(model)


def test_less_is_kept():
    """Counted on the graph: what lies between segments, and the largest segment, against all activations."""
    model = kerascnn.create_model("resnet50", input_shape=(64, 64, 3), rematerialize=True)
    sizes = [np.prod(operation.output.shape[1:]) for operation in model.operations]
    kept = sum(np.prod(segment.output.shape[1:]) for segment in model._segments)
    largest = max(
        sum(np.prod(operation.output.shape[1:]) for operation in segment.operations) for segment in model._segments
    )
    assert kept + largest < 0.3 * sum(sizes)


def test_several_outputs_are_refused():
    with pytest.raises(ValueError, match="googlenet: rematerialize=True needs a model of one output"):
        kerascnn.create_model("googlenet", include_aux=True, rematerialize=True, input_shape=(64, 64, 3))
