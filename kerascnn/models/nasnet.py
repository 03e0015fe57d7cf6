"""NASNet-A: two cells that were found by search, each of which sees the outputs of the two cells before it.

NASNet  https://arxiv.org/abs/1707.07012  Figure 4

Differs from the paper: there is no auxiliary classifier, and no ScheduledDropPath, which only training has.
"""

import dataclasses
from typing import Literal

import keras

from kerascnn.blocks import activation, classifier, conv, conv_norm, depthwise, max_pool, norm
from kerascnn.registry import Epsilon, Shape, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class NASNet(Spec):
    """`stem` are the filters of the first convolution, `width` those of the first normal cells, and `depths` the normal
    cells of the last three stages. Two reduction cells are ahead of the first of them, and one ahead of each other.

    With `skip_reduction` a cell behind one of those two sees what this one saw, in place of what it saw first alone:
    the cell before the last one. With `pool_zeros` the pools that stride see zeros around the map, in place of nothing.
    """

    stem: Size
    width: Size
    depths: tuple[Size, Size, Size]
    _: dataclasses.KW_ONLY
    skip_reduction: bool = False
    pool_zeros: bool = False
    input_shape: Shape = (224, 224, 3)
    padding: Literal["symmetric", "same"] = "same"
    bn_epsilon: Epsilon = 1e-3

    @property
    def min_size(self) -> int:
        return 3

    def __post_init__(self):
        super().__post_init__()
        if self.width % 4:
            raise ValueError(f"width must be a multiple of 4, not {self.width}")
        if self.pool_zeros and (self.padding != "same" or None in self.input_shape):
            raise ValueError("pool_zeros=True needs padding='same', and a fixed input_shape")


def separable(spec, x, filters, kernel, stride, name):
    """Activation, convolution of each channel, convolution of all, norm; and the same once more, without a stride."""
    for n in (1, 3):
        x = activation(spec, x, name=f"{name}_act{n - 1}" if n > 1 else f"{name}_preact_act")
        x = depthwise(spec, x, kernel, stride if n == 1 else 1, name=f"{name}_conv{n}")
        x = conv_norm(spec, x, filters, 1, act=None, name=f"{name}_conv{n + 1}")
    return x


def project(spec, x, filters, name):
    x = activation(spec, x, name=f"{name}_act")
    return conv_norm(spec, x, filters, 1, act=None, name=f"{name}_conv")


def adjusted(spec, before, filters, larger, name):
    """What the cell before the last one gave, in the size and with the channels of this cell.

    Where it is `larger`, half of the channels see its even pixels, and half its odd ones.
    """
    if not larger:
        return before if before.shape[-1] == filters else project(spec, before, filters, name)
    x = activation(spec, before, name=f"{name}_act")
    odd = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)
    odd = keras.layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_crop")(odd)
    halves = [
        conv(spec, keras.layers.AveragePooling2D(1, 2, name=f"{name}_pool{n}")(pixels), filters // 2, 1, bias=None,
             name=f"{name}_conv{n}")
        for n, pixels in ((1, x), (2, odd))
    ]  # fmt: skip
    return norm(spec, keras.layers.Concatenate(name=f"{name}_concat")(halves), name=f"{name}_norm")


def average(x, stride, name, padding="same"):
    return keras.layers.AveragePooling2D(3, stride, padding, name=name)(x)


def add(one, other, name):
    return keras.layers.Add(name=name)([one, other])


def normal_cell(spec, x, before, filters, larger, name):
    p = adjusted(spec, before, filters, larger, f"{name}_adjust")
    h = project(spec, x, filters, f"{name}_input")
    parts = [
        p,
        add(separable(spec, h, filters, 5, 1, f"{name}_left1"), separable(spec, p, filters, 3, 1, f"{name}_right1"),
            f"{name}_add1"),
        add(separable(spec, p, filters, 5, 1, f"{name}_left2"), separable(spec, p, filters, 3, 1, f"{name}_right2"),
            f"{name}_add2"),
        add(average(h, 1, f"{name}_left3_pool"), p, f"{name}_add3"),
        add(average(p, 1, f"{name}_left4_pool"), average(p, 1, f"{name}_right4_pool"), f"{name}_add4"),
        add(separable(spec, h, filters, 3, 1, f"{name}_left5"), h, f"{name}_add5"),
    ]  # fmt: skip
    return keras.layers.Concatenate(name=f"{name}_concat")(parts)


def reduction_cell(spec, x, before, filters, larger, name):
    p = adjusted(spec, before, filters, larger, f"{name}_adjust") if before is not None else x
    h = project(spec, x, filters, f"{name}_input")
    padded, margin, padding = h, None, "same"
    if spec.pool_zeros:  # as SAME pads at stride 2
        margins = tuple((side % 2, 1) for side in h.shape[1:3])
        padded, margin, padding = keras.layers.ZeroPadding2D(margins, name=f"{name}_pad")(h), 0, "valid"
    one = add(separable(spec, h, filters, 5, 2, f"{name}_left1"), separable(spec, p, filters, 7, 2, f"{name}_right1"),
              f"{name}_add1")  # fmt: skip
    two = add(max_pool(spec, padded, 3, 2, margin=margin, name=f"{name}_left2_pool"),
              separable(spec, p, filters, 7, 2, f"{name}_right2"), f"{name}_add2")  # fmt: skip
    three = add(average(padded, 2, f"{name}_left3_pool", padding), separable(spec, p, filters, 5, 2, f"{name}_right3"),
                f"{name}_add3")  # fmt: skip
    four = add(two, average(one, 1, f"{name}_right4_pool"), f"{name}_add4")
    five = add(separable(spec, one, filters, 3, 1, f"{name}_left5"),
               max_pool(spec, padded, 3, 2, margin=margin, name=f"{name}_right5_pool"), f"{name}_add5")  # fmt: skip
    return keras.layers.Concatenate(name=f"{name}_concat")([two, three, four, five])


def build(spec, x):
    x = conv_norm(spec, x, spec.stem, 3, 2, margin=0, act=None, name="stem_conv")
    x = keras.layers.Identity(name="stage1")(x)
    before, larger = None, False  # what the cell before the last gave, and whether its map is larger
    for i, depth in enumerate((0, *spec.depths), 2):
        filters = spec.width * 2**i // 8
        first = filters if i > 3 else filters // 2  # the stem's two are narrower
        new = reduction_cell(spec, x, before, first, larger, f"stage{i}_block1")
        before, x, larger = before if spec.skip_reduction and i > 3 else x, new, True
        for j in range(2, depth + 2):
            before, x = x, normal_cell(spec, x, before, filters, larger, f"stage{i}_block{j}")
            larger = False
        x = activation(spec, x, name=f"stage{i}_act") if i == 5 else x
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return x


# fmt: off
register(build, classifier, {
    "nasnet_mobile": NASNet(32, 44,  (4, 4, 4)),
    "nasnet_large":  NASNet(96, 168, (6, 6, 6), skip_reduction=True, input_shape=(331, 331, 3)),
}, paper="https://arxiv.org/abs/1707.07012")
# fmt: on
