"""ShuffleNet v2: each block works on half of the channels, and then mixes them with the other half.

ShuffleNet v2  https://arxiv.org/abs/1807.11164  Table 5
"""

import dataclasses
from typing import Literal

import keras

from kerascnn.blocks import alike, classifier, conv_norm, depthwise_norm, max_pool, stages
from kerascnn.layers import ChannelShuffle
from kerascnn.registry import Initializer, Ratio, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class ShuffleNetV2(Spec):
    """`widths` are the channels of each stage behind the stem, `depths` its blocks, `head` the last convolution's."""

    widths: tuple[Size, ...]
    _: dataclasses.KW_ONLY
    depths: tuple[Size, ...] = (4, 8, 4)
    head: Size = 1024
    fractional_pool: Ratio = None
    output_stride: Literal[8, 16, 32] = 32
    initializer: Initializer = "he_normal_fan_out"

    def __post_init__(self):
        super().__post_init__()
        if any(width % 2 for width in self.widths):
            raise ValueError(f"widths must be even, not {self.widths}")


def block(spec, x, row, place):
    """Behind the first block of a stage, half of the channels pass; it has two branches, which both see all."""
    name, filters, stride, dilation = place.name, row.filters, place.stride, place.dilation
    if place.block == 1:
        passed = depthwise_norm(spec, x, 3, stride, dilation=dilation, act=None, name=f"{name}_branch1_conv1")
        passed = conv_norm(spec, passed, filters // 2, 1, name=f"{name}_branch1_conv2")
    else:
        passed, x = keras.ops.split(x, 2, axis=-1)
    x = conv_norm(spec, x, filters // 2, 1, name=f"{name}_branch2_conv1")
    x = depthwise_norm(spec, x, 3, stride, dilation=dilation, act=None, name=f"{name}_branch2_conv2")
    x = conv_norm(spec, x, filters // 2, 1, name=f"{name}_branch2_conv3")
    x = keras.layers.Concatenate(name=f"{name}_concat")([passed, x])
    return ChannelShuffle(2, name=f"{name}_shuffle")(x)


def build(spec, x):
    x = conv_norm(spec, x, 24, 3, 2, name="stem_conv")
    x = max_pool(spec, x, 3, 2, name="stem_pool")
    x = stages(spec, x, [[], *alike(spec, stride=2)], block, shrunk=4)
    return conv_norm(spec, x, spec.head, 1, name="head_conv")


# fmt: off
register(build, classifier, {
    "shufflenet_v2_x0_5": ShuffleNetV2((48,  96,  192)),
    "shufflenet_v2_x1_0": ShuffleNetV2((116, 232, 464)),
    "shufflenet_v2_x1_5": ShuffleNetV2((176, 352, 704)),
    "shufflenet_v2_x2_0": ShuffleNetV2((244, 488, 976), head=2048),
}, paper="https://arxiv.org/abs/1807.11164")
# fmt: on
