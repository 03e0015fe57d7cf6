"""Requests that a server plays to itself before it answers others, so that no client waits for the first run.

TensorFlow Serving reads them from `assets.extra/tf_serving_warmup_requests`, a TFRecord file with at most 1,000
PredictionLogs (https://www.tensorflow.org/tfx/serving/saved_model_warmup).
"""

import os
from collections.abc import Iterator, Mapping, Sequence

import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from kerascnn.serve.signatures import EXAMPLE_KEY

FILE = "assets.extra/tf_serving_warmup_requests"


def write(
    path: str | os.PathLike,
    inputs: Mapping[str, tf.TensorSpec],
    encoded: Sequence[bytes],
    *,
    name: str,
    batch_sizes: Sequence[int],
) -> None:
    """Writes a request for each signature and batch size.

    Args:
      path: of the file; its folder must be there.
      inputs: by the name of each signature what it takes.
      encoded: image files, which are repeated where a batch is larger.
      name: the model's, as a server knows it.
      batch_sizes: of the requests.
    """
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for signature, spec in inputs.items():
            for batch_size in batch_sizes:
                log = PredictionLog()
                request = log.predict_log.request
                request.model_spec.name, request.model_spec.signature_name = name, signature
                request.inputs[spec.name].CopyFrom(_tensor(spec, encoded, batch_size))
                writer.write(log.SerializeToString())


def read(path: str | os.PathLike) -> Iterator[tuple[str, dict]]:
    """(signature, {input: array}) of each request in such a file.

    Raises:
      tf.errors.OpError: there is no such file, or it is damaged.
    """
    for record in tf.data.TFRecordDataset(os.fspath(path)):
        request = PredictionLog.FromString(record.numpy()).predict_log.request
        tensors = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
        yield request.model_spec.signature_name, tensors


def _tensor(spec, encoded, batch_size):
    if spec.dtype == tf.string:
        batch = [encoded[i % len(encoded)] for i in range(batch_size)]
        return tf.make_tensor_proto([_example(image) for image in batch] if spec.name == "examples" else batch)
    # One zero stands for all of them. Which numbers they are has no say in the time; the size of images has: 256 pixels
    # are a size that has to be cropped or resized by almost every model.
    shape = [batch_size, *(side or 256 for side in spec.shape[1:])]
    return tf.make_tensor_proto(0, spec.dtype, shape)


def _example(encoded):
    features = {EXAMPLE_KEY: tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
