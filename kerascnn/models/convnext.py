"""ConvNeXt: a residual net with the habits of transformers; each of its variants has four stages.

ConvNeXt       https://arxiv.org/abs/2201.03545
ConvNeXt V2    https://arxiv.org/abs/2301.00808  grn in place of layer_scale; its atto to nano are timm's in both
InceptionNeXt  https://arxiv.org/abs/2303.16900  four kinds of depthwise branches, batch norm, an MLP for a classifier

Differs from the papers: fully connected layers within a block are 1x1 convolutions, which is the same. timm has a stem
of two overlapping convolutions as "_ols".
"""

import dataclasses
from typing import Annotated, Any, Literal

import keras

from kerascnn.blocks import (
    alike,
    conv,
    conv_norm,
    dense,
    depthwise,
    depthwise_norm,
    dilations,
    logits,
    norm,
    pool,
    residual,
    round_channels,
    stages,
)
from kerascnn.layers import GlobalResponseNormalization, LayerScale
from kerascnn.registry import Activation, Epsilon, Initializer, Limits, Norm, Rate, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class ConvNeXt(Spec):
    """`depths` are the blocks of each stage, `widths` their channels, which a block widens `expand` times inside.

    `stem` is one convolution of 4x4 patches, or two of 3x3 that overlap, the first of them with half the channels where
    it is "tiered". `layer_scale` is the number that the scales of branches start at, None for no scales. Rates of
    drop_path rise from zero at the first block on, linearly.
    """

    depths: tuple[Size, ...]
    widths: tuple[Size, ...]
    _: dataclasses.KW_ONLY
    stem: Literal["patch", "overlap", "tiered"] = "patch"
    kernel: Size = 7
    expand: tuple[Size, ...] = (4, 4, 4, 4)
    grn: bool = False
    layer_scale: Annotated[float | None, Limits(0)] = 1e-6
    drop_path: Rate = 0.0
    output_stride: Literal[8, 16, 32] = 32
    activation: Activation = "gelu"
    norm: Norm = "channel"
    initializer: Initializer = "transformer_normal"
    bn_epsilon: Epsilon = 1e-6
    conv_bias: bool = True

    @property
    def min_size(self) -> int:
        # Patches round down; convolutions that overlap round up, twice.
        strides = [2] * (len(self.depths) - 1)
        halvings = sum(stride > 1 for stride, *_ in dilations(strides, self.output_stride // 4))
        return 4 * 2**halvings - (3 if self.stem != "patch" else 0)

    def __post_init__(self):
        super().__post_init__()
        if len(self.expand) != len(self.depths):
            raise ValueError(f"expand must be {len(self.depths)} numbers, one for each of depths")


@dataclasses.dataclass(frozen=True)
class InceptionNeXt(ConvNeXt):
    """`share` of the channels each see a square of `kernel`, a row of `band` pixels, a column of them; the rest none.

    The classifier's hidden layer has `head_expand` times the channels of the last stage.
    """

    _: dataclasses.KW_ONLY
    kernel: Size = 3
    band: Size = 11
    share: Annotated[float, Limits(0, 1 / 3)] = 0.125
    expand: tuple[Size, ...] = (4, 4, 4, 3)
    head_expand: Size = 3
    norm: Norm = "batch"
    bn_epsilon: Epsilon = 1e-5


def stem(spec, x):
    width = spec.widths[0]
    if spec.stem == "patch":
        return conv_norm(spec, x, width, 4, 4, margin=0, act=None, name="stem_conv")
    first = round_channels(width // 2) if spec.stem == "tiered" else width
    x = conv(spec, x, first, 3, 2, name="stem_conv1")
    return conv_norm(spec, x, width, 3, 2, act=None, name="stem_conv2")


def shrink(spec, x, width, stride, dilation, name):
    """Patches of 2x2; where they must not shrink the map, they overlap, and the map is padded."""
    x = norm(spec, x, name=f"{name}_norm")
    if stride == 1:
        return conv(dataclasses.replace(spec, padding="same"), x, width, 2, dilation=dilation, name=f"{name}_conv")
    return conv(spec, x, width, 2, 2, margin=0, name=f"{name}_conv")


def square(spec, x, dilation, name):
    return depthwise_norm(spec, x, spec.kernel, dilation=dilation, act=None, name=f"{name}_conv1")


def inception(spec, x, dilation, name):
    """Depthwise convolutions of a square, a row and a column, each of some of the channels, and nothing for the rest.

    A share that is less than a channel is one.
    """
    count = max(int(x.shape[-1] * spec.share), 1)
    rest = x.shape[-1] - 3 * count
    kernels = [(spec.kernel, spec.kernel), (1, spec.band), (spec.band, 1)]
    parts = keras.ops.split(x, [rest, rest + count, rest + 2 * count], axis=-1)
    for i, kernel in enumerate(kernels, 1):
        parts[i] = depthwise(spec, parts[i], kernel, dilation=dilation, bias=True, name=f"{name}_branch{i}_conv")
    x = keras.layers.Concatenate(name=f"{name}_concat")(parts)
    return norm(spec, x, name=f"{name}_norm1")


def trunk(spec, x, mix):
    bare = dataclasses.replace(spec, norm="none")  # the other convolutions of a block have no norms
    blocks = sum(spec.depths)

    def block(spec, x, row, place):
        name, width, stage = place.name, row.filters, place.stage
        if place.block == 1 and stage > 1:
            x = shrink(spec, x, width, place.stride, place.dilation, f"stage{stage}_downsample")
        y = mix(spec, x, place.after, name)
        y = conv_norm(bare, y, spec.expand[stage - 1] * width, 1, name=f"{name}_conv2")
        if spec.grn:
            y = GlobalResponseNormalization(name=f"{name}_grn")(y)
        y = conv(spec, y, width, 1, name=f"{name}_conv3")
        if spec.layer_scale is not None:
            y = LayerScale(spec.layer_scale, name=f"{name}_scale")(y)
        return residual(y, x, place.rate, name=name)

    rates = [spec.drop_path * n / max(blocks - 1, 1) for n in range(blocks)]
    return stages(spec, stem(spec, x), alike(spec), block, shrunk=4, rates=rates)


def build(spec, x):
    return trunk(spec, x, square)


def build_inception(spec, x):
    return trunk(spec, x, inception)


def normed(spec, x):
    """The classifier of ConvNeXt, whose norm stands behind the pooling."""
    return logits(spec, norm(spec, pool(spec, x), name="head_norm"))


def mlp(spec, x):
    """The classifier of InceptionNeXt; its norm is over channels, with an epsilon of its own, whatever the others."""
    x = dense(spec, pool(spec, x), spec.head_expand * spec.widths[-1], name="dense1")
    if spec.norm != "none":
        x = norm(dataclasses.replace(spec, norm="channel", bn_epsilon=1e-6), x, name="head_norm")
    return logits(spec, x)


V2: dict[str, Any] = {"grn": True, "layer_scale": None}
ATTO = 40, 80, 160, 320
FEMTO = 48, 96, 192, 384
PICO = 64, 128, 256, 512
NANO = 80, 160, 320, 640
TINY = 96, 192, 384, 768
BASE = 128, 256, 512, 1024
LARGE = 192, 384, 768, 1536
# fmt: off
register(build, normed, {
    "convnext_atto":       ConvNeXt((2, 2, 6, 2),  ATTO),
    "convnext_atto_ols":   ConvNeXt((2, 2, 6, 2),  ATTO,  stem="tiered"),
    "convnext_femto":      ConvNeXt((2, 2, 6, 2),  FEMTO),
    "convnext_femto_ols":  ConvNeXt((2, 2, 6, 2),  FEMTO, stem="tiered"),
    "convnext_pico":       ConvNeXt((2, 2, 6, 2),  PICO),
    "convnext_pico_ols":   ConvNeXt((2, 2, 6, 2),  PICO,  stem="tiered"),
    "convnext_nano":       ConvNeXt((2, 2, 8, 2),  NANO),
    "convnext_nano_ols":   ConvNeXt((2, 2, 8, 2),  NANO,  stem="overlap"),
    "convnext_tiny":       ConvNeXt((3, 3, 9, 3),  TINY,  drop_path=0.1),
    "convnext_small":      ConvNeXt((3, 3, 27, 3), TINY,  drop_path=0.4),
    "convnext_base":       ConvNeXt((3, 3, 27, 3), BASE,  drop_path=0.5),
    "convnext_large":      ConvNeXt((3, 3, 27, 3), LARGE, drop_path=0.5),
    "convnext_xlarge":     ConvNeXt((3, 3, 27, 3), (256, 512, 1024, 2048)),
    "convnext_xxlarge":    ConvNeXt((3, 4, 30, 3), (384, 768, 1536, 3072), bn_epsilon=1e-5, input_shape=(256, 256, 3)),
}, paper="https://arxiv.org/abs/2201.03545")
register(build, normed, {
    "convnextv2_atto":     ConvNeXt((2, 2, 6, 2),  ATTO,  **V2),
    "convnextv2_femto":    ConvNeXt((2, 2, 6, 2),  FEMTO, **V2),
    "convnextv2_pico":     ConvNeXt((2, 2, 6, 2),  PICO,  **V2),
    "convnextv2_nano":     ConvNeXt((2, 2, 8, 2),  NANO,  **V2),
    "convnextv2_tiny":     ConvNeXt((3, 3, 9, 3),  TINY,  **V2),
    "convnextv2_small":    ConvNeXt((3, 3, 27, 3), TINY,  **V2),
    "convnextv2_base":     ConvNeXt((3, 3, 27, 3), BASE,  **V2),
    "convnextv2_large":    ConvNeXt((3, 3, 27, 3), LARGE, **V2),
    "convnextv2_huge":     ConvNeXt((3, 3, 27, 3), (352, 704, 1408, 2816), **V2),
}, paper="https://arxiv.org/abs/2301.00808")
register(build_inception, mlp, {
    "inception_next_atto":  InceptionNeXt((2, 2, 6, 2),  ATTO, band=9, share=0.25),
    "inception_next_tiny":  InceptionNeXt((3, 3, 9, 3),  TINY),
    "inception_next_small": InceptionNeXt((3, 3, 27, 3), TINY),
    "inception_next_base":  InceptionNeXt((3, 3, 27, 3), BASE),
}, paper="https://arxiv.org/abs/2303.16900")
# fmt: on
