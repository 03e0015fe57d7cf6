"""GhostNet: half of a map by 1x1 convolutions, the other half by a depthwise convolution of the first.

GhostNet  https://arxiv.org/abs/1911.11907  Table 7

Differs from the paper: channels are rounded to multiples of 4, as the authors' code does. At 1.3 that makes 7.36
million parameters and 227 million multiply-accumulates, in timm too, where the paper prints 7.3 and 226.
"""

import dataclasses
from typing import Annotated, Literal, NamedTuple

import keras

from kerascnn.blocks import (
    conv_norm,
    dense,
    depthwise_norm,
    logits,
    pool,
    residual,
    round_channels,
    split,
    squeeze_excite,
    stages,
)
from kerascnn.registry import Initializer, Limits, Rate, Size, Spec, register


class Row(NamedTuple):
    """A block, in the order of the paper's table. The kernel is that of its stride, and of the shortcut then."""

    kernel: Size
    expanded: Size
    channels: Size
    se: bool
    stride: Literal[1, 2]


# fmt: off
ROWS = (
    Row(3, 16,  16,  False, 1),
    Row(3, 48,  24,  False, 2),
    Row(3, 72,  24,  False, 1),
    Row(5, 72,  40,  True,  2),
    Row(5, 120, 40,  True,  1),
    Row(3, 240, 80,  False, 2),
    Row(3, 200, 80,  False, 1),
    Row(3, 184, 80,  False, 1),
    Row(3, 184, 80,  False, 1),
    Row(3, 480, 112, True,  1),
    Row(3, 672, 112, True,  1),
    Row(5, 672, 160, True,  2),
    Row(5, 960, 160, False, 1),
    Row(5, 960, 160, True,  1),
    Row(5, 960, 160, False, 1),
    Row(5, 960, 160, True,  1),
)
# fmt: on


@dataclasses.dataclass(frozen=True)
class GhostNet(Spec):
    """`width` multiplies all channels but those of `hidden`, the units ahead of the logits, which num_classes=0 gives.

    Gates have `se_ratio` of the expanded channels between. A new stage begins at each stride.
    """

    width: Annotated[float, Limits(0.05)]
    rows: tuple[Row, ...] = ROWS
    _: dataclasses.KW_ONLY
    hidden: Size = 1280
    se_ratio: Annotated[float, Limits(0, 1)] = 0.25
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    output_stride: Literal[8, 16, 32] = 32
    dropout: Rate = 0.2
    initializer: Initializer = "he_normal_fan_out"

    def wide(self, channels):
        return round_channels(channels * self.width, 4)


def ghost(spec, x, filters, dilation, act, zero_init, name, n):
    """The n-th convolution and the one behind it, which makes ghosts of its maps."""
    x = conv_norm(spec, x, filters // 2, 1, act=act, zero_init=zero_init, name=f"{name}_conv{n}")
    name_next = f"{name}_conv{n + 1}"
    ghosts = depthwise_norm(spec, x, 3, dilation=dilation, act=act, zero_init=zero_init, name=name_next)
    return keras.layers.Concatenate(name=f"{name}_ghost{n}")([x, ghosts])


def block(spec, image, row, place):
    name, expanded, filters = place.name, spec.wide(row.expanded), spec.wide(row.channels)
    x = ghost(spec, image, expanded, place.dilation, "spec", False, name, 1)
    if row.stride > 1:
        x = depthwise_norm(spec, x, row.kernel, place.stride, dilation=place.dilation, act=None, name=f"{name}_conv3")
    if row.se:
        units = round_channels(expanded * spec.se_ratio, 4)
        x = squeeze_excite(spec, x, units, act="spec", gate="hard_sigmoid", name=f"{name}_se")
    x = ghost(spec, x, filters, place.after, None, spec.zero_init_residual, name, 4)
    return residual(x, project(spec, image, row, filters, place), place.rate, place.drop_block, name=name)


def project(spec, x, row, filters, place):
    """The shortcut where the shape changes."""
    if row.stride == 1 and x.shape[-1] == filters:
        return x
    name = f"{place.name}_shortcut_conv"
    x = depthwise_norm(spec, x, row.kernel, place.stride, dilation=place.dilation, act=None, name=f"{name}1")
    return conv_norm(spec, x, filters, 1, act=None, name=f"{name}2")


def build(spec, x):
    x = conv_norm(spec, x, spec.wide(16), 3, 2, name="stem_conv")
    x = stages(spec, x, split(spec.rows), block)
    return conv_norm(spec, x, spec.wide(spec.rows[-1].expanded), 1, name="head_conv")


def head(spec, x):
    return logits(spec, dense(spec, pool(spec, x), spec.hidden, name="dense1"))


# fmt: off
register(build, head, {
    "ghostnet_050": GhostNet(0.5),
    "ghostnet_100": GhostNet(1.0),
    "ghostnet_130": GhostNet(1.3),
}, paper="https://arxiv.org/abs/1911.11907")
# fmt: on
