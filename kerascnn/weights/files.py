"""Files of weights: their tensors by name, never code. None is read before its shape is known to fit.

A `.safetensors` file is mapped into memory, so that what it holds is copied once, into the model.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import safetensors

# Of a .safetensors file, those that weights can be made of; the integers are counters that no model of ours has.
DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "I64": np.int64,
    "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip

Tensors = Mapping[str, np.ndarray]


def read(path: str) -> tuple[Tensors, dict[str, Any]]:
    """Returns the tensors of a file by their names in it, and what it says of its model, if anything.

    Of `.weights.h5` and `.keras` files the names are "LAYER/NUMBER", since Keras keeps no others; of a checkpoint of a
    run and of our `.safetensors` "LAYER/WEIGHT"; of others' `.safetensors` theirs. A file that `save` or Keras wrote
    says "variant" and "overrides", one that `save_timm` wrote "architecture". A missing file is a FileNotFoundError, a
    damaged one, or one of another kind, a ValueError.
    """
    if not path.endswith((".safetensors", ".weights.h5", ".keras", ".npz")):
        raise ValueError(
            f"weights={path!r}: give the path of a .safetensors, .weights.h5 or .keras file, or of a run's folder, or "
            'a name such as "timm:resnet50.a1_in1k" or "keras:imagenet". Pickles, as .pth, .pt and .bin files are, are '
            "never loaded, because they can run code; where PyTorch is installed, `python -m tools.convert_torch "
            "FILE --out=FILE.safetensors` converts them"
        )
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no weights file {path}")
    if path.endswith(".safetensors"):
        return _safetensors(path)
    if path.endswith(".npz"):
        return _checkpoint(path), {}
    try:
        if path.endswith(".weights.h5"):
            return _keras(path), {}
        with zipfile.ZipFile(path) as archive:
            with archive.open("model.weights.h5") as file:
                tensors = _keras(file)
            config = json.loads(archive.read("config.json"))["config"]
            return tensors, {key: config[key] for key in ("variant", "overrides") if config.get(key)}
    except (OSError, KeyError, TypeError, AttributeError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged, or not a file that Keras wrote: {error}") from error


def read_json(path: str) -> dict[str, Any]:
    """Returns the object of a JSON file; a ValueError where it holds none."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    return found


def _safetensors(path):
    """Views of the mapped file, after the library that owns the format has checked its header."""
    try:
        with safetensors.safe_open(path, "numpy") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            said: dict[str, Any] = dict(file.metadata() or {})
        if "overrides" in said:
            said["overrides"] = dict(json.loads(said["overrides"]))
    except (safetensors.SafetensorError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged, or not a safetensors file: {error}") from error
    if unknown := sorted(name for name, kind in kinds.items() if kind not in DTYPES):
        raise ValueError(f"{path}: {unknown[0]} is of the type {kinds[unknown[0]]}, which no weight can be made of")
    content = np.memmap(path, np.uint8, "r")
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:start].tobytes())
    tensors = {}
    for name, kind in kinds.items():
        first, last = header[name]["data_offsets"]
        tensors[name] = content[start + first : start + last].view(DTYPES[kind]).reshape(header[name]["shape"])
    return tensors, said


def _keras(file):
    """The tensors of each layer that has any, in Keras's order."""
    tensors = {}
    with h5py.File(file) as h5:
        for group in h5["layers"].values():
            variables = group["vars"]
            if len(variables):
                layer = variables.attrs["name"]
                tensors |= {f"{layer}/{i}": np.asarray(variables[str(i)]) for i in range(len(variables))}
    return tensors


def _checkpoint(path):
    """The model's part of what kerascnn.train.checkpoints wrote: "model/LAYER/NUMBER_WEIGHT"."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            parts = {name: name.split("/") for name in archive.files if name.startswith("model/")}
            names = {name: f"{layer}/{last.partition('_')[2]}" for name, (_, layer, last) in parts.items()}
            # The states of random generators are no weights.
            return {told: archive[name] for name, told in names.items() if not told.endswith("/seed_generator_state")}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged, or not a checkpoint of a run: {error}") from error
