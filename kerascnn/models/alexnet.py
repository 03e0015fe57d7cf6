"""AlexNet, and ZFNet, which looked into it and widened its beginning.

AlexNet   https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks
          alexnet_grouped: its two GPUs are groups=2, with local response normalisation
AlexNet   https://arxiv.org/abs/1404.5997  alexnet: the narrower net for one GPU, in torchvision's form
ZFNet     https://arxiv.org/abs/1311.2901  7x7 stride 2, then 5x5 stride 2, in place of 11x11 stride 4 and 5x5

Differs from the papers: images are 224x224, which the first margin makes 227x227 (AlexNet) or 225x225 (ZFNet); weights
start from He's distribution, and biases at zero. 1404.5997 has 384 filters in the fourth layer, torchvision has 256.
"""

import dataclasses
import math
from typing import Annotated, Literal, NamedTuple

import keras

from kerascnn.blocks import conv_norm, dense, flatten, logits, max_pool
from kerascnn.layers import LocalResponseNormalization
from kerascnn.registry import Limits, Norm, Rate, Ratio, Size, Spec, register


class Conv(NamedTuple):
    filters: Size
    kernel: Size
    stride: Size
    margin: Annotated[int, Limits(0)]
    groups: Size = 1


@dataclasses.dataclass(frozen=True)
class AlexNet(Spec):
    """`stages` are the convolutions between 3x3 pools of stride 2, `hidden` the units of fully connected layers.

    `ceil` lets those pools see the last row and column also where the stride leaves them out. `response_norm` is where
    local response normalisation stands in all stages but the last. `dropout` is what drops from the results of the
    hidden layers, or with drop_inputs from what goes into them. num_classes=0 gives the results of the last of them.
    """

    stages: tuple[tuple[Conv, ...], ...]
    _: dataclasses.KW_ONLY
    hidden: tuple[Size, ...] = (4096, 4096)
    ceil: bool = False
    response_norm: Literal["before_pool", "after_pool", "none"] = "none"
    drop_inputs: bool = False
    fractional_pool: Ratio = None
    dropout: Rate = 0.5
    norm: Norm = "none"
    pooling: Literal["avg", None] = "avg"

    @property
    def min_size(self) -> int:
        side = 1
        for convs in reversed(self.stages):
            if not self.fractional_pool:
                side = 2 * side + (not self.ceil)
            elif side > 1:  # a fractional pool takes any image, and leaves at least one pixel of it
                side = math.ceil(side * self.fractional_pool)
            for conv in reversed(convs):
                padded = self.padding == "same" and conv.margin
                side = (side - 1) * conv.stride + (1 if padded else max(conv.kernel - 2 * conv.margin, 1))
        return side


def build(spec, x):
    for i, convs in enumerate(spec.stages, 1):
        for j, (filters, kernel, stride, margin, groups) in enumerate(convs, 1):
            x = conv_norm(spec, x, filters, kernel, stride, groups=groups, margin=margin, name=f"stage{i}_conv{j}")
        place = spec.response_norm if i < len(spec.stages) else "none"
        if place == "before_pool":
            x = LocalResponseNormalization(name=f"stage{i}_response_norm")(x)
        x = max_pool(spec, x, 3, 2, margin=0, ceil=spec.ceil, name=f"stage{i}_pool")
        if place == "after_pool":
            x = LocalResponseNormalization(name=f"stage{i}_response_norm")(x)
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return x


def head(spec, x):
    x = flatten(x, side=6)
    for i, units in enumerate(spec.hidden, 1):
        if spec.dropout and (spec.drop_inputs or i > 1):
            x = keras.layers.Dropout(spec.dropout, name=f"dropout{i}")(x)
        x = dense(spec, x, units, name=f"dense{i}")
    return logits(dataclasses.replace(spec, dropout=0.0) if spec.drop_inputs else spec, x)


# Their rows are (filters, kernel, stride, margin, groups).
# fmt: off
register(build, head, {
    "alexnet": AlexNet((
        (Conv(64,  11, 4, 2),),
        (Conv(192, 5,  1, 2),),
        (Conv(384, 3,  1, 1), Conv(256, 3, 1, 1), Conv(256, 3, 1, 1)),
    ), drop_inputs=True),
}, paper="https://arxiv.org/abs/1404.5997")
register(build, head, {
    "alexnet_grouped": AlexNet((
        (Conv(96,  11, 4, 2),),
        (Conv(256, 5,  1, 2, 2),),
        (Conv(384, 3,  1, 1), Conv(384, 3, 1, 1, 2), Conv(256, 3, 1, 1, 2)),
    ), response_norm="before_pool"),
}, paper="https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks")
register(build, head, {
    "zfnet": AlexNet((
        (Conv(96,  7,  2, 1),),
        (Conv(256, 5,  2, 0),),
        (Conv(384, 3,  1, 1), Conv(384, 3, 1, 1), Conv(256, 3, 1, 1)),
    ), response_norm="after_pool", ceil=True),
}, paper="https://arxiv.org/abs/1311.2901")
# fmt: on
