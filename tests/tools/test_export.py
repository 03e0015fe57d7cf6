"""`kerascnn export`: from a run's folder to a bundle, or one line that says what is missing."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from kerascnn.serve.client import open_bundle
from tools import export

ROOT = pathlib.Path(__file__).parents[2]


def test_a_run_becomes_a_bundle(run_dir, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "tools.export", f"--run={run_dir}", f"--export_dir={tmp_path}/new", "--top_k=3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Bundle: {tmp_path}/new/1\n", "")
    assert open_bundle(tmp_path / "new").structured_outputs["classes"].shape == [None, 3]


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
        (damage("preprocessing.json"), [], "preprocessing.json"),
        (damage("preprocessing.json", b"{}"), [], "preprocessing.json does not hold a run's preprocessing"),
        (None, ["--top_k=0"], "top_k=0: at least one class is given"),
        (None, ["--top_k=many"], "top_k"),
        (None, ["--export_dir=/dev/null/below"], "cannot write the bundle to /dev/null/below (Not a directory): give"),
        (None, ["--export_dir="], "give --run=MODEL_DIR and --export_dir=DIR."),
        (None, ["--run="], "give --run=MODEL_DIR and --export_dir=DIR."),
        (None, ["more"], "give --run=MODEL_DIR and --export_dir=DIR."),
        (None, ["--exportdir=x"], "Unknown command line flag 'exportdir'. Did you mean: export_dir"),
    ],
)
def test_wrong_input_ends_with_2_and_one_line(make, flags, message, run_dir, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(run_dir, tmp_path / "run")
    if make:
        make(run)
    monkeypatch.setattr(sys, "argv", ["export", f"--run={run}", f"--export_dir={tmp_path}/bundle", *flags])
    with pytest.raises(SystemExit) as end:
        export.main()
    output, errors = capsys.readouterr()
    assert (end.value.code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: ") and message in errors
    assert not (tmp_path / "bundle").exists()
