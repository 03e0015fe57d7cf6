"""What replicas draw, each for its own images. Replicas of one process, and workers that are processes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools.launch import environments

ROOT = Path(__file__).parents[2]

DRAWS = """
import dataclasses, json, pathlib, sys
import numpy as np
import tensorflow as tf
name, data_dir, out = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
if name == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kerascnn.train.inputs import Inputs
from kerascnn.train.recipe import RunFlags
from kerascnn.train.run_dir import RunDir
from kerascnn.train.state import State
from kerascnn.train.step import make_step
from kerascnn.train.strategy import make_strategy
from recipes.digits_lenet5 import RECIPE

images, labels = np.random.default_rng(0).integers(0, 256, [2, 32, 32, 1], np.uint8), np.array([3, 7])

def drawn(strategy, arguments, number):
    # The mean losses of three steps, by replica; and the run.
    recipe = dataclasses.replace(RECIPE, model_args=arguments, batch_size=8)
    folder = RunDir(out)
    inputs = Inputs(recipe, folder, data_dir=data_dir)
    state = State(recipe, RunFlags(precision="float64"), folder, inputs, strategy)
    step, _ = make_step(state)
    # The same two on all replicas, as often as it takes.
    share = [tf.constant(np.concatenate([values] * (4 // state.replicas))) for values in (images, labels)]

    @tf.function
    def run():
        return strategy.run(step, args=(tf.constant(number, tf.int64), *share))

    done = [strategy.experimental_local_results(run()) for _ in range(3)]
    return [[float(sums[0] / sums[2]) for sums in replicas] for replicas in done], state

strategies = make_strategy(name), tf.distribute.OneDeviceStrategy("CPU:0")
# The number of a step says its rate, which is 0 for the first.
for arguments, number in (("", 0), ("drop_connect=0.5", 0), ("drop_connect=0.5", 10), ("dropout=0.5", 0)):
    losses, states = zip(*(drawn(strategy, arguments, number) for strategy in strategies), strict=True)
    print(json.dumps(losses))
seeds = []
for state in states:
    (variable,) = state.model.non_trainable_variables
    seeds.append([copy.numpy().tolist() for copy in state.strategy.experimental_local_results(variable.value)])
print(json.dumps(seeds))
"""


def drawn(name, data_dir, folder):
    """The losses of each case, [steps, replicas] and [steps, 1] of one device; and the seeds of dropout likewise."""
    script = folder / "draws.py"  # TensorFlow reads the source of what it compiles
    script.write_text(DRAWS, "utf-8")
    processes = [
        subprocess.Popen(
            [sys.executable, script, name, data_dir, folder / str(index)],
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, environment in enumerate(environments(2 if name == "multi_worker" else 1))
    ]
    outputs = []
    for process in processes:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        outputs.append([json.loads(line) for line in output.splitlines() if line.startswith("[")])
    *losses, seeds = [
        (np.concatenate([together for together, _ in of_workers], axis), np.array(of_workers[0][1]))
        for axis, of_workers in zip((1, 1, 1, 1, 0), zip(*outputs, strict=True), strict=True)
    ]
    return losses, seeds


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mirrored", "multi_worker"])
def test_each_replica_drops_other_units_of_its_images(name, data_dir, tmp_path):
    """And the same weights, since one draw of these is for the whole batch; so that is what one device computes."""
    (*same, (dropout, _)), (seeds, seeds_alone) = drawn(name, data_dir, tmp_path)
    assert len(set(dropout.ravel())) == 6  # three steps of two replicas
    for losses, alone in same:
        np.testing.assert_array_equal(losses[:, 0], losses[:, 1])
        np.testing.assert_allclose(losses, np.repeat(alone, 2, 1), rtol=1e-9)
    assert [len(set(losses[:, 0])) for losses, _ in same] == [1, 3, 3]
    # A checkpoint holds what it would hold of one device.
    np.testing.assert_array_equal(seeds, np.repeat(seeds_alone, 2, 0))
    assert seeds[0, 1] == 3
