import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from kerascnn.train.steps import Steps, make_agree

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def vector(number, x):
    """What a step returns: something in the place of the loss, the step's number, and one example."""
    return tf.stack([x, tf.cast(number, tf.float32), 1.0])


def numbers(count=1000):
    return iter(tf.data.Dataset.range(count).map(lambda x: (tf.cast(x, tf.float32),)))


def test_all_steps_are_run_once_in_as_few_calls_as_their_time_allows():
    steps = Steps(tf.distribute.get_strategy(), vector)
    iterator = numbers()
    calls = list(steps(iterator, 900, first=100))
    assert sum(call.count for call in calls) == 900
    assert [call.count for call in calls[:2]] == [1, 1]  # the first one compiles, the second one is timed
    assert len(calls) < 10
    np.testing.assert_array_equal(sum(call.sums for call in calls), [899 * 450, 900 * 100 + 899 * 450, 900])
    np.testing.assert_array_equal(np.concatenate([call.losses for call in calls]), np.arange(900))
    assert all(0 <= call.waited <= 1 and call.seconds > 0 for call in calls)
    assert next(iterator)[0] == 900
    assert steps.per_second() > 0
    assert math.isnan(steps.per_second())  # nothing has run since
    assert list(steps(iterator, 0)) == []


@pytest.mark.parametrize("parts", [2, 5])
def test_parts_of_a_step_come_ahead_of_it_and_are_added(parts):
    seen = tf.Variable(0.0)

    def part(number, x):
        seen.assign_add(x)
        return vector(number, x)

    def step(number, x):
        with tf.control_dependencies([tf.debugging.assert_equal(seen, x * (parts - 1) - sum(range(1, parts)))]):
            seen.assign(0.0)  # the parts just before it, and nothing else
        return vector(number, x)

    calls = list(Steps(tf.distribute.get_strategy(), step, part=part, parts=parts)(numbers(), 100))
    examples = 100 * parts
    np.testing.assert_array_equal(sum(call.sums for call in calls)[[0, 2]], [examples * (examples - 1) / 2, examples])
    losses = np.concatenate([call.losses for call in calls])
    np.testing.assert_allclose(losses, np.arange(examples).reshape(100, parts).mean(1), rtol=1e-12)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_it_before_the_next_step(number):
    asked = iter([None, None, number])
    iterator = numbers()
    calls = list(Steps(tf.distribute.get_strategy(), vector, signals=SIGNALS)(iterator, 900, asked=lambda: next(asked)))
    assert [call.count for call in calls] == [1, 1, 0]
    np.testing.assert_array_equal(calls[-1].stop, [number == known for known in SIGNALS])
    assert next(iterator)[0] == 2


def test_the_share_of_time_that_input_takes():
    def late(x):
        time.sleep(0.02)
        return tf.cast(x, tf.float32)

    data = tf.data.Dataset.range(60).map(lambda x: (tf.py_function(late, [x], tf.float32),))
    calls = list(Steps(tf.distribute.get_strategy(), vector)(iter(data), 50))
    assert sum(call.waited * call.seconds for call in calls) > 0.5 * sum(call.seconds for call in calls)


REPLICAS = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kerascnn.train.steps import Steps, make_agree

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
data = strategy.distribute_datasets_from_function(
    lambda context: tf.data.Dataset.range(400).map(lambda x: (tf.cast(x, tf.float32),)))
steps = Steps(strategy, lambda number, x: tf.stack([x, tf.cast(number, tf.float32), 1.0]))
calls = list(steps(iter(data), 200))
np.testing.assert_array_equal(sum(call.sums for call in calls), [399 * 200, 2 * 199 * 100, 400])
np.testing.assert_array_equal(np.concatenate([call.losses for call in calls]), np.arange(200) * 2 + 0.5)
np.testing.assert_array_equal(make_agree(strategy)(3.0, 0.1), [6.0, 0.2])
print("added up")
"""


def test_replicas_are_added_up():
    done = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True)
    assert done.stdout == "added up\n", done.stderr


def test_one_replica_agrees_with_itself():
    np.testing.assert_array_equal(make_agree(tf.distribute.get_strategy())(1.5, -2.0), [1.5, -2.0])
