"""Made-up images have the form of the data set that they stand for, and are the same each time."""

import numpy as np
import pytest
import tensorflow as tf

from kerascnn.data import open_source, pipeline
from kerascnn.data.synthetic import SIDES, SIZE


@pytest.mark.parametrize(
    ("name", "shape", "classes", "jpeg"),
    [("mnist", (28, 28, 1), 10, False), ("cifar10", (32, 32, 3), 10, False), ("imagenet2012", (None,) * 2, 1000, True)],
)
def test_the_form_is_that_of_the_data_set(name, shape, classes, jpeg):
    source = open_source(f"synthetic:{name}")
    assert len(source.class_names) == classes and source.size("train") == SIZE
    assert source.image_shape[: len(shape)] == shape
    assert all(0 <= label < classes for label in source.labels("train"))
    encoded, label = source.read("train")(tf.constant(3, tf.int64))
    assert label.numpy() == source.labels("train")[3]
    assert encoded.numpy().startswith(b"\xff\xd8" if jpeg else b"\x89PNG")
    height, width, channels = tf.io.decode_image(encoded).shape
    if None in shape:
        assert SIDES[0] <= height < SIDES[1] and SIDES[0] <= width < SIDES[1] and channels == 3
    else:
        assert (height, width, channels) == shape


def test_they_are_the_same_each_time_and_others_in_each_split():
    first, again = (open_source("synthetic:mnist") for _ in range(2))
    train, same, test = (
        [x for x, _ in s.dataset(n).take(9)] for s, n in ((first, "train"), (again, "train"), (first, "test"))
    )
    assert train == same and not set(x.numpy() for x in train) & set(x.numpy() for x in test)


def test_they_go_through_the_pipeline():
    images, labels = next(iter(pipeline("synthetic:cifar10", "train[:64]", batch_size=16, augment="horizontal_flip")))
    assert images.shape == (16, 32, 32, 3) and labels.shape == (16,)
    assert np.std(images) > 0.5


def test_a_name_that_nobody_knows():
    with pytest.raises(ValueError, match="imagenet2012"):
        open_source("synthetic:imagenet2013")
