"""From our layers' names to those of other libraries, by rules; and what fits a model.

A rule is a pattern that must match the whole name of our layer, and a function of what its groups caught, numbers as
numbers, that gives the other library's name. The first rule that matches counts.
"""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

Rules = Sequence[tuple[str, Callable[..., str]]]


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
) -> None:
    """Gives a model another library's tensors: all, or none and a ValueError that lists what does not fit.

    `key` gives a tensor's name, from the library's name of its layer and ours of the weight, and `layout` the tensor as
    Keras lays it out. `unused` tells by its name which tensor no model takes; `source` is what errors call them.
    """
    try:
        names = named_weights(model, rules)
    except LookupError as error:
        raise ValueError(f"{source} does not fit {model.name}: {error}") from None
    wanted = {key(*name): place for name, place in names.items()}
    values, shapes = [], []
    for name, (layer, weight) in wanted.items():
        if name in tensors:
            value = layout(tensors[name], layer, weight)
            values.append((weight, value))
            if value.shape != tuple(weight.shape):
                there = f"{layer.name}/{weight.name} {tuple(weight.shape)}"
                shapes.append(f"{name} {tuple(tensors[name].shape)} for {there}")
    left = [name for name in tensors if name not in wanted and not unused(name)]
    faults = {"it lacks": wanted.keys() - tensors.keys(), "the model has no": left, "other shapes:": shapes}
    if told := [f"{fault} {', '.join(sorted(found))}" for fault, found in faults.items() if found]:
        raise ValueError(f"{source} does not fit {model.name}: {'; '.join(told)}")
    for weight, value in values:
        weight.assign(value)
