"""Averages of weights, and batch-norm statistics that are estimated anew, against NumPy; and on two replicas."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerascnn.train.averages import Average, Ema, Swa, make_reestimate, parse, unchanged

ROOT = pathlib.Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
DEVICE = tf.distribute.OneDeviceStrategy("CPU:0")


def make(momentum=0.9):
    """A small model with all kinds of state: kernels, batch norm one behind another, and dropout's."""
    return keras.Sequential(
        [
            keras.Input([6, 6, 2]),
            keras.layers.Conv2D(3, 3, name="conv"),
            keras.layers.BatchNormalization(momentum=momentum, name="norm1"),
            keras.layers.Dropout(0.25, name="drop"),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv2"),
            keras.layers.BatchNormalization(name="norm2"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(2, name="dense"),
        ]
    )


def values(model):
    """Of the float variables."""
    return [variable.numpy() for variable in model.variables if "float" in variable.dtype]


def shake(model, generator):
    """Gives every float variable new values, as a step of training does."""
    for variable in model.variables:
        if "float" in variable.dtype:
            variable.assign(generator.normal(size=variable.shape))


@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("decay", "warmup"), [(0.9999, True), (0.5, True), (0.9, False)])
def test_an_exponential_average(decay, warmup, dtype, compiled):
    generator = np.random.default_rng(0)
    keras.config.set_dtype_policy(dtype)
    try:
        with DEVICE.scope():
            model, twin = make(), make()
            average = Average(parse(f"ema(decay={decay}, warmup={warmup})"), model, twin)
    finally:
        keras.config.set_dtype_policy("float32")
    expected = [np.float64(value) for value in values(model)]
    step = tf.function(lambda: DEVICE.run(average.update), jit_compile=compiled)
    for n in range(1, 21):
        shake(model, generator)
        step()
        d = min(decay, (1 + n) / (10 + n)) if warmup else decay
        expected = [old + (1 - d) * (value - old) for old, value in zip(expected, values(model), strict=True)]
    assert len(expected) == 14 and average.count.numpy() == 20
    tolerance = 2e-6 if dtype == "float32" else 1e-14
    for value, found in zip(expected, values(twin), strict=True):
        np.testing.assert_allclose(found, value, rtol=tolerance, atol=tolerance)
    for variable in model.variables:  # not of the twin, whose dropout has a state of its own
        assert "float" in variable.dtype or variable.numpy()[1] == 0


@pytest.mark.parametrize(
    ("start", "epochs", "first"), [(0.75, 8, 6), (0.7, 10, 7), (0.0, 3, 1), (1.0, 5, 5), (0.5, 3, 2)]
)
def test_a_plain_mean_of_the_last_epochs(start, epochs, first):
    generator, (model, twin) = np.random.default_rng(0), (make(), make())
    average = Average(Swa(start), model, twin)
    ends = []
    for epoch in range(1, epochs + 1):
        average.update()  # between the ends of epochs nothing happens
        shake(model, generator)
        ends.append(values(model))
        average.end_of_epoch(epoch, epochs)
        average.end_of_epoch(epoch, epochs)  # as a run does that was stopped there, and goes on
        counted = ends[first - 1 :] or ends[-1:]  # until then, it is the model
        for found, *all_of_it in zip(values(twin), *counted, strict=True):
            np.testing.assert_allclose(found, np.mean(all_of_it, 0), rtol=1e-5, atol=1e-6)
        assert average.count.numpy() == max(0, epoch - first + 1) and average.epoch.numpy() == epoch


def test_an_average_begins_as_the_model_and_names_what_a_checkpoint_holds():
    model, twin = make(), make()
    shake(model, np.random.default_rng(0))
    average = Average(Ema(), model, twin)
    for value, found in zip(values(model), values(twin), strict=True):
        np.testing.assert_array_equal(value, found)
    names = list(average.variables)
    assert names[:3] == ["average/conv/0_kernel", "average/conv/1_bias", "average/norm1/0_gamma"]
    assert "average/norm1/2_moving_mean" in names and names[-2:] == ["average/count", "average/epoch"]
    assert not any("seed" in name for name in names) and len(names) == 16
    average.end_of_epoch(1, 1)  # is of swa
    assert average.epoch.numpy() == 0
    with pytest.raises(ValueError, match=r"is no twin of \w+: it has other weights"):
        Average(Ema(), model, keras.Sequential([keras.Input([2]), keras.layers.Dense(3)]))


def test_statistics_are_the_plain_means_over_the_batches():
    model = make()
    shake(model, np.random.default_rng(0))
    generator = np.random.default_rng(1)
    images = generator.integers(0, 255, [3, 8, 6, 6, 2], np.uint8)
    batches = [(tf.constant(batch), tf.zeros([8])) for batch in images]
    before = {variable.path: variable.numpy() for variable in model.variables}

    def normalise(images):
        return tf.cast(images, tf.float32) / 255

    # What batch norm sees in training mode, as NumPy computes it from the outputs of the layers ahead of it.
    ahead = [keras.Model(model.inputs, model.get_layer(name).output) for name in ("conv", "conv2")]
    expected = {name: [] for name in ("norm1", "norm2")}
    with unchanged(model.variables):
        for batch, _ in batches:
            seen = ahead[0](normalise(batch)).numpy().astype(np.float64)
            with unchanged(v for v in model.variables if "seed" in v.path):
                behind = ahead[1](normalise(batch), training=True).numpy().astype(np.float64)
            ahead[1](normalise(batch), training=True)  # the state of dropout goes on by one draw a batch
            for name, inputs in zip(expected, (seen, behind), strict=True):
                expected[name].append([inputs.mean((0, 1, 2)), inputs.var((0, 1, 2))])

    reestimate = make_reestimate(DEVICE, model, normalise)
    for _ in range(2):  # whatever was there before
        reestimate(iter(batches), 3)
        for name, found in expected.items():
            layer, (mean, variance) = model.get_layer(name), np.mean(found, 0)
            np.testing.assert_allclose(layer.moving_mean, mean, rtol=2e-5, atol=1e-5)
            np.testing.assert_allclose(layer.moving_variance, variance, rtol=2e-5, atol=1e-5)
    for variable in model.variables:
        if "moving" not in variable.path:
            np.testing.assert_array_equal(variable, before[variable.path])
    assert [model.get_layer(name).momentum for name in expected] == [0.9, 0.99]

    frozen = model.get_layer("norm1").moving_mean.numpy()
    model.get_layer("norm1").trainable = False
    make_reestimate(DEVICE, model, normalise)(iter(batches[:1]), 1)
    np.testing.assert_array_equal(model.get_layer("norm1").moving_mean, frozen)


REPLICAS = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
import keras
import numpy as np
from kerascnn.train.averages import Average, make_reestimate, parse

def make():
    layers = [keras.Input([2]), keras.layers.BatchNormalization(name="norm"), keras.layers.Dense(3, name="dense"),
              keras.layers.BatchNormalization(name="norm2")]
    return keras.Sequential(layers)

def train(strategy, replicas, spec):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model, twin = make(), make()
        average = Average(parse(spec), model, twin)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True

    def step(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(images, training=True) - 1)) / 12
        gradients = tape.gradient(loss, model.trainable_variables)
        gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        for variable, gradient in zip(model.trainable_variables, gradients):
            variable.value.assign_sub(0.01 * gradient)
        average.update()

    @tf.function
    def steps(iterator, count):
        for _ in tf.range(count):
            strategy.run(step, (next(iterator)[0],))

    images = np.random.default_rng(0).normal(3, 2, [72, 2]).astype(np.float32)
    dataset = tf.data.Dataset.from_tensor_slices((images, images)).batch(12 // replicas).repeat()
    batches = iter(strategy.distribute_datasets_from_function(lambda context: dataset))
    for epoch in (1, 2, 3):
        steps(batches, tf.constant(4))
        average.end_of_epoch(epoch, 3)
    averaged = [variable.numpy() for variable in twin.variables]
    make_reestimate(strategy, twin, lambda images: images)(batches, 5)
    for variable in (*(variable.value for variable in twin.variables), average.count, average.epoch):
        copies = strategy.experimental_local_results(variable)
        assert len(copies) == replicas and all(np.array_equal(copies[0], copy) for copy in copies), variable.name
    return averaged + [variable.numpy() for variable in twin.variables] + [average.count.numpy()]

replicas = int(sys.argv[1])  # a process can have but one such group of devices
mirrored = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
for spec, count in (("swa(start=0.5, bn_batches=5)", 2), ("ema(decay=0.9, bn_batches=5)", 12)):
    alone = train(tf.distribute.OneDeviceStrategy("CPU:0"), 1, spec)
    assert alone[-1] == count
    for one, other in zip(alone, train(mirrored, replicas, spec), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
print("all alike")
"""


@pytest.mark.slow  # test_exactness.py has an average on two workers by default
@pytest.mark.parametrize("replicas", [2, 3])
def test_replicas_average_as_one_device_does(replicas, tmp_path):
    script = tmp_path / "replicas.py"  # a file, since the loop over steps is compiled from its source
    script.write_text(REPLICAS)
    command = [sys.executable, script, str(replicas)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stdout == "all alike\n", done.stderr


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("", None),
        ("ema", Ema()),
        ("ema(decay=0.99, warmup=False, bn_batches=3)", Ema(0.99, False, 3)),
        ("swa(start=0, bn_batches=100)", Swa(0, 100)),
    ],
)
def test_averages_by_name(text, spec):
    assert parse(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("emma", "average: there is no 'emma': did you mean ema"),
        ("ema, swa", "average='ema, swa': one average is wanted"),
        ("ema(decay=1.0)", "ema\\(decay=1.0\\): from 0 to below 1"),
        ("swa(start=75)", "swa\\(start=75\\): from 0 to 1"),
        ("swa(bn_batches=-1)", "swa\\(bn_batches=-1\\): from 0 on"),
    ],
)
def test_what_cannot_be_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)
