"""A bundle answers requests in the form of TensorFlow Serving's gRPC API.

What the server does with one is done here: a session that holds the graph is fed the request's tensors by the names of
the signature (tensorflow_serving/servables/tensorflow/predict_util.cc).
"""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from kerascnn import data
from kerascnn.serve import client, warmup

COUNT = 20


@pytest.fixture(scope="module")
def served(bundle):
    """A function from the bytes of a request to those of its response."""
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(bundle / "1"))

    def predict(content):
        request, response = PredictRequest.FromString(content), PredictResponse()
        signature = meta_graph.signature_def[request.model_spec.signature_name]
        assert signature.method_name == "tensorflow/serving/predict"
        assert set(request.inputs) == set(signature.inputs)
        for name, tensor in request.inputs.items():
            info = signature.inputs[name]
            assert tensor.dtype == info.dtype
            assert tf.TensorShape(info.tensor_shape).is_compatible_with(tf.TensorShape(tensor.tensor_shape))
        feeds = {signature.inputs[name].name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        names = list(request.output_filter) or list(signature.outputs)
        values = session.run([signature.outputs[name].name for name in names], feeds)
        for name, value in zip(names, values, strict=True):
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            assert response.outputs[name].dtype == signature.outputs[name].dtype
        return response.SerializeToString()

    yield predict
    session.close()


@pytest.fixture(scope="module")
def preprocessing(bundle):
    return data.Preprocessing.load(bundle / "1" / "preprocessing.json")


@pytest.fixture(scope="module")
def digits(data_dir, tmp_path_factory):
    """{path: content} of some test digits."""
    folder = tmp_path_factory.mktemp("digits")
    source = data.open_source("digits", data_dir).dataset(f"test[:{COUNT}]")
    contents = {str(folder / f"{i}.png"): encoded.numpy() for i, (encoded, _) in enumerate(source)}
    for path, content in contents.items():
        Path(path).write_bytes(content)
    return contents


@pytest.fixture(scope="module")
def answers(bundle, digits):
    """(classes [count, 5], scores [count, 5]) by the client."""
    rows = [answer for _, answer in client.classify(client.open_bundle(bundle), list(digits))]
    classes, scores = ([[pair[i] for pair in row] for row in rows] for i in (0, 1))
    return np.array(classes), np.array(scores)


def request(signature, output_filter=(), **inputs):
    message = PredictRequest(output_filter=output_filter)
    message.model_spec.name, message.model_spec.signature_name = "digits", signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message.SerializeToString()


def outputs(content):
    return {name: tf.make_ndarray(tensor) for name, tensor in PredictResponse.FromString(content).outputs.items()}


def example(content):
    features = {"image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def pixels(preprocessing, digits):
    return np.stack([preprocessing.decode(content).numpy() for content in digits.values()])


REQUESTS = {
    "serving_default": lambda preprocessing, digits: {"image_bytes": list(digits.values())},
    "examples": lambda preprocessing, digits: {"examples": [example(content) for content in digits.values()]},
    "uint8": lambda preprocessing, digits: {"images": pixels(preprocessing, digits)},
}


@pytest.mark.parametrize("signature", REQUESTS)
def test_classes_and_scores_are_those_of_the_client(signature, served, preprocessing, digits, answers):
    found = outputs(served(request(signature, **REQUESTS[signature](preprocessing, digits))))
    assert set(found) == {"classes", "scores"}
    np.testing.assert_array_equal(found["classes"].astype(str), answers[0])
    np.testing.assert_allclose(found["scores"], answers[1], atol=1e-5)


def test_logits_are_those_behind_the_scores(served, preprocessing, digits, answers):
    inputs = preprocessing.normalise(pixels(preprocessing, digits)).numpy()
    found = outputs(served(request("logits", inputs=inputs)))
    assert set(found) == {"logits"} and found["logits"].dtype == np.float32
    scores = tf.nn.softmax(tf.constant(found["logits"], tf.float64)).numpy()
    np.testing.assert_allclose(-np.sort(-scores)[:, :5], answers[1], atol=1e-5)


def test_features_are_those_of_the_loaded_function(served, bundle, digits):
    image_bytes = list(digits.values())
    found = outputs(served(request("features", image_bytes=image_bytes)))
    function = tf.saved_model.load(str(bundle / "1")).signatures["features"]
    np.testing.assert_allclose(found["features"], function(image_bytes=tf.constant(image_bytes))["features"], atol=1e-5)
    assert found["features"].shape == (COUNT, 64) and found["features"].std(0).min() > 0


def test_a_client_may_ask_for_some_of_the_outputs(served, digits, answers):
    found = outputs(served(request("serving_default", ["scores"], image_bytes=list(digits.values()))))
    assert set(found) == {"scores"}
    np.testing.assert_allclose(found["scores"], answers[1], atol=1e-5)


def test_the_warm_up_requests_are_such_requests(served, bundle):
    found = list(warmup.read(bundle / "1" / warmup.FILE))
    assert {name for name, _ in found} == {*REQUESTS, "logits", "features"}
    for name, inputs in found:
        sizes = {len(value) for value in inputs.values()}
        assert {len(value) for value in outputs(served(request(name, **inputs))).values()} == sizes
