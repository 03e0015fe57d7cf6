"""A program without Python says of image files what the client says: TensorFlow's C API loads the bundle as it is."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf

from kerascnn import data, load_model, serve
from kerascnn.serve import client, warmup

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """`classify.c`, compiled against the libraries of TensorFlow's wheel."""
    path = tmp_path_factory.mktemp("program") / "classify"
    libraries = tf.sysconfig.get_lib()
    names = ["libtensorflow_cc.so.2", "libtensorflow_framework.so.2"]
    command = [
        "gcc",
        "-std=c11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        path,
        Path(__file__).with_name("classify.c"),
    ]
    command += ["-isystem", tf.sysconfig.get_include(), f"-L{libraries}", f"-Wl,-rpath,{libraries}"]
    subprocess.run([*command, *(f"-l:{name}" for name in names)], check=True)
    return path


@pytest.fixture(scope="module")
def versions(bundle, run_dir, tmp_path_factory):
    """The bundle of every test, which refuses a batch with a bad image; and one that flags it."""
    preprocessing = data.Preprocessing.load(run_dir / "preprocessing.json")
    model, folder = load_model(run_dir / "model.keras"), tmp_path_factory.mktemp("flagging")
    return {"error": bundle / "1", "flag": serve.export(model, folder, preprocessing, on_bad_image="flag")}


@pytest.fixture(scope="module")
def digits(data_dir, tmp_path_factory):
    """The paths of 100 test digits."""
    folder = tmp_path_factory.mktemp("digits")
    paths = [str(folder / f"{i}.png") for i in range(100)]
    for path, (encoded, _) in zip(paths, data.open_source("digits", data_dir).dataset("test[:100]"), strict=True):
        Path(path).write_bytes(encoded.numpy())
    return paths


def run(program, *arguments, **environment):
    command = [program, *map(str, arguments)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def errors(done):
    """What the program itself says on stderr; TensorFlow greets there, too."""
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def lines(version, paths):
    """What is expected on stdout and on stderr."""
    answers = list(client.classify(client.open_bundle(version), paths))
    good = [
        f"{path}: " + ", ".join(f"{name} {score:.1%}" for name, score in answer)
        for path, answer in answers
        if not isinstance(answer, str)
    ]
    return good, [f"error: {path}: {answer}" for path, answer in answers if isinstance(answer, str)]


def alike(line, other):
    """The same classes, and scores as near as their last digit: batches of other sizes are summed in another order."""
    numbers = [[float(n) for n in re.findall(r"(\d+\.\d)%", text)] for text in (line, other)]
    texts = [re.sub(r"\d+\.\d%", "", text) for text in (line, other)]
    return texts[0] == texts[1] and all(abs(a - b) < 0.11 for a, b in zip(*numbers, strict=True))


def assert_alike(found, expected):
    assert len(found) == len(expected)
    assert [(a, b) for a, b in zip(found, expected, strict=True) if not alike(a, b)] == []


def test_many_digits_in_one_batch(program, versions, digits):
    done = run(program, versions["error"], *digits)
    assert (done.returncode, errors(done)) == (0, []), done.stderr
    assert_alike(done.stdout.splitlines(), lines(versions["error"], digits)[0])


@pytest.mark.parametrize("kind", ["error", "flag"])
def test_broken_files_are_named_and_the_others_classified(kind, program, versions, digits, tmp_path):
    whole = Path(digits[0]).read_bytes()
    for name, content in {"cut.png": whole[:-30], "empty.png": b"", "text.jpg": b"not an image"}.items():
        (tmp_path / name).write_bytes(content)
    broken = [str(tmp_path / name) for name in ("cut.png", "empty.png", "text.jpg", "none.png")]
    paths = [digits[0], *broken, *digits[1:9], str(tmp_path)]
    done = run(program, versions[kind], *paths)
    good, bad = lines(versions[kind], paths)
    assert (done.returncode, len(bad)) == (1, 5)
    assert_alike(done.stdout.splitlines(), good)
    assert errors(done) == bad
    nothing = run(program, versions[kind], broken[-1])
    assert (nothing.returncode, nothing.stdout, errors(nothing)) == (1, "", bad[3:4])


@pytest.mark.parametrize("kind", ["error", "flag"])
def test_the_images_of_the_warm_up_requests(kind, program, versions, tmp_path):
    requests = [inputs for name, inputs in warmup.read(versions[kind] / warmup.FILE) if name == "serving_default"]
    images = [image for inputs in requests for image in inputs["image_bytes"]]
    assert len(requests) == 2 and len(images) == 17
    paths = [str(tmp_path / str(i)) for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Path(path).write_bytes(image)
    done = run(program, versions[kind], *paths)
    assert (done.returncode, errors(done)) == (0, []), done.stderr
    assert_alike(done.stdout.splitlines(), lines(versions[kind], paths)[0])


def test_there_is_no_python_in_it(program, versions, digits, tmp_path):
    """The dynamic linker lists all that is loaded, at the start and later."""
    done = run(program, versions["error"], digits[0], LD_DEBUG="files", LD_DEBUG_OUTPUT=str(tmp_path / "linker"))
    assert done.returncode == 0
    (log,) = tmp_path.glob("linker.*")
    loaded = set(re.findall(r"calling init: (\S+)", log.read_text()))
    assert {"libtensorflow_cc.so.2", "libtensorflow_framework.so.2"} <= {Path(path).name for path in loaded}
    assert [path for path in loaded if "python" in Path(path).name] == []


def another(folder):
    module = tf.Module()
    module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([None], tf.float32)])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.double})


def other_outputs(folder):
    """Has the names of a bundle's tensors, but neither their types nor their shapes."""
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="image_bytes")
    module.serve = tf.function(lambda image_bytes: {"classes": 1.0, "scores": image_bytes}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


WRONG = {
    "missing": (shutil.rmtree, "Could not find SavedModel"),
    "empty": (lambda folder: None, "Could not find SavedModel"),
    "damaged": (lambda folder: (folder / "saved_model.pb").write_bytes(b"\xff" * 100), "saved_model.pb"),
    "cut": (lambda folder: (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12\x80"), "Read less bytes"),
    "another": (another, "a SavedModel, but it does not go from image files to classes"),
    "other outputs": (other_outputs, "its answers are not classes"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_bundle_is_named(kind, program, digits, tmp_path):
    folder = tmp_path / "1"
    folder.mkdir()
    make, message = WRONG[kind]
    make(folder)
    done = run(program, folder, digits[0])
    (error,) = errors(done)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in error


def test_usage(program):
    done = run(program)
    assert (done.returncode, errors(done)) == (2, ["error: usage: classify EXPORT_DIR/VERSION IMAGE..."])
