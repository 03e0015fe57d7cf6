"""What a model costs, counted layer by layer, and how much of the image each layer sees."""

import math
from typing import Any, NamedTuple

import keras

from kerascnn.layers import FractionalMaxPooling2D

_DENSE = (keras.layers.Dense, keras.layers.EinsumDense)
_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)
_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_POOLING = (
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
)
_GLOBAL = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
)
_ADAPTIVE = (
    keras.layers.AdaptiveAveragePooling1D,
    keras.layers.AdaptiveAveragePooling2D,
    keras.layers.AdaptiveAveragePooling3D,
    keras.layers.AdaptiveMaxPooling1D,
    keras.layers.AdaptiveMaxPooling2D,
    keras.layers.AdaptiveMaxPooling3D,
)
_ATTENTION = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
)
_PADDING = (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D)
_CROPPING = (keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D)
_UPSAMPLING = (
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
    keras.layers.Resizing,
)
# Their weights may have several axes, and yet they multiply no matrices.
_ELEMENTWISE = (
    keras.layers.PReLU,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.Embedding,
)
# What Keras names the operations of keras.ops in a graph; their classes are not public.
_CONVOLUTION_OPS = ("Conv", "DepthwiseConv", "SeparableConv")
_PRODUCT_OPS = ("Matmul", "Dot", "Inner", "Vdot", "Tensordot", "Einsum", "DotProductAttention")
# They hand their input on, and need no memory of their own at test time.
_VIEWS = ("Identity", "Flatten", "Reshape", "ExpandDims", "Squeeze", "ActivityRegularization", "GaussianNoise")


class LayerCost(NamedTuple):
    """One call of a layer on one image. The second call of a shared layer has no parameters of its own.

    `receptive_field` is the side, in pixels of the input, of the square that one output sees, and `stride` how far
    apart the squares of two neighbours are; the larger where height and width differ. Both are infinite where each
    output sees all of the input, however large, as behind global pooling and fully connected layers.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    params: int
    macs: int
    receptive_field: float
    stride: float


class Complexity(NamedTuple):
    """The cost of a model; `macs` are multiply-accumulates for one image, `params` include batch norm's averages.

    `peak_memory` is the largest sum, in bytes, of the activations that are needed at the same time for one image in
    float32 at test time, the image among them and the weights not. Layers run in Keras's order, none writes over its
    input, and dropout, flattening and the like take no memory. None where the size of an activation is not fixed.
    """

    params: int
    trainable_params: int
    macs: int
    layers: tuple[LayerCost, ...]
    peak_memory: int | None


def complexity(model: keras.Model, input_shape: tuple[int, ...] | None = None) -> Complexity:
    """Counts the parameters and the multiply-accumulates of a functional or sequential model, exactly.

    `input_shape` is such as (height, width, channels), for a model of one input that leaves its size open.

    Multiply-accumulates are those of convolutions (grouped, depthwise, separable and transposed ones too), of fully
    connected layers, of attention and of matrix products (`matmul`, `dot`, `einsum`, `tensordot`); biases, norms,
    activations and pooling have none, and neither has the filter of efficient channel attention, as the published
    counts have it. A ValueError where the size of the image is open, or where a layer multiplies in a way that is not
    known here.

    Receptive fields are those of the published tables: padding counts as if it were image, and where branches meet,
    what any of them sees. Left out are the means that norms take, and gates: a map that is multiplied by something
    global, as in squeeze-and-excitation, keeps its own field. Behind upsampling, where neighbours see different
    amounts, a kernel of k taps adds k - 1 strides as anywhere. A layer of another library that changes the size of a
    map is taken to see all of it.
    """
    images = None if input_shape is None else [keras.KerasTensor((None, *input_shape))]
    calls, images, outputs = _calls(model, images)
    views = {id(image): _whole(image.shape) for image in images}
    rows: list[LayerCost] = []
    seen: set[int] = set()
    first = any(getattr(call.operation, "data_format", None) == "channels_first" for call in calls)
    for call in calls:
        weights = [w for w in getattr(call.operation, "weights", ()) if id(w) not in seen]
        seen.update(map(id, weights))
        view = _view(call, views, 2 if first else 1)
        views.update((id(output), view) for output in call.outputs)
        field = max((math.ceil(axis.high - axis.low + 1 - 1e-6) for axis in view), default=math.inf)
        stride = max((axis.step for axis in view), default=math.inf)
        stride = round(stride) if stride < math.inf and abs(stride - round(stride)) < 1e-6 else stride
        kind, shape = type(call.operation).__name__, tuple(call.outputs[0].shape[1:])
        rows.append(LayerCost(call.name, kind, shape, _size(weights), _macs(call), field, stride))
    trainable, macs = _size(model.trainable_weights), sum(row.macs for row in rows)
    return Complexity(_size(model.weights), trainable, macs, tuple(rows), _peak(calls, images, outputs))


# The graph


class _Call(NamedTuple):
    """One call in the graph; `inputs` are the tensors among the arguments. Other tensors than in the model's graph, so
    that a model which is called twice has two sets of them."""

    name: str
    operation: Any
    arguments: tuple
    named: dict
    inputs: list
    outputs: list


def _calls(model, images=None, prefix=""):
    """The calls in a model's graph, in order, its inputs and its outputs, all for `images` of another size if given.

    Keras has no public name for that graph, nor for Sequential's.
    """
    graph = getattr(model, "_functional", None) or model
    nodes = getattr(graph, "_nodes_by_depth", None)
    if nodes is None:
        raise ValueError(f"{model.name} has no graph to count: make it functional, or Sequential with a keras.Input")
    images = images or _copies(graph.inputs)
    if len(images) != len(graph.inputs):
        raise ValueError(f"{model.name} has {len(graph.inputs)} inputs: build it with fixed sizes, without input_shape")
    resized = [image.shape for image in images] != [reference.shape for reference in graph.inputs]
    known = {id(reference): image for reference, image in zip(graph.inputs, images, strict=True)}
    calls = []
    for node in (node for depth in sorted(nodes, reverse=True) for node in nodes[depth]):
        operation = node.operation
        if isinstance(operation, keras.layers.InputLayer):
            continue
        inputs = [known[id(tensor)] for tensor in node.input_tensors]
        if isinstance(operation, keras.Model):
            inner, _, outputs = _calls(operation, inputs, f"{prefix}{operation.name}/")
            calls += inner
        else:
            arguments, named = node.arguments.fill_in(known)
            outputs = _copies(node.outputs)
            if resized:
                outputs = keras.tree.flatten(operation.compute_output_spec(*arguments, **named))
            calls.append(_Call(prefix + operation.name, operation, arguments, named, inputs, outputs))
        known.update((id(tensor), output) for tensor, output in zip(node.outputs, outputs, strict=True))
    return calls, images, [known[id(tensor)] for tensor in graph.outputs]


def _copies(tensors):
    return [keras.KerasTensor(tensor.shape, tensor.dtype) for tensor in tensors]


def _argument(call, index, name):
    return call.arguments[index] if index < len(call.arguments) else call.named.get(name)


def _is_op(operation, names):
    return type(operation).__name__ in names and not isinstance(operation, keras.layers.Layer)


def _space(layer, tensors):
    shape = tensors[0].shape
    return shape[1:-1] if layer.data_format == "channels_last" else shape[2:]


def _size(weights):
    return sum(math.prod(w.shape) for w in weights)


# Multiply-accumulates


def _macs(call):
    layer = call.operation
    if isinstance(layer, keras.layers.EinsumDense):
        factors = _einsum(call, layer.equation, [call.inputs[0], layer.kernel])
    elif isinstance(layer, keras.layers.Dense):
        factors = [*call.outputs[0].shape[1:-1], _size([layer.kernel])]
    elif isinstance(layer, _SEPARABLE):
        factors = [*_space(layer, call.outputs), _size([layer.depthwise_kernel, layer.pointwise_kernel])]
    elif isinstance(layer, _TRANSPOSED):  # each pixel that comes in meets the whole kernel
        factors = [*_space(layer, call.inputs), _size([layer.kernel])]
    elif isinstance(layer, _CONVOLUTIONS):  # each pixel that goes out does
        factors = [*_space(layer, call.outputs), _size([layer.kernel])]
    elif isinstance(layer, _ATTENTION) or _is_op(layer, ["DotProductAttention"]):
        return sum(_multiplied(call, factors) for factors in _attention(call))
    elif isinstance(layer, keras.layers.Dot):
        axes = [layer.axes] * 2 if isinstance(layer.axes, int) else layer.axes
        factors = [*call.outputs[0].shape[1:], call.inputs[0].shape[axes[0]]]
    elif _is_op(layer, _CONVOLUTION_OPS):
        factors = [*_space(layer, call.outputs), _size(_operands(call)[1:])]
    elif _is_op(layer, ["ConvTranspose"]):
        factors = [*_space(layer, call.inputs), _size(_operands(call)[1:])]
    elif _is_op(layer, _PRODUCT_OPS):
        factors = _product(call)
    elif isinstance(layer, _ELEMENTWISE) or all(len(w.shape) < 2 for w in getattr(layer, "weights", ())):
        return 0
    else:
        raise ValueError(f"the multiply-accumulates of {call.name}, a {type(layer).__name__}, are not known")
    return _multiplied(call, factors)


def _multiplied(call, factors):
    if None in factors:
        raise ValueError(f"the size of {call.name} is not fixed: give complexity input_shape=(height, width, channels)")
    return math.prod(factors)


def _operands(call):
    """The tensors and the constants that an operation is called with."""
    return [x for x in keras.tree.flatten((call.arguments, call.named)) if hasattr(x, "shape")]


def _product(call):
    """What to multiply: the sizes of the result, and that of what is summed over."""
    operation, kind, (x, *others) = call.operation, type(call.operation).__name__, _operands(call)
    result = call.outputs[0].shape[1:]
    if kind == "Einsum":
        return _einsum(call, operation.subscripts, [x, *others])
    if kind == "Tensordot":
        axes = operation.axes
        if isinstance(axes, int):
            return [*result, *x.shape[len(x.shape) - axes :]]
        return [*result, *(x.shape[axis] for axis in keras.tree.flatten(axes[0]))]
    if kind == "Vdot":
        return x.shape[1:]
    if not len(x.shape) or not len(others[0].shape):  # by a number
        return [0]
    return [*result, x.shape[-1]]


def _einsum(call, subscripts, operands):
    """As `_product`, of two operands; what multiplies and does not sum is elementwise."""
    terms, _, result = subscripts.replace(" ", "").partition("->")
    terms = terms.split(",")
    if len(terms) == 1:
        return [0]
    if len(terms) > 2:
        raise ValueError(f"the multiply-accumulates of {call.name} depend on its order: multiply two tensors at a time")
    sizes = {}
    for term, operand in zip(terms, operands, strict=True):
        shape = list(operand.shape)
        if isinstance(operand, keras.KerasTensor):
            shape[0] = 1  # one image
        before, _, after = term.partition("...")
        dots = [f".{i}" for i in range(len(shape) - len(before + after), 0, -1)]
        for label, size in zip([*before, *dots, *after], shape, strict=True):
            sizes[label] = size if sizes.get(label, 1) == 1 else sizes[label]
    kept = set(result) if "->" in subscripts else {label for label in sizes if "".join(terms).count(label) == 1}
    return list(sizes.values()) if {label for label in sizes if label[0] != "."} - kept else [0]


def _attention(call):
    """The products of an attention: of the projections, of queries and keys, of the weights and the values."""
    layer = call.operation
    if isinstance(layer, keras.layers.Attention | keras.layers.AdditiveAttention):
        query, value, *key = call.inputs
        queries, values, width = query.shape[1], value.shape[1], query.shape[-1]
        return [(queries, values, width), (queries, values, value.shape[-1])]
    query = _argument(call, 0, "query")
    if not isinstance(layer, keras.layers.Layer):  # (batch, tokens, heads, width)
        key, value = _argument(call, 1, "key"), _argument(call, 2, "value")
        return [(*query.shape[1:], key.shape[1]), (*query.shape[1:3], key.shape[1], value.shape[-1])]
    value = _argument(call, 1, "value")
    key = _argument(call, 2, "key")
    key = value if key is None else key
    config = layer.get_config()
    if isinstance(layer, keras.layers.MultiHeadAttention):
        heads = key_heads = config["num_heads"]
        width, value_width = config["key_dim"], config["value_dim"]
        axes = config["attention_axes"] or range(1, len(query.shape) - 1)
    else:
        heads, key_heads = config["num_query_heads"], config["num_key_value_heads"]
        width, value_width, axes = config["head_dim"], config["head_dim"], [1]
    queries = query.shape[1:-1]
    seen = [key.shape[axis] for axis in axes]
    gates = [(*query.shape[1:], heads, value_width)] if config.get("use_gate") else []
    return [
        (*query.shape[1:], heads, width),
        (*key.shape[1:], key_heads, width),
        (*value.shape[1:], key_heads, value_width),
        *gates,
        (*queries, *seen, heads, width),
        (*queries, *seen, heads, value_width),
        (*queries, heads, value_width, call.outputs[0].shape[-1]),
    ]


# Receptive fields


class _Axis(NamedTuple):
    """What outputs see along one axis: the i-th sees the pixels from i * step + low to i * step + high."""

    low: float
    high: float
    step: float


def _whole(shape):
    return (_Axis(0, 0, 1),) * (len(shape) - 2)


def _view(call, views, at):
    """An _Axis for each axis of the image, as the outputs of a call see it; () where they see all of it.

    `at` is where those axes begin in a shape.
    """
    operation, (output, *_) = call.operation, call.outputs
    view = _merged(call, [(tensor, views[id(tensor)]) for tensor in call.inputs], at)
    before = call.inputs[0].shape[at : at + len(view)] if call.inputs else ()
    after = output.shape[at : at + len(view)]
    products = _is_op(operation, _PRODUCT_OPS) or isinstance(operation, keras.layers.Dot)
    if not view or isinstance(operation, (*_GLOBAL, *_ATTENTION)) or (products and len(call.inputs) > 1):
        return ()
    if window := _window(call, len(view)):
        return tuple(map(_slid, view, before, *window))
    if isinstance(operation, _TRANSPOSED) or _is_op(operation, ["ConvTranspose"]):
        # An output sees every stride-th tap of the kernel, so one input for each.
        extents, strides, _ = _kernel(call, len(view))
        taps = [math.ceil(extent / stride) for extent, stride in zip(extents, strides, strict=True)]
        return tuple(map(_resized, view, [1] * len(view), strides, taps))
    if isinstance(operation, FractionalMaxPooling2D):
        return tuple(
            _Axis(axis.low, axis.high + (operation.size - 1) * axis.step, axis.step * _fraction(operation, old, new))
            for axis, old, new in zip(view, before, after, strict=True)
        )
    if isinstance(operation, _ADAPTIVE):
        return () if all(size == 1 for size in after) else tuple(map(_adapted, view, before, after))
    if isinstance(operation, _UPSAMPLING) or _is_op(operation, ["Resize"]):
        taps = {"nearest": 1, "bilinear": 2, "bicubic": 4}.get(getattr(operation, "interpolation", "nearest"), 6)
        same = [old == new for old, new in zip(before, after, strict=True)]
        return tuple(map(_resized, view, before, after, [1 if kept else taps for kept in same]))
    if isinstance(operation, _PADDING):
        return tuple(map(_moved, view, [-ahead for ahead, _ in _pairs(operation.padding)]))
    if isinstance(operation, _CROPPING):
        return tuple(map(_moved, view, [ahead for ahead, _ in _pairs(operation.cropping)]))
    if _is_op(operation, ["Pad"]):
        margins = list(operation.pad_width)
        margins = margins * len(output.shape) if len(margins) == 1 else margins
        return tuple(map(_moved, view, [-ahead for ahead, _ in margins[at : at + len(view)]]))
    if _is_op(operation, ["GetItem"]) and (slices := _slices(call, at, len(view))):
        return tuple(
            _moved(axis, start)._replace(step=axis.step * step)
            for axis, (start, step) in zip(view, slices, strict=True)
        )
    if isinstance(operation, keras.layers.Permute) or _is_op(operation, ["Transpose"]):
        order = getattr(operation, "dims", None) or (operation.axes or range(len(output.shape))[::-1])[1:]
        return view if list(order[at - 1 : at - 1 + len(view)]) == list(range(at, at + len(view))) else ()
    # Anything else that keeps the size works on each position for itself.
    return view if len(output.shape) > len(view) + 1 and after in _sizes(call.inputs, at, len(view)) else ()


def _sizes(tensors, at, count):
    return [tensor.shape[at : at + count] for tensor in tensors]


def _merged(call, branches, at):
    """What is seen by any of the branches that meet in a call."""
    seen = [view for _, view in branches]
    if type(call.operation).__name__ == "Multiply" and any(seen):  # the others are gates
        seen = [view for view in seen if view]
    if not seen or not all(seen) or len({len(view) for view in seen}) > 1:
        return ()
    return tuple(
        _Axis(min(x.low for x in axes), max(x.high for x in axes), max(x.step for x in axes))
        for axes in zip(*seen, strict=True)
    )


def _window(call, count):
    """The extents, strides and paddings, one each an axis, of what slides a window; None for all else."""
    operation = call.operation
    if isinstance(operation, _POOLING) or _is_op(operation, ["MaxPool", "AveragePool"]):
        sizes = _each(operation.pool_size, count)
        strides = sizes if operation.strides is None else _each(operation.strides, count)
        return sizes, strides, [operation.padding] * count
    if isinstance(operation, (*_CONVOLUTIONS, *_SEPARABLE)) or _is_op(operation, _CONVOLUTION_OPS):
        return _kernel(call, count)
    return None


def _kernel(call, count):
    layer = call.operation
    sizes = layer.kernel_size if isinstance(layer, keras.layers.Layer) else _operands(call)[1].shape[:count]
    dilations = _each(layer.dilation_rate, count)
    extents = [dilation * (size - 1) + 1 for size, dilation in zip(_each(sizes, count), dilations, strict=True)]
    return extents, _each(layer.strides, count), [layer.padding] * count


def _each(value, count):
    return [value] * count if isinstance(value, int) else list(value)


def _pairs(margins):
    return [margins] if isinstance(margins[0], int) else margins


def _slid(axis, side, extent, stride, padding):
    ahead = 0
    if padding == "causal":
        ahead = extent - 1
    elif padding == "same":  # what is odd comes last, as TensorFlow has it
        ahead = max(extent - (stride if side is None else (side - 1) % stride + 1), 0) // 2
    return _Axis(axis.low - ahead * axis.step, axis.high + (extent - 1 - ahead) * axis.step, axis.step * stride)


def _resized(axis, side, resized, taps):
    """A map of another size, each position of which sees `taps` of the old ones around its place among them."""
    if side is None or resized is None:
        return axis
    step = axis.step * side / resized
    more = (taps - 1) * axis.step / 2
    shift = (step - axis.step) / 2
    return _Axis(axis.low + shift - more, axis.high + shift + more, step)


def _adapted(axis, side, count):
    """PyTorch's windows: from floor(i * side / count) to ceil((i + 1) * side / count)."""
    if side is None or side == count:
        return axis
    extent = max(math.ceil((i + 1) * side / count) - i * side // count for i in range(count))
    return _Axis(axis.low, axis.high + (extent - 1) * axis.step, axis.step * side / count)


def _fraction(pool, side, count):
    return (side - pool.size) / (count - 1) if count > 1 and side > pool.size else 1


def _moved(axis, pixels):
    return axis._replace(low=axis.low + pixels * axis.step, high=axis.high + pixels * axis.step)


def _slices(call, at, count):
    """(start, step) of each axis of the image in x[...]; None where it is not made of slices that go forward."""
    key = _argument(call, 1, "key")
    key = key if isinstance(key, tuple) else (key,)
    rank = len(call.inputs[0].shape)
    if Ellipsis in key:
        i = key.index(Ellipsis)
        key = (*key[:i], *[slice(None)] * (rank - len(key) + 1), *key[i + 1 :])
    key = (*key, *[slice(None)] * (rank - len(key)))[at : at + count]
    sides = call.inputs[0].shape[at : at + count]
    if not all(isinstance(part, slice) and (part.step or 1) > 0 for part in key) or None in sides:
        return None
    return [(part.indices(side)[0], part.step or 1) for part, side in zip(key, sides, strict=True)]


# Memory


def _peak(calls, images, outputs):
    """The largest sum of bytes that are live at once. A tensor lives until the last call that needs it."""
    home = {id(image): id(image) for image in images}
    sizes = {id(image): image for image in images}
    for call in calls:
        kind = type(call.operation).__name__
        handed_on = kind in _VIEWS or ("Drop" in kind and not isinstance(call.operation, keras.layers.Dense))
        for output in call.outputs:
            home[id(output)] = home[id(call.inputs[0])] if handed_on and call.inputs else id(output)
            sizes[id(output)] = output
    if any(None in tensor.shape[1:] for tensor in sizes.values()):
        return None
    bytes_of = {key: 4 * math.prod(tensor.shape[1:]) for key, tensor in sizes.items() if home[key] == key}
    last = {home[id(tensor)]: i for i, call in enumerate(calls) for tensor in (*call.outputs, *call.inputs)}
    last |= dict.fromkeys((home[id(tensor)] for tensor in outputs), len(calls))
    live = peak = sum(bytes_of[id(image)] for image in images)
    for i, call in enumerate(calls):
        live += sum(bytes_of.get(id(output), 0) for output in call.outputs)
        peak = max(peak, live)
        used = {home[id(tensor)] for tensor in (*call.inputs, *call.outputs)}
        live -= sum(bytes_of[key] for key in used if last[key] == i)
    return peak
