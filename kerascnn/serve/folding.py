"""A model for inference alone: norms folded into convolutions, branches added up, what only training needs left out.

At test time a batch norm is a scale and a shift for each channel, which the kernel and the bias of the convolution
ahead of it, or behind it, can take over. A sum of convolutions of the same map is one convolution. The result is a
Keras model like the one it comes from, without weights in common with it; kerascnn/serve/freezing.py makes a graph of
it.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerascnn.layers import DropBlock, DropConnectDense, DropPath, LayerScale, StandardizedConv2D

PRECISIONS = ("float32", "bfloat16")

# What does nothing at test time.
IDENTITIES = (
    keras.layers.Identity,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.ActivityRegularization,
    DropPath,
    DropBlock,
)

# The linear layers: what their kernel is called, at which of its axes the outputs are, and at which the inputs, where a
# scale of these can be taken over too. The outputs of a depthwise kernel [height, width, channels, multiplier] are at
# both of the last.
LINEAR = {
    keras.layers.Conv1D: ("kernel", -1, -2),
    keras.layers.Conv2D: ("kernel", -1, -2),
    StandardizedConv2D: ("kernel", -1, -2),
    keras.layers.Conv3D: ("kernel", -1, -2),
    keras.layers.Conv1DTranspose: ("kernel", -2, None),
    keras.layers.Conv2DTranspose: ("kernel", -2, None),
    keras.layers.Conv3DTranspose: ("kernel", -2, None),
    keras.layers.DepthwiseConv1D: ("kernel", (-2, -1), None),
    keras.layers.DepthwiseConv2D: ("kernel", (-2, -1), None),
    keras.layers.SeparableConv1D: ("pointwise_kernel", -1, None),
    keras.layers.SeparableConv2D: ("pointwise_kernel", -1, None),
    keras.layers.Dense: ("kernel", -1, -2),
    DropConnectDense: ("kernel", -1, -2),
}

# Averages over whole maps, which a scale and a shift of channels may pass.
AVERAGES = (keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D)

# They take pixels, whose 256 levels bfloat16 has not.
PREPROCESSING = (keras.layers.Rescaling, keras.layers.Normalization)


def fold(model: keras.Model, *, precision: str = "float32") -> keras.Model:
    """A new model that computes what `model` does at test time, in fewer steps.

    Batch norm becomes part of the convolution (depthwise, grouped, separable, transposed too) or fully connected layer
    ahead of it, where nothing else reads what that gives; or of the one behind it, where nothing lies between but an
    average over whole maps, and nothing is padded. So does a LayerScale. Where convolutions of the same map are added,
    and the map itself, or its batch norm, with them, the one with the largest kernel takes over the others, as RepVGG
    has it (https://arxiv.org/abs/2101.03697). A standardised kernel becomes a plain one. Dropout, noise and
    identities are left out. A layer that is not known stays as it is, and so does one that is called more than once.
    Models within the model are folded, too.

    Args:
      model: any functional or sequential Keras model. It is not changed.
      precision: `float32`; or `bfloat16`, for weights and arithmetic of all layers but those that give the model's
        outputs, which stay float32.

    Returns:
      A functional model, not to be trained. In float32 its outputs differ by rounding alone
      (https://arxiv.org/abs/1712.05877, section 3.2).

    Raises:
      ValueError: the model is neither functional nor sequential, a layer of it cannot be made again from its config, or
        there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}: take one of {', '.join(PRECISIONS)}.")
    return _fold(model, precision, last="float32")


class Note(keras.Operation):
    """Stands for one call of a layer, or of another operation, in a `sketch`; computes nothing."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def compute_output_spec(self, *args, **kwargs):
        return self.layer.compute_output_spec(*args, **kwargs)


def sketch(model: keras.Model) -> keras.Model:
    """The graph of a model with a `Note` for each call of a layer; the model itself is not touched.

    Raises:
      ValueError: it is neither functional nor sequential.
    """
    try:
        if isinstance(model, keras.Sequential):
            model = keras.Model(model.inputs[0], model.outputs[0])
        plain = keras.Model(model.input, model.output, name=model.name)  # without its class, and how it was compiled
    except (AttributeError, ValueError, IndexError) as error:
        raise ValueError(f"{model.name} is no functional Keras model, so its graph cannot be read: {error}") from error

    def note(layer, *inputs, **options):
        return Note(layer)(*inputs, **options)

    return keras.models.clone_model(plain, clone_function=lambda layer: layer, call_function=note)


def notes_of(sketched: keras.Model) -> list[Note]:
    """The notes of a sketch, each behind those whose results it reads."""
    return [note for note in sketched.operations if isinstance(note, Note)]


def rebuild(sketched: keras.Model, call: Callable) -> keras.Model:
    """A model in which `call(note, *inputs, **options)` stands where a note stands in a sketch."""

    def call_without_mask(note, *inputs, mask=None, **options):  # Keras hands on a mask of None
        return call(note, *inputs, **(options if mask is None else {"mask": mask, **options}))

    return keras.models.clone_model(sketched, clone_function=lambda note: note, call_function=call_without_mask)


def _has_kernel(layer):
    """Whether the layer multiplies with a kernel of its own, channels last, and nothing else but its activation."""
    return (
        type(layer) in LINEAR
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and not getattr(layer, "lora_enabled", False)
        and not getattr(layer, "quantization_mode", None)
    )


class Readers:
    """Who reads which tensor of a sketch, where the results of some notes are what these read themselves."""

    def __init__(self, sketched: keras.Model):
        self._readers: dict[int, list] = {}
        self._same: dict[int, keras.KerasTensor] = {}
        self._makers = {}
        for note in notes_of(sketched):
            for tensor in keras.tree.flatten(note.output):
                self._makers[id(tensor)] = note
            for tensor in keras.tree.flatten(note.input):
                self._readers.setdefault(id(tensor), []).append(note)
        for tensor in keras.tree.flatten(sketched.output):
            self._readers.setdefault(id(tensor), []).append(None)  # the user of the model

    def source(self, tensor):
        """The tensor that is really read where `tensor` is."""
        while id(tensor) in self._same:
            tensor = self._same[id(tensor)]
        return tensor

    def maker(self, tensor) -> Note | None:
        """The note that gives a tensor; None for an input of the model."""
        return self._makers.get(id(self.source(tensor)))

    def of(self, tensor) -> list:
        """The notes that read a tensor, and None if it is an output of the model."""
        return self._readers.get(id(self.source(tensor)), [])

    def skip(self, note: Note) -> None:
        """From now on the result of this note is its first input."""
        read = self.source(keras.tree.flatten(note.input)[0])
        self._readers[id(read)] = [reader for reader in self.of(read) if reader is not note] + self.of(note.output)
        self._same[id(note.output)] = read


def _fold(model, dtype, last):
    sketched = sketch(model)
    skipped, folded, left = _plan(sketched)
    float32 = _last_notes(sketched)
    made: dict[int, keras.Operation] = {}  # by the id of the layer that it stands for

    def call(note, *inputs, **options):
        if note in skipped:
            return inputs[0]
        layer = note.layer
        if note in left:
            inputs = ([inputs[0][i] for i in left[note]],)
            if len(left[note]) == 1:
                return inputs[0][0]
        if id(layer) in made:
            return made[id(layer)](*inputs, **options)
        kept = "float32" if isinstance(layer, PREPROCESSING) else last if note in float32 else dtype
        made[id(layer)] = new = _remake(layer, kept, with_bias=note in folded)
        result = new(*inputs, **options)
        if note in folded:
            _assign(new, layer, folded[note])
        elif isinstance(layer, keras.Layer) and not isinstance(layer, keras.Model):
            new.set_weights(_values(layer))
            if isinstance(new, keras.layers.Normalization):
                new.finalize_state()  # what it computes with is made of its weights
        return result

    return rebuild(sketched, call)


def _plan(sketched):
    """What changes: notes to leave out, changes of kernels and biases in their order, and what sums still add.

    The changes are by the note of a linear layer, and the numbers of inputs by that of a sum.
    """
    notes, readers = notes_of(sketched), Readers(sketched)
    calls = Counter(id(note.layer) for note in notes)
    skipped, folded = set(), {}

    def alone(note):
        return note is not None and calls[id(note.layer)] == 1 and _has_kernel(note.layer)

    for note in notes:
        if _is_identity(note.layer):
            skipped.add(note)
            readers.skip(note)
    for note in notes:
        if not _is_scale(note):
            continue
        before, after = readers.maker(note.input), _behind(note, readers)
        if alone(before) and _gives_outputs(before.layer) and readers.of(note.input) == [note]:
            folded.setdefault(before, []).append(functools.partial(_scale_outputs, norm=note.layer))
        elif alone(after) and _takes_inputs(after.layer):
            folded.setdefault(after, []).append(functools.partial(_scale_inputs, norm=note.layer))
        else:
            continue
        skipped.add(note)
        readers.skip(note)
    left = {}
    for note in notes:
        if type(note.layer) is keras.layers.Add:
            branches = [_branch(tensor, note, readers, alone) for tensor in note.input]
            lead, taken = _merge(branches, note.input)
            if taken:
                left[note] = [i for i in range(len(branches)) if i not in taken]
                skipped.update(branches[i].note for i in taken if branches[i].note)
                for i in taken:
                    add = functools.partial(_add_branch, branch=branches[i], into=branches[lead], folded=folded)
                    folded.setdefault(branches[lead].note, []).append(add)
    return skipped, folded, left


def _is_scale(note):
    """Whether the note multiplies channels, which are last, and adds to them, with nothing else at test time."""
    if type(note.layer) is LayerScale:
        return True
    return type(note.layer) is keras.layers.BatchNormalization and note.layer.axis in (-1, len(note.input.shape) - 1)


@dataclasses.dataclass(frozen=True)
class _Branch:
    """A branch of a sum as a convolution: of which map, where its first tap lies, how far apart taps and outputs are.

    `note` is that of the convolution, or of the norm that stands for one; None for the map itself.
    """

    note: Note | None
    source: Any
    start: tuple[int, ...] = (0, 0)
    size: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    strides: tuple[int, ...] = (1, 1)

    @property
    def convolves(self):
        return self.note is not None and _has_kernel(self.note.layer)

    def taps(self, other):
        """Which rows and which columns of this kernel those of another are; None where it has no such."""
        found = []
        axes = (self.start, self.size, self.dilation, other.start, other.size, other.dilation)
        for start, size, step, other_start, other_size, other_step in zip(*axes, strict=True):
            places = [other_start - start + i * other_step for i in range(other_size)]
            if any(place % step or not 0 <= place // step < size for place in places):
                return None
            found.append([place // step for place in places])
        return np.ix_(*found)


def _branch(tensor, total, readers, alone):
    """What a sum adds as a _Branch: the tensor itself where it is neither a convolution nor a norm."""
    note = readers.maker(tensor)
    itself = _Branch(None, readers.source(tensor))
    if note is None or len(tensor.shape) != 4 or readers.of(tensor) != [total]:
        return itself
    if _is_scale(note):
        return _Branch(note, readers.source(note.input))
    layer = note.layer
    if not alone(note) or type(layer) not in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D):
        return itself
    if not _gives_outputs(layer) or getattr(layer, "depth_multiplier", 1) != 1:
        return itself
    source, size, strides, dilation = note.input, layer.kernel_size, layer.strides, layer.dilation_rate
    start = (0, 0)
    if layer.padding == "same":
        sides = source.shape[1:3]
        if None in sides and max(size) > 1 and max(strides) > 1:
            return itself  # the padding depends on the size
        extents = [step * (taps - 1) + 1 for step, taps in zip(dilation, size, strict=True)]
        start = tuple(
            -(max(extent - (stride if side is None else (side - 1) % stride + 1), 0) // 2)
            for extent, stride, side in zip(extents, strides, sides, strict=True)
        )
    padding = readers.maker(source)
    if padding is not None and type(padding.layer) is keras.layers.ZeroPadding2D:
        if layer.padding == "same" or padding.layer.data_format != "channels_last":
            return itself
        start = tuple(-before for before, _ in padding.layer.padding)
        source = padding.input
    elif padding is not None and type(padding.layer) is keras.layers.MaxPooling2D:  # of single pixels: strides alone
        pool = padding.layer
        if tuple(size) == (1, 1) == tuple(pool.pool_size) and pool.data_format == "channels_last":
            strides = [one * other for one, other in zip(strides, pool.strides, strict=True)]
            source = padding.input
    return _Branch(note, readers.source(source), start, tuple(size), tuple(dilation), tuple(strides))


def _merge(branches, tensors):
    """(the branch that takes over others, which these are), as numbers; none where nothing can be taken over."""
    best = (None, [])
    for lead, branch in enumerate(branches):
        if branch.convolves:
            shape = tensors[lead].shape
            fits = [
                i
                for i, other in enumerate(branches)
                if i != lead and tensors[i].shape == shape and _takes(branch, other)
            ]
            best = max(best, (lead, fits), key=lambda found: len(found[1]))
    return best


def _takes(lead, other):
    """Whether the kernel of a branch can take over another branch."""
    if lead.source is not other.source or lead.strides != other.strides or lead.taps(other) is None:
        return False
    layer = lead.note.layer
    if other.convolves:
        same = type(layer) is type(other.note.layer)
        return same and getattr(layer, "groups", 1) == getattr(other.note.layer, "groups", 1)
    return True


def _is_identity(layer):
    """Of no other type, a dropout of the user's own among them: that may draw at test time."""
    linear = type(layer) is keras.layers.Activation and layer.activation is keras.activations.linear
    return linear or type(layer) in IDENTITIES


def _behind(note, readers):
    """The only reader of a note's result, past averages; None where there are several."""
    while True:
        found = readers.of(note.output)
        note = found[0] if len(found) == 1 else None
        if note is None or type(note.layer) not in AVERAGES or note.layer.data_format != "channels_last":
            return note


def _gives_outputs(layer):
    """Whether a scale and a shift of the layer's outputs can become part of it."""
    return layer.activation is keras.activations.linear


def _takes_inputs(layer):
    """Whether a scale and a shift of the layer's inputs can become part of it: no padding stands for a zero there."""
    _, _, inputs = LINEAR[type(layer)]
    sides = getattr(layer, "kernel_size", (1,))
    unpadded = getattr(layer, "padding", "valid") == "valid" or max(sides) == 1
    return inputs is not None and getattr(layer, "groups", 1) == 1 and unpadded


def scale_and_shift(norm: keras.layers.BatchNormalization | LayerScale) -> tuple[np.ndarray, np.ndarray]:
    """What a batch norm, or a scale, multiplies with at test time, and what it adds: float64 [channels] each."""
    if isinstance(norm, LayerScale):
        scale = keras.ops.convert_to_numpy(norm.scale).astype(np.float64)
        return scale, np.zeros_like(scale)
    mean, variance = (np.float64(keras.ops.convert_to_numpy(v)) for v in (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * keras.ops.convert_to_numpy(norm.gamma)
    shift = -mean * scale
    if norm.center:
        shift = shift + keras.ops.convert_to_numpy(norm.beta)
    return scale, shift


def _scale_outputs(layer, kernel, bias, *, norm):
    scale, shift = scale_and_shift(norm)
    axes = np.atleast_1d(LINEAR[type(layer)][1])
    return kernel * scale.reshape(_sides(kernel, axes)), bias * scale + shift


def _scale_inputs(layer, kernel, bias, *, norm):
    scale, shift = scale_and_shift(norm)
    axis = LINEAR[type(layer)][2]
    bias = bias + np.tensordot(kernel, shift, (axis, 0)).reshape(-1, len(bias)).sum(0)
    return kernel * scale.reshape(_sides(kernel, [axis])), bias


def _add_branch(layer, kernel, bias, *, branch, into, folded):
    """Adds another branch's kernel and bias; a norm, and the map itself, are convolutions of single pixels."""
    if branch.convolves:
        more, shift = _changed(branch.note.layer, folded.get(branch.note, ()))
    else:
        scale, shift = scale_and_shift(branch.note.layer) if branch.note else (np.ones(len(bias)), 0)
        more = np.zeros((1, 1, *kernel.shape[2:]))
        outputs = np.arange(len(bias))
        inputs = outputs if isinstance(layer, keras.layers.DepthwiseConv2D) else outputs % kernel.shape[2]
        more[0, 0, inputs, 0 if isinstance(layer, keras.layers.DepthwiseConv2D) else outputs] = scale
    kernel = kernel.copy()
    kernel[into.taps(branch)] += more
    return kernel, bias + shift


def _changed(layer, changes):
    """The kernel and the bias of a linear layer after some changes, float64."""
    weights = {name: np.float64(value) for name, value in _weights(layer).items()}
    kernel = weights[LINEAR[type(layer)][0]]
    outputs = np.atleast_1d(LINEAR[type(layer)][1])
    bias = weights.get("bias", np.zeros(np.prod([kernel.shape[axis] for axis in outputs])))
    for change in changes:
        kernel, bias = change(layer, kernel, bias)
    return kernel, bias


def _sides(kernel, axes):
    sides = np.ones(kernel.ndim, int)
    sides[axes] = np.shape(kernel)[axes[0]] if len(axes) == 1 else np.array(np.shape(kernel))[axes]
    return sides


def _last_notes(sketched):
    """The notes that give the outputs, and those whose results are only activated, or left out, on their way there."""
    readers = Readers(sketched)
    found = set()
    passed = (*IDENTITIES, keras.layers.Activation, keras.layers.Softmax)
    for tensor in keras.tree.flatten(sketched.output):
        note = readers.maker(tensor)
        while note is not None and note not in found:
            found.add(note)
            note = readers.maker(keras.tree.flatten(note.input)[0]) if type(note.layer) in passed else None
    return found


def _remake(layer, dtype, with_bias):
    """A layer like this one, not built yet."""
    if isinstance(layer, keras.Model):
        try:
            return _fold(layer, dtype, last=dtype)
        except ValueError:  # a subclassed one: it stays as it is
            return layer
    kind, config = type(layer), layer.get_config()
    if kind is StandardizedConv2D:
        kind, config = keras.layers.Conv2D, layer.plain_config()
    if "dtype" in config and keras.backend.is_float_dtype(layer.compute_dtype):
        config["dtype"] = dtype
    if with_bias:
        config["use_bias"] = True
    # Every weight is given anew: random ones would take most of the time.
    config |= {key: "zeros" for key in config if key.endswith("_initializer") and config[key] is not None}
    try:
        return kind.from_config(config)
    except Exception as error:  # a layer of the user's own may raise anything
        message = f"{layer.name} ({type(layer).__name__}) cannot be made again from its own config: {error}"
        raise ValueError(message) from error


def _values(layer):
    """A layer's weights, in their order; of a standardised kernel those of the plain layer that it becomes."""
    if type(layer) is not StandardizedConv2D:
        return layer.get_weights()
    kernel = keras.ops.convert_to_numpy(layer.standardized())
    return [kernel] if layer.bias is None else [kernel, keras.ops.convert_to_numpy(layer.bias)]


def _weights(layer):
    """The same by their names."""
    return {variable.name: value for variable, value in zip(layer.weights, _values(layer), strict=False)}


def _assign(new, layer, changes):
    """The weights of a linear layer, changed by the batch norms that it takes over."""
    weights = _weights(layer)
    kernel, bias = _changed(layer, changes)
    for variable in new.weights:
        variable.assign({**weights, LINEAR[type(layer)][0]: kernel, "bias": bias}[variable.name])
