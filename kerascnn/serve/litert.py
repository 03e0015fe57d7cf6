"""LiteRT (once TensorFlow Lite): the format for phones and small computers, run by ai-edge-litert.

A model takes normalised images, float32 [batch, height, width, channels], as `inputs`, and gives `logits`; in int8 both
are int8, with the scale and the zero point that stand in the file. The batch is 1 unless the interpreter is told
another one (`resize_tensor_input`).
"""

import keras
import numpy as np
import tensorflow as tf

from kerascnn.registry import close_names
from kerascnn.serve import formats
from kerascnn.serve.folding import Readers, notes_of, rebuild, sketch

BATCH = 16
FLOATS = ("FLOAT16", "BFLOAT16", "FLOAT32", "FLOAT64")  # tensors of these types compute in floating point
LOW = -1e30  # what is below this is no value of an image, but stands for minus infinity
NOT_BELOW_ZERO = (keras.activations.relu, keras.activations.relu6)


def convert(model: keras.Model, precision: str = "float32", calibration: np.ndarray | None = None) -> bytes:
    """The content of a .tflite file.

    Args:
      model: gives logits for normalised images; best from `kerascnn.serve.fold`, in float32.
      precision: `float32`; `float16`, which halves the file and computes in float32 on most CPUs; `dynamic`, which
        stores weights in int8 and quantises activations as they come; or `int8`, in which all is computed in integers
        (https://arxiv.org/abs/1712.05877).
      calibration: float32 [n, height, width, channels], normalised images; the ranges that int8 has to cover are
        measured on them.

    Raises:
      ValueError: no such precision, int8 without images, something in the model that LiteRT has not or not in int8, or
        ai-edge-litert is not installed.
    """
    formats.require("litert")
    choices = formats.FORMATS["litert"].precisions
    if precision not in choices:
        raise ValueError(f"LiteRT has no precision {precision!r}: {close_names(precision, choices)}")
    if precision == "int8" and (calibration is None or not len(calibration)):
        raise ValueError("int8 needs images to measure the ranges of activations on: name a data set.")
    prepared = suited(model, precision)
    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="inputs")
    # Keras's own graph: what freezing.py lays out for the kernels of a SavedModel has no int8 here.
    forward = tf.function(
        lambda inputs: {"logits": prepared(inputs, training=False)}, input_signature=[spec], autograph=False
    )
    module = tf.Module()
    module.weights = [variable.value for variable in prepared.variables]  # which the converter finds there
    converter = tf.lite.TFLiteConverter.from_concrete_functions([forward.get_concrete_function()], module)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        images = np.asarray(calibration, np.float32)
        converter.representative_dataset = lambda: ([image[np.newaxis]] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        content = converter.convert()
    except Exception as error:  # TensorFlow raises whatever it stumbles over
        names = sorted({wrong.operator.name for wrong in getattr(error, "errors", []) if wrong.operator.name})
        what = f"has no {', '.join(names)}" if names else str(error).partition("\n")[0]
        raise ValueError(f"{model.name} cannot be written for LiteRT, which {what}.") from error
    if precision == "int8" and (left := _float_operators(content)):
        raise ValueError(f"{model.name} cannot be written in int8: LiteRT leaves {', '.join(left)} in floating point.")
    return content


def suited(model: keras.Model, precision: str) -> keras.Model:
    """The model with the same outputs, and without what LiteRT is bad at in a precision.

    Keras's Flatten asks for the batch, which costs three operators and makes shapes unknown that need not be. And
    paddings of the lowest float, as they are ahead of max pooling, leave int8 no step between the other values.
    """
    sketched = sketch(model)
    readers = Readers(sketched)
    modes = {note: mode for note in notes_of(sketched) if (mode := _finite_mode(note, readers))}

    def call(note, *inputs, **options):
        if type(note.layer) is keras.layers.Flatten and note.output.shape[1]:
            return keras.ops.reshape(inputs[0], (-1, note.output.shape[1]))
        if precision == "int8" and note in modes and options.get("constant_values", 0) < LOW:
            return keras.ops.pad(inputs[0], note.layer.pad_width, mode=modes[note])
        return note.layer(*inputs, **options)

    return rebuild(sketched, call)


def predict(content: bytes, inputs: np.ndarray, threads: int = 2) -> np.ndarray:
    """The logits, float32 [n, classes], that a .tflite file gives for normalised images.

    Args:
      content: of the file.
      inputs: float32 [n, height, width, channels]; for an int8 model they are quantised here, and its logits turned
        back.
      threads: how many the interpreter uses.

    Raises:
      ValueError: the content is no model of that kind, or ai-edge-litert is not installed.
    """
    formats.require("litert")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    parts = []
    for start in range(0, len(inputs), BATCH):
        batch = _quantised(inputs[start : start + BATCH], given)
        interpreter.resize_tensor_input(given["index"], batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], batch)
        interpreter.invoke()
        parts.append(_real(interpreter.get_tensor(wanted["index"]), wanted))
    return np.concatenate(parts)


def operators(content: bytes) -> list[tuple[str, set[str]]]:
    """Of each operator of a .tflite file its name and the types of the tensors that it reads and gives."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    types = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    model = schema.Model.GetRootAsModel(content, 0)
    found = []
    for graph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
        for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
            code = model.OperatorCodes(operator.OpcodeIndex())
            tensors = [*operator.InputsAsNumpy(), *operator.OutputsAsNumpy()]
            kind = kinds[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]  # the older field ends at 127
            found.append((kind, {types[graph.Tensors(tensor).Type()] for tensor in tensors if tensor >= 0}))
    return found


def _float_operators(content):
    found = {kind for kind, types in operators(content) if types.intersection(FLOATS)}
    return sorted(found - {"QUANTIZE", "DEQUANTIZE"} or found)  # those two stand around the others


def _quantised(values, detail):
    if detail["dtype"] != np.int8:
        return values
    scale, zero = detail["quantization"]
    return np.clip(np.round(values / scale + zero), -128, 127).astype(np.int8)


def _real(values, detail):
    if detail["dtype"] != np.int8:
        return values
    scale, zero = detail["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale)


def _finite_mode(note, readers):
    """How a padding ahead of max pooling can do without a value that never wins; None for all other notes.

    Where nothing is below zero, zeros win as little. Elsewhere the outermost pixels are mirrored, which the window sees
    anyway as long as it reaches no further out than in.
    """
    behind = [reader and reader.layer for reader in readers.of(note.output)]
    if type(note.layer).__name__ != "Pad" or note.layer.mode != "constant" or len(note.output.shape) != 4:
        return None
    if not all(type(layer) is keras.layers.MaxPooling2D and layer.padding == "valid" for layer in behind):
        return None
    if _not_below_zero(note.input, readers):
        return "constant"
    reach = [2 * max(widths) for widths in note.layer.pad_width[1:3]]
    inside = all(far <= side for layer in behind for far, side in zip(reach, layer.pool_size, strict=True))
    return "symmetric" if inside else None


def _not_below_zero(tensor, readers):
    note = readers.maker(tensor)
    if note is None:
        return False
    if isinstance(note.layer, keras.layers.MaxPooling2D | keras.layers.Concatenate):
        return all(_not_below_zero(read, readers) for read in keras.tree.flatten(note.input))
    return isinstance(note.layer, keras.layers.ReLU) or getattr(note.layer, "activation", None) in NOT_BELOW_ZERO
