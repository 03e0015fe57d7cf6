import csv
import importlib.util
import subprocess
import sys

import pytest

from tools.bench import __main__, peers

SHORT = ("--batch_size=2", "--steps=2", "--rounds=2")


def bench(*arguments):
    return subprocess.run([sys.executable, "-m", "tools.bench", *arguments], capture_output=True, text=True)


def throughput(path, *arguments):
    """The lines on the terminal, and those of the CSV file."""
    done = bench(*arguments, *SHORT, f"--csv={path}")
    assert done.returncode == 0, done.stderr
    with open(path, newline="") as file:
        return done.stdout.splitlines(), list(csv.DictReader(file))


def test_loop_gives_both_sides_and_their_ratio(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "loop", "--model=lenet5", "--steps=3", "--rounds=2", "--batch_size=8"])
    __main__.main()
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split("  ")[0] for line in lines] == ["train loop", "with --xla", "Keras fit"]
    assert all("ratio" in line for line in lines)


def test_build_gives_both_sides_and_their_ratio(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "build", "--models=resnet18,resnet50", "--rounds=1"])
    __main__.main()
    _, missing, line = capsys.readouterr().out.splitlines()
    assert missing == "not measured: resnet18: keras.applications: it has no such model"
    name, ours, theirs, ratio, each = line.split()
    assert name == "resnet50" and ratio == each
    assert float(ours) / float(theirs) == pytest.approx(float(ratio), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("mode, backend", [("infer", "tensorflow"), ("train", "jax")])
def test_a_model_alone(tmp_path, mode, backend):
    lines, (row,) = throughput(tmp_path / "a.csv", mode, "--models=lenet5", "--vs=", f"--backend={backend}")
    assert lines[0].startswith(f"{mode}: batch 2, float32, {backend}; ")
    assert (row["mode"], row["model"], row["image_size"], row["peer"], row["ratio"]) == (mode, "lenet5", "32", "", "")
    assert float(row["ours_images_per_second"]) > 0 and 2**26 < int(row["ours_bytes"]) < 2**34
    assert lines[2].split()[:3] == ["lenet5", "32", f"{float(row['ours_images_per_second']):,.1f}"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_both_sides_and_their_ratio(tmp_path, mode, backend, precision):
    options = ("--models=resnet18,resnet50", "--image_size=32", f"--backend={backend}", f"--precision={precision}")
    lines, (row,) = throughput(tmp_path / "a.csv", mode, *options)
    assert "not measured: resnet18: keras.applications: it has no such model" in lines
    assert [row[name] for name in ("model", "peer", "precision")] == ["resnet50", "keras.applications", precision]
    ratios = [float(ratio) for ratio in row["ratios"].split()]
    assert len(ratios) == 2 and float(row["ratio"]) == pytest.approx(sum(ratios) / 2, rel=1e-2)
    assert int(row["peer_bytes"]) == pytest.approx(int(row["ours_bytes"]), rel=0.5)


@pytest.mark.slow
def test_a_peer_that_is_not_installed_is_told(tmp_path):
    # A Python that starts, and has nothing.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    options = ("--models=lenet5", "--vs=timm", f"--torch_python={python}")
    lines, rows = throughput(tmp_path / "a.csv", "infer", *options)
    assert lines[2].startswith("not measured: lenet5: timm: its process ended with 1: ") and not rows


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("timm"), reason="timm is not installed")
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_timm(tmp_path, mode):
    options = ("--models=lenet5,resnet18", "--vs=timm", "--image_size=32", "--precision=mixed_bfloat16")
    lines, (row,) = throughput(tmp_path / "a.csv", mode, *options)
    assert "not measured: lenet5: timm: LookupError: it has no lenet5" in lines
    assert (row["model"], row["peer"]) == ("resnet18", "timm") and float(row["ratio"]) > 0


def test_timm_names():
    ours = ["resnet50", "mobilenet_v1", "mobilenet_v2_110d", "mobilenet_v3_large", "mobilenet_v3_small_075"]
    theirs = ["resnet50", "mobilenetv1_100", "mobilenetv2_110d", "mobilenetv3_large_100", "mobilenetv3_small_075"]
    assert list(map(peers.timm_name, ours)) == theirs


@pytest.mark.parametrize(
    "arguments, answer",
    [
        (["lop"], "no benchmark 'lop': did you mean loop?"),
        (["infer", "--models=resnet5O"], "did you mean resnet50"),
        (["build", "--models=resnet5O"], "did you mean resnet50"),
        (["train", "--vs=tim"], "no peer 'tim': did you mean timm?"),
        (["train", "--precision=float8"], "mixed_bfloat16"),
        (["train", "resnet50"], "not a flag: 'resnet50'"),
        (["train", "--batch_size=0"], "batch_size"),
    ],
)
def test_a_wrong_word_ends_with_2(arguments, answer, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    output, errors = capsys.readouterr()
    assert end.value.code == 2 and answer in errors and not output


def test_help():
    assert "tools.bench train" in bench().stdout and "--models=resnet50" in bench("train", "--help").stdout
