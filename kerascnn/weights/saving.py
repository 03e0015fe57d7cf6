"""Weights as `.safetensors` files: by our own names, or as timm has them, with its config.json."""

import contextlib
import fnmatch
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from kerascnn import registry
from kerascnn.weights import catalog, names, torch_names, torch_tables, transforms

if TYPE_CHECKING:  # it needs TensorFlow, which a model on another backend does not
    from kerascnn.data import Preprocessing

# What a model may have of its own in timm too: these change no tensor's meaning, or only how it is trained.
FREE = {
    "num_classes", "input_shape", "dropout", "drop_path", "drop_block", "drop_connect", "conv_dropout", "rematerialize",
    "bn_momentum", "initializer", "zero_init_residual",
}  # fmt: skip

# Models, by their names or their families, that timm does not have.
ABSENT = ("*_cifar", "resnet10", "mobilenet_v1_*", "se_mobilenet_*", "mnasnet1_3")
ABSENT_FAMILIES = ("alexnet", "inception", "squeezenet", "shufflenet_v2")

# Families whose classifier is a 1x1 convolution in timm.
CONVOLUTIONAL_HEADS = ("preact_resnet", "dpn")

# Which other layers of ours are fully connected there, by the model. Every other kernel is that of a convolution.
LINEAR = (
    (r"convnext(v2)?_(tiny|small|base|x*large|huge)", r"stage\d+_block\d+_conv[23]"),
    (r"inception_next_\w+", "dense1"),
)


def save(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes the weights of any model to a `.safetensors` file, as "LAYER/WEIGHT", whole or not at all.

    Raises:
      ValueError: the path has another ending.
      OSError: the file cannot be written; what was there before still is.
    """
    target = Path(os.fspath(path))
    if target.suffix != ".safetensors":
        raise ValueError(f"{target}: the name of a .safetensors file is wanted; model.save writes .keras files")
    own = names.named_weights(model, [("(.*)", str)])
    tensors = {"/".join(name): keras.ops.convert_to_numpy(variable) for name, (_, variable) in own.items()}
    metadata = {"format": "kerascnn"}
    if variant := getattr(model, "variant", None):
        metadata |= {"variant": variant, "overrides": json.dumps(dict(model.overrides))}
    _write(target, {target: lambda file: safetensors.numpy.save_file(tensors, file, metadata)})


def save_timm(
    model: keras.Model, path: str | os.PathLike[str], *, preprocessing: "Preprocessing | None" = None
) -> None:
    """Writes the weights of a model as timm's net of the same architecture has them, so that timm loads them strictly.

    Args:
      model: one of `create_model`, in a form that timm has.
      path: a `.safetensors` file; or else a folder, made when it is missing, for model.safetensors and config.json,
        from which `timm.create_model("local-dir:PATH", pretrained=True)` makes the model. Our `weights=` takes both.
      preprocessing: of the run that the model came from, for config.json; without it, that of the checkpoint that the
        model was made with is written, if that is known.

    Everything is written or nothing. Weights are written in float32.

    Raises:
      ValueError: timm has no such net: the message says what differs.
      OSError: the file cannot be written; what was there before still is.
    """
    net, tensors = architecture(model), state_dict(model)
    target = Path(os.fspath(path))
    alone = target.suffix == ".safetensors"
    text = "" if alone else json.dumps(_config(model, net, tensors, preprocessing), indent=2) + "\n"

    def write_tensors(file: Path) -> None:
        safetensors.numpy.save_file(tensors, file, {"format": "pt", "architecture": net})

    def write_config(file: Path) -> None:
        file.write_text(text, "utf-8")

    folder = {target / "model.safetensors": write_tensors, target / "config.json": write_config}
    _write(target, {target: write_tensors} if alone else folder)


def architecture(model: keras.Model) -> str:
    """Returns timm's name of a model's architecture. A ValueError where timm has none that computes the same."""
    name = getattr(model, "variant", None)
    if name is None:
        raise ValueError(f"{model.name} is no model of create_model: timm's names are known for these alone")
    variant = registry.lookup(name)
    if _absent(variant):
        raise ValueError(f"timm has no {name}: save it with model.save_weights, or model.save")
    spec = registry.override(variant, model.overrides)
    told = []
    for candidate in _candidates(name):
        form = registry.override(variant, catalog.our_model(candidate)[1])
        changed = _changed(spec, form)
        if not changed:
            return candidate
        told.append(f"{candidate} has " + ", ".join(f"{field}={value!r}" for field, value in changed.items()))
    for other in map(registry.lookup, registry.list_models()):  # fields may make another variant of it
        if other.build is variant.build and other.name != name and not _absent(other):
            for candidate in _candidates(other.name):
                if not _changed(spec, registry.override(other, catalog.our_model(candidate)[1])):
                    return candidate
    raise ValueError(f"{name} in this form is not in timm: {'; '.join(told)}. Make it with these to save it for timm")


def _absent(variant: registry.Variant) -> bool:
    unnamed = variant.family not in torch_tables.TABLES or variant.family in ABSENT_FAMILIES
    return unnamed or any(fnmatch.fnmatchcase(variant.name, pattern) for pattern in ABSENT)


def _candidates(name: str) -> Iterator[str]:
    """Timm's architectures that may be a model of ours, the likeliest first."""
    variant = registry.lookup(name)
    for plain in variant.aliases or (name,):
        if "_minimal" not in name:  # there are TensorFlow's alone
            yield plain
        if variant.family in catalog.TF_FAMILIES and not plain.startswith("tf_"):
            yield f"tf_{plain}"
    yield from (net for net, (ours, fields) in catalog.ARCHITECTURES.items() if ours == name and fields)


def _changed(spec: registry.Spec, form: registry.Spec) -> dict[str, Any]:
    """The fields of `form` that `spec` does not have, apart from those that may differ."""
    free = FREE | ({"pooling"} if spec.num_classes == 0 else set())
    names_ = [field for field in form.__dataclass_fields__ if field not in free]
    return {name: getattr(form, name) for name in names_ if getattr(form, name) != getattr(spec, name)}


def state_dict(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns a model's weights by timm's names, in PyTorch's layouts, and a counter for each batch norm.

    The inverse of `torch_names.assign`. A ValueError where no names are known.
    """
    variant = registry.lookup(model.variant)
    spec = registry.override(variant, model.overrides)
    rules = torch_tables.TABLES[variant.family][torch_names.table(variant, "timm")](spec)
    try:
        weights = names.named_weights(model, rules)
    except LookupError as error:
        raise ValueError(f"{model.name} is not in a form that timm has names for: {error}") from None
    tensors: dict[str, np.ndarray] = {}
    for (module, weight), (layer, variable) in weights.items():
        linear = layer.name == "logits" and variant.family not in CONVOLUTIONAL_HEADS
        linear |= any(re.fullmatch(net, variant.name) and re.fullmatch(part, layer.name) for net, part in LINEAR)
        value = np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
        flattened = torch_names._flattened(model, layer)
        tensors[torch_names.key(module, weight)] = to_torch(value, layer, weight, flattened, linear=linear)
        if weight == "moving_mean":  # PyTorch counts batches, of which nothing hangs at a fixed momentum
            tensors[f"{module}.num_batches_tracked"] = np.zeros((), np.int64)
    return tensors


def to_torch(
    value: np.ndarray,
    layer: keras.Layer,
    weight: str,
    flattened: tuple[int, ...] | None = None,
    *,
    linear: bool = False,
) -> np.ndarray:
    """Returns a Keras weight in PyTorch's layout: the inverse of `torch_names.to_keras`.

    A fully connected layer becomes a convolution as large as the feature map that it sees, unless it is `linear`.
    """
    if weight == "gain":
        return value.reshape(-1, 1, 1, 1)
    if weight != "kernel":
        return value
    if isinstance(layer, keras.layers.Dense):
        if linear and flattened is None:
            return np.ascontiguousarray(value.T)
        height, width, _ = flattened or (1, 1, None)
        value = value.reshape(height, width, -1, value.shape[-1])
    elif value.ndim == 1:  # channel attention's: one filter over the row of channels
        return value.reshape(1, 1, -1)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        value = value.reshape(*value.shape[:2], 1, -1)
    value = np.ascontiguousarray(value.transpose(3, 2, 0, 1))
    return value.reshape(len(value), -1) if linear else value


def _config(model, net, tensors, preprocessing):
    """What config.json says, in timm's words."""
    variant = registry.lookup(model.variant)
    spec = registry.override(variant, model.overrides)
    height, width, channels = spec.input_shape
    published: dict[str, Any] = {"num_classes": spec.num_classes, "input_size": [channels, height, width]}
    if None in (height, width):
        published["input_size"] = [channels, *variant.spec.input_shape[:2]]
    published |= _images(model, preprocessing)
    kernels = [name.removesuffix(".weight") for name, tensor in tensors.items() if tensor.ndim > 1]
    # What timm needs to adapt the net to other images and classes. It adapts the kernel for colours alone.
    published |= {"first_conv": kernels[0]} if channels == 3 else {}
    published |= {"classifier": kernels[-1]} if spec.num_classes else {}
    arguments = {"model_args": {"in_chans": channels}} if channels != 3 else {}
    return {"architecture": net, "num_classes": spec.num_classes, **arguments, "pretrained_cfg": published}


def _images(model, preprocessing):
    """How images are prepared: as `preprocessing` says, else as the checkpoint of the model does, if it is known."""
    labels = ()
    if preprocessing is None:
        try:
            checkpoint = transforms.find_checkpoint(model)
            fields, squash = transforms.evaluation(checkpoint, model)
            labels = checkpoint.labels or ()
        except (ValueError, OSError):  # timm takes its own for what is not said
            return {}
    else:
        if preprocessing.mean_image is not None or preprocessing.whitening is not None:
            raise ValueError("timm has no mean image and no whitening: save a .safetensors file, without config.json")
        fields, squash = _parsed(preprocessing)
        labels = preprocessing.class_names
    height, width = fields["image_size"]
    told = {
        "input_size": [len(fields["mean"]), height, width],
        "interpolation": fields["interpolation"],
        "crop_pct": fields["fraction"],
        "crop_mode": "squash" if squash else "center",
        "mean": [value / 255 for value in fields["mean"]],
        "std": [value / 255 for value in fields["std"]],
    }
    numbers = all(label == str(i) for i, label in enumerate(labels))
    return told if numbers else told | {"label_names": list(labels)}


def _parsed(preprocessing):
    """The fields of `transforms.evaluation` that a Preprocessing has."""
    from kerascnn.data import calls

    def center(*, fraction: float = 0.875, interpolation: str = "bilinear", antialias: bool = True):
        return {"fraction": fraction, "interpolation": interpolation}, False

    def squash(*, fraction: float = 1.0, interpolation: str = "bilinear", antialias: bool = True):
        return {"fraction": fraction, "interpolation": interpolation}, True

    def resize():
        return {"fraction": 1.0, "interpolation": "bilinear"}, True

    crops = {function.__name__: function for function in (center, squash, resize)}
    ((fields, squashed),) = calls.evaluate(preprocessing.crop, crops, "crop")
    return fields | {name: getattr(preprocessing, name) for name in ("image_size", "mean", "std")}, squashed


def _write(target: Path, files: Mapping[Path, Callable[[Path], None]]) -> None:
    """Writes all files of a target, or none: under other names first. An OSError names the target."""
    temporaries = {file: file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.tmp") for file in files}
    try:
        if target not in files:
            target.mkdir(parents=True, exist_ok=True)
        for file, write in files.items():
            write(temporaries[file])
        for file, temporary in temporaries.items():
            os.replace(temporary, file)
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot write {target} ({reason}): give another path") from error
    finally:
        for temporary in temporaries.values():
            with contextlib.suppress(OSError):  # where its folder is none
                temporary.unlink(missing_ok=True)
