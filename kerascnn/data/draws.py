"""Chance without state: every number is a function of where it is used, so nothing depends on who computes it when.

A key is a uint64 made of integers, such as (seed, epoch, element); from each key comes a stream of uniform numbers.
Both are SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), in
operations that work on whole batches of keys at once: a call for each image would cost more than many an augmentation.
"""

import numpy as np
import tensorflow as tf

_GAMMA = 0x9E3779B97F4A7C15
_BITS = 24  # of a float32's fraction


def key(*numbers):
    """The uint64 key of a list of integers, each a number or a tensor of any integer type; their shapes broadcast."""
    state = tf.constant(0, tf.uint64)
    for number in numbers:
        if isinstance(number, int):
            number = np.uint64(number % 2**64)
        state = _mix(state + _word(_GAMMA) + tf.cast(number, tf.uint64))
    return state


def uniform(keys, count: int):
    """float32 [..., count] in [0, 1), 24 random bits each: the first `count` numbers of each key's stream.

    Args:
      keys: uint64 of any shape, from `key`.
      count: how many.
    """
    # As an array: a graph's constant made of Python's integers goes through float64 and loses bits.
    steps = tf.constant(np.array([(i + 1) * _GAMMA % 2**64 for i in range(count)], np.uint64))
    words = tf.bitwise.right_shift(_mix(keys[..., tf.newaxis] + steps), _word(64 - _BITS))
    return tf.cast(words, tf.float32) * 2**-_BITS


def seed(numbers):
    """int32 [2] for TensorFlow's stateless operations, from two uniform numbers."""
    return tf.cast(numbers[:2] * 2**_BITS, tf.int32)


def permuted(places, key, size: int):
    """int64 [n]: which elements stand at these places of a random order of `size`, without holding the order anywhere.

    Args:
      places: int64 [n], each from 0 to `size` - 1.
      key: a uint64 that names the order.
      size: the number of elements.
    """
    return tf.random.experimental.index_shuffle(places, tf.bitcast(key, tf.int32), tf.constant(size - 1, tf.int64))


def _mix(words):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, _word(shift))) * _word(factor)
    return tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, _word(31)))


def _word(number):
    return tf.constant(np.uint64(number))
