"""Tensors of torchvision and timm on our models: found by their names, and laid out as Keras has them."""

import math
from collections.abc import Collection, Mapping

import keras
import numpy as np

from kerascnn import registry
from kerascnn.weights import names
from kerascnn.weights.names import translate
from kerascnn.weights.torch_tables import TABLES, UNUSED

# What PyTorch calls a layer's weights; None where the module itself is the weight.
SUFFIX = {
    "kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
    "moving_variance": "running_var", "alpha": "weight", "scale": None, "gain": "gain",
}  # fmt: skip


def key(module: str, weight: str) -> str:
    """Returns PyTorch's name of the tensor that is our `weight` in its `module`."""
    return f"{module}.{SUFFIX[weight]}" if SUFFIX[weight] else module


def library_of(variant: registry.Variant, found: Collection[str]) -> str:
    """Returns whose naming the tensors of a checkpoint have: "torchvision" or "timm"; by how the last layer is called.

    A ValueError where it is neither, or where no names are known for the family.
    """
    tables = TABLES.get(variant.family, {})
    for library, rules in tables.items():
        if f"{translate(rules(variant.spec), 'logits')}.weight" in found:
            return library
    known = f"those of {' or '.join(tables)}" if tables else "not known for any library"
    raise ValueError(f"the tensors are not named as {variant.name}'s are; its names are {known}")


def table(variant: registry.Variant, library: str) -> str:
    """Returns the library whose table names the tensors of a variant in that library's checkpoints."""
    tables = TABLES.get(variant.family, {})
    if not tables:
        raise ValueError(f"no names are known for the weights of {variant.name} in any other library")
    return library if library in tables else next(iter(tables))


def num_classes(variant: registry.Variant, library: str, tensors: Mapping[str, np.ndarray]) -> int:
    """Returns how many classes a checkpoint of a variant tells apart: its classifier is among the tensors."""
    return tensors[f"{translate(TABLES[variant.family][library](variant.spec), 'logits')}.weight"].shape[0]


def assign(
    model: keras.Model,
    tensors: Mapping[str, np.ndarray],
    library: str | None = None,
    source: str = "the file",
    **adapting: bool,
) -> list[str]:
    """Gives a model the tensors of a PyTorch state dict; returns the names of those that were left out.

    Nothing is assigned unless every weight has its tensor and every tensor its weight: else a ValueError lists all that
    do not. `library` is whose naming it is, else the names tell; `source` is what errors call the tensors. `adapting`
    is `classifier` and `channels` of kerascnn.weights.names.assign.
    """
    variant = registry.lookup(model.variant)
    spec = registry.override(variant, model.overrides)
    try:
        library = library or library_of(variant, tensors)
    except ValueError as error:
        raise ValueError(f"{source} does not fit {model.name}: {error}") from None
    unused = UNUSED.get(variant.family, ())
    return names.assign(
        model,
        tensors,
        TABLES[variant.family][library](spec),
        source,
        key=key,
        layout=lambda tensor, layer, weight: to_keras(tensor, layer, weight, _flattened(model, layer)),
        unused=lambda name: name.startswith(unused) or name.endswith("num_batches_tracked"),
        **adapting,
    )


def to_keras(tensor: np.ndarray, layer: keras.Layer, weight: keras.Variable, flattened: tuple[int, ...] | None = None):
    """Returns a PyTorch tensor in the layout of a Keras weight, or in its own shape where that cannot be.

    `flattened` is the feature map (height, width, channels) that a fully connected layer sees in a row, which PyTorch
    flattens channels first. A fully connected layer may be a 1x1 convolution on the other side.
    """
    if weight.name == "gain":  # of a standardised kernel, [outputs, 1, 1, 1]
        return tensor.reshape(-1)
    if weight.name != "kernel":
        return tensor.squeeze() if weight.name == "scale" else tensor
    if tensor.ndim not in (2, 4):
        return tensor.squeeze()
    height, width, _ = flattened or (1, 1, None)
    if tensor.ndim == 2 and tensor.shape[1] % (height * width) == 0:
        tensor = tensor.reshape(tensor.shape[0], -1, height, width)
    if tensor.ndim == 4 and isinstance(layer, keras.layers.DepthwiseConv2D):
        tensor = tensor.transpose(2, 3, 0, 1)
        if tensor.size == math.prod(weight.shape):
            tensor = tensor.reshape(*tensor.shape[:2], *weight.shape[2:])
    elif tensor.ndim == 4:
        tensor = tensor.transpose(2, 3, 1, 0)
    return tensor.reshape(-1, tensor.shape[-1]) if isinstance(layer, keras.layers.Dense) else tensor


def _flattened(model, layer):
    """The feature map that a layer sees in a row: its "flatten" stands right ahead of the layer "dense1"."""
    flatten = layer.name.removesuffix("dense1") + "flatten"
    known = layer.name.endswith("dense1") and flatten in {other.name for other in model.layers}
    return tuple(model.get_layer(flatten).input.shape[1:]) if known else None
