"""Drawn numbers are those of SplitMix64, whoever asks for them and for how many at once."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kerascnn.data import draws

MASK, GAMMA = 2**64 - 1, 0x9E3779B97F4A7C15


def mix(word):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ (word >> shift)) * factor & MASK
    return word ^ (word >> 31)


def reference(numbers, count):
    """The key and the stream once more, in Python's integers."""
    key = 0
    for number in numbers:
        key = mix((key + GAMMA + number) & MASK)
    return key, [(mix((key + (i + 1) * GAMMA) & MASK) >> 40) / 2**24 for i in range(count)]


def test_the_generator_is_splitmix64():
    """The first numbers of the authors' stream for the seed 1234567, as published with Vigna's splitmix64.c."""
    words = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    uniform = draws.uniform(tf.constant(1234567, tf.uint64), 3)
    np.testing.assert_array_equal(uniform, [np.float32((word >> 40) / 2**24) for word in words])


@pytest.mark.parametrize("numbers", [(0,), (1, 2, 3), (-1, 0, 7), (2**63 - 1, 5, 9), (2**64 - 1,), (-(2**63), 0)])
def test_keys_and_streams(numbers):
    key, stream = reference(numbers, 5)
    tensors = [number if not -(2**63) <= number < 2**63 else tf.constant(number, tf.int64) for number in numbers]
    for given in (numbers, tensors):
        found = draws.key(*given)
        assert found.dtype == tf.uint64 and int(found) == key
        np.testing.assert_array_equal(draws.uniform(found, 5), np.float32(stream))


def test_a_batch_is_the_same_as_one_by_one_and_as_compiled():
    index = tf.range(100, dtype=tf.int64)

    def batch(index):
        return draws.uniform(draws.key(3, 1, index), 4)

    expected = np.float32([reference((3, 1, i), 4)[1] for i in range(100)])
    for function in (batch, tf.function(batch), tf.function(batch, jit_compile=True)):
        np.testing.assert_array_equal(function(index), expected)


def test_numbers_are_uniform_and_independent():
    u = draws.uniform(draws.key(0, 0, tf.range(20_000, dtype=tf.int64)), 4).numpy()
    assert u.min() >= 0 and u.max() < 1
    for column in u.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-3
    off_diagonal = np.corrcoef(np.concatenate([u.T, np.roll(u, 1, 0).T]))[~np.eye(8, dtype=bool)]
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(20_000)


def test_no_numbers():
    assert draws.uniform(draws.key(1, tf.range(3)), 0).shape == [3, 0]


def test_seeds_for_stateless_operations():
    u = tf.constant([0.25, 0.5, 0.75])
    np.testing.assert_array_equal(draws.seed(u), [2**22, 2**23])


@pytest.mark.parametrize("size", [1, 2, 3, 1437, 50_000])
def test_an_order_has_each_element_once_and_every_key_another(size):
    places = tf.range(size, dtype=tf.int64)
    orders = [draws.permuted(places, draws.key(seed), size).numpy() for seed in range(2)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), places)
    if size > 1000:
        assert np.mean(orders[0] == orders[1]) < 0.01 and np.mean(orders[0] == places) < 0.01
        some = draws.permuted(tf.constant([7, 3], tf.int64), draws.key(0), size)
        np.testing.assert_array_equal(some, orders[0][[7, 3]])


def test_every_element_comes_everywhere():
    """Over many orders of few elements, each stands at each place about equally often."""
    found = np.array([draws.permuted(tf.range(8, dtype=tf.int64), draws.key(9, i), 8) for i in range(2000)])
    counts = np.array([np.bincount(column, minlength=8) for column in found.T])
    assert abs(counts - 250).max() < 5 * np.sqrt(250)
