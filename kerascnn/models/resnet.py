"""ResNet and its descendants.

ResNet         https://arxiv.org/abs/1512.03385
Wide ResNet    https://arxiv.org/abs/1605.07146  base_width
ResNeXt        https://arxiv.org/abs/1611.05431  groups, base_width
SE-ResNet      https://arxiv.org/abs/1709.01507  se
ResNet-C, -D   https://arxiv.org/abs/1812.01187  deep_stem, avg_down
ResNet-S, -T   https://github.com/huggingface/pytorch-image-models  stem_widths; timm's names
ECA-Net        https://arxiv.org/abs/1910.03151  eca
ResNet-RS      https://arxiv.org/abs/2103.07579  stem_pool=False, se_ratio=0.25
Res2Net        https://arxiv.org/abs/1904.01169  scales
SKNet          https://arxiv.org/abs/1903.06586  sk
ResNeSt        https://arxiv.org/abs/2004.08955  radix

Differs from the papers: a bottleneck strides in its 3x3 ("v1.5"; stride_in_1x1=True is the paper's v1), and the last
norm of a block starts at zero (zero_init_residual=False lets it start at one). SKNet's 5x5 is a 3x3 that is dilated, as
in its own section 3.1, and skresnet's paths share out the channels, as timm has it; skresnext50_32x4d's do not.
"""

import dataclasses
from typing import Annotated, Any, Literal

import keras

from kerascnn.blocks import (
    activation,
    alike,
    attended_sum,
    average_pool,
    channel_attention,
    classifier,
    conv_norm,
    max_pool,
    residual,
    round_channels,
    squeeze_excite,
    stages,
)
from kerascnn.registry import Initializer, Limits, Rate, Ratio, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class ResNet(Spec):
    """`depths` are the blocks of each stage, `widths` the filters of their 3x3 convolutions in a plain ResNet.

    A bottleneck's 3x3 has `groups` groups of `base_width`/64 of that, and its last 1x1 four times `widths`. Three
    fields put something else in place of a 3x3:

    scales  Res2Net: the channels come in so many parts, each of `groups` and `base_width`; the first part has a 3x3,
            each of the next another one, which sees what the one before gives as well, and the last is left as it is
    sk      SKNet: two 3x3, one of them dilated, whose sum an attention weighs. Its hidden units are `sk_ratio` of the
            channels, but `sk_least` at least; with `sk_split` each path sees a half of the channels
    radix   ResNeSt: so many 3x3 in one, whose sum an attention weighs; at 0 there is none. A block that strides does so
            in an average pool, which is ahead of the 3x3 with `pool_first`
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[Size, ...]
    _: dataclasses.KW_ONLY
    widths: tuple[Size, ...] = (64, 128, 256, 512)
    groups: Size = 1
    base_width: Size = 64
    stride_in_1x1: bool = False
    deep_stem: bool = False
    stem_widths: tuple[Size, Size, Size] = (32, 32, 64)
    stem_pool: bool = True
    avg_down: bool = False
    se: bool = False
    se_ratio: Annotated[float, Limits(0, 1)] = 1 / 16
    eca: bool = False
    scales: Size = 1
    sk: bool = False
    sk_ratio: Annotated[float, Limits(0, 1)] = 1 / 16
    sk_least: Size = 32
    sk_split: bool = False
    radix: Annotated[int, Limits(0)] = 0
    pool_first: bool = False
    zero_init_residual: bool = True
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    fractional_pool: Ratio = None
    output_stride: Literal[8, 16, 32] = 32
    initializer: Initializer = "he_normal_fan_out"

    def __post_init__(self):
        super().__post_init__()
        if self.block == "basic" and (self.groups, self.base_width) != (1, 64):
            raise ValueError("groups and base_width are for block='bottleneck'")
        if self.block == "basic" and (self.scales > 1 or self.radix):
            raise ValueError("scales and radix are for block='bottleneck'")
        if (self.scales > 1) + self.sk + (self.radix > 0) > 1:
            raise ValueError("scales, sk and radix stand in the same place: set one of them")
        if self.stem_widths[:2] != (32, 32) and not self.deep_stem:
            raise ValueError("stem_widths needs deep_stem=True, but for the last of them")
        if self.fractional_pool and not self.stem_pool:
            raise ValueError("fractional_pool needs stem_pool=True: there is no other pooling to make fractional")


def stem(spec, x):
    first, second, last = spec.stem_widths
    if spec.deep_stem:
        x = conv_norm(spec, x, first, 3, 2, name="stem_conv1")
        x = conv_norm(spec, x, second, 3, name="stem_conv2")
        x = conv_norm(spec, x, last, 3, name="stem_conv3")
    else:
        x = conv_norm(spec, x, last, 7, 2, name="stem_conv")
    if spec.stem_pool:
        return max_pool(spec, x, 3, 2, name="stem_pool")
    return conv_norm(spec, x, last, 3, 2, name="stem_conv4")


def hierarchy(spec, x, width, stride, dilation, changes, name):
    """Res2Net's 3x3. In a block that changes its input's shape no part sees another's result."""
    *parts, rest = keras.ops.split(x, spec.scales, -1)
    done = []
    for i, part in enumerate(parts, 1):
        if done and not changes:
            part = keras.layers.Add(name=f"{name}_part{i}_add")([done[-1], part])
        part = conv_norm(
            spec, part, width, 3, stride, groups=spec.groups, dilation=dilation, name=f"{name}_part{i}_conv"
        )
        done.append(part)
    if changes:
        rest = average_pool(spec, rest, 3, stride, name=f"{name}_part{spec.scales}_pool")
    return keras.layers.Concatenate(name=f"{name}_parts")([*done, rest])


def selective_kernel(spec, x, width, stride, dilation, name):
    """SKNet's 3x3."""
    seen = keras.ops.split(x, 2, -1) if spec.sk_split else [x, x]
    first = conv_norm(spec, seen[0], width, 3, stride, groups=spec.groups, dilation=dilation, name=f"{name}_path1_conv")
    second, dilation = seen[1], 2 * dilation
    if stride > 1:  # every second pixel is all that a dilated kernel sees then, and Keras has no stride with dilation
        second, dilation = keras.layers.MaxPooling2D(1, stride, name=f"{name}_path2_pool")(second), dilation // stride
    second = conv_norm(spec, second, width, 3, groups=spec.groups, dilation=dilation, name=f"{name}_path2_conv")
    units = max(int(width * spec.sk_ratio), spec.sk_least)
    return attended_sum(spec, [first, second], units, bias=False, name=f"{name}_attention")


def split_attention(spec, x, width, stride, dilation, name):
    """ResNeSt's 3x3, and the pool that strides for it."""
    if stride > 1 and spec.pool_first:
        x = average_pool(spec, x, 3, stride, name=f"{name}_pool2")
    filters, groups = spec.radix * width, spec.radix * spec.groups
    x = conv_norm(spec, x, filters, 3, groups=groups, dilation=dilation, name=f"{name}_conv2")
    parts = keras.ops.split(x, spec.radix, -1)
    units = round_channels(max(filters / 4, 32))
    x = attended_sum(spec, parts, units, groups=spec.groups, bias=True, name=f"{name}_attention")
    return average_pool(spec, x, 3, stride, name=f"{name}_pool2") if stride > 1 and not spec.pool_first else x


def basic(spec, x, filters, place):
    name, zero_init = place.name, spec.zero_init_residual
    if spec.sk:
        x = selective_kernel(spec, x, filters, place.stride, place.dilation, name)
    else:
        x = conv_norm(spec, x, filters, 3, place.stride, dilation=place.dilation, name=f"{name}_conv1")
    return conv_norm(spec, x, filters, 3, dilation=place.after, act=None, zero_init=zero_init, name=f"{name}_conv2")


def bottleneck(spec, x, filters, place):
    name, dilation = place.name, place.dilation
    width = filters * spec.base_width // 64 * spec.groups
    early, late = (place.stride, 1) if spec.stride_in_1x1 else (1, place.stride)
    changes = place.stride > 1 or x.shape[-1] != 4 * filters
    x = conv_norm(spec, x, spec.scales * width, 1, early, name=f"{name}_conv1")
    if spec.scales > 1:
        x = hierarchy(spec, x, width, late, dilation, changes, name)
    elif spec.sk:
        x = selective_kernel(spec, x, width, late, dilation, name)
    elif spec.radix:
        x = split_attention(spec, x, width, late, dilation, name)
    else:
        x = conv_norm(spec, x, width, 3, late, groups=spec.groups, dilation=dilation, name=f"{name}_conv2")
    return conv_norm(spec, x, 4 * filters, 1, act=None, zero_init=spec.zero_init_residual, name=f"{name}_conv3")


def project(spec, x, channels, stride, name):
    """The shortcut where the shape changes."""
    if x.shape[-1] == channels and stride == 1:
        return x
    if spec.avg_down and stride > 1:
        x = keras.layers.AveragePooling2D(2, stride, "same", name=f"{name}_shortcut_pool")(x)
        stride = 1
    return conv_norm(spec, x, channels, 1, stride, act=None, name=f"{name}_shortcut_conv")


def block(spec, image, row, place):
    name, branch = place.name, {"basic": basic, "bottleneck": bottleneck}[spec.block]
    x = branch(spec, image, row.filters, place)
    if spec.se:
        x = squeeze_excite(spec, x, round_channels(x.shape[-1] * spec.se_ratio, limit=0), name=f"{name}_se")
    if spec.eca:
        x = channel_attention(x, name=f"{name}_eca")
    shortcut = project(spec, image, x.shape[-1], place.stride, name)
    x = residual(x, shortcut, place.rate, place.drop_block, name=name)
    return activation(spec, x, name=f"{name}_act")


def build(spec, x):
    return stages(spec, stem(spec, x), alike(spec), block, shrunk=4)


C: dict[str, Any] = {"deep_stem": True}
D: dict[str, Any] = C | {"avg_down": True}
S: dict[str, Any] = C | {"stem_widths": (64, 64, 128)}
T: dict[str, Any] = D | {"stem_widths": (24, 32, 64)}
RS: dict[str, Any] = D | {"stem_pool": False, "se": True, "se_ratio": 0.25}
X: dict[str, Any] = {"groups": 32, "base_width": 4}
SK: dict[str, Any] = {"sk": True, "sk_split": True, "zero_init_residual": False}
ST: dict[str, Any] = D | {"radix": 2}
# fmt: off
register(build, classifier, {
    "resnet10":            ResNet("basic",      (1, 1, 1, 1)),
    "resnet18":            ResNet("basic",      (2, 2, 2, 2)),
    "resnet34":            ResNet("basic",      (3, 4, 6, 3)),
    "resnet26":            ResNet("bottleneck", (2, 2, 2, 2)),
    "resnet50":            ResNet("bottleneck", (3, 4, 6, 3)),
    "resnet101":           ResNet("bottleneck", (3, 4, 23, 3)),
    "resnet152":           ResNet("bottleneck", (3, 8, 36, 3)),
    "resnet200":           ResNet("bottleneck", (3, 24, 36, 3)),
}, paper="https://arxiv.org/abs/1512.03385")
register(build, classifier, {
    "resnet50_gn":         ResNet("bottleneck", (3, 4, 6, 3),   norm="group"),
}, paper="https://arxiv.org/abs/1803.08494")
register(build, classifier, {
    "wide_resnet50_2":     ResNet("bottleneck", (3, 4, 6, 3),   base_width=128),
    "wide_resnet101_2":    ResNet("bottleneck", (3, 4, 23, 3),  base_width=128),
}, paper="https://arxiv.org/abs/1605.07146")
register(build, classifier, {
    "resnext50_32x4d":     ResNet("bottleneck", (3, 4, 6, 3),   **X),
    "resnext101_32x4d":    ResNet("bottleneck", (3, 4, 23, 3),  **X),
    "resnext101_32x8d":    ResNet("bottleneck", (3, 4, 23, 3),  groups=32, base_width=8),
    "resnext101_32x16d":   ResNet("bottleneck", (3, 4, 23, 3),  groups=32, base_width=16),
    "resnext101_32x32d":   ResNet("bottleneck", (3, 4, 23, 3),  groups=32, base_width=32),
    "resnext101_64x4d":    ResNet("bottleneck", (3, 4, 23, 3),  groups=64, base_width=4),
    "resnext50d_32x4d":    ResNet("bottleneck", (3, 4, 6, 3),   **X, **D),
}, paper="https://arxiv.org/abs/1611.05431")
register(build, classifier, {
    "resnet50c":           ResNet("bottleneck", (3, 4, 6, 3),   **C),
    "resnet101c":          ResNet("bottleneck", (3, 4, 23, 3),  **C),
    "resnet152c":          ResNet("bottleneck", (3, 8, 36, 3),  **C),
    "resnet18d":           ResNet("basic",      (2, 2, 2, 2),   **D),
    "resnet34d":           ResNet("basic",      (3, 4, 6, 3),   **D),
    "resnet26d":           ResNet("bottleneck", (2, 2, 2, 2),   **D),
    "resnet50d":           ResNet("bottleneck", (3, 4, 6, 3),   **D),
    "resnet101d":          ResNet("bottleneck", (3, 4, 23, 3),  **D),
    "resnet152d":          ResNet("bottleneck", (3, 8, 36, 3),  **D),
    "resnet200d":          ResNet("bottleneck", (3, 24, 36, 3), **D),
    "resnet50s":           ResNet("bottleneck", (3, 4, 6, 3),   **S),
    "resnet101s":          ResNet("bottleneck", (3, 4, 23, 3),  **S),
    "resnet152s":          ResNet("bottleneck", (3, 8, 36, 3),  **S),
    "resnet10t":           ResNet("basic",      (1, 1, 1, 1),   **T),
    "resnet14t":           ResNet("bottleneck", (1, 1, 1, 1),   **T),
    "resnet26t":           ResNet("bottleneck", (2, 2, 2, 2),   **T),
    "resnet50t":           ResNet("bottleneck", (3, 4, 6, 3),   **T),
}, paper="https://arxiv.org/abs/1812.01187")
register(build, classifier, {
    "seresnet18":          ResNet("basic",      (2, 2, 2, 2),   se=True),
    "seresnet34":          ResNet("basic",      (3, 4, 6, 3),   se=True),
    "seresnet50":          ResNet("bottleneck", (3, 4, 6, 3),   se=True),
    "seresnet101":         ResNet("bottleneck", (3, 4, 23, 3),  se=True),
    "seresnet152":         ResNet("bottleneck", (3, 8, 36, 3),  se=True),
    "seresnet152d":        ResNet("bottleneck", (3, 8, 36, 3),  se=True, **D),
    "seresnet200d":        ResNet("bottleneck", (3, 24, 36, 3), se=True, **D),
    "seresnet269d":        ResNet("bottleneck", (3, 30, 48, 8), se=True, **D),
    "seresnet50t":         ResNet("bottleneck", (3, 4, 6, 3),   se=True, **T),
    "seresnext50_32x4d":   ResNet("bottleneck", (3, 4, 6, 3),   se=True, **X),
    "seresnext101_32x4d":  ResNet("bottleneck", (3, 4, 23, 3),  se=True, **X),
    "seresnext101_32x8d":  ResNet("bottleneck", (3, 4, 23, 3),  se=True, groups=32, base_width=8),
    "seresnext101_64x4d":  ResNet("bottleneck", (3, 4, 23, 3),  se=True, groups=64, base_width=4),
    "seresnext101d_32x8d": ResNet("bottleneck", (3, 4, 23, 3),  se=True, groups=32, base_width=8, **D),
    "seresnext26d_32x4d":  ResNet("bottleneck", (2, 2, 2, 2),   se=True, **X, **D),
    "seresnext26t_32x4d":  ResNet("bottleneck", (2, 2, 2, 2),   se=True, **X, **T),
}, paper="https://arxiv.org/abs/1709.01507")
register(build, classifier, {
    "ecaresnetlight":      ResNet("bottleneck", (1, 1, 11, 3),  eca=True, avg_down=True),
    "ecaresnet50d":        ResNet("bottleneck", (3, 4, 6, 3),   eca=True, **D),
    "ecaresnet101d":       ResNet("bottleneck", (3, 4, 23, 3),  eca=True, **D),
    "ecaresnet200d":       ResNet("bottleneck", (3, 24, 36, 3), eca=True, **D),
    "ecaresnet269d":       ResNet("bottleneck", (3, 30, 48, 8), eca=True, **D),
    "ecaresnet26t":        ResNet("bottleneck", (2, 2, 2, 2),   eca=True, **T),
    "ecaresnet50t":        ResNet("bottleneck", (3, 4, 6, 3),   eca=True, **T),
    "ecaresnext26t_32x4d": ResNet("bottleneck", (2, 2, 2, 2),   eca=True, **X, **T),
    "ecaresnext50t_32x4d": ResNet("bottleneck", (3, 4, 6, 3),   eca=True, **X, **T),
}, paper="https://arxiv.org/abs/1910.03151")
register(build, classifier, {
    "resnetrs50":          ResNet("bottleneck", (3, 4, 6, 3),   **RS),
    "resnetrs101":         ResNet("bottleneck", (3, 4, 23, 3),  **RS),
    "resnetrs152":         ResNet("bottleneck", (3, 8, 36, 3),  **RS),
    "resnetrs200":         ResNet("bottleneck", (3, 24, 36, 3), **RS),
    "resnetrs270":         ResNet("bottleneck", (4, 29, 53, 4), **RS),
    "resnetrs350":         ResNet("bottleneck", (4, 36, 72, 4), **RS),
    "resnetrs420":         ResNet("bottleneck", (4, 44, 87, 4), **RS),
}, paper="https://arxiv.org/abs/2103.07579")
register(build, classifier, {
    "res2net50_26w_4s":    ResNet("bottleneck", (3, 4, 6, 3),   scales=4, base_width=26),
    "res2net50_26w_6s":    ResNet("bottleneck", (3, 4, 6, 3),   scales=6, base_width=26),
    "res2net50_26w_8s":    ResNet("bottleneck", (3, 4, 6, 3),   scales=8, base_width=26),
    "res2net50_48w_2s":    ResNet("bottleneck", (3, 4, 6, 3),   scales=2, base_width=48),
    "res2net50_14w_8s":    ResNet("bottleneck", (3, 4, 6, 3),   scales=8, base_width=14),
    "res2net101_26w_4s":   ResNet("bottleneck", (3, 4, 23, 3),  scales=4, base_width=26),
    "res2next50":          ResNet("bottleneck", (3, 4, 6, 3),   scales=4, base_width=4, groups=8),
    "res2net50d":          ResNet("bottleneck", (3, 4, 6, 3),   scales=4, base_width=26, **D),
    "res2net101d":         ResNet("bottleneck", (3, 4, 23, 3),  scales=4, base_width=26, **D),
}, paper="https://arxiv.org/abs/1904.01169")
register(build, classifier, {
    "skresnet18":          ResNet("basic",      (2, 2, 2, 2),   sk_ratio=1/8, sk_least=16, **SK),
    "skresnet34":          ResNet("basic",      (3, 4, 6, 3),   sk_ratio=1/8, sk_least=16, **SK),
    "skresnet50":          ResNet("bottleneck", (3, 4, 6, 3),   sk_least=8, **SK),
    "skresnet50d":         ResNet("bottleneck", (3, 4, 6, 3),   sk_least=8, **SK, **D),
    "skresnext50_32x4d":   ResNet("bottleneck", (3, 4, 6, 3),   sk=True, zero_init_residual=False, **X),
}, paper="https://arxiv.org/abs/1903.06586")
register(build, classifier, {
    "resnest14d":          ResNet("bottleneck", (1, 1, 1, 1),   **ST),
    "resnest26d":          ResNet("bottleneck", (2, 2, 2, 2),   **ST),
    "resnest50d":          ResNet("bottleneck", (3, 4, 6, 3),   **ST),
    "resnest101e":         ResNet("bottleneck", (3, 4, 23, 3),  radix=2, avg_down=True, **S),
    "resnest200e":         ResNet("bottleneck", (3, 24, 36, 3), radix=2, avg_down=True, **S),
    "resnest269e":         ResNet("bottleneck", (3, 30, 48, 8), radix=2, avg_down=True, **S),
    "resnest50d_1s4x24d":  ResNet("bottleneck", (3, 4, 6, 3),   radix=1, groups=4, base_width=24, pool_first=True, **D),
    "resnest50d_4s2x40d":  ResNet("bottleneck", (3, 4, 6, 3),   radix=4, groups=2, base_width=40, pool_first=True, **D),
}, paper="https://arxiv.org/abs/2004.08955")
# fmt: on
