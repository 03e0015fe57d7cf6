"""A bundle needs TensorFlow alone, says what the Keras model says, and appears whole or not at all."""

import io
import os
import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerascnn import create_model, data, load_model, serve
from kerascnn.evaluate.predictions import predict

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def source(data_dir):
    return data.open_source("digits", data_dir)


@pytest.fixture(scope="module")
def model(run_dir):
    return load_model(run_dir / "model.keras")


@pytest.fixture(scope="module")
def preprocessing(run_dir):
    return data.Preprocessing.load(run_dir / "preprocessing.json")


@pytest.fixture(scope="module")
def signature(bundle):
    loaded = tf.saved_model.load(str(bundle / "1"))
    yield loaded.signatures["serving_default"]
    del loaded


@pytest.fixture(scope="module")
def probabilities(model, source, preprocessing):
    """Of the Keras model for the 360, through the evaluation pipeline: [360, 10]."""
    _, _, logits = predict(model, source, "test", preprocessing, batch_size=50)
    return tf.nn.softmax(tf.constant(logits, tf.float64)).numpy()


def best(probabilities, count):
    """(classes, scores), best first."""
    order = np.argsort(-probabilities, kind="stable")[:, :count]
    return order.astype(str), np.take_along_axis(probabilities, order, -1)


PLAIN_TENSORFLOW = """
import sys
import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load(sys.argv[1])
serve = loaded.signatures["serving_default"]
with np.load("images.npz", allow_pickle=True) as file:
    images = file["images"].tolist()
parts = [serve(image_bytes=tf.constant(images[i : i + 100])) for i in range(0, len(images), 100)]
answers = {key: np.concatenate([part[key].numpy() for part in parts]) for key in parts[0]}
np.savez("answers.npz", classes=answers["classes"].astype(str), scores=answers["scores"])
assert not {"kerascnn", "tensorflow_datasets"} & sys.modules.keys()
"""


def test_a_process_with_tensorflow_alone_says_what_the_keras_model_says(bundle, source, probabilities, tmp_path):
    images = np.array([encoded.numpy() for encoded, _ in source.dataset("test")], object)
    np.savez(tmp_path / "images.npz", images=images)
    command = [sys.executable, "-I", "-c", PLAIN_TENSORFLOW, shutil.copytree(bundle / "1", tmp_path / "elsewhere")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = np.load(tmp_path / "answers.npz")
    classes, scores = best(probabilities, 5)
    assert answers["classes"].shape == (360, 5) and len(set(answers["classes"][:, 0])) == 10
    np.testing.assert_array_equal(answers["classes"], classes)
    np.testing.assert_allclose(answers["scores"], scores, atol=1e-5)


def test_signature(signature):
    (name, spec) = next(iter(signature.structured_input_signature[1].items()))
    assert name == "image_bytes" and spec.dtype == tf.string and spec.shape == [None]
    outputs = {key: (spec.dtype, spec.shape.as_list()) for key, spec in signature.structured_outputs.items()}
    assert outputs == {"classes": (tf.string, [None, 5]), "scores": (tf.float32, [None, 5])}


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_images_of_any_kind_and_size_go_the_way_of_evaluation(signature, model, preprocessing):
    colour = PIL.Image.fromarray(RNG.integers(0, 256, (90, 61, 3), np.uint8))
    files = [
        encode(colour, "JPEG"),
        encode(colour, "JPEG", progressive=True),
        encode(colour.convert("L").resize((8, 8)), "JPEG"),
        encode(colour, "PNG"),
        encode(colour.convert("RGBA"), "PNG"),
        encode(colour.convert("P"), "PNG"),
        encode(colour.resize((3, 2)), "PNG"),
        encode(colour, "BMP"),
        encode(colour, "GIF"),
    ]
    answers = signature(image_bytes=tf.constant(files))
    images = tf.stack([preprocessing.decode(file) for file in files])
    logits = model(preprocessing.normalise(images), training=False)
    classes, scores = best(tf.nn.softmax(tf.cast(logits, tf.float64)).numpy(), 5)
    np.testing.assert_array_equal(answers["classes"].numpy().astype(str), classes)
    np.testing.assert_allclose(answers["scores"], scores, atol=1e-5)


def test_a_broken_image_is_an_error(signature):
    with pytest.raises(tf.errors.InvalidArgumentError):
        signature(image_bytes=tf.constant([b"no image"]))


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), pytest.param(10, 10, marks=pytest.mark.slow), (1000, 10)])
def test_top_k_is_at_most_all_classes(top_k, count, model, preprocessing, source, probabilities, tmp_path):
    loaded = tf.saved_model.load(str(serve.export(model, tmp_path, preprocessing, top_k=top_k)))
    files = tf.constant([encoded.numpy() for encoded, _ in source.dataset("test[:20]")])
    answers = loaded.signatures["serving_default"](image_bytes=files)
    classes, scores = best(probabilities[:20], count)
    np.testing.assert_array_equal(answers["classes"].numpy().astype(str), classes)
    np.testing.assert_allclose(answers["scores"], scores, atol=1e-5)


def test_versions_count_on_from_the_highest_whatever_else_is_there(model, preprocessing, tmp_path):
    assert serve.export(model, tmp_path / "new" / "bundle", preprocessing) == tmp_path / "new" / "bundle" / "1"
    for name in ("3", "writing-77", "latest", "²"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()
    before = os.umask(0o022)
    try:
        version = serve.export(model, str(tmp_path), preprocessing)
    finally:
        os.umask(before)
    assert version == tmp_path / "12"
    assert version.stat().st_mode & 0o777 == 0o755  # a server may be another user
    assert {path.name for path in tmp_path.iterdir()} == {"new", "3", "writing-77", "latest", "²", "11", "12"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": (16, 16, 1)}, r"maps \(None, 16, 16, 1\) to .* is for \(None, 8, 8, 1\)"),
        ({"input_shape": (8, 8, 3)}, r"\(None, 8, 8, 3\)"),
        ({"num_classes": 11}, r"\(None, 11\), but the preprocessing is for .* and 10 classes: they are not of one run"),
        ({"num_classes": 0}, r"\(None, 64\)"),
        ({"input_shape": (None, None, 1)}, r"\(None, None, None, 1\)"),
    ],
)
def test_model_and_preprocessing_must_belong_together(changes, message, preprocessing, tmp_path):
    other = create_model("resnet20_cifar", **{"input_shape": (8, 8, 1), **changes})
    with pytest.raises(ValueError, match=message):
        serve.export(other, tmp_path / "bundle", preprocessing)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("top_k", [0, -1])
def test_at_least_one_class_is_given(top_k, model, preprocessing, tmp_path):
    with pytest.raises(ValueError, match=f"top_k={top_k}: at least one class"):
        serve.export(model, tmp_path, preprocessing, top_k=top_k)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_named(place, model, preprocessing, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match=rf"{tmp_path / place} \(Not a directory\): give another --export_dir"):
        serve.export(model, tmp_path / place, preprocessing)
    assert (tmp_path / "file").read_text() == "kept"


# Exports into a full disk; while another export takes the number; and to the kill just ahead of the last step.
HOSTILE = """
import os, resource, signal, sys
from pathlib import Path
from kerascnn import data, load_model, serve

run, folder = map(Path, sys.argv[1:])
model, preprocessing = load_model(run / "model.keras"), data.Preprocessing.load(run / "preprocessing.json")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    serve.export(model, folder, preprocessing)
except OSError as error:
    print(str(error).replace("\\n", " "))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print([path.name for path in folder.iterdir()], flush=True)

def at_rename(event, arguments):
    if event == "os.rename" and "writing-" in str(arguments[0]):
        if str(arguments[1]).endswith("/1"):
            os.makedirs(f"{arguments[1]}/variables")
        if str(arguments[1]).endswith("/3"):
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(at_rename)
print(serve.export(model, folder, preprocessing).name, flush=True)
serve.export(model, folder, preprocessing)
"""


def test_full_disk_a_race_and_a_kill(run_dir, bundle, model, preprocessing, tmp_path):
    folder = tmp_path / "bundle"
    done = subprocess.run([sys.executable, "-c", HOSTILE, run_dir, folder], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    full, left, version = done.stdout.splitlines()
    assert full.startswith(f"cannot write the bundle to {folder} (") and full.endswith("give another --export_dir")
    assert left == "[]"
    assert version == "2"
    (left_over,) = folder.glob("writing-*")
    assert (left_over / "saved_model.pb").exists()
    assert serve.export(model, folder, preprocessing).name == "3"
    assert {path.name for path in folder.iterdir()} == {"1", "2", "3", left_over.name}
