"""`python -m tools.make_tfrecord`: what it is called with, what it says, and ImageNet's archives from end to end."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from kerascnn.data import open_source
from tools import make_tfrecord

ROOT = pathlib.Path(__file__).parents[2]
JPEG = b"\xff\xd8\xff\xe0"


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["make_tfrecord", *map(str, arguments)])
    make_tfrecord.main()


@pytest.fixture
def folder(tmp_path):
    """Thirty files that begin as JPEGs do, in three classes; 20 to train on."""
    for i in range(30):
        path = tmp_path / "images" / ("val" if i % 3 == 2 else "train") / "abc"[i % 7 % 3] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG + b"%d" % i)
    return tmp_path / "images"


def elements(source, split):
    return sorted((encoded.numpy(), int(label)) for encoded, label in source.dataset(split))


def test_a_folder_then_a_look_at_the_checksums(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    call(monkeypatch, f"--data={folder}", f"--out={out}", "--shards=2")
    assert capsys.readouterr().out == f"{out}: 20 images in train\n{out}: 10 images in val\n"
    source, copy = open_source(str(folder)), open_source(str(out))
    for split in ("train", "val"):
        assert elements(source, split) == elements(copy, split)
        assert list(copy.labels(split)) != sorted(copy.labels(split))  # shuffled
    call(monkeypatch, "--verify", f"--out={out}")
    assert capsys.readouterr().out == f"{out}: 6 files, all as manifest.json says\n"


def test_splits_and_slices(folder, tmp_path, monkeypatch, capsys, data_dir):
    call(monkeypatch, f"--data=folder:{folder}", f"--out={tmp_path}/out", "--split=train[:5],val", "--seed=3")
    copy = open_source(f"{tmp_path}/out")
    assert (copy.size("train"), copy.size("val")) == (5, 10)
    call(monkeypatch, "--data=digits", f"--data_dir={data_dir}", f"--out={tmp_path}/digits", "--split=test")
    assert elements(open_source(f"{tmp_path}/digits"), "test") == elements(open_source("digits", data_dir), "test")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --out=DIR, and one of --data=SOURCE, --imagenet_train=TAR (or --imagenet_val) and --verify."),
        (["--out={root}/out"], "give --out=DIR, and one of"),
        (["--data={root}/images"], "give --out=DIR, and one of"),
        (["--out={root}/out", "--data={root}/images", "--verify"], "give --out=DIR, and one of"),
        (["--out={root}/out", "--data={root}/images", "--imagenet_val=x", "--val_labels=y"], "give --out=DIR, and"),
        (["--out={root}/out", "--imagenet_val=x"], "--imagenet_val and --val_labels go together."),
        (["--out={root}/out", "--imagenet_train=x", "--val_labels=y"], "--imagenet_val and --val_labels go together."),
        (["--out={root}/out", "--imagenet_train={root}/x.tar"], "No such file or directory: '{root}/x.tar'"),
        (["--out={root}/out", "--imagenet_train={root}/images/train/a/0.jpg"], "0.jpg is no tar archive"),
        (["--out={root}/out", "--data={root}/imagse"], "holds no 'imagse': did you mean images?"),
        (["--out={root}/out", "--data={root}/images", "--split=test"], "has no split 'test'; it has train, val."),
        (["--out={root}/out", "--data={root}/images", "--split=train[:3],train[3:]"], "say with --split=NAME what"),
        (["--out={root}/out", "--data={root}/images", "--shards=21"], "20 elements cannot be written into 21 files"),
        (["--out={root}/out", "--data={root}/images", "--shards=0"], "shards"),
        (["--out={root}/out", "--verify"], "{root}/out"),
        (["--out={root}/images", "--verify"], "{root}/images/manifest.json"),
        (["--out={root}/out", "--data={root}/images", "more"], "'more' is not a flag"),
        (["--oot={root}/out"], "Unknown command line flag 'oot'"),
    ],
)
def test_wrong_input_ends_with_2_and_one_line(flags, message, folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *[flag.format(root=tmp_path) for flag in flags])
    output, errors = capsys.readouterr()
    assert (end.value.code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: ") and message.format(root=tmp_path) in errors


def test_a_folder_that_cannot_be_written_ends_with_1(folder, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, f"--data={folder}", "--out=/dev/null/below")
    assert end.value.code == 1 and "Not a directory" in capsys.readouterr().err


def test_a_kill_at_any_time_then_again(folder, tmp_path, monkeypatch):
    """As a user has it: the command, a kill -9 as soon as there is a file, and the command once more."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    call(monkeypatch, f"--data={folder}", f"--out={whole}", "--shards=20", "--split=train")
    flags = [f"--data={folder}", f"--out={out}", "--shards=20", "--workers=1", "--split=train"]
    process = subprocess.Popen([sys.executable, "-m", "tools.make_tfrecord", *flags], cwd=ROOT)
    try:
        while process.poll() is None and not list(out.glob("train-*")):
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL and os.listdir(out) != os.listdir(whole)
    call(monkeypatch, *flags)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}
