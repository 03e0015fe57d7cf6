"""Gradients that are too large, made smaller: by value, by norm, or by the size of the weights they change."""

from collections.abc import Callable

import keras
import tensorflow as tf

from kerascnn.data import calls


def make_clip(text: str, model: keras.Model) -> Callable[[list], list]:
    """A function from the gradients of `model.trainable_variables`, summed over replicas, to clipped ones.

    A norm is the root of the sum of squares. One above its limit is scaled down to it; the others stay as they are.

    value(limit=0.5)              each number, to within -limit and limit
    norm(limit=1.0)               each tensor by its own norm
    global_norm(limit=1.0)        all tensors by the norm of all together (arXiv:1211.5063)
    agc(limit=0.01, epsilon=1e-3) each unit's gradient by `limit` times the norm of its weights, and at least by
                                  `limit * epsilon`: adaptive gradient clipping (arXiv:2102.06171). A unit is what one
                                  output sees; a bias or a scale is one unit. The classifiers, `logits` and those of
                                  auxiliary heads, are left alone.

    Args:
      text: one of these, or an empty text for no clipping.

    Raises:
      ValueError: another name, a value out of range, or several of them.
    """
    clips = calls.evaluate(text, CLIPS, "clip")
    if len(clips) > 1:
        raise ValueError(f"clip={text!r}: give one.")
    if not clips:
        return list
    # Each weight's unit axes; the functions get them beside the gradients and the weights.
    axes = {id(v): _unit_axes(layer, v) for layer in model.layers for v in layer.trainable_variables}
    variables = model.trainable_variables
    return lambda gradients: clips[0](gradients, variables, [axes[id(variable)] for variable in variables])


def value(*, limit: float = 0.5) -> Callable:
    _check("value", limit=limit)
    return lambda gradients, *_: [tf.clip_by_value(gradient, -limit, limit) for gradient in gradients]


def norm(*, limit: float = 1.0) -> Callable:
    _check("norm", limit=limit)
    return lambda gradients, *_: [_limited(gradient, _norm(gradient), limit) for gradient in gradients]


def global_norm(*, limit: float = 1.0) -> Callable:
    _check("global_norm", limit=limit)

    def clip(gradients, *_):
        total = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients]))
        return [_limited(gradient, total, limit) for gradient in gradients]

    return clip


def agc(*, limit: float = 0.01, epsilon: float = 1e-3) -> Callable:
    _check("agc", limit=limit, epsilon=epsilon)

    def clip_one(gradient, variable, axes):
        if axes is None:
            return gradient
        weight = tf.convert_to_tensor(variable.value)
        return _limited(gradient, _norm(gradient, axes), limit * tf.maximum(_norm(weight, axes), epsilon))

    return lambda *lists: [clip_one(*one) for one in zip(*lists, strict=True)]


CLIPS = {"value": value, "norm": norm, "global_norm": global_norm, "agc": agc}


def _check(name, **values):
    for key, number in values.items():
        if number <= 0:
            raise ValueError(f"clip: {name}({key}={number}): above 0 is wanted.")


def _norm(tensor, axes=None):
    return tf.sqrt(tf.reduce_sum(tf.square(tensor), axes, keepdims=axes is not None))


def _limited(gradient, size, limit):
    return gradient * (limit / tf.maximum(size, limit))


def _unit_axes(layer, variable):
    """The axes of a weight that one unit's norm goes over; None where it is not to be clipped."""
    if layer.name == "logits" or layer.name.endswith("_logits"):
        return None
    rank = len(variable.shape)
    if rank < 2:
        return tuple(range(rank))
    # A depthwise kernel is (height, width, channels, multiplier): each of its outputs sees one channel.
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return tuple(range(rank - 2 if depthwise else rank - 1))
