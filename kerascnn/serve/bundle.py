"""The bundle: `EXPORT_DIR/VERSION/`, a SavedModel from image files to labels that needs TensorFlow alone.

With it stand the same model in other formats, how near each is to the Keras model, and what servers and people want to
know of it.
"""

import errno
import importlib.metadata
import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerascnn.data import Preprocessing, Source
from kerascnn.serve import card, parity, warmup
from kerascnn.serve.folding import fold
from kerascnn.serve.formats import FORMATS, default_agreement, plan
from kerascnn.serve.freezing import freeze
from kerascnn.serve.signatures import ON_BAD_IMAGE, signatures

# Parameters that have more than this stay variables, in files beside the graph. A file of protocol buffers cannot have
# 2 GB, but long before that writing and loading constants needs too much memory: 12 GB for the 244 MB of AlexNet.
MAX_FROZEN_BYTES = 200_000_000

# Of the reference's images, so many go through the SavedModel as files besides; all of them, as normalised images.
FROM_FILES = 64
BATCH = 32


def export(
    model: keras.Model,
    export_dir: str | os.PathLike,
    preprocessing: Preprocessing,
    *,
    top_k: int = 5,
    formats: Sequence[str] = ("savedmodel",),
    precision: str | Sequence[str] = (),
    on_bad_image: str = "error",
    source: Source | None = None,
    split: str = "test",
    calibration_split: str = "train",
    min_agreement: float | None = None,
    max_batch_size: int = 16,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a model as the next version of a bundle.

    The SavedModel is the folded model with its parameters as constants. Its signatures, `serving_default` for image
    files among them, are described in `kerascnn.serve.signatures`; decoding, cropping, resizing and normalising are
    inside, the same as in evaluation. Each file that is written is compared with the model.

    Args:
      model: a functional Keras model that gives logits [batch, classes] for normalised images. It is not changed.
      export_dir: the folder of all versions; made when it is missing.
      preprocessing: of the run or checkpoint that the model came from.
      top_k: how many classes to give, at most all.
      formats: names from `kerascnn.serve.formats.FORMATS`, `savedmodel` among them.
      precision: one or several; each format is written in those of them that it knows, in float32 if there is none.
      on_bad_image: `error` refuses a batch with a file that cannot be decoded and says its place; `flag` gives `valid`,
        false for such a file, and answers the others.
      source: the data to compare with, and to calibrate int8 on; None makes images up.
      split, calibration_split: its splits for these.
      min_agreement: the least share of images for which the best class must be the model's; None for what
        `kerascnn.serve.formats` says of each precision, 0 to write whatever comes.
      max_batch_size: of the warm-up requests and of TensorFlow Serving's configuration.
      facts: what else the model card is to tell, such as where the model comes from; see `kerascnn.serve.card`.

    Returns:
      The version's folder. It appears whole or not at all.

    Raises:
      ValueError: model and preprocessing are not of one run; an argument is out of range; a format cannot have this
        model; a file differs too much from the model; or Keras runs on another backend.
      OSError: the folder cannot be written.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"a SavedModel is made with TensorFlow, not {keras.backend.backend()}: unset KERAS_BACKEND.")
    _check_model(model, preprocessing)
    if top_k < 1:
        raise ValueError(f"top_k={top_k}: at least one class is given.")
    if max_batch_size < 1:
        raise ValueError(f"max_batch_size={max_batch_size}: at least one image is computed.")
    if on_bad_image not in ON_BAD_IMAGE:
        raise ValueError(f"on_bad_image={on_bad_image!r}: take {' or '.join(ON_BAD_IMAGE)}.")
    if min_agreement is not None and not 0 <= min_agreement <= 1:
        raise ValueError(f"min_agreement={min_agreement}: a share from 0 to 1 is wanted.")
    pairs = plan(formats, [precision] if isinstance(precision, str) else precision)
    quantised = ("litert", "int8") in pairs
    if quantised and source is None:
        raise ValueError("int8 is calibrated on images: name a data set with --data (in Python, source=).")
    export_dir = Path(export_dir)
    temporary = export_dir / f"writing-{uuid.uuid4().hex[:8]}"  # no number: a server does not look at it
    try:
        temporary.mkdir(parents=True)
        preprocessing.save(temporary / "preprocessing.json")
        reference = parity.collect(model, preprocessing, source, split)
        calibration = parity.calibration(preprocessing, source, calibration_split) if quantised and source else None
        specs: dict[str, tuple] = {}
        rows = {}
        for format, precision in pairs:
            file = FORMATS[format].path(precision)
            if format == "savedmodel":
                specs = _write_saved_model(model, temporary, preprocessing, precision, top_k, on_bad_image)
                found = _compare_saved_model(temporary, reference, preprocessing)
            else:
                found = _write_converted(model, temporary / file, format, precision, calibration, reference)
            least = default_agreement(precision, reference.made_up) if min_agreement is None else min_agreement
            known = {"format": format, "precision": precision, "bytes": _size(temporary, file)}
            rows[file] = {**known, **found, "min_agreement": least}
            _check_agreement(file, rows[file])
        report = {"reference": reference.name, "files": rows}
        _write_company(
            temporary,
            name=card.served_name(export_dir),
            model=model,
            preprocessing=preprocessing,
            specs=specs,
            report=report,
            on_bad_image=on_bad_image,
            max_batch_size=max_batch_size,
            facts=facts or {},
        )
        _reach_the_disk(temporary)
        return _publish(temporary, export_dir)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot write the bundle to {export_dir} ({reason}): give another --export_dir") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_model(model, preprocessing):
    expected = (None, *preprocessing.image_size, preprocessing.channels)
    classes = len(preprocessing.class_names)
    if tuple(model.input_shape) != expected or tuple(model.output_shape) != (None, classes):
        raise ValueError(
            f"the model maps {model.input_shape} to {model.output_shape}, but the preprocessing is for "
            f"{expected} and {classes} classes: they are not of one run."
        )


def _check_agreement(file, row):
    if row["top1_agreement"] < row["min_agreement"]:
        raise ValueError(
            f"{file} ({row['precision']}) keeps the best class of {row['top1_agreement']:.2%} of {row['images']} "
            f"images, and {row['min_agreement']:.2%} are wanted: take another precision, name other data to compare "
            "on, or say what will do with --min_agreement (in Python, min_agreement=)."
        )


def _publish(temporary, export_dir):
    while True:
        version = max([0, *(int(path.name) for path in export_dir.iterdir() if path.name.isdecimal())]) + 1
        try:
            published = temporary.rename(export_dir / str(version))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another export has just taken the number
                raise
        else:
            _sync(export_dir)
            return published


def _reach_the_disk(folder):
    """The name of a version must not outlive a power failure that its content does not."""
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- What is written


def _write_saved_model(model, folder, preprocessing, precision, top_k, on_bad_image):
    """Writes it, and returns for each signature (what it takes, what it gives), as specs."""
    folded = fold(_with_features(model), precision=precision)
    bundle = tf.Module()
    if sum(math.prod(variable.shape) * variable.value.dtype.size for variable in folded.variables) <= MAX_FROZEN_BYTES:
        network = freeze(folded)
    else:
        bundle.parameters = [variable.value for variable in folded.variables]
        network = freeze(folded, constants=False)

    def named(inputs):
        outputs = network(inputs)
        logits, *features = outputs if isinstance(outputs, list) else [outputs]
        return {"logits": logits} | ({"features": features[0]} if features else {})

    labels = folder / "assets" / "labels.txt"
    labels.parent.mkdir()
    names = [" ".join(name.splitlines()) for name in preprocessing.class_names]  # a line each, whatever is in them
    labels.write_text("".join(f"{name}\n" for name in names), encoding="utf-8", newline="")
    bundle.labels = tf.saved_model.Asset(str(labels))
    top_k = min(top_k, len(names))
    functions = signatures(named, preprocessing, top_k=top_k, on_bad_image=on_bad_image)
    traced = {name: function.get_concrete_function() for name, function in functions.items()}
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)  # there is nothing to train
    tf.saved_model.save(bundle, str(folder), signatures=traced, options=options)
    return {name: (*f.structured_input_signature[0], f.structured_outputs) for name, f in traced.items()}


def _with_features(model):
    """A model that gives logits and what its last fully connected layer reads, if that is one vector an image."""
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    dense = [layer for layer in model.layers if layer.name == "logits"] or dense
    try:
        features = dense[-1].input
        if isinstance(features, keras.KerasTensor) and len(features.shape) == 2:
            return keras.Model(model.inputs, [model.outputs[0], features])
    except (IndexError, AttributeError, ValueError):  # there is none, or it is of another model's graph
        pass
    return model


def _compare_saved_model(folder, reference, preprocessing):
    """What `parity.compare` says of the SavedModel as it lies there; and whether files take the way of evaluation."""
    loaded = tf.saved_model.load(str(folder))
    compute, serve = loaded.signatures["logits"], loaded.signatures["serving_default"]
    starts = range(0, len(reference.inputs), BATCH)
    parts = [compute(inputs=tf.constant(reference.inputs[i : i + BATCH]))["logits"].numpy() for i in starts]
    found = parity.compare(reference, logits := np.concatenate(parts))
    wrong, count = 0, min(FROM_FILES, len(logits))
    for start in range(0, count, BATCH):
        batch = slice(start, min(start + BATCH, count))
        answers = serve(image_bytes=tf.constant(reference.encoded[batch]))["classes"].numpy()[:, 0]
        for answer, row in zip(answers, logits[batch], strict=True):
            best = np.flatnonzero(row >= row.max() - 1e-3 * logits.std())  # a model may hardly tell classes apart
            wrong += answer.decode() not in {preprocessing.class_names[i] for i in best}
    if wrong:
        raise ValueError(f"{wrong} of {count} image files get another class than evaluation has for them.")
    return found


def _write_converted(model, path, format, precision, calibration, reference):
    """Writes another format, and returns what `parity.compare` says of it."""
    module = FORMATS[format].load()
    folded = fold(model)
    content = module.convert(folded, precision, calibration) if format == "litert" else module.convert(folded)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return parity.compare(reference, module.predict(content, reference.inputs))


def _size(folder, file):
    parts = [folder / file, *((folder / "variables").iterdir() if file == "saved_model.pb" else ())]
    return sum(path.stat().st_size for path in parts)


def _write_company(folder, *, name, model, preprocessing, specs, report, on_bad_image, max_batch_size, facts):
    """Writes what stands beside the models: figures, warm-up requests, configurations, the card."""
    texts = {"parity.json": json.dumps(report, indent=2) + "\n", **card.configurations(name, max_batch_size)}
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    requests = folder / warmup.FILE
    requests.parent.mkdir()
    # Made-up images: those of a data set are not ours to give away.
    images = parity.made_up(preprocessing, min(max_batch_size, parity.MADE_UP))
    inputs = {signature: takes for signature, (takes, _) in specs.items()}
    warmup.write(requests, inputs, images, name=name, batch_sizes=sorted({1, max_batch_size}))
    text = card.readme(
        name=name,
        title=f"{_architecture(model)} for {len(preprocessing.class_names):,} classes",
        facts=_facts(model, preprocessing, facts),
        class_names=preprocessing.class_names,
        image_size=preprocessing.image_size,
        parity=report,
        signatures=[_described(signature, *both) for signature, both in specs.items()],
        on_bad_image=on_bad_image,
        max_batch_size=max_batch_size,
        present=[path.name for path in folder.iterdir()],
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _architecture(model):
    return getattr(model, "variant", None) or model.name


def _facts(model, preprocessing, facts):
    height, width = preprocessing.image_size
    channels = f"{preprocessing.channels} channel{'s' * (preprocessing.channels > 1)}"
    return {
        "Model": _architecture(model),
        "Changed": ", ".join(f"{key}={value!r}" for key, value in getattr(model, "overrides", {}).items()),
        "Parameters": f"{model.count_params():,}",
        "Images": f"{width}x{height}, {channels}, crop {preprocessing.crop}",
        "Weights": getattr(model, "weights_source", None),
        **facts,
        "Exported with": f"kerascnn {_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}",
    }


def _described(name, spec, outputs):
    takes = f"`{spec.name}`, {_tensor(spec)}"
    return {"name": name, "takes": takes, "gives": ", ".join(f"`{key}`, {_tensor(o)}" for key, o in outputs.items())}


def _tensor(spec):
    return f"{spec.dtype.name} [{', '.join('any' if side is None else str(side) for side in spec.shape)}]"


def _version():
    try:
        return importlib.metadata.version("kerascnn")
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return "(not installed)"
