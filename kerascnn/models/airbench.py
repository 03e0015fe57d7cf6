"""The nets of airbench, which learn CIFAR-10 within seconds on one GPU.

airbench  https://arxiv.org/abs/2404.00498  airbench94, airbench95 and airbench96, named after their accuracy in percent
          https://github.com/KellerJordan/cifar10-airbench  the author's code; airbench96 as it has been since June 2024

The first layer sees patches of 2x2 pixels and has a filter and its negative for each number of a patch. It is meant to
whiten them, and its kernel does not train: `whiten_patches` of kerascnn.train gives it, without which it is random.
Behind it each group pools once. The first filters of each 3x3 convolution start as copies of the channels they see, so
that a group starts near the identity. Batch norms shift and do not scale. The features are scaled down ahead of the
classifier, whose logits then grow slowly.

Differs from the author's code: filters that copy nothing start with a variance of 1/fan_in rather than a third of it
(batch norm takes the difference out), and the classifier has a bias, starts smaller, and has the scale ahead of it. On
images above 32x32 what the last pool leaves is averaged.
"""

import dataclasses
import math
from typing import Annotated

import keras

from kerascnn import initializers
from kerascnn.blocks import activation, classifier, max_pool, norm, residual
from kerascnn.registry import (
    Activation,
    Classes,
    Epsilon,
    Initializer,
    Limits,
    Rate,
    Ratio,
    Shape,
    Size,
    Spec,
    register,
)


@dataclasses.dataclass(frozen=True)
class Airbench(Spec):
    """`widths` are the filters of each group, `depth` its convolutions.

    With `shortcut` what the first convolution of a group gives is added to what its last one does. `patch` is the side
    of the patches that the first layer sees. With `copies` the first filters of convolutions start as copies of
    channels. `scale` multiplies the features ahead of the classifier.
    """

    widths: tuple[Size, ...]
    depth: Size = 2
    _: dataclasses.KW_ONLY
    shortcut: bool = False
    patch: Size = 2
    copies: bool = True
    scale: Annotated[float, Limits(0)] = 1 / 9
    num_classes: Classes = 10
    input_shape: Shape = (32, 32, 3)
    activation: Activation = "gelu"
    initializer: Initializer = "lecun_normal"
    bn_momentum: Rate = 0.6
    bn_epsilon: Epsilon = 1e-12
    bn_scale: bool = False
    fractional_pool: Ratio = None

    @property
    def min_size(self) -> int:
        side = 3
        for _ in self.widths:
            side = math.ceil(side * self.fractional_pool) if self.fractional_pool else 2 * side
        return side + self.patch - 1

    def __post_init__(self):
        super().__post_init__()
        if self.shortcut and self.depth < 2:
            raise ValueError("shortcut=True needs a depth of 2 or more")


@keras.saving.register_keras_serializable(package="kerascnn")
class FrozenConv2D(keras.layers.Conv2D):
    """A convolution whose bias trains, and whose kernel does not."""

    def add_weight(self, *args, name=None, trainable=True, **kwargs):
        return super().add_weight(*args, name=name, trainable=trainable and name != "kernel", **kwargs)


@keras.saving.register_keras_serializable(package="kerascnn")
class Copies(keras.initializers.Initializer):
    """The kernel of a convolution whose i-th filter copies the i-th channel, while there are channels.

    The other filters are drawn from the initializer that is called `rest`.
    """

    def __init__(self, rest):
        self.rest = rest
        self._rest = initializers.get(rest)

    def __call__(self, shape, dtype=None):
        drawn = self._rest(shape, dtype=dtype)
        *sides, channels, filters = shape
        copies = min(channels, filters)
        centred = [(side // 2, side - 1 - side // 2) for side in sides]
        copying = keras.ops.eye(channels, copies, dtype=drawn.dtype)[None, None]
        return keras.ops.concatenate([keras.ops.pad(copying, (*centred, (0, 0), (0, 0))), drawn[..., copies:]], -1)

    def get_config(self):
        return {"rest": self.rest}


def build(spec, x):
    x = FrozenConv2D(
        2 * spec.patch**2 * x.shape[-1], spec.patch, kernel_initializer=initializers.get(spec.initializer),
        name="stem_conv",
    )(x)  # fmt: skip
    x = activation(spec, x, name="stem_act")
    for i, filters in enumerate(spec.widths, 1):
        x = conv(spec, x, filters, name=f"stage{i}_conv1")
        x = max_pool(spec, x, 2, 2, margin=0, name=f"stage{i}_pool")
        x = norm(spec, x, name=f"stage{i}_norm1")
        x = first = activation(spec, x, name=f"stage{i}_act1")
        for j in range(2, spec.depth + 1):
            x = conv(spec, x, filters, name=f"stage{i}_conv{j}")
            x = norm(spec, x, name=f"stage{i}_norm{j}")
            if spec.shortcut and j == spec.depth:
                x = residual(x, first, name=f"stage{i}")
            x = activation(spec, x, name=f"stage{i}_act{j}")
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return keras.layers.MaxPooling2D(3, name="last_pool")(x)


def conv(spec, x, filters, *, name):
    kernel = Copies(spec.initializer) if spec.copies else initializers.get(spec.initializer)
    bias = spec.norm == "none" or spec.conv_bias
    return keras.layers.Conv2D(filters, 3, padding="same", use_bias=bias, kernel_initializer=kernel, name=name)(x)


def head(spec, x):
    return classifier(spec, keras.layers.Rescaling(spec.scale, name="scale")(x) if spec.num_classes else x)


# fmt: off
register(build, head, {
    "airbench94": Airbench((64,  256, 256)),
    "airbench95": Airbench((128, 384, 384)),
    "airbench96": Airbench((128, 512, 512), 3, shortcut=True, bn_momentum=0.9),
}, paper="https://arxiv.org/abs/2404.00498")
# fmt: on
