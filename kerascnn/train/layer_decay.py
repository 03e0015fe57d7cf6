"""How far below the classifier each weight stands, for learning rates that fall with the depth (arXiv:1801.06146)."""

import re

import keras


def depths(model: keras.Model) -> list[int]:
    """For each of `model.trainable_variables` the number of its group of layers, counted from the classifier down.

    The classifier, auxiliary heads and everything else behind the last stage are group 0. Then each block is one, from
    the last to the first, as is each numbered layer of a stage without blocks, with its norm, and each transition of a
    DenseNet; at last the stem, as one. The names of layers tell which is which: `stage3_block2_conv1`.

    In a model without such names each layer that has weights is a group, and the last one is 0.
    """
    layers = [layer for layer in model.layers if layer.weights]  # frozen ones have their place, too
    found = [re.match(r"stage(\d+)_(?:[a-z]+(\d+))?", layer.name) for layer in layers]
    group: dict[str, object] = {}
    if not any(found):
        group = {layer.name: i for i, layer in enumerate(layers)}
    else:
        here: tuple = ("stem",)
        staged = False
        for layer, match in zip(layers, found, strict=True):
            if match is None:
                group[layer.name] = "top" if staged else here
                continue
            staged, (stage, number) = True, match.groups()
            if number or here[0] != stage:  # what has no number belongs to what stands ahead of it in its stage
                here = (stage, number)
            group[layer.name] = here
    order = [one for one in dict.fromkeys(group.values()) if one != "top"]
    order += ["top"] if any(found) else []
    depth = {one: i for i, one in enumerate(reversed(order))}
    of_variable = {id(v): depth[group[layer.name]] for layer in layers for v in layer.trainable_variables}
    return [of_variable[id(variable)] for variable in model.trainable_variables]
