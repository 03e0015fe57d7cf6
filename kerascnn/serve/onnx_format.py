"""ONNX: the format that ONNX Runtime, OpenVINO, TensorRT and many others read, written by tf2onnx.

A model takes normalised images, float32 [batch, height, width, channels], as `inputs`, and gives `logits`, for any
batch.
"""

import keras
import numpy as np
import tensorflow as tf

from kerascnn.serve import formats

# The version of ONNX's operators: the last that tf2onnx writes (1.17).
OPSET = 18
BATCH = 16


def convert(model: keras.Model, opset: int = OPSET) -> bytes:
    """The content of an .onnx file, which ONNX's own checker has passed. Its metadata name the opset.

    Args:
      model: gives logits for normalised images; best from `kerascnn.serve.fold`, in float32.
      opset: the version of ONNX's operators.

    Raises:
      ValueError: something in the model that ONNX has not, more parameters than a file can hold (2 GB), or the packages
        are not installed.
    """
    formats.require("onnx")
    import onnx
    import tf2onnx

    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="inputs")
    # Keras's own graph: what freezing.py lays out for TensorFlow's kernels is no faster here (measured).
    forward = tf.function(
        lambda inputs: {"logits": model(inputs, training=False)}, input_signature=[spec], autograph=False
    )
    proto, _ = tf2onnx.convert.from_function(forward, input_signature=[spec], opset=opset)
    unknown = sorted({node.op_type for node in proto.graph.node if not onnx.defs.has(node.op_type, node.domain)})
    if unknown:
        raise ValueError(f"{model.name} cannot be written for ONNX, which has no {', '.join(unknown)}.")
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    proto.graph.name = model.name
    onnx.helper.set_model_props(proto, {"opset": str(opset)})
    try:
        onnx.checker.check_model(proto, full_check=True)
        return proto.SerializeToString()
    except Exception as error:  # the checker has errors of its own, and protobuf another one for what is too large
        raise ValueError(f"{model.name} cannot be written for ONNX: {error}") from error


def predict(content: bytes, inputs: np.ndarray, threads: int = 2) -> np.ndarray:
    """The logits, float32 [n, classes], that ONNX Runtime computes on the CPU.

    Args:
      content: of an .onnx file.
      inputs: float32 [n, height, width, channels], normalised images.
      threads: how many it uses.

    Raises:
      ValueError: the packages are not installed.
    """
    formats.require("onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    parts = [session.run(["logits"], {"inputs": inputs[i : i + BATCH]})[0] for i in range(0, len(inputs), BATCH)]
    return np.concatenate(parts)
