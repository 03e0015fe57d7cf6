"""An overflow on one replica only: every replica has to skip the step."""

import subprocess
import sys

SCRIPT = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import numpy as np
from kerascnn.train.optimizers import LossScale, apply_gradients

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2)])
    optimizer = keras.optimizers.SGD(0.5, momentum=0.9, nesterov=True)
    optimizer.build(model.trainable_variables)
    scale = LossScale(dynamic=True)

def step(inputs):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs)) * scale.scale
    gradients = tape.gradient(loss, model.trainable_variables)
    apply_gradients(optimizer, scale, gradients, model.trainable_variables, 0.0)

@tf.function
def both(inputs):
    strategy.run(step, (inputs,))

def give(first, second):
    per_replica = strategy.experimental_distribute_values_from_function(
        lambda context: tf.fill([4, 3], [first, second][context.replica_id_in_sync_group]))
    both(per_replica)
    for variable in [*model.variables, *optimizer.variables]:
        copies = strategy.experimental_local_results(variable.value)
        assert all(np.array_equal(copies[0], copy) for copy in copies), variable.path
    return [v.numpy() for v in model.variables], [v.numpy() for v in optimizer.variables]

start = [v.numpy() for v in model.variables]
weights, _ = give(1.0, 2.0)
# The sum over both replicas, unscaled: 4 rows of 1 and 4 rows of 2; Nesterov's first step is (1 + momentum) * rate.
np.testing.assert_allclose(start[0] - weights[0], np.full([3, 2], 1.9 * 0.5 * 12.0), rtol=1e-6)
assert scale.scale.numpy() == 2.0**15 and scale.good_steps.numpy() == 1

_, momenta = give(1.0, 1.0)
weights = [v.numpy() for v in model.variables]
for bad in ((float("inf"), 1.0), (1.0, float("inf")), (1.0, float("nan"))):
    before = scale.scale.numpy()
    skipped, momenta_after = give(*bad)
    for a, b in zip(weights + momenta, skipped + momenta_after, strict=True):
        np.testing.assert_array_equal(a, b)  # no weight, no momentum, no step counted
    assert scale.scale.numpy() == before / 2 and scale.good_steps.numpy() == 0
assert optimizer.iterations.numpy() == 2

scale.good_steps.assign(1999)
give(1.0, 1.0)
assert scale.scale.numpy() == 2.0**13 and scale.good_steps.numpy() == 0
print("all skipped")
"""


def test_an_overflow_on_one_replica_changes_nothing_on_any():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stdout == "all skipped\n", done.stderr
