"""Normaliser-free ResNets: no norm, but kernels that are standardised and scaled so that signals keep their size.

NF-ResNet    https://arxiv.org/abs/2101.08692

Differs from the paper: a shortcut along which the shape changes strides in an average pool ahead of its convolution,
the branches' weight `alpha` is a constant, and a block starts as its shortcut, by gains of zero in place of SkipInit's
one weight. The form is timm's, which the nets are known by.
"""

import dataclasses
from typing import Annotated, Literal

import keras

from kerascnn.blocks import activation, classifier, conv, conv_norm, dilations, linear_rates, max_pool, residual
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

    def __post_init__(self):
        super().__post_init__()
        if len(self.depths) != len(self.widths):
            raise ValueError(f"widths must be {len(self.depths)} numbers, one for each of depths")


def bottleneck(spec, x, filters, stride, dilation, beta, name):
    """The branch, and the shortcut. Ahead of both x is activated; times `beta` it has a variance of 1 there."""
    x, shortcut = activation(spec, x, name=f"{name}_act"), x
    if beta != 1:
        x = keras.layers.Rescaling(beta, name=f"{name}_beta")(x)
    if stride > 1 or x.shape[-1] != 4 * filters:
        shortcut = x
        if stride > 1:
            shortcut = keras.layers.AveragePooling2D(2, stride, "same", name=f"{name}_shortcut_pool")(shortcut)
        shortcut = conv(spec, shortcut, 4 * filters, 1, name=f"{name}_shortcut_conv")
    x = conv_norm(spec, x, filters, 1, name=f"{name}_conv1")
    x = conv_norm(spec, x, filters, 3, stride, dilation=dilation, name=f"{name}_conv2")
    zero = "zeros" if spec.zero_init_residual else None
    x = conv(spec, x, 4 * filters, 1, initializer=zero, name=f"{name}_conv3")
    return keras.layers.Rescaling(spec.alpha, name=f"{name}_alpha")(x), shortcut


def build(spec, x):
    x = conv(spec, x, spec.widths[0], 7, 2, name="stem_conv")
    x = max_pool(spec, x, 3, 2, name="stem_pool")
    rates = iter(linear_rates(spec.drop_path, sum(spec.depths)))
    strides = [2 if i and j == 0 else 1 for i, depth in enumerate(spec.depths) for j in range(depth)]
    plan = iter(dilations(strides, spec.output_stride // 4))
    variance = 1.0
    for i, (depth, filters) in enumerate(zip(spec.depths, spec.widths, strict=True), 1):
        for j in range(1, depth + 1):
            name = f"stage{i}_block{j}"
            stride, first, _ = next(plan)
            y, shortcut = bottleneck(spec, x, filters, stride, first, variance**-0.5, name)
            drop_block = spec.drop_block if i > len(spec.depths) - 2 else 0.0
            x = residual(y, shortcut, next(rates), drop_block=drop_block, name=name)
            variance = (1.0 if j == 1 else variance) + spec.alpha**2  # the first block's shortcut starts anew
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return activation(spec, x, name="head_act")


# fmt: off
register(build, classifier, {
    "nf_resnet26":  NFResNet((2, 2, 2, 2)),
    "nf_resnet50":  NFResNet((3, 4, 6, 3)),
    "nf_resnet101": NFResNet((3, 4, 23, 3)),
}, paper="https://arxiv.org/abs/2101.08692")
# fmt: on
