"""Where pretrained weights come from, and how they are laid onto a model.

    kerascnn.create_model("resnet50", weights="timm:resnet50.a1_in1k")

`weights.catalog` knows the published checkpoints; `preprocessing` and `decode_predictions` are what belongs to each.
"""

import dataclasses
import glob
import logging
import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerascnn import registry
from kerascnn.weights import applications, catalog, files, hub, keras_names, names, torch_names
from kerascnn.weights.forms import form as form
from kerascnn.weights.saving import save as save
from kerascnn.weights.saving import save_timm as save_timm
from kerascnn.weights.transforms import decode_predictions as decode_predictions
from kerascnn.weights.transforms import preprocessing as preprocessing
from kerascnn.weights.transforms import preprocessing_layer as preprocessing_layer

# Of a model's overrides, what leaves its function as it is once it is trained, or is for its user to say.
FREE = {
    "num_classes", "input_shape", "pooling", "dropout", "drop_path", "drop_block", "drop_connect", "rematerialize",
    "initializer", "zero_init_residual", "bn_momentum", "output_stride",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Opened:
    """A checkpoint that is at hand.

    Attributes:
      source: as it was asked for.
      naming: whose names its tensors have: "torchvision", "timm", "keras" or "kerascnn".
      tensors: by their names; they are read when they are used.
      form: the overrides that a model needs to carry them; None where that is not known.
      num_classes: of its classifier; None where it has none, or where only the model can tell.
    """

    source: str
    naming: str
    tensors: Mapping[Any, np.ndarray]
    form: Mapping[str, Any] | None = None
    num_classes: int | None = None

    def check(self, name: str, spec: registry.Spec) -> None:
        """Raises a ValueError where a spec of the model `name` asks for another norm or activation than the weights."""
        if self.form is None:
            return
        published = registry.override(registry.lookup(name), self.form)
        for field in ("norm", "activation"):
            mine, theirs = getattr(spec, field), getattr(published, field)
            if mine != theirs:
                raise ValueError(
                    f"{name}: {field}={mine!r} contradicts the weights {self.source}, "
                    f"which are for {field}={theirs!r}: leave out one of both"
                )

    def assign(self, model: keras.Model, **adapting: bool) -> list[str]:
        """Gives a model these weights, all or none; see kerascnn.weights.names.assign."""
        if self.naming == "keras":
            return keras_names.assign(model, self.tensors, self.source, **adapting)
        if self.naming == "kerascnn":
            return _assign_ours(model, self.tensors, self.source, **adapting)
        return torch_names.assign(model, self.tensors, self.naming, self.source, **adapting)


def open_weights(source: str | os.PathLike[str], name: str) -> Opened:
    """Finds weights for the model `name`, downloads them if need be, and reads what their names tell.

    Args:
      source: `timm:ARCHITECTURE.TAG`, `hf:OWNER/REPOSITORY` or `keras:imagenet`; the path of a `.safetensors`,
        `.weights.h5` or `.keras` file; or a folder: of a run, or with `model.safetensors` and timm's `config.json`.
      name: of the model.

    Raises:
      ValueError: no such checkpoint, one of another model, or a damaged file.
      OSError: a file that is missing, or cannot be downloaded.
    """
    text = os.fspath(source)
    variant = registry.lookup(name)
    if text.startswith("keras:"):
        checkpoint = catalog.find(text, name)
        published = applications.tensors(checkpoint, applications.download(checkpoint))
        return Opened(text, "keras", published, checkpoint.form, checkpoint.num_classes)
    if text.startswith("timm:"):
        return _published(catalog.find(text, name), name, lambda: hub.weights_file(text))
    if text.startswith("hf:"):
        return _published(catalog.from_config(text, hub.config(text)), name, lambda: hub.weights_file(text))
    config = os.path.join(text, "config.json")
    if os.path.isfile(config):
        checkpoint = catalog.from_config(text, files.read_json(config))
        return _published(checkpoint, name, lambda: os.path.join(text, "model.safetensors"))
    path = _of_run(text) if os.path.isdir(text) else text
    tensors, said = files.read(path)
    if said.get("variant", name) != name:
        raise ValueError(f"{path} holds the weights of {said['variant']}, not of {name}")
    if path.endswith(".safetensors") and not any("/" in key for key in tensors):
        return _of_torch(path, variant, tensors, said.get("architecture"))
    known = {key: value for key, value in said["overrides"].items() if key not in FREE} if "overrides" in said else None
    kernels = [tensors[key] for key in (f"{names.CLASSIFIER}/kernel", f"{names.CLASSIFIER}/0") if key in tensors]
    return Opened(path, "kerascnn", tensors, known, kernels[0].shape[-1] if kernels else None)


def load(model: keras.Model, source: str | os.PathLike[str]) -> list[str]:
    """Gives a model weights from any source that `open_weights` takes.

    Nothing is assigned unless the source and the model agree in every tensor: else a ValueError names what does not
    fit. Only tensors are read, never code. Returns the names of tensors that no model uses, such as counters.
    """
    return open_weights(source, model.variant).assign(model)


def _published(checkpoint, name, path):
    """A checkpoint of a library of PyTorch; `path` gives its file, which is asked for once it fits the model."""
    if checkpoint.model != name:
        raise ValueError(f"{checkpoint.source} holds the weights of {checkpoint.model}, not of {name}")
    tensors, _ = files.read(path())
    naming = torch_names.table(registry.lookup(name), checkpoint.naming)
    return Opened(checkpoint.source, naming, tensors, checkpoint.form, checkpoint.num_classes)


def _of_torch(path, variant, tensors, architecture):
    """A file with the names of torchvision or timm; `architecture` is timm's name of the net, if the file says it."""
    known = None
    if architecture is not None:
        model, known = catalog.our_model(architecture)
        if model != variant.name:
            raise ValueError(f"{path} holds the weights of {model}, not of {variant.name}")
    try:
        naming = torch_names.library_of(variant, tensors)
    except ValueError as error:
        if known is None:
            raise ValueError(f"{path} does not fit {variant.name}: {error}") from None
        return Opened(path, torch_names.table(variant, "timm"), tensors, known, 0)  # without a classifier
    known = form(naming, variant.name) if known is None else known
    return Opened(path, naming, tensors, known, torch_names.num_classes(variant, naming, tensors))


def _of_run(folder):
    """The model that a run ended with, or its newest checkpoint."""
    ended = os.path.join(folder, "model.keras")
    if os.path.isfile(ended):
        return ended
    found = glob.glob(os.path.join(folder, "checkpoints", "step-*.npz"))
    if not found:
        raise FileNotFoundError(
            f"no weights in the folder {folder}: a run's folder has model.keras or checkpoints, and another's "
            "model.safetensors and config.json"
        )
    return max(found, key=lambda path: (len(path), path))


def _assign_ours(model, tensors, source, **adapting):
    """Tensors by our own names; those that Keras wrote have numbers in place of the weights' names."""
    kinds_of = {names.CLASSIFIER: ["kernel", "bias"]}  # which a model of features lacks
    kinds_of |= {layer.name: [weight.name for weight in layer.weights] for layer in model.layers}

    def named(name):
        layer, _, weight = name.rpartition("/")
        kinds = kinds_of.get(layer, [])
        return f"{layer}/{kinds[int(weight)]}" if weight.isdigit() and int(weight) < len(kinds) else name

    return names.assign(
        model,
        {named(name): tensor for name, tensor in tensors.items()},
        [("(.*)", str)],
        source,
        key=lambda layer, weight: f"{layer}/{weight}",
        layout=lambda tensor, layer, weight: tensor,
        unused=lambda name: False,
        **adapting,
    )


def tell(model: keras.Model, opened: Opened, left_out: list[str]) -> None:
    """Says which tensors of a checkpoint the model has no use for; counters of PyTorch's norms are none."""
    named = [name for name in left_out if not name.endswith("num_batches_tracked")]
    if named:
        rest = f" and {len(named) - 6} more" if len(named) > 6 else ""
        told = f"of {opened.source} it does not use {', '.join(named[:6])}{rest}"
        logging.getLogger("kerascnn").warning("%s: %s", model.name, told)
