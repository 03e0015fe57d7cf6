"""The comparison itself: which images are taken, what the model says of them, and what the figures mean."""

import io

import numpy as np
import PIL.Image
import pytest

from kerascnn import data, load_model
from kerascnn.serve import parity


@pytest.fixture(scope="module")
def source(data_dir):
    return data.open_source("digits", data_dir)


@pytest.fixture(scope="module")
def model(run_dir):
    return load_model(run_dir / "model.keras")


@pytest.fixture(scope="module")
def preprocessing(run_dir):
    return data.Preprocessing.load(run_dir / "preprocessing.json")


@pytest.fixture(scope="module")
def files(source):
    """Of the test digits."""
    return [encoded.numpy() for encoded, _ in source.dataset("test")]


def said(model, preprocessing, files):
    """(inputs, logits) of each file by itself."""
    inputs = np.stack([preprocessing.normalise(preprocessing.decode(file)).numpy() for file in files])
    return inputs, model(inputs, training=False).numpy()


def test_a_whole_split_in_its_order(model, preprocessing, source, files):
    reference = parity.collect(model, preprocessing, source, "test[:50]")
    assert reference.name == "digits, test[:50], 50 images" and not reference.made_up
    assert reference.encoded == files[:50]
    inputs, logits = said(model, preprocessing, files[:50])
    assert reference.inputs.dtype == reference.logits.dtype == np.float32
    np.testing.assert_array_equal(reference.inputs, inputs)
    np.testing.assert_allclose(reference.logits, logits, atol=1e-5)


def test_some_of_a_split_are_evenly_spread(model, preprocessing, source, files):
    reference = parity.collect(model, preprocessing, source, limit=4)
    assert reference.name == "digits, test, 4 of 360 images"
    assert reference.encoded == [files[i] for i in (0, 120, 239, 359)]
    calibration = parity.calibration(preprocessing, source, "test", limit=4)
    np.testing.assert_array_equal(calibration, reference.inputs)


def test_made_up_images(model, preprocessing):
    reference = parity.collect(model, preprocessing)
    assert reference.name == "64 made-up images (no data set was named)" and reference.made_up
    inputs, logits = said(model, preprocessing, reference.encoded)
    np.testing.assert_array_equal(reference.inputs, inputs)
    np.testing.assert_allclose(reference.logits, logits, atol=1e-5)
    assert reference.encoded == parity.made_up(preprocessing)
    opened = [PIL.Image.open(io.BytesIO(file)) for file in reference.encoded]
    assert [image.format for image in opened] == ["JPEG", "PNG"] * 32
    sizes = {image.size for image in opened}
    assert len(sizes) > 16 and {min(size) < 8 for size in sizes} == {max(size) > 8 for size in sizes} == {True, False}
    assert len(set(reference.logits.argmax(-1))) > 2


def test_made_up_images_have_an_alpha_where_the_model_sees_one(preprocessing):
    wide = data.Preprocessing((20, 30), 4, (0.0,) * 4, (1.0,) * 4, ("a", "b"), "nothing")
    files = parity.made_up(wide, count=2, seed=5)
    assert files != parity.made_up(wide, count=2)
    alpha = wide.decode(files[1])[..., 3].numpy()
    assert alpha.shape == (20, 30) and len(np.unique(alpha)) > 16


@pytest.fixture
def folder(tmp_path, files):
    """Three images, the second one cut short."""
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    for name, content in (("0/a.png", files[0]), ("0/b.png", files[1][:-20]), ("1/c.png", files[2])):
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_images_that_cannot_be_read_are_left_out_and_counted(model, preprocessing, folder, files):
    source = data.open_source(f"folder:{folder}")
    reference = parity.collect(model, preprocessing, source, "train")
    assert reference.name == f"folder:{folder}, train, 2 of 3 images (1 cannot be read)"
    assert reference.encoded == [files[0], files[2]]
    np.testing.assert_array_equal(reference.inputs, said(model, preprocessing, reference.encoded)[0])
    for path in folder.glob("*/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="train: none of 3 images can be read and decoded"):
        parity.collect(model, preprocessing, source, "train")


def reference(logits):
    logits = np.float32(logits)
    return parity.Reference("made", [b""] * len(logits), np.zeros([len(logits), 1, 1, 1], np.float32), logits)


def test_what_the_figures_mean():
    expected = [[3.0, 1.0], [1.0, 3.0], [3.0, 1.0], [1.0, 3.0]]  # their standard deviation is 1
    assert parity.compare(reference(expected), np.float32(expected)) == {
        "images": 4,
        "max_difference": 0.0,
        "top1_agreement": 1.0,
    }
    other = np.float32([[3.5, 1.0], [1.0, 2.75], [1.75, 2.0], [1.0, 3.0]])
    assert parity.compare(reference(expected), other) == {"images": 4, "max_difference": 1.25, "top1_agreement": 0.75}
    # A scale for all logits changes nothing.
    wide = parity.compare(reference(np.multiply(expected, 100)), other * 100)
    assert wide == pytest.approx({"images": 4, "max_difference": 1.25, "top1_agreement": 0.75})


def test_either_of_two_equal_classes_agrees():
    logits = np.float32([[1, 2, 2], [0, 0, 0]])
    assert parity.compare(reference(logits), logits + np.float32([0, 0, 0.001]))["top1_agreement"] == 1.0
    assert parity.compare(reference(logits), logits + np.float32([2, 0, 0]))["top1_agreement"] == 0.5
    same = parity.compare(reference(np.zeros([2, 3])), np.zeros([2, 3], np.float32))
    assert same == {"images": 2, "max_difference": 0.0, "top1_agreement": 1.0}


def test_what_cannot_be_compared_is_an_error(model, preprocessing):
    with pytest.raises(ValueError, match=r"\(2, 2\) cannot be compared .* \(2, 3\)"):
        parity.compare(reference(np.zeros([2, 3])), np.zeros([2, 2], np.float32))
    logits = np.float32([[0, 1, 2], [0, np.inf, 0], [np.nan, 0, 0]])
    with pytest.raises(ValueError, match=r"the exported model gives what is no number .* for 2 of 3 images"):
        parity.compare(reference(np.zeros([3, 3])), logits)


def test_a_model_that_gives_no_numbers_is_an_error(run_dir, preprocessing):
    broken = load_model(run_dir / "model.keras")
    broken.get_layer("logits").bias.assign(np.full(10, np.nan))
    with pytest.raises(ValueError, match=r"the model resnet20_cifar gives what is no number .* for 64 of 64 images"):
        parity.collect(broken, preprocessing)
