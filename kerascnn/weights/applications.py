"""Files that keras.applications downloads: HDF5 as Keras wrote it before its version 3, laid onto our models.

Such a file lists its layers in an attribute and each layer lists its weights in another; nothing else of it is read,
and nothing of it is ever run or unpickled. Several were written by Keras 1 and early versions of 2, which named layers
and weights in other ways than today's classes. Keras does not mind, as it goes by their order; we go by name, so that
nothing is mistaken for something else, and by order only where the file is proven to be the published one.
"""

import collections
import contextlib
import hashlib
import itertools
import os
import re
import sys
from collections.abc import Iterator, Mapping

import h5py
import keras
import numpy as np

from kerascnn import registry
from kerascnn.weights import keras_names
from kerascnn.weights.catalog import Checkpoint

Tensors = Mapping[tuple[str, str], np.ndarray]

# What Keras 1 called a weight, as "LAYER_W_1:0" in the files of VGG and ResNet.
KEEPS = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}

# From a layer's name in published files to today's, by family: patterns of the whole name, and what takes its place.
# MobileNetV3's came from TensorFlow, as expanded_conv_1/squeeze_excite/Conv and Conv_1/BatchNorm.
# fmt: off
TODAY: dict[str, list[tuple[str, str]]] = {
    "resnet":        [(r"probs|fc1000", "predictions")],
    "preact_resnet": [(r"probs|fc1000", "predictions")],
    "densenet":      [(r"(\w+)/(\w+)", r"\1_\2"), (r"probs|fc1000", "predictions")],
    "mobilenet":     [(r"mobl0_conv_0_(\w+)", r"expanded_conv_\1"), (r"mobl(\d+)_conv_\1_(\w+)", r"block_\1_\2"),
                      (r"bn0_conv_0_bn_(\w+)", r"expanded_conv_\1_BN"),
                      (r"bn(\d+)_conv_\1_bn_(\w+)", r"block_\1_\2_BN"), (r"Logits", "predictions")],
    "efficientnet":  [(r"probs", "predictions")],
}
# fmt: on

# The names of layers in today's classes, by family: where a file has others, its order is asked.
# fmt: off
NAMES: dict[str, str] = {
    "vgg":           r"block\d_conv\d|fc\d|predictions",
    "resnet":        r"conv1_(conv|bn)|conv\d_block\d+_\d_(conv|bn)|predictions",
    "preact_resnet": r"conv1_conv|conv\d_block\d+_((preact|\d)_bn|\d_conv)|post_bn|predictions",
    "inception_v3":  r"block\d+_\d+_conv|conv_7b(_bn)?|predictions",  # the others have numbers, which tell little
    "densenet":      r"conv1_(conv|bn)|conv\d_block\d+_\d_(conv|bn)|pool\d_(conv|bn)|bn|predictions",
    "xception":      r"block\d+_(sep)?conv\d(_bn)?|predictions",
    "nasnet":        r"stem_(conv|bn)1|(separable_conv_\d(_bn)?|(normal|reduction)_(conv|bn)_1)_\w+|"
                     r"adjust_(conv_(1|2|projection)|bn)_\w+|predictions",
    "mobilenet":     r"conv1(_bn)?|conv_(dw|pw)_\d+(_bn)?|conv_preds|"
                     r"(bn_)?Conv1|Conv_1(_bn)?|(block_\d+|expanded_conv)_(expand|depthwise|project)(_BN)?|predictions",
    "mobilenet_v3":  r"conv(_1)?(_bn)?|conv_2|logits|"
                     r"expanded_conv(_\d+)?_((expand|depthwise|project)(_bn)?|squeeze_excite_conv(_1)?)",
    "efficientnet":  r"normalization(_\d+)?|(stem|top)_(conv|bn)|predictions|"
                     r"block\d[a-z]_((expand|project)_(conv|bn)|dwconv2?|bn|se_(reduce|expand))",
    "convnext":      r"convnext_[a-z]+_(prestem_normalization|stem|downsampling_block_\d|head_(layernorm|dense)|"
                     r"stage_\d_block_\d+_(depthwise_conv|layernorm|pointwise_conv_\d|layer_scale))",
}
# fmt: on

# What HDF5 and NumPy raise where a file is not what it should be.
DAMAGE = (OSError, LookupError, TypeError, ValueError, RuntimeError, AttributeError)


def download(checkpoint: Checkpoint) -> str:
    """Returns the path of a checkpoint's file in Keras's own cache, $KERAS_HOME or ~/.keras, fetched if need be.

    An OSError says that it could not be fetched, a ValueError that what came is not what was published; neither leaves
    a file behind.
    """
    if not checkpoint.url:
        raise ValueError(f"{checkpoint.source} of {checkpoint.model} is no file of keras.applications: it has no URL")
    name = checkpoint.url.rpartition("/")[2]
    with contextlib.redirect_stdout(sys.stderr):  # where progress belongs
        try:
            return keras.utils.get_file(name, checkpoint.url, cache_subdir="models", file_hash=checkpoint.md5)
        except ValueError as error:  # the hash differs; without one, get_file finds the file where it put it
            os.remove(keras.utils.get_file(name, checkpoint.url, cache_subdir="models"))
            raise ValueError(
                f"{checkpoint.url} is damaged, or not the file that Keras published: its hash is not {checkpoint.md5}. "
                "It was removed; try again, and if that does not help, ask who answers for that address here"
            ) from error
        except Exception as error:  # get_file knows no other type
            raise OSError(
                f"{checkpoint.url} could not be downloaded: {error}. Connect to the network, or get {name} on another "
                "machine and put it into the folder models of ~/.keras, or of $KERAS_HOME where that is set"
            ) from error


def read(path: str) -> dict[tuple[str, str], np.ndarray]:
    """Returns the weights of a file by (layer, kind), as kerascnn.weights.keras_names.assign takes them, in its order.

    Layers have the names that the file gives them, kinds those of today: kernel, bias, gamma, ... The layers are at the
    root, as in published files, or in model_weights, as `model.save("x.h5")` writes them. A missing file is a
    FileNotFoundError, a damaged one, one of another kind or one that points out of itself a ValueError.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no weights file {path}")
    tensors = {}
    try:
        with h5py.File(path, "r") as file:
            root = file if any(name.startswith("layer_names") for name in file.attrs) else _group(file, "model_weights")
            for layer in _listed(root, "layer_names"):
                group = _group(root, layer)
                for name in _listed(group, "weight_names"):
                    key = layer, _kind(layer, name)
                    if key in tensors:
                        raise ValueError(f"{layer} has two weights that are its {key[1]}")
                    tensors[key] = _array(group, name)
    except DAMAGE as error:
        raise ValueError(
            f'{path} is damaged, or not a file of weights as keras.applications and model.save("x.h5") have: '
            f"{_said(error)}. If it was downloaded, delete it and download it anew"
        ) from error
    return tensors


def _said(error):
    """What an exception says; a KeyError puts quotes around it."""
    return error.args[0] if isinstance(error, KeyError) and error.args else error


def _listed(group, attribute):
    """The names in an attribute; where they are too many for one, in attribute0, attribute1, and so on."""
    parts = itertools.takewhile(group.attrs.__contains__, (f"{attribute}{i}" for i in itertools.count()))
    values = [group.attrs[part] for part in ([attribute] if attribute in group.attrs else parts)]
    if not values:
        raise ValueError(f"{group.name} has no attribute {attribute}")
    names = [name for value in values if not isinstance(value, h5py.Empty) for name in np.ravel(value)]
    names = [name.decode() if isinstance(name, bytes) else name for name in names]
    if strange := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"{attribute} holds {strange[0]!r}, which is no name")
    return names


def _kind(layer, name):
    """The kind of a weight by its name in the file: conv1/kernel:0, and of Keras 1 conv1_W_1:0."""
    last = name.rpartition("/")[2].removesuffix(":0")
    if last.startswith(f"{layer}_"):
        last = re.sub(r"_\d+$", "", last.removeprefix(f"{layer}_"))
    return KEEPS.get(last, last)


def _member(group, name):
    """What lies under a name; no link is followed, neither within the file nor out of it."""
    for part in name.split("/"):
        if not isinstance(group, h5py.Group) or not part or part == "." or part not in group:
            raise ValueError(f"it has no {name}")
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link to elsewhere, which is never followed")
        group = group[part]
    return group


def _group(group, name):
    if not isinstance(member := _member(group, name), h5py.Group):
        raise ValueError(f"{name} is no group")
    return member


def _array(group, name):
    """A weight, in memory; refused before it is read where it is not plain numbers that the file really holds."""
    dataset = _member(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name} is no array")
    if dataset.dtype.kind not in "fiu":
        raise ValueError(f"{name} is of the type {dataset.dtype}, which no weight can be made of")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"the numbers of {name} are in another file, which is never followed")
    if dataset.nbytes > 2**20 and dataset.nbytes > 1000 * dataset.id.get_storage_size():
        raise ValueError(f"{name} claims {dataset.nbytes} bytes, more than the file can hold")
    return np.asarray(dataset, dtype=dataset.dtype.newbyteorder("="))


def tensors(checkpoint: Checkpoint, path: str) -> Tensors:
    """Returns the weights of a published file for keras_names.assign, by the names of today and for RGB images.

    By name; where names are unknown by order, as Keras does, but only in a file that has the checkpoint's MD5. A
    ValueError where neither tells what is what, or another preprocessing is inside than the checkpoint states.
    """
    family = registry.facts()[checkpoint.model]["family"]
    found = _renamed(read(path), family)
    known = all(re.fullmatch(NAMES[family], layer) for layer, _ in found)
    if not known and checkpoint.md5 and checkpoint.md5 == _hash(path, checkpoint.md5):
        found = _in_order(checkpoint, path)
    _check(checkpoint, found, path)
    if not checkpoint.bgr:
        return found
    try:
        return rgb(found, next((layer for layer, kind in found if kind == "kernel"), "the first layer"))
    except ValueError as error:
        raise ValueError(f"{path} does not fit {checkpoint.model}: {error}") from None


def rgb(tensors: Tensors, first_layer: str) -> Tensors:
    """Returns weights that take BGR images as weights that take RGB images: with the first kernel's inputs reversed.

    That is exact: a convolution sums over its input channels, each with a part of the kernel of its own, so that
    channels and parts may change places together. The sum has the same terms, but for the order of adding.
    """
    key = first_layer, "kernel"
    if key not in tensors or tensors[key].ndim != 4 or tensors[key].shape[2] != 3:
        raise ValueError(f"{first_layer} is no convolution of an image of three channels")
    return dict(tensors) | {key: tensors[key][:, :, ::-1]}


def _renamed(tensors, family):
    """The weights by today's names of their layers."""

    def today(name):
        if family == "mobilenet_v3":
            return name.replace("/", "_").replace("BatchNorm", "bn").lower()
        for pattern, name_today in TODAY.get(family, ()):
            if match := re.fullmatch(pattern, name):
                return match.expand(name_today)
        return name

    renamed = {(today(layer), kind): tensor for (layer, kind), tensor in tensors.items()}
    return renamed if len(renamed) == len(tensors) else tensors  # two names became one: assign will say what is wrong


def _check(checkpoint, tensors, path):
    """Whether the preprocessing in a file, if there is any, is the one that ours does ahead of the net."""
    stated = {"mean": checkpoint.mean, "variance": checkpoint.std}
    for (layer, kind), tensor in tensors.items():
        # In EfficientNets' files the variance is the standard deviation: Keras divides by its root twice.
        if layer.startswith(keras_names.UNUSED) and kind in stated and not _close(tensor, stated[kind]):
            raise ValueError(
                f"{path}: its {layer} has the {kind} {np.ravel(tensor).tolist()}, but {checkpoint.source} of "
                f"{checkpoint.model} is normalised by {list(stated[kind])}. It is another file than the published one"
            )


def _close(tensor, numbers):
    return tensor.size == len(numbers) and np.allclose(np.ravel(tensor), numbers, rtol=0, atol=1e-4)


def _in_order(checkpoint, path):
    """The weights of a file by the names that the layers have in today's class, whose order is the file's."""
    layers = collections.defaultdict(dict)
    for (layer, kind), tensor in read(path).items():
        layers[layer][keras_names.kind_today(kind)] = tensor
    order = dict(_order(checkpoint.model))
    if [list(kinds) for kinds in layers.values()] != list(order.values()):
        raise ValueError(
            f"{path} does not fit {checkpoint.model}: neither the names of its {len(layers)} layers with weights nor "
            f"their order is that of keras.applications, which has {len(order)}"
        )
    named = zip(order, layers.values(), strict=True)
    return {(layer, kind): tensor for layer, kinds in named for kind, tensor in kinds.items()}


def _order(model: str) -> Iterator[tuple[str, list[str]]]:
    """The layers of a class of keras.applications with the kinds of their weights, in the order of its files."""
    name = next(name for name, ours in keras_names.OURS.items() if model.startswith(ours))
    fields = {"minimalistic": True} if model.endswith("_minimal") else {}  # a width changes no name
    for layer in getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3), classes=1, **fields).layers:
        if weights := (*layer.trainable_weights, *layer.non_trainable_weights):
            yield layer.name, [keras_names.kind_today(weight.name) for weight in weights]


def _hash(path, like):
    """The MD5 of a file, or its SHA-256 where the known hash is as long as that."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5" if len(like) == 32 else "sha256").hexdigest()
