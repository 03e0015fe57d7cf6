"""Pre-activation residual nets: norm and activation stand ahead of each convolution, and nothing behind the sums.

ResNet v2    https://arxiv.org/abs/1603.05027
ResNet-D     https://arxiv.org/abs/1812.01187  deep_stem, avg_down
BiT          https://arxiv.org/abs/1912.11370  standardize="unit", norm="group", pool_zeros

Differs from the paper: a bottleneck strides in its 3x3, and every shortcut along which the shape changes is a 1x1
convolution, also in preact_resnet110_cifar. The form is timm's; keras.applications' is in kerascnn.weights.forms.
"""

import dataclasses
import itertools
from typing import Any, Literal

import keras

from kerascnn.blocks import alike, classifier, conv, conv_norm, max_pool, norm_act, residual, stages
from kerascnn.registry import Classes, Initializer, Rate, Ratio, Shape, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class CifarPreActResNet(Spec):
    """`depths` are the blocks of each stage, `widths` the filters of their 3x3 convolutions; a bottleneck has 4x more.

    `stride_last` strides in the last block of each stage but the last, in place of the first of each stage but the
    first; a shortcut is every second pixel there. `outer_bias` gives biases to the convolutions that no norm follows at
    once: the stem's last, the shortcuts' and the last of each block. With zero_init_residual the last convolution of a
    block starts at zero.
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[Size, ...]
    _: dataclasses.KW_ONLY
    widths: tuple[Size, ...] = (16, 32, 64)
    stride_last: bool = False
    avg_down: bool = False
    outer_bias: bool = False
    standardize: Literal["unit", None] = None
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    num_classes: Classes = 10
    input_shape: Shape = (32, 32, 3)
    initializer: Initializer = "he_normal_fan_out"


@dataclasses.dataclass(frozen=True)
class PreActResNet(CifarPreActResNet):
    """`pool_zeros` lets the stem's pool see zeros around the image, in place of nothing, also where it is negative."""

    _: dataclasses.KW_ONLY
    widths: tuple[Size, ...] = (64, 128, 256, 512)
    deep_stem: bool = False
    pool_zeros: bool = False
    fractional_pool: Ratio = None
    output_stride: Literal[8, 16, 32] = 32
    num_classes: Classes = 1000
    input_shape: Shape = (224, 224, 3)

    def __post_init__(self):
        super().__post_init__()
        if self.pool_zeros and self.fractional_pool:
            raise ValueError("fractional_pool pads nothing: set pool_zeros=False")


def outer_conv(spec, x, filters, kernel, stride=1, *, dilation=1, initializer=None, name):
    """A convolution whose norm is not at once behind it."""
    bias = spec.outer_bias or None
    return conv(spec, x, filters, kernel, stride, dilation=dilation, bias=bias, initializer=initializer, name=name)


def basic(spec, x, filters, place):
    name, zero = place.name, "zeros" if spec.zero_init_residual else None
    x = conv_norm(spec, x, filters, 3, place.stride, dilation=place.dilation, name=f"{name}_conv1")
    return outer_conv(spec, x, filters, 3, dilation=place.after, initializer=zero, name=f"{name}_conv2")


def bottleneck(spec, x, filters, place):
    name, zero = place.name, "zeros" if spec.zero_init_residual else None
    x = conv_norm(spec, x, filters, 1, name=f"{name}_conv1")
    x = conv_norm(spec, x, filters, 3, place.stride, dilation=place.dilation, name=f"{name}_conv2")
    return outer_conv(spec, x, 4 * filters, 1, initializer=zero, name=f"{name}_conv3")


def project(spec, x, preact, channels, stride, name):
    """The shortcut: x itself, its every second pixel, or a convolution, which sees the norm and activation as well."""
    if x.shape[-1] == channels and (stride == 1 or spec.stride_last):
        return keras.layers.MaxPooling2D(1, stride, name=f"{name}_shortcut_pool")(x) if stride > 1 else x
    if spec.avg_down and stride > 1:
        preact = keras.layers.AveragePooling2D(2, stride, "same", name=f"{name}_shortcut_pool")(preact)
        stride = 1
    return outer_conv(spec, preact, channels, 1, stride, name=f"{name}_shortcut_conv")


def trunk(spec, x, *, shrunk=1, share_first=False):
    """The stages. With `share_first` the first norm and activation are ahead of the first shortcut too."""
    branch, rows = {"basic": basic, "bottleneck": bottleneck}[spec.block], alike(spec)
    for stage, after in itertools.pairwise(rows) if spec.stride_last else ():
        stage[-1], after[0] = stage[-1]._replace(stride=2), after[0]._replace(stride=1)

    def block(spec, x, row, place):
        preact = norm_act(spec, x, name=f"{place.name}_preact_norm")
        if share_first and place.number == 1:
            x = preact
        y = branch(spec, preact, row.filters, place)
        shortcut = project(spec, x, preact, y.shape[-1], place.stride, place.name)
        return residual(y, shortcut, place.rate, place.drop_block, name=place.name)

    return norm_act(spec, stages(spec, x, rows, block, shrunk=shrunk), name="head_norm")


def build(spec, x):
    filters = spec.widths[0]
    if spec.deep_stem:
        x = conv_norm(spec, x, filters // 2, 3, 2, name="stem_conv1")
        x = conv_norm(spec, x, filters // 2, 3, name="stem_conv2")
        x = outer_conv(spec, x, filters, 3, name="stem_conv3")
    else:
        x = outer_conv(spec, x, filters, 7, 2, name="stem_conv")
    if spec.pool_zeros:
        x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = max_pool(spec, x, 3, 2, margin=0 if spec.pool_zeros else None, name="stem_pool")
    return trunk(spec, x, shrunk=4)


def build_cifar(spec, x):
    x = outer_conv(spec, x, spec.widths[0], 3, name="stem_conv")
    return trunk(spec, x, share_first=True)


def bit(wide):
    """The fields of a net that has so many times the channels."""
    widths = tuple(wide * width for width in (64, 128, 256, 512))
    return {"widths": widths, "norm": "group", "standardize": "unit", "pool_zeros": True}


D: dict[str, Any] = {"deep_stem": True, "avg_down": True}
# fmt: off
register(build, classifier, {
    "resnetv2_18":            PreActResNet("basic",      (2, 2, 2, 2)),
    "resnetv2_34":            PreActResNet("basic",      (3, 4, 6, 3)),
    "resnetv2_50":            PreActResNet("bottleneck", (3, 4, 6, 3)),
    "resnetv2_101":           PreActResNet("bottleneck", (3, 4, 23, 3)),
    "resnetv2_152":           PreActResNet("bottleneck", (3, 8, 36, 3)),
    "resnetv2_18d":           PreActResNet("basic",      (2, 2, 2, 2),  **D),
    "resnetv2_34d":           PreActResNet("basic",      (3, 4, 6, 3),  **D),
    "resnetv2_50d":           PreActResNet("bottleneck", (3, 4, 6, 3),  **D),
    "resnetv2_101d":          PreActResNet("bottleneck", (3, 4, 23, 3), **D),
    "resnetv2_152d":          PreActResNet("bottleneck", (3, 8, 36, 3), **D),
    "resnetv2_50d_gn":        PreActResNet("bottleneck", (3, 4, 6, 3),  norm="group", **D),
}, paper="https://arxiv.org/abs/1603.05027")
register(build, classifier, {
    "resnetv2_50x1_bit":      PreActResNet("bottleneck", (3, 4, 6, 3),  **bit(1)),
    "resnetv2_50x3_bit":      PreActResNet("bottleneck", (3, 4, 6, 3),  **bit(3)),
    "resnetv2_101x1_bit":     PreActResNet("bottleneck", (3, 4, 23, 3), **bit(1)),
    "resnetv2_101x3_bit":     PreActResNet("bottleneck", (3, 4, 23, 3), **bit(3)),
    "resnetv2_152x2_bit":     PreActResNet("bottleneck", (3, 8, 36, 3), **bit(2)),
    "resnetv2_152x4_bit":     PreActResNet("bottleneck", (3, 8, 36, 3), **bit(4)),
}, paper="https://arxiv.org/abs/1912.11370")
register(build_cifar, classifier, {
    "preact_resnet110_cifar": CifarPreActResNet("basic",      (18, 18, 18)),
    "preact_resnet164_cifar": CifarPreActResNet("bottleneck", (18, 18, 18)),
}, paper="https://arxiv.org/abs/1603.05027")
# fmt: on
