"""The class of the zoo's models: a Keras functional model that knows its variant, and can train in less memory."""

import functools
import itertools
import math
import types
from collections.abc import Mapping
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="kerascnn")
class Classifier(keras.Model):
    """A functional model that remembers which variant it is, and in which fields it differs from it.

    Both are part of its config, so that a `.keras` file tells them too, as it does `weights_source`: where its first
    weights came from, if they were not random. With the override rematerialize=True training keeps few of the
    activations: the graph is cut into segments at tensors through which all that follows passes, and the backward pass
    computes the inside of a segment again (https://arxiv.org/abs/1604.06174). Its layers, weights, gradients and
    running averages are those of the plain model. That takes a compiled training step, as `fit` and `tf.function` have
    it. Keras's own RematScope cannot take batch norm, and layer by layer has little to save.
    """

    variant: str | None = None
    overrides: Mapping[str, Any] = types.MappingProxyType({})
    weights_source: str | None = None

    def remember(self, variant: str, overrides: Mapping[str, Any]) -> None:
        """Sets what the model is. A ValueError where rematerialize is asked of a model with several outputs."""
        if overrides.get("rematerialize") and len(self.outputs) > 1:
            raise ValueError(f"{variant}: rematerialize=True needs a model of one output")
        self.variant, self.overrides = variant, types.MappingProxyType(dict(overrides))

    def get_config(self):
        return {
            **super().get_config(),
            "variant": self.variant,
            "overrides": dict(self.overrides),
            "weights_source": self.weights_source,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        variant, overrides = config.pop("variant", None), config.pop("overrides", {})
        source = config.pop("weights_source", None)
        model = super().from_config(config, custom_objects)
        model.remember(variant, overrides)
        model.weights_source = source
        return model

    def call(self, inputs, training=None, mask=None):
        if not training or not self.overrides.get("rematerialize"):
            return super().call(inputs, training=training, mask=mask)
        inputs = keras.ops.convert_to_tensor(inputs)
        if hasattr(inputs, "numpy"):  # TensorFlow outside of a compiled step, where its recomputation goes wrong
            return super().call(inputs, training=training, mask=mask)
        for segment in self._segments:
            inputs = _rematerialized(segment, inputs)
        return inputs

    @functools.cached_property  # which Keras does not track, as it would track layers and models
    def _segments(self):
        ends = [self.inputs[0], *_cuts(self), self.outputs[0]]
        return [keras.Model(start, end) for start, end in itertools.pairwise(ends)]


def _cuts(model):
    """The tensors at which to cut: those that keep the fewest numbers, what one segment computes again among them."""
    found = _bottlenecks(model)
    total = sum(made for _, made in found)
    best = (math.inf, [])
    for parts in range(1, 41):
        cuts, kept, made, largest = [], 0, 0, 0
        for tensor, more in found[:-1]:
            made += more
            if made >= total / parts:
                cuts.append(tensor)
                kept, largest, made = kept + _size(tensor), max(largest, made), 0
        best = min(best, (kept + max(largest, made + found[-1][1]), cuts), key=lambda plan: plan[0])
    return best[1]


def _bottlenecks(model):
    """The tensors through which all that follows passes, and how many numbers were computed since the one before."""
    operations = [op for op in model.operations if not isinstance(op, keras.layers.InputLayer)]
    uses: dict[int, int] = {}
    for operation in operations:
        for tensor in keras.tree.flatten(operation.input):
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1
    live, made, found = set(), 0, []
    for operation in operations:
        for tensor in keras.tree.flatten(operation.input):
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                live.discard(id(tensor))
        live.add(id(operation.output))
        made += _size(operation.output)
        if len(live) == 1:
            found.append((operation.output, made))
            made = 0
    return found


def _size(tensor):
    return math.prod(side or 1 for side in tensor.shape)


def _rematerialized(segment, x):
    """A segment's training output, as a pure function that the backward pass may run again; its state changes once."""
    trained, state = segment.trainable_variables, segment.non_trainable_variables

    def pure(x, *values):
        y, after = segment.stateless_call(values[: len(trained)], values[len(trained) :], x, training=True)
        return (y, *after)

    y, *after = keras.remat(pure)(x, *[keras.ops.convert_to_tensor(variable) for variable in (*trained, *state)])
    for variable, value in zip(state, after, strict=True):
        variable.assign(value)
    return y
