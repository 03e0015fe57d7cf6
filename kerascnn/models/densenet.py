"""DenseNet: each layer sees the outputs of all layers before it, side by side.

DenseNet-BC  https://arxiv.org/abs/1608.06993

Differs from the paper: conv_dropout stands behind each 3x3 alone, as in torchvision.
"""

import dataclasses

import keras

from kerascnn.blocks import classifier, conv, conv_norm, max_pool, norm_act
from kerascnn.registry import Classes, Rate, Ratio, Shape, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class CifarDenseNet(Spec):
    """`depths` are the layers of each dense block, each of which adds `growth` channels, the paper's k.

    Its 1x1 convolution has `bn_size` times that. Between two blocks `compression`, the paper's theta, is the share of
    channels that is kept. `conv_dropout` is the rate behind each 3x3: 0.2 in the paper where no data is augmented.
    """

    depths: tuple[Size, ...]
    growth: Size
    _: dataclasses.KW_ONLY
    bn_size: Size = 4
    compression: float = 0.5
    conv_dropout: Rate = 0.0
    num_classes: Classes = 10
    input_shape: Shape = (32, 32, 3)

    @property
    def min_size(self) -> int:
        return 2 ** (len(self.depths) - 1)

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.compression <= 1:
            raise ValueError(f"compression must be more than 0, and 1 or less, not {self.compression!r}")


@dataclasses.dataclass(frozen=True)
class DenseNet(CifarDenseNet):
    """Images are larger: the stem shrinks them to a quarter."""

    _: dataclasses.KW_ONLY
    fractional_pool: Ratio = None
    num_classes: Classes = 1000
    input_shape: Shape = (224, 224, 3)

    @property
    def min_size(self) -> int:
        # Transitions round down. The stem rounds up twice, and once where its pool is fractional.
        return 4 * super().min_size - (1 if self.fractional_pool else 3)


def layer(spec, x, name):
    y = norm_act(spec, x, name=f"{name}_preact_norm")
    y = conv_norm(spec, y, spec.bn_size * spec.growth, 1, name=f"{name}_conv1")
    y = conv(spec, y, spec.growth, 3, bias=None, name=f"{name}_conv2")
    if spec.conv_dropout:
        y = keras.layers.Dropout(spec.conv_dropout, name=f"{name}_dropout")(y)
    return keras.layers.Concatenate(name=f"{name}_concat")([x, y])


def transition(spec, x, name):
    x = norm_act(spec, x, name=f"{name}_norm")
    x = conv(spec, x, max(int(x.shape[-1] * spec.compression), 1), 1, bias=None, name=f"{name}_conv")
    return keras.layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def trunk(spec, x):
    for i, depth in enumerate(spec.depths, 1):
        if i > 1:
            x = transition(spec, x, f"stage{i}_transition")
        for j in range(1, depth + 1):
            x = layer(spec, x, f"stage{i}_block{j}")
        if i == len(spec.depths):
            x = norm_act(spec, x, name=f"stage{i}_norm")
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return x


def build(spec, x):
    x = conv_norm(spec, x, 2 * spec.growth, 7, 2, name="stem_conv")
    return trunk(spec, max_pool(spec, x, 3, 2, name="stem_pool"))


def build_cifar(spec, x):
    return trunk(spec, conv(spec, x, 2 * spec.growth, 3, bias=None, name="stem_conv"))


# fmt: off
register(build, classifier, {
    "densenet121":          DenseNet((6, 12, 24, 16), 32),
    "densenet161":          DenseNet((6, 12, 36, 24), 48),
    "densenet169":          DenseNet((6, 12, 32, 32), 32),
    "densenet201":          DenseNet((6, 12, 48, 32), 32),
}, paper="https://arxiv.org/abs/1608.06993")
register(build_cifar, classifier, {
    "densenet_bc100_cifar": CifarDenseNet((16, 16, 16), 12),
}, paper="https://arxiv.org/abs/1608.06993")
# fmt: on
