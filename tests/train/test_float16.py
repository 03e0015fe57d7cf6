"""Float16 on several replicas and workers: one that overflows, and a whole run. Workers are real processes."""

import csv
import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools.launch import environments

ROOT = Path(__file__).parents[2]

# A batch norm, a momentum and 8x8 images. What is spoiled is what flows back from the loss, of one replica.
STEPS = """
import dataclasses, pathlib, sys
import keras
import numpy as np
import tensorflow as tf
name, data_dir, out = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
if name == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kerascnn.train.inputs import Inputs
from kerascnn.train.loop import _train_batches
from kerascnn.train.recipe import RunFlags
from kerascnn.train.run_dir import RunDir
from kerascnn.train.state import State
from kerascnn.train.step import make_step
from kerascnn.train.steps import Steps
from kerascnn.train.strategy import make_strategy
from recipes.digits_resnet20 import RECIPE

strategy = make_strategy(name)
recipe = dataclasses.replace(RECIPE, model_args="depths=(1, 1, 1)", batch_size=16, schedule="constant", warmup_epochs=0)
folder = RunDir(out / f"run{strategy.cluster_resolver.task_id if name == 'multi_worker' else 0}")
inputs = Inputs(recipe, folder, data_dir=data_dir)
state = State(recipe, RunFlags(precision="mixed_float16"), folder, inputs, strategy)
assert state.replicas == 2 and state.model.layers[1].compute_dtype == "float16"
with strategy.scope():
    spoiled = tf.Variable(-1, trainable=False)
    factor = tf.Variable(1.0, trainable=False)

@tf.custom_gradient
def spoil(losses, by):
    return tf.identity(losses), lambda gradient: (gradient * by, None)

objective = state.objective

def spoiling(*arguments):
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    return spoil(objective(*arguments), tf.where(tf.equal(replica, spoiled), factor, 1.0))

spoiling.variables = objective.variables
state.objective = spoiling
steps, batches = Steps(strategy, make_step(state)[0]), _train_batches(state)
for number, (replica, by) in enumerate(((-1, "1"), (1, "inf"), (0, "inf"), (1, "nan"), (-1, "1"))):
    spoiled.assign(replica)
    factor.assign(float(by))
    (call,) = steps(batches, 1, first=number)
    assert np.isfinite(call.losses).all()
    variables = {key: variable.value if isinstance(variable, keras.Variable) else variable
                 for key, variable in state.variables().items()}
    copies = {key: strategy.experimental_local_results(variable) for key, variable in variables.items()}
    for index in range(state.replicas // state.workers):
        values = {key: copy[index].numpy() for key, copy in copies.items()}
        np.savez(out / f"{number}-{state.worker + index}.npz", **values)
"""


@pytest.mark.slow  # test_optimizers.py has it on replicas by default
@pytest.mark.parametrize("name", ["mirrored", "multi_worker"])
def test_an_overflow_of_one_is_skipped_by_all(name, data_dir, tmp_path):
    """Through the step that training runs: all stay the same, none waits for another, and the next step is done."""
    script = tmp_path / "steps.py"  # TensorFlow reads the source of what it compiles
    script.write_text(STEPS, "utf-8")
    processes = [
        subprocess.Popen(
            [sys.executable, script, name, data_dir, tmp_path],
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for environment in environments(2 if name == "multi_worker" else 1)
    ]
    try:
        for process in processes:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
            process.communicate()

    def after(step, replica):
        with np.load(tmp_path / f"{step}-{replica}.npz") as archive:
            return dict(archive)

    for step in range(5):
        first, second = after(step, 0), after(step, 1)
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=f"{key} after step {step}")
            assert np.isfinite(first[key]).all(), key
    states = [after(step, 0) for step in range(5)]
    # Statistics of the images are taken before anybody knows; all else changes with a step that is done.
    changed = [
        {key for key in states[0] if not np.array_equal(before[key], now[key]) and "moving_" not in key}
        for before, now in itertools.pairwise(states)
    ]
    assert changed[0] == {"loss_scale/scale", "loss_scale/good_steps"}
    assert changed[1] == changed[2] == {"loss_scale/scale"}
    trained = {key for key in states[0] if key.endswith(("kernel", "gamma", "beta", "bias", "momentum"))}
    assert len(trained) > 40 and changed[3] == trained | {"optimizer/iteration", "loss_scale/good_steps"}
    assert [state["loss_scale/scale"] for state in states] == [2.0**power for power in (15, 14, 13, 12, 12)]
    assert [state["loss_scale/good_steps"] for state in states] == [1, 0, 0, 0, 1]
    assert [state["optimizer/iteration"] for state in states] == [1, 1, 1, 1, 2]


@pytest.mark.slow
def test_a_whole_run_on_two_workers(data_dir, tmp_path):
    command = [sys.executable, "-m", "tools.launch", "--workers=2", "--", "digits_lenet5", "--precision=mixed_float16"]
    splits = ["--train_split=train[:256]", "--test_split=test[:50]", "--epochs=2", "--warmup_epochs=1"]
    done = subprocess.run(
        [*command, *splits, f"--data_dir={data_dir}", f"--model_dir={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and (tmp_path / "model.keras").exists()
    assert all(math.isfinite(float(row[key])) for row in rows for key in ("train_loss", "test_loss"))
    with np.load(tmp_path / "checkpoints" / "step-00000016.npz") as archive:
        assert archive["loss_scale/scale"] in [2.0**power for power in range(16)]
        assert 0 < archive["optimizer/iteration"] <= 16
        assert all(np.isfinite(archive[key]).all() for key in archive if key.startswith("model/"))
        assert archive["model/logits/0_kernel"].dtype == np.float32
