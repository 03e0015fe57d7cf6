"""MobileNetV4: the nets of convolutions alone, of one block that has two depthwise convolutions to leave out.

MobileNetV4  https://arxiv.org/abs/2404.10518  the tables of its appendix, in timm's form

The narrower small ones are timm's.
"""

import dataclasses
from typing import Annotated, Literal, NamedTuple

import keras

from kerascnn.blocks import (
    conv_norm,
    fused_residual,
    inverted_residual,
    logits,
    pool,
    repeated,
    round_channels,
    split,
    stages,
)
from kerascnn.registry import Initializer, Limits, Rate, Size, Spec, register

Kernel = Annotated[int, Limits(0)]


class Row(NamedTuple):
    """Blocks that are alike; the first of them has the stride.

    UIB is an inverted residual with depthwise convolutions of `start` x `start` ahead of it and of `kernel` x `kernel`
    between its two others; 0 leaves one out. FusedIB has `kernel`, and so has Conv2D, which is a convolution alone.
    """

    kind: Literal["Conv2D", "FusedIB", "UIB"]
    start: Kernel
    kernel: Kernel
    expand: Size
    channels: Size
    repeats: Size
    stride: Literal[1, 2]


@dataclasses.dataclass(frozen=True)
class MobileNetV4(Spec):
    """`stem` are the channels of the first convolution, which `width` multiplies where it is above 1.

    It multiplies those of `rows`, and the 960 of the last convolution, in any case; `hidden` are the units ahead of the
    logits, which num_classes=0 gives. They have a norm too, but for norm="instance": there is one pixel alone. A new
    stage begins at each stride.
    """

    rows: tuple[Row, ...]
    stem: Size = 32
    width: Annotated[float, Limits(0.05)] = 1.0
    _: dataclasses.KW_ONLY
    hidden: Size = 1280
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    drop_block: Rate = 0.0
    output_stride: Literal[8, 16, 32] = 32
    dropout: Rate = 0.2
    initializer: Initializer = "he_normal_fan_out"

    @property
    def blocks(self):
        """(number, row) of each block; rows are counted from 0."""
        return repeated(self.rows, self.width)

    def __post_init__(self):
        super().__post_init__()
        for row in self.rows:
            kernels = (row.start, row.kernel) if row.kind == "UIB" else (row.kernel,)
            if not max(kernels) and (row.kind != "UIB" or row.stride > 1):
                raise ValueError(f"rows: {row} needs a kernel")


def block(spec, x, row, place):
    expanded = row.expand * x.shape[-1]
    if row.kind == "Conv2D":
        name = f"{place.name}_conv1"
        return conv_norm(spec, x, row.channels, row.kernel, place.stride, dilation=place.dilation, name=name)
    if row.kind == "FusedIB":
        return fused_residual(spec, x, row.channels, expanded, row.kernel, place)
    return inverted_residual(spec, x, row.channels, expanded, row.kernel, place, start=row.start)


def build(spec, x):
    x = conv_norm(spec, x, round_channels(spec.stem * max(spec.width, 1)), 3, 2, name="stem_conv")
    x = stages(spec, x, split(row for _, row in spec.blocks), block)
    return conv_norm(spec, x, round_channels(960 * spec.width), 1, name="head_conv")


def head(spec, x):
    x = pool(spec, x)
    x = keras.layers.Reshape((1, 1, x.shape[-1]), name="pool_map")(x)
    bare = dataclasses.replace(spec, norm="none") if spec.norm == "instance" else spec
    x = conv_norm(bare, x, spec.hidden, 1, name="hidden_conv")
    return logits(spec, keras.layers.Flatten(name="flatten")(x))


# fmt: off
SMALL = (  #        k1 k2 e  c    r  s
    Row("Conv2D",  0, 3, 1, 32,  1, 2),
    Row("Conv2D",  0, 1, 1, 32,  1, 1),
    Row("Conv2D",  0, 3, 1, 96,  1, 2),
    Row("Conv2D",  0, 1, 1, 64,  1, 1),
    Row("UIB",     5, 5, 3, 96,  1, 2),
    Row("UIB",     0, 3, 2, 96,  4, 1),
    Row("UIB",     3, 0, 4, 96,  1, 1),
    Row("UIB",     3, 3, 6, 128, 1, 2),
    Row("UIB",     5, 5, 4, 128, 1, 1),
    Row("UIB",     0, 5, 4, 128, 1, 1),
    Row("UIB",     0, 5, 3, 128, 1, 1),
    Row("UIB",     0, 3, 4, 128, 2, 1),
)
MEDIUM = (
    Row("FusedIB", 0, 3, 4, 48,  1, 2),
    Row("UIB",     3, 5, 4, 80,  1, 2),
    Row("UIB",     3, 3, 2, 80,  1, 1),
    Row("UIB",     3, 5, 6, 160, 1, 2),
    Row("UIB",     3, 3, 4, 160, 2, 1),
    Row("UIB",     3, 5, 4, 160, 1, 1),
    Row("UIB",     3, 3, 4, 160, 1, 1),
    Row("UIB",     3, 0, 4, 160, 1, 1),
    Row("UIB",     0, 0, 2, 160, 1, 1),
    Row("UIB",     3, 0, 4, 160, 1, 1),
    Row("UIB",     5, 5, 6, 256, 1, 2),
    Row("UIB",     5, 5, 4, 256, 1, 1),
    Row("UIB",     3, 5, 4, 256, 2, 1),
    Row("UIB",     0, 0, 4, 256, 1, 1),
    Row("UIB",     3, 0, 4, 256, 1, 1),
    Row("UIB",     3, 5, 2, 256, 1, 1),
    Row("UIB",     5, 5, 4, 256, 1, 1),
    Row("UIB",     0, 0, 4, 256, 2, 1),
    Row("UIB",     5, 0, 2, 256, 1, 1),
)
LARGE = (
    Row("FusedIB", 0, 3, 4, 48,  1, 2),
    Row("UIB",     3, 5, 4, 96,  1, 2),
    Row("UIB",     3, 3, 4, 96,  1, 1),
    Row("UIB",     3, 5, 4, 192, 1, 2),
    Row("UIB",     3, 3, 4, 192, 3, 1),
    Row("UIB",     3, 5, 4, 192, 1, 1),
    Row("UIB",     5, 3, 4, 192, 5, 1),
    Row("UIB",     3, 0, 4, 192, 1, 1),
    Row("UIB",     5, 5, 4, 512, 4, 2),
    Row("UIB",     5, 0, 4, 512, 1, 1),
    Row("UIB",     5, 3, 4, 512, 1, 1),
    Row("UIB",     5, 0, 4, 512, 2, 1),
    Row("UIB",     5, 3, 4, 512, 1, 1),
    Row("UIB",     5, 5, 4, 512, 1, 1),
    Row("UIB",     5, 0, 4, 512, 3, 1),
)
register(build, head, {
    "mobilenet_v4_conv_small_035": MobileNetV4(SMALL, width=0.35),
    "mobilenet_v4_conv_small_050": MobileNetV4(SMALL, width=0.5),
    "mobilenet_v4_conv_small":     MobileNetV4(SMALL),
    "mobilenet_v4_conv_medium":    MobileNetV4(MEDIUM, input_shape=(256, 256, 3)),
    "mobilenet_v4_conv_large":     MobileNetV4(LARGE, stem=24, input_shape=(384, 384, 3)),
}, paper="https://arxiv.org/abs/2404.10518", aliases={
    "mobilenetv4_conv_small_035": "mobilenet_v4_conv_small_035",
    "mobilenetv4_conv_small_050": "mobilenet_v4_conv_small_050",
    "mobilenetv4_conv_small":     "mobilenet_v4_conv_small",
    "mobilenetv4_conv_medium":    "mobilenet_v4_conv_medium",
    "mobilenetv4_conv_large":     "mobilenet_v4_conv_large",
})
# fmt: on
