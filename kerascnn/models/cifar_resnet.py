"""Residual nets for small images, and the plain nets that they are compared with.

ResNet  https://arxiv.org/abs/1512.03385  section 4.2; shortcuts are its option A, which has no parameters

Differs from the paper: the classifier starts from small numbers, the other weights from He's distribution.
"""

import dataclasses

import keras

from kerascnn.blocks import activation, classifier, conv_norm, linear_rates, residual
from kerascnn.registry import Classes, Rate, Shape, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class CifarResNet(Spec):
    """`depths` are the blocks of each stage, `widths` its filters. Images are 8x8 or larger."""

    depths: tuple[Size, ...]
    shortcut: bool = True
    _: dataclasses.KW_ONLY
    widths: tuple[Size, ...] = (16, 32, 64)
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    num_classes: Classes = 10
    input_shape: Shape = (32, 32, 3)

    @property
    def min_size(self) -> int:
        return 8

    def __post_init__(self):
        super().__post_init__()
        if len(self.depths) != len(self.widths) or list(self.widths) != sorted(self.widths):
            raise ValueError(f"widths must be {len(self.depths)} numbers that do not fall, one for each of depths")
        if not self.shortcut and (self.zero_init_residual or self.drop_path):
            raise ValueError("zero_init_residual and drop_path need shortcuts, which shortcut=False takes away")


def shrink(x, filters, stride, name):
    """Option A: every `stride`-th pixel, and zeros for the channels that are new."""
    if stride > 1:
        x = keras.layers.AveragePooling2D(1, stride, name=f"{name}_pool")(x)
    if new := filters - x.shape[-1]:
        x = keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, new)))
    return x


def block(spec, image, filters, stride, rate, name):
    x = conv_norm(spec, image, filters, 3, stride, name=f"{name}_conv1")
    x = conv_norm(spec, x, filters, 3, act=None, zero_init=spec.zero_init_residual, name=f"{name}_conv2")
    if spec.shortcut:
        x = residual(x, shrink(image, filters, stride, name), rate, name=name)
    return activation(spec, x, name=f"{name}_act2")


def build(spec, x):
    x = conv_norm(spec, x, spec.widths[0], 3, name="stem_conv")
    rates = iter(linear_rates(spec.drop_path, sum(spec.depths)))
    for i, (depth, filters) in enumerate(zip(spec.depths, spec.widths, strict=True), 1):
        for j in range(1, depth + 1):
            stride = 2 if i > 1 and j == 1 else 1
            x = block(spec, x, filters, stride, next(rates), f"stage{i}_block{j}")
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return x


# fmt: off
register(build, classifier, {
    "resnet20_cifar":  CifarResNet((3, 3, 3)),
    "resnet32_cifar":  CifarResNet((5, 5, 5)),
    "resnet44_cifar":  CifarResNet((7, 7, 7)),
    "resnet56_cifar":  CifarResNet((9, 9, 9)),
    "resnet110_cifar": CifarResNet((18, 18, 18)),
    "plain20_cifar":   CifarResNet((3, 3, 3),    shortcut=False),
    "plain32_cifar":   CifarResNet((5, 5, 5),    shortcut=False),
    "plain44_cifar":   CifarResNet((7, 7, 7),    shortcut=False),
    "plain56_cifar":   CifarResNet((9, 9, 9),    shortcut=False),
    "plain110_cifar":  CifarResNet((18, 18, 18), shortcut=False),
}, paper="https://arxiv.org/abs/1512.03385")
# fmt: on
