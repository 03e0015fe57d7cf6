"""What writes the catalogue of published weights: on the catalogue that is there, on tables, and on Keras itself.

Where KERASCNN_TORCH_PYTHON names a Python with torch, torchvision and timm, timm's part too.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import keras
import pytest

from kerascnn.weights import catalog
from tools import make_catalog

ROOT = pathlib.Path(__file__).parents[2]
WRITTEN = (make_catalog.WEIGHTS / "catalog.json").read_text("utf-8")


def rows(library):
    return [checkpoint for checkpoint in catalog.known() if checkpoint.source.startswith(f"{library}:")]


def test_the_catalogue_is_as_the_tool_writes_it():
    pickles = json.loads(WRITTEN)["pickles"]
    both = make_catalog.merged(make_catalog.merged({}, rows("keras"), "keras"), rows("timm"), "timm")
    assert make_catalog.text(both, pickles) + "\n" == WRITTEN
    classes = (make_catalog.WEIGHTS / "classes.json").read_text("utf-8")
    assert make_catalog.classes_text(json.loads(classes)) + "\n" == classes


def test_a_part_replaces_its_own_rows_alone():
    old = json.loads(WRITTEN)["checkpoints"]
    one = catalog.find("timm:resnet50.a1_in1k")
    left = make_catalog.merged(old, [dataclasses.replace(one, top1=None)], "timm")
    assert list(left["resnet50"]) == ["timm:resnet50.a1_in1k", "keras:imagenet"]
    assert left["resnet50"]["timm:resnet50.a1_in1k"]["top1"] is None
    assert left["vgg16"]["keras:imagenet"] == old["vgg16"]["keras:imagenet"] and "resnet18" not in left


HEADING = "model,img_size,top1,top1_err,crop_pct,interpolation\n"


def table(tmp_path, text, name="results-imagenet.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["resnet50.a1_in1k,288,81.24,18.7,1.000,bicubic", "resnet50.a1_in1k,224,80.382,19.6,0.950,bicubic"],
            (80.382, 224),
        ),
        (
            ["resnet50.a1_in1k,288,81.24,18.7,1.000,bicubic", "resnet50.a1_in1k,224,80.1,19.9,0.875,bicubic"],
            (81.24, 288),
        ),
        (["resnet50.a1_in1k,320,81.24,18.7,1.000,bicubic"], None),
        (["resnet50.a1h_in1k,224,80.382,19.6,0.950,bicubic"], None),
    ],
)
def test_top1_is_that_of_the_size_and_the_crop(lines, expected, tmp_path):
    results = make_catalog.read_results([table(tmp_path, HEADING + "\n".join(lines))])
    top1 = make_catalog.published_top1(catalog.find("timm:resnet50.a1_in1k"), results)
    fields = expected and {"top1": expected[0], "top1_size": expected[1], "top1_source": "results-imagenet.csv"}
    assert top1 == fields


def test_several_tables(tmp_path):
    one = table(tmp_path, HEADING + "a,224,1.5,0,1,bicubic\n", "1.csv")
    two = table(tmp_path, HEADING + "b,224,2.5,0,1,bicubic\n", "2.csv")
    assert make_catalog.read_results([one, two]) == {("a", 224): [(1, 1.5, "1.csv")], ("b", 224): [(1, 2.5, "2.csv")]}


def test_wrong_tables_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"x\.csv is no table of timm's results: it lacks the columns crop_pct, top1"):
        make_catalog.read_results([table(tmp_path, "model,img_size\n", "x.csv")])
    with pytest.raises(ValueError, match=r"line 2 of .*x\.csv: could not convert"):
        make_catalog.read_results([table(tmp_path, HEADING + "a,224,x,0,1,bicubic\n", "x.csv")])


def keras_row(model):
    name, arguments = make_catalog.keras_variants()[model]
    return make_catalog.keras_checkpoint(model, name, arguments)


def test_what_keras_would_download_and_states():
    original = keras.utils.get_file
    name, arguments = make_catalog.keras_variants()["mobilenet_v1_025"]
    found = make_catalog.keras_checkpoint("mobilenet_v1_025", name, arguments)
    assert found == catalog.find("keras:imagenet", "mobilenet_v1_025")
    assert keras.utils.get_file is original
    with pytest.raises(ValueError, match="asks for no weights"):
        make_catalog.requested(lambda weights: None, {})


@pytest.mark.parametrize(
    ("name", "arguments", "top1"),
    [
        ("MobileNetV3Large", {}, 75.6),
        ("MobileNetV3Large", {"alpha": 0.75}, 73.3),
        ("MobileNetV3Small", {"minimalistic": True}, 61.9),
        ("MobileNetV2", {}, 71.3),
        ("MobileNetV2", {"alpha": 0.5}, None),
    ],
)
def test_top1_that_keras_states(name, arguments, top1):
    doc = getattr(keras.applications, name).__doc__
    assert make_catalog.keras_top1(name, arguments, doc)[0] == top1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
def test_keras_rows_are_current():
    assert make_catalog.keras_checkpoints() == rows("keras")


TORCH = os.environ.get("KERASCNN_TORCH_PYTHON")
PRINT = """
import dataclasses, json
from tools import make_catalog
checkpoints, pickles = make_catalog.timm_checkpoints({})
classes = make_catalog.timm_classes()
print(json.dumps([[dataclasses.asdict(checkpoint) for checkpoint in checkpoints], pickles, classes]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not TORCH, reason="KERASCNN_TORCH_PYTHON does not name a Python with torch, torchvision and timm")
def test_timms_rows_are_current():
    done = subprocess.run([TORCH, "-c", PRINT], capture_output=True, text=True, cwd=ROOT, check=True)
    found, pickles, classes = json.loads(done.stdout.splitlines()[-1])
    unmeasured = dict.fromkeys(("top1", "top1_size", "top1_source"))
    mine = [dataclasses.asdict(checkpoint) | unmeasured for checkpoint in rows("timm")]
    found.sort(key=lambda row: [mine_row["source"] for mine_row in mine].index(row["source"]))
    for row in found:
        tag = row["source"].rpartition(".")[2]
        assert (row["top1"] is not None) == (tag in ("tv_in1k", "tv2_in1k"))
        assert row["top1"] is None or row["top1_source"].startswith("torchvision ")
    assert [row | unmeasured for row in found] == json.loads(json.dumps(mine))
    assert pickles == json.loads(WRITTEN)["pickles"]
    assert classes == json.loads((make_catalog.WEIGHTS / "classes.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give --part=timm, where timm is installed, or --part=keras"),
        (["--part=torch"], "part"),
        (["--part=keras", "x"], "give --part=timm"),
        (["--part=timm", "--results=/no/such.csv"], "/no/such.csv"),
    ],
)
def test_wrong_input_ends_with_2_and_one_line(arguments, says, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["make_catalog", *arguments])
    with pytest.raises(SystemExit) as end:
        make_catalog.main()
    output, errors = capsys.readouterr()
    assert (end.value.code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: ") and says in errors
    assert (make_catalog.WEIGHTS / "catalog.json").read_text("utf-8") == WRITTEN
