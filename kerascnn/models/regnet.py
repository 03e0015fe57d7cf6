"""RegNet: four numbers say how wide each block is, and one how wide its groups are.

RegNetX, RegNetY    https://arxiv.org/abs/2003.13678

Differs from the paper: where a width is rounded to whole groups, torchvision adds one that the paper's code does
not, if half a group is left over, or if the width would fall by more than a tenth. So regnet_x_400mf, regnet_y_800mf
and regnet_y_8gf are larger than the paper's, which are regnetx_004, regnety_008 and regnety_080, as timm calls them.
The last norm of a block starts at zero (zero_init_residual=False lets it start at one). The form is torchvision's, and
where it has no such net, timm's.
"""

import dataclasses
import itertools
import math
from typing import Annotated, Literal, NamedTuple

from kerascnn.blocks import (
    activation,
    classifier,
    conv_norm,
    residual,
    round_channels,
    squeeze_excite,
    stages,
)
from kerascnn.registry import Initializer, Limits, Rate, Size, Spec, register


class Row(NamedTuple):
    """A block."""

    channels: int
    groups: int
    stride: int


@dataclasses.dataclass(frozen=True)
class RegNet(Spec):
    """The block at depth i has `initial_width` + `slope` * i channels, but rounded.

    First to `initial_width` times a whole power of `ratio`, then to 8; blocks of one width are a stage. Last to groups
    of `group_width`: with `widen` half a group counts as one, and so does what is more than a tenth of the width. The
    gates of squeeze-and-excitation have `se_ratio` of the channels that go into the block; at 0 there are none.
    """

    initial_width: Size
    slope: Annotated[float, Limits(0)]
    ratio: Annotated[float, Limits(1)]
    group_width: Size
    depth: Size
    se_ratio: Annotated[float, Limits(0, 1)] = 0.0
    _: dataclasses.KW_ONLY
    stem: Size = 32
    widen: bool = True
    zero_init_residual: bool = True
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    output_stride: Literal[8, 16, 32] = 32
    initializer: Initializer = "he_normal_fan_out"

    @property
    def rows(self) -> list[list[Row]]:
        """The blocks of each stage."""
        widths = []
        for i in range(self.depth):
            power = round(math.log1p(self.slope * i / self.initial_width) / math.log(self.ratio))
            widths.append(round(self.initial_width * self.ratio**power / 8) * 8)
        rows = []
        for width, blocks in itertools.groupby(widths):
            group = min(self.group_width, width)
            channels = round_channels(width, group) if self.widen else round(width / group) * group
            rows.append([Row(channels, channels // group, 1 if j else 2) for j, _ in enumerate(blocks)])
        return rows

    def __post_init__(self):
        super().__post_init__()
        if self.ratio == 1:
            raise ValueError("ratio must be more than 1")


def block(spec, x, row, place):
    name, channels, stride = place.name, row.channels, place.stride
    y = conv_norm(spec, x, channels, 1, name=f"{name}_conv1")
    y = conv_norm(spec, y, channels, 3, stride, groups=row.groups, dilation=place.dilation, name=f"{name}_conv2")
    if spec.se_ratio:
        y = squeeze_excite(spec, y, round(spec.se_ratio * x.shape[-1]), act="spec", name=f"{name}_se")
    y = conv_norm(spec, y, channels, 1, act=None, zero_init=spec.zero_init_residual, name=f"{name}_conv3")
    if stride > 1 or x.shape[-1] != channels:
        x = conv_norm(spec, x, channels, 1, stride, act=None, name=f"{name}_shortcut_conv")
    return activation(spec, residual(y, x, place.rate, place.drop_block, name=name), name=f"{name}_act")


def build(spec, x):
    return stages(spec, conv_norm(spec, x, spec.stem, 3, 2, name="stem_conv"), spec.rows, block)


# fmt: off
register(build, classifier, {
    "regnet_x_200mf": RegNet(24,  36.44,  2.49, 8,   13),
    "regnet_x_400mf": RegNet(24,  24.48,  2.54, 16,  22),
    "regnetx_004":    RegNet(24,  24.48,  2.54, 16,  22, widen=False),
    "regnet_x_600mf": RegNet(48,  36.97,  2.24, 24,  16),
    "regnet_x_800mf": RegNet(56,  35.73,  2.28, 16,  16),
    "regnet_x_1_6gf": RegNet(80,  34.01,  2.25, 24,  18),
    "regnet_x_3_2gf": RegNet(88,  26.31,  2.25, 48,  25),
    "regnet_x_4_0gf": RegNet(96,  38.65,  2.43, 40,  23, widen=False),
    "regnet_x_6_4gf": RegNet(184, 60.83,  2.07, 56,  17),
    "regnet_x_8gf":   RegNet(80,  49.56,  2.88, 120, 23),
    "regnet_x_12gf":  RegNet(168, 73.36,  2.37, 112, 19),
    "regnet_x_16gf":  RegNet(216, 55.59,  2.1,  128, 22),
    "regnet_x_32gf":  RegNet(320, 69.86,  2.0,  168, 23),
    "regnet_y_200mf": RegNet(24,  36.44,  2.49, 8,   13, 0.25),
    "regnet_y_400mf": RegNet(48,  27.89,  2.09, 8,   16, 0.25),
    "regnet_y_600mf": RegNet(48,  32.54,  2.32, 16,  15, 0.25),
    "regnet_y_800mf": RegNet(56,  38.84,  2.4,  16,  14, 0.25),
    "regnety_008":    RegNet(56,  38.84,  2.4,  16,  14, 0.25, widen=False),
    "regnet_y_1_6gf": RegNet(48,  20.71,  2.65, 24,  27, 0.25),
    "regnet_y_3_2gf": RegNet(80,  42.63,  2.66, 24,  21, 0.25),
    "regnet_y_4_0gf": RegNet(96,  31.41,  2.24, 64,  22, 0.25, widen=False),
    "regnet_y_6_4gf": RegNet(112, 33.22,  2.27, 72,  25, 0.25),
    "regnet_y_8gf":   RegNet(192, 76.82,  2.19, 56,  17, 0.25),
    "regnety_080":    RegNet(192, 76.82,  2.19, 56,  17, 0.25, widen=False),
    "regnet_y_12gf":  RegNet(168, 73.36,  2.37, 112, 19, 0.25),
    "regnet_y_16gf":  RegNet(200, 106.23, 2.48, 112, 18, 0.25),
    "regnet_y_32gf":  RegNet(232, 115.89, 2.53, 232, 20, 0.25),
    "regnet_y_128gf": RegNet(456, 160.83, 2.52, 264, 27, 0.25),
}, paper="https://arxiv.org/abs/2003.13678", aliases={
    "regnetx_002":    "regnet_x_200mf", "regnety_002":    "regnet_y_200mf",
    "regnetx_004_tv": "regnet_x_400mf", "regnety_004":    "regnet_y_400mf",
    "regnetx_006":    "regnet_x_600mf", "regnety_006":    "regnet_y_600mf",
    "regnetx_008":    "regnet_x_800mf", "regnety_008_tv": "regnet_y_800mf",
    "regnetx_016":    "regnet_x_1_6gf", "regnety_016":    "regnet_y_1_6gf",
    "regnetx_032":    "regnet_x_3_2gf", "regnety_032":    "regnet_y_3_2gf",
    "regnetx_040":    "regnet_x_4_0gf", "regnety_040":    "regnet_y_4_0gf",
    "regnetx_064":    "regnet_x_6_4gf", "regnety_064":    "regnet_y_6_4gf",
    "regnetx_080":    "regnet_x_8gf",   "regnety_080_tv": "regnet_y_8gf",
    "regnetx_120":    "regnet_x_12gf",  "regnety_120":    "regnet_y_12gf",
    "regnetx_160":    "regnet_x_16gf",  "regnety_160":    "regnet_y_16gf",
    "regnetx_320":    "regnet_x_32gf",  "regnety_320":    "regnet_y_32gf",
    "regnety_1280":   "regnet_y_128gf",
})
# fmt: on
