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
import math
from typing import Annotated, Literal, NamedTuple

import keras

from kerascnn.blocks import (
    classifier,
    conv_norm,
    depthwise_norm,
    dilations,
    linear_rates,
    residual,
    round_channels,
    squeeze_excite,
)
from kerascnn.registry import Activation, Initializer, Limits, Rate, Size, Spec, register

Width = Annotated[float, Limits(0.05)]


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

    def __post_init__(self):
        super().__post_init__()
        if len(self.depths) != len(self.widths):
            raise ValueError(f"widths must be {len(self.depths)} numbers, one for each of depths")


def build_v1(spec, x):
    x = conv_norm(spec, x, round_channels(32 * spec.width), 3, 2, name="stem_conv")
    strides = [2 if i and j == 0 else 1 for i, depth in enumerate(spec.depths) for j in range(depth)]
    plan = iter(dilations(strides, spec.output_stride // 2))
    for i, (depth, filters) in enumerate(zip(spec.depths, spec.widths, strict=True), 1):
        filters = round_channels(filters * spec.width)
        for j in range(1, depth + 1):
            name = f"stage{i}_block{j}"
            stride, dilation, _ = next(plan)
            x = depthwise_norm(spec, x, 3, stride, dilation=dilation, name=f"{name}_conv1")
            x = conv_norm(spec, x, filters, 1, name=f"{name}_conv2")
            if spec.se:
                x = squeeze_excite(spec, x, max(1, int(filters * spec.se_ratio)), name=f"{name}_se")
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return x


class Row(NamedTuple):
    """Blocks that are alike, in the order of the paper's Table 2; the first of them has the stride."""

    expand: Size
    channels: Size
    repeats: Size
    stride: Literal[1, 2]


V2 = (
    Row(1, 16, 1, 1),
    Row(6, 24, 2, 2),
    Row(6, 32, 3, 2),
    Row(6, 64, 4, 2),
    Row(6, 96, 3, 1),
    Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)


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
        """(row, expand, channels, stride) of each block; rows are counted from 0."""
        for i, (expand, channels, repeats, stride) in enumerate(self.rows):
            if not (self.fixed_ends and i in (0, len(self.rows) - 1)):
                repeats = math.ceil(repeats * self.depth)
            for j in range(repeats):
                yield i, expand, round_channels(channels * self.width), stride if j == 0 else 1


def block(spec, image, expand, filters, straight, stride, dilation, rate, drop_block, name):
    x = image
    if expand > 1:
        x = conv_norm(spec, x, expand * x.shape[-1], 1, name=f"{name}_conv1")
    x = depthwise_norm(spec, x, 3, stride, dilation=dilation, name=f"{name}_conv2")
    if spec.se:
        x = squeeze_excite(spec, x, round_channels(x.shape[-1] * spec.se_ratio), name=f"{name}_se")
    straight = straight and image.shape[-1] == filters
    x = conv_norm(spec, x, filters, 1, act=None, zero_init=straight and spec.zero_init_residual, name=f"{name}_conv3")
    return residual(x, image, rate, drop_block=drop_block, name=name) if straight else x


def build_v2(spec, x):
    x = conv_norm(spec, x, 32 if spec.fixed_ends else round_channels(32 * spec.width), 3, 2, name="stem_conv")
    blocks = list(spec.blocks)
    plan = dilations([stride for *_, stride in blocks], spec.output_stride // 2)
    rates = linear_rates(spec.drop_path, len(blocks))
    last = sum(stride > 1 for *_, stride in blocks) + 1
    i, j = 1, 0
    for (_, expand, filters, new), (stride, dilation, _), rate in zip(blocks, plan, rates, strict=True):
        if new > 1:
            x = keras.layers.Identity(name=f"stage{i}")(x)
            i, j = i + 1, 0
        j += 1
        drop_block = spec.drop_block if i > last - 2 else 0.0
        x = block(spec, x, expand, filters, new == 1, stride, dilation, rate, drop_block, f"stage{i}_block{j}")
    x = keras.layers.Identity(name=f"stage{i}")(x)
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
