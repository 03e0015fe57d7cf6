"""The bundle: `EXPORT_DIR/VERSION/`, a SavedModel from image files to labels that needs TensorFlow alone."""

import errno
import os
import shutil
import uuid
from pathlib import Path

import keras
import tensorflow as tf

from kerascnn.data import Preprocessing


def export(model: keras.Model, export_dir: str | os.PathLike, preprocessing: Preprocessing, *, top_k: int = 5) -> Path:
    """Writes a model as the next version of a bundle.

    The signature `serving_default` takes `image_bytes`, a string [batch] of PNG or JPEG files, and gives `classes`,
    strings, and `scores`, float32 probabilities, each [batch, top_k], best first. Decoding, resizing and normalising
    are inside, the same as in evaluation.

    Args:
      model: gives logits [batch, classes] for normalised images.
      export_dir: the folder of all versions; made when it is missing.
      preprocessing: of the run or checkpoint that the model came from.
      top_k: how many classes to give, at most all.

    Returns:
      The version's folder. It appears whole or not at all.

    Raises:
      ValueError: model and preprocessing are not of one run, `top_k` is below 1, or Keras runs on another backend.
      OSError: the folder cannot be written.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"a SavedModel is made with TensorFlow, not {keras.backend.backend()}: unset KERAS_BACKEND.")
    expected = (None, *preprocessing.image_size, preprocessing.channels)
    classes = len(preprocessing.class_names)
    if tuple(model.input_shape) != expected or tuple(model.output_shape) != (None, classes):
        raise ValueError(
            f"the model maps {model.input_shape} to {model.output_shape}, but the preprocessing is for "
            f"{expected} and {classes} classes: they are not of one run."
        )
    if top_k < 1:
        raise ValueError(f"top_k={top_k}: at least one class is given.")
    export_dir = Path(export_dir)
    temporary = export_dir / f"writing-{uuid.uuid4().hex[:8]}"  # no number: a server does not look at it
    try:
        temporary.mkdir(parents=True)
        bundle = _Bundle(model, preprocessing, min(top_k, classes))
        tf.saved_model.save(bundle, str(temporary), signatures={"serving_default": bundle.serve})
        return _publish(temporary, export_dir)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot write the bundle to {export_dir} ({reason}): give another --export_dir") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary, export_dir):
    while True:
        version = max([0, *(int(path.name) for path in export_dir.iterdir() if path.name.isdecimal())]) + 1
        try:
            return temporary.rename(export_dir / str(version))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another export has just taken the number
                raise


class _Bundle(tf.Module):
    def __init__(self, model, preprocessing, top_k):
        super().__init__()
        self.weights = [variable.value for variable in model.variables]  # what the SavedModel must carry
        class_names = tf.constant(preprocessing.class_names)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def serve(image_bytes):
            images = tf.map_fn(
                preprocessing.decode,
                image_bytes,
                fn_output_signature=tf.TensorSpec([*preprocessing.image_size, preprocessing.channels], tf.uint8),
            )
            logits = model(preprocessing.normalise(images), training=False)
            scores, indices = tf.math.top_k(tf.nn.softmax(tf.cast(logits, tf.float32)), top_k)
            return {"classes": tf.gather(class_names, indices), "scores": scores}

        self.serve = serve
