"""EfficientNet: one net found by search, and larger ones by scaling its width, its depth and its images together.

EfficientNet  https://arxiv.org/abs/1905.11946  Table 1; the factors of B1 to B7 are those of the authors' code

What the authors' code calls drop_connect is `drop_path` here: whole branches are dropped, not weights. Differs from
it as torchvision does: padding is symmetric, and batch norm's epsilon is 1e-5 (torchvision has 1e-3 from B5 on).
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
    residual,
    round_channels,
    squeeze_excite,
)
from kerascnn.registry import Activation, Initializer, Limits, Rate, Size, Spec, register

Factor = Annotated[float, Limits(0.05)]


class Row(NamedTuple):
    """Blocks that are alike; the first of them has the stride."""

    expand: Size
    kernel: Size
    channels: Size
    repeats: Size
    stride: Literal[1, 2]


# fmt: off
ROWS = (  # e  k  c    r  s
    Row(1, 3, 16,  1, 1),
    Row(6, 3, 24,  2, 2),
    Row(6, 5, 40,  2, 2),
    Row(6, 3, 80,  3, 2),
    Row(6, 5, 112, 3, 1),
    Row(6, 5, 192, 4, 2),
    Row(6, 3, 320, 1, 1),
)
# fmt: on


@dataclasses.dataclass(frozen=True)
class EfficientNet(Spec):
    """`width` multiplies the channels of `rows`, and of the first and last convolution; `depth` the repeats.

    A new stage begins at each stride. Branches are dropped at rates from zero at the first block on, linearly.
    """

    width: Factor
    depth: Factor
    _: dataclasses.KW_ONLY
    rows: tuple[Row, ...] = ROWS
    zero_init_residual: bool = False
    drop_path: Rate = 0.2
    drop_block: Rate = 0.0
    output_stride: Literal[8, 16, 32] = 32
    dropout: Rate = 0.2
    activation: Activation = "silu"
    initializer: Initializer = "he_normal_fan_out"
    bn_momentum: Rate = 0.99

    @property
    def blocks(self):
        """(row, expand, kernel, channels, stride) of each block; rows are counted from 0."""
        for i, (expand, kernel, channels, repeats, stride) in enumerate(self.rows):
            for j in range(math.ceil(repeats * self.depth)):
                yield i, expand, kernel, round_channels(channels * self.width), stride if j == 0 else 1


def block(spec, image, expand, kernel, filters, straight, stride, dilation, rate, drop_block, name):
    before, x = image.shape[-1], image
    if expand > 1:
        x = conv_norm(spec, x, expand * before, 1, name=f"{name}_conv1")
    x = depthwise_norm(spec, x, kernel, stride, dilation=dilation, name=f"{name}_conv2")
    x = squeeze_excite(spec, x, max(1, before // 4), act="spec", name=f"{name}_se")
    straight = straight and before == filters
    x = conv_norm(spec, x, filters, 1, act=None, zero_init=straight and spec.zero_init_residual, name=f"{name}_conv3")
    return residual(x, image, rate, drop_block=drop_block, name=name) if straight else x


def build(spec, x):
    x = conv_norm(spec, x, round_channels(32 * spec.width), 3, 2, name="stem_conv")
    blocks = list(spec.blocks)
    plan = dilations([stride for *_, stride in blocks], spec.output_stride // 2)
    last = sum(stride > 1 for *_, stride in blocks) + 1
    i, j = 1, 0
    for n, ((_, expand, kernel, filters, new), (stride, dilation, _)) in enumerate(zip(blocks, plan, strict=True)):
        if new > 1:
            x = keras.layers.Identity(name=f"stage{i}")(x)
            i, j = i + 1, 0
        j += 1
        rate = spec.drop_path * n / len(blocks)
        drop_block = spec.drop_block if i > last - 2 else 0.0
        name = f"stage{i}_block{j}"
        x = block(spec, x, expand, kernel, filters, new == 1, stride, dilation, rate, drop_block, name)
    x = keras.layers.Identity(name=f"stage{i}")(x)
    return conv_norm(spec, x, round_channels(1280 * spec.width), 1, name="head_conv")


# fmt: off
register(build, classifier, {
    "efficientnet_b0": EfficientNet(1.0, 1.0),
    "efficientnet_b1": EfficientNet(1.0, 1.1, input_shape=(240, 240, 3)),
    "efficientnet_b2": EfficientNet(1.1, 1.2, input_shape=(260, 260, 3), dropout=0.3),
    "efficientnet_b3": EfficientNet(1.2, 1.4, input_shape=(300, 300, 3), dropout=0.3),
    "efficientnet_b4": EfficientNet(1.4, 1.8, input_shape=(380, 380, 3), dropout=0.4),
    "efficientnet_b5": EfficientNet(1.6, 2.2, input_shape=(456, 456, 3), dropout=0.4),
    "efficientnet_b6": EfficientNet(1.8, 2.6, input_shape=(528, 528, 3), dropout=0.5),
    "efficientnet_b7": EfficientNet(2.0, 3.1, input_shape=(600, 600, 3), dropout=0.5),
}, paper="https://arxiv.org/abs/1905.11946")
# fmt: on
