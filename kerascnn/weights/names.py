"""From our layers' names to those of other libraries, by rules; and what fits a model.

A rule is a pattern that must match the whole name of our layer, and a function of what its groups caught, numbers as
numbers, that gives the other library's name. The first rule that matches counts.
"""

import re
from collections.abc import Callable, Iterable, Sequence

import keras

Rules = Sequence[tuple[str, Callable[..., str]]]


def translate(rules: Rules, name: str) -> str:
    """Returns the other library's name of our layer `name`. A LookupError where no rule knows it."""
    for pattern, rule in rules:
        if match := re.fullmatch(pattern, name):
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


def misfit(source: str, model: keras.Model, missing: Iterable[str], left: Iterable[str], shapes: Iterable[str]) -> str:
    """Phrases the error for tensors that do not fit a model; an empty string where all fit."""
    faults = {"it lacks": missing, "the model has no": left, "other shapes:": shapes}
    told = [f"{fault} {', '.join(sorted(names))}" for fault, names in faults.items() if names]
    return f"{source} does not fit {model.name}: {'; '.join(told)}" if told else ""
