"""A bundle needs TensorFlow alone, says what the Keras model says, and appears whole or not at all."""

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerascnn import create_model, data, load_model, serve
from kerascnn.evaluate.predictions import predict
from kerascnn.serve import bundle as writing
from kerascnn.serve import parity, trust

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
def loaded(bundle):
    return tf.saved_model.load(str(bundle / "1"))


@pytest.fixture(scope="module")
def signature(loaded):
    return loaded.signatures["serving_default"]


@pytest.fixture(scope="module")
def logits(model, source, preprocessing):
    """Of the Keras model for the 360, through the evaluation pipeline: [360, 10]."""
    return predict(model, source, "test", preprocessing, batch_size=50)[2]


@pytest.fixture(scope="module")
def probabilities(logits):
    return tf.nn.softmax(tf.constant(logits, tf.float64)).numpy()


def tiny(classes=10, dense=True):
    """A model of two layers, for what does not depend on the model."""
    image = keras.Input((8, 8, 1))
    x = image if dense else keras.layers.Conv2D(classes, 3)(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes)(x) if dense else x)


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


def test_what_lies_in_a_version(bundle, preprocessing, model, loaded):
    version = bundle / "1"
    files = {str(path.relative_to(version)) for path in version.rglob("*") if path.is_file()}
    assert files >= {
        "saved_model.pb",
        "assets/labels.txt",
        "assets.extra/tf_serving_warmup_requests",
        "preprocessing.json",
        "parity.json",
        "README.md",
        "models.config",
        "batching.config",
        "compose.yaml",
    }
    assert (version / "assets/labels.txt").read_text("utf-8").splitlines() == list(preprocessing.class_names)
    assert data.Preprocessing.load(version / "preprocessing.json") == preprocessing
    assert set(loaded.signatures) == {"serving_default", "uint8", "features", "logits", "examples"}
    # Frozen, and once: the graphs of five signatures take less than the parameters would take a second time.
    assert (version / "variables/variables.data-00000-of-00001").stat().st_size < 1_000
    assert 4 * 260_000 < (version / "saved_model.pb").stat().st_size < 4 * 260_000 + 400_000
    assert str(bundle).encode() not in (version / "saved_model.pb").read_bytes()
    trust.check(version)


def test_logits_and_features_are_the_models(loaded, source, preprocessing, model, logits):
    files = tf.constant([encoded.numpy() for encoded, _ in source.dataset("test")])
    decode = tf.function(preprocessing.decode, input_signature=[tf.TensorSpec([], tf.string)])
    images = tf.stack([decode(file) for file in files])
    found = loaded.signatures["logits"](inputs=preprocessing.normalise(images))["logits"].numpy()
    np.testing.assert_allclose(found, logits, rtol=1e-3, atol=1e-3 * logits.std())
    np.testing.assert_array_equal(found.argmax(-1), logits.argmax(-1))
    features = loaded.signatures["features"](image_bytes=files)["features"].numpy()
    kernel, bias = model.get_layer("logits").get_weights()
    np.testing.assert_allclose(features @ kernel + bias, logits, rtol=1e-3, atol=1e-3 * logits.std())


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


def report(version):
    return json.loads((version / "parity.json").read_text("utf-8"))


def test_a_model_of_ones_own_with_odd_names(preprocessing, tmp_path):
    """No fully connected layer, so no features; more than one line in a name; fewer classes than are asked for."""
    names = ("one", "two\nlines", "ünï\r\ncode", "")
    few = dataclasses.replace(preprocessing, class_names=names)
    version = serve.export(tiny(4, dense=False), tmp_path, few, top_k=1000, on_bad_image="flag", max_batch_size=1)
    assert (version / "assets/labels.txt").read_bytes() == "one\ntwo lines\nünï code\n\n".encode()
    loaded = tf.saved_model.load(str(version))
    assert set(loaded.signatures) == {"serving_default", "uint8", "logits", "examples"}
    answers = loaded.signatures["serving_default"](
        image_bytes=tf.constant([encode(PIL.Image.new("L", (8, 8)), "PNG"), b""])
    )
    assert {name.decode() for name in answers["classes"].numpy()[0]} == set(names)
    assert answers["valid"].numpy().tolist() == [True, False]
    assert "no signature `features`" in (version / "README.md").read_text("utf-8")


def test_parameters_that_are_too_many_stay_variables(model, preprocessing, source, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "MAX_FROZEN_BYTES", 1_000_000)
    version = serve.export(model, tmp_path, preprocessing, source=source, facts={"Weights": "found | made"})
    assert (version / "variables/variables.data-00000-of-00001").stat().st_size > 1_000_000
    assert (version / "saved_model.pb").stat().st_size < 500_000
    (row,) = report(version)["files"].values()
    assert row["max_difference"] < 1e-3 and row["top1_agreement"] == 1 and row["bytes"] > 1_000_000
    assert report(version)["reference"] == "digits, test, 360 images"
    assert "| Weights | found \\| made |" in (version / "README.md").read_text("utf-8")
    trust.check(version)


def test_a_file_that_differs_too_much_is_not_written(model, preprocessing, source, tmp_path):
    message = r"saved_model.pb \(bfloat16\) keeps the best class of 9\d\.\d\d% of 360 images, and 100.00% are wanted"
    with pytest.raises(ValueError, match=message):
        serve.export(model, tmp_path, preprocessing, source=source, precision="bfloat16", min_agreement=1.0)
    assert not list(tmp_path.iterdir())


def test_files_that_go_another_way_are_found_out(bundle, model, preprocessing, source):
    reference = parity.collect(model, preprocessing, source, "test[:20]")
    writing._compare_saved_model(bundle / "1", reference, preprocessing)
    turned = dataclasses.replace(reference, encoded=reference.encoded[::-1])
    with pytest.raises(ValueError, match=r"^1\d of 20 image files get another class than evaluation has for them\."):
        writing._compare_saved_model(bundle / "1", turned, preprocessing)


@pytest.mark.slow
def test_every_format(model, preprocessing, source, tmp_path):
    version = serve.export(
        model,
        tmp_path,
        preprocessing,
        source=source,
        formats=("savedmodel", "litert", "onnx"),
        precision=("float32", "float16", "dynamic", "int8"),
        min_agreement=0.5,
    )
    rows = report(version)["files"]
    assert set(rows) == {
        "saved_model.pb",
        "litert/float32.tflite",
        "litert/float16.tflite",
        "litert/dynamic.tflite",
        "litert/int8.tflite",
        "onnx/float32.onnx",
    }
    readme = (version / "README.md").read_text("utf-8")
    for file, row in rows.items():
        assert (version / file).is_file() and f"| {file} | {row['precision']} |" in readme
        assert row["max_difference"] < (1e-3 if row["precision"] == "float32" else 2)
    assert "`litert/`" in readme and "`onnx/`" in readme


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": 0}, "top_k=0: at least one class"),
        ({"top_k": -1}, "top_k=-1: at least one class"),
        ({"max_batch_size": 0}, "max_batch_size=0: at least one image"),
        ({"on_bad_image": "ignore"}, "on_bad_image='ignore': take error or flag"),
        ({"min_agreement": 98.0}, "min_agreement=98.0: a share from 0 to 1"),
        ({"formats": ["litert"]}, "savedmodel must be among the formats"),
        ({"precision": "float33"}, "float32"),
        ({"precision": ["float32", "bfloat16"]}, "one SavedModel"),
        ({"precision": "int8", "formats": ["savedmodel", "litert"]}, "int8 is calibrated on images.*--data"),
    ],
)
def test_what_cannot_be_asked_for(arguments, message, preprocessing, tmp_path):
    with pytest.raises(ValueError, match=message):
        serve.export(tiny(), tmp_path / "bundle", preprocessing, **arguments)
    assert not (tmp_path / "bundle").exists()


def test_versions_count_on_from_the_highest_whatever_else_is_there(preprocessing, tmp_path):
    assert serve.export(tiny(), tmp_path / "new" / "bundle", preprocessing) == tmp_path / "new" / "bundle" / "1"
    for name in ("3", "writing-77", "latest", "²"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()
    before = os.umask(0o022)
    try:
        version = serve.export(tiny(), str(tmp_path), preprocessing)
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


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_named(place, preprocessing, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match=rf"{tmp_path / place} \(Not a directory\): give another --export_dir"):
        serve.export(tiny(), tmp_path / place, preprocessing)
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


def test_full_disk_a_race_and_a_kill(preprocessing, tmp_path):
    folder, run = tmp_path / "bundle", tmp_path / "run"
    run.mkdir()
    tiny().save(run / "model.keras")
    preprocessing.save(run / "preprocessing.json")
    done = subprocess.run([sys.executable, "-c", HOSTILE, run, folder], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    full, left, version = done.stdout.splitlines()
    assert full.startswith(f"cannot write the bundle to {folder} (") and full.endswith("give another --export_dir")
    assert left == "[]"
    assert version == "2"
    (left_over,) = folder.glob("writing-*")
    assert (left_over / "saved_model.pb").exists()
    assert serve.export(tiny(), folder, preprocessing).name == "3"
    assert {path.name for path in folder.iterdir()} == {"1", "2", "3", left_over.name}
