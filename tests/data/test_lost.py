"""The account of what could not be used."""

import numpy as np
import pytest
import tensorflow as tf

from kerascnn.data.lost import LATE, Lost, explanation, listed


class Source:
    name = "some"

    def size(self, split):
        return 300


def locate(index):
    return tf.strings.join(["image ", tf.strings.as_string(index)])


IMAGES = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
LABELS, INDEX = np.arange(6) * 10, np.arange(6) + 50


def mended(usable, on_corrupt, keep_size):
    lost = Lost(Source(), "train", on_corrupt)

    @tf.function
    def mend(usable):
        images, labels = tf.constant(IMAGES), tf.constant(LABELS)
        return lost.mend(images, labels, usable, tf.constant(INDEX), locate, keep_size=keep_size)

    images, labels = mend(tf.constant(usable))
    np.testing.assert_array_equal(images[:, 0, 0, 0] * 10, labels)
    return [int(label) // 10 for label in labels]


T, F = True, False


@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
@pytest.mark.parametrize("keep_size", [True, False])
def test_a_whole_batch_stays(keep_size, on_corrupt):
    assert mended([T] * 6, on_corrupt, keep_size) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("usable", "kept", "filled"),
    [
        ([T, F, T, T, T, T], [0, 2, 3, 4, 5], [0, 2, 2, 3, 4, 5]),
        ([F, F, T, F, T, T], [2, 4, 5], [2, 2, 2, 4, 4, 5]),
        ([T, T, F, T, F, F], [0, 1, 3], [0, 1, 3, 3, 0, 0]),
        ([F, F, F, T, F, F], [3], [3, 3, 3, 3, 3, 3]),
    ],
)
def test_unusable_rows_are_taken_out_or_filled_by_the_next(usable, kept, filled):
    assert mended(usable, "skip", keep_size=False) == kept
    assert mended(usable, "skip", keep_size=True) == filled


def test_nothing_usable():
    assert mended([F] * 6, "skip", keep_size=False) == []
    with pytest.raises(tf.errors.InvalidArgumentError, match="image 50, image 51, image 52"):
        mended([F] * 6, "skip", keep_size=True)


@pytest.mark.parametrize("keep_size", [True, False])
def test_an_error_names_the_elements(keep_size):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        mended([T, F, T, T, F, T], "error", keep_size)
    found = explanation(error.value)
    assert found.startswith("unusable data: image 51, image 54 cannot be read") and "--on_corrupt=skip" in found
    assert "\n" not in found


def test_other_errors_are_not_explained():
    assert explanation(ValueError("something else")) is None


def watched(lost, lost_indices, numbered=False):
    """Runs batches with these lost indices; the numbers of the batches are those given as keys."""
    rows = [(0, 0, tf.ragged.constant(list(lost_indices.values()), tf.int64)[i], n) for i, n in enumerate(lost_indices)]

    def batches():
        yield from rows

    spec = (tf.TensorSpec([], tf.int32),) * 2 + (tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int64))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=spec)
    return list(lost.watch(dataset, locate, numbered=numbered))


def test_each_skipped_element_is_told_once(capfd):
    lost = Lost(Source(), "train", "skip")
    assert len(watched(lost, {0: [], 1: [7], 2: [], 3: [7, 9]})) == 4
    assert lost.elements == {7: "image 7", 9: "image 9"}
    assert capfd.readouterr().err == "skipped, unusable: image 7\nskipped, unusable: image 9\n"
    assert listed([lost, lost]) == ["image 7", "image 9"]


def test_one_percent_is_not_too_much_and_more_is():
    lost = Lost(Source(), "train", "skip")
    watched(lost, {0: [1, 2], 1: [3]})
    with pytest.raises(
        tf.errors.OpError, match=r"4 of the 300 elements of some train, more than 1%, such as image 1\."
    ):
        watched(lost, {0: [4]})


def test_batches_that_do_not_come_are_counted(capfd):
    lost = Lost(Source(), "train", "error")
    watched(lost, {n: [] for n in [11, 10, 13, 12, 16]}, numbered=True)  # 14 and 15 may yet come
    assert lost.batches == 0
    watched(lost, {15: [], 18 + LATE: []}, numbered=True)
    assert lost.batches == 1 + 1  # 14, and 17 by now; those after it are not late
    watched(lost, {17: []}, numbered=True)
    assert lost.batches == 1
    assert "2 batches have not come" in capfd.readouterr().err


def test_a_wrong_choice():
    with pytest.raises(ValueError, match="no on_corrupt 'ignore'"):
        Lost(Source(), "train", "ignore")
