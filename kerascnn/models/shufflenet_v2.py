"""ShuffleNet v2: each block works on half of the channels, and then mixes them with the other half.

ShuffleNet v2  https://arxiv.org/abs/1807.11164  Table 5
"""

import dataclasses
from typing import Literal

import keras

from kerascnn.blocks import classifier, conv_norm, depthwise_norm, dilations, max_pool
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
        if len(self.depths) != len(self.widths) or any(width % 2 for width in self.widths):
            raise ValueError(f"widths must be {len(self.depths)} even numbers, one for each of depths")


def block(spec, x, filters, first, stride, dilation, name):
    """Behind the first block of a stage, half of the channels pass; it has two branches, which both see all."""
    if first:
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
    x = keras.layers.Identity(name="stage1")(max_pool(spec, x, 3, 2, name="stem_pool"))
    plan = dilations([2] * len(spec.depths), spec.output_stride // 4)
    for i, (depth, filters, (stride, first, then)) in enumerate(zip(spec.depths, spec.widths, plan, strict=True), 2):
        x = block(spec, x, filters, True, stride, first, f"stage{i}_block1")
        for j in range(2, depth + 1):
            x = block(spec, x, filters, False, 1, then, f"stage{i}_block{j}")
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return conv_norm(spec, x, spec.head, 1, name="head_conv")


# fmt: off
register(build, classifier, {
    "shufflenet_v2_x0_5": ShuffleNetV2((48,  96,  192)),
    "shufflenet_v2_x1_0": ShuffleNetV2((116, 232, 464)),
    "shufflenet_v2_x1_5": ShuffleNetV2((176, 352, 704)),
    "shufflenet_v2_x2_0": ShuffleNetV2((244, 488, 976), head=2048),
}, paper="https://arxiv.org/abs/1807.11164")
# fmt: on
