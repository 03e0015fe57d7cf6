"""What one replica does in a step: of training, of its parts, of evaluation."""

from collections.abc import Callable

import keras
import tensorflow as tf

from kerascnn.evaluate import metrics
from kerascnn.evaluate.tta import make_logits
from kerascnn.layers import DropConnectDense, FractionalMaxPooling2D
from kerascnn.train.probe import Probe
from kerascnn.train.state import State

# They draw once for a whole batch, so on all replicas the same. Others, as Dropout, draw for each image.
_ONE_DRAW = (DropConnectDense, FractionalMaxPooling2D)


def make_step(state: State, probe: Probe | None = None) -> tuple[Callable, Callable]:
    """(step, part): functions of a step's number, uint8 images and labels, that return `metrics.sums`.

    A batch in `accumulate` parts takes `part` for all but the last of them, and `step` for that: it adds the gradients
    up and changes the weights.

    Args:
      probe: adds its statistics to what `step` returns.
    """
    model, variables = state.model, state.model.trainable_variables
    outputs_of = probe.model if probe else model
    seeds = [
        layer.seed_generator.state.value
        for layer in model.layers
        if state.replicas > 1 and hasattr(layer, "seed_generator") and not isinstance(layer, _ONE_DRAW)
    ]

    def gradients_of(images, labels):
        # Seeds are the same on all replicas, and so would be what they drop: each adds its number while it computes.
        replica = [tf.distribute.get_replica_context().replica_id_in_sync_group, 0]
        for seed in seeds:
            seed.assign_add(tf.cast(replica, seed.dtype))
        with tf.GradientTape() as tape:
            found = keras.tree.flatten(outputs_of(state.inputs.preprocessing.normalise(images), training=True))
            outputs, activations = found[: len(model.outputs)], found[len(model.outputs) :]
            losses = state.objective(labels, outputs, images)
            # The mean over the global batch: replicas and parts add their shares up.
            loss = tf.reduce_sum(losses) / state.inputs.step_size
            loss *= tf.cast(state.update.loss_scale.scale, loss.dtype)
        for seed in seeds:
            seed.assign_sub(tf.cast(replica, seed.dtype))
        gradients = tape.gradient(loss, variables)
        if state.accumulated:
            gradients = [kept + gradient for kept, gradient in zip(state.accumulated, gradients, strict=True)]
        return gradients, metrics.sums(labels, outputs[0], losses), activations

    def keep(gradients):
        for kept, gradient in zip(state.accumulated, gradients, strict=True):
            kept.assign(gradient)

    def part(number, images, labels):
        gradients, sums, _ = gradients_of(images, labels)
        keep(gradients)
        return sums

    def step(number, images, labels):
        gradients, sums, activations = gradients_of(images, labels)
        keep([tf.zeros_like(gradient) for gradient in gradients[: len(state.accumulated)]])
        before = [tf.identity(variable) for variable in variables] if probe else []
        gradients = state.update(gradients, state.schedule(number) * state.rate_factor)
        if state.average:
            state.average.update()
        if not probe:
            return sums
        after = [tf.identity(variable) for variable in variables]
        statistics = probe.statistics(activations, gradients, before, after)
        return tf.concat([sums, tf.cast(statistics, sums.dtype)], 0)

    def compiled(function):
        return tf.function(function, jit_compile=True, autograph=False) if state.flags.xla else function

    return compiled(step), compiled(part)


def make_test_step(state: State, model: keras.Model) -> Callable:
    """A function of a step's number, uint8 images, labels and weights, that returns `metrics.sums` of a model."""
    logits_of = make_logits(model, state.inputs.preprocessing.normalise, state.views)

    def step(number, images, labels, weights):
        logits = logits_of(images)
        return metrics.sums(labels, logits, metrics.cross_entropy(labels, logits), weights)

    return tf.function(step, jit_compile=True, autograph=False) if state.flags.xla else step
