"""Every family trains as one computation of XLA's, and in both half precisions. Two of them by default."""

import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerascnn import list_models, registry
from kerascnn.evaluate import metrics
from kerascnn.train import run
from kerascnn.train.inputs import Inputs
from kerascnn.train.loop import _train_batches
from kerascnn.train.recipe import RunFlags
from kerascnn.train.run_dir import RunDir
from kerascnn.train.state import State
from kerascnn.train.step import make_step
from kerascnn.train.steps import Steps
from kerascnn.train.strategy import make_strategy
from recipes.digits_lenet5 import RECIPE

# Those without a norm want smaller steps.
ADAM = {"optimizer": "adam", "learning_rate": 0.001}
# Of each family the smallest; of the deep ones with fewer blocks, and of the wide ones with fewer channels.
SMALL = {
    "lenet5": {},
    "alexnet_grouped": {
        "model_args": "stages=(((16, 11, 4, 2, 1),), ((32, 5, 1, 2, 2),), "
        "((64, 3, 1, 1, 1), (64, 3, 1, 1, 2), (32, 3, 1, 1, 2))), hidden=(64, 64), dropout=0.0",
        "image_size": 64,
        **ADAM,
    },
    "nin_cifar": {"model_args": "dropout=0.0", **ADAM, "learning_rate": 0.0003},
    "vgg11": {"model_args": "widths=(16, 32, 64, 64, 64), hidden=(64, 64), dropout=0.0", **ADAM},
    "googlenet": {"model_args": "include_aux=True", "image_size": 64, **ADAM},
    "inception_v3": {"model_args": "include_aux=True, padding='same'", "image_size": 64, **ADAM},
    "resnet10": {},
    "preact_resnet164_cifar": {"model_args": "depths=(2, 2, 2)"},
    "nf_resnet26": {"model_args": "depths=(1, 1, 1, 1)"},
    "legacy_seresnet18": {},
    "resnet20_cifar": {},
    "regnet_x_200mf": {},
    "densenet_bc100_cifar": {"model_args": "depths=(4, 4, 4)"},
    "dpn48b": {"model_args": "depths=(1, 1, 1, 1)"},
    "xception": {"model_args": "middle=1"},
    "squeezenet1_1": {"model_args": "dropout=0.0", "image_size": 32, **ADAM},
    "shufflenet_v2_x0_5": {},
    "mobilenet_v1_025": {},
    "mobilenet_v3_small_075": {},
    "mobilenet_v4_conv_small_035": {},
    "mnasnet_small": {},
    "ghostnet_050": {},
    "efficientnet_b0": {},
    "repvgg_a0": {"model_args": "depths=(1, 1, 1, 1), widths=(16, 16, 32, 64)"},
    "convnext_atto": {"model_args": "depths=(1, 1, 1, 1), layer_scale=0.1", **ADAM},
    "nasnet_mobile": {"model_args": "width=8, depths=(1, 1, 1)"},
    "airbench94": {"model_args": "widths=(8, 16, 16)", "image_size": 32, "learning_rate": 0.2},
}
HALF = {"mixed_bfloat16": tf.bfloat16, "mixed_float16": tf.float16}
# NumPy speaks of blocks.LOWEST, which is meant to become minus infinity there.
half_precision = pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")


def families(*quick):
    names = [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in SMALL]
    return pytest.mark.parametrize("name", names)


def recipe(name, **fields):
    small = {"batch_size": 8, "epochs": 4, "warmup_epochs": 1, "learning_rate": 0.01}
    return dataclasses.replace(RECIPE, model=name, **{**small, "test_split": "test[:100]", **SMALL[name], **fields})


@pytest.fixture
def made(data_dir, tmp_path):
    """A function that makes a run of a family, about to begin."""
    keras.backend.clear_session()

    def make(name, **flags):
        folder = RunDir(tmp_path / "run")
        wanted = recipe(name, train_split="train[:200]")
        inputs = Inputs(wanted, folder, data_dir=data_dir)
        return State(wanted, RunFlags(**flags), folder, inputs, make_strategy("one_device"))

    return make


def test_every_family_is_here():
    assert {registry.lookup(name).family for name in SMALL} == {registry.lookup(name).family for name in list_models()}


def hlo(state, step, batch):
    """All that a step does, as XLA was given it. An error of TensorFlow where something in it is not XLA's."""
    number = tf.constant(0, tf.int64)
    return state.strategy.run(lambda: step.experimental_get_compiler_ir(number, *batch)(stage="hlo"))


def not_static(text):
    """What of a computation has a size that its data decide, or leaves it while it runs."""
    found = re.findall(r"\b(custom-call|infeed|outfeed|send|recv|[sg]et-dimension-size|dynamic-reshape)\(", text)
    return set(found + re.findall(r"\w+\[[^]]*<=[^]]*\]", text))


@families("resnet20_cifar")
def test_the_whole_step_is_one_computation_of_fixed_shapes(name, made):
    state = made(name, xla=True)
    step, _ = make_step(state)
    batches = _train_batches(state)
    assert all(None not in spec.shape for spec in batches.element_spec)
    text = hlo(state, step, next(batches))
    assert "convolution(" in text and "f32[8,10]" in text
    assert not_static(text) == set()
    before = [variable.numpy() for variable in state.model.trainable_variables]
    traced = step.experimental_get_tracing_count()
    calls = list(Steps(state.strategy, step)(batches, 3, first=10))
    assert step.experimental_get_tracing_count() <= traced + 1  # for all three
    assert np.isfinite(np.concatenate([call.losses for call in calls])).all()
    after = [variable.numpy() for variable in state.model.trainable_variables]
    assert all(np.isfinite(values).all() for values in after)
    assert any((values != old).any() for values, old in zip(after, before, strict=True))


class Asking(keras.layers.Layer):
    """Calls a function on logits."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


def by_python(logits):
    return tf.ensure_shape(tf.py_function(lambda values: values, [logits], logits.dtype), logits.shape)


def printed(logits):
    tf.print(logits)
    return logits


def as_many_as_are_high(logits):
    return logits + tf.reduce_sum(tf.boolean_mask(logits, logits > 0))


@pytest.mark.parametrize(("function", "operation"), [(by_python, "EagerPyFunc"), (printed, "StringFormat")])
def test_what_the_host_would_do_is_refused(function, operation, made):
    state, ask = made("lenet5", xla=True), Asking(function)
    state.model = keras.Model(state.model.inputs, ask(state.model.output))
    step, _ = make_step(state)
    with pytest.raises(ValueError, match=f"unsupported operations .* {operation} "):
        hlo(state, step, next(_train_batches(state)))


def test_a_size_that_depends_on_data_is_found(made):
    state, ask = made("lenet5", xla=True), Asking(as_many_as_are_high)
    state.model = keras.Model(state.model.inputs, ask(state.model.output))
    step, _ = make_step(state)
    found = not_static(hlo(state, step, next(_train_batches(state))))
    assert "set-dimension-size" in found and any("<=80]" in what for what in found)


@families("resnet20_cifar")
@pytest.mark.parametrize("precision", HALF)
@half_precision
def test_what_is_kept_and_counted_is_float32(name, precision, made, monkeypatch):
    """Weights, statistics, logits, losses and metrics; convolutions and the tensors between them are not."""
    state, counted = made(name, precision=precision), []
    floats = {key: variable for key, variable in state.variables().items() if "seed" not in key}
    assert {tf.as_dtype(v.dtype) for v in floats.values() if tf.as_dtype(v.dtype).is_floating} == {tf.float32}
    assert {output.dtype for output in state.model.outputs} == {"float32"}

    def sums(labels, logits, losses):
        counted.append((logits.dtype, losses.dtype))
        return of_all(labels, logits, losses)

    of_all = metrics.sums
    monkeypatch.setattr(metrics, "sums", sums)
    step, _ = make_step(state)
    batch = next(_train_batches(state))
    graph = tf.function(lambda: state.strategy.run(step, (tf.constant(0, tf.int64), *batch))).get_concrete_function()
    assert counted == [(tf.float32, tf.float32)]
    assert {output.dtype for output in graph.outputs} == {tf.float32}
    operations = graph.graph.get_operations()
    half = [operation for operation in operations if HALF[precision] in [output.dtype for output in operation.outputs]]
    assert {operation.type for operation in half} >= {"Conv2D", "Conv2DBackpropFilter"}
    moments = [operation for operation in operations if "/moments/" in operation.name]
    assert len(moments) >= sum(isinstance(layer, keras.layers.BatchNormalization) for layer in state.model.layers)
    assert not [operation.name for operation in half if "/moments/" in operation.name]


@pytest.mark.slow  # test_loop.py trains in half precision by default
@pytest.mark.parametrize("precision", HALF)
@pytest.mark.parametrize("name", SMALL)
@half_precision
def test_five_hundred_steps_in_half_precision(name, precision, data_dir, tmp_path):
    keras.backend.clear_session()
    wanted = recipe(name, batch_size=4, train_split="train[:500]", test_split="test[:40]")
    result = run(wanted, model_dir=tmp_path, data_dir=data_dir, precision=precision)
    assert result.history[-1]["step"] == 500
    losses = [row["train_loss"] for row in result.history]
    assert np.isfinite(losses).all()  # a step's that is none makes its epoch's none
    assert losses[-1] < 0.95 * losses[0]
    assert all(np.isfinite(values).all() for values in result.model.get_weights())
