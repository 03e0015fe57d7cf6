"""MobileNet v1 and v2: convolutions of each channel by itself, then 1x1 convolutions.

MobileNet    https://arxiv.org/abs/1704.04861
MobileNetV2  https://arxiv.org/abs/1801.04381
SE           https://arxiv.org/abs/1709.01507  se

Differs from the papers: channels are rounded to multiples of 8, as TensorFlow's code does. se_mobilenet_v1 has its
gates behind each 1x1 convolution, where they make the 4.7 million parameters that the SE paper counts. se_mobilenet_v2,
which no paper describes, weighs the expanded channels, as MobileNetV3 does. mobilenet_v2_110d is timm's: deeper, save
at both ends.
"""

import dataclasses
from typing import Annotated, Literal, NamedTuple

from kerascnn.blocks import (
    classifier,
    conv_norm,
    depthwise_norm,
    inverted_residual,
    repeated,
    round_channels,
    split,
    squeeze_excite,
    stages,
)
from kerascnn.registry import Activation, Initializer, Limits, Rate, Size, Spec, register

Width = Annotated[float, Limits(0.05)]


class Row(NamedTuple):
    """Blocks that are alike, in the order of the paper's Table 2 of MobileNetV2; the first of them has the stride."""

    expand: Size
    channels: Size
    repeats: Size
    stride: Literal[1, 2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV1(Spec):
    """`depths` are the blocks of each stage, `widths` their channels, which `width` multiplies.

    `se` adds squeeze and excitation behind each block, with `se_ratio` of its channels between.
    """

    depths: tuple[Size, ...] = (1, 2, 2, 6, 2)
    widths: tuple[Size, ...] = (64, 128, 256, 512, 1024)
    width: Width = 1.0
    se: bool = False
    se_ratio: Annotated[float, Limits(0, 1)] = 1 / 16
    output_stride: Literal[8, 16, 32] = 32
    activation: Activation = "relu6"
    initializer: Initializer = "he_normal_fan_out"


def block_v1(spec, x, row, place):
    x = depthwise_norm(spec, x, 3, place.stride, dilation=place.dilation, name=f"{place.name}_conv1")
    x = conv_norm(spec, x, row.channels, 1, name=f"{place.name}_conv2")
    if spec.se:
        x = squeeze_excite(spec, x, max(1, int(row.channels * spec.se_ratio)), name=f"{place.name}_se")
    return x


def build_v1(spec, x):
    x = conv_norm(spec, x, round_channels(32 * spec.width), 3, 2, name="stem_conv")
    strides = [1] + [2] * len(spec.depths[1:])
    rows = map(Row, (1,) * len(spec.depths), spec.widths, spec.depths, strides)
    return stages(spec, x, split(row for _, row in repeated([*rows], spec.width)), block_v1)


# fmt: off
V2 = (  # e  c    r  s
    Row(1, 16,  1, 1),
    Row(6, 24,  2, 2),
    Row(6, 32,  3, 2),
    Row(6, 64,  4, 2),
    Row(6, 96,  3, 1),
    Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)
# fmt: on


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV2(Spec):
    """`rows` are those of Table 2; `width` multiplies their channels, `depth` their repeats.

    fixed_ends keeps the first convolution, the last, and the repeats of the first and the last row as they are. The
    last convolution never gets fewer channels. `se` adds squeeze and excitation in each block, between its depthwise
    convolution and the last, with `se_ratio` of the expanded channels between. A new stage begins at each stride.
    """

    rows: tuple[Row, ...] = V2
    width: Width = 1.0
    depth: Width = 1.0
    fixed_ends: bool = False
    se: bool = False
    se_ratio: Annotated[float, Limits(0, 1)] = 0.25
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    output_stride: Literal[8, 16, 32] = 32
    dropout: Rate = 0.2
    activation: Activation = "relu6"
    initializer: Initializer = "he_normal_fan_out"

    @property
    def blocks(self):
        """(number, row) of each block; rows are counted from 0."""
        return repeated(self.rows, self.width, self.depth, fixed_ends=self.fixed_ends)


def block(spec, x, row, place):
    expanded = row.expand * x.shape[-1]
    se = {"units": round_channels(expanded * spec.se_ratio)} if spec.se else None
    return inverted_residual(spec, x, row.channels, expanded, 3, place, se=se)


def build_v2(spec, x):
    x = conv_norm(spec, x, 32 if spec.fixed_ends else round_channels(32 * spec.width), 3, 2, name="stem_conv")
    x = stages(spec, x, split(row for _, row in spec.blocks), block)
    filters = 1280 if spec.fixed_ends else max(1280, round_channels(1280 * spec.width))
    return conv_norm(spec, x, filters, 1, name="head_conv")


# fmt: off
register(build_v1, classifier, {
    "mobilenet_v1":     MobileNetV1(),
    "mobilenet_v1_075": MobileNetV1(width=0.75),
    "mobilenet_v1_050": MobileNetV1(width=0.5),
    "mobilenet_v1_025": MobileNetV1(width=0.25),
    "se_mobilenet_v1":  MobileNetV1(se=True),
}, paper="https://arxiv.org/abs/1704.04861", aliases={
    "mobilenetv1_100": "mobilenet_v1",
    "mobilenetv1_075": "mobilenet_v1_075",
    "mobilenetv1_050": "mobilenet_v1_050",
    "mobilenetv1_025": "mobilenet_v1_025",
})
register(build_v2, classifier, {
    "mobilenet_v2":      MobileNetV2(),
    "mobilenet_v2_035":  MobileNetV2(width=0.35),
    "mobilenet_v2_050":  MobileNetV2(width=0.5),
    "mobilenet_v2_075":  MobileNetV2(width=0.75),
    "mobilenet_v2_140":  MobileNetV2(width=1.4),
    "mobilenet_v2_110d": MobileNetV2(width=1.1, depth=1.2, fixed_ends=True),
    "se_mobilenet_v2":   MobileNetV2(se=True),
}, paper="https://arxiv.org/abs/1801.04381", aliases={
    "mobilenetv2_100":  "mobilenet_v2",
    "mobilenetv2_035":  "mobilenet_v2_035",
    "mobilenetv2_050":  "mobilenet_v2_050",
    "mobilenetv2_075":  "mobilenet_v2_075",
    "mobilenetv2_140":  "mobilenet_v2_140",
    "mobilenetv2_110d": "mobilenet_v2_110d",
})
# fmt: on
