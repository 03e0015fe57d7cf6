"""What a model costs: parameters and multiply-accumulates, counted layer by layer."""

import math
from typing import NamedTuple

import keras

_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)
_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
# Their weights may have several axes, and yet they multiply no matrices.
_ELEMENTWISE = (keras.layers.PReLU, keras.layers.LayerNormalization, keras.layers.Embedding)


class LayerCost(NamedTuple):
    """One call of a layer on one image. The second call of a shared layer has no parameters of its own."""

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    params: int
    macs: int


class Complexity(NamedTuple):
    """The cost of a model; `macs` are multiply-accumulates for one image, `params` include batch norm's averages."""

    params: int
    trainable_params: int
    macs: int
    layers: tuple[LayerCost, ...]


def complexity(model: keras.Model) -> Complexity:
    """Counts the parameters and the multiply-accumulates of a functional or sequential model, exactly.

    Multiply-accumulates are those of convolutions (grouped, depthwise, separable and transposed ones too) and of fully
    connected layers; biases, norms, activations and pooling have none. A ValueError where the image size is not fixed,
    or where a layer multiplies in a way that is not known here.
    """
    rows: list[LayerCost] = []
    seen: set[int] = set()
    for name, operation, node in _calls(model):
        weights = [w for w in getattr(operation, "weights", ()) if id(w) not in seen]
        seen.update(map(id, weights))
        shape = tuple(node.outputs[0].shape[1:])
        rows.append(LayerCost(name, type(operation).__name__, shape, _size(weights), _macs(name, operation, node)))
    trainable = _size(model.trainable_weights)
    return Complexity(_size(model.weights), trainable, sum(row.macs for row in rows), tuple(rows))


def _calls(model, prefix=""):
    """The calls in a model's graph, in order. Keras has no public name for that graph, nor for Sequential's."""
    nodes = getattr(getattr(model, "_functional", None) or model, "_nodes_by_depth", None)
    if nodes is None:
        raise ValueError(f"{model.name} has no graph to count: make it functional, or Sequential with a keras.Input")
    for depth in sorted(nodes, reverse=True):
        for node in nodes[depth]:
            operation = node.operation
            if isinstance(operation, keras.Model):
                yield from _calls(operation, f"{prefix}{operation.name}/")
            elif not isinstance(operation, keras.layers.InputLayer):
                yield prefix + operation.name, operation, node


def _macs(name, layer, node):
    if isinstance(layer, keras.layers.Dense):
        positions, kernels = node.outputs[0].shape[1:-1], [layer.kernel]
    elif isinstance(layer, _SEPARABLE):
        positions, kernels = _space(layer, node.outputs), [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, _TRANSPOSED):  # each pixel that comes in meets the whole kernel
        positions, kernels = _space(layer, node.input_tensors), [layer.kernel]
    elif isinstance(layer, _CONVOLUTIONS):  # each pixel that goes out does
        positions, kernels = _space(layer, node.outputs), [layer.kernel]
    elif isinstance(layer, _ELEMENTWISE) or all(len(w.shape) < 2 for w in getattr(layer, "weights", ())):
        return 0
    else:
        raise ValueError(f"the multiply-accumulates of {name}, a {type(layer).__name__}, are not known")
    if None in positions:
        raise ValueError(f"the size of {name} is not fixed: build the model with input_shape=(height, width, channels)")
    return math.prod(positions) * _size(kernels)


def _space(layer, tensors):
    shape = tensors[0].shape
    return shape[1:-1] if layer.data_format == "channels_last" else shape[2:]


def _size(weights):
    return sum(math.prod(w.shape) for w in weights)
