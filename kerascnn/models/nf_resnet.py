"""Normaliser-free ResNets: no norm, but kernels that are standardised and scaled so that signals keep their size.

NF-ResNet    https://arxiv.org/abs/2101.08692

Differs from the paper: a shortcut along which the shape changes strides in an average pool ahead of its convolution,
the branches' weight `alpha` is a constant, and a block starts as its shortcut, by gains of zero in place of SkipInit's
one weight. The form is timm's, which the nets are known by.
"""

import dataclasses
from typing import Annotated, Literal

import keras

from kerascnn.blocks import activation, alike, classifier, conv, conv_norm, max_pool, residual, stages
from kerascnn.registry import Initializer, Limits, Norm, Rate, Ratio, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class NFResNet(Spec):
    """`depths` are the blocks of each stage, `widths` the filters of their 3x3 convolutions; a block gives 4x more.

    `alpha` multiplies a branch before it is added, and `standardize` is what is done to the kernels; a norm stands
    behind the first two convolutions of a block, if there is to be one. With zero_init_residual the last convolution
    of a block starts at zero.
    """

    depths: tuple[Size, ...]
    _: dataclasses.KW_ONLY
    widths: tuple[Size, ...] = (64, 128, 256, 512)
    alpha: Annotated[float, Limits(0)] = 0.2
    standardize: Literal["scaled", "unit", None] = "scaled"
    zero_init_residual: bool = True
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    fractional_pool: Ratio = None
    output_stride: Literal[8, 16, 32] = 32
    norm: Norm = "none"
    initializer: Initializer = "lecun_normal"


def block(spec, image, row, place):
    """The branch, and a convolution in the shortcut, see the map activated, and scaled to a variance of 1."""
    name, stride, filters = place.name, place.stride, row.filters
    x, shortcut = activation(spec, image, name=f"{name}_act"), image
    # A sum adds alpha^2 to the variance; the shortcut of the first block of a stage starts anew.
    sums = place.block - 1 or (spec.depths[place.stage - 2] if place.stage > 1 else 0)
    if sums and spec.alpha:
        x = keras.layers.Rescaling((1 + sums * spec.alpha**2) ** -0.5, name=f"{name}_beta")(x)
    if stride > 1 or x.shape[-1] != 4 * filters:
        shortcut = x
        if stride > 1:
            shortcut = keras.layers.AveragePooling2D(2, stride, "same", name=f"{name}_shortcut_pool")(shortcut)
        shortcut = conv(spec, shortcut, 4 * filters, 1, name=f"{name}_shortcut_conv")
    x = conv_norm(spec, x, filters, 1, name=f"{name}_conv1")
    x = conv_norm(spec, x, filters, 3, stride, dilation=place.dilation, name=f"{name}_conv2")
    zero = "zeros" if spec.zero_init_residual else None
    x = conv(spec, x, 4 * filters, 1, initializer=zero, name=f"{name}_conv3")
    x = keras.layers.Rescaling(spec.alpha, name=f"{name}_alpha")(x)
    return residual(x, shortcut, place.rate, place.drop_block, name=name)


def build(spec, x):
    x = conv(spec, x, spec.widths[0], 7, 2, name="stem_conv")
    x = max_pool(spec, x, 3, 2, name="stem_pool")
    return activation(spec, stages(spec, x, alike(spec), block, shrunk=4), name="head_act")


# fmt: off
register(build, classifier, {
    "nf_resnet26":  NFResNet((2, 2, 2, 2)),
    "nf_resnet50":  NFResNet((3, 4, 6, 3)),
    "nf_resnet101": NFResNet((3, 4, 23, 3)),
}, paper="https://arxiv.org/abs/2101.08692")
# fmt: on
