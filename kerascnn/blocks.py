"""The vocabulary that families are written in, and the one home of each convention.

A word takes the spec first and reads its conventions there:

activation   between layers, by name; see ACTIVATIONS. maxout needs a convolution or a fully connected layer before it,
             which it gives twice the filters; where a sum stands before, or a concatenation, there is relu instead
norm         batch:    over images, height and width; running averages at test time
             group:    over height, width and the channels of a group; 32 groups, or the largest number below that
                       divides the channels
             layer:    over height, width and channels
             channel:  over the channels of each pixel; what transformers and ConvNeXt call layer norm
             instance: over height and width
             none:     convolutions have a bias instead
             Pooled features, which have no height and no width, have but batch and channel: this for all others
bn_momentum  how much of the running averages a step keeps; PyTorch's is how much it replaces, so its 0.1 is 0.9 here
bn_epsilon   added to the variance, whatever the norm
bn_scale     whether batch norms have a scale, which the next convolution can be instead
conv_bias    whether convolutions have a bias ahead of a norm too, as keras.applications' ResNets have
initializer  of every kernel but the classifier's, by name; see kerascnn.initializers
standardize  of some families: what is done to a kernel before it convolves, but in gates
             unit:     each filter has mean 0 and variance 1 (https://arxiv.org/abs/1903.10520)
             scaled:   also scaled, so that a variance of 1 stays one behind the activation; with a gain for each
                       filter (https://arxiv.org/abs/2101.08692)
drop_connect the rate at which training zeroes single weights of the fully connected layers; see kerascnn.layers
padding      symmetric: as PyTorch, the same on all sides
             same:      as TensorFlow, which with a stride may pad the right and the bottom alone
             valid:     none

Names say where a layer stands. A convolution named stage3_block2_conv1 brings stage3_block2_norm1 and
stage3_block2_act1, and, where it pads, stage3_block2_pad1.
"""

import functools
import math
from typing import NamedTuple

import keras

from kerascnn import initializers
from kerascnn.layers import (
    AdaptiveAveragePooling2D,
    DropBlock,
    DropConnectDense,
    DropPath,
    EfficientChannelAttention,
    FractionalMaxPooling2D,
    Maxout,
    StandardizedConv2D,
)


def _keras(name):
    return lambda space, **named: keras.layers.Activation(name, **named)


# The lowest float32, and minus infinity in narrower types; finite, so that a model's config stays JSON.
LOWEST = -3.4028235e38

# By name, what makes the layer; `space` are the axes that are neither images nor channels.
ACTIVATIONS = {
    "relu": _keras("relu"),
    "relu6": _keras("relu6"),
    # The slope of its paper and of PyTorch; Keras has 0.3.
    "leaky_relu": lambda space, **named: keras.layers.LeakyReLU(0.01, **named),
    # One slope a channel, starting at 0.25 as in https://arxiv.org/abs/1502.01852.
    "prelu": lambda space, **named: keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=space, **named),
    "elu": _keras("elu"),
    "selu": _keras("selu"),
    "gelu": _keras("gelu"),
    "silu": _keras("silu"),
    "softplus": _keras("softplus"),
    "sigmoid": _keras("sigmoid"),
    "tanh": _keras("tanh"),
    "hard_swish": _keras("hard_swish"),
    "maxout": lambda space, **named: Maxout(**named),
}


# By activation, what gives its result a variance of 1 where its input is of the normal distribution; ReLU's is the
# number that NF-ResNets were published with, in place of 1.7128586.
GAMMAS = {
    "relu": 1.7139588594436646, "relu6": 1.7128586, "leaky_relu": 1.7048316, "prelu": 1.5046096, "elu": 1.2708434,
    "selu": 1.0, "gelu": 1.7009262, "silu": 1.7871872, "softplus": 1.9191260, "sigmoid": 4.8013134, "tanh": 1.5925374,
    "hard_swish": 1.8138715, "maxout": 1.2111739,
}  # fmt: skip


def conv(
    spec, x, filters, kernel, stride=1, *, groups=1, dilation=1, margin=None, bias=True, initializer=None, gate=False,
    name,
):  # fmt: skip
    """A convolution; `initializer` is the spec's unless given; `kernel` is its side, or (height, width). A
    `gate`'s kernel is never standardised.

    `margin` is how many pixels symmetric padding adds, for nets that have their own. At 0 no padding adds any. `bias`
    is whether it has one; at None it has one where that of a `conv_norm` would, for norms that follow further on.
    """
    bias = spec.norm == "none" or spec.conv_bias if bias is None else bias
    x, padding = _pad(spec, x, kernel, dilation, stride, margin, name)
    layer, standardize = keras.layers.Conv2D, None if gate else getattr(spec, "standardize", None)
    if standardize == "unit":
        layer = StandardizedConv2D
    elif standardize == "scaled":
        gain, initializer = (initializer, None) if initializer == "zeros" else ("ones", initializer)
        gamma = GAMMAS[spec.activation]
        layer = functools.partial(StandardizedConv2D, epsilon=1e-5, gamma=gamma, gain_initializer=gain)
    return layer(
        filters, kernel, stride, padding, dilation_rate=dilation, groups=groups, use_bias=bias,
        kernel_initializer=initializers.get(initializer or spec.initializer), name=name,
    )(x)  # fmt: skip


def conv_norm(
    spec, x, filters, kernel, stride=1, *, groups=1, dilation=1, margin=None, act="spec", zero_init=False, name
):
    """A convolution, its norm, and an activation: the spec's, another by name, or None.

    With `zero_init` the result starts at zero, as the last of a residual branch may: the norm's scale does, or the
    kernel where there is none (https://arxiv.org/abs/1901.09321). The convolution has a bias only without a norm, or
    with conv_bias.
    """
    act = _resolved(spec, act)
    bare = spec.norm == "none" or (spec.norm == "batch" and not spec.bn_scale)
    x = conv(
        spec, x, 2 * filters if act == "maxout" else filters, kernel, stride, groups=groups, dilation=dilation,
        margin=margin, bias=None, initializer="zeros" if bare and zero_init else None, name=name,
    )  # fmt: skip
    x = norm(spec, x, zero_init=zero_init, name=_sibling(name, "norm"))
    return _activate(x, act, name=_sibling(name, "act"))


def depthwise(spec, x, kernel, stride=1, *, dilation=1, multiplier=1, margin=None, bias=False, initializer=None, name):
    """A convolution of each channel by itself, which makes `multiplier` channels of each."""
    initializer = initializers.get(initializer or spec.initializer, depthwise=x.shape[-1])
    x, padding = _pad(spec, x, kernel, dilation, stride, margin, name)
    return keras.layers.DepthwiseConv2D(
        kernel, stride, padding, depth_multiplier=multiplier, dilation_rate=dilation, use_bias=bias,
        depthwise_initializer=initializer, name=name,
    )(x)  # fmt: skip


def depthwise_norm(spec, x, kernel, stride=1, *, dilation=1, act="spec", zero_init=False, name):
    """A convolution of each channel by itself, its norm, and an activation, all as in `conv_norm`."""
    act = _resolved(spec, act)
    bare = spec.norm == "none"
    x = depthwise(
        spec, x, kernel, stride, dilation=dilation, multiplier=2 if act == "maxout" else 1,
        bias=bare or spec.conv_bias, initializer="zeros" if bare and zero_init else None, name=name,
    )  # fmt: skip
    x = norm(spec, x, zero_init=zero_init, name=_sibling(name, "norm"))
    return _activate(x, act, name=_sibling(name, "act"))


def norm_act(spec, x, *, name):
    """A norm and the spec's activation, where they stand ahead of a convolution. `name` is such as "stage1_norm1"."""
    return activation(spec, norm(spec, x, name=name), name=_sibling(name, "act", "norm"))


def norm(spec, x, *, zero_init=False, name):
    """The spec's norm, with a scale and a shift for each channel. With `zero_init` the scale starts at zero."""
    if spec.norm == "none":
        return x
    channels = x.shape[-1]
    gamma = "zeros" if zero_init else "ones"
    if spec.norm == "batch":
        layer = keras.layers.BatchNormalization(
            momentum=spec.bn_momentum, epsilon=spec.bn_epsilon, scale=spec.bn_scale, gamma_initializer=gamma, name=name
        )
    elif spec.norm == "channel" or len(x.shape) == 2:
        layer = keras.layers.LayerNormalization(epsilon=spec.bn_epsilon, gamma_initializer=gamma, name=name)
    else:
        groups = {"group": next(n for n in range(32, 0, -1) if channels % n == 0), "layer": 1, "instance": channels}
        layer = keras.layers.GroupNormalization(
            groups[spec.norm], epsilon=spec.bn_epsilon, gamma_initializer=gamma, name=name
        )
    return layer(x)


def activation(spec, x, act="spec", *, dtype=None, name):
    """The spec's activation, another by name, or None, where there is no convolution to give twice the filters."""
    act = _resolved(spec, act)
    return _activate(x, "relu" if act == "maxout" else act, dtype=dtype, name=name)


def dense(spec, x, units, *, act="spec", name):
    """A fully connected layer with an activation: the spec's, another by name, or None. `name` is such as "dense1"."""
    act = _resolved(spec, act)
    kernel = initializers.get(spec.initializer)
    x = _dense(spec, 2 * units if act == "maxout" else units, kernel_initializer=kernel, name=name)(x)
    return _activate(x, act, name=f"{name}_act")


def squeeze_excite(spec, x, units, *, act="relu", gate="sigmoid", name):
    """Weighs each channel by a gate that sees the means of all (https://arxiv.org/abs/1709.01507).

    Two fully connected layers, as 1x1 convolutions with biases, `units` between them; `gate` is an activation of Keras.
    """
    means = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    gates = conv(spec, means, units, 1, gate=True, name=f"{name}_conv1")
    gates = activation(spec, gates, act, name=f"{name}_act1")
    gates = conv(spec, gates, x.shape[-1], 1, gate=True, name=f"{name}_conv2")
    gates = keras.layers.Activation(gate, name=f"{name}_act2")(gates)
    return keras.layers.Multiply(name=f"{name}_scale")([x, gates])


def channel_attention(x, *, name):
    """Efficient channel attention (https://arxiv.org/abs/1910.03151), with more taps where there are more channels."""
    taps = int((math.log2(x.shape[-1]) + 1) / 2)
    return EfficientChannelAttention(max(taps + 1 - taps % 2, 3), name=name)(x)


def attended_sum(spec, maps, units, *, groups=1, bias, name):
    """The sum of some maps, weighed channel by channel: softmax makes gates that sum to one over the maps.

    A gate sees the means of the sum of all maps, through two fully connected layers, of `groups` each, with `units`
    between them, a norm and an activation; `bias` is whether these layers have one. One map alone has sigmoid's gates.
    """
    count, channels = len(maps), maps[0].shape[-1]
    x = keras.layers.Add(name=f"{name}_add")(maps) if count > 1 else maps[0]
    x = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    x = conv(spec, x, units, 1, groups=groups, bias=bias or None, gate=True, name=f"{name}_conv1")
    x = norm_act(spec, x, name=f"{name}_norm1")
    x = conv(spec, x, count * channels, 1, groups=groups, bias=bias, gate=True, name=f"{name}_conv2")
    if count == 1:
        x = keras.layers.Activation("sigmoid", name=f"{name}_act2")(x)
        return keras.layers.Multiply(name=f"{name}_scale")([maps[0], x])
    x = keras.layers.Reshape((groups, count, channels // groups), name=f"{name}_maps")(x)
    x = keras.layers.Softmax(2, name=f"{name}_act2")(x)
    weighed = []
    for i, (scaled, gates) in enumerate(zip(maps, keras.ops.split(x, count, 2), strict=True), 1):
        gates = keras.layers.Reshape((1, 1, channels), name=f"{name}_gates{i}")(gates)
        weighed.append(keras.layers.Multiply(name=f"{name}_scale{i}")([scaled, gates]))
    return keras.layers.Add(name=f"{name}_sum")(weighed)


def average_pool(spec, x, size, stride, *, name):
    """The average of each window; symmetric padding stands for zeros that count."""
    margins, padding = _margins(spec, size, stride, size // 2)
    if margins == (0, 0) and stride == 1 and spec.padding == "symmetric":
        margins, padding = (size // 2, size // 2), "valid"  # Keras leaves its own padding out of the average
    if any(margins):
        x = keras.layers.ZeroPadding2D(margins[0], name=f"{name}_pad")(x)
    return keras.layers.AveragePooling2D(size, stride, padding, name=name)(x)


def max_pool(spec, x, size, stride, *, margin=None, ceil=False, name):
    """The largest value of each window. The padding never wins, whatever the sign of the values.

    `margin` is as in `conv`. `ceil` pads at the right and the bottom alone, so that no pixel is left out. Fractional
    where the spec has a ratio.
    """
    ratio = getattr(spec, "fractional_pool", None)  # a field of families whose max pools alone shrink a map
    if ratio and stride > 1:
        return FractionalMaxPooling2D(ratio, size, name=name)(x)
    margins, padding = _margins(spec, size, stride, 0 if ceil else margin)
    if ceil:
        margins = (0, stride - 1)
    if any(margins):
        x = keras.ops.pad(x, ((0, 0), margins, margins, (0, 0)), constant_values=LOWEST)
    return keras.layers.MaxPooling2D(size, stride, padding, name=name)(x)


def linear_rates(last, count):
    """The rates at which `count` residual blocks are dropped: l/L of `last` for the l-th of L, as its paper has it."""
    return [last * (i + 1) / count for i in range(count)]


def dilations(strides, output_stride):
    """Where the strides of a net's blocks multiply to more than `output_stride`, dilates in their place.

    Returns (stride, first, then) for each block: `first` dilates its strided convolution and `then` what follows it, so
    that each kernel sees what it saw (https://arxiv.org/abs/1706.05587).
    """
    total, dilation, plan = 1, 1, []
    for stride in strides:
        first = dilation
        if total * stride > output_stride:
            stride, dilation = 1, dilation * stride
        total *= stride
        plan.append((stride, first, dilation))
    return plan


class Row(NamedTuple):
    """A block of `filters`, for `stages`; families whose blocks differ in more have rows of their own."""

    filters: int
    stride: int


class Place(NamedTuple):
    """Where a block of `stages` stands, and what it does there."""

    stage: int
    block: int  # in its stage; both from 1 on
    number: int  # of all blocks, from 1 on
    stride: int
    dilation: int  # of the convolution that strides, or would, and of what stands ahead of it
    after: int  # the dilation of what follows that
    straight: bool  # whether the map keeps its size in the table, so that x itself can be the shortcut
    rate: float  # at which training drops the branch
    drop_block: float

    @property
    def name(self):
        """What the names of the block's layers begin with."""
        return f"stage{self.stage}_block{self.block}"


def alike(spec, stride=1):
    """The rows of each stage, of a spec with depths and widths. Its first strides by 2, that of stage 1 by `stride`."""
    return [
        [Row(width, 1 if j else 2 if i else stride) for j in range(depth)]
        for i, (depth, width) in enumerate(zip(spec.depths, spec.widths, strict=True))
    ]


def repeated(rows, width=1.0, depth=1.0, *, fixed_ends=False, limit=0.9):
    """[(number, row)] of each block: a row of a table stands for `repeats` alike, of which the first has its stride.

    `width` multiplies the channels, rounded with `limit`, and `depth` the repeats, rounded up; with fixed_ends not
    those of the first row and the last.
    """
    ends, blocks = (0, len(rows) - 1) if fixed_ends else (), []
    for i, row in enumerate(rows):
        row = row._replace(channels=round_channels(row.channels * width, limit=limit))
        count = row.repeats if i in ends else math.ceil(row.repeats * depth)
        blocks += [(i, row if j == 0 else row._replace(stride=1)) for j in range(count)]
    return blocks


def split(rows):
    """The rows of each stage: a stride begins a new one. Those ahead of the first stride are in stage 1, the stem's."""
    found = [[]]
    for row in rows:
        if row.stride > 1:
            found.append([])
        found[-1].append(row)
    return found


def stages(spec, x, rows, block, *, shrunk=2, rates=None):
    """Builds a block for each row, by `block(spec, x, row, place)`; `rows` has a list of them for each stage.

    `x` is the map behind the stem, which has shrunk the image so many times. Training drops branches at `rates`, one
    for each row, or else at drop_path, by `linear_rates`; drop_block is for the last two stages. Families without one
    of these fields, or without output_stride, do nothing in its place.
    """
    every = [row for stage in rows for row in stage]
    plan = dilations([row.stride for row in every], getattr(spec, "output_stride", math.inf) / shrunk)
    rates = rates or linear_rates(getattr(spec, "drop_path", 0.0), len(every))
    steps = enumerate(zip(plan, rates, strict=True), 1)
    for i, stage in enumerate(rows, 1):
        drop_block = getattr(spec, "drop_block", 0.0) if i > len(rows) - 2 else 0.0
        for j, row in enumerate(stage, 1):
            number, ((stride, dilation, after), rate) = next(steps)
            place = Place(i, j, number, stride, dilation, after, row.stride == 1, rate, drop_block)
            x = block(spec, x, row, place)
        x = keras.layers.Identity(name=f"stage{i}")(x)
    return x


def inverted_residual(spec, image, filters, expanded, kernel, place, *, start=0, act="spec", se=None):
    """MobileNetV2's block (https://arxiv.org/abs/1801.04381): 1x1 to `expanded` channels, depthwise, 1x1 to `filters`.

    The first is left out where it would change no number of channels. `se` are the keywords of `squeeze_excite` for
    gates ahead of the last. With `start` there is another depthwise convolution, of that size, ahead of all; with a
    `kernel` of 0 there is none between (https://arxiv.org/abs/2404.10518).
    """
    name, x = place.name, image
    if start:
        stride = 1 if kernel else place.stride
        x = depthwise_norm(spec, x, start, stride, dilation=place.dilation, act=None, name=f"{name}_conv0")
    if expanded != image.shape[-1]:
        x = conv_norm(spec, x, expanded, 1, act=act, name=f"{name}_conv1")
    if kernel:
        x = depthwise_norm(spec, x, kernel, place.stride, dilation=place.dilation, act=act, name=f"{name}_conv2")
    if se:
        x = squeeze_excite(spec, x, **se, name=f"{name}_se")
    straight = place.straight and image.shape[-1] == filters
    x = conv_norm(spec, x, filters, 1, act=None, zero_init=straight and spec.zero_init_residual, name=f"{name}_conv3")
    return residual(x, image, place.rate, place.drop_block, name=name) if straight else x


def fused_residual(spec, image, filters, expanded, kernel, place):
    """`inverted_residual` with one whole convolution to `expanded` channels for its first two
    (https://arxiv.org/abs/2104.00298); where it need not expand, that is all there is.
    """
    straight, expands = place.straight and image.shape[-1] == filters, expanded != image.shape[-1]
    zero_init = straight and spec.zero_init_residual
    x = conv_norm(
        spec, image, expanded if expands else filters, kernel, place.stride, dilation=place.dilation,
        zero_init=zero_init and not expands, name=f"{place.name}_conv1",
    )  # fmt: skip
    if expands:
        x = conv_norm(spec, x, filters, 1, act=None, zero_init=zero_init, name=f"{place.name}_conv2")
    return residual(x, image, place.rate, place.drop_block, name=place.name) if straight else x


def residual(x, shortcut, rate=0.0, drop_block=0.0, *, name):
    """shortcut + x. Training drops x from whole images at `rate`, and squares of both at `drop_block`."""
    if drop_block:
        x = DropBlock(drop_block, name=f"{name}_drop_block")(x)
        shortcut = DropBlock(drop_block, name=f"{name}_shortcut_drop_block")(shortcut)
    if rate:
        x = DropPath(rate, name=f"{name}_drop_path")(x)
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def flatten(x, *, side=None, name="flatten"):
    """A feature map as one row of numbers. A ValueError where its size is not fixed.

    With `side` a map of another size is first averaged, or repeated, to side x side (PyTorch's adaptive pooling), so
    that the fully connected layers behind it fit images of any size.
    """
    if None in x.shape[1:]:
        raise ValueError("a fully connected layer needs a fixed image size: give input_shape=(height, width, channels)")
    if side and x.shape[1:3] != (side, side):
        x = AdaptiveAveragePooling2D(side, name=f"{name}_pool")(x)
    return keras.layers.Flatten(name=name)(x)


def classifier(spec, x):
    """Global pooling and logits; pooled features where num_classes=0."""
    return logits(spec, pool(spec, x))


def pool(spec, x, *, dtype=None):
    """The average of each channel, its largest value, or both, one after the other."""
    average, largest = keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D
    if spec.pooling == "catavgmax":
        both = [average(dtype=dtype, name="pool_avg")(x), largest(dtype=dtype, name="pool_max")(x)]
        return keras.layers.Concatenate(dtype=dtype, name="pool")(both)
    return {"avg": average, "max": largest}[spec.pooling](dtype=dtype, name="pool")(x)


def logits(spec, x, *, name="logits"):
    """Dropout and the last fully connected layer; only x where num_classes=0.

    It computes in float32 also under mixed precision, and in float64 where all layers do.

    The kernel starts small (https://arxiv.org/abs/1706.02677, 5.1), so that the first loss is at chance: ln(classes).
    """
    if not spec.num_classes:
        return x
    if spec.dropout:
        x = keras.layers.Dropout(spec.dropout, name=_sibling(name, "dropout", "logits"))(x)
    kernel = initializers.get("small_normal")
    dtype = "float64" if keras.config.dtype_policy().compute_dtype == "float64" else "float32"
    return _dense(spec, spec.num_classes, kernel_initializer=kernel, dtype=dtype, name=name)(x)


def round_channels(channels, divisor=8, limit=0.9):
    """The multiple of `divisor` nearest to a number of channels, but not below `limit` of it, as MobileNets round."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < limit * channels else rounded


def _dense(spec, units, **named):
    if spec.drop_connect:
        return DropConnectDense(units, spec.drop_connect, **named)
    return keras.layers.Dense(units, **named)


def _resolved(spec, act):
    return spec.activation if act == "spec" else act


def _activate(x, act, *, dtype=None, name):
    return x if act is None else ACTIVATIONS[act](tuple(range(1, len(x.shape) - 1)), dtype=dtype, name=name)(x)


def _pad(spec, x, kernel, dilation, stride, margin, name):
    """The input of a convolution, padded where the layer cannot do it itself."""
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    (rows, padding), (columns, _) = (_margins(spec, dilation * (side - 1) + 1, stride, margin) for side in sides)
    if any(rows + columns):
        x = keras.layers.ZeroPadding2D((rows, columns), name=_sibling(name, "pad"))(x)
    return x, padding


def _margins(spec, extent, stride, margin):
    """How much to pad before and after, ahead of a layer, and what the layer does itself."""
    if margin == 0 or spec.padding == "valid":
        return (0, 0), "valid"
    if spec.padding == "same":
        return (0, 0), "same"
    margin = (extent - 1) // 2 if margin is None else margin
    if stride == 1 and 2 * margin == extent - 1:
        return (0, 0), "same"  # at stride 1 and with an odd kernel, SAME is symmetric too
    return (margin, margin), "valid"


def _sibling(name, kind, of="conv"):
    before, _, after = name.rpartition(of)
    return f"{before}{kind}{after}"
