"""`kerascnn evaluate` as a user meets it, on image folders made of the digits."""

import csv
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from kerascnn import data, load_model
from kerascnn.evaluate.predictions import predict

ROOT = pathlib.Path(__file__).parents[2]


def run(*arguments, **environment):
    command = [sys.executable, "-m", "tools.evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment)


@pytest.fixture(scope="module")
def folder(data_dir, tmp_path_factory):
    """Forty test digits in class folders."""
    folder = tmp_path_factory.mktemp("images")
    for i, (encoded, label) in enumerate(data.open_source("digits", data_dir).dataset("test[:40]")):
        place = folder / "val" / str(int(label))
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(encoded.numpy())
    (folder / "train").symlink_to(folder / "val")
    return folder


def test_a_run_is_counted_and_the_rows_add_up(run_dir, data_dir, folder, tmp_path):
    table = tmp_path / "results.csv"
    done = run(f"--run={run_dir}", "--data=digits", f"--data_dir={data_dir}", f"--csv={table}")
    assert done.returncode == 0, done.stderr
    source = data.open_source("digits", data_dir)
    preprocessing = data.Preprocessing.load(run_dir / "preprocessing.json")
    _, labels, logits = predict(load_model(run_dir / "model.keras"), source, "test", preprocessing, 64)
    top1 = np.mean(logits.argmax(-1) == labels)
    assert "on digits test: 360 images of 8x8, resize\n" in done.stdout
    assert f"top-1 {100 * top1:6.2f} %\n" in done.stdout
    again = run(f"--run={run_dir}", f"--data={folder}", f"--csv={table}")
    assert again.returncode == 0, again.stderr
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["images"] for row in rows] == ["360", "40"]
    assert float(rows[0]["top1"]) == pytest.approx(100 * top1, abs=1e-3) and rows[0]["published_top1"] == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give --data=NAME"),
        (["--data=digits"], "give --model=NAME and --weights=SOURCE"),
        (["--data=digits", "--model=resnet18"], "give --model=NAME and --weights=SOURCE"),
        (["--data=digitz", "--run=/nowhere"], "digitz"),
        (["--data=digits", "--run=/nowhere"], "/nowhere holds no finished run"),
        (["--data=digits", "--split=tset", "--run=/nowhere"], "has no split"),
        (["--data=digits", "--model=resnet19", "--weights=timm:resnet18.a1_in1k"], "resnet19"),
    ],
)
def test_wrong_arguments(arguments, says, data_dir):
    done = run(*arguments, f"--data_dir={data_dir}")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and says in done.stderr
