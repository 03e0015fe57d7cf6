"""`kerascnn predict` as a user meets it: what it prints, and how it ends."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
import tensorflow as tf

from kerascnn import data
from tools import predict

ROOT = pathlib.Path(__file__).parents[2]
LINE = re.compile(r"(?P<path>.+): (?P<class>\d) (?P<score>\d+\.\d)%(, \d \d+\.\d%){4}")


def run(*arguments, **environment):
    """The command in a process of its own, with TensorFlow as talkative as it is by itself."""
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"} | environment
    command = [sys.executable, "-m", "tools.predict", *arguments]
    return subprocess.run(command, capture_output=True, cwd=ROOT, env=environment)


@pytest.fixture(scope="module")
def digits(data_dir, tmp_path_factory):
    """Seventy test digits as files; more than fit into a batch."""
    folder = tmp_path_factory.mktemp("digits")
    paths = [str(folder / f"{i}.png") for i in range(70)]
    for path, (encoded, _) in zip(paths, data.open_source("digits", data_dir).dataset("test[:70]"), strict=True):
        pathlib.Path(path).write_bytes(encoded.numpy())
    return paths


def test_good_images_are_classified_and_nothing_else_is_said(bundle, digits):
    done = run(f"--bundle={bundle}", *digits, digits[0])
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert [LINE.fullmatch(line)["path"] for line in lines] == [*digits, digits[0]]
    assert lines[-1] == lines[0]

    serve = tf.saved_model.load(str(bundle / "1")).signatures["serving_default"]
    answers = serve(image_bytes=[pathlib.Path(path).read_bytes() for path in digits])
    for line, classes, scores in zip(lines, answers["classes"].numpy(), answers["scores"].numpy(), strict=False):
        assert LINE.fullmatch(line)["class"] == classes[0].decode()
        assert float(LINE.fullmatch(line)["score"]) == pytest.approx(100 * scores[0], abs=0.051)


def test_broken_images_are_named_and_the_others_classified(bundle, digits, tmp_path):
    odd = os.fsencode(tmp_path) + b"/\xff\xfe.png"  # no text in any encoding
    pathlib.Path(os.fsdecode(odd)).write_bytes(pathlib.Path(digits[5]).read_bytes())
    (tmp_path / "cut.png").write_bytes(pathlib.Path(digits[0]).read_bytes()[:-30])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.png").touch()
    broken = {
        f"{tmp_path}/cut.png": "not a whole PNG or JPEG image",
        f"{tmp_path}/text.jpg": "not a whole PNG or JPEG image",
        f"{tmp_path}/empty.png": "not a whole PNG or JPEG image",
        f"{tmp_path}/none.png": "No such file or directory",
        f"{tmp_path}": "Is a directory",
    }
    # Flags may stand behind, and PYTHONIOENCODING is what an ordinary locale gives.
    arguments = [digits[0], *broken, odd, *digits[1:], f"--bundle={bundle}"]
    done = run(*arguments, PYTHONIOENCODING="utf-8:strict")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [f"error: {path}: {reason}" for path, reason in broken.items()]
    paths = [LINE.fullmatch(line)["path"] for line in done.stdout.decode().splitlines()]
    assert paths == [digits[0], rf"{tmp_path}/\udcff\udcfe.png", *digits[1:]]


def ends_with_2(capsys, monkeypatch, *arguments):
    """What is said on stderr, which is one line."""
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        predict.main()
    output, errors = capsys.readouterr()
    assert (end.value.code, output, errors.count("\n")) == (2, "", 1)
    return errors


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "other", "damaged"])
def test_a_wrong_bundle_is_named_with_what_to_do(kind, digits, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "bundle"
    if kind == "file":
        folder.touch()
    elif kind != "missing":
        folder.mkdir()
    if kind == "other":
        tf.saved_model.save(tf.Module(), str(folder))
    if kind == "damaged":
        (folder / "saved_model.pb").write_bytes(b"\xff" * 100)
    errors = ends_with_2(capsys, monkeypatch, f"--bundle={folder}", digits[0])
    assert errors.startswith(f"error: {folder} ")
    assert ("export it anew" if kind == "damaged" else "give the folder that --export_dir named") in errors


def test_a_bundle_that_reads_files_needs_trust(digits, tmp_path, capsys, monkeypatch):
    (tmp_path / "secret").write_text("secret")
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def serve(image_bytes):
        shape = [tf.size(image_bytes), 1]
        return {"classes": tf.fill(shape, tf.io.read_file(str(tmp_path / "secret"))), "scores": tf.ones(shape)}

    module.serve = serve
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": serve})
    errors = ends_with_2(capsys, monkeypatch, f"--bundle={tmp_path}", digits[0])
    assert errors.startswith(f"error: {tmp_path}/1 is not loaded: the signature 'serving_default' ")
    assert "reaches the operation ReadFile" in errors and "say --trust" in errors

    monkeypatch.setattr(sys, "argv", ["predict", f"--bundle={tmp_path}", "--trust", digits[0]])
    with pytest.raises(SystemExit) as end:
        predict.main()
    assert (end.value.code, capsys.readouterr().out) == (0, f"{digits[0]}: secret 100.0%\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.png"], "give --bundle=DIR, or --model=NAME and --weights=SOURCE, or --run=MODEL_DIR; and at least"),
        (["--bundle=", "x.png"], "give --bundle=DIR"),
        (["--bundle=x"], "at least one image"),
        (["--model=lenet5", "--weights=x.h5", "--trust", "x.png"], "--trust is about a --bundle"),
        (["--bundel=x", "x.png"], "Unknown command line flag 'bundel'. Did you mean: bundle"),
    ],
)
def test_wrong_arguments(arguments, message, capsys, monkeypatch):
    assert message in ends_with_2(capsys, monkeypatch, *arguments)


def test_help():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"kerascnn predict --bundle=EXPORT_DIR IMAGE..." in done.stdout and b"--bundle=" in done.stdout


@pytest.mark.slow
def test_a_run_classifies_as_its_bundle_does(run_dir, bundle, digits, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(pathlib.Path(digits[0]).read_bytes()[:40])
    by_run = run(f"--run={run_dir}", *digits[:6], str(broken), str(tmp_path / "none.png"))
    by_bundle = run(f"--bundle={bundle}", *digits[:6])
    assert by_run.returncode == 1
    assert by_run.stdout == by_bundle.stdout
    assert by_run.stderr.decode().splitlines() == [
        f"error: {broken}: not a whole JPEG, PNG, GIF or BMP image, or one of more than 134,217,728 pixels",
        f"error: {tmp_path}/none.png: No such file or directory",
    ]
