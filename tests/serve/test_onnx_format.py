"""ONNX files say what the model says, for any batch, with no transposes between their convolutions."""

import sys
from collections import Counter

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from kerascnn import create_model, data, load_model
from kerascnn.serve import fold, onnx_format, parity


@pytest.fixture(scope="module")
def content(run_dir):
    return onnx_format.convert(fold(load_model(run_dir / "model.keras")))


def test_it_says_what_the_model_says(content, run_dir, data_dir):
    preprocessing = data.Preprocessing.load(run_dir / "preprocessing.json")
    source = data.open_source("digits", data_dir)
    reference = parity.collect(load_model(run_dir / "model.keras"), preprocessing, source)
    found = parity.compare(reference, onnx_format.predict(content, reference.inputs))
    assert found["images"] == 360 and found["max_difference"] < 1e-4 and found["top1_agreement"] == 1.0
    several = onnx_format.predict(content, reference.inputs[: onnx_format.BATCH + 1], threads=1)
    assert several.shape == (onnx_format.BATCH + 1, 10) and several.dtype == np.float32
    np.testing.assert_allclose(
        several[-1:], onnx_format.predict(content, reference.inputs[onnx_format.BATCH :][:1]), atol=1e-5
    )


def test_what_the_file_says_of_itself(content):
    model = onnx.load_from_string(content)
    (given,), (wanted,) = model.graph.input, model.graph.output
    sizes = [
        [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim] for value in (given, wanted)
    ]
    assert (given.name, wanted.name, sizes) == ("inputs", "logits", [["batch", 8, 8, 1], ["batch", 10]])
    assert {(opset.domain, opset.version) for opset in model.opset_import} >= {("", onnx_format.OPSET)}
    assert {entry.key: entry.value for entry in model.metadata_props} == {"opset": str(onnx_format.OPSET)}
    assert model.graph.name == "resnet20_cifar"


@pytest.mark.parametrize(
    "name",
    [
        "resnet20_cifar",
        pytest.param("googlenet", marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", marks=pytest.mark.slow),
        pytest.param("lenet5", marks=pytest.mark.slow),
    ],
)
def test_there_is_one_transpose_at_each_end(name):
    model, random = create_model(name, input_shape=(64, 64, 3), num_classes=10), np.random.default_rng(0)
    for variable in model.variables:
        if len(variable.shape) == 1:  # a bias of zeros would be left out
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    content = onnx_format.convert(fold(model))
    kinds = Counter(node.op_type for node in onnx.load_from_string(content).graph.node)
    assert kinds["Transpose"] <= 2 and not kinds["BatchNormalization"]
    images = random.normal(size=(2, 64, 64, 3)).astype(np.float32)
    expected = model(images, training=False).numpy()
    np.testing.assert_allclose(onnx_format.predict(content, images), expected, atol=1e-4 * expected.std())


def test_an_operation_that_there_is_not_is_named():
    images = keras.Input((16, 16, 3))
    x = keras.layers.Lambda(
        lambda x: tf.raw_ops.FractionalMaxPool(value=x, pooling_ratio=[1, 1.4, 1.4, 1])[0], output_shape=(11, 11, 3)
    )(images)
    model = keras.Model(images, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)), name="small")
    with pytest.raises(ValueError, match="small cannot be written for ONNX, which has no FractionalMaxPool"):
        onnx_format.convert(model)


def test_missing_packages_are_told(monkeypatch, content):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for call in (lambda: onnx_format.convert(None), lambda: onnx_format.predict(content, np.zeros([1, 8, 8, 1]))):
        with pytest.raises(ValueError, match=r"onnx needs onnxruntime: pip install 'kerascnn\[formats\]'"):
            call()
