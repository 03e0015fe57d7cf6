"""ResNet and its descendants.

ResNet         https://arxiv.org/abs/1512.03385
Wide ResNet    https://arxiv.org/abs/1605.07146  base_width
ResNeXt        https://arxiv.org/abs/1611.05431  groups, base_width
SE-ResNet      https://arxiv.org/abs/1709.01507  se
ResNet-C, -D   https://arxiv.org/abs/1812.01187  deep_stem, avg_down
ECA-Net        https://arxiv.org/abs/1910.03151  eca
ResNet-RS      https://arxiv.org/abs/2103.07579  stem_pool=False, se_ratio=0.25

Differs from the papers: a bottleneck strides in its 3x3 ("v1.5"; stride_in_1x1=True is the paper's v1), and the last
norm of a block starts at zero (zero_init_residual=False lets it start at one).
"""

import dataclasses
from typing import Annotated, Any, Literal

import keras

from kerascnn.blocks import (
    activation,
    channel_attention,
    classifier,
    conv_norm,
    dilations,
    linear_rates,
    max_pool,
    residual,
    round_channels,
    squeeze_excite,
)
from kerascnn.registry import Initializer, Limits, Rate, Ratio, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class ResNet(Spec):
    """`depths` are the blocks of each stage, `widths` the filters of their 3x3 convolutions in a plain ResNet.

    A bottleneck's 3x3 has `groups` groups of `base_width`/64 of that, and its last 1x1 four times `widths`.
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[Size, ...]
    _: dataclasses.KW_ONLY
    widths: tuple[Size, ...] = (64, 128, 256, 512)
    groups: Size = 1
    base_width: Size = 64
    stride_in_1x1: bool = False
    deep_stem: bool = False
    stem_pool: bool = True
    avg_down: bool = False
    se: bool = False
    se_ratio: Annotated[float, Limits(0, 1)] = 1 / 16
    eca: bool = False
    zero_init_residual: bool = True
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    fractional_pool: Ratio = None
    output_stride: Literal[8, 16, 32] = 32
    initializer: Initializer = "he_normal_fan_out"

    def __post_init__(self):
        super().__post_init__()
        if len(self.depths) != len(self.widths):
            raise ValueError(f"widths must be {len(self.depths)} numbers, one for each of depths")
        if self.block == "basic" and (self.groups, self.base_width) != (1, 64):
            raise ValueError("groups and base_width are for block='bottleneck'")
        if self.fractional_pool and not self.stem_pool:
            raise ValueError("fractional_pool needs stem_pool=True: there is no other pooling to make fractional")


def stem(spec, x):
    if spec.deep_stem:
        x = conv_norm(spec, x, 32, 3, 2, name="stem_conv1")
        x = conv_norm(spec, x, 32, 3, name="stem_conv2")
        x = conv_norm(spec, x, 64, 3, name="stem_conv3")
    else:
        x = conv_norm(spec, x, 64, 7, 2, name="stem_conv")
    if spec.stem_pool:
        return max_pool(spec, x, 3, 2, name="stem_pool")
    return conv_norm(spec, x, 64, 3, 2, name="stem_conv4")


def basic(spec, x, filters, stride, first, dilation, name):
    x = conv_norm(spec, x, filters, 3, stride, dilation=first, name=f"{name}_conv1")
    zero_init = spec.zero_init_residual
    return conv_norm(spec, x, filters, 3, dilation=dilation, act=None, zero_init=zero_init, name=f"{name}_conv2")


def bottleneck(spec, x, filters, stride, first, dilation, name):
    width = filters * spec.base_width // 64 * spec.groups
    early, late = (stride, 1) if spec.stride_in_1x1 else (1, stride)
    x = conv_norm(spec, x, width, 1, early, name=f"{name}_conv1")
    x = conv_norm(spec, x, width, 3, late, groups=spec.groups, dilation=first, name=f"{name}_conv2")
    return conv_norm(spec, x, 4 * filters, 1, act=None, zero_init=spec.zero_init_residual, name=f"{name}_conv3")


def project(spec, x, channels, stride, name):
    """The shortcut where the shape changes."""
    if x.shape[-1] == channels and stride == 1:
        return x
    if spec.avg_down and stride > 1:
        x = keras.layers.AveragePooling2D(2, stride, "same", name=f"{name}_shortcut_pool")(x)
        stride = 1
    return conv_norm(spec, x, channels, 1, stride, act=None, name=f"{name}_shortcut_conv")


def build(spec, x):
    x = stem(spec, x)
    branch = {"basic": basic, "bottleneck": bottleneck}[spec.block]
    rates = iter(linear_rates(spec.drop_path, sum(spec.depths)))
    strides = [2 if i and j == 0 else 1 for i, depth in enumerate(spec.depths) for j in range(depth)]
    plan = iter(dilations(strides, spec.output_stride // 4))
    for i, (depth, filters) in enumerate(zip(spec.depths, spec.widths, strict=True), 1):
        for j in range(1, depth + 1):
            name = f"stage{i}_block{j}"
            stride, first, dilation = next(plan)
            y = branch(spec, x, filters, stride, first, dilation, name)
            if spec.se:
                y = squeeze_excite(spec, y, round_channels(y.shape[-1] * spec.se_ratio, limit=0), name=f"{name}_se")
            if spec.eca:
                y = channel_attention(y, name=f"{name}_eca")
            shortcut = project(spec, x, y.shape[-1], stride, name)
            drop_block = spec.drop_block if i > len(spec.depths) - 2 else 0.0
            x = residual(y, shortcut, next(rates), drop_block=drop_block, name=name)
            x = activation(spec, x, name=f"{name}_act")
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return x


D: dict[str, Any] = {"deep_stem": True, "avg_down": True}
RS: dict[str, Any] = D | {"stem_pool": False, "se": True, "se_ratio": 0.25}
# fmt: off
register(build, classifier, {
    "resnet10":           ResNet("basic",      (1, 1, 1, 1)),
    "resnet18":           ResNet("basic",      (2, 2, 2, 2)),
    "resnet34":           ResNet("basic",      (3, 4, 6, 3)),
    "resnet26":           ResNet("bottleneck", (2, 2, 2, 2)),
    "resnet50":           ResNet("bottleneck", (3, 4, 6, 3)),
    "resnet101":          ResNet("bottleneck", (3, 4, 23, 3)),
    "resnet152":          ResNet("bottleneck", (3, 8, 36, 3)),
}, paper="https://arxiv.org/abs/1512.03385")
register(build, classifier, {
    "wide_resnet50_2":    ResNet("bottleneck", (3, 4, 6, 3),  base_width=128),
    "wide_resnet101_2":   ResNet("bottleneck", (3, 4, 23, 3), base_width=128),
}, paper="https://arxiv.org/abs/1605.07146")
register(build, classifier, {
    "resnext50_32x4d":    ResNet("bottleneck", (3, 4, 6, 3),  groups=32, base_width=4),
    "resnext101_32x4d":   ResNet("bottleneck", (3, 4, 23, 3), groups=32, base_width=4),
    "resnext101_32x8d":   ResNet("bottleneck", (3, 4, 23, 3), groups=32, base_width=8),
    "resnext101_64x4d":   ResNet("bottleneck", (3, 4, 23, 3), groups=64, base_width=4),
}, paper="https://arxiv.org/abs/1611.05431")
register(build, classifier, {
    "resnet18d":          ResNet("basic",      (2, 2, 2, 2),  **D),
    "resnet34d":          ResNet("basic",      (3, 4, 6, 3),  **D),
    "resnet26d":          ResNet("bottleneck", (2, 2, 2, 2),  **D),
    "resnet50d":          ResNet("bottleneck", (3, 4, 6, 3),  **D),
    "resnet101d":         ResNet("bottleneck", (3, 4, 23, 3), **D),
    "resnet152d":         ResNet("bottleneck", (3, 8, 36, 3), **D),
}, paper="https://arxiv.org/abs/1812.01187")
register(build, classifier, {
    "seresnet18":         ResNet("basic",      (2, 2, 2, 2),  se=True),
    "seresnet34":         ResNet("basic",      (3, 4, 6, 3),  se=True),
    "seresnet50":         ResNet("bottleneck", (3, 4, 6, 3),  se=True),
    "seresnet101":        ResNet("bottleneck", (3, 4, 23, 3), se=True),
    "seresnet152":        ResNet("bottleneck", (3, 8, 36, 3), se=True),
    "seresnext50_32x4d":  ResNet("bottleneck", (3, 4, 6, 3),  groups=32, base_width=4, se=True),
    "seresnext101_32x4d": ResNet("bottleneck", (3, 4, 23, 3), groups=32, base_width=4, se=True),
    "seresnext101_32x8d": ResNet("bottleneck", (3, 4, 23, 3), groups=32, base_width=8, se=True),
}, paper="https://arxiv.org/abs/1709.01507")
register(build, classifier, {
    "ecaresnet50d":       ResNet("bottleneck", (3, 4, 6, 3),  eca=True, **D),
}, paper="https://arxiv.org/abs/1910.03151")
register(build, classifier, {
    "resnetrs50":         ResNet("bottleneck", (3, 4, 6, 3),  **RS),
    "resnetrs101":        ResNet("bottleneck", (3, 4, 23, 3), **RS),
}, paper="https://arxiv.org/abs/2103.07579")
# fmt: on
