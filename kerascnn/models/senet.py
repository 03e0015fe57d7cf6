"""Squeeze-and-excitation nets as their authors published them, in the form of Cadene's and timm's "legacy" models.

SENet  https://arxiv.org/abs/1709.01507

kerascnn.models.resnet has the same nets in torchvision's form (seresnet50 and others). Here, as in the authors' Caffe,
SE-ResNets stride in their first 1x1, and the stem's pool pads at the right and the bottom alone. Differs from the
paper: every weight of a norm starts at one (zero_init_residual=True starts a block as its shortcut).
"""

import dataclasses
from typing import Literal

from kerascnn.blocks import activation, alike, classifier, conv_norm, max_pool, residual, squeeze_excite, stages
from kerascnn.registry import Initializer, Rate, Ratio, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class SENet(Spec):
    """`depths` are the blocks of each stage, `widths` the filters of their 3x3 convolutions in a plain ResNet.

    A bottleneck's 3x3 has `groups` groups of `base_width`/64 of that, its first 1x1 as many, or with `halve_first` half
    of them, and its last 1x1 four times `widths`. A strided shortcut is a convolution of `shortcut_kernel` pixels a
    side. `reduction` is how many channels there are for each unit of a squeeze-and-excitation.
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[Size, ...]
    _: dataclasses.KW_ONLY
    widths: tuple[Size, ...] = (64, 128, 256, 512)
    groups: Size = 1
    base_width: Size = 64
    halve_first: bool = False
    stride_in_1x1: bool = False
    shortcut_kernel: Literal[1, 3] = 1
    reduction: Size = 16
    deep_stem: bool = False
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    fractional_pool: Ratio = None
    initializer: Initializer = "he_normal_fan_out"

    @property
    def min_size(self) -> int:
        return 1 if self.fractional_pool else 3

    def __post_init__(self):
        super().__post_init__()
        bottlenecks = (self.groups, self.base_width, self.halve_first, self.stride_in_1x1)
        if self.block == "basic" and bottlenecks != (1, 64, False, False):
            raise ValueError("groups, base_width, halve_first and stride_in_1x1 are for block='bottleneck'")
        # An activation stands behind the last norm of a basic block, and the gradients of these at zero are zero.
        if self.block == "basic" and self.zero_init_residual and self.activation in ("relu", "relu6", "prelu"):
            raise ValueError(f"zero_init_residual and {self.activation} let no basic block learn: try activation='elu'")


def stem(spec, x):
    if spec.deep_stem:
        x = conv_norm(spec, x, 64, 3, 2, name="stem_conv1")
        x = conv_norm(spec, x, 64, 3, name="stem_conv2")
        x = conv_norm(spec, x, 128, 3, name="stem_conv3")
    else:
        x = conv_norm(spec, x, 64, 7, 2, name="stem_conv1")
    return max_pool(spec, x, 3, 2, ceil=True, name="stem_pool")


def basic(spec, x, filters, stride, name):
    x = conv_norm(spec, x, filters, 3, stride, name=f"{name}_conv1")
    return conv_norm(spec, x, filters, 3, zero_init=spec.zero_init_residual, name=f"{name}_conv2")


def bottleneck(spec, x, filters, stride, name):
    width = filters * spec.base_width // 64 * spec.groups
    early, late = (stride, 1) if spec.stride_in_1x1 else (1, stride)
    x = conv_norm(spec, x, width // 2 if spec.halve_first else width, 1, early, name=f"{name}_conv1")
    x = conv_norm(spec, x, width, 3, late, groups=spec.groups, name=f"{name}_conv2")
    return conv_norm(spec, x, 4 * filters, 1, act=None, zero_init=spec.zero_init_residual, name=f"{name}_conv3")


def project(spec, x, channels, stride, name):
    """The shortcut where the shape changes."""
    if x.shape[-1] == channels and stride == 1:
        return x
    kernel = spec.shortcut_kernel if stride > 1 else 1
    return conv_norm(spec, x, channels, kernel, stride, act=None, name=f"{name}_shortcut_conv")


def block(spec, image, row, place):
    name, branch = place.name, {"basic": basic, "bottleneck": bottleneck}[spec.block]
    x = branch(spec, image, row.filters, place.stride, name)
    x = squeeze_excite(spec, x, max(x.shape[-1] // spec.reduction, 1), name=f"{name}_se")
    shortcut = project(spec, image, x.shape[-1], place.stride, name)
    x = residual(x, shortcut, place.rate, place.drop_block, name=name)
    return activation(spec, x, name=f"{name}_act")


def build(spec, x):
    return stages(spec, stem(spec, x), alike(spec), block)


# fmt: off
register(build, classifier, {
    "legacy_seresnet18":         SENet("basic",      (2, 2, 2, 2)),
    "legacy_seresnet34":         SENet("basic",      (3, 4, 6, 3)),
    "legacy_seresnet50":         SENet("bottleneck", (3, 4, 6, 3),  stride_in_1x1=True),
    "legacy_seresnet101":        SENet("bottleneck", (3, 4, 23, 3), stride_in_1x1=True),
    "legacy_seresnet152":        SENet("bottleneck", (3, 8, 36, 3), stride_in_1x1=True),
    "legacy_seresnext26_32x4d":  SENet("bottleneck", (2, 2, 2, 2),  groups=32, base_width=4),
    "legacy_seresnext50_32x4d":  SENet("bottleneck", (3, 4, 6, 3),  groups=32, base_width=4),
    "legacy_seresnext101_32x4d": SENet("bottleneck", (3, 4, 23, 3), groups=32, base_width=4),
    "senet154":                  SENet("bottleneck", (3, 8, 36, 3), groups=64, base_width=4, halve_first=True,
                                       shortcut_kernel=3, deep_stem=True, dropout=0.2),
}, paper="https://arxiv.org/abs/1709.01507", aliases={
    "legacy_senet154": "senet154",
})
# fmt: on
