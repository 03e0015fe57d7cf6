import math

import numpy as np
import tensorflow as tf

from kerascnn.train.steps import Steps


def test_all_steps_are_run_once_in_as_few_calls_as_their_time_allows():
    strategy = tf.distribute.get_strategy()
    steps = Steps(strategy, lambda x: tf.stack([x, x * 0 + 1, x * 0]))
    numbers = iter(tf.data.Dataset.range(1000).map(lambda x: (tf.cast(x, tf.float32),)))
    calls = [(count, totals) for count, totals in steps(numbers, 900)]
    assert sum(count for count, _ in calls) == 900
    assert [count for count, _ in calls[:2]] == [1, 1]  # the first one compiles, the second one is timed
    assert len(calls) < 10
    np.testing.assert_array_equal(sum(totals for _, totals in calls), [899 * 900 / 2, 900, 0])
    assert next(numbers)[0] == 900
    assert steps.per_second() > 0
    assert math.isnan(steps.per_second())  # nothing has run since
    assert list(steps(numbers, 0)) == []
