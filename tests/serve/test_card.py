"""The commands and configurations that come with a bundle are right for that bundle."""

import json
import re
import subprocess

import PIL.Image
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from kerascnn.serve import card, warmup
from kerascnn.weights import catalog


@pytest.fixture(scope="module")
def version(bundle):
    return bundle / "1"


@pytest.fixture(scope="module")
def readme(version):
    return (version / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def signatures(version):
    loaded = tf.saved_model.load(str(version))
    yield loaded.signatures
    del loaded


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    PIL.Image.effect_mandelbrot((40, 30), (-2, -1, 1, 1), 50).convert("RGB").save(folder / "image.jpg")
    return folder / "image.jpg"


def answer(signatures, image):
    return signatures["serving_default"](image_bytes=tf.constant([image.read_bytes()]))["scores"].numpy()


def test_python_builds_the_request_that_the_signature_takes(bundle, readme, signatures, image, monkeypatch):
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    compile(snippet, "README.md", "exec")
    building, _, asking = snippet.partition("\nwith grpc")
    assert asking
    monkeypatch.chdir(image.parent)
    known: dict = {}
    exec(building, known)
    request = predict_pb2.PredictRequest.FromString(known["request"].SerializeToString())
    assert request.model_spec.name == bundle.name
    signature = signatures[request.model_spec.signature_name]
    given = {key: tf.constant(tf.make_ndarray(tensor)) for key, tensor in request.inputs.items()}
    outputs = signature(**given)
    assert set(re.findall(r'answer\.outputs\["(\w+)"\]', asking)) == set(outputs)
    assert outputs["scores"].numpy().tolist() == answer(signatures, image).tolist()


def test_curl_sends_what_the_rest_interface_takes(bundle, readme, signatures, image):
    (line,) = re.findall(r"```\n(\{ printf.*?)```", readme, re.DOTALL)
    building, asking = line.split(" |\n")
    body = subprocess.run(["sh", "-c", building], cwd=image.parent, capture_output=True, check=True).stdout
    (instance,) = json.loads(body)["instances"]
    ((name, value),) = instance.items()
    content = tf.io.decode_base64(value["b64"].replace("+", "-").replace("/", "_").rstrip("="))
    scores = signatures["serving_default"](**{name: content[tf.newaxis]})["scores"].numpy()
    assert scores.tolist() == answer(signatures, image).tolist()
    assert asking.strip().endswith(f"/v1/models/{bundle.name}:predict")


def test_the_table_has_each_signature(readme, signatures):
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)`, (\w+) \[(.*?)\] \|", readme, re.MULTILINE)
    found = {name: (key, dtype, sides) for name, key, dtype, sides in rows}
    assert set(found) == set(signatures)
    for name, signature in signatures.items():
        ((key, spec),) = signature.structured_input_signature[1].items()
        sides = ", ".join("any" if side is None else str(side) for side in spec.shape)
        assert found[name] == (key, spec.dtype.name, sides)


def test_the_configurations_fit_each_other(version, bundle):
    (config,) = text_format.Parse((version / "models.config").read_text(), ModelServerConfig()).model_config_list.config
    batching = dict(re.findall(r"^(\w+) \{ value: (\d+) \}$", (version / "batching.config").read_text(), re.MULTILINE))
    compose = (version / "compose.yaml").read_text()
    assert config.name == bundle.name and config.model_platform == "tensorflow"
    assert f"- ..:{config.base_path}:ro\n" in compose
    for option, file in (("model_config_file", "models.config"), ("batching_parameters_file", "batching.config")):
        (inside,) = re.findall(rf"- --{option}=(\S+)\n", compose)
        assert f"- ./{file}:{inside}:ro\n" in compose
    largest = max(len(tensor) for _, inputs in warmup.read(version / warmup.FILE) for tensor in inputs.values())
    assert int(batching["max_batch_size"]) == largest


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/models/digits", "digits"),
        ("/models/My model, the 2nd", "My_model_the_2nd"),
        ("/models/häuschen", "h_uschen"),
        ("/models/a/..", "models"),
        ("/", "model"),
        ("/models/...", "model"),
    ],
)
def test_a_name_needs_no_quotes(folder, name):
    assert card.served_name(folder) == name


METRICS = "epoch,test_accuracy{0}\n1,0.9{1}\n2,0.97{2}\n3,0.95{3}\n"
RECIPE = {
    "recipe": {"data": "digits", "test_split": "test", "epochs": 3, "restore_best": False},
    "run": {"data_dir": None},
    "versions": {"tensorflow": "2.21.0", "keras": "3.15.1"},
    "commit": "0123abc",
    "command": "python -m recipes.digits_resnet20 --epochs=3",
}


@pytest.mark.parametrize(
    ("metrics", "best", "accuracy"),
    [
        (METRICS.format("", "", "", ""), False, "95.00% of digits, test"),
        (METRICS.format("", "", "", ""), True, "97.00% of digits, test"),
        (METRICS.format(",average_accuracy", ",0.91", ",0.98", ",0.99"), False, "99.00% of digits, test"),
        ("epoch,test_accuracy\n", False, None),
        ("something else", False, None),
        (None, False, None),
    ],
    ids=["the last epoch's", "the best epoch's", "of averaged weights", "no epoch", "another file", "no file"],
)
def test_a_run_tells_where_it_comes_from(metrics, best, accuracy, tmp_path):
    record = RECIPE | {"recipe": RECIPE["recipe"] | {"restore_best": best}}
    (tmp_path / "recipe.json").write_text(json.dumps(record))
    if metrics:
        (tmp_path / "metrics.csv").write_text(metrics)
    found = card.of_run(tmp_path)
    assert found["Accuracy"] == accuracy
    assert (found["Data"], found["Epochs"], found["Commit"]) == ("digits", 3, "0123abc")
    assert found["Trained by"] == "`python -m recipes.digits_resnet20 --epochs=3`"
    assert found["Trained with"] == "tensorflow 2.21.0, keras 3.15.1"


def test_an_accuracy_over_several_views_is_said_to_be_so(tmp_path):
    recipe = {"data": "digits", "test_split": "test", "tta": "flip"}
    (tmp_path / "recipe.json").write_text(json.dumps({"recipe": recipe, "versions": {}}))
    (tmp_path / "metrics.csv").write_text("epoch,test_accuracy\n1,0.875\n")
    assert card.of_run(tmp_path)["Accuracy"] == "87.50% of digits, test, with tta='flip', which this bundle does not do"


@pytest.mark.parametrize("content", [None, "no JSON", "[]", "{}"])
def test_a_run_that_tells_nothing_is_still_named(content, tmp_path):
    if content is not None:
        (tmp_path / "recipe.json").write_text(content)
    assert card.of_run(tmp_path) == {"Run": tmp_path}


def test_published_weights_tell_their_license():
    checkpoint = catalog.find("timm:resnet50.a1_in1k", "resnet50")
    found = card.of_checkpoint(checkpoint)
    assert (found["Weights"], found["License"]) == ("timm:resnet50.a1_in1k", checkpoint.license)
    assert str(checkpoint.top1) in found["Published accuracy"]
    assert card.of_checkpoint(None) == {}


PARITY = {
    "reference": "8 images",
    "files": {
        "saved_model.pb": {
            "precision": "float32",
            "bytes": 1_234_567,
            "max_difference": 1.2e-6,
            "top1_agreement": 1.0,
            "min_agreement": 0.999,
        },
        "litert/int8.tflite": {
            "precision": "int8",
            "bytes": 345_678,
            "max_difference": 0.1,
            "top1_agreement": 0.9876,
            "min_agreement": 0.95,
        },
    },
}


def filled(**changes):
    arguments: dict = {
        "name": "model",
        "title": "A model",
        "facts": {"Weights": "a|b\nc", "License": None, "Epochs": 0},
        "class_names": [f"class {i}" for i in range(12)],
        "image_size": (10, 20),
        "parity": PARITY,
        "signatures": [{"name": "logits", "takes": "x", "gives": "y"}],
        "on_bad_image": "error",
        "max_batch_size": 1,
        "present": ["saved_model.pb", "litert", "README.md"],
    }
    return card.readme(**arguments | changes)


def test_the_card_says_what_is_there_and_no_more():
    text = filled()
    assert "| Weights | a\\|b c |\n| Epochs | 0 |\n" in text and "License" not in text
    assert "\nClasses: class 0, class 1, " in text and ", class 9, and 2 more in `assets/labels.txt`.\n" in text
    assert "class 10" not in text
    assert "| saved_model.pb | float32 | 1.2 MB | 1.2e-06 | 100.00 % | 99.90 % |\n" in text
    assert "| litert/int8.tflite | int8 | 345.7 kB | 1.0e-01 | 98.76 % | 95.00 % |\n" in text
    assert "| `litert/` |" in text and "| `onnx/` |" not in text and "| `variables/` |" not in text
    assert "no signature `features`" in text and "20x10" in text
    assert "batches of 1, which" in text
    assert "--on_bad_image=flag" in text and "`valid`" not in text


def test_the_card_of_a_bundle_that_flags():
    text = filled(on_bad_image="flag", signatures=[{"name": "features", "takes": "x", "gives": "y"}], max_batch_size=8)
    assert "has `valid` false" in text and "--on_bad_image=flag" not in text
    assert "\nClasses: a, b.\n" in filled(class_names=["a", "b"])
    assert "no signature" not in text and "batches of 1 and 8, which" in text


def test_tables_are_whole(readme):
    """No line of a table stands apart from it, and each has as many cells."""
    for table in re.findall(r"(?:^\|.*\|\n)+", readme, re.MULTILINE):
        lines = table.splitlines()
        assert len(lines) > 2 and set(lines[1]) <= set("|-")
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {lines[0].count("|")}
