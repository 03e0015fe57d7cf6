"""Network in Network: 1x1 convolutions, and global average pooling in place of large fully connected layers.

NiN  https://arxiv.org/abs/1312.4400  nin_cifar is its net for CIFAR-10
     https://gist.github.com/mavenlin/d802a5849de39225bcc6  nin: the authors' net for ImageNet, which no paper describes

Differs from the paper: the last 1x1 convolution, which gives the classes, stands behind the global average as `logits`,
and no ReLU behind it. Without the ReLU the order makes no difference: an average of sums is the sum of averages. With
it, no class could score below zero. The second pool of the authors' code for CIFAR-10 averages; here, as in the text of
the paper, all take the maximum. Weights start from He's distribution.
"""

import dataclasses
import math
from typing import Annotated, NamedTuple

import keras

from kerascnn.blocks import conv_norm, logits, max_pool, pool
from kerascnn.registry import Limits, Norm, Rate, Ratio, Size, Spec, register


class Block(NamedTuple):
    """A convolution and the 1x1 convolutions behind it, by their `widths`; `drop` is whether dropout is ahead of it."""

    widths: tuple[Size, ...]
    kernel: Size
    stride: Size
    margin: Annotated[int, Limits(0)]
    drop: bool


@dataclasses.dataclass(frozen=True)
class NiN(Spec):
    """`blocks` have 3x3 pools of stride 2 between them, and where their rows say so dropout. There is none elsewhere.

    num_classes=0 gives the pooled features of the last 1x1 convolution but the one that gives the classes.
    """

    blocks: tuple[Block, ...]
    _: dataclasses.KW_ONLY
    dropout: Rate = 0.5
    fractional_pool: Ratio = None
    norm: Norm = "none"

    @property
    def min_size(self) -> int:
        side = 1
        for i, block in reversed(list(enumerate(self.blocks))):
            padded = self.padding == "same" and block.margin
            side = (side - 1) * block.stride + (1 if padded else max(block.kernel - 2 * block.margin, 1))
            if i == 0:
                break
            if not self.fractional_pool:
                side = 2 * side
            elif side > 1:  # a fractional pool takes any image, and leaves at least one pixel of it
                side = math.ceil(side * self.fractional_pool)
        return side


def build(spec, x):
    for i, (widths, kernel, stride, margin, drop) in enumerate(spec.blocks, 1):
        if i > 1:
            x = max_pool(spec, x, 3, 2, ceil=True, name=f"stage{i}_pool")
        if drop and spec.dropout:
            x = keras.layers.Dropout(spec.dropout, name=f"stage{i}_dropout")(x)
        x = conv_norm(spec, x, widths[0], kernel, stride, margin=margin, name=f"stage{i}_conv1")
        for j, filters in enumerate(widths[1:], 2):
            x = conv_norm(spec, x, filters, 1, name=f"stage{i}_conv{j}")
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return x


def head(spec, x):
    return logits(dataclasses.replace(spec, dropout=0.0), pool(spec, x))


# fmt: off
register(build, head, {
    "nin": NiN((
        #     widths           k  s  margin drop
        Block((96, 96, 96),    11, 4, 0, False),
        Block((256, 256, 256), 5,  1, 2, False),
        Block((384, 384, 384), 3,  1, 1, False),
        Block((1024, 1024),    3,  1, 1, True),
    )),
    "nin_cifar": NiN((
        Block((192, 160, 96),  5,  1, 2, False),
        Block((192, 192, 192), 5,  1, 2, True),
        Block((192, 192),      3,  1, 1, True),
    ), num_classes=10, input_shape=(32, 32, 3)),
}, paper="https://arxiv.org/abs/1312.4400")
# fmt: on
