"""The warm-up requests of a bundle can be played, and are what TensorFlow Serving reads."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from kerascnn.serve import warmup
from kerascnn.serve.signatures import EXAMPLE_KEY


@pytest.fixture(scope="module")
def loaded(bundle):
    return tf.saved_model.load(str(bundle / "1"))


def test_each_request_has_an_answer(bundle, loaded):
    played = []
    for signature, tensors in warmup.read(bundle / "1" / warmup.FILE):
        ((_, tensor),) = tensors.items()
        answers = loaded.signatures[signature](**{key: tf.constant(value) for key, value in tensors.items()})
        assert {len(answer) for answer in answers.values()} == {len(tensor)}
        played.append((signature, len(tensor)))
    assert sorted(played) == sorted((signature, count) for signature in loaded.signatures for count in (1, 16))


def test_records_are_prediction_logs_with_names(bundle):
    records = list(tf.data.TFRecordDataset(str(bundle / "1" / warmup.FILE)).as_numpy_iterator())
    assert len(records) <= 1000
    for record in records:
        log = PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        assert log.predict_log.request.model_spec.name == bundle.name


SPECS = {
    "serving_default": tf.TensorSpec([None], tf.string, name="image_bytes"),
    "examples": tf.TensorSpec([None], tf.string, name="examples"),
    "logits": tf.TensorSpec([None, 8, 6, 1], tf.float32, name="inputs"),
    "uint8": tf.TensorSpec([None, None, None, 3], tf.uint8, name="images"),
}


def test_images_are_real_and_repeated_and_numbers_take_no_room(tmp_path):
    path = tmp_path / "requests"
    warmup.write(path, SPECS, [b"one", b"two\0"], name="model", batch_sizes=[3])
    found = dict(warmup.read(path))
    assert found["serving_default"]["image_bytes"].tolist() == [b"one", b"two\0", b"one"]
    parsed = [tf.train.Example.FromString(example) for example in found["examples"]["examples"]]
    assert [e.features.feature[EXAMPLE_KEY].bytes_list.value[:] for e in parsed] == [[b"one"], [b"two\0"], [b"one"]]
    assert found["logits"]["inputs"].shape == (3, 8, 6, 1) and found["logits"]["inputs"].dtype == np.float32
    assert found["uint8"]["images"].shape == (3, 256, 256, 3) and found["uint8"]["images"].dtype == np.uint8
    assert path.stat().st_size < 2_000


def test_what_is_no_such_file_is_an_error(tmp_path):
    (tmp_path / "requests").write_bytes(b"something else, and long enough")
    with pytest.raises(tf.errors.OpError):
        list(warmup.read(tmp_path / "requests"))
