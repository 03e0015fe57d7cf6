"""MNASNet: mobile nets found by a search that measured their latency on a phone.

MNASNet  https://arxiv.org/abs/1807.11626  Figure 7 (a) is `semnasnet_100`, A1 in the authors' code

mnasnet1_0 is B1 of the authors' code, without gates, as torchvision has it; `mnasnet_small` is from there too. Differs
from them: padding is symmetric, and batch norm's epsilon 1e-5, as in torchvision and timm.
"""

import dataclasses
from typing import Annotated, Literal, NamedTuple

from kerascnn.blocks import classifier, conv_norm, inverted_residual, repeated, round_channels, split, stages
from kerascnn.registry import Activation, Initializer, Limits, Rate, Size, Spec, register


class Row(NamedTuple):
    """Blocks that are alike; the first of them has the stride."""

    expand: Size
    kernel: Size
    channels: Size
    repeats: Size
    se: bool
    stride: Literal[1, 2]


@dataclasses.dataclass(frozen=True)
class MNASNet(Spec):
    """`width` multiplies the channels of `rows`, and those of the first convolution, `stem`; the last has 1280.

    Gates have `se_ratio` of a block's input channels between. A new stage begins at each stride.
    """

    rows: tuple[Row, ...]
    width: Annotated[float, Limits(0.05)] = 1.0
    _: dataclasses.KW_ONLY
    stem: Size = 32
    se_ratio: Annotated[float, Limits(0, 1)] = 0.25
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    output_stride: Literal[8, 16, 32] = 32
    dropout: Rate = 0.2
    initializer: Initializer = "he_normal_fan_out"
    activation: Activation = "relu"
    bn_momentum: Rate = 0.9997

    @property
    def blocks(self):
        """(number, row) of each block; rows are counted from 0."""
        return repeated(self.rows, self.width)


def block(spec, x, row, place):
    before = x.shape[-1]
    se = {"units": max(1, int(before * spec.se_ratio)), "act": "spec"} if row.se else None
    return inverted_residual(spec, x, row.channels, row.expand * before, row.kernel, place, se=se)


def build(spec, x):
    x = conv_norm(spec, x, round_channels(spec.stem * spec.width), 3, 2, name="stem_conv")
    x = stages(spec, x, split(row for _, row in spec.blocks), block)
    return conv_norm(spec, x, 1280, 1, name="head_conv")


# fmt: off
A1 = (  #  e  k  c    r  se     s
    Row(1, 3, 16,  1, False, 1),
    Row(6, 3, 24,  2, False, 2),
    Row(3, 5, 40,  3, True,  2),
    Row(6, 3, 80,  4, False, 2),
    Row(6, 3, 112, 2, True,  1),
    Row(6, 5, 160, 3, True,  2),
    Row(6, 3, 320, 1, False, 1),
)
B1 = (
    Row(1, 3, 16,  1, False, 1),
    Row(3, 3, 24,  3, False, 2),
    Row(3, 5, 40,  3, False, 2),
    Row(6, 5, 80,  3, False, 2),
    Row(6, 3, 96,  2, False, 1),
    Row(6, 5, 192, 4, False, 2),
    Row(6, 3, 320, 1, False, 1),
)
SMALL = (
    Row(1, 3, 8,   1, False, 1),
    Row(3, 3, 16,  1, False, 2),
    Row(6, 3, 16,  2, False, 2),
    Row(6, 5, 32,  4, True,  2),
    Row(6, 3, 32,  3, True,  1),
    Row(6, 5, 88,  3, True,  2),
    Row(6, 3, 144, 1, False, 1),
)
register(build, classifier, {
    "mnasnet0_5":    MNASNet(B1, 0.5),
    "mnasnet0_75":   MNASNet(B1, 0.75),
    "mnasnet1_0":    MNASNet(B1),
    "mnasnet1_3":    MNASNet(B1, 1.3),
    "mnasnet1_4":    MNASNet(B1, 1.4),
    "mnasnet_small": MNASNet(SMALL, stem=8),
    "semnasnet_050": MNASNet(A1, 0.5),
    "semnasnet_075": MNASNet(A1, 0.75),
    "semnasnet_100": MNASNet(A1),
    "semnasnet_140": MNASNet(A1, 1.4),
}, paper="https://arxiv.org/abs/1807.11626", aliases={
    "mnasnet_050": "mnasnet0_5",
    "mnasnet_075": "mnasnet0_75",
    "mnasnet_100": "mnasnet1_0",
    "mnasnet_140": "mnasnet1_4",
})
# fmt: on
