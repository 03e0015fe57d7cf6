"""Any augmentation layer of keras-cv as an operation: `keras_cv.GridMask(ratio_factor=0.5)`.

These layers draw from TensorFlow's global, stateful generators, so that an image would get other pixels in every run.
While such a layer is made and traced, the name `tf` in keras-cv's own modules stands for a TensorFlow whose `random` is
stateless. That is a reach into a library's insides; keras-cv is no longer developed, and the tests go through its ways
of drawing.
"""

import contextlib
import inspect
import sys
import threading
import types
from typing import Any

import tensorflow as tf

from kerascnn.data import draws
from kerascnn.data.operations import Operation
from kerascnn.registry import close_names

_NEEDS_MORE = {"CutMix", "FourierMix", "MixUp", "Mosaic", "RepeatedAugmentation"}  # labels, or other images
_LOCK = threading.RLock()


def layer(name: str, /, **arguments: Any) -> Operation:
    """The layer of this name in `keras_cv.layers`, on one image at a time, with values from 0 to 255.

    What it draws in a loop of its own (AugMix has one) is the same in each round.

    Raises:
      ValueError: there is no such layer, it does not take these arguments, or it needs labels or more than one image.
    """
    import keras_cv

    bases = (keras_cv.layers.BaseImageAugmentationLayer, keras_cv.layers.VectorizedBaseImageAugmentationLayer)
    found = {
        key: value
        for key, value in vars(keras_cv.layers).items()
        if inspect.isclass(value) and issubclass(value, bases) and value not in bases
    }
    if name in _NEEDS_MORE:
        raise ValueError(
            f"keras_cv.{name} needs labels or a batch, and here is one image; mix= joins images of a batch."
        )
    if name not in found:
        raise ValueError(
            f"keras_cv has no augmentation layer {name!r}: {close_names(name, sorted(set(found) - _NEEDS_MORE))}"
        )
    if "value_range" in inspect.signature(found[name]).parameters:
        arguments = {"value_range": (0, 255), **arguments}
    try:
        found[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"keras_cv.{name}: {error}") from error

    def apply(image, seed):
        with _stateless(seed):
            changed = found[name](**arguments)(tf.cast(image, tf.float32)[tf.newaxis], training=True)
        if isinstance(changed, tf.RaggedTensor) or changed.shape[1:] != image.shape:
            raise ValueError(f"keras_cv.{name} makes other sizes of {image.shape}: the size is for crop= to choose.")
        return tf.cast(tf.clip_by_value(tf.round(changed[0]), 0, 255), tf.uint8)

    return Operation(
        name=f"keras_cv.{name}",
        draws=2,
        draw=lambda u: (draws.seed(u),),
        apply=apply,
        say=lambda seed: f"keras_cv.{name}",
        batch=False,
        compiled=False,
    )


class _Random:
    """What keras-cv uses of `tf.random` and of its generators, each call with a seed of its own, made of one."""

    def __init__(self, seed):
        self._seed, self._calls = seed, 0

    def __getattr__(self, name):
        return getattr(tf.random, name)  # the stateless ones

    @property
    def Generator(self):
        return self

    def from_seed(self, seed):
        return self

    def get_global_generator(self):
        return self

    def uniform(self, shape, minval=0, maxval=None, dtype=tf.float32, seed=None, name=None):
        maxval = 1 if maxval is None and tf.as_dtype(dtype).is_floating else maxval
        return tf.random.stateless_uniform(shape, self._next(), minval, maxval, dtype)

    def normal(self, shape, mean=0.0, stddev=1.0, dtype=tf.float32, seed=None, name=None):
        return tf.random.stateless_normal(shape, self._next(), mean, stddev, dtype)

    random_normal = normal

    def gamma(self, shape, alpha, beta=None, dtype=tf.float32, seed=None, name=None):
        shape = tf.concat([shape, tf.shape(alpha)], 0)
        return tf.random.stateless_gamma(shape, self._next(), alpha, beta, dtype)

    def shuffle(self, value, seed=None, name=None):
        return tf.random.experimental.stateless_shuffle(value, self._next())

    def _next(self):
        self._calls += 1
        return tf.random.fold_in(self._seed, self._calls)


@contextlib.contextmanager
def _stateless(seed):
    fake = types.ModuleType("tensorflow")
    fake.__getattr__ = lambda name: getattr(tf, name)
    fake.random = _Random(seed)
    with _LOCK:
        names = [name for name in sys.modules if name.startswith("keras_cv.src.")]
        modules = [sys.modules[name] for name in names if getattr(sys.modules[name], "tf", None) is tf]
        for module in modules:
            module.tf = fake
        try:
            yield
        finally:
            for module in modules:
                module.tf = tf
