"""Residual nets for small images, and the plain nets that they are compared with.

ResNet       https://arxiv.org/abs/1512.03385  section 4.2; shortcuts are its option A, which has no parameters
Wide ResNet  https://arxiv.org/abs/1605.07146  WideResNet, where norm and activation stand ahead of the convolutions
ResNeXt      https://arxiv.org/abs/1611.05431  section 5.3: block="bottleneck", groups, base_width, project
SE-ResNet    https://arxiv.org/abs/1709.01507  se

Differs from the papers: the classifier starts from small numbers, the other weights from He's distribution; a
squeeze-and-excitation has 8 units or more, as in kerascnn.models.resnet, where a sixteenth of 16 channels would be one.
"""

import dataclasses
from typing import Annotated, Literal

import keras

from kerascnn.blocks import (
    activation,
    alike,
    classifier,
    conv,
    conv_norm,
    norm_act,
    residual,
    round_channels,
    squeeze_excite,
    stages,
)
from kerascnn.registry import Classes, Limits, Rate, Shape, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class CifarResNet(Spec):
    """`depths` are the blocks of each stage, `widths` its filters. Images are 8x8 or larger.

    A bottleneck's 3x3 has `groups` groups of `base_width`/64 of `widths`, and its last 1x1 four times `widths`. With
    `project` the shortcuts are convolutions where the shape changes, the paper's option B.
    """

    depths: tuple[Size, ...]
    shortcut: bool = True
    _: dataclasses.KW_ONLY
    widths: tuple[Size, ...] = (16, 32, 64)
    block: Literal["basic", "bottleneck"] = "basic"
    groups: Size = 1
    base_width: Size = 64
    project: bool = False
    se: bool = False
    se_ratio: Annotated[float, Limits(0, 1)] = 1 / 16
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    num_classes: Classes = 10
    input_shape: Shape = (32, 32, 3)

    @property
    def min_size(self) -> int:
        return 8

    def __post_init__(self):
        super().__post_init__()
        if list(self.widths) != sorted(self.widths):
            raise ValueError(f"widths must not fall, as {self.widths} do")
        if not self.shortcut and (self.zero_init_residual or self.drop_path):
            raise ValueError("zero_init_residual and drop_path need shortcuts, which shortcut=False takes away")
        if not self.shortcut and (self.project or self.drop_block):
            raise ValueError("project and drop_block need shortcuts, which shortcut=False takes away")
        if self.block == "basic" and (self.groups, self.base_width) != (1, 64):
            raise ValueError("groups and base_width are for block='bottleneck'")


@dataclasses.dataclass(frozen=True)
class WideResNet(Spec):
    """`depths` are the blocks of each stage, whose filters are `widen` times `widths`. Images are 8x8 or larger.

    `block_dropout` is the rate between the two convolutions of a block: 0.3 where the paper has it. With
    zero_init_residual the second starts at zero.
    """

    depths: tuple[Size, ...]
    widen: Size
    _: dataclasses.KW_ONLY
    widths: tuple[Size, ...] = (16, 32, 64)
    block_dropout: Rate = 0.0
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    num_classes: Classes = 10
    input_shape: Shape = (32, 32, 3)

    @property
    def min_size(self) -> int:
        return 8


def shrink(x, filters, stride, name):
    """Option A: every `stride`-th pixel, and zeros for the channels that are new."""
    if stride > 1:
        x = keras.layers.AveragePooling2D(1, stride, name=f"{name}_pool")(x)
    if new := filters - x.shape[-1]:
        x = keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, new)))
    return x


def shorten(spec, x, filters, stride, name):
    """The shortcut."""
    if spec.project and (stride > 1 or x.shape[-1] != filters):
        return conv_norm(spec, x, filters, 1, stride, act=None, name=f"{name}_shortcut_conv")
    return shrink(x, filters, stride, name)


def block(spec, image, row, place):
    name, filters, stride, zero_init = place.name, row.filters, place.stride, spec.zero_init_residual
    if spec.block == "basic":
        x = conv_norm(spec, image, filters, 3, stride, name=f"{name}_conv1")
        x = conv_norm(spec, x, filters, 3, act=None, zero_init=zero_init, name=f"{name}_conv2")
    else:
        width = filters * spec.base_width // 64 * spec.groups
        x = conv_norm(spec, image, width, 1, name=f"{name}_conv1")
        x = conv_norm(spec, x, width, 3, stride, groups=spec.groups, name=f"{name}_conv2")
        x = conv_norm(spec, x, 4 * filters, 1, act=None, zero_init=zero_init, name=f"{name}_conv3")
    if spec.se:
        x = squeeze_excite(spec, x, round_channels(x.shape[-1] * spec.se_ratio, limit=0), name=f"{name}_se")
    if spec.shortcut:
        shortcut = shorten(spec, image, x.shape[-1], stride, name)
        x = residual(x, shortcut, place.rate, place.drop_block, name=name)
    return activation(spec, x, name=f"{name}_act2" if spec.block == "basic" else f"{name}_act3")


def wide_block(spec, image, row, place):
    name, filters, stride = place.name, spec.widen * row.filters, place.stride
    preact = norm_act(spec, image, name=f"{name}_preact_norm")
    x = conv_norm(spec, preact, filters, 3, stride, name=f"{name}_conv1")
    if spec.block_dropout:
        x = keras.layers.Dropout(spec.block_dropout, name=f"{name}_dropout")(x)
    zero = "zeros" if spec.zero_init_residual else None
    x = conv(spec, x, filters, 3, bias=None, initializer=zero, name=f"{name}_conv2")
    if stride > 1 or image.shape[-1] != filters:
        image = conv(spec, preact, filters, 1, stride, bias=None, name=f"{name}_shortcut_conv")
    return residual(x, image, place.rate, place.drop_block, name=name)


def build(spec, x):
    return stages(spec, conv_norm(spec, x, spec.widths[0], 3, name="stem_conv"), alike(spec), block)


def build_wide(spec, x):
    x = conv(spec, x, spec.widths[0], 3, bias=None, name="stem_conv")
    return norm_act(spec, stages(spec, x, alike(spec), wide_block), name="head_norm")


# fmt: off
register(build, classifier, {
    "resnet20_cifar":  CifarResNet((3, 3, 3)),
    "resnet32_cifar":  CifarResNet((5, 5, 5)),
    "resnet44_cifar":  CifarResNet((7, 7, 7)),
    "resnet56_cifar":  CifarResNet((9, 9, 9)),
    "resnet110_cifar": CifarResNet((18, 18, 18)),
    "plain20_cifar":   CifarResNet((3, 3, 3),    shortcut=False),
    "plain32_cifar":   CifarResNet((5, 5, 5),    shortcut=False),
    "plain44_cifar":   CifarResNet((7, 7, 7),    shortcut=False),
    "plain56_cifar":   CifarResNet((9, 9, 9),    shortcut=False),
    "plain110_cifar":  CifarResNet((18, 18, 18), shortcut=False),
}, paper="https://arxiv.org/abs/1512.03385")
register(build_wide, classifier, {
    "wrn16_8":         WideResNet((2, 2, 2), 8),
    "wrn28_10":        WideResNet((4, 4, 4), 10),
}, paper="https://arxiv.org/abs/1605.07146")
register(build, classifier, {
    "resnext29_8x64d_cifar": CifarResNet((3, 3, 3), widths=(64, 128, 256), block="bottleneck", groups=8, project=True),
}, paper="https://arxiv.org/abs/1611.05431")
register(build, classifier, {
    "seresnet20_cifar": CifarResNet((3, 3, 3),   se=True),
}, paper="https://arxiv.org/abs/1709.01507")
# fmt: on
