"""The vocabulary that families are written in, and the one home of each convention.

A word takes the spec first and reads its conventions there:

activation   between layers, by name; see ACTIVATIONS
norm         batch:    over images, height and width; running averages at test time
             group:    over height, width and the channels of a group; 32 groups, or the largest number below that
                       divides the channels
             layer:    over height, width and channels
             instance: over height and width
             none:     convolutions have a bias instead
bn_momentum  how much of the running averages a step keeps; PyTorch's is how much it replaces, so its 0.1 is 0.9 here
bn_epsilon   added to the variance, whatever the norm
initializer  of every kernel but the classifier's, by name; see kerascnn.initializers
padding      symmetric: as PyTorch, the same on all sides
             same:      as TensorFlow, which with a stride may pad the right and the bottom alone
             valid:     none

Names say where a layer stands. A convolution named stage3_block2_conv1 brings stage3_block2_norm1 and
stage3_block2_act1.
"""

import math

import keras

from kerascnn import initializers
from kerascnn.layers import DropPath


def _keras(name):
    return lambda space, **named: keras.layers.Activation(name, **named)


# By name, what makes the layer; `space` are the axes that are neither images nor channels.
ACTIVATIONS = {
    "relu": _keras("relu"),
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
}


def conv(spec, x, filters, kernel, stride=1, *, groups=1, bias=True, initializer=None, name):
    """A convolution, `initializer` the spec's unless given."""
    margin, padding = _margin(spec, kernel, stride)
    if margin:
        x = keras.layers.ZeroPadding2D(margin, name=_sibling(name, "pad"))(x)
    return keras.layers.Conv2D(
        filters, kernel, stride, padding, groups=groups, use_bias=bias,
        kernel_initializer=initializers.get(initializer or spec.initializer), name=name,
    )(x)  # fmt: skip


def conv_norm(spec, x, filters, kernel, stride=1, *, groups=1, act="spec", zero_init=False, name):
    """A convolution, its norm, and an activation: the spec's, another by name, or None.

    With `zero_init` the result starts at zero, as the last of a residual branch may: the norm's scale does, or the
    kernel where there is no norm (https://arxiv.org/abs/1901.09321). The convolution has a bias only without a norm.
    """
    bare = spec.norm == "none"
    initializer = "zeros" if bare and zero_init else None
    x = conv(spec, x, filters, kernel, stride, groups=groups, bias=bare, initializer=initializer, name=name)
    x = norm(spec, x, zero_init=zero_init, name=_sibling(name, "norm"))
    return activation(spec, x, act, name=_sibling(name, "act"))


def norm(spec, x, *, zero_init=False, name):
    """The spec's norm, with a scale and a shift for each channel. With `zero_init` the scale starts at zero."""
    if spec.norm == "none":
        return x
    channels = x.shape[-1]
    gamma = "zeros" if zero_init else "ones"
    if spec.norm == "batch":
        layer = keras.layers.BatchNormalization(
            momentum=spec.bn_momentum, epsilon=spec.bn_epsilon, gamma_initializer=gamma, name=name
        )
    else:
        groups = {"group": next(n for n in range(32, 0, -1) if channels % n == 0), "layer": 1, "instance": channels}
        layer = keras.layers.GroupNormalization(
            groups[spec.norm], epsilon=spec.bn_epsilon, gamma_initializer=gamma, name=name
        )
    return layer(x)


def activation(spec, x, act="spec", *, name):
    """The spec's activation, another by name, or None."""
    act = spec.activation if act == "spec" else act
    return x if act is None else ACTIVATIONS[act](tuple(range(1, len(x.shape) - 1)), name=name)(x)


def dense(spec, x, units, *, act="spec", name):
    """A fully connected layer with an activation: the spec's, another by name, or None. `name` is such as "dense1"."""
    x = keras.layers.Dense(units, kernel_initializer=initializers.get(spec.initializer), name=name)(x)
    return activation(spec, x, act, name=f"{name}_act")


def max_pool(spec, x, size, stride, *, name):
    """The largest value of each window. The padding never wins, whatever the sign of the values."""
    margin, padding = _margin(spec, size, stride)
    if margin:
        x = keras.ops.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)), constant_values=-math.inf)
    return keras.layers.MaxPooling2D(size, stride, padding, name=name)(x)


def linear_rates(last, count):
    """The rates at which `count` residual blocks are dropped: l/L of `last` for the l-th of L, as its paper has it."""
    return [last * (i + 1) / count for i in range(count)]


def residual(x, shortcut, rate, *, name):
    """shortcut + x, where training drops x from whole images at the given rate. `name` is the block's."""
    if rate:
        x = DropPath(rate, name=f"{name}_drop_path")(x)
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def flatten(x, *, name="flatten"):
    """A feature map as one row of numbers. A ValueError where its size is not fixed."""
    if None in x.shape[1:]:
        raise ValueError("a fully connected layer needs a fixed image size: give input_shape=(height, width, channels)")
    return keras.layers.Flatten(name=name)(x)


def classifier(spec, x):
    """Global pooling and logits; pooled features where num_classes=0."""
    pool = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}[spec.pooling]
    return logits(spec, pool(name="pool")(x))


def logits(spec, x):
    """Dropout and the last fully connected layer, in float32 also under mixed precision; only x where num_classes=0.

    The kernel starts small (https://arxiv.org/abs/1706.02677, 5.1), so that the first loss is at chance: ln(classes).
    """
    if not spec.num_classes:
        return x
    if spec.dropout:
        x = keras.layers.Dropout(spec.dropout, name="dropout")(x)
    kernel = initializers.get("small_normal")
    return keras.layers.Dense(spec.num_classes, kernel_initializer=kernel, dtype="float32", name="logits")(x)


def _margin(spec, kernel, stride):
    """How much to pad on every side ahead of a layer, and what the layer does itself."""
    margin = (kernel - 1) // 2
    if spec.padding == "same" or (spec.padding == "symmetric" and stride == 1 and kernel % 2):
        return 0, "same"  # at stride 1 and with an odd kernel, SAME is symmetric too
    return (margin if spec.padding == "symmetric" else 0), "valid"


def _sibling(conv, kind):
    before, _, after = conv.rpartition("conv")
    return f"{before}{kind}{after}"
