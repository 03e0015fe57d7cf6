"""NASNet-A: two cells that were found by search, each of which sees the outputs of the two cells before it.

NASNet  https://arxiv.org/abs/1707.07012  Figure 4

Differs from the paper: drop_path does not rise while training goes on, as its ScheduledDropPath does. The authors' code
has 0.3 in the end for nasnet_large, and none for nasnet_mobile.
"""

import dataclasses
from typing import Literal, NamedTuple

import keras

from kerascnn.blocks import (
    activation,
    classifier,
    conv,
    conv_norm,
    depthwise,
    flatten,
    linear_rates,
    logits,
    max_pool,
    norm,
)
from kerascnn.layers import DropPath
from kerascnn.registry import Epsilon, Rate, Shape, Size, Spec, register


@dataclasses.dataclass(frozen=True)
class NASNet(Spec):
    """`stem` are the filters of the first convolution, `width` those of the first normal cells, and `depths` the normal
    cells of the last three stages. Two reduction cells are ahead of the first of them, and one ahead of each other.

    With `skip_reduction` a cell behind one of those two sees what this one saw, in place of what it saw first alone:
    the cell before the last one. With `pool_zeros` the pools that stride see zeros around the map, in place of nothing.
    drop_path drops what single operations of a cell give; its rate rises with the number of the cell.

    With include_aux the model gives [logits, aux1]: those of an auxiliary classifier behind the last stage but one.
    """

    stem: Size
    width: Size
    depths: tuple[Size, Size, Size]
    _: dataclasses.KW_ONLY
    skip_reduction: bool = False
    pool_zeros: bool = False
    include_aux: bool = False
    drop_path: Rate = 0.0
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
        if self.include_aux and None in self.input_shape:
            raise ValueError("include_aux=True needs a fixed input_shape")


class Cell(NamedTuple):
    """What the operations of a cell share; its name is what theirs begin with."""

    spec: NASNet
    filters: int
    rate: float  # at which training drops what an operation gives
    name: str

    def at(self, operation):
        return f"{self.name}_{operation}"


def dropped(cell, x, operation):
    return DropPath(cell.rate, name=cell.at(f"{operation}_drop_path"))(x) if cell.rate else x


def separable(cell, x, kernel, stride, operation):
    """Activation, convolution of each channel, convolution of all, norm; and the same once more, without a stride."""
    spec, name = cell.spec, cell.at(operation)
    for n in (1, 3):
        x = activation(spec, x, name=f"{name}_act{n - 1}" if n > 1 else f"{name}_preact_act")
        x = depthwise(spec, x, kernel, stride if n == 1 else 1, name=f"{name}_conv{n}")
        x = conv_norm(spec, x, cell.filters, 1, act=None, name=f"{name}_conv{n + 1}")
    return dropped(cell, x, operation)


def average(cell, x, stride, operation, padding="same"):
    x = keras.layers.AveragePooling2D(3, stride, padding, name=cell.at(f"{operation}_pool"))(x)
    return dropped(cell, x, operation)


def largest(cell, x, margin, operation):
    return dropped(cell, max_pool(cell.spec, x, 3, 2, margin=margin, name=cell.at(f"{operation}_pool")), operation)


def add(cell, n, one, other):
    return keras.layers.Add(name=cell.at(f"add{n}"))([one, other])


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


def normal_cell(cell, x, before, larger):
    p = adjusted(cell.spec, before, cell.filters, larger, cell.at("adjust"))
    h = project(cell.spec, x, cell.filters, cell.at("input"))
    parts = [
        p,
        add(cell, 1, separable(cell, h, 5, 1, "left1"), separable(cell, p, 3, 1, "right1")),
        add(cell, 2, separable(cell, p, 5, 1, "left2"), separable(cell, p, 3, 1, "right2")),
        add(cell, 3, average(cell, h, 1, "left3"), p),
        add(cell, 4, average(cell, p, 1, "left4"), average(cell, p, 1, "right4")),
        add(cell, 5, separable(cell, h, 3, 1, "left5"), h),
    ]
    return keras.layers.Concatenate(name=cell.at("concat"))(parts)


def reduction_cell(cell, x, before, larger):
    spec = cell.spec
    p = adjusted(spec, before, cell.filters, larger, cell.at("adjust")) if before is not None else x
    h = project(spec, x, cell.filters, cell.at("input"))
    padded, margin, padding = h, None, "same"
    if spec.pool_zeros:  # as SAME pads at stride 2
        margins = tuple((side % 2, 1) for side in h.shape[1:3])
        padded, margin, padding = keras.layers.ZeroPadding2D(margins, name=cell.at("pad"))(h), 0, "valid"
    one = add(cell, 1, separable(cell, h, 5, 2, "left1"), separable(cell, p, 7, 2, "right1"))
    two = add(cell, 2, largest(cell, padded, margin, "left2"), separable(cell, p, 7, 2, "right2"))
    three = add(cell, 3, average(cell, padded, 2, "left3", padding), separable(cell, p, 5, 2, "right3"))
    four = add(cell, 4, two, average(cell, one, 1, "right4"))
    five = add(cell, 5, separable(cell, one, 3, 1, "left5"), largest(cell, padded, margin, "right5"))
    return keras.layers.Concatenate(name=cell.at("concat"))([two, three, four, five])


def aux_classifier(spec, x, name):
    """Its second convolution sees the whole map."""
    x = activation(spec, x, name=f"{name}_act")
    x = keras.layers.AveragePooling2D(min(5, *x.shape[1:3]), 3, name=f"{name}_pool")(x)
    x = conv_norm(spec, x, 128, 1, name=f"{name}_conv1")
    x = conv_norm(spec, x, 768, x.shape[1:3], margin=0, name=f"{name}_conv2")
    return logits(dataclasses.replace(spec, dropout=0.0), flatten(x, name=f"{name}_flatten"), name=f"{name}_logits")


def build(spec, x):
    x = conv_norm(spec, x, spec.stem, 3, 2, margin=0, act=None, name="stem_conv")
    x = keras.layers.Identity(name="stage1")(x)
    before, larger = None, False  # what the cell before the last gave, and whether its map is larger
    aux = []
    rates = iter(linear_rates(spec.drop_path, 4 + sum(spec.depths)))  # four cells reduce
    for i, depth in enumerate((0, *spec.depths), 2):
        filters = spec.width * 2**i // 8
        first = filters if i > 3 else filters // 2  # the stem's two are narrower
        new = reduction_cell(Cell(spec, first, next(rates), f"stage{i}_block1"), x, before, larger)
        before, x, larger = before if spec.skip_reduction and i > 3 else x, new, True
        for j in range(2, depth + 2):
            cell = Cell(spec, filters, next(rates), f"stage{i}_block{j}")
            before, x = x, normal_cell(cell, x, before, larger)
            larger = False
        x = activation(spec, x, name=f"stage{i}_act") if i == 5 else x
        x = keras.layers.Identity(name=f"stage{i}")(x)
        if spec.include_aux and i == 4:
            aux = [aux_classifier(spec, x, "aux1")]
    return [x, *aux]


# fmt: off
register(build, classifier, {
    "nasnet_mobile": NASNet(32, 44,  (4, 4, 4)),
    "nasnet_large":  NASNet(96, 168, (6, 6, 6), skip_reduction=True, input_shape=(331, 331, 3)),
}, paper="https://arxiv.org/abs/1707.07012")
# fmt: on
