"""Any number of replicas and workers computes and counts the same as one device. Workers are real processes."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from kerascnn.train import run
from recipes.digits_lenet5 import RECIPE as LENET
from recipes.digits_resnet20 import RECIPE as RESNET

# Batch norm, soft labels, weights of classes, an average; a last test batch that is not whole.
SMALL = dataclasses.replace(
    RESNET,
    model_args="depths=(1, 1, 1)",
    epochs=10,
    batch_size=48,
    warmup_epochs=1,
    train_split="train[:480]",
    test_split="test[:100]",
    mix="mixup(alpha=0.2)",
    class_weights="balanced",
    average="ema(decay=0.95)",
)
BRIEF = dataclasses.replace(SMALL, epochs=2)


def flags(recipe, parent=RESNET):
    """The command line that makes `recipe` of its parent."""
    return [f"--{k}={v}" for k, v in dataclasses.asdict(recipe).items() if v != getattr(parent, k)]


def launch(workers, recipe, *arguments, parent=RESNET):
    name = "digits_resnet20" if parent is RESNET else "digits_lenet5"
    command = [sys.executable, "-m", "tools.launch", f"--workers={workers}", "--", name, *flags(recipe, parent)]
    return subprocess.Popen([*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def train_on_workers(workers, recipe, *arguments, parent=RESNET):
    process = launch(workers, recipe, *arguments, parent=parent)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output


MIRRORED = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv.pop(1)))
from kerascnn.train import main
from recipes.digits_lenet5 import RECIPE as LENET
from recipes.digits_resnet20 import RECIPE
main(RECIPE)
"""


def train_on_replicas(replicas, recipe, *arguments):
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(MIRRORED)
        script.flush()
        command = [sys.executable, script.name, str(replicas), "--strategy=mirrored", *flags(recipe)]
        done = subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": "."}
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def last(folder, recipe):
    """The newest checkpoint's arrays."""
    with np.load(folder / "checkpoints" / f"step-{recipe.epochs * 10:08d}.npz") as archive:
        return dict(archive)


def differences(one, other):
    """The largest difference of each array, as a share of its largest value."""
    assert one.keys() == other.keys()
    return {
        name: np.abs(array - other[name]).max() / max(np.abs(array).max(), 1e-300)
        for name, array in one.items()
        if array.dtype.kind == "f" and array.size
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory, data_dir):
    """Runs on one device, by precision: the folder of each."""
    folders = {}

    def get(precision, recipe):
        if precision not in folders:
            folder = folders[precision] = tmp_path_factory.mktemp(precision)
            run(recipe, model_dir=folder, data_dir=data_dir, precision=precision)
        return folders[precision]

    return get


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("train", [train_on_workers, train_on_replicas])
def test_a_hundred_steps_in_float64_are_those_of_one_device(train, count, alone, data_dir, tmp_path):
    one = alone("float64", SMALL)
    output = train(count, SMALL, f"--data_dir={data_dir}", f"--model_dir={tmp_path}", "--precision=float64")
    found = differences(last(one, SMALL), last(tmp_path, SMALL))
    assert max(found.values()) < 1e-8, found
    assert output.count("epoch 10/10") == 1  # one worker speaks for all
    mine, theirs = (np.genfromtxt(f / "metrics.csv", delimiter=",", names=True) for f in (one, tmp_path))
    for name in ("test_accuracy", "average_accuracy", "train_accuracy", "step"):
        np.testing.assert_array_equal(mine[name], theirs[name])
    for name in ("train_loss", "test_loss", "average_loss", "learning_rate"):
        np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-6)  # as many digits as the file has


def test_twenty_steps_in_float64_are_those_of_one_device(data_dir, tmp_path):
    """By default the least of the test above."""
    run(BRIEF, model_dir=tmp_path / "one", data_dir=data_dir, precision="float64")
    train_on_workers(2, BRIEF, f"--data_dir={data_dir}", f"--model_dir={tmp_path / 'two'}", "--precision=float64")
    found = differences(last(tmp_path / "one", BRIEF), last(tmp_path / "two", BRIEF))
    assert max(found.values()) < 1e-10, found
    one, two = (np.genfromtxt(tmp_path / name / "metrics.csv", delimiter=",", names=True) for name in ("one", "two"))
    for name in ("test_accuracy", "average_accuracy", "train_accuracy", "step"):  # each example counted once
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.slow
@pytest.mark.parametrize("train, count", [(train_on_workers, 2), (train_on_workers, 3), (train_on_replicas, 2)])
def test_twenty_steps_in_float32_are_those_of_one_device(train, count, alone, data_dir, tmp_path):
    one = alone("float32", BRIEF)
    train(count, BRIEF, f"--data_dir={data_dir}", f"--model_dir={tmp_path}")
    found = differences(last(one, BRIEF), last(tmp_path, BRIEF))
    assert max(found.values()) < 1e-4, found


def children(process):
    """The workers' process numbers, in the order of their start."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        return sorted(map(int, file.read().split()))


@pytest.mark.slow  # test_loop.py has it of one process by default, tests/tools/test_launch.py the ends of several
def test_a_worker_that_is_stopped_or_killed_loses_nothing(data_dir, tmp_path):
    """Asked to stop, it saves with the others; killed, it takes them with it and is named. The same command goes on."""
    recipe = dataclasses.replace(LENET, epochs=10, batch_size=48, train_split="train[:480]", test_split="test[:100]")
    train_on_workers(2, recipe, f"--data_dir={data_dir}", f"--model_dir={tmp_path / 'whole'}", parent=LENET)
    arguments = (f"--data_dir={data_dir}", f"--model_dir={tmp_path / 'disturbed'}")
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = launch(2, recipe, *arguments, parent=LENET)
        assert process.stdout.readline()  # an epoch is done, or it goes on
        os.kill(children(process)[1], number)
        began = time.monotonic()
        output, errors = process.communicate()
        assert time.monotonic() - began < 60
        assert "Traceback" not in errors and not (tmp_path / "disturbed" / "model.keras").exists()
        if number == signal.SIGTERM:
            assert process.returncode == 143, errors
            assert re.search(r"Stopped after step \d+, saved in", errors)
        else:
            assert process.returncode not in (0, 143)
            assert "worker 1" in errors
    output = train_on_workers(2, recipe, *arguments, parent=LENET)
    assert "Resuming" in output
    whole, disturbed = (last(tmp_path / name, recipe) for name in ("whole", "disturbed"))
    for name, array in whole.items():
        np.testing.assert_array_equal(disturbed[name], array, err_msg=name)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_replicas(alone, data_dir, tmp_path):
    arguments = (f"--data_dir={data_dir}", f"--model_dir={tmp_path}", "--precision=float64")
    for epochs, train, count in ((4, train_on_replicas, 3), (8, train_on_workers, 2), (10, train_on_replicas, 2)):
        train(count, dataclasses.replace(SMALL, epochs=epochs, schedule="constant"), *arguments)
    run(
        dataclasses.replace(SMALL, schedule="constant"),
        model_dir=tmp_path / "one",
        data_dir=data_dir,
        precision="float64",
    )
    found = differences(last(tmp_path / "one", SMALL), last(tmp_path, SMALL))
    assert max(found.values()) < 1e-8, found


EVALUATIONS = """
import sys, dataclasses, pathlib
import numpy as np
import tensorflow as tf
count, data_dir, out = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
from kerascnn import data
from kerascnn.evaluate.predictions import predict
from kerascnn.train.inputs import Inputs
from kerascnn.train.interrupt import Interrupt
from kerascnn.train.loop import make_evaluate
from kerascnn.train.recipe import RunFlags
from kerascnn.train.run_dir import RunDir
from kerascnn.train.state import State
from kerascnn.train.strategy import make_strategy
from recipes.digits_lenet5 import RECIPE

source = data.open_source("digits", data_dir)
strategy = make_strategy("mirrored" if count > 1 else "one_device")
for batch_size in map(int, sys.argv[4:]):
    recipe = dataclasses.replace(RECIPE, batch_size=batch_size)
    folder = RunDir(out / f"{count}-{batch_size}")
    inputs = Inputs(recipe, folder, data_dir=data_dir)
    state = State(recipe, RunFlags(seed=1), folder, inputs, strategy)
    _, labels, logits = predict(state.model, source, "test", inputs.preprocessing, 90)
    loss, right, seen = make_evaluate(state, state.model, Interrupt())()
    shifted = logits - logits.max(-1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(360), labels]
    assert seen == 360, seen
    assert right == (logits.argmax(-1) == labels).sum(), right
    np.testing.assert_allclose(loss, losses.sum(), rtol=1e-5)
    print("evaluated", batch_size)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "batch_sizes"),  # of 360 examples some are left over, or a batch is more than all
    [(1, (48, 7, 121, 400)), (2, (48, 14, 242, 400)), (3, (48, 21, 363, 399))],
)
def test_evaluation_counts_each_example_once_at_any_batch_size(count, batch_sizes, data_dir, tmp_path):
    command = [sys.executable, "-c", EVALUATIONS, *map(str, (count, data_dir, tmp_path, *batch_sizes))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("evaluated") == len(batch_sizes)


REPLICAS = """
import dataclasses, pathlib, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 8)
from kerascnn.train.inputs import Inputs
from kerascnn.train.loop import _distribute
from kerascnn.train.recipe import RunFlags
from kerascnn.train.run_dir import RunDir
from kerascnn.train.state import State
from kerascnn.train.strategy import make_strategy
from recipes.digits_lenet5 import RECIPE

recipe = dataclasses.replace(
    RECIPE, batch_size=48, train_split="train[:230]", augment="horizontal_flip, randaugment(n=2, m=9)"
)
folder = RunDir(pathlib.Path(sys.argv[2]) / "run")
inputs = Inputs(recipe, folder, data_dir=sys.argv[1])
state = State(recipe, RunFlags(seed=1), folder, inputs, make_strategy("mirrored"))
assert state.replicas == 8

def make(shard):
    return inputs.train_batches(seed=1, start_step=0, shard=shard)

for step, whole, parts in zip(range(9), make((0, 1)), _distribute(state, 48, make)):  # four steps are an epoch
    for expected, part in zip(whole, parts, strict=True):
        pieces = state.strategy.experimental_local_results(part)
        assert [len(piece) for piece in pieces] == [6] * 8
        tf.debugging.assert_equal(tf.concat(pieces, 0), expected)
print("same", step + 1)
"""


def test_eight_replicas_share_the_batches_of_one(data_dir, tmp_path):
    command = [sys.executable, "-c", REPLICAS, str(data_dir), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.endswith("same 9\n"), done.stderr


@pytest.mark.slow
def test_a_batch_that_replicas_cannot_share_is_refused(tmp_path, data_dir):
    script = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
import dataclasses
from kerascnn.train import run
from recipes.digits_lenet5 import RECIPE
recipe = dataclasses.replace(RECIPE, batch_size=64)
run(recipe, model_dir={str(tmp_path)!r}, data_dir={str(data_dir)!r}, strategy="mirrored")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "WrongInput: batch_size=64 cannot be shared out among 3 replicas" in done.stderr
