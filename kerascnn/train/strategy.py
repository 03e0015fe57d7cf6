"""Where a model is trained: the strategies of `tf.distribute` by name, and the precisions."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf


def make_strategy(name: str) -> tf.distribute.Strategy:
    """`one_device`: the first GPU, else the CPU. `mirrored`: all GPUs of this machine, else all logical CPUs.

    Raises:
      ValueError: another name.
    """
    devices = [d.name for d in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
    if name == "one_device":
        return tf.distribute.OneDeviceStrategy(devices[0])
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(devices)
    raise ValueError(f"no strategy {name!r}: there are one_device and mirrored.")


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Layers built in this context compute in `float32`, `mixed_bfloat16` or `mixed_float16`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
