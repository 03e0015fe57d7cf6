"""A folded model as a TensorFlow graph without variables, laid out so that TensorFlow fuses as much as it can.

On a CPU, grappler joins a convolution, its bias, a residual addition and an activation to one kernel of oneDNN where
they stand as it expects them: the bias as BiasAdd, the addition as AddN. Of Keras's own graph it takes the bias and
leaves the additions.
"""

import functools
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kerascnn.serve.folding import Readers, notes_of, rebuild, scale_and_shift, sketch


def freeze(model: keras.Model, *, constants: bool = True) -> Callable:
    """A function that puts a model into the TensorFlow graph that is being traced, its parameters as constants.

    Args:
      model: a functional model, best from `kerascnn.serve.folding.fold`.
      constants: False leaves the parameters variables, for more of them than a graph can hold, and the layers to Keras.

    Returns:
      A function from images to what the model gives at test time. Each call of it adds the constants anew: call it in
      one tf.function that all others share.
    """
    sketched = sketch(model)
    if not constants:
        plain = rebuild(sketched, lambda note, *inputs, **options: (_silu(note) or note.layer)(*inputs, **options))
        return functools.partial(plain, training=False)
    margins, pads = _margins(sketched)

    def call(note, *inputs, **options):
        if note in pads:
            return inputs[0]
        nodes = _nodes(note, margins.get(note))
        emitted = _Emitted(nodes, note) if nodes else _silu(note)
        return emitted(*inputs) if emitted else note.layer(*inputs, **options)

    plain = rebuild(sketched, call)
    values = [(variable, variable.numpy()) for variable in plain.variables]

    @tf.autograph.experimental.do_not_convert
    def frozen(images):
        with keras.StatelessScope([(variable, tf.constant(value)) for variable, value in values]):
            return plain(images, training=False)

    return frozen


class _Emitted(keras.layers.Layer):
    """Nodes of TensorFlow's in place of a layer."""

    def __init__(self, nodes, note):
        super().__init__(dtype=getattr(note.layer, "compute_dtype", note.output.dtype))
        self.nodes, self.output_spec = nodes, keras.KerasTensor(note.output.shape, note.output.dtype)

    def compute_output_spec(self, *inputs):
        return self.output_spec

    def call(self, *inputs):
        return self.nodes(*inputs)


def _silu(note):
    """SiLU without TensorFlow's own gradient for it, of which every loader of a SavedModel warns; None for others."""
    silu = type(note.layer) is keras.layers.Activation and note.layer.activation is keras.activations.silu
    return _Emitted(lambda x: x * tf.sigmoid(x), note) if silu else None


def _margins(sketched):
    """(by convolution, how it is to pad; the notes of the paddings ahead of it, which are not needed then)."""
    readers = Readers(sketched)
    margins, pads = {}, set()
    for note in notes_of(sketched):
        if type(note.layer) is not keras.layers.ZeroPadding2D or note.layer.data_format != "channels_last":
            continue
        behind = readers.of(note.output)
        found = [_padding_of(reader, note) for reader in behind]
        if all(found):
            pads.add(note)
            margins |= zip(behind, found, strict=True)
    return margins, pads


def _padding_of(reader, pad):
    """The padding of a convolution that makes the one ahead of it needless, and how much its kernel grows; or None."""
    if reader is None or not _is_convolution(reader.layer) or reader.layer.padding != "valid":
        return None
    layer, margins = reader.layer, [tuple(sides) for sides in pad.layer.padding]
    depthwise = type(layer) is keras.layers.DepthwiseConv2D
    # With a row and a column of zeros below and right of it a kernel gives what it gave, and SAME is then a margin that
    # is the same on both sides at stride 2. A depthwise convolution with a Pad ahead of it takes 1.3 times as long.
    for more in (0, 1) if depthwise else (0,):
        kernel = [side + more for side in layer.kernel_size]
        sides = zip(pad.input.shape[1:3], kernel, layer.strides, strict=True)
        if margins == [_same(*side) for side in sides] and max(layer.dilation_rate) == 1:
            return "SAME", more
    # Of a depthwise convolution, TensorFlow 2.21 ends the process while it infers the shapes of explicit margins.
    return None if depthwise else ([(0, 0), *margins, (0, 0)], 0)


def _same(side, kernel, stride):
    """How much SAME adds before and after a side of so many pixels; None where these are not known."""
    if side is None:
        return None
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def _nodes(note, padding):
    """The function that makes the nodes of a layer; None leaves them to Keras."""
    layer = note.layer
    if _is_convolution(layer):
        return _convolution(layer, *(padding or (layer.padding.upper(), 0)))
    if type(layer) is keras.layers.Dense and len(note.output.shape) == 2:
        kernel, finish = layer.kernel.numpy(), _finish(layer)
        return lambda x: finish(tf.linalg.matmul(x, kernel))
    if type(layer) is keras.layers.BatchNormalization:
        return _norm(note)
    if type(layer) is keras.layers.Normalization and not layer.invert:
        mean, deviation = np.float32(layer.mean), np.maximum(np.sqrt(layer.variance), keras.config.epsilon())
        return lambda x: (x - mean) / np.float32(deviation)
    reshapes = type(layer) is keras.layers.Reshape or (
        type(layer) is keras.layers.Flatten and layer.data_format == "channels_last"
    )
    if reshapes and None not in note.output.shape[1:]:
        return lambda x: tf.reshape(x, (-1, *note.output.shape[1:]))  # Keras's own asks for the batch
    if _is_addition(note):
        return lambda *inputs: tf.add_n(keras.tree.flatten(inputs))
    return None


def _is_addition(note):
    """Whether it adds tensors of one shape: by a layer, or by + and keras.ops.add, whose class has no public name."""
    layer = note.layer
    if type(layer) is not keras.layers.Add and (type(layer).__name__ != "Add" or isinstance(layer, keras.Layer)):
        return False
    first, *others = keras.tree.flatten(note.input)
    return bool(others) and all(other.shape == first.shape and other.dtype == first.dtype for other in others)


def _is_convolution(layer):
    if type(layer) is keras.layers.DepthwiseConv2D:  # of which TensorFlow's kernel knows less
        usual = max(layer.dilation_rate) == 1 and len(set(layer.strides)) == 1
    else:
        usual = type(layer) is keras.layers.Conv2D
    return usual and layer.data_format == "channels_last"


def _convolution(layer, padding, more):
    kernel = np.pad(layer.kernel.numpy(), [(0, more), (0, more), (0, 0), (0, 0)])
    finish, strides = _finish(layer), [1, *layer.strides, 1]
    if type(layer) is keras.layers.Conv2D:
        return lambda x: finish(tf.nn.conv2d(x, kernel, strides, padding, dilations=layer.dilation_rate))
    return lambda x: finish(tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, strides=strides, padding=padding))


def _finish(layer):
    """What follows the product with the kernel."""
    bias = None if layer.bias is None else layer.bias.numpy()
    activation = layer.activation or keras.activations.linear
    return lambda x: activation(x if bias is None else tf.nn.bias_add(x, bias))


def _norm(note):
    layer = note.layer
    if len(note.input.shape) != 4 or layer.axis not in (-1, 3) or layer.compute_dtype not in ("float32", "bfloat16"):
        return None
    scale, shift = (np.float32(values) for values in scale_and_shift(layer))
    options = {"mean": np.zeros_like(scale), "variance": np.ones_like(scale), "epsilon": 0.0, "is_training": False}
    return lambda x: tf.raw_ops.FusedBatchNormV3(x=x, scale=scale, offset=shift, **options)[0]
