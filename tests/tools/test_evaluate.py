"""`kerascnn evaluate` as a user meets it, on image folders made of the digits."""

import csv
import gzip
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import safetensors.numpy
from sklearn.datasets import load_sample_images

import kerascnn
from kerascnn import data, load_model
from kerascnn.evaluate.predictions import predict
from tools import evaluate, torch_golden

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


def test_a_run_is_counted_and_the_rows_add_up(run_dir, data_dir, folder, tmp_path, monkeypatch, capsys):
    table = tmp_path / "results.csv"
    done = run(f"--run={run_dir}", "--data=digits", f"--data_dir={data_dir}", f"--csv={table}")
    assert done.returncode == 0, done.stderr
    source = data.open_source("digits", data_dir)
    preprocessing = data.Preprocessing.load(run_dir / "preprocessing.json")
    _, labels, logits = predict(load_model(run_dir / "model.keras"), source, "test", preprocessing, 64)
    top1 = np.mean(logits.argmax(-1) == labels)
    assert "on digits test: 360 images of 8x8, resize\n" in done.stdout
    assert f"top-1 {100 * top1:6.2f} %\n" in done.stdout
    named = ["evaluate", f"--run={run_dir}", f"--data={folder}", f"--csv={table}"]
    monkeypatch.setattr(sys, "argv", [*named, "--tta=flip"])
    evaluate.main()
    images = data.open_source(str(folder), data_dir)
    _, labels, logits = predict(load_model(run_dir / "model.keras"), images, "val", preprocessing, 64, tta="flip")
    assert (
        f"of 8x8, resize, tta=flip\ntop-1 {100 * np.mean(logits.argmax(-1) == labels):6.2f} %\n"
        in capsys.readouterr().out
    )
    monkeypatch.setattr(sys, "argv", [*named, "--tta=flop"])
    with pytest.raises(SystemExit) as stopped:
        evaluate.main()
    assert stopped.value.code == 2 and "did you mean flip" in capsys.readouterr().err
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["images"], row["tta"]) for row in rows] == [("360", ""), ("40", "flip")]
    assert float(rows[0]["top1"]) == pytest.approx(100 * top1, abs=1e-3) and rows[0]["published_top1"] == ""


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """A hub with made-up weights for timm's resnet18.tv_in1k, and the file that it has."""
    place = ROOT / "tests/weights/fake_hub.py"  # tests are no package
    spec = importlib.util.spec_from_file_location("fake_hub", place)
    module = sys.modules["fake_hub"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shapes = json.loads(gzip.decompress(torch_golden.PATH.read_bytes()))["models"]["timm/resnet18"]["tensors"]
    tensors = {name: torch_golden.synthetic_tensor(name, shape) for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    safetensors.numpy.save_file(tensors, path)
    with module.FakeHub({"timm/resnet18.tv_in1k": {"model.safetensors": path.read_bytes()}}) as hub:
        yield hub, path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photographs in folders that are called as three of ImageNet's are."""
    folder = tmp_path_factory.mktemp("photos")
    for i, name in enumerate(("n01443537", "n01440764", "n07753592")):
        (folder / "val" / name).mkdir(parents=True)
        for j, photo in enumerate(load_sample_images().images):
            PIL.Image.fromarray(np.roll(photo, 40 * i, 1)).resize((320, 240 + 20 * i)).save(
                folder / "val" / name / f"{j}.jpg"
            )
    return folder


@pytest.mark.slow
def test_published_weights_beside_their_publishers_figure(made_up, photos, tmp_path):
    hub, path = made_up
    named = ["--model=resnet18", "--weights=timm:resnet18.tv_in1k"]
    table = tmp_path / "results.csv"
    environment = hub.environment(tmp_path / "home")
    done = run(*named, f"--data={photos}", f"--csv={table}", **environment)
    assert done.returncode == 0, done.stderr
    top1 = float(
        re.search(r"^top-1 +([\d.]+) %   published 69\.7\d % \(.*, at 224\), difference -", done.stdout, re.M)[1]
    )
    assert "6 images of 224x224, center(fraction=0.875, interpolation='bilinear')" in done.stdout
    # The same in Python: the classes are found by their synsets.
    model = kerascnn.create_model("resnet18", weights=path)
    preprocessing = kerascnn.weights.preprocessing("timm:resnet18.tv_in1k")
    right = []
    for label, name in ((1, "n01443537"), (0, "n01440764"), (954, "n07753592")):
        for photo in sorted((photos / "val" / name).iterdir()):
            image = preprocessing.normalise(preprocessing.decode(photo.read_bytes())[np.newaxis])
            right.append(int(np.argmax(model(image))) == label)
    assert top1 == pytest.approx(100 * np.mean(right), abs=0.01)
    with open(table, newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["published_top1"]) == pytest.approx(69.76, abs=0.02)
    assert float(row["difference"]) == pytest.approx(top1 - float(row["published_top1"]), abs=0.01)
    # And one photograph, from the cache, without the network.
    photo = str(next((photos / "val/n01440764").iterdir()))
    command = [sys.executable, "-m", "tools.predict", *named, "--top=2", photo]
    offline = hub.environment(tmp_path / "home", HF_HUB_OFFLINE="1")
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | offline)
    image = preprocessing.normalise(preprocessing.decode(pathlib.Path(photo).read_bytes())[np.newaxis])
    ((best, _), _), *_ = kerascnn.weights.decode_predictions(model(image), top=2)
    assert said.returncode == 0 and said.stdout.startswith(f"{photo}: {best} "), said.stderr
    assert hub.gets("model.safetensors") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give --data=NAME"),
        (["--data=digits"], "give --model=NAME and --weights=SOURCE"),
        (["--data=digits", "--model=resnet18"], "give --model=NAME and --weights=SOURCE"),
        (["--data=digits", "--run=/nowhere"], "/nowhere holds no finished run"),
        (["--data=digits", "--split=tset", "--model=resnet19", "--weights=timm:resnet18.a1_in1k"], "has no split"),
        (["--data=digits", "--model=resnet19", "--weights=timm:resnet18.a1_in1k"], "resnet19"),
    ],
)
def test_wrong_arguments(arguments, says, data_dir, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments, f"--data_dir={data_dir}"])
    with pytest.raises(SystemExit) as end:
        evaluate.main()
    errors = capsys.readouterr().err
    assert end.value.code == 2 and errors.startswith("error: ") and says in errors
