"""The experiments run, and their page is what they left."""

import os
import subprocess
import sys

import pytest

from tools import experiments

# By default the quickest; tests/train has runs like those of the others, which take minutes.
ROWS = [pytest.param(name, marks=[pytest.mark.slow] * (name != "separable")) for name in experiments.EXPERIMENTS]


def test_every_experiment_is_listed():
    found = {path.stem for path in experiments.MODULES.glob("*.py")} - {"__init__", "lab"}
    assert found == set(experiments.EXPERIMENTS)


def test_the_page_is_current():
    assert experiments.page() == experiments.PAGE.read_text("utf-8")


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_an_experiment_says_what_it_is(name):
    title, text = experiments.title_and_text(name)
    assert len(title) < 100
    assert "\nLecture:" in text and "\nSeen:" in text
    png = (experiments.FIGURES / f"{name}.png").read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and len(png) < 400_000
    assert len(experiments.table(name)) > 3


@pytest.mark.parametrize("name", ROWS)
def test_an_experiment_runs(name, data_dir, tmp_path):
    command = [sys.executable, "-m", f"recipes.experiments.{name}", "--smoke", f"--data_dir={data_dir}"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=experiments.ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob(f"*/{name}.png")) and list(tmp_path.glob(f"*/{name}.csv"))
