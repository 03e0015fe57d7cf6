"""VGG: nothing but 3x3 convolutions.

VGG  https://arxiv.org/abs/1409.1556  configurations A, B, D and E of Table 1

Differs from the paper: weights start from He's distribution; the `_bn` nets, which are torchvision's, have batch norm
behind each convolution, and keep the biases.
"""

import dataclasses
from typing import Any, Literal

import keras

from kerascnn.blocks import conv_norm, dense, flatten, logits, max_pool
from kerascnn.registry import Norm, Rate, Ratio, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class VGG(Spec):
    """`depths` are the convolutions of each stage, `widths` their filters; a 2x2 pool halves the image behind each.

    `hidden` are the units of fully connected layers, which see `side` x `side` pixels: other maps are averaged, or
    repeated, to that. `dropout` drops from the results of each of them. num_classes=0 gives those of the last.
    """

    depths: tuple[Size, ...]
    _: dataclasses.KW_ONLY
    widths: tuple[Size, ...] = (64, 128, 256, 512, 512)
    hidden: tuple[Size, ...] = (4096, 4096)
    side: Size = 7
    fractional_pool: Ratio = None
    dropout: Rate = 0.5
    norm: Norm = "none"
    pooling: Literal["avg", None] = "avg"

    @property
    def min_size(self) -> int:
        return 1 if self.fractional_pool else 2 ** len(self.depths)


def build(spec, x):
    for i, (depth, filters) in enumerate(zip(spec.depths, spec.widths, strict=True), 1):
        for j in range(1, depth + 1):
            x = conv_norm(spec, x, filters, 3, name=f"stage{i}_conv{j}")
        x = max_pool(spec, x, 2, 2, margin=0, name=f"stage{i}_pool")
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return x


def head(spec, x):
    x = flatten(x, side=spec.side)
    for i, units in enumerate(spec.hidden, 1):
        if i > 1 and spec.dropout:
            x = keras.layers.Dropout(spec.dropout, name=f"dropout{i}")(x)
        x = dense(spec, x, units, name=f"dense{i}")
    return logits(spec, x)


BN: dict[str, Any] = {"norm": "batch", "conv_bias": True}
# fmt: off
register(build, head, {
    "vgg11":    VGG((1, 1, 2, 2, 2)),
    "vgg13":    VGG((2, 2, 2, 2, 2)),
    "vgg16":    VGG((2, 2, 3, 3, 3)),
    "vgg19":    VGG((2, 2, 4, 4, 4)),
    "vgg11_bn": VGG((1, 1, 2, 2, 2), **BN),
    "vgg13_bn": VGG((2, 2, 2, 2, 2), **BN),
    "vgg16_bn": VGG((2, 2, 3, 3, 3), **BN),
    "vgg19_bn": VGG((2, 2, 4, 4, 4), **BN),
}, paper="https://arxiv.org/abs/1409.1556")
# fmt: on
