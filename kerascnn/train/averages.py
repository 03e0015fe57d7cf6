"""Averages of a model's weights over its training, kept in a second model of the same architecture."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

from kerascnn.data import calls


@dataclasses.dataclass(frozen=True)
class Ema:
    """An exponential average: after each step, average += (1 - d) * (value - average).

    Attributes:
      decay: d. With 0.9999 the average is over the last 10,000 steps or so.
      warmup: whether d is min(decay, (1 + n) / (10 + n)) at the n-th step, as in TensorFlow's
        ExponentialMovingAverage: so that it soon forgets the weights that training began with.
      bn_batches: on how many batches the batch-norm statistics are estimated anew before the average is used; with 0
        they are averaged as the weights are.
    """

    decay: float = 0.9999
    warmup: bool = True
    bn_batches: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"average: ema(decay={self.decay}): from 0 to below 1 is wanted.")
        _check_batches("ema", self.bn_batches)


@dataclasses.dataclass(frozen=True)
class Swa:
    """The plain mean of the weights at the ends of the last epochs (https://arxiv.org/abs/1803.05407).

    Attributes:
      start: the first end of an epoch that counts, as a share of all epochs.
      bn_batches: as of `Ema`. The paper estimates the statistics anew; with 0 they too are averaged.
    """

    start: float = 0.75
    bn_batches: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start <= 1:
            raise ValueError(f"average: swa(start={self.start}): from 0 to 1 is wanted.")
        _check_batches("swa", self.bn_batches)


KINDS: dict[str, Callable] = {"ema": Ema, "swa": Swa}


def parse(text: str) -> Ema | Swa | None:
    """What a recipe's `average` asks for: `ema(...)`, `swa(...)`, or None for an empty text.

    Raises:
      ValueError: an unknown name, a value that cannot be, or several averages.
    """
    found = calls.evaluate(text, KINDS, "average")
    if len(found) > 1:
        raise ValueError(f"average={text!r}: one average is wanted.")
    return found[0] if found else None


class Average:
    """The average of a model's weights and batch-norm statistics, which are the weights of its twin.

    The twin can be evaluated and exported as any model. What is not a float, the state of dropout, is not averaged.
    Made in the strategy's scope, when the model has its first weights: they are the average's, too.

    Args:
      spec: from `parse`.
      model: the one that is trained.
      twin: another of the same architecture.

    Attributes:
      spec, twin: as they were given.
      count: steps (of ema), or ends of epochs (of swa), that were averaged.
      epoch: the last one whose end was looked at; 0 before the first.

    Raises:
      ValueError: the twin has other weights.
    """

    def __init__(self, spec: Ema | Swa, model: keras.Model, twin: keras.Model):
        self.spec, self.twin = spec, twin
        values, averages = _floats(model), _floats(twin)
        if {name: v.shape for name, v in values.items()} != {name: v.shape for name, v in averages.items()}:
            raise ValueError(f"{twin.name} is no twin of {model.name}: it has other weights.")
        # TensorFlow's own variables: a replica that assigns to one changes its own copy. All do the same.
        self._pairs = [(values[name].value, average.value) for name, average in averages.items()]
        self._names = dict(averages)
        self.count = tf.Variable(0, dtype=tf.int64, trainable=False, name="count")
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False, name="epoch")
        for value, average in self._pairs:
            average.assign(value)

    @property
    def variables(self) -> dict[str, Any]:
        """What a checkpoint has to hold, by its names there."""
        return {
            **{f"average/{name}": variable for name, variable in self._names.items()},
            "average/count": self.count,
            "average/epoch": self.epoch,
        }

    def update(self) -> None:
        """Takes a step's weights into an exponential average. Called by each replica behind its update of the model."""
        if not isinstance(self.spec, Ema):
            return
        self.count.assign_add(1)
        for value, average in self._pairs:
            share = tf.constant(1 - self.spec.decay, average.dtype)
            if self.spec.warmup:
                share = tf.maximum(share, 9 / (10 + tf.cast(self.count, average.dtype)))
            average.assign_add(share * (value - average))

    def end_of_epoch(self, epochs_done: int, epochs: int) -> None:
        """Takes the weights at the end of an epoch into a plain mean. Called on the host, by every worker.

        Until the first epoch that counts, the average is the model as it is. An epoch counts once, however often this
        is called: a run that goes on from a checkpoint may come here again.
        """
        if not isinstance(self.spec, Swa) or epochs_done <= int(self.epoch.numpy()):
            return
        counts = epochs_done >= self.spec.start * epochs - 1e-9  # 0.55 * 100 is a little more than 55
        before = int(self.count.numpy()) if counts else 0
        for value, average in self._pairs:
            average.assign_add((value - average) / (before + 1)) if before else average.assign(value)
        self.count.assign(before + 1 if counts else 0)
        self.epoch.assign(epochs_done)


def make_reestimate(
    strategy: tf.distribute.Strategy, model: keras.Model, normalise: Callable
) -> Callable[[Iterator, int], None]:
    """Returns a function that gives a model the batch-norm statistics of its present weights.

    `reestimate(batches, count)` takes `count` global batches of (uint8 images, labels) from a distributed iterator and
    sets the mean and variance of each layer that has such to the plain mean of the batches', in training mode; layers
    that are frozen, and all other state of the model, stay. On several replicas the statistics are those of the global
    batch. Called on the host, by every worker; compiled once, however often it is called.

    Args:
      strategy: whose scope the model was made in.
      model: whose layers of batch norm are written; any that has a moving_mean, a moving_variance and their momentum.
      normalise: from uint8 images to the model's input.
    """
    layers = [layer for layer in model.layers if layer.trainable and hasattr(layer, "moving_mean")]
    written = {id(variable) for layer in layers for variable in (layer.moving_mean, layer.moving_variance)}
    others = [variable for variable in model.non_trainable_variables if id(variable) not in written]

    @tf.function(autograph=False)
    def take(images, done):
        """With the momentum done / (done + 1) a moving average is the plain mean of what it has seen."""
        with contextlib.ExitStack() as stack:
            for layer in layers:
                dtype = layer.moving_mean.dtype
                momentum = tf.cast(done, dtype) / tf.cast(done + 1, dtype)
                stack.enter_context(_set(layer, momentum=momentum))
                if strategy.num_replicas_in_sync > 1:
                    stack.enter_context(_set(layer, synchronized=True))
            strategy.run(lambda images: model(normalise(images), training=True), (images,))

    def reestimate(batches: Iterator, count: int) -> None:
        with unchanged(others):
            for done in range(count):
                images, *_ = next(batches)
                take(images, tf.constant(done))

    return reestimate


@contextlib.contextmanager
def unchanged(variables: Iterable[Any]) -> Iterator[None]:
    """Gives variables, at the end of this context, the values that they had at its beginning."""
    before = [(variable, variable.numpy()) for variable in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


@contextlib.contextmanager
def _set(owner, **values):
    """Attributes that something has in this context alone."""
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def _floats(model) -> dict[str, Any]:
    """A model's float variables, by names that are the same in every process."""
    return {
        f"{layer.name}/{i}_{variable.name}": variable
        for layer in model.layers
        for i, variable in enumerate(layer.variables)
        if tf.as_dtype(variable.dtype).is_floating
    }


def _check_batches(name, batches):
    if batches < 0:
        raise ValueError(f"average: {name}(bn_batches={batches}): from 0 on is wanted.")
