"""Xception: separable convolutions, which look at each channel by itself and then at all channels of each pixel.

Xception  https://arxiv.org/abs/1610.02357
Aligned   https://arxiv.org/abs/1802.02611  DeepLabv3+: strides in place of pools, and a norm in the midst of each
          separable convolution

xception41 and xception71 are sizes that DeepLab's authors published beside their paper's xception65. Those with a p
are timm's: norm and activation stand ahead of separable convolutions, and shortcuts see them too.
"""

import dataclasses
from typing import Literal, NamedTuple

from kerascnn.blocks import (
    activation,
    classifier,
    conv,
    conv_norm,
    depthwise,
    depthwise_norm,
    max_pool,
    norm_act,
    residual,
    split,
    stages,
)
from kerascnn.registry import Initializer, Rate, Shape, Size, Spec, register


class Row(NamedTuple):
    """The filters of a block's separable convolutions. Its last one strides, or a pool behind it."""

    filters: tuple[Size, ...]
    stride: Literal[1, 2]


@dataclasses.dataclass(frozen=True)
class Xception(Spec):
    """`entry` and `exit` are the blocks of these flows, `middle` is how many stand between them, each of three.

    A new stage begins at each stride. The last block has no shortcut, and an activation behind each convolution.
    """

    form: Literal["plain", "aligned", "preact"]
    entry: tuple[Row, ...]
    middle: Size
    exit: tuple[Row, ...]
    _: dataclasses.KW_ONLY
    zero_init_residual: bool = False
    drop_path: Rate = 0.0
    output_stride: Literal[8, 16, 32] = 32
    input_shape: Shape = (299, 299, 3)
    initializer: Initializer = "he_normal_fan_out"

    @property
    def min_size(self) -> int:
        return 7 if self.form == "plain" else 1

    @property
    def rows(self):
        """The blocks in their order."""
        return (*self.entry, *(Row(self.entry[-1].filters[-1:] * 3, 1),) * self.middle, *self.exit)

    def __post_init__(self):
        super().__post_init__()
        if not self.entry or not self.exit:
            raise ValueError("entry and exit need a block each, or more")


def separable(spec, x, filters, stride, dilation, act, zero_init, name, n):
    """A convolution of each channel, and one of all: those numbered n and n + 1."""
    split = depthwise_norm if spec.form == "aligned" else depthwise
    fields = {"act": act} if spec.form == "aligned" else {}
    x = split(spec, x, 3, stride, dilation=dilation, **fields, name=f"{name}_conv{n}")
    if spec.form == "preact":
        return conv(
            spec, x, filters, 1, bias=None, initializer="zeros" if zero_init else None, name=f"{name}_conv{n + 1}"
        )
    return conv_norm(spec, x, filters, 1, act=act, zero_init=zero_init, name=f"{name}_conv{n + 1}")


def block(spec, image, row, place):
    name, stride, dilation = place.name, place.stride, place.dilation
    first, last = place.number == 1, place.number == len(spec.rows)
    preact, pooled = spec.form == "preact", spec.form == "plain" and row.stride > 1
    x = image = norm_act(spec, image, name=f"{name}_preact_norm") if preact else image
    for n, filters in zip(range(1, 2 * len(row.filters), 2), row.filters, strict=True):
        ends = n == 2 * len(row.filters) - 1
        if preact and n > 1:
            x = norm_act(spec, x, name=f"{name}_norm{n - 1}")
        elif not preact and not last and not (first and n == 1):  # behind the stem there is one already
            x = activation(spec, x, name=f"{name}_act{n - 1}" if n > 1 else f"{name}_preact_act")
        zero_init = ends and not last and spec.zero_init_residual
        strides = stride if ends and not pooled else 1
        x = separable(spec, x, filters, strides, dilation, "spec" if last else None, zero_init, name, n)
    if pooled:
        x = max_pool(spec, x, 3, stride, name=f"{name}_pool")
    if last:
        return activation(spec, x, name=f"stage{place.stage}_act") if preact else x
    if row.stride > 1 or image.shape[-1] != x.shape[-1]:
        kind, fields = (conv, {"bias": None}) if preact else (conv_norm, {"act": None})
        image = kind(spec, image, x.shape[-1], 1, stride, **fields, name=f"{name}_shortcut_conv")
    return residual(x, image, place.rate, name=name)


def build(spec, x):
    margin = 0 if spec.form == "plain" else None
    x = conv_norm(spec, x, 32, 3, 2, margin=margin, name="stem_conv1")
    if spec.form == "preact":
        x = conv(spec, x, 64, 3, bias=None, name="stem_conv2")
    else:
        x = conv_norm(spec, x, 64, 3, margin=margin, name="stem_conv2")
    return stages(spec, x, split(spec.rows), block)


# fmt: off
PLAIN_ENTRY = Row((128, 128), 2), Row((256, 256), 2), Row((728, 728), 2)
PLAIN_EXIT = Row((728, 1024), 2), Row((1536, 2048), 1)
ENTRY = Row((128,) * 3, 2), Row((256,) * 3, 2), Row((728,) * 3, 2)
ENTRY_71 = ENTRY[0], Row((256,) * 3, 1), ENTRY[1], Row((728,) * 3, 1), ENTRY[2]
EXIT = Row((728, 1024, 1024), 2), Row((1536, 1536, 2048), 1)
register(build, classifier, {
    "xception":    Xception("plain", PLAIN_ENTRY, 8, PLAIN_EXIT, dropout=0.5),
}, paper="https://arxiv.org/abs/1610.02357", aliases={
    "legacy_xception": "xception",
})
register(build, classifier, {
    "xception41":  Xception("aligned", ENTRY,    8,  EXIT, bn_epsilon=1e-3),
    "xception65":  Xception("aligned", ENTRY,    16, EXIT, bn_epsilon=1e-3),
    "xception71":  Xception("aligned", ENTRY_71, 16, EXIT, bn_epsilon=1e-3),
    "xception41p": Xception("preact",  ENTRY,    8,  EXIT),
    "xception65p": Xception("preact",  ENTRY,    16, EXIT, bn_epsilon=1e-3),
}, paper="https://arxiv.org/abs/1802.02611")
# fmt: on
