"""A model's stages as outputs, for detectors, segmenters and whatever else builds on feature maps."""

import re
from collections.abc import Iterable

import keras

from kerascnn.registry import close_names


def features(model: keras.Model, stages: Iterable[int] | None = None) -> keras.Model:
    """Returns a model of the same layers and weights that gives the feature maps at the ends of stages.

    Its outputs are a list, named stage1, stage2, ..., each (batch, height, width, channels), in the order asked for; a
    list also where there is but one. Training the one model trains the other.

    Args:
        model: one of the zoo, or any functional model whose stages end in layers named stage1, stage2, ...
        stages: their numbers, 1 the finest. Without it the last four, which are 1 to 4 in most nets; in nets that have
            five, as VGG and MobileNets, stage 1 is left out, so that the strides are 4, 8, 16 and 32 there too; in nets
            with fewer, all.

    Raises a ValueError for a model without stages, and for stages that it does not have, which says those that it has.
    """
    found = sorted(int(layer.name[5:]) for layer in model.layers if re.fullmatch(r"stage[1-9]\d*", layer.name))
    if not found or not hasattr(model, "inputs"):
        raise ValueError(f"{model.name} has no layers named stage1, stage2, ...: features is for the zoo's models")
    if isinstance(stages, str) or not isinstance(stages, Iterable | None):
        raise ValueError(f"stages must be a list of numbers, such as [{found[-1]}], not {stages!r}")
    wanted = found[-4:] if stages is None else list(stages)
    if not wanted:
        raise ValueError(f"stages must hold at least one of {', '.join(map(str, found))}")
    for stage in wanted:
        if stage not in found or isinstance(stage, bool):
            raise ValueError(f"{model.name} has no stage {stage!r}: {close_names('', map(str, found))}")
    outputs = [model.get_layer(f"stage{stage}").output for stage in wanted]
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    return keras.Model(inputs, outputs, name=f"{model.name}_features")
