"""Mean and deviation are those of the training split, and go with the run as they are."""

import dataclasses
import io
import json

import numpy as np
import PIL.Image
import pytest

from kerascnn.data import Preprocessing, measure, pipeline
from kerascnn.data.decode import decode, resize


def pixels(source, split, size=None):
    images = (decode(encoded, source.channels) for encoded, _ in source.dataset(split))
    return np.stack([image if size is None else resize(image, size) for image in images]).astype(np.float64)


@pytest.fixture(scope="module")
def preprocessing(digits):
    return measure(digits, "train")


@pytest.mark.parametrize(("split", "count"), [("train", 1437), ("train[:100]", 100), ("test", 360)])
def test_statistics_are_those_of_the_split_and_of_no_other_image(split, count, digits):
    measured = measure(digits, split)
    images = np.stack(
        [np.asarray(PIL.Image.open(io.BytesIO(encoded.numpy()))) for encoded, _ in digits.dataset(split)]
    ).astype(np.float64)
    assert images.shape == (count, 8, 8)
    np.testing.assert_allclose(measured.mean, [images.mean()], rtol=1e-12)
    np.testing.assert_allclose(measured.std, [images.std()], rtol=1e-12)
    assert measured.computed_from == f"digits {split} ({count} images)"
    assert (measured.image_size, measured.channels) == ((8, 8), 1)
    assert measured.class_names == tuple("0123456789")


def test_each_channel_has_its_own_statistics_at_the_size_that_the_model_sees(photos):
    measured = measure(photos, "train", image_size=20)
    images = pixels(photos, "train", (20, 20))
    np.testing.assert_allclose(measured.mean, images.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(measured.std, images.std((0, 1, 2)), rtol=1e-12)
    assert measured.image_size == (20, 20) and len(set(measured.mean)) == 3


@pytest.mark.parametrize(
    ("mode", "mean", "std"),
    [("channel_mean_std", 1, 1), ("channel_mean", 1, None), ("unit", 0, 255), ("none", 0, None)],
)
def test_modes(mode, mean, std, digits):
    measured = measure(digits, "train[:50]", mode=mode)
    images = pixels(digits, "train[:50]")
    expected_mean = images.mean() if mean else 0
    expected_std = {1: images.std(), None: 1, 255: 255}[std]
    np.testing.assert_allclose(
        measured.normalise(np.uint8(images)), (images - expected_mean) / expected_std, rtol=1e-5, atol=1e-6
    )


def test_training_images_have_mean_0_and_deviation_1(digits, preprocessing):
    images = np.concatenate(
        [images for images, _ in pipeline(digits, "train", batch_size=500, preprocess=preprocessing, train=False)]
    )
    assert images.dtype == np.float32
    assert abs(images.mean(dtype=np.float64)) < 1e-6
    assert abs(images.std(dtype=np.float64) - 1) < 1e-6


def test_a_pixel_is_normalised_by_its_channel():
    three = Preprocessing((1, 1), 3, (10.0, 20.0, 30.0), (1.0, 2.0, 4.0), ("a",), "")
    np.testing.assert_array_equal(three.normalise(np.uint8([[[[255, 0, 32]]]])), [[[[245.0, -10.0, 0.5]]]])


def test_a_channel_that_never_changes_stays_finite(digits):
    # A single image of one pixel: every channel is constant.
    constant = measure(digits, "train[:1]", image_size=1)
    assert constant.std == (1.0,)
    (encoded, _) = next(iter(digits.dataset("train[:1]")))
    np.testing.assert_allclose(constant.normalise(constant.decode(encoded)), [[[0.0]]], atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"mode": "standard", "image_size": 8},
            "no preprocessing 'standard': there are channel_mean_std, channel_mean",
        ),
        ({}, "the images of tfds:tiny_photos have no common size: give an image_size"),
        ({"split": "test", "image_size": 8}, "has no split 'test'; it has train, validation"),
    ],
)
def test_what_cannot_be_measured(arguments, message, photos):
    with pytest.raises(ValueError, match=message):
        measure(photos, **{"split": "train", **arguments})


def test_a_file_gives_back_exactly_what_was_saved(preprocessing, tmp_path):
    odd = dataclasses.replace(preprocessing, mean=(1 / 3,), class_names=("Æble 🍎", '"quoted"\n'))
    for original in (preprocessing, odd):
        original.save(tmp_path / "preprocessing.json")
        assert Preprocessing.load(tmp_path / "preprocessing.json") == original
    assert [path.name for path in tmp_path.iterdir()] == ["preprocessing.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"3", b'{"mean": [1.0]}', b"\x89PNG\xff\xfe"],
)
def test_a_broken_file_is_named(content, tmp_path):
    path = tmp_path / "preprocessing.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"preprocessing\.json does not hold a run's preprocessing"):
        Preprocessing.load(path)


def test_a_field_that_is_not_ours_is_an_error(preprocessing, tmp_path):
    path = tmp_path / "preprocessing.json"
    path.write_text(json.dumps(dataclasses.asdict(preprocessing) | {"gamma": 2.2}))
    with pytest.raises(ValueError, match="gamma"):
        Preprocessing.load(path)


def test_a_failed_save_leaves_the_old_file(preprocessing, tmp_path):
    path = tmp_path / "preprocessing.json"
    preprocessing.save(path)
    with pytest.raises(TypeError):
        dataclasses.replace(preprocessing, class_names=object()).save(path)
    assert Preprocessing.load(path) == preprocessing
