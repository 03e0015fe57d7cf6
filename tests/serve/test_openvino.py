"""OpenVINO runs a bundle's SavedModel, and its ONNX file, as they are."""

import numpy as np
import openvino
import pytest
import tensorflow as tf

from kerascnn import data, load_model
from kerascnn.serve import fold, onnx_format, parity


@pytest.fixture(scope="module")
def reference(run_dir, data_dir):
    preprocessing = data.Preprocessing.load(run_dir / "preprocessing.json")
    model = load_model(run_dir / "model.keras")
    return parity.collect(model, preprocessing, data.open_source("digits", data_dir))


def logits(model, inputs, precision="f32"):
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 2}
    compiled = openvino.Core().compile_model(model, "CPU", options)
    return compiled({"inputs": inputs})["logits"]


@pytest.mark.slow
def test_the_saved_model(bundle, reference):
    # From a folder it takes `serving_default` alone, and it decodes no JPEG. So TensorFlow picks the signature.
    loaded = tf.saved_model.load(str(bundle / "1"))
    model = openvino.convert_model(loaded.signatures["logits"])
    found = parity.compare(reference, logits(model, reference.inputs))
    assert found["images"] == 360 and found["max_difference"] < 1e-4 and found["top1_agreement"] == 1.0
    kinds = [node.get_type_name() for node in model.get_ops()]
    assert kinds.count("Convolution") == 19 and kinds.count("Transpose") <= 2
    halved = parity.compare(reference, logits(model, reference.inputs, "bf16"))
    assert halved["max_difference"] < 0.2 and halved["top1_agreement"] > 0.9


def test_the_onnx_file(run_dir, reference, tmp_path):
    (tmp_path / "float32.onnx").write_bytes(onnx_format.convert(fold(load_model(run_dir / "model.keras"))))
    model = openvino.Core().read_model(tmp_path / "float32.onnx")
    np.testing.assert_allclose(logits(model, reference.inputs), reference.logits, atol=1e-4)
