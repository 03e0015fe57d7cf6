"""LeNet-5, the net that read cheques.

LeNet-5  https://doi.org/10.1109/5.726791  LeCun, Bottou, Bengio and Haffner, 1998

Differs from the paper, as all of today's do: the average pooling learns nothing, the second convolution sees all six
maps, tanh is not scaled, and the last layer is fully connected, with a softmax to follow.
"""

import dataclasses
from typing import Literal

import keras

from kerascnn.blocks import conv_norm, dense, flatten, logits
from kerascnn.registry import Activation, Classes, Initializer, Norm, Shape, Size, Spec, register


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeNet(Spec):
    """`widths` are the filters of two convolutions and the units of two fully connected layers.

    Images are 16x16 or larger; with padding="same" 4x4. num_classes=0 gives what the last of `widths` computes.
    """

    widths: tuple[Size, Size, Size, Size] = (6, 16, 120, 84)
    num_classes: Classes = 10
    input_shape: Shape = (32, 32, 1)
    pooling: Literal["avg", None] = "avg"
    activation: Activation = "tanh"
    norm: Norm = "none"
    initializer: Initializer = "glorot_uniform"
    padding: Literal["valid", "symmetric", "same"] = "valid"  # type: ignore[assignment]  # one more than the others

    @property
    def min_size(self) -> int:
        return 16 if self.padding == "valid" else 4


def build(spec, x):
    for i, filters in enumerate(spec.widths[:2], 1):
        x = conv_norm(spec, x, filters, 5, name=f"stage{i}_conv1")
        x = keras.layers.AveragePooling2D(2, name=f"stage{i}_pool")(x)
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return x


def head(spec, x):
    x = flatten(x)
    for i, units in enumerate(spec.widths[2:], 1):
        x = dense(spec, x, units, name=f"dense{i}")
    return logits(spec, x)


register(build, head, {"lenet5": LeNet()}, paper="https://doi.org/10.1109/5.726791")
