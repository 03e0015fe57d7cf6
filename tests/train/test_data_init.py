"""What the data give a first value to: against NumPy, and in runs."""

import dataclasses

import keras
import numpy as np
import pytest

from kerascnn import create_model, data
from kerascnn.train import run
from kerascnn.train.data_init import WhitenPatches, images_of, parse
from kerascnn.train.recipe import Recipe, WrongInput

RNG = np.random.default_rng(0)
# Colours that go together, and neighbours that are alike: what whitening undoes.
IMAGES = np.cumsum(RNG.standard_normal((100, 9, 9, 3)) @ RNG.standard_normal((3, 3)), 2)
TINY = Recipe(
    model="airbench94",
    model_args="widths=(8,)",
    data="digits",
    train_split="train[:192]",
    test_split="test[:50]",
    epochs=1,
    batch_size=32,
    learning_rate=0.2,
    schedule="constant",
    average="ema(decay=0.9)",
    tta="flip_and_shift",
    data_init="whiten_patches(images=150)",
)


def responses(kernel, images):
    """What a convolution without padding gives, [every place, filters]."""
    found = keras.ops.conv(images.astype("float64"), kernel, padding="valid")
    return np.asarray(found).reshape(-1, kernel.shape[-1])


@pytest.mark.parametrize("negatives", [False, True])
@pytest.mark.parametrize("sides", [(2, 2), (1, 3)])
def test_patches_become_white(sides, negatives):
    numbers = 3 * sides[0] * sides[1]
    shape = (*sides, 3, numbers * (1 + negatives))
    batches = (IMAGES[start : start + 30] for start in range(0, 100, 30))
    kernel = WhitenPatches(epsilon=1e-9).kernel(shape, batches)
    assert kernel.shape == shape
    found = responses(kernel, IMAGES)
    if negatives:
        np.testing.assert_array_equal(kernel[..., numbers:], -kernel[..., :numbers])
        found = found[:, :numbers]
    np.testing.assert_allclose(found.T @ found / len(found), np.eye(numbers), atol=1e-6)
    flat = kernel.reshape(numbers, -1)[:, :numbers]
    lengths = np.linalg.norm(flat, axis=0)
    assert (np.diff(lengths) > 0).all()  # what varies most comes first, and is divided by most
    assert (flat[np.abs(flat).argmax(0), np.arange(numbers)] > 0).all()


def test_epsilon_bounds_what_hardly_varies():
    flat = np.repeat(IMAGES[..., :1], 3, -1)  # grey: two of three directions are empty
    kernel = WhitenPatches(epsilon=0.01).kernel((1, 1, 3, 3), iter([flat]))
    lengths = np.linalg.norm(kernel.reshape(3, 3), axis=0)
    np.testing.assert_allclose(lengths[1:], 10, rtol=1e-6)
    variance = np.mean(3 * flat[..., 0] ** 2)
    assert lengths[0] == pytest.approx((variance + 0.01) ** -0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("whiten_patch", "data_init: there is no 'whiten_patch': did you mean whiten_patches"),
        ("whiten_patches(images=0)", "images of 1 or more"),
        ("whiten_patches(epsilon=0)", "epsilon above 0"),
        ("whiten_patches, whiten_patches", "one is wanted"),
    ],
)
def test_what_cannot_be_is_said(text, says):
    with pytest.raises(ValueError, match=says):
        parse(text)


def test_a_convolution_that_does_not_fit_is_named():
    assert parse("") is None
    with pytest.raises(ValueError, match=r"stem_conv of resnet20_cifar has 16 filters, .* 3x3x1 want 9, or 18 with"):
        WhitenPatches().layer(create_model("resnet20_cifar", input_shape=(8, 8, 1)))
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)], name="flat")
    with pytest.raises(ValueError, match="flat has no convolution"):
        WhitenPatches().layer(model)


def test_images_are_spread_over_the_split(data_dir):
    source = data.open_source("digits", data_dir)
    preprocessing = data.measure(source, "train[:20]")
    every = np.stack([preprocessing.decode(encoded).numpy() for encoded, _ in source.dataset("train[:40]")])
    for count, wanted in ((7, [0, 5, 11, 17, 22, 28, 34]), (1000, np.arange(40))):
        found = np.concatenate(list(images_of(source, "train[:40]", preprocessing, count)))
        np.testing.assert_array_equal(found, preprocessing.normalise(every[wanted]))


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    return run(TINY, model_dir=tmp_path_factory.mktemp("finished"), data_dir=data_dir)


def test_a_run_begins_with_them_and_what_is_frozen_stays(finished, data_dir):
    spread = images_of(data.open_source("digits", data_dir), TINY.train_split, finished.preprocessing, 150)
    kernel = np.float32(WhitenPatches().kernel((2, 2, 1, 8), spread))
    np.testing.assert_allclose(finished.model.get_layer("stem_conv").kernel, kernel, rtol=1e-6)


@pytest.mark.slow  # other runs that are resumed come by default, and checkpoints hold all variables
def test_a_run_that_is_resumed_comes_to_the_same_end(data_dir, tmp_path):
    longer = dataclasses.replace(TINY, epochs=2)
    whole = run(longer, model_dir=tmp_path / "whole", data_dir=data_dir)
    run(TINY, model_dir=tmp_path / "parts", data_dir=data_dir)
    resumed = run(longer, model_dir=tmp_path / "parts", data_dir=data_dir)
    for found, wanted in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert resumed.history[-1]["average_loss"] == whole.history[-1]["average_loss"]


def test_the_accuracy_of_an_epoch_is_that_of_the_views(finished, data_dir):
    source, result = data.open_source("digits", data_dir), finished
    images = np.stack([result.preprocessing.decode(encoded).numpy() for encoded, _ in source.dataset("test[:50]")])
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    logits = 0
    for weight, view in ((0.25, images), (0.125, wide[:, :8, :8]), (0.125, wide[:, 2:, 2:])):
        for seen in (view, view[:, :, ::-1]):
            logits += weight * np.asarray(result.model(result.preprocessing.normalise(seen)))
    labels = np.array([int(label) for _, label in source.dataset("test[:50]")])
    expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(50), labels]
    assert result.history[-1]["average_loss"] == pytest.approx(expected.mean(), rel=1e-4)
    assert result.history[-1]["average_accuracy"] == pytest.approx(np.mean(logits.argmax(1) == labels))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"data_init": "whiten"}, "there is no 'whiten'"),
        ({"model": "lenet5", "model_args": "padding='same'"}, "stage1_conv1 of lenet5 has 6 filters"),
        ({"tta": "flop"}, "did you mean flip"),
        ({"tta": "ten_crops(scales=(8, 12))"}, "is for `kerascnn evaluate`"),
    ],
)
def test_what_does_not_fit_a_run_is_said_before_anything_is_trained(fields, says, data_dir, tmp_path):
    with pytest.raises(WrongInput, match=says):
        run(dataclasses.replace(TINY, **fields), model_dir=tmp_path, data_dir=data_dir)
    assert not (tmp_path / "recipe.json").exists()
