"""Dual path networks: a ResNeXt and a DenseNet that share their convolutions.

DPN          https://arxiv.org/abs/1707.01629

The first channels of a map are ResNeXt's, to which each block adds; behind them are DenseNet's, to which it appends.

Differs from the paper: in the nets with a b at the end of their names, which are timm's, two convolutions give the two
results of a block, and in dpn48b the first activation and the last are SiLU. The form is timm's.
"""

import dataclasses
from typing import Any, Literal

import keras

from kerascnn.blocks import (
    activation,
    alike,
    classifier,
    conv,
    conv_norm,
    max_pool,
    norm,
    norm_act,
    residual,
    stages,
)
from kerascnn.registry import Epsilon, Rate, Ratio, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class DPN(Spec):
    """`depths` are the blocks of each stage, `growth` the channels that each appends, `widths` those that it adds to.

    The 3x3 of the first stage has `bottleneck` channels in `groups` groups, and twice as many in each next stage.
    `split_last` has two last convolutions in a block in place of one. `outer_activation` is that of the stem and ahead
    of the pooling, where it is another one than in the blocks.
    """

    stem: Size
    bottleneck: Size
    groups: Size
    depths: tuple[Size, ...]
    growth: tuple[Size, ...]
    _: dataclasses.KW_ONLY
    widths: tuple[Size, ...] = (256, 512, 1024, 2048)
    stem_kernel: Literal[3, 7] = 7
    split_last: bool = False
    drop_path: Rate = 0.0
    fractional_pool: Ratio = None
    output_stride: Literal[8, 16, 32] = 32
    outer_activation: Literal["silu", None] = None
    bn_epsilon: Epsilon = 1e-3

    def __post_init__(self):
        super().__post_init__()
        if len(self.growth) != len(self.depths):
            raise ValueError(f"growth must be {len(self.depths)} numbers, one for each of depths")


def block(spec, x, row, place):
    """A block; the first of its stage has a convolution in its shortcut."""
    name, stride, width = place.name, place.stride, row.filters
    growth, middle = spec.growth[place.stage - 1], spec.bottleneck * 2 ** (place.stage - 1)
    shortcut = x
    if place.block == 1:
        shortcut = norm_act(spec, x, name=f"{name}_shortcut_norm")
        shortcut = conv(spec, shortcut, width + 2 * growth, 1, stride, bias=None, name=f"{name}_shortcut_conv")
    x = norm_act(spec, x, name=f"{name}_preact_norm")
    x = conv_norm(spec, x, middle, 1, name=f"{name}_conv1")
    x = conv_norm(spec, x, middle, 3, stride, groups=spec.groups, dilation=place.dilation, name=f"{name}_conv2")
    if spec.split_last:
        added = conv(spec, x, width, 1, bias=None, name=f"{name}_conv3")
        appended = conv(spec, x, growth, 1, bias=None, name=f"{name}_conv4")
    else:
        x = conv(spec, x, width + growth, 1, bias=None, name=f"{name}_conv3")
        added, appended = keras.ops.split(x, [width], -1)
    old, dense = keras.ops.split(shortcut, [width], -1)
    new = residual(added, old, place.rate, name=name)
    return keras.layers.Concatenate(name=f"{name}_concat")([new, dense, appended])


def build(spec, x):
    outer = spec.outer_activation or "spec"
    x = conv_norm(spec, x, spec.stem, spec.stem_kernel, 2, act=outer, name="stem_conv")
    x = max_pool(spec, x, 3, 2, name="stem_pool")
    x = norm(spec, stages(spec, x, alike(spec), block, shrunk=4), name="head_norm")
    return activation(spec, x, outer, name="head_act")


SMALL: dict[str, Any] = {"widths": (64, 128, 256, 512), "stem_kernel": 3}
# fmt: off
register(build, classifier, {
    "dpn48b": DPN(10,  128, 32, (3, 4, 6, 3),  (16, 32, 32, 64),  split_last=True, outer_activation="silu", **SMALL),
    "dpn68":  DPN(10,  128, 32, (3, 4, 12, 3), (16, 32, 32, 64),  **SMALL),
    "dpn68b": DPN(10,  128, 32, (3, 4, 12, 3), (16, 32, 32, 64),  split_last=True, **SMALL),
    "dpn92":  DPN(64,  96,  32, (3, 4, 20, 3), (16, 32, 24, 128)),
    "dpn98":  DPN(96,  160, 40, (3, 6, 20, 3), (16, 32, 32, 128)),
    "dpn131": DPN(128, 160, 40, (4, 8, 28, 3), (16, 32, 32, 128)),
    "dpn107": DPN(128, 200, 50, (4, 8, 20, 3), (20, 64, 64, 128)),
}, paper="https://arxiv.org/abs/1707.01629")
# fmt: on
