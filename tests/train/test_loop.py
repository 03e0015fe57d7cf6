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
            {key: value for key, value in row.items() if key not in ("images_per_second", "input_wait", "seconds")}
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
        "result.json",
        "report.html",
        "export",
        ".lock",
    }
    assert [row["epoch"] for row in rows(folder)] == ["1", "2", "3"]
    assert [row["step"] for row in rows(folder)] == ["16", "32", "48"]
    assert json.loads((folder / "recipe.json").read_text())["recipe"] == dataclasses.asdict(TINY)
    assert result.bundle == folder / "export" / "1"
    compared = json.loads((result.bundle / "parity.json").read_text())
    assert compared["reference"].startswith(f"digits, {TINY.test_split}, ")
    assert str(folder) in (result.bundle / "README.md").read_text()
    checkpoints = [f"step-{step:08d}.npz" for step in (16, 32, 48)]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.npz", *checkpoints]
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
        for quantity in ("learning_rate", "images_per_second", "images_per_second_per_replica", "input_wait"):
            assert (quantity in found) == (split == "train")


@pytest.mark.slow  # the test below compares two runs, too
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


@pytest.mark.slow  # test_checkpoints.py has such ends of a file by default, the test above signals to a run
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

    with pytest.raises(WrongInput, match=r"optimizer='nesterov', not 'sgd'"):
        run(dataclasses.replace(once, optimizer="sgd"), model_dir=tmp_path, data_dir=data_dir)
    with pytest.raises(
        WrongInput, match=r"holds a run with optimizer='nesterov', not 'sgd'\."
    ):  # epochs alone may grow
        run(dataclasses.replace(TINY, optimizer="sgd"), model_dir=tmp_path, data_dir=data_dir)
    for old, new in zip(before, weights(tmp_path), strict=True):
        np.testing.assert_array_equal(old, new)

    grown = run(dataclasses.replace(once, epochs=2), model_dir=tmp_path, data_dir=data_dir)
    assert "Resuming" in capsys.readouterr().out
    assert [row["epoch"] for row in grown.history] == [1, 2]
    assert any(not np.array_equal(a, b) for a, b in zip(before, weights(tmp_path), strict=True))


@pytest.mark.slow
def test_statistics_that_no_recipe_owns_are_measured_anew(finished, data_dir, tmp_path):
    """As a kill leaves them between the two files, when the next command is another recipe's."""
    folder, _ = finished
    statistics = json.loads((folder / "preprocessing.json").read_text())
    (tmp_path / "preprocessing.json").write_text(json.dumps(statistics | {"mean": [1.0], "image_size": [20, 20]}))
    result = run(dataclasses.replace(TINY, epochs=1), model_dir=tmp_path, data_dir=data_dir)
    assert result.preprocessing == data.Preprocessing.load(folder / "preprocessing.json")


def test_a_loss_that_is_no_number_stops_the_run(data_dir, tmp_path):
    wild = dataclasses.replace(TINY, learning_rate=1e30, warmup_epochs=0)
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) in step .*lower --learning_rate"):
        run(wild, model_dir=tmp_path, data_dir=data_dir)
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.parametrize("precision", [pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"])
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


def values(folder, name="best"):
    """The arrays of a checkpoint."""
    with np.load(folder / "checkpoints" / f"{name}.npz") as archive:
        return dict(archive)


@pytest.mark.slow  # test_steps.py has the parts of a step by default
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_are_the_whole_batch(parts, data_dir, tmp_path):
    """In a net without batch norm."""
    recipe = dataclasses.replace(TINY, epochs=2, mix="mixup(alpha=0.5)", class_weights="balanced")
    flags = {"data_dir": data_dir, "precision": "float64"}
    whole = run(recipe, model_dir=tmp_path / "whole", **flags)
    split = run(dataclasses.replace(recipe, accumulate=parts), model_dir=tmp_path / "split", **flags)
    for a, b in zip(values(tmp_path / "whole").items(), values(tmp_path / "split").items(), strict=True):
        assert a[0] == b[0]
        np.testing.assert_allclose(a[1], b[1], rtol=1e-9, atol=1e-12)
    for a, b in zip(whole.history, split.history, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-9)
        assert a["test_accuracy"] == b["test_accuracy"]


@pytest.mark.slow
def test_xla_computes_the_same(finished, data_dir, tmp_path):
    _, plain = finished
    compiled = run(TINY, model_dir=tmp_path, data_dir=data_dir, seed=5, xla=True)
    for a, b in zip(plain.history, compiled.history, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-3)


@pytest.mark.slow  # test_exactness.py has an average by default
def test_the_average_is_evaluated_saved_and_exported(data_dir, tmp_path):
    recipe = dataclasses.replace(TINY, average="ema(decay=0.9)")
    result = run(recipe, model_dir=tmp_path, data_dir=data_dir)
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert "test_accuracy,average_loss,average_accuracy,images_per_second" in header
    last = values(tmp_path, "step-00000048")
    for layer in result.model.layers:
        for i, variable in enumerate(layer.variables):
            average, raw = (last[f"{kind}/{layer.name}/{i}_{variable.name}"] for kind in ("average", "model"))
            np.testing.assert_array_equal(variable.numpy(), average)
            assert not np.array_equal(average, raw)
    assert "average_loss" in result.history[-1]
    assert {path.name for path in (tmp_path / "tensorboard").iterdir()} == {"train", "test", "average"}


@pytest.mark.slow  # test_averages.py has its parts by default
def test_stochastic_weight_averaging_estimates_its_statistics_anew(data_dir, tmp_path):
    recipe = dataclasses.replace(
        RESNET,
        model_args="depths=(1, 1, 1)",
        epochs=4,
        warmup_epochs=0,
        train_split="train[:160]",
        test_split="test[:50]",
        schedule="constant",
        average="swa(start=0.5, bn_batches=3)",
    )
    result = run(recipe, model_dir=tmp_path, data_dir=data_dir)
    assert values(tmp_path, "step-00000020")["average/count"] == 3  # the epochs 2, 3 and 4
    first, *_, last = result.history
    assert first["average_loss"] != last["average_loss"] and np.isfinite(last["average_loss"])


def test_early_stopping_gives_the_best_model(data_dir, tmp_path):
    recipe = dataclasses.replace(
        TINY, epochs=30, learning_rate=0.02, optimizer="adam", schedule="constant", patience=2, restore_best=True
    )
    result = run(recipe, model_dir=tmp_path, data_dir=data_dir)
    accuracies = [row["test_accuracy"] for row in result.history]
    best = int(np.argmax(accuracies))
    assert len(accuracies) == best + 1 + 2 < 30
    kept = values(tmp_path)
    assert kept["epoch"] == best + 1
    for layer in result.model.layers:
        for i, variable in enumerate(layer.variables):
            np.testing.assert_array_equal(variable.numpy(), kept[f"model/{layer.name}/{i}_{variable.name}"])
    again = run(recipe, model_dir=tmp_path, data_dir=data_dir)
    assert len(again.history) == len(accuracies)


def test_a_run_that_diverges_goes_back_and_on_at_half_the_rate(data_dir, tmp_path, capfd):
    wild = dataclasses.replace(TINY, learning_rate=1e30, warmup_epochs=0)
    with pytest.raises(Diverged):
        run(wild, model_dir=tmp_path, data_dir=data_dir, on_divergence="rollback")
    told = capfd.readouterr().err
    assert [f"on at {share:g} of the rate" in told for share in (0.5, 0.25, 0.125, 0.0625)] == [True] * 3 + [False]
    kept = values(tmp_path, "step-00000000")
    assert kept["course/rollbacks"] == 3
    assert all(np.isfinite(array).all() for name, array in kept.items() if name.startswith("model/"))


@pytest.mark.slow
def test_auxiliary_classifiers_train_and_are_left_behind(data_dir, tmp_path):
    recipe = dataclasses.replace(
        TINY,
        model="googlenet",
        model_args="include_aux=True",
        image_size=64,
        epochs=1,
        batch_size=16,
        warmup_epochs=0,
        train_split="train[:32]",
        test_split="test[:16]",
        aux_weight="auto",
        augment="",
    )
    result = run(recipe, model_dir=tmp_path, data_dir=data_dir)
    kept = values(tmp_path)
    assert kept["loss/scales"].shape == (3,) and (kept["loss/scales"] < 1).all()  # a loss of ln 10 shall start at 1
    assert len(result.model.outputs) == 1
    np.testing.assert_array_equal(result.model.get_layer("logits").get_weights()[0], kept["model/logits/0_kernel"])


class Notes(keras.callbacks.Callback):
    """Notes what it is told, and ends the run after two epochs."""

    def __init__(self):
        super().__init__()
        self.told = []

    def on_train_begin(self, logs=None):
        self.told.append("begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.told.append(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.told.append(logs)
        self.weights = self.model.get_weights()
        self.model.stop_training = epoch == 1

    def on_train_end(self, logs=None):
        self.told.append("end")


def test_keras_callbacks_are_told_of_epochs_and_may_end_the_run(data_dir, tmp_path):
    notes, log = Notes(), keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    result = run(TINY, model_dir=tmp_path / "run", data_dir=data_dir, callbacks=[notes, log])
    begin, first, first_logs, second, second_logs, end = notes.told
    assert (begin, first, second, end) == ("begin", 0, 1, "end")
    assert len(result.history) == 2
    for logs, row in zip((first_logs, second_logs), result.history, strict=True):
        assert (logs["loss"], logs["val_accuracy"]) == (row["train_loss"], row["test_accuracy"])
    for told, trained in zip(notes.weights, result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(told, trained)
    header, *lines = (tmp_path / "log.csv").read_text().splitlines()
    assert header.split(",").count("epoch") == 1 and len(lines) == 2


@pytest.mark.slow
def test_a_callback_may_read_the_rate_but_not_set_it(data_dir, tmp_path):
    seen = []
    look = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(float(look.model.optimizer.learning_rate.numpy()))
    )
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch == 2 else rate)
    with pytest.raises(ValueError, match="a callback has set the learning rate"):
        run(TINY, model_dir=tmp_path, data_dir=data_dir, callbacks=[look, halve])
    assert seen == [pytest.approx(0.05), pytest.approx(0.025)]


def test_watching_changes_nothing_and_leaves_its_rows(finished, data_dir, tmp_path):
    folder, _ = finished
    run(TINY, model_dir=tmp_path, data_dir=data_dir, seed=5, watch_every=10)
    with open(tmp_path / "watch.csv", newline="") as file:
        seen = list(csv.DictReader(file))
    assert [row["step"] for row in seen] == ["1", "11", "21", "31", "41"]
    ratios = [float(value) for name, value in seen[1].items() if name.startswith("update_ratio/")]
    assert len(ratios) == 5 and all(1e-5 < ratio < 1 for ratio in ratios)
    for a, b in zip(weights(folder), weights(tmp_path), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert "Update" in (tmp_path / "report.html").read_text()


def test_python_users_are_told_of_a_wrong_argument(tmp_path):
    with pytest.raises(WrongInput, match="run has no stratgy"):
        run(TINY, model_dir=tmp_path, stratgy="mirrored")


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("optimizer", "adamm", "adam"),
        ("schedule", "cosin", "cosine"),
        ("loss", "softmx", "softmax"),
        ("clip", "global_norm(limit=-1)", "limit"),
        ("average", "ema(decay=2)", "decay"),
        ("class_weights", "1, 2", "class_weights"),
        ("aux_weight", "auto", "auxiliary"),
        ("teacher", "/nowhere", "teacher"),
        ("accumulate", 3, "3 parts"),
    ],
)
def test_a_wrong_field_is_named_before_anything_is_trained(field, value, message, data_dir, tmp_path):
    with pytest.raises(WrongInput, match=message):
        run(dataclasses.replace(TINY, **{field: value}), model_dir=tmp_path, data_dir=data_dir)
    assert not (tmp_path / "recipe.json").exists()


LONG = dataclasses.replace(TINY, epochs=40)


@pytest.mark.slow  # a kill while a checkpoint is written, and signals, come by default
@pytest.mark.parametrize("kills", [2, 20])
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_end(kills, data_dir, tmp_path):
    run(LONG, model_dir=tmp_path / "whole", data_dir=data_dir)
    chance = np.random.default_rng(kills)
    arguments = [f"--epochs={LONG.epochs}", f"--data_dir={data_dir}", f"--model_dir={tmp_path / 'killed'}"]
    died = 0
    while died < kills:
        process = start(*arguments)
        if not process.stdout.readline():  # it prints when it goes on, and after its first epoch
            break
        time.sleep(chance.uniform(0, 2 * 3 / kills))
        process.kill()
        process.communicate()
        died += process.returncode == -signal.SIGKILL
    assert died == kills
    process = start(*arguments)
    output, errors = process.communicate()
    assert process.returncode == 0 and "Resuming" in output, errors
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    whole, killed = (values(tmp_path / name, f"step-{LONG.epochs * 16:08d}") for name in ("whole", "killed"))
    for name, array in whole.items():
        np.testing.assert_array_equal(killed[name], array, err_msg=name)


def test_training_on_another_backend_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "recipes.digits_lenet5", f"--model_dir={tmp_path}"],
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": "jax"},
    )
    assert done.returncode == 2
    assert "training runs on TensorFlow, not jax" in done.stderr
