"""Every number of the statistics against NumPy in float64, on the pixels themselves; what is broken is named."""

import io
import json
import resource

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerascnn.data import open_source, statistics
from kerascnn.data.decode import decode, resize
from kerascnn.data.statistics import Statistics, broken, measure_statistics


def decoder(source, size):
    return lambda encoded: resize(decode(encoded, source.channels), size)


def pixels(source, split, size):
    decode = decoder(source, size)
    images = source.dataset(split).map(lambda encoded, _: decode(encoded), tf.data.AUTOTUNE)
    return np.stack(list(images.as_numpy_iterator())).astype(np.float64)


@pytest.fixture(scope="module")
def colours(photos):
    return measure_statistics(photos, "train", decoder(photos, (6, 10)), pixel_products=True)


@pytest.mark.parametrize(("name", "size"), [("digits", (8, 8)), ("photos", (20, 31)), ("photos", (3, 300))])
def test_as_numpy_has_it(name, size, request):
    source = request.getfixturevalue(name)
    measured = measure_statistics(source, "train", decoder(source, size))
    images = pixels(source, "train", size)
    flat = images.reshape(-1, source.channels)
    covariance = np.cov(flat.T, bias=True).reshape(source.channels, source.channels)
    np.testing.assert_array_equal(measured.pixel_sums, images.sum(0))
    np.testing.assert_array_equal(measured.colour_products, flat.T @ flat)
    np.testing.assert_array_equal(measured.mean_image, images.mean(0))
    np.testing.assert_allclose(measured.mean, flat.mean(0), rtol=1e-14)
    np.testing.assert_allclose(measured.std, flat.std(0), rtol=1e-13)
    np.testing.assert_allclose(measured.covariance, covariance, rtol=1e-12)
    assert measured.pixel_products is None
    assert (measured.images, measured.image_shape) == (len(images), (*size, source.channels))


def test_a_pass_of_several_batches_loses_nothing(photos, monkeypatch):
    whole = measure_statistics(photos, "train", decoder(photos, (4, 4)), pixel_products=True)
    monkeypatch.setattr(statistics, "_BATCH_NUMBERS", 3 * 48)
    assert measure_statistics(photos, "train", decoder(photos, (4, 4)), pixel_products=True) == whole


def test_white_images_do_not_overflow(digits):
    """The largest sums that can be: float32 holds them in whole batches, and int64 beyond."""

    def white(encoded):
        return tf.fill([2, statistics._EXACT, 3], tf.cast(255, tf.uint8))

    measured = measure_statistics(digits, "train", white)
    assert np.all(measured.colour_products == 1437 * 2 * statistics._EXACT * 255**2)
    assert measured.mean.tolist() == [255, 255, 255] and not measured.covariance.any()
    small = measure_statistics(digits, "train", lambda _: white(_)[:, :1], pixel_products=True)
    assert np.all(small.pixel_products == 1437 * 255**2)
    # Every pixel is the same: nothing is divided by 0.
    np.testing.assert_allclose(small.zca(), np.eye(6) / np.sqrt(statistics.ZCA_BIAS), rtol=1e-12)


def test_classes_are_counted(digits, photos):
    labels = [int(label) for _, label in digits.dataset("train[:200]").as_numpy_iterator()]
    counts = {str(digit): labels.count(digit) for digit in range(10)}
    assert measure_statistics(digits, "train[:200]", decoder(digits, (8, 8))).class_counts == counts
    assert measure_statistics(photos, "validation", decoder(photos, (2, 2))).class_counts == {"cat": 3, "dog": 3}


def test_principal_colours(colours):
    variances, axes = colours.principal_colours()
    np.testing.assert_allclose(axes @ np.diag(variances) @ axes.T, colours.covariance, rtol=1e-9)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.all(np.diff(variances) <= 0) and np.all(axes[np.abs(axes).argmax(0), range(3)] > 0)


def test_zca_whitens_and_is_symmetric(digits):
    measured = measure_statistics(digits, "test", decoder(digits, (8, 8)), pixel_products=True)
    images = pixels(digits, "test", (8, 8)).reshape(-1, 64)
    covariance = np.cov(images.T, bias=True)
    scale = np.trace(covariance) / 64
    variances, axes = np.linalg.eigh(covariance)
    expected = axes @ np.diag(1 / np.sqrt(np.maximum(variances, 0) + 0.1 * scale)) @ axes.T
    np.testing.assert_allclose(measured.zca(), expected, atol=1e-12)
    np.testing.assert_allclose(measured.zca(), measured.zca().T, atol=1e-15)
    white = np.cov(((images - images.mean(0)) @ measured.zca()).T, bias=True)
    np.testing.assert_allclose(np.linalg.eigvalsh(white), variances / (variances + 0.1 * scale), atol=1e-12)


def test_only_small_images_are_whitened(photos, colours, digits):
    with pytest.raises(ValueError, match=r"images of 33x32x3 are too large to be whitened: 3,168 numbers, and 3,072"):
        measure_statistics(photos, "train", decoder(photos, (33, 32)), pixel_products=True)
    with pytest.raises(ValueError, match="digits test was measured without pixel_products"):
        measure_statistics(digits, "test", decoder(digits, (8, 8))).zca()


# --- Files.


def test_files_give_back_exactly_what_was_saved(colours, digits, tmp_path):
    plain = measure_statistics(digits, "test", decoder(digits, (8, 8)))
    for original in (colours, plain):
        original.save(tmp_path / "stats.json")
        assert Statistics.load(tmp_path / "stats.json") == original
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stats.json", "stats.npz"]
    assert colours != plain and colours != "colours" and len({colours, plain}) == 2
    told = json.loads((tmp_path / "stats.json").read_text())
    assert (told["images"], told["image_shape"], told["class_counts"]["3"]) == (360, [8, 8, 1], plain.class_counts["3"])
    np.testing.assert_array_equal(told["mean"], plain.mean)
    np.testing.assert_array_equal(told["principal_variances"], plain.covariance[0])


def damage_arrays(change):
    def make(path):
        """An .npz with a right checksum and wrong arrays."""
        fields, arrays = statistics.load(path)
        statistics.save(path, fields, change(arrays))

    return make


def truncate(suffix):
    def make(path):
        path = path.with_suffix(suffix)
        path.write_bytes(path.read_bytes()[:-100])

    return make


def set_field(**changes):
    def make(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return make


def pickled(path):
    """A foreign file with a checksum that fits: nothing in it is run."""
    buffer = io.BytesIO()
    np.savez(buffer, pixel_sums=np.array([print], dtype=object))
    path.with_suffix(".npz").write_bytes(buffer.getvalue())
    set_field(npz_sha256=statistics.hashlib.sha256(buffer.getvalue()).hexdigest())(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "Expecting value"),
        (lambda path: path.write_bytes(b"[]"), "it is no JSON object"),
        (lambda path: path.write_bytes(b"[" * 100_000), "nested too deep"),
        (lambda path: path.write_bytes(b"\x89PNG\xff"), "invalid start byte|can't decode"),
        (truncate(".json"), "delimiter|Expecting|Unterminated"),
        (truncate(".npz"), "stats.npz beside it is damaged, or of another one"),
        (lambda path: path.with_suffix(".npz").unlink(), "stats.npz beside it is missing"),
        (pickled, "Object arrays cannot be loaded"),
        (set_field(npz_sha256=None), "missing 2 required positional arguments: 'pixel_sums' and 'colour_products'"),
        (set_field(class_counts={"0": 1.5}), "class_counts must be whole numbers"),
        (set_field(class_counts={}), "there are no images"),
        (set_field(class_counts={"0": 3, "1": -2}), "there are no images"),
        (set_field(class_counts={"0": 1}), "pixel_sums is out of the range of 1 images"),
        (damage_arrays(lambda a: a | {"pixel_sums": a["pixel_sums"][0]}), r"pixel_sums has the shape \(10, 3\)"),
        (damage_arrays(lambda a: a | {"pixel_sums": -a["pixel_sums"]}), "pixel_sums is out of the range"),
        (damage_arrays(lambda a: a | {"colour_products": a["colour_products"] / 1}), "colour_products is float64"),
        (damage_arrays(lambda a: a | {"pixel_products": a["pixel_products"][1:]}), r"int64 \(179, 180\), not int64"),
        (damage_arrays(lambda a: a | {"other": a["pixel_sums"]}), "unexpected keyword argument 'other'"),
    ],
)
def test_wrong_files_are_named(make, message, colours, tmp_path):
    path = tmp_path / "stats.json"
    colours.save(path)
    make(path)
    with pytest.raises(ValueError, match=rf"stats\.json does not hold the statistics of a data set: .*({message})"):
        Statistics.load(path)


def test_a_save_that_fails_leaves_the_old_files(colours, digits, tmp_path):
    other = measure_statistics(digits, "test", decoder(digits, (8, 8)))
    other.save(tmp_path / "stats.json")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            colours.save(tmp_path / "stats.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Statistics.load(tmp_path / "stats.json") == other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stats.json", "stats.npz"]


# --- What cannot be used.


@pytest.fixture
def folder(tmp_path):
    """A function: the source of 150 PNGs in two class folders, with other bytes in some of them."""

    def make(contents):
        for index in range(150):
            place = tmp_path / "images" / ("ant", "bee")[index % 2]
            place.mkdir(parents=True, exist_ok=True)
            PIL.Image.new("RGB", (5, 4), (index, 100, 200)).save(place / f"{index:03}.png")
        for name, content in contents.items():
            (tmp_path / "images" / name).write_bytes(content)
        return open_source(str(tmp_path / "images"))

    return make


def test_what_cannot_be_decoded_is_named(folder, monkeypatch):
    monkeypatch.setattr(statistics, "_BATCH_NUMBERS", 20 * 60)  # batches of 20
    source = folder({"bee/101.png": b"no image", "bee/141.png": b""})
    with pytest.raises(ValueError, match=r"train: .*bee/101\.png: this is no JPEG, PNG, GIF or BMP"):
        measure_statistics(source, "train", decoder(source, (4, 5)))
    found = list(broken(source, "train", decoder(source, (4, 5))))
    assert [(index, name[-11:]) for index, name, _ in found] == [(125, "bee/101.png"), (145, "bee/141.png")]
    assert all("\n" not in reason and "{{" not in reason and reason for *_, reason in found)


def test_few_may_be_skipped_and_many_not(folder):
    source = folder({"bee/101.png": b"no image"})
    measured = measure_statistics(source, "train", decoder(source, (4, 5)), on_corrupt="skip")
    assert measured.class_counts == {"ant": 75, "bee": 74}
    np.testing.assert_array_equal(measured.pixel_sums[..., 0], np.full((4, 5), sum(range(150)) - 101))
    source = folder({"bee/101.png": b"no image", "bee/103.png": b"no image"})
    with pytest.raises(
        ValueError, match=r"2 of 150 elements cannot be used, more than 1%, such as .*bee/101\.png: this"
    ):
        measure_statistics(source, "train", decoder(source, (4, 5)), on_corrupt="skip")


def test_a_word_for_what_is_broken_that_does_not_exist(digits):
    with pytest.raises(ValueError, match="no on_corrupt 'skp': did you mean skip"):
        measure_statistics(digits, "test", decoder(digits, (8, 8)), on_corrupt="skp")


def test_a_label_that_is_no_class_is_named(digits):
    read_right = digits.read("train[:30]")

    def read(index):
        encoded, label = read_right(index)
        return encoded, tf.where(index == 17, tf.constant(10, tf.int64), label)

    class Mislabelled:
        name, class_names, channels = digits.name, digits.class_names, digits.channels
        size = staticmethod(lambda split: 30)
        read = staticmethod(lambda split: read)
        locate = digits.locate

    with pytest.raises(ValueError, match=r"17.*: the label 10 is not one of 10 classes"):
        measure_statistics(Mislabelled, "train[:30]", decoder(digits, (8, 8)))
    assert [index for index, *_ in broken(Mislabelled, "train[:30]", decoder(digits, (8, 8)))] == [17]
