"""`kerascnn export`: from a run's folder to a bundle, or one line that says what is missing."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from kerascnn.serve.client import open_bundle
from tools import export

ROOT = pathlib.Path(__file__).parents[2]


RECIPE = {
    "recipe": {"data": "digits", "train_split": "train", "test_split": "test[:100]"},
    "run": {"data_dir": None},
    "versions": {"kerascnn": "0.1.0"},
    "commit": "0123abc",
    "command": "train",
}


@pytest.fixture
def run(run_dir, data_dir, tmp_path):
    """A run that tells its data."""
    folder = shutil.copytree(run_dir, tmp_path / "run")
    (folder / "recipe.json").write_text(json.dumps(RECIPE | {"run": {"data_dir": str(data_dir)}}))
    return folder


def files(version):
    return json.loads((version / "parity.json").read_text("utf-8"))["files"]


def test_a_run_becomes_a_bundle(run, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "tools.export", f"--run={run}", f"--export_dir={tmp_path}/new", "--top_k=3"]
    command += ["--on_bad_image=flag", "--max_batch_size=4"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == f"Bundle: {tmp_path}/new/1, compared on digits, test[:100], 100 images"
    assert re.fullmatch(
        r"  saved_model.pb +float32 +1\.\d MB  same best class for 100.00%, largest difference \d.\de-\d\d", second
    )
    outputs = open_bundle(tmp_path / "new").structured_outputs
    assert outputs["classes"].shape == [None, 3] and set(outputs) == {"classes", "scores", "valid"}
    readme = (tmp_path / "new/1/README.md").read_text("utf-8")
    assert "| Commit | 0123abc |" in readme and "batches of 1 and 4" in readme


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
    export.main()


def test_weights_become_a_bundle(run_dir, data_dir, tmp_path, monkeypatch, capsys):
    """The run's own file, as published weights would be; on data that are named."""
    arguments = [f"--weights={run_dir / 'model.keras'}", "--model=resnet20_cifar", f"--export_dir={tmp_path}"]
    data = ["--data=digits", f"--data_dir={data_dir}", "--split=train[:40]", "--min_agreement=0.9"]
    call(monkeypatch, *arguments, *data, "--precision=bfloat16")
    output, errors = capsys.readouterr()
    assert (len(output.splitlines()), errors) == (2, "") and "digits, train[:40], 40 images" in output
    (row,) = files(tmp_path / "1").values()
    assert (row["precision"], row["images"], row["min_agreement"]) == ("bfloat16", 40, 0.9)
    assert f"| Weights | {run_dir / 'model.keras'} |" in (tmp_path / "1/README.md").read_text("utf-8")


@pytest.mark.slow
def test_formats_and_precisions(run, tmp_path, monkeypatch, capsys):
    formats = ["--formats=savedmodel,litert,onnx", "--precision=int8,bfloat16", "--min_agreement=0.5"]
    call(monkeypatch, f"--run={run}", f"--export_dir={tmp_path}/new", *formats)
    assert {file: row["precision"] for file, row in files(tmp_path / "new/1").items()} == {
        "saved_model.pb": "bfloat16",
        "litert/int8.tflite": "int8",
        "onnx/float32.onnx": "float32",
    }
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_without_its_data_a_run_is_compared_on_made_up_images(run, tmp_path, monkeypatch, capsys):
    record = RECIPE | {"recipe": RECIPE["recipe"] | {"data": "/nowhere/data"}}
    (run / "recipe.json").write_text(json.dumps(record))
    call(monkeypatch, f"--run={run}", f"--export_dir={tmp_path}/new")
    output, errors = capsys.readouterr()
    assert "compared on 64 made-up images" in output
    assert errors.startswith("The run's data are not at hand (no data source '/nowhere/data'") and "--data" in errors


def test_int8_needs_images_to_calibrate_on(run_dir, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(
            monkeypatch,
            f"--run={run_dir}",
            f"--export_dir={tmp_path}/bundle",
            "--formats=savedmodel,litert",
            "--precision=int8",
        )
    output, errors = capsys.readouterr()
    note, error = errors.splitlines()
    assert (end.value.code, output) == (2, "") and "recipe.json" in note
    assert error == "error: int8 is calibrated on images: name a data set with --data (in Python, source=)."


def damage(name, content=None):
    def make(folder):
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)

    return make


@pytest.mark.parametrize(
    ("make", "flags", "message"),
    [
        (shutil.rmtree, [], "holds no finished run (no model.keras): give the model_dir of one with --run."),
        (damage("model.keras"), [], "holds no finished run (no model.keras)"),
        (damage("model.keras", b"no zip"), [], "model.keras is damaged"),
        (damage("preprocessing.json"), [], "holds no finished run (no preprocessing.json)"),
        (damage("preprocessing.json", b"{}"), [], "preprocessing.json does not hold a run's preprocessing"),
        (None, ["--top_k=0"], "top_k=0: at least one class is given"),
        (None, ["--top_k=many"], "top_k"),
        (None, ["--export_dir=/dev/null/below"], "cannot write the bundle to /dev/null/below (Not a directory): give"),
        (None, ["--export_dir="], "give --export_dir=DIR, and --model=NAME with --weights=SOURCE, or --run"),
        (None, ["--run="], "give --model=NAME and --weights=SOURCE (kerascnn list --weights), or --run=MODEL_DIR."),
        (None, ["--model=resnet50"], "give --model=NAME and --weights=SOURCE"),
        (None, ["--run=", "--model=resnet50"], "give --model=NAME and --weights=SOURCE"),
        (None, ["more"], "give --export_dir=DIR, and --model=NAME with --weights=SOURCE, or --run"),
        (None, ["--formats=litert"], "savedmodel must be among the formats"),
        (None, ["--formats=savedmodel,onyx"], "onnx"),
        (None, ["--precision=float16"], "float16"),
        (None, ["--precision=bfloat61"], "bfloat16"),
        (None, ["--precision=bfloat16,float32"], "one SavedModel"),
        (None, ["--data=digit"], "digits"),
        (None, ["--on_bad_image=skip"], "on_bad_image='skip': take error or flag"),
        (None, ["--max_batch_size=0"], "max_batch_size=0: at least one image"),
        (None, ["--min_agreement=98"], "min_agreement=98.0: a share from 0 to 1"),
        (None, ["--exportdir=x"], "Unknown command line flag 'exportdir'. Did you mean: export_dir"),
    ],
)
def test_wrong_input_ends_with_2_and_one_line(make, flags, message, run, tmp_path, capsys, monkeypatch):
    if make:
        make(run)
    monkeypatch.setattr(sys, "argv", ["export", f"--run={run}", f"--export_dir={tmp_path}/bundle", *flags])
    with pytest.raises(SystemExit) as end:
        export.main()
    output, errors = capsys.readouterr()
    assert (end.value.code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: ") and message in errors
    assert not (tmp_path / "bundle").exists()
