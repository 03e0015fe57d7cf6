"""EfficientNet: one net found by search, and larger ones by scaling its width, its depth and its images together.

EfficientNet       https://arxiv.org/abs/1905.11946  Table 1; the factors of B1 to B7 are those of the authors' code
EfficientNet-Lite  no gates and relu6, for phones; as the authors' code has it, which no paper describes
EfficientNetV2     https://arxiv.org/abs/2104.00298  Table 4; M, L, XL and B0 to B3 are those of the authors' code

What the authors' code calls drop_connect is `drop_path` here: whole branches are dropped, not weights. Differs from
it as torchvision does: padding is symmetric, and batch norm's epsilon is 1e-5 up to B7 (torchvision has 1e-3 from B5
on). efficientnet_v2_b0 to b3, which torchvision has not, pad as TensorFlow does.
"""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

from kerascnn.blocks import (
    classifier,
    conv_norm,
    fused_residual,
    inverted_residual,
    repeated,
    round_channels,
    split,
    stages,
)
from kerascnn.registry import Activation, Epsilon, Initializer, Limits, Rate, Size, Spec, register

Factor = Annotated[float, Limits(0.05)]


class Row(NamedTuple):
    """Blocks that are alike; the first of them has the stride. Those of Fused-MBConv have no gates."""

    kind: Literal["MBConv", "Fused-MBConv"]
    expand: Size
    kernel: Size
    channels: Size
    repeats: Size
    stride: Literal[1, 2]


# fmt: off
ROWS = (  #         e  k  c    r  s
    Row("MBConv", 1, 3, 16,  1, 1),
    Row("MBConv", 6, 3, 24,  2, 2),
    Row("MBConv", 6, 5, 40,  2, 2),
    Row("MBConv", 6, 3, 80,  3, 2),
    Row("MBConv", 6, 5, 112, 3, 1),
    Row("MBConv", 6, 5, 192, 4, 2),
    Row("MBConv", 6, 3, 320, 1, 1),
)
# fmt: on


@dataclasses.dataclass(frozen=True)
class EfficientNet(Spec):
    """`width` multiplies the channels of `rows`, and of the first and last convolution; `depth` the repeats.

    fixed_ends keeps those two convolutions, and the repeats of the first and the last row. Channels are rounded to
    multiples of 8, but not below `round_limit` of what they would be. `se` adds gates, with `se_ratio` of a block's
    input channels between. A new stage begins at each stride. Branches are dropped at rates from zero at the first
    block on, linearly.
    """

    width: Factor
    depth: Factor
    rows: tuple[Row, ...] = ROWS
    _: dataclasses.KW_ONLY
    stem: Size = 32
    fixed_ends: bool = False
    round_limit: Annotated[float, Limits(0, 1)] = 0.9
    se: bool = True
    se_ratio: Annotated[float, Limits(0, 1)] = 0.25
    zero_init_residual: bool = False
    drop_path: Rate = 0.2
    drop_block: Rate = 0.0
    output_stride: Literal[8, 16, 32] = 32
    dropout: Rate = 0.2
    activation: Activation = "silu"
    initializer: Initializer = "he_normal_fan_out"
    bn_momentum: Rate = 0.99
    bn_epsilon: Epsilon = 1e-5

    @property
    def blocks(self):
        """(number, row) of each block; rows are counted from 0."""
        return repeated(self.rows, self.width, self.depth, fixed_ends=self.fixed_ends, limit=self.round_limit)

    def end(self, channels):
        """The channels of the first and the last convolution."""
        return channels if self.fixed_ends else round_channels(channels * self.width, limit=self.round_limit)


def block(spec, x, row, place):
    before = x.shape[-1]
    if row.kind == "Fused-MBConv":
        return fused_residual(spec, x, row.channels, row.expand * before, row.kernel, place)
    se = {"units": max(1, int(before * spec.se_ratio)), "act": "spec"} if spec.se else None
    return inverted_residual(spec, x, row.channels, row.expand * before, row.kernel, place, se=se)


def build(spec, x):
    x = conv_norm(spec, x, spec.end(spec.stem), 3, 2, name="stem_conv")
    rows = [row for _, row in spec.blocks]
    rates = [spec.drop_path * n / len(rows) for n in range(len(rows))]
    x = stages(spec, x, split(rows), block, rates=rates)
    return conv_norm(spec, x, spec.end(1280), 1, name="head_conv")


# fmt: off
B = (  #                  e  k  c    r  s
    Row("Fused-MBConv", 1, 3, 16,  1,  1),
    Row("Fused-MBConv", 4, 3, 32,  2,  2),
    Row("Fused-MBConv", 4, 3, 48,  2,  2),
    Row("MBConv",       4, 3, 96,  3,  2),
    Row("MBConv",       6, 3, 112, 5,  1),
    Row("MBConv",       6, 3, 192, 8,  2),
)
S = (
    Row("Fused-MBConv", 1, 3, 24,  2,  1),
    Row("Fused-MBConv", 4, 3, 48,  4,  2),
    Row("Fused-MBConv", 4, 3, 64,  4,  2),
    Row("MBConv",       4, 3, 128, 6,  2),
    Row("MBConv",       6, 3, 160, 9,  1),
    Row("MBConv",       6, 3, 256, 15, 2),
)
M = (
    Row("Fused-MBConv", 1, 3, 24,  3,  1),
    Row("Fused-MBConv", 4, 3, 48,  5,  2),
    Row("Fused-MBConv", 4, 3, 80,  5,  2),
    Row("MBConv",       4, 3, 160, 7,  2),
    Row("MBConv",       6, 3, 176, 14, 1),
    Row("MBConv",       6, 3, 304, 18, 2),
    Row("MBConv",       6, 3, 512, 5,  1),
)
L = (
    Row("Fused-MBConv", 1, 3, 32,  4,  1),
    Row("Fused-MBConv", 4, 3, 64,  7,  2),
    Row("Fused-MBConv", 4, 3, 96,  7,  2),
    Row("MBConv",       4, 3, 192, 10, 2),
    Row("MBConv",       6, 3, 224, 19, 1),
    Row("MBConv",       6, 3, 384, 25, 2),
    Row("MBConv",       6, 3, 640, 7,  1),
)
XL = (
    Row("Fused-MBConv", 1, 3, 32,  4,  1),
    Row("Fused-MBConv", 4, 3, 64,  8,  2),
    Row("Fused-MBConv", 4, 3, 96,  8,  2),
    Row("MBConv",       4, 3, 192, 16, 2),
    Row("MBConv",       6, 3, 256, 24, 1),
    Row("MBConv",       6, 3, 512, 32, 2),
    Row("MBConv",       6, 3, 640, 8,  1),
)
LITE: dict[str, Any] = {"fixed_ends": True, "se": False, "activation": "relu6"}
V2: dict[str, Any] = {"bn_momentum": 0.9, "bn_epsilon": 1e-3}
V2B: dict[str, Any] = {"round_limit": 0.0, "padding": "same"} | V2
register(build, classifier, {
    "efficientnet_b0": EfficientNet(1.0, 1.0),
    "efficientnet_b1": EfficientNet(1.0, 1.1, input_shape=(240, 240, 3)),
    "efficientnet_b2": EfficientNet(1.1, 1.2, input_shape=(260, 260, 3), dropout=0.3),
    "efficientnet_b3": EfficientNet(1.2, 1.4, input_shape=(300, 300, 3), dropout=0.3),
    "efficientnet_b4": EfficientNet(1.4, 1.8, input_shape=(380, 380, 3), dropout=0.4),
    "efficientnet_b5": EfficientNet(1.6, 2.2, input_shape=(456, 456, 3), dropout=0.4),
    "efficientnet_b6": EfficientNet(1.8, 2.6, input_shape=(528, 528, 3), dropout=0.5),
    "efficientnet_b7": EfficientNet(2.0, 3.1, input_shape=(600, 600, 3), dropout=0.5),
    "efficientnet_lite0": EfficientNet(1.0, 1.0, **LITE),
    "efficientnet_lite1": EfficientNet(1.0, 1.1, input_shape=(240, 240, 3), **LITE),
    "efficientnet_lite2": EfficientNet(1.1, 1.2, input_shape=(260, 260, 3), dropout=0.3, **LITE),
    "efficientnet_lite3": EfficientNet(1.2, 1.4, input_shape=(280, 280, 3), dropout=0.3, **LITE),
    "efficientnet_lite4": EfficientNet(1.4, 1.8, input_shape=(300, 300, 3), dropout=0.3, **LITE),
}, paper="https://arxiv.org/abs/1905.11946")
register(build, classifier, {
    "efficientnet_v2_b0": EfficientNet(1.0, 1.0, B, **V2B),
    "efficientnet_v2_b1": EfficientNet(1.0, 1.1, B, input_shape=(240, 240, 3), **V2B),
    "efficientnet_v2_b2": EfficientNet(1.1, 1.2, B, input_shape=(260, 260, 3), dropout=0.3, **V2B),
    "efficientnet_v2_b3": EfficientNet(1.2, 1.4, B, input_shape=(300, 300, 3), dropout=0.3, **V2B),
    "efficientnet_v2_s":  EfficientNet(1.0, 1.0, S, stem=24, input_shape=(384, 384, 3), **V2),
    "efficientnet_v2_m":  EfficientNet(1.0, 1.0, M, stem=24, input_shape=(480, 480, 3), dropout=0.3, **V2),
    "efficientnet_v2_l":  EfficientNet(1.0, 1.0, L, input_shape=(480, 480, 3), dropout=0.4, **V2),
    "efficientnet_v2_xl": EfficientNet(1.0, 1.0, XL, input_shape=(512, 512, 3), dropout=0.4, **V2),
}, paper="https://arxiv.org/abs/2104.00298", aliases={
    "tf_efficientnetv2_b0": "efficientnet_v2_b0",
    "tf_efficientnetv2_b1": "efficientnet_v2_b1",
    "tf_efficientnetv2_b2": "efficientnet_v2_b2",
    "tf_efficientnetv2_b3": "efficientnet_v2_b3",
    "efficientnetv2_s":     "efficientnet_v2_s",
    "efficientnetv2_m":     "efficientnet_v2_m",
    "efficientnetv2_l":     "efficientnet_v2_l",
    "efficientnetv2_xl":    "efficientnet_v2_xl",
})
# fmt: on
