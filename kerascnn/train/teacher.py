"""The trained model that another one learns from (knowledge distillation)."""

import os
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from kerascnn.data import Preprocessing
from kerascnn.models import create_model, list_models, load_model
from kerascnn.registry import close_names
from kerascnn.train.strategy import dtype_policy
from kerascnn.weights import transforms


def load_teacher(text: str, *, classes: int, image_size: tuple[int, int], channels: int) -> Callable:
    """Returns a function from uint8 images [batch, height, width, channels] to the teacher's logits, float32.

    It normalises images as the teacher was trained, whatever its student sees, and has no gradient. Made in the scope
    of a strategy, its weights are on every replica.

    Args:
      text: the folder of a finished run; or NAME:WEIGHTS, a model and weights as `create_model` takes them, as in
        `resnet50:timm:resnet50.a1_in1k`.
      classes: of the student. The teacher's have to be as many, and in the same order.
      image_size: (height, width) of the student's images. A teacher that was trained on others is built for these.
      channels: of the student's images.

    Raises:
      ValueError: there is no such teacher, or it does not fit.
      OSError: its weights cannot be read or downloaded.
    """
    shape = (*image_size, channels)
    with dtype_policy("float32"):
        model, preprocessing = _of_run(text, shape) if os.path.isdir(text) else _published(text, shape)
    outputs = model.outputs[0].shape[-1]
    if outputs != classes:
        raise ValueError(f"teacher={text!r} knows {outputs} classes, and the data has {classes}.")
    if preprocessing.channels != channels:
        raise ValueError(f"teacher={text!r} sees {preprocessing.channels} channels, and the data has {channels}.")
    if preprocessing.image_size != shape[:2] and (
        preprocessing.mean_image is not None or preprocessing.whitening is not None
    ):
        raise ValueError(_size_message(text, preprocessing.image_size, shape))
    model.trainable = False

    def teacher(images):
        logits = model(preprocessing.normalise(images), training=False)
        return tf.stop_gradient(logits[0] if isinstance(logits, list) else logits)  # auxiliary heads teach nothing

    return teacher


def _of_run(text, shape) -> tuple[keras.Model, Preprocessing]:
    folder = Path(text)
    for name in ("model.keras", "preprocessing.json"):
        if not (folder / name).is_file():
            raise ValueError(f"teacher={text!r} holds no finished run (no {name}): give the model_dir of one.")
    model, preprocessing = load_model(folder / "model.keras"), Preprocessing.load(folder / "preprocessing.json")
    height, width, channels = model.input_shape[1:]
    if channels == shape[2] and (height not in (None, shape[0]) or width not in (None, shape[1])):
        model = _resized(model, text, shape)
    return model, preprocessing


def _resized(model, text, shape):
    """The same weights in a model for images of another size."""
    message = _size_message(text, model.input_shape[1:3], shape)
    try:
        resized = create_model(model.variant, **{**model.overrides, "input_shape": shape})
    except ValueError as error:  # the images are too small, say
        raise ValueError(f"{message} {error}") from error
    if [weight.shape for weight in resized.weights] != [weight.shape for weight in model.weights]:
        raise ValueError(message)
    resized.set_weights(model.get_weights())
    return resized


def _size_message(text, size, shape):
    return f"teacher={text!r} takes images of {size[0]}x{size[1]} alone, and the data's are {shape[0]}x{shape[1]}."


def _published(text, shape) -> tuple[keras.Model, Preprocessing]:
    name, _, source = text.partition(":")
    if not source:
        raise ValueError(
            f"teacher={text!r}: there is no such folder. A teacher is the model_dir of a finished run, or NAME:WEIGHTS "
            "as in resnet50:timm:resnet50.a1_in1k."
        )
    if name not in list_models():
        raise ValueError(f"teacher={text!r}: there is no model {name!r}: {close_names(name, list_models())}")
    try:
        model = create_model(name, weights=source, input_shape=shape)
        return model, transforms.preprocessing(model)
    except ValueError as error:
        raise ValueError(f"teacher={text!r}: {error}") from error
