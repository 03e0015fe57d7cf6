"""MobileNetV3: found by search; squeeze and excitation, and hard swish in the later half.

MobileNetV3  https://arxiv.org/abs/1905.02244  Tables 1 and 2

Differs from the paper: channels are rounded to multiples of 8, as torchvision and TensorFlow's code do. The `_minimal`
variants are those of TensorFlow's code, for hardware that is slow at gates, 5x5 kernels and hard_swish.
"""

import dataclasses
from typing import Annotated, Literal, NamedTuple

from kerascnn.blocks import conv_norm, dense, inverted_residual, logits, pool, round_channels, split, stages
from kerascnn.registry import Activation, Epsilon, Initializer, Limits, Rate, Size, Spec, register

STEM = 16  # channels of the first convolution


class Row(NamedTuple):
    """A block, in the order of the paper's tables: NL is "RE" for relu, or "HS" for hard_swish."""

    kernel: Size
    expanded: Size
    channels: Size
    se: bool
    nonlinearity: Literal["RE", "HS"]
    stride: Literal[1, 2]


@dataclasses.dataclass(frozen=True)
class MobileNetV3(Spec):
    """`rows` are the paper's, `hidden` the units ahead of the logits; `width` multiplies the channels of rows alone;
    blocks expand by the same ratio at each width.

    activation= takes the place of hard_swish; where the paper has relu, it stays. `minimal` leaves out squeeze and
    excitation and the 5x5 kernels. A new stage begins at each stride. num_classes=0 gives the `hidden` units.
    """

    rows: tuple[Row, ...]
    hidden: Size
    _: dataclasses.KW_ONLY
    width: Annotated[float, Limits(0.05)] = 1.0
    minimal: bool = False
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    output_stride: Literal[8, 16, 32] = 32
    dropout: Rate = 0.2
    activation: Activation = "hard_swish"
    initializer: Initializer = "he_normal_fan_out"
    bn_momentum: Rate = 0.99
    bn_epsilon: Epsilon = 1e-3

    @property
    def blocks(self):
        """The rows with the numbers that their blocks have."""
        rows, table, before = [], STEM, STEM
        for row in self.rows:
            expanded = round_channels(row.expanded / table * before)
            table, before = row.channels, round_channels(row.channels * self.width)
            small = {"kernel": 3, "se": False} if self.minimal else {}
            rows.append(row._replace(expanded=expanded, channels=before, **small))
        return rows


def block(spec, x, row, place):
    act = "relu" if row.nonlinearity == "RE" else "spec"
    se = {"units": round_channels(row.expanded // 4), "gate": "hard_sigmoid"} if row.se else None
    return inverted_residual(spec, x, row.channels, row.expanded, row.kernel, place, act=act, se=se)


def build(spec, x):
    x = conv_norm(spec, x, STEM, 3, 2, name="stem_conv")
    x = stages(spec, x, split(spec.blocks), block)
    return conv_norm(spec, x, round_channels(6 * x.shape[-1]), 1, name="head_conv")


def head(spec, x):
    return logits(spec, dense(spec, pool(spec, x), spec.hidden, name="dense1"))


# fmt: off
LARGE = (
    Row(3, 16,  16,  False, "RE", 1),
    Row(3, 64,  24,  False, "RE", 2),
    Row(3, 72,  24,  False, "RE", 1),
    Row(5, 72,  40,  True,  "RE", 2),
    Row(5, 120, 40,  True,  "RE", 1),
    Row(5, 120, 40,  True,  "RE", 1),
    Row(3, 240, 80,  False, "HS", 2),
    Row(3, 200, 80,  False, "HS", 1),
    Row(3, 184, 80,  False, "HS", 1),
    Row(3, 184, 80,  False, "HS", 1),
    Row(3, 480, 112, True,  "HS", 1),
    Row(3, 672, 112, True,  "HS", 1),
    Row(5, 672, 160, True,  "HS", 2),
    Row(5, 960, 160, True,  "HS", 1),
    Row(5, 960, 160, True,  "HS", 1),
)
SMALL = (
    Row(3, 16,  16, True,  "RE", 2),
    Row(3, 72,  24, False, "RE", 2),
    Row(3, 88,  24, False, "RE", 1),
    Row(5, 96,  40, True,  "HS", 2),
    Row(5, 240, 40, True,  "HS", 1),
    Row(5, 240, 40, True,  "HS", 1),
    Row(5, 120, 48, True,  "HS", 1),
    Row(5, 144, 48, True,  "HS", 1),
    Row(5, 288, 96, True,  "HS", 2),
    Row(5, 576, 96, True,  "HS", 1),
    Row(5, 576, 96, True,  "HS", 1),
)
register(build, head, {
    "mobilenet_v3_large":         MobileNetV3(LARGE, 1280),
    "mobilenet_v3_large_075":     MobileNetV3(LARGE, 1280, width=0.75),
    "mobilenet_v3_large_minimal": MobileNetV3(LARGE, 1280, minimal=True, activation="relu"),
    "mobilenet_v3_small":         MobileNetV3(SMALL, 1024),
    "mobilenet_v3_small_075":     MobileNetV3(SMALL, 1024, width=0.75),
    "mobilenet_v3_small_minimal": MobileNetV3(SMALL, 1024, minimal=True, activation="relu"),
}, paper="https://arxiv.org/abs/1905.02244", aliases={
    "mobilenetv3_large_100":         "mobilenet_v3_large",
    "mobilenetv3_large_075":         "mobilenet_v3_large_075",
    "mobilenetv3_large_minimal_100": "mobilenet_v3_large_minimal",
    "mobilenetv3_small_100":         "mobilenet_v3_small",
    "mobilenetv3_small_075":         "mobilenet_v3_small_075",
    "mobilenetv3_small_minimal_100": "mobilenet_v3_small_minimal",
})
# fmt: on
