"""Inception: branches of different kernels side by side, and cheap 1x1 convolutions ahead of the dear ones.

GoogLeNet  https://arxiv.org/abs/1409.4842  Table 1

Differs from the paper, as torchvision's does: batch norm in place of local response normalisation; 3x3 in the branch
that has 5x5 in the paper (large_kernel=5 is the paper's); the last pool is 2x2; the auxiliary classifiers average to
4x4, whatever the size, where the paper has 5x5 pools of stride 3; dropout is 0.2 where the paper has 0.4. torchvision's
published weights want images that were scaled to [-1, 1], which is preprocessing and not done here.
"""

import dataclasses
from typing import Literal, NamedTuple

import keras

from kerascnn.blocks import classifier, conv_norm, dense, flatten, logits, max_pool
from kerascnn.layers import AdaptiveAveragePooling2D
from kerascnn.registry import Epsilon, Rate, Ratio, Size, Spec, register


class Module(NamedTuple):
    """The filters of an inception module, in the order of the paper's Table 1."""

    conv1x1: Size
    reduce3x3: Size
    conv3x3: Size
    reduce5x5: Size
    conv5x5: Size
    pool_proj: Size


@dataclasses.dataclass(frozen=True)
class GoogLeNet(Spec):
    """`modules` are those of each stage, from the third on, so that stage4_block1 is the paper's 4a.

    With include_aux the model gives [logits, aux1, aux2]: those of two auxiliary classifiers, behind 4a and 4d, which
    the paper's loss weighs 0.3; `aux_dropout` is the rate ahead of theirs.
    """

    modules: tuple[tuple[Module, ...], ...]
    _: dataclasses.KW_ONLY
    large_kernel: Literal[3, 5] = 3
    include_aux: bool = False
    aux_dropout: Rate = 0.7
    fractional_pool: Ratio = None
    dropout: Rate = 0.2
    bn_epsilon: Epsilon = 1e-3

    @property
    def min_size(self) -> int:
        if self.fractional_pool:
            return 1
        side = 1
        for i in reversed(range(2, len(self.modules) + 3)):
            side = 2 * side - (i == 5)  # whose pool is smaller
        return 2 * side - 1

    def __post_init__(self):
        super().__post_init__()
        if self.include_aux and (len(self.modules) < 2 or len(self.modules[1]) < 4):
            raise ValueError("include_aux=True needs four modules or more in the second of the stages of modules")


def inception(spec, x, row, name):
    a = conv_norm(spec, x, row.conv1x1, 1, name=f"{name}_branch1_conv1")
    b = conv_norm(spec, x, row.reduce3x3, 1, name=f"{name}_branch2_conv1")
    b = conv_norm(spec, b, row.conv3x3, 3, name=f"{name}_branch2_conv2")
    c = conv_norm(spec, x, row.reduce5x5, 1, name=f"{name}_branch3_conv1")
    c = conv_norm(spec, c, row.conv5x5, spec.large_kernel, name=f"{name}_branch3_conv2")
    d = max_pool(spec, x, 3, 1, name=f"{name}_branch4_pool")
    d = conv_norm(spec, d, row.pool_proj, 1, name=f"{name}_branch4_conv1")
    return keras.layers.Concatenate(name=f"{name}_concat")([a, b, c, d])


def aux_classifier(spec, x, name):
    x = AdaptiveAveragePooling2D(4, name=f"{name}_pool")(x)
    x = conv_norm(spec, x, 128, 1, name=f"{name}_conv")
    x = dense(spec, flatten(x, name=f"{name}_flatten"), 1024, name=f"{name}_dense1")
    return logits(dataclasses.replace(spec, dropout=spec.aux_dropout), x, name=f"{name}_logits")


def build_googlenet(spec, x):
    x = conv_norm(spec, x, 64, 7, 2, name="stage1_conv1")
    x = keras.layers.Identity(name="stage1")(x)
    x = max_pool(spec, x, 3, 2, ceil=True, name="stage2_pool")
    x = conv_norm(spec, x, 64, 1, name="stage2_conv1")
    x = conv_norm(spec, x, 192, 3, name="stage2_conv2")
    x = keras.layers.Identity(name="stage2")(x)
    aux = []
    for i, rows in enumerate(spec.modules, 3):
        x = max_pool(spec, x, 2 if i == 5 else 3, 2, ceil=True, name=f"stage{i}_pool")
        for j, row in enumerate(rows, 1):
            x = inception(spec, x, row, f"stage{i}_block{j}")
            if spec.include_aux and (i, j) in ((4, 1), (4, 4)):
                aux.append(aux_classifier(spec, x, f"aux{len(aux) + 1}"))
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return [x, *aux]


# fmt: off
register(build_googlenet, classifier, {
    "googlenet": GoogLeNet((
        #       1x1  3x3 reduce  3x3  5x5 reduce  5x5  pool proj
        (Module(64,  96,         128, 16,         32,  32),    # 3a
         Module(128, 128,        192, 32,         96,  64)),   # 3b
        (Module(192, 96,         208, 16,         48,  64),    # 4a
         Module(160, 112,        224, 24,         64,  64),    # 4b
         Module(128, 128,        256, 24,         64,  64),    # 4c
         Module(112, 144,        288, 32,         64,  64),    # 4d
         Module(256, 160,        320, 32,         128, 128)),  # 4e
        (Module(256, 160,        320, 32,         128, 128),   # 5a
         Module(384, 192,        384, 48,         128, 128)),  # 5b
    )),
}, paper="https://arxiv.org/abs/1409.4842")
# fmt: on
