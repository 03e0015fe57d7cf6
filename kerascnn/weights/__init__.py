"""Where pretrained weights come from, and how they are laid onto a model."""

import contextlib
import os
import zipfile

import h5py
import keras
import numpy as np
import safetensors

from kerascnn import registry
from kerascnn.weights import torch_names
from kerascnn.weights.forms import form as form


def form_of(source: str | os.PathLike[str], name: str) -> dict:
    """Returns the overrides that the model `name` needs to carry the weights of a file: none for a file of our own."""
    path = os.fspath(source)
    if not path.endswith(".safetensors"):
        return {}
    with _opened(path) as file:
        names = set(file.keys())
    try:
        library = torch_names.library_of(registry.lookup(name), names)
    except ValueError as error:
        raise ValueError(f"{path} does not fit {name}: {error}") from None
    return form(library, name)


def load(model: keras.Model, source: str | os.PathLike[str]) -> None:
    """Loads weights into a model from a `.weights.h5` or `.keras` file that Keras wrote, or from `.safetensors`.

    Layers are found by name, in a `.safetensors` file by the names of torchvision or timm. Nothing is loaded unless the
    file and the model agree in every tensor: else a ValueError names what does not fit. Only tensors are read from the
    file, never code.
    """
    path = os.fspath(source)
    if path.endswith(".safetensors"):
        with _opened(path) as file:
            torch_names.assign(model, {name: file.get_tensor(name) for name in file.keys()}, source=path)  # noqa: SIM118
        return
    if not path.endswith((".weights.h5", ".keras")):
        raise ValueError(
            f"weights={path!r}: give the path of a .safetensors, .weights.h5 or .keras file. Pickles, as .pth and .pt "
            "files are, are never loaded, because they can run code"
        )
    stored = _read(path)
    values = []
    for layer in model.layers:
        tensors = stored.pop(layer.name, [])
        for i, weight in enumerate(layer.weights):
            where = f"{layer.name}/{weight.name}"
            if i >= len(tensors):
                raise ValueError(f"{path} does not fit {model.name}: it has no {where}")
            if tensors[i].shape != tuple(weight.shape):
                shapes = f"{tensors[i].shape} in the file, {tuple(weight.shape)} in the model"
                raise ValueError(f"{path} does not fit {model.name}: {where} is {shapes}")
            values.append((weight, tensors[i]))
        if len(tensors) > len(layer.weights):
            raise ValueError(f"{path} does not fit {model.name}: {layer.name} has more tensors in the file")
    if stored:
        raise ValueError(f"{path} does not fit {model.name}, which has no {next(iter(stored))}")
    for weight, value in values:
        weight.assign(value)


@contextlib.contextmanager
def _opened(path):
    """A .safetensors file, whose tensors are read one by one."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no weights file {path}")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            yield file
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged, or not a safetensors file: {error}") from error


def _read(path):
    """The tensors of each layer that has any."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no weights file {path}")
    try:
        if path.endswith(".keras"):
            with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
                return _tensors(file)
        return _tensors(path)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged, or not a file that Keras wrote: {error}") from error


def _tensors(file):
    layers = {}
    with h5py.File(file) as h5:
        for group in h5["layers"].values():
            variables = group["vars"]
            if len(variables):
                layers[variables.attrs["name"]] = [np.asarray(variables[str(i)]) for i in range(len(variables))]
    return layers
