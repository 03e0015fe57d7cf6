"""From our layers' names to those of other libraries, by rules; and what fits a model.

A rule is a pattern that must match the whole name of our layer, and a function of what its groups caught, numbers as
numbers, that gives the other library's name. The first rule that matches counts.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np

Rules = Sequence[tuple[str, Callable[..., str]]]
Places = Mapping[str, tuple[keras.Layer, keras.Variable]]

# The layer that a model with another number of classes has of its own.
CLASSIFIER = "logits"


def block_numbers(strides: Iterable[int]) -> dict[tuple[int, int], int]:
    """Returns the number of each block, from 0 on, by our (stage, block): a stage begins at each stride."""
    numbers, stage, block = {}, 1, 0
    for number, stride in enumerate(strides):
        stage, block = (stage + 1, 1) if stride > 1 else (stage, block + 1)
        numbers[stage, block] = number
    return numbers


def translate(rules: Rules, name: str) -> str:
    """Returns the other library's name of our layer `name`. A LookupError where no rule knows it."""
    for pattern, rule in rules:
        if match := re.fullmatch(pattern, name):
            with contextlib.suppress(LookupError):  # a layer that the other library's net has no counterpart of
                return rule(*(int(group) if group and group.isdigit() else group for group in match.groups()))
    raise LookupError(f"no rule gives the name of {name}")


def named_weights(model: keras.Model, rules: Rules) -> dict[tuple[str, str], tuple[keras.Layer, keras.Variable]]:
    """Returns a model's layers and weights by the other library's name of the layer and ours of the weight."""
    return {
        (translate(rules, layer.name), weight.name): (layer, weight)
        for layer in model.layers
        for weight in layer.weights
        if weight.dtype != "uint32"  # the states of random generators are no weights
    }


def assign(
    model: keras.Model,
    tensors: Mapping[str, np.ndarray],
    rules: Rules,
    source: str,
    *,
    key: Callable[[str, str], str],
    layout: Callable[[np.ndarray, keras.Layer, keras.Variable], np.ndarray],
    unused: Callable[[str], bool],
    classifier: bool = True,
    channels: bool = False,
) -> list[str]:
    """Gives a model another library's tensors: all, or none and a ValueError that lists what does not fit.

    `key` gives a tensor's name, from the library's name of its layer and ours of the weight, and `layout` the tensor as
    Keras lays it out. `unused` tells by its name which tensor no model takes; `source` is what errors call them.
    Without `classifier` the model keeps its own; with `channels` the first kernel is made to fit by `spread`. Returns
    the names of the tensors that were left out.
    """
    try:
        wanted = {key(*name): place for name, place in named_weights(model, rules).items()}
        spared = set() if classifier else {key(translate(rules, CLASSIFIER), kind) for kind in ("kernel", "bias")}
        if not classifier:  # and those that a model has besides, in training
            spared |= {name for name, (layer, _) in wanted.items() if layer.name.endswith(CLASSIFIER)}
    except LookupError as error:
        raise ValueError(f"{source} does not fit {model.name}: {error}") from None
    wanted = {name: place for name, place in wanted.items() if name not in spared}
    first = next((layer for layer in model.layers if layer.weights), None)
    values, shapes, integers = [], [], []
    for name, (layer, weight) in wanted.items():
        if name not in tensors:
            continue
        value = layout(tensors[name], layer, weight)
        if channels and layer is first and weight.name == "kernel" and value.ndim == 4:
            value = spread(value, weight.shape[-2])
        values.append((weight, value))
        if value.dtype.kind in "iub":
            integers.append(name)
        if value.shape != tuple(weight.shape):
            there = f"{layer.name}/{weight.name} {tuple(weight.shape)}"
            shapes.append(f"{name} {tuple(tensors[name].shape)} for {there}")
    left = {name for name in tensors if name not in wanted}
    faults = {
        "it lacks": wanted.keys() - tensors.keys(),
        "the model has no": {name for name in left - spared if not unused(name)},
        "other shapes:": shapes,
        "integers in place of real numbers:": integers,
    }
    if told := [f"{fault} {', '.join(sorted(found))}" for fault, found in faults.items() if found]:
        raise ValueError(f"{source} does not fit {model.name}: {'; '.join(told)}")
    for weight, value in values:
        weight.assign(value.astype(weight.dtype, copy=False))
    return sorted(left)


def spread(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Returns a kernel [height, width, inputs, outputs] for another number of input channels.

    Where all channels of an image are the same, as a grey one's are, it gives what the old kernel gives: each new
    channel takes an old one's kernel in turn, divided by how many take it, or, where there are fewer, an equal share
    of the sum of all.
    """
    inputs = kernel.shape[-2]
    if channels == inputs:
        return kernel
    if channels < inputs:
        return np.repeat(np.sum(kernel, -2, keepdims=True, dtype=np.float32) / channels, channels, -2)
    taken = np.arange(channels) % inputs
    takers = np.bincount(taken)[taken, np.newaxis]
    return (kernel[..., taken, :] / takers).astype(np.float32)
