"""The pipeline: what is in a batch, in which order, and that a seed and a step say everything about it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerascnn.data import batches, measure, pipeline
from kerascnn.data.batches import padded, steps_per_epoch

AUGMENT = "affine(degrees=10, translate=0.1), pad_crop(pixels=1)"


@pytest.fixture(scope="module")
def preprocessing(digits):
    return measure(digits, "train", mode="none")  # so that images are pixels


@pytest.fixture(scope="module")
def stream(digits, preprocessing):
    """Takes `count` training batches: [(images, labels)]."""

    def take(count, split="train", batch_size=100, **options):
        dataset = pipeline(digits, split, batch_size=batch_size, preprocess=preprocessing, **options)
        return [(images.numpy(), labels.numpy()) for images, labels in dataset.take(count)]

    return take


@pytest.fixture(scope="module")
def numbers(digits, preprocessing):
    """{image's bytes: its place in the training split}"""
    whole = pipeline(digits, "train", batch_size=1437, preprocess=preprocessing, train=False)
    images, _ = next(iter(whole))
    return {image.tobytes(): i for i, image in enumerate(images.numpy())}


def epochs(taken, steps, numbers):
    """The elements of each epoch, by their places in the split."""
    chunks = [taken[i : i + steps] for i in range(0, len(taken), steps)]
    return [[numbers[image.tobytes()] for images, _ in chunk for image in images] for chunk in chunks]


def same(ones, others):
    return len(ones) == len(others) and all(
        np.array_equal(a, b) for one, other in zip(ones, others, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_shapes_and_types(digits, photos):
    for train in (True, False):
        images, labels = pipeline(digits, "train", batch_size=32, augment=AUGMENT, train=train).element_spec
        batch = 32 if train else None
        assert images == tf.TensorSpec([batch, 8, 8, 1], tf.float32)
        assert labels == tf.TensorSpec([batch], tf.int64)
        images, _ = pipeline(photos, "train", batch_size=3, image_size=16, train=train).element_spec
        assert images.shape[1:] == [16, 16, 3]


def test_a_source_may_be_named(data_dir, digits, stream, preprocessing):
    named = pipeline("digits", "train", batch_size=100, preprocess=preprocessing, data_dir=data_dir)
    assert same([tuple(x.numpy() for x in next(iter(named)))], stream(1))


def test_colour_photographs_of_different_sizes(photos):
    images, labels = next(iter(pipeline(photos, "train", batch_size=7, image_size=24, augment=AUGMENT)))
    assert images.shape == (7, 24, 24, 3) and set(labels.numpy()) == {0, 1}
    assert abs(float(tf.reduce_mean(images))) < 1


@pytest.mark.parametrize("buffer", [16_384, 200])
def test_an_epoch_has_each_element_at_most_once_in_an_order_of_its_own(buffer, stream, numbers, monkeypatch):
    monkeypatch.setattr(batches, "SHUFFLE_BUFFER", buffer)
    found = epochs(stream(3 * 14), 14, numbers)
    assert [len(epoch) for epoch in found] == [1400] * 3
    assert [len(set(epoch)) for epoch in found] == [1400] * 3
    assert found[0] != found[1] != found[2]
    assert sorted(found[0]) != found[0]
    left_out = [set(range(1437)) - set(epoch) for epoch in found]
    assert left_out[0] != left_out[1] != left_out[2]


def test_the_order_is_even(stream, numbers):
    """Each element is as often in the first batch as any other; 0.3 is about eight deviations."""
    taken = stream(3 * 40, batch_size=400)
    firsts = [numbers[image.tobytes()] for images, _ in taken[::3] for image in images]
    share = 400 / 1437
    assert 0.7 < np.bincount(firsts, minlength=1437).var() / (40 * share * (1 - share)) < 1.3


def test_labels_stay_with_their_images(stream, digits, numbers):
    labels = [int(label) for _, label in digits.dataset("train")]
    for images, batch_labels in stream(20):
        np.testing.assert_array_equal(batch_labels, [labels[numbers[image.tobytes()]] for image in images])


def test_batches_depend_on_the_seed_alone(stream):
    first = stream(16, augment=AUGMENT, seed=3)
    for disturb in (tf.random.set_seed, keras.utils.set_random_seed):
        disturb(12345)
        assert same(stream(16, augment=AUGMENT, seed=3), first)
    assert not same(stream(16, augment=AUGMENT, seed=4), first)


@pytest.mark.parametrize("seed", [-1, 2**31, 2**63 - 1])
def test_seeds_of_any_size(seed, stream):
    assert same(stream(2, seed=seed), stream(2, seed=seed))
    assert not same(stream(2, seed=seed), stream(2))


def test_a_stream_that_starts_later_is_the_tail_of_the_whole(stream, monkeypatch):
    options = {"augment": AUGMENT, "seed": 9}
    whole = stream(32, **options)
    for start in (1, 13, 14, 21, 28):  # fourteen batches are an epoch
        assert same(stream(32 - start, start_step=start, **options), whole[start:])
    monkeypatch.setattr(batches, "CACHE_BYTES", 0)
    assert same(stream(32 - 21, start_step=21, **options), whole[21:])


def test_each_element_draws_for_itself(stream):
    plain, flipped = stream(2 * 14), stream(2 * 14, augment="horizontal_flip()")
    differ = [(a != b).any((1, 2, 3)) for (a, _), (b, _) in zip(plain, flipped, strict=True)]
    for epoch in (np.concatenate(differ[:14]), np.concatenate(differ[14:])):
        assert 0.45 < epoch.mean() < 0.55
        assert 0.45 < (epoch[1:] != epoch[:-1]).mean() < 0.55


def test_an_element_is_changed_otherwise_in_each_epoch(stream):
    """One element, a batch of one: nothing but its augmentation can differ."""
    taken = stream(6, split="train[:1]", batch_size=1, augment="affine(degrees=40, translate=0.2)")
    assert len({images.tobytes() for images, _ in taken}) == 6


def test_evaluation_gives_each_element_once_in_the_order_of_the_source(digits, stream):
    taken = stream(-1, split="test", train=False, augment=AUGMENT)
    assert [len(labels) for _, labels in taken] == [100, 100, 100, 60]
    plain = [(tf.io.decode_png(encoded), int(label)) for encoded, label in digits.dataset("test")]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in taken]), [image for image, _ in plain])
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in taken]), [label for _, label in plain])


@pytest.mark.parametrize("batch_size", [7, 60, 100, 360, 1000])
def test_padded_batches_have_one_shape_and_count_each_element_once(batch_size, digits, preprocessing):
    plain = pipeline(digits, "test", batch_size=batch_size, preprocess=preprocessing, train=False)
    images, labels, weights = (np.concatenate(parts) for parts in zip(*padded(plain, batch_size), strict=True))
    assert [spec.shape.as_list() for spec in padded(plain, batch_size).element_spec] == [
        [batch_size, 8, 8, 1],
        [batch_size],
        [batch_size],
    ]
    assert len(labels) % batch_size == 0 and len(labels) - 360 < batch_size
    np.testing.assert_array_equal(weights, np.arange(len(labels)) < 360)
    for filled, whole in zip((images, labels), next(iter(plain.unbatch().batch(360))), strict=True):
        np.testing.assert_array_equal(filled[:360], whole)
        assert not filled[360:].any()


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 1437), (64, 22), (1437, 1)])
def test_steps_per_epoch(batch_size, steps, digits):
    assert steps_per_epoch(digits, "train", batch_size) == steps


def test_a_size_of_its_own_is_refused_where_the_preprocessing_has_one(digits, preprocessing):
    with pytest.raises(ValueError, match="leave image_size out"):
        pipeline(digits, "train", batch_size=8, image_size=16, preprocess=preprocessing)


def test_a_split_smaller_than_a_batch_is_an_error(digits, preprocessing):
    message = r"digits train\[:16\] has 16 elements, less than one batch of 17\."
    with pytest.raises(ValueError, match=message):
        steps_per_epoch(digits, "train[:16]", 17)
    with pytest.raises(ValueError, match=message):
        pipeline(digits, "train[:16]", batch_size=17, preprocess=preprocessing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "validation"}, "has no split 'validation'; it has train, test"),
        ({"augment": "afine()"}, "did you mean affine"),
        ({"preprocess": "standard"}, "no preprocessing 'standard'"),
    ],
)
def test_wrong_options_are_errors_before_the_first_batch(options, message, digits):
    with pytest.raises(ValueError, match=message):
        pipeline(digits, **{"split": "train", "batch_size": 8, **options})
