"""RepVGG: trained with three branches a layer, which become one 3x3 convolution afterwards.

RepVGG  https://arxiv.org/abs/2101.03697  Table 2; its "g4" has groups in every second layer

`kerascnn.serve.fold` adds the branches up: what it gives is a plain net of 3x3 convolutions and ReLUs, as VGG is, which
computes the same.
"""

import dataclasses
from typing import Literal

import keras

from kerascnn.blocks import activation, alike, classifier, conv_norm, norm, stages
from kerascnn.registry import Initializer, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class RepVGG(Spec):
    """`depths` are the layers of each stage and `widths` their channels; every second layer has `groups` groups."""

    depths: tuple[Size, ...]
    widths: tuple[Size, ...]
    _: dataclasses.KW_ONLY
    groups: Size = 1
    output_stride: Literal[8, 16, 32] = 32
    initializer: Initializer = "he_normal_fan_out"


def layer(spec, x, filters, stride, dilation, groups, name):
    """A 3x3 convolution, a 1x1 and, where the shape stays, a norm alone, added."""
    # A pool of single pixels is the stride of the 1x1: the gradient of a strided one of an image, which has three
    # channels, writes beyond its memory in TensorFlow 2.21 with oneDNN.
    sparse = keras.layers.MaxPooling2D(1, stride, name=f"{name}_branch2_pool")(x) if stride > 1 else x
    branches = [
        conv_norm(spec, x, filters, 3, stride, dilation=dilation, groups=groups, act=None, name=f"{name}_branch1_conv"),
        conv_norm(spec, sparse, filters, 1, groups=groups, act=None, name=f"{name}_branch2_conv"),
    ]
    if stride == 1 and x.shape[-1] == filters:
        branches.append(norm(spec, x, name=f"{name}_branch3_norm"))
    x = keras.layers.Add(name=f"{name}_add")(branches)
    return activation(spec, x, name=f"{name}_act")


def block(spec, x, row, place):
    groups = 1 if place.block % 2 else spec.groups
    return layer(spec, x, row.filters, place.stride, place.dilation, groups, place.name)


def build(spec, x):
    x = layer(spec, x, min(64, spec.widths[0]), 2, 1, 1, "stem")
    return stages(spec, x, alike(spec, stride=2), block)


A = 2, 4, 14, 1
B = 4, 6, 16, 1
# fmt: off
register(build, classifier, {
    "repvgg_a0":   RepVGG(A, (48, 96, 192, 1280)),
    "repvgg_a1":   RepVGG(A, (64, 128, 256, 1280)),
    "repvgg_a2":   RepVGG(A, (96, 192, 384, 1408)),
    "repvgg_b0":   RepVGG(B, (64, 128, 256, 1280)),
    "repvgg_b1":   RepVGG(B, (128, 256, 512, 2048)),
    "repvgg_b1g4": RepVGG(B, (128, 256, 512, 2048), groups=4),
    "repvgg_b2":   RepVGG(B, (160, 320, 640, 2560)),
    "repvgg_b2g4": RepVGG(B, (160, 320, 640, 2560), groups=4),
    "repvgg_b3":   RepVGG(B, (192, 384, 768, 2560)),
    "repvgg_b3g4": RepVGG(B, (192, 384, 768, 2560), groups=4),
}, paper="https://arxiv.org/abs/2101.03697")
# fmt: on
