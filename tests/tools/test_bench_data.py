import csv
import importlib.util
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tools.bench import data, data_worker

SHORT = ("--images=8", "--batch_size=4", "--cores=1", "--rounds=2", "--seconds=0", "--epochs=2")
INSTALLED = [name for name in data.PEERS if importlib.util.find_spec(name)]
if "KERASCNN_TORCH_PYTHON" in os.environ:
    INSTALLED = ["torchvision", *INSTALLED]


def bench(path, *arguments):
    """The lines on the terminal, and those of the CSV file."""
    command = [sys.executable, "-m", "tools.bench", "data", *SHORT, f"--csv={path}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with open(path, newline="") as file:
        return done.stdout.splitlines(), list(csv.DictReader(file))


def check(lines, rows, task):
    """The lines of a task are those of the CSV file, and its ratios are those of the rounds."""
    rows = [row for row in rows if row["task"] == task]
    rates = {(r["library"], r["output"]): [float(x) for x in r["images_per_second_each"].split()] for r in rows}
    for row, (side, each) in zip(rows, rates.items(), strict=True):
        assert (row["image_size"], row["batch_size"], row["cores"]) == (str(data.TASKS[task][0]), "4", "1")
        assert len(each) == 2 and min(each) > 0 and float(row["cpu_milliseconds"]) >= 0
        assert float(row["images_per_second"]) == pytest.approx(np.median(each), abs=0.1)
        for ratio, above, below in (("ours_ratio", data.OURS, side), ("decode_ratio", side, data.DECODE)):
            if above == below or below not in rates:
                assert row[ratio] == ""
            else:
                assert float(row[ratio]) == pytest.approx(np.median(np.divide(rates[above], rates[below])), rel=1e-2)
        (line,) = (line.split() for line in lines if line.split()[:3] == [task, *side])
        ratios = [f"{float(x):.2f}" if x else "-" for x in (row["ours_ratio"], row["decode_ratio"])]
        assert line[3] == f"{float(row['images_per_second']):,.0f}" and line[5:] == ratios
    return list(rates)


@pytest.mark.slow
def test_our_pipeline_without_its_peer(tmp_path):
    # A Python that starts, and has nothing.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    lines, rows = bench(tmp_path / "a.csv", "--tasks=small", "--vs=torchvision", f"--torch_python={python}")
    assert lines[0] == "data: 8 JPEGs of 500x375, batch 4, 1 cores; medians of 2 rounds of 0 s"
    assert lines[2].startswith("not measured: small: torchvision: its process ended with 1: ")
    assert check(lines, rows, "small") == [("kerascnn", "uint8"), ("kerascnn", "float32")]


@pytest.mark.slow
def test_every_task_and_every_peer_that_is_installed(tmp_path):
    lines, rows = bench(tmp_path / "a.csv", f"--vs={','.join(INSTALLED)}")
    assert not [line for line in lines if line.startswith("not measured")]
    for task in ("crop", "randaugment", "digits", "small"):
        wanted = [side for side in data.TASKS[task][1] if side[0] in INSTALLED or side[0] not in data.PEERS]
        assert check(lines, rows, task) == wanted
    first, last = (int(x) for x in rows[-1]["bytes_after_epochs"].split())
    told = f"{first / 2**20:,.0f} MiB after epoch 1, {last / 2**20:,.0f} MiB after epoch 2"
    assert 2**26 < first < 2**34 and lines[-1].split(maxsplit=1) == ["memory", told]


def test_images_are_pieces_of_the_photographs(tmp_path):
    for name in ("a", "b"):
        data.write_jpegs(tmp_path / name, 12)
    paths = sorted((tmp_path / "a" / "jpeg").glob("*/*.jpg"))
    assert len({path.read_bytes() for path in paths}) == 12
    assert {path.parent.name for path in paths} == {"china", "flower"}
    assert all(path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() for path in paths)
    with Image.open(paths[0]) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (500, 375), "RGB")


def test_small_images_are_noise_in_ten_classes(tmp_path):
    data.write_small_images(tmp_path, 30)
    images = [np.asarray(Image.open(path)) for path in tmp_path.glob("small/class[0-9]/*.png")]
    assert len(images) == 30 and {(image.shape, image.dtype.name) for image in images} == {((32, 32, 3), "uint8")}
    assert np.mean(images) == pytest.approx(127.5, abs=2) and np.ptp(images) == 255


def test_count_takes_whole_turns_of_the_workers():
    side = data_worker.Side("crop", "kerascnn", "uint8", "", 8, 224, batch_size=4, cores=3)
    batches = itertools.count()
    counted = data_worker.count(batches, side, 0.0)
    assert counted["images"] == 12 and counted["seconds"] > 0
    assert next(batches) == 6  # a turn to run in, and a turn that counts


def test_decoding_alone_has_the_crops_of_our_pipeline(tmp_path, monkeypatch):
    import tensorflow as tf

    from kerascnn.data import crop, decode
    from kerascnn.data.batches import drawn

    monkeypatch.setattr(data_worker, "WINDOWS", 6)
    data.write_jpegs(tmp_path, 1)
    side = data_worker.Side("crop", "decode", "uint8", str(tmp_path), 4, 224, batch_size=2, cores=1)
    encoded = tf.io.read_file(str(next(tmp_path.glob("jpeg/*/*.jpg"))))
    random_resized = crop.parse("random_resized")
    for number, window in enumerate(data_worker.our_windows(side)):
        (u,) = drawn(0, number // 4, number % 4, 0, (random_resized.draws,))
        ours = random_resized.encoded(encoded, u, size=(224, 224), channels=3)
        part = tf.image.decode_and_crop_jpeg(encoded, window, channels=3, dct_method="INTEGER_ACCURATE")
        assert np.array_equal(ours, decode.resize(part, (224, 224), antialias=False))
    assert next(iter(data_worker.decoded_crops(side))).shape == (2, 3)


@pytest.mark.parametrize(
    "argument, answer",
    [
        ("--vs=torchvison", "no peer 'torchvison': did you mean torchvision?"),
        ("--tasks=crops", "no task 'crops': did you mean crop?"),
        ("--cores=100000", "--cores=100000: there are"),
        ("--images=30000", "images"),
        ("--rounds=0", "rounds"),
        ("crop", "not a flag: 'crop'"),
    ],
)
def test_a_wrong_word_ends_with_2(argument, answer, capsys):
    with pytest.raises(SystemExit) as end:
        data.main(["data", argument])
    output, errors = capsys.readouterr()
    assert (end.value.code, output, errors.count("\n")) == (2, "", 1) and answer in errors
