"""The later Inceptions: a large kernel as small ones in a row, 7x7 as 1x7 and 7x1, and modules that shrink the map.

Inception-v3         https://arxiv.org/abs/1512.00567
Inception-v4         https://arxiv.org/abs/1602.07261
Inception-ResNet-v2  https://arxiv.org/abs/1602.07261

Differs from the papers: Inception-v3 and Inception-ResNet-v2 are the nets that Google published, and libraries have.
The stem of the one is not that of the paper's Table 1; the other has that stem in place of Inception-v4's, and twice
the residual modules of the paper's Figure 15. The auxiliary classifier has batch norm in its convolutions. Published
weights want images that were scaled to [-1, 1], which is preprocessing and not done here.
"""

import dataclasses
import re
from typing import Annotated, NamedTuple

import keras

from kerascnn.blocks import activation, classifier, conv, conv_norm, linear_rates, logits, max_pool, residual
from kerascnn.layers import AdaptiveAveragePooling2D
from kerascnn.registry import Classes, Epsilon, Limits, Rate, Shape, Spec, register


class Module(NamedTuple):
    """Branches side by side, each a text: its steps, with commas between, as in "avg, 64 1x1" or "64 1x1, 96 3x3/2".

    A convolution is its filters and its height and width; behind them "/2" is a stride, and "!" that nothing is padded
    at stride 1. " + " sets two side by side. "max" is a pool of 3x3 at stride 2, "avg" one at stride 1. Where `scale`
    is above 0 the module adds: a 1x1 convolution behind the branches, times `scale`, to what came in; `act` is whether
    an activation follows.
    """

    branches: tuple[str, ...]
    scale: Annotated[float, Limits(0)] = 0.0
    act: bool = True


@dataclasses.dataclass(frozen=True)
class Inception(Spec):
    """`stages` are the modules of each, and `head` the filters of a 1x1 convolution behind the last, or 0 for none.

    What strides is not padded, unless padding="same" pads all, so that images may have any size. With `pool_zeros` the
    average pools see zeros around the map, in place of nothing. With include_aux the model gives [logits, aux1]: those
    of an auxiliary classifier behind the last stage but one, which averages to 5x5 where that is below 17x17. With
    zero_init_residual a module that adds starts as what comes in.
    """

    stages: tuple[tuple[Module, ...], ...]
    head: Classes = 0
    _: dataclasses.KW_ONLY
    pool_zeros: bool = False
    include_aux: bool = False
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    input_shape: Shape = (299, 299, 3)
    dropout: Rate = 0.2
    bn_epsilon: Epsilon = 1e-3

    @property
    def min_size(self) -> int:
        side = 1
        if self.padding != "same":
            modules = [module for stage in self.stages for module in stage]
            steps = [step for module in modules for step in module.branches[0].split(", ")]  # all branches shrink alike
            for extent, stride in map(window, reversed(steps)):
                side = stride * (side - 1) + extent
        return side

    def __post_init__(self):
        super().__post_init__()
        if self.include_aux and len(self.stages) < 2:
            raise ValueError("include_aux=True needs two stages or more")


def convs(step):
    """(filters, kernel, stride, whether it is padded) of the convolutions side by side in a step."""
    for text in step.split(" + "):
        match = re.fullmatch(r"([1-9]\d*) ([1-9]\d*)x([1-9]\d*)(/2|!|)", text)
        if not match:
            raise ValueError(f"no step of a branch is {text!r}: write such as '64 1x1', '96 3x3/2', 'avg' or 'max'")
        filters, height, width, kind = match.groups()
        yield int(filters), (int(height), int(width)), 2 if kind == "/2" else 1, not kind


def window(step):
    """(extent, stride) of a step that shrinks the map; of another that of a 1x1 convolution."""
    if step in ("avg", "max"):
        return (3, 2) if step == "max" else (1, 1)
    _, (height, _), stride, padded = next(convs(step))
    return (1, 1) if padded else (height, stride)


def concatenate(parts, name):
    return keras.layers.Concatenate(name=name)(parts) if len(parts) > 1 else parts[0]


def average_pool(spec, x, name):
    if not spec.pool_zeros:
        return keras.layers.AveragePooling2D(3, 1, "same", name=name)(x)
    return keras.layers.AveragePooling2D(3, 1, name=name)(keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x))


def branch(spec, x, steps, name):
    unpadded = None if spec.padding == "same" else 0
    count = 0
    for step in steps.split(", "):
        if step == "max":
            x = max_pool(spec, x, 3, 2, margin=unpadded, name=f"{name}_pool")
        elif step == "avg":
            x = average_pool(spec, x, f"{name}_pool")
        else:
            count += 1
            halves = ("a", "b") if " + " in step else ("",)
            parts = [
                conv_norm(
                    spec, x, filters, kernel, stride, margin=None if padded else unpadded,
                    name=f"{name}_conv{count}{half}",
                )
                for half, (filters, kernel, stride, padded) in zip(halves, convs(step), strict=True)
            ]  # fmt: skip
            x = concatenate(parts, f"{name}_concat")
    return x


def inception(spec, image, module, rate, name):
    alone = len(module.branches) == 1
    names = [name] if alone else [f"{name}_branch{i}" for i in range(1, len(module.branches) + 1)]
    parts = [branch(spec, image, *pair) for pair in zip(module.branches, names, strict=True)]
    x = concatenate(parts, f"{name}_concat")
    if not module.scale:
        return x
    zero = "zeros" if spec.zero_init_residual else None
    x = conv(spec, x, image.shape[-1], 1, initializer=zero, name=f"{name}_conv")
    x = residual(keras.layers.Rescaling(module.scale, name=f"{name}_scale")(x), image, rate, name=name)
    return activation(spec, x, name=f"{name}_act") if module.act else x


def aux_classifier(spec, x, name):
    small = None not in x.shape[1:3] and min(x.shape[1:3]) < 17
    pool = AdaptiveAveragePooling2D(5, name=f"{name}_pool") if small else keras.layers.AveragePooling2D(
        5, 3, name=f"{name}_pool"
    )  # fmt: skip
    x = conv_norm(spec, pool(x), 128, 1, name=f"{name}_conv1")
    x = conv_norm(spec, x, 768, 5, margin=0, name=f"{name}_conv2")
    x = keras.layers.GlobalAveragePooling2D(name=f"{name}_last_pool")(x)
    return logits(dataclasses.replace(spec, dropout=0.0), x, name=f"{name}_logits")


def build(spec, x):
    aux = []
    rates = iter(linear_rates(spec.drop_path, sum(module.scale > 0 for stage in spec.stages for module in stage)))
    for i, modules in enumerate(spec.stages, 1):
        for j, module in enumerate(modules, 1):
            x = inception(spec, x, module, next(rates) if module.scale else 0.0, f"stage{i}_block{j}")
        x = keras.layers.Identity(name=f"stage{i}")(x)
        if spec.include_aux and i == len(spec.stages) - 1:
            aux = [aux_classifier(spec, x, "aux1")]
    x = conv_norm(spec, x, spec.head, 1, name="head_conv") if spec.head else x
    return [x, *aux]


def v3_17x17(width):
    tall, wide = f"{width} 7x1", f"{width} 1x7"
    return Module((
        "192 1x1", f"{width} 1x1, {wide}, 192 7x1", f"{width} 1x1, {tall}, {wide}, {tall}, 192 1x7", "avg, 192 1x1",
    ))  # fmt: skip


# fmt: off
STEM = (
    (Module(("32 3x3/2, 32 3x3!, 64 3x3",)),),
    (Module(("max, 80 1x1, 192 3x3!",)),),
)
V3_35X35 = "64 1x1", "48 1x1, 64 5x5", "64 1x1, 96 3x3, 96 3x3"
V3_8X8 = Module(("320 1x1", "384 1x1, 384 1x3 + 384 3x1", "448 1x1, 384 3x3, 384 1x3 + 384 3x1", "avg, 192 1x1"))
V3 = (
    *STEM,
    (Module(("max",)), Module((*V3_35X35, "avg, 32 1x1")), *(Module((*V3_35X35, "avg, 64 1x1")),) * 2),
    (Module(("384 3x3/2", "64 1x1, 96 3x3, 96 3x3/2", "max")), *map(v3_17x17, (128, 160, 160, 192))),
    (Module(("192 1x1, 320 3x3/2", "192 1x1, 192 1x7, 192 7x1, 192 3x3/2", "max")), *(V3_8X8,) * 2),
)
V4_35X35 = Module(("96 1x1", "64 1x1, 96 3x3", "64 1x1, 96 3x3, 96 3x3", "avg, 96 1x1"))
V4_17X17 = Module((
    "384 1x1", "192 1x1, 224 1x7, 256 7x1", "192 1x1, 192 7x1, 224 1x7, 224 7x1, 256 1x7", "avg, 128 1x1",
))
V4_8X8 = Module((
    "256 1x1", "384 1x1, 256 1x3 + 256 3x1", "384 1x1, 448 3x1, 512 1x3, 256 1x3 + 256 3x1", "avg, 256 1x1",
))
V4 = (
    STEM[0],
    (Module(("max", "96 3x3/2")), Module(("64 1x1, 96 3x3!", "64 1x1, 64 1x7, 64 7x1, 96 3x3!"))),
    (Module(("192 3x3/2", "max")), *(V4_35X35,) * 4),
    (Module(("384 3x3/2", "192 1x1, 224 3x3, 256 3x3/2", "max")), *(V4_17X17,) * 7),
    (Module(("192 1x1, 192 3x3/2", "256 1x1, 256 1x7, 320 7x1, 320 3x3/2", "max")), *(V4_8X8,) * 3),
)
RESNET_35X35 = Module(("32 1x1", "32 1x1, 32 3x3", "32 1x1, 48 3x3, 64 3x3"), 0.17)
RESNET_17X17 = Module(("192 1x1", "128 1x1, 160 1x7, 192 7x1"), 0.1)
RESNET_8X8 = Module(("192 1x1", "192 1x1, 224 1x3, 256 3x1"), 0.2)
RESNET_V2 = (
    *STEM,
    (Module(("max",)), Module(("96 1x1", *V3_35X35[1:], "avg, 64 1x1")), *(RESNET_35X35,) * 10),
    (Module(("384 3x3/2", "256 1x1, 256 3x3, 384 3x3/2", "max")), *(RESNET_17X17,) * 20),
    (Module(("256 1x1, 384 3x3/2", "256 1x1, 288 3x3/2", "256 1x1, 288 3x3, 320 3x3/2", "max")),
     *(RESNET_8X8,) * 9, RESNET_8X8._replace(scale=1.0, act=False)),
)
register(build, classifier, {
    "inception_v3":        Inception(V3, pool_zeros=True, dropout=0.5),
}, paper="https://arxiv.org/abs/1512.00567")
register(build, classifier, {
    "inception_v4":        Inception(V4),
    "inception_resnet_v2": Inception(RESNET_V2, 1536),
}, paper="https://arxiv.org/abs/1602.07261")
# fmt: on
