"""What comes with a checkpoint: how it wants its images, and what its classes are called."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerascnn import registry
from kerascnn.classifier import Classifier
from kerascnn.layers import Preprocess
from kerascnn.weights import catalog, files, hub
from kerascnn.weights.catalog import Checkpoint

if TYPE_CHECKING:  # it needs TensorFlow, which a model on another backend does not
    from kerascnn.data import Preprocessing


def preprocessing(
    model_or_source: keras.Model | str | os.PathLike[str] | Checkpoint,
    *,
    model: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    test_size: bool = False,
) -> "Preprocessing":
    """Returns how the publisher of a checkpoint evaluated it, from an encoded image to the model's input.

    Args:
      model_or_source: a model made by `create_model(weights=...)`, for whose input and classes it then is; a source
        such as "timm:resnet50.a1_in1k"; the path of a run's folder, or of a folder or file of `save_timm`; or an entry
        of the catalogue.
      model: which model, where a source such as "keras:imagenet" has several.
      image_size: the side of a square, or (height, width); the crop fraction stays. Without it the model's own, or
        the one that the checkpoint was trained for.
      test_size: takes the larger size that it was also evaluated at, and the crop there, where one is published.

    A grey model sees the mean of the colours' means and deviations; for other numbers of channels colours are repeated.

    Raises:
      ValueError: nothing is known of the preprocessing, or the model takes another size.
      OSError: the checkpoint's config.json must be downloaded first, and cannot be.
    """
    from kerascnn.data import Preprocessing

    if kept := kept_by_run(model_or_source):
        if image_size is not None or test_size:
            raise ValueError(f"{kept} says the image size of its run: leave image_size and test_size out")
        return Preprocessing.load(kept)
    checkpoint = find_checkpoint(model_or_source, model)
    fields, squash = evaluation(checkpoint, _model(model_or_source), image_size, test_size)
    name = "squash" if squash else "center"
    crop = f"{name}(fraction={fields.pop('fraction')!r}, interpolation={fields.pop('interpolation')!r})"
    return Preprocessing(
        **fields,
        channels=len(fields["mean"]),
        class_names=_class_names(_model(model_or_source), checkpoint),
        computed_from=checkpoint.source,
        crop=crop,
    )


def preprocessing_layer(
    model_or_source: keras.Model | str | os.PathLike[str] | Checkpoint,
    *,
    model: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    test_size: bool = False,
) -> keras.layers.Layer:
    """Returns the same as a layer, for images of one size: uint8 or float [batch, height, width, channels], 0 to 255.

    It can stand in a model, on any backend; arguments and errors are those of `preprocessing`.
    """
    checkpoint = find_checkpoint(model_or_source, model)
    fields, squash = evaluation(checkpoint, _model(model_or_source), image_size, test_size)
    return Preprocess(**fields, squash=squash, name="preprocess")


def decode_predictions(
    logits: Any,
    top: int = 5,
    *,
    classes: keras.Model | Checkpoint | str | os.PathLike[str] | Sequence[str] = "imagenet1k",
    probabilities: bool = False,
) -> list[list[tuple[str, float]]]:
    """Names the most probable classes: for each row of `logits` its `top` (class name, probability), best first.

    Args:
      logits: [batch, classes], of any array type.
      top: how many.
      classes: a list of the catalogue, such as "imagenet1k"; a model or a source, for its own; or the names themselves.
      probabilities: whether a softmax has been applied to them already.

    Raises:
      ValueError: the shape is another, or `top` is not from 1 to the number of classes.
    """
    rows = np.asarray(keras.ops.convert_to_numpy(logits), np.float64)
    if rows.ndim != 2:
        raise ValueError(
            f"logits must be [batch, classes], not of shape {rows.shape}: give model.predict's for a batch"
        )
    names = _names(classes)
    if rows.shape[1] != len(names):
        raise ValueError(f"logits of {rows.shape[1]} classes do not fit the {len(names)} names: give classes=")
    if not 1 <= top <= len(names):
        raise ValueError(f"top={top}: a number from 1 to {len(names)}, the number of classes, is wanted")
    if not np.isfinite(rows).all():
        raise ValueError("logits hold what is no number (NaN or infinite)")
    if not probabilities:
        rows = np.exp(rows - rows.max(1, keepdims=True))
        rows /= rows.sum(1, keepdims=True)
    best = np.argsort(-rows, 1, kind="stable")[:, :top]
    return [[(names[i], float(row[i])) for i in chosen] for row, chosen in zip(rows, best, strict=True)]


def find_checkpoint(
    model_or_source: keras.Model | str | os.PathLike[str] | Checkpoint, model: str | None = None
) -> Checkpoint:
    """Returns the catalogue's entry of what `preprocessing` takes, or that of the config.json which comes with it.

    Raises:
      ValueError: there is none.
      OSError: a config.json cannot be read or downloaded.
    """
    if isinstance(model_or_source, Checkpoint):
        return model_or_source
    if isinstance(model_or_source, keras.Model):
        source, model = (getattr(model_or_source, name, None) for name in ("weights_source", "variant"))
        if source is None:
            raise ValueError(
                f"nothing is known of the images that {model_or_source.name} was trained on: give the source of its "
                'weights, such as "timm:resnet50.a1_in1k"; a run of ours keeps its own in preprocessing.json'
            )
    else:
        source = os.fspath(model_or_source)
    if source.startswith("hf:"):
        return catalog.from_config(source, hub.config(source))
    if source.startswith(("timm:", "keras:")):
        return catalog.find(source, model)
    return _beside(source)


def kept_by_run(model_or_source: object) -> str | None:
    """Returns the path of what a run of ours kept of its preprocessing beside its weights; None where there is none."""
    source = model_or_source.weights_source if isinstance(model_or_source, Classifier) else model_or_source
    if not isinstance(source, str | os.PathLike):
        return None
    path = os.fspath(source)
    if not os.path.exists(path):  # "timm:resnet50.a1_in1k" is no path
        return None
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    places = [folder, os.path.dirname(folder)] if path.endswith(".npz") else [folder]
    found = (os.path.join(place, "preprocessing.json") for place in places)
    return next(filter(os.path.isfile, found), None)


def _beside(path):
    """The checkpoint that the config.json of a local folder, or beside a local file, tells of."""
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    config = os.path.join(folder, "config.json")
    if not os.path.isfile(config):
        raise ValueError(
            f"nothing is known of the preprocessing of {path}: no config.json comes with it. Give a source such as "
            '"timm:resnet50.a1_in1k" in its place'
        )
    return catalog.from_config(path, files.read_json(config))


def evaluation(
    checkpoint: Checkpoint,
    model: keras.Model | None,
    image_size: int | tuple[int, int] | None = None,
    test_size: bool = False,
) -> tuple[dict[str, Any], bool]:
    """Returns the fields of a `Preprocess` layer for a checkpoint, but for its `squash`, and that.

    They fit the model, if one is given; the other arguments are those of `preprocessing`.
    """
    given = (image_size, image_size) if isinstance(image_size, int) else image_size and tuple(image_size)
    fixed: tuple[int, int] | None = None
    channels, name = 3, ""
    if model is not None:
        *sides, channels = model.input_shape[1:]
        fixed, name = None if None in sides else tuple(sides), model.name
    # A model of the published test size is evaluated as it was published.
    testing = test_size or (given is None and fixed == checkpoint.test_size != checkpoint.image_size)
    published = checkpoint.test_size if testing else checkpoint.image_size
    size = given or (published if test_size else fixed or published)
    if fixed not in (None, size):
        raise ValueError(
            f"{name} takes images of {fixed[0]}x{fixed[1]}, not {size[0]}x{size[1]}: make it with "
            f"input_shape=({size[0]}, {size[1]}, {channels})"
        )
    fields = {
        "image_size": size,
        "mean": _levels(checkpoint.mean, channels),
        "std": _levels(checkpoint.std, channels),
        "fraction": checkpoint.test_crop if testing else checkpoint.crop,
        "interpolation": checkpoint.interpolation,
    }
    return fields, checkpoint.crop_mode == "squash"


def _model(model_or_source):
    return model_or_source if isinstance(model_or_source, keras.Model) else None


def _levels(values, channels):
    """Of values from 0 to 1 for red, green and blue, the levels from 0 to 255 for so many channels."""
    if channels == 1:
        values = (sum(values) / len(values),)
    return tuple(255 * values[i % len(values)] for i in range(channels))


def _class_names(model, checkpoint):
    """The names of a checkpoint's classes, or of a model's where it has others; numbers where none are known."""
    count = checkpoint.num_classes
    if model is not None:
        count = registry.override(registry.lookup(model.variant), model.overrides).num_classes
    known = checkpoint.labels or (catalog.class_names(checkpoint.classes) if checkpoint.classes else ())
    return known if len(known) == count else tuple(str(i) for i in range(count))


def _names(classes):
    if isinstance(classes, keras.Model | Checkpoint | os.PathLike) or (isinstance(classes, str) and ":" in classes):
        return _class_names(_model(classes), find_checkpoint(classes))
    return catalog.class_names(classes) if isinstance(classes, str) else tuple(classes)
