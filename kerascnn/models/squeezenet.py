"""SqueezeNet: few parameters, as 3x3 convolutions see few channels, and half of the filters are 1x1.

SqueezeNet  https://arxiv.org/abs/1602.07360  Table 1
v1.1        https://github.com/forresti/SqueezeNet/tree/master/SqueezeNet_v1.1  smaller kernels, pools further ahead

As in the authors' code and in torchvision, the first convolution pads nothing, and pools leave out no pixel.
"""

import dataclasses

import keras

from kerascnn.blocks import activation, conv_norm, logits, max_pool, pool
from kerascnn.registry import Norm, Rate, Ratio, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class SqueezeNet(Spec):
    """A first convolution of `kernel`, and fire modules: `squeezes` are the filters of each one's first convolution.

    Each stage has a tuple of them; `expand` times as many filters are behind it, one half 1x1 and one half 3x3. The
    classifier is a 1x1 convolution with an activation, ahead of the pooling, and num_classes=0 leaves it out.
    """

    filters: Size
    kernel: Size
    squeezes: tuple[tuple[Size, ...], ...]
    _: dataclasses.KW_ONLY
    expand: Size = 8
    fractional_pool: Ratio = None
    dropout: Rate = 0.5
    norm: Norm = "none"

    @property
    def min_size(self) -> int:
        side = 1 if self.fractional_pool else 2 ** len(self.squeezes)
        return 2 * (side - 1) + (1 if self.padding == "same" else self.kernel)

    def __post_init__(self):
        super().__post_init__()
        if self.expand % 2:
            raise ValueError(f"expand must be even, as half of the filters are 1x1, not {self.expand}")
        if self.pooling == "catavgmax" and self.num_classes:
            raise ValueError("pooling='catavgmax' would give each class twice: set pooling='avg' or 'max'")


def fire(spec, x, squeeze, name):
    x = conv_norm(spec, x, squeeze, 1, name=f"{name}_conv1")
    halves = [
        conv_norm(spec, x, squeeze * spec.expand // 2, kernel, name=f"{name}_conv2{half}")
        for half, kernel in (("a", 1), ("b", 3))
    ]
    return keras.layers.Concatenate(name=f"{name}_concat")(halves)


def build(spec, x):
    margin = None if spec.padding == "same" else 0
    x = conv_norm(spec, x, spec.filters, spec.kernel, 2, margin=margin, name="stage1_conv1")
    x = keras.layers.Identity(name="stage1")(x)
    for i, squeezes in enumerate(spec.squeezes, 2):
        x = max_pool(spec, x, 3, 2, ceil=True, name=f"stage{i}_pool")
        for j, squeeze in enumerate(squeezes, 1):
            x = fire(spec, x, squeeze, f"stage{i}_block{j}")
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return x


def head(spec, x):
    if not spec.num_classes:
        return pool(spec, x)
    x = logits(spec, x)  # of each pixel
    return pool(spec, activation(spec, x, dtype=x.dtype, name="logits_act"), dtype=x.dtype)


# fmt: off
register(build, head, {
    "squeezenet1_0": SqueezeNet(96, 7, ((16, 16, 32), (32, 48, 48, 64), (64,))),
    "squeezenet1_1": SqueezeNet(64, 3, ((16, 16), (32, 32), (48, 48, 64, 64))),
}, paper="https://arxiv.org/abs/1602.07360")
# fmt: on
