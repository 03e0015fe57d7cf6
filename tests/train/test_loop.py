"""Whole runs, small ones: what they leave behind, and that nothing stops them for good."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerascnn import data
from kerascnn.models import load_model
from kerascnn.train import run
from kerascnn.train.recipe import Diverged, WrongInput
from recipes.digits_lenet5 import RECIPE as LENET
from recipes.digits_resnet20 import RECIPE as RESNET

TINY = dataclasses.replace(
    LENET, epochs=3, batch_size=32, warmup_epochs=1, train_split="train[:512]", test_split="test[:100]"
)


def flags(recipe, parent):
    """The command line that makes `recipe` of `parent`."""
    fields = dataclasses.asdict(recipe)
    return [f"--{key}={value}" for key, value in fields.items() if value != getattr(parent, key)]


def start(*arguments):
    command = [sys.executable, "-m", "recipes.digits_lenet5", *flags(TINY, LENET), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def weights(folder):
    return load_model(folder / "model.keras").get_weights()


def rows(folder):
    """metrics.csv without what depends on the clock."""
    with open(folder / "metrics.csv", newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in ("images_per_second", "seconds")}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_dir):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    result = run(TINY, model_dir=folder, data_dir=data_dir, seed=5, export_dir=folder / "export")
    return folder, result


def test_what_a_run_leaves(finished, data_dir):
    folder, result = finished
    assert {path.name for path in folder.iterdir()} == {
        "recipe.json",
        "preprocessing.json",
        "metrics.csv",
        "tensorboard",
        "checkpoints",
        "model.keras",
        "report.html",
        "export",
        ".lock",
    }
    assert [row["epoch"] for row in rows(folder)] == ["1", "2", "3"]
    assert [row["step"] for row in rows(folder)] == ["16", "32", "48"]
    assert json.loads((folder / "recipe.json").read_text())["recipe"] == dataclasses.asdict(TINY)
    assert result.bundle == folder / "export" / "1"
    assert len(list((folder / "checkpoints").iterdir())) == 3
    assert "LeNet" in (folder / "report.html").read_text() or "lenet5" in (folder / "report.html").read_text()


def test_the_saved_model_is_the_trained_one_and_has_the_accuracy_that_was_reported(finished, data_dir):
    folder, result = finished
    model = load_model(folder / "model.keras")
    for saved, returned in zip(model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(saved, returned)
    batches = data.pipeline(
        "digits",
        "test[:100]",
        batch_size=100,
        preprocess=data.Preprocessing.load(folder / "preprocessing.json"),
        train=False,
        data_dir=data_dir,
    )
    ((images, labels),) = batches
    accuracy = np.mean(model(images).numpy().argmax(-1) == labels.numpy())
    assert accuracy == pytest.approx(result.history[-1]["test_accuracy"], abs=1e-6)
    assert accuracy > 0.3  # it learns


def test_tensorboard_has_the_numbers_of_the_csv(finished):
    folder, result = finished
    for split in ("train", "test"):
        (file,) = (folder / "tensorboard" / split).iterdir()
        found = {}
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
        for quantity in ("loss", "accuracy"):
            expected = [(row["step"], pytest.approx(row[f"{split}_{quantity}"])) for row in result.history]
            assert found[quantity] == expected
        assert ("learning_rate" in found) == ("images_per_second" in found) == (split == "train")


def test_two_runs_are_bitwise_the_same_and_another_seed_is_not(finished, data_dir, tmp_path):
    folder, _ = finished
    for seed, same in ((5, True), (6, False)):
        run(TINY, model_dir=tmp_path / str(seed), data_dir=data_dir, seed=seed)
        pairs = zip(weights(folder), weights(tmp_path / str(seed)), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs) == same
        assert (rows(folder) == rows(tmp_path / str(seed))) == same


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_the_same_command_goes_on_to_the_same_end(number, code, finished, data_dir, tmp_path):
    folder, _ = finished
    arguments = ["--seed=5", f"--data_dir={data_dir}", f"--model_dir={tmp_path}"]
    process = start(*arguments)
    first_line = process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate()
    assert first_line.startswith("epoch 1/3")
    assert process.returncode == code, errors
    assert "The same command goes on from there" in errors and "Traceback" not in errors
    assert not (tmp_path / "model.keras").exists()

    process = start(*arguments)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "Resuming" in output and "epoch 1/3" not in output
    assert rows(tmp_path) == rows(folder)
    for resumed, undisturbed in zip(weights(tmp_path), weights(folder), strict=True):
        np.testing.assert_array_equal(resumed, undisturbed)


def test_a_kill_while_a_checkpoint_is_written_loses_nothing_before_it(finished, data_dir, tmp_path):
    folder, _ = finished
    arguments = ["--seed=5", f"--data_dir={data_dir}", f"--model_dir={tmp_path}"]
    process = start(*arguments)
    checkpoints = tmp_path / "checkpoints"
    while not (checkpoints / "step-00000016.npz").exists():
        time.sleep(0.001)
    while not (checkpoints / "writing.tmp").exists() and process.poll() is None:
        pass  # the second checkpoint begins
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    process = start(*arguments)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "Resuming" in output
    assert rows(tmp_path) == rows(folder)
    for resumed, undisturbed in zip(weights(tmp_path), weights(folder), strict=True):
        np.testing.assert_array_equal(resumed, undisturbed)


def test_a_finished_run_says_so_and_a_changed_one_is_refused(data_dir, tmp_path, capsys):
    once = dataclasses.replace(TINY, epochs=1)
    run(once, model_dir=tmp_path, data_dir=data_dir)
    before = weights(tmp_path)
    capsys.readouterr()

    again = run(once, model_dir=tmp_path, data_dir=data_dir, seed=3, export_dir=tmp_path / "export")  # run flags differ
    assert "Finished before" in capsys.readouterr().out
    assert again.bundle == tmp_path / "export" / "1" and len(again.history) == 1

    with pytest.raises(WrongInput, match=r"momentum=0.9, not 0.5"):
        run(dataclasses.replace(once, momentum=0.5), model_dir=tmp_path, data_dir=data_dir)
    with pytest.raises(WrongInput, match=r"holds a run with momentum=0.9, not 0.5\."):  # epochs alone may grow
        run(dataclasses.replace(TINY, momentum=0.5), model_dir=tmp_path, data_dir=data_dir)
    for old, new in zip(before, weights(tmp_path), strict=True):
        np.testing.assert_array_equal(old, new)

    grown = run(dataclasses.replace(once, epochs=2), model_dir=tmp_path, data_dir=data_dir)
    assert "Resuming" in capsys.readouterr().out
    assert [row["epoch"] for row in grown.history] == [1, 2]
    assert any(not np.array_equal(a, b) for a, b in zip(before, weights(tmp_path), strict=True))


def test_statistics_that_no_recipe_owns_are_measured_anew(finished, data_dir, tmp_path):
    """As a kill leaves them between the two files, when the next command is another recipe's."""
    folder, _ = finished
    statistics = json.loads((folder / "preprocessing.json").read_text())
    (tmp_path / "preprocessing.json").write_text(json.dumps(statistics | {"mean": [1.0], "image_size": [20, 20]}))
    result = run(dataclasses.replace(TINY, epochs=1), model_dir=tmp_path, data_dir=data_dir)
    assert result.preprocessing == data.Preprocessing.load(folder / "preprocessing.json")


def test_a_loss_that_is_no_number_stops_the_run(data_dir, tmp_path):
    wild = dataclasses.replace(TINY, learning_rate=1e30, warmup_epochs=0)
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) by step .*lower --learning_rate"):
        run(wild, model_dir=tmp_path, data_dir=data_dir)
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns_and_leaves_a_float32_model(precision, finished, data_dir, tmp_path):
    _, full = finished
    result = run(TINY, model_dir=tmp_path, data_dir=data_dir, seed=5, precision=precision)
    assert abs(result.history[-1]["test_accuracy"] - full.history[-1]["test_accuracy"]) < 0.1
    assert {layer.compute_dtype for layer in result.model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    arrays = np.load(sorted((tmp_path / "checkpoints").iterdir())[-1])
    assert ("loss_scale/scale" in arrays.files) == (precision == "mixed_float16")


def test_weight_decay_and_momentum_are_the_papers(data_dir, tmp_path):
    """One epoch of SGD in NumPy float64, from the gradients of a linear model, against the loop."""
    # A single step from known weights: v = rate * (g + decay * w), Nesterov's step is momentum * v + v.
    recipe = dataclasses.replace(
        TINY,
        epochs=1,
        batch_size=512,
        schedule="constant",
        warmup_epochs=0,
        learning_rate=0.1,
        weight_decay=0.3,
        label_smoothing=0.0,
        augment="",
    )
    result = run(recipe, model_dir=tmp_path / "with", data_dir=data_dir)
    without = run(dataclasses.replace(recipe, weight_decay=0.0), model_dir=tmp_path / "without", data_dir=data_dir)
    keras.utils.set_random_seed(0)
    from kerascnn.models import create_model

    initial = create_model("lenet5", num_classes=10, input_shape=(32, 32, 1))
    for variable, decayed, plain in zip(initial.weights, result.model.weights, without.model.weights, strict=True):
        difference = np.asarray(plain) - np.asarray(decayed)
        expected = (1 + 0.9) * 0.1 * 0.3 * np.asarray(variable) if variable.name == "kernel" else 0.0
        np.testing.assert_allclose(difference, expected + np.zeros_like(difference), atol=2e-6)


DEVICES = """
import sys, dataclasses, pathlib
import numpy as np
import tensorflow as tf
count, data_dir, out = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
from kerascnn import data
from kerascnn.evaluate.predictions import predict
from kerascnn.train import run
from kerascnn.train.inputs import Inputs
from kerascnn.train.loop import make_evaluate
from kerascnn.train.run_dir import RunDir
from kerascnn.train.state import State
from recipes.digits_lenet5 import RECIPE as LENET
from recipes.digits_resnet20 import RECIPE as RESNET

source = data.open_source("digits", data_dir)
strategy = "mirrored" if count > 1 else "one_device"

# Evaluation: against a count in NumPy, on all 360 images.
for batch_size in (48, 7 * count, 120 * count + count, 400 // count * count):
    recipe = dataclasses.replace(LENET, batch_size=batch_size)
    folder = RunDir(out / f"{count}-{batch_size}")
    inputs = Inputs(recipe, folder, data_dir=data_dir)
    state = State(recipe, folder, inputs, strategy=strategy, precision="float32", seed=1)
    _, labels, logits = predict(state.model, source, "test", inputs.preprocessing, 90)
    loss, right, seen = make_evaluate(state)()
    shifted = logits - logits.max(-1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(360), labels]
    assert seen == 360, seen
    assert right == (logits.argmax(-1) == labels).sum(), right
    np.testing.assert_allclose(loss, losses.sum(), rtol=1e-5)
    print("evaluated", batch_size)

# Training with batch norm over the global batch: written down, to be compared between numbers of devices.
recipe = dataclasses.replace(
    RESNET, model_args="depths=(1, 1, 1)", epochs=1, batch_size=48, warmup_epochs=0, learning_rate=0.01,
    train_split="train[:480]", test_split="test[:50]",
)
result = run(recipe, model_dir=out / f"run{count}", data_dir=data_dir, strategy=strategy)
np.savez(out / f"weights{count}.npz", *result.model.get_weights())
assert "keras_cv" not in sys.modules
assert not any(getattr(layer, "synchronized", False) for layer in result.model.layers)
print("trained", result.history[-1]["train_loss"])
"""


def test_one_two_and_three_devices_count_and_compute_the_same(data_dir, tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DEVICES, str(count), str(data_dir), str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for count in (1, 2, 3)
    ]
    losses = []
    for process in processes:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert output.count("evaluated") == 4
        losses.append(float(output.split("trained")[1]))
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    one, two, three = (list(np.load(tmp_path / f"weights{count}.npz").values()) for count in (1, 2, 3))
    for a, b, c in zip(one, two, three, strict=True):
        for other in (b, c):
            np.testing.assert_allclose(other, a, atol=1e-3 * np.abs(a).max() + 1e-6)


REPLICAS = """
import dataclasses, pathlib, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 8)
from kerascnn.train.inputs import Inputs
from kerascnn.train.loop import _distribute
from kerascnn.train.run_dir import RunDir
from kerascnn.train.state import State
from recipes.digits_lenet5 import RECIPE

recipe = dataclasses.replace(
    RECIPE, batch_size=48, train_split="train[:230]", augment="horizontal_flip, randaugment(n=2, m=9)"
)
folder = RunDir(pathlib.Path(sys.argv[2]) / "run")
inputs = Inputs(recipe, folder, data_dir=sys.argv[1])
state = State(recipe, folder, inputs, strategy="mirrored", precision="float32", seed=1)
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


def test_training_on_another_backend_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "recipes.digits_lenet5", f"--model_dir={tmp_path}"],
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": "jax"},
    )
    assert done.returncode == 2
    assert "training runs on TensorFlow, not jax" in done.stderr


def test_a_smoke_run_goes_all_the_way(data_dir, tmp_path):
    process = start("--smoke", f"--data_dir={data_dir}", f"--model_dir={tmp_path}")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors == ""  # none of TensorFlow's greetings either
    assert "epoch 1/1" in output
    for line in ("Model:", "Report:", "Bundle:"):
        assert line in output
    assert (tmp_path / "export" / "1" / "saved_model.pb").exists()
    assert RESNET.smoke().epochs == 1
