"""Mean and deviation are those of the training split, and go with the run as they are."""

import dataclasses
import io
import json
import resource

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerascnn.data import Preprocessing, measure, open_source, pipeline, statistics
from kerascnn.data.decode import decode, resize
from kerascnn.data.statistics import measure_statistics


def pixels(source, split, size=None):
    def image(encoded, _):
        image = decode(encoded, source.channels)
        return image if size is None else resize(image, size)

    return np.stack(list(source.dataset(split).map(image).as_numpy_iterator())).astype(np.float64)


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
    [
        ("channel_mean_std", (0, 1, 2), (0, 1, 2)),
        ("channel_mean", (0, 1, 2), None),
        ("mean_image", 0, None),
        ("unit", None, 255),
        ("none", None, None),
    ],
)
def test_modes(mode, mean, std, photos):
    measured = measure(photos, "train", image_size=(6, 9), mode=mode)
    images = pixels(photos, "train", (6, 9))
    expected = images - (0 if mean is None else images.mean(mean))
    expected /= {None: 1, 255: 255}[std] if std in (None, 255) else images.std(std)
    normalised = measured.normalise(np.uint8(images))
    assert normalised.dtype == tf.float32
    np.testing.assert_allclose(normalised, expected, rtol=1e-5, atol=1e-4)
    constant = mode in ("unit", "none")
    assert measured.computed_from == ("nothing" if constant else "tfds:tiny_photos train (14 images)")


def test_white_images_are_decorrelated(digits):
    measured = measure(digits, "test", mode="whiten")
    images = pixels(digits, "test")
    matrix = measure_statistics(digits, "test", measured.decode, pixel_products=True).zca()
    expected = ((images - images.mean(0)).reshape(-1, 64) @ matrix).reshape(images.shape)
    normalised = measured.normalise(np.uint8(images))
    np.testing.assert_allclose(normalised, expected, atol=1e-5)
    before, after = (np.corrcoef(x.reshape(-1, 64).T + 1e-9 * np.eye(64, len(x))) for x in (images, normalised.numpy()))
    others = ~np.eye(64, dtype=bool)
    assert np.abs(after[others]).mean() < 0.5 * np.abs(before[others]).mean()
    # Any leading shape, in a graph of unknown ones too.
    batches = np.uint8(images[:12]).reshape(3, 4, 8, 8, 1)
    np.testing.assert_allclose(measured.normalise(batches), normalised[:12].numpy().reshape(batches.shape), atol=1e-5)
    np.testing.assert_allclose(measured.normalise(np.uint8(images[0])), normalised[0], atol=1e-5)
    graph = tf.function(measured.normalise, input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.uint8)])
    np.testing.assert_allclose(graph(np.uint8(images)), normalised, atol=1e-5)
    assert graph.get_concrete_function().output_shapes == tf.TensorShape([None, 8, 8, 1])


def test_statistics_are_of_images_as_they_are_evaluated(photos):
    crop = "center(fraction=0.5, interpolation='bicubic')"
    measured = measure(photos, "train", image_size=12, crop=crop)
    files = [encoded for encoded, _ in photos.dataset("train").as_numpy_iterator()]
    images = np.stack([measured.decode(file) for file in files]).astype(np.float64)
    np.testing.assert_allclose(measured.mean, images.mean((0, 1, 2)), rtol=1e-12)
    squashed = measure(photos, "train", image_size=12)
    assert measured != squashed and measured.crop == crop
    fits = tf.io.encode_png(np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3))
    for preprocessing in (measured, squashed):  # an image that has the size is left as it is
        np.testing.assert_array_equal(preprocessing.decode(fits), tf.io.decode_png(fits))


def test_what_cannot_be_decoded_is_skipped_or_named(tmp_path):
    for index in range(120):
        folder = tmp_path / ("ant", "bee")[index % 2]
        folder.mkdir(exist_ok=True)
        PIL.Image.new("RGB", (5, 4), (index, 100, 200)).save(folder / f"{index:03}.png")
    (tmp_path / "ant" / "100.png").write_bytes(b"no image")
    source = open_source(str(tmp_path))
    with pytest.raises(ValueError, match=r"ant/100\.png"):
        measure(source, "train", image_size=4)
    measured = measure(source, "train", image_size=4, on_corrupt="skip")
    np.testing.assert_allclose(measured.mean, [(sum(range(120)) - 100) / 119, 100, 200], rtol=1e-12)
    assert measured.computed_from.endswith(" train (119 images)")


@pytest.mark.parametrize("mode", ["mean_image", "whiten"])
def test_an_exported_model_carries_the_arrays(mode, digits, tmp_path):
    measured = measure(digits, "train[:200]", mode=mode)
    module = tf.Module()
    module.serve = tf.function(
        lambda encoded: measured.normalise(measured.decode(encoded)), input_signature=[tf.TensorSpec([], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path / "bundle"))
    (encoded, _) = next(digits.dataset("test").as_numpy_iterator())
    np.testing.assert_allclose(
        tf.saved_model.load(str(tmp_path / "bundle")).serve(encoded), module.serve(encoded), atol=1e-5
    )


def test_training_images_have_mean_0_and_deviation_1(digits, preprocessing):
    images = np.concatenate(
        [images for images, _ in pipeline(digits, "train", batch_size=500, preprocess=preprocessing, train=False)]
    )
    assert images.dtype == np.float32
    assert abs(images.mean(dtype=np.float64)) < 1e-6
    assert abs(images.std(dtype=np.float64) - 1) < 1e-6


def test_preprocessings_with_arrays_compare(preprocessing):
    matrix = np.eye(64, dtype=np.float32)
    one, again, other = (dataclasses.replace(preprocessing, whitening=m) for m in (matrix, matrix.copy(), -matrix))
    assert one == again and hash(one) == hash(again)
    assert one != other and one != preprocessing and preprocessing != one and one != "one"


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
            "no preprocessing 'standard': choose channel_mean_std, channel_mean",
        ),
        ({}, "the images of tfds:tiny_photos have no common size: give an image_size"),
        ({"split": "test", "image_size": 8}, "has no split 'test'; it has train, validation"),
        ({"split": "test", "image_size": 8, "mode": "unit"}, "has no split 'test'; it has train, validation"),
        ({"mode": "whiten", "image_size": 33}, "images of 33x33x3 are too large to be whitened"),
        ({"mode": "whitten", "image_size": 8}, "no preprocessing 'whitten': did you mean whiten"),
        ({"crop": "random_resized", "image_size": 8}, "crop='random_resized' is random: for evaluation, take"),
        ({"crop": "centre", "image_size": 8}, "did you mean center"),
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


def test_files_of_earlier_versions_load(preprocessing, tmp_path):
    fields = ("image_size", "channels", "mean", "std", "class_names", "computed_from")
    old = {name: getattr(preprocessing, name) for name in fields}
    (tmp_path / "preprocessing.json").write_text(json.dumps(old, indent=2))
    assert Preprocessing.load(tmp_path / "preprocessing.json") == preprocessing


def test_arrays_stand_beside_the_file_and_go_with_them(preprocessing, digits, tmp_path):
    path = tmp_path / "preprocessing.json"
    white = measure(digits, "train[:200]", mode="whiten")
    white.save(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["preprocessing.json", "preprocessing.npz"]
    assert Preprocessing.load(path) == white
    (tmp_path / "preprocessing.npz").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"preprocessing\.json does not hold .*: preprocessing\.npz beside it is missing"
    ):
        Preprocessing.load(path)
    preprocessing.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["preprocessing.json"]
    assert Preprocessing.load(path) == preprocessing


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": [float("nan")]}, "does not hold a number for each of 1 channels"),
        ({"mean": [1.0, 2.0]}, "does not hold a number for each of 1 channels"),
        ({"std": [0.0]}, "is not above 0"),
        ({"std": ["1"]}, "must be real number"),
        ({"image_size": [8]}, "are no shape of an image"),
        ({"image_size": [8, 0]}, "are no shape of an image"),
        ({"channels": 1.0}, "are no shape of an image"),
        ({"class_names": [1, 2]}, "must be texts"),
        ({"crop": "pad"}, "crop='pad' is random"),
        ({"crop": 3}, "object has no attribute|object is not"),
        (
            {"mean_image": np.zeros([8, 8, 3], np.float32)},
            r"mean_image is float32 \(8, 8, 3\), not float32 \(8, 8, 1\)",
        ),
        ({"mean_image": np.zeros([8, 8, 1])}, "mean_image is float64"),
        ({"whitening": np.zeros([8, 8], np.float32)}, r"not float32 \(64, 64\)"),
        ({"whitening": np.full([64, 64], np.inf, np.float32)}, "whitening holds what is no number"),
    ],
)
def test_fields_that_do_not_fit_are_an_error(changes, message, preprocessing, tmp_path):
    path = tmp_path / "preprocessing.json"
    fields = {field.name: getattr(preprocessing, field.name) for field in dataclasses.fields(preprocessing)} | changes
    arrays = {name: fields.pop(name) for name in ("mean_image", "whitening")}
    statistics.save(path, fields, arrays)
    with pytest.raises(ValueError, match=rf"preprocessing\.json does not hold a run's preprocessing: .*({message})"):
        Preprocessing.load(path)


def test_a_failed_save_leaves_the_old_files(preprocessing, digits, tmp_path):
    path = tmp_path / "preprocessing.json"
    preprocessing.save(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            measure(digits, "train[:50]", mode="whiten").save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Preprocessing.load(path) == preprocessing
    assert [file.name for file in tmp_path.iterdir()] == ["preprocessing.json"]
