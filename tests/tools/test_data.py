"""`kerascnn data`: what stats prints, saves and draws; what check finds; one line for wrong input."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kerascnn import data as library
from kerascnn.data.statistics import Statistics
from tools import data

ROOT = pathlib.Path(__file__).parents[2]


def ended(monkeypatch, capsys, *arguments):
    """(exit code, stdout, stderr) of the command."""
    monkeypatch.setattr(sys, "argv", ["kerascnn data", *arguments])
    with pytest.raises(SystemExit) as end:
        data.main()
    return end.value.code, *capsys.readouterr()


@pytest.fixture
def folder(tmp_path):
    """Eight images of two classes and different sizes."""
    rng = np.random.default_rng(0)
    for index in range(8):
        place = tmp_path / "images" / ("ant", "bee")[index > 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (5 + index, 9, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{index}.png")
    return tmp_path / "images"


def test_stats_in_full(monkeypatch, capsys, data_dir):
    code, output, errors = ended(
        monkeypatch, capsys, "stats", "--data=digits", f"--data_dir={data_dir}", "--split=train[:100]"
    )
    assert (code, errors) == (0, "")
    known = library.measure(library.open_source("digits", data_dir), "train[:100]")
    (mean,), (std,) = known.mean, known.std
    lines = output.splitlines()
    assert lines[0] == "digits train[:100]: 100 images of 8x8x1, 10 classes"
    assert lines[2] == "class  images"
    counts = {line.split()[0]: int(line.split()[1]) for line in lines[3:13]}
    labels = [int(label) for _, label in library.open_source("digits", data_dir).dataset("train[:100]")]
    assert counts == {str(digit): labels.count(digit) for digit in range(10)}
    longest = max(lines[3:13], key=lambda line: line.count("\N{FULL BLOCK}"))
    assert longest.count("\N{FULL BLOCK}") == 40 and int(longest.split()[1]) == max(counts.values())
    assert lines[14:16] == [
        "channel     mean      std    mean/255  std/255",
        f"0      {mean:9.3f}{std:9.3f}{mean / 255:12.4f}{std / 255:9.4f}",
    ]
    assert lines[17:] == [
        "principal axis    std    share  direction",
        f"1             {std:7.3f}  100.00%   1.0000",
    ]


def test_what_is_saved_and_drawn(monkeypatch, capsys, folder, tmp_path):
    arguments = ["stats", f"--data={folder}", "--image_size=6", "--crop=center(fraction=0.9)"]
    places = [f"--out={tmp_path}/stats.json", f"--plot={tmp_path}/stats.png"]
    code, output, errors = ended(monkeypatch, capsys, *arguments, *places)
    assert (code, errors) == (0, "")
    assert output.endswith(f"\n\nSaved: {tmp_path}/stats.json\nPlot:  {tmp_path}/stats.png\n")
    known = Statistics.load(tmp_path / "stats.json")
    assert known.class_counts == {"ant": 3, "bee": 5} and known.zca().shape == (108, 108)
    measured = library.measure(
        library.open_source(str(folder)), "train", image_size=6, mode="mean_image", crop="center(fraction=0.9)"
    )
    np.testing.assert_allclose(known.mean_image, measured.mean_image, rtol=1e-6)
    with Image.open(tmp_path / "stats.png") as image:
        assert image.size == (2100, 630)
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    mean_colours = np.floor(known.mean_image.reshape(-1, 3)).astype(
        int
    )  # every one of them is somewhere in the drawing
    assert all(np.abs(pixels - colour).max(1).min() <= 1 for colour in mean_colours)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels_is_drawn(channels, tmp_path):
    sums = np.arange(4 * channels, dtype=np.int64).reshape(2, 2, channels)
    colours = sums.reshape(-1, channels)
    data.plot(Statistics("two", {"a": 1, "b": 0}, sums, colours.T @ colours), f"{tmp_path}/two.svg")
    assert ">two: 1 images<" in (tmp_path / "two.svg").read_text("utf-8")


def test_of_many_classes_the_most_frequent_and_the_rarest_are_listed(capsys):
    counts = {f"class{i}": 1000 - 3 * i for i in range(200)}
    images = sum(counts.values())
    data.tell(Statistics("many", counts, np.full([1, 1, 1], images, np.int64), np.full([1, 1], images, np.int64)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("class0") and lines[12].startswith("class9") and lines[13] == "... 180 more"
    assert lines[14].startswith("class190") and lines[23].startswith("class199")


def test_check_lists_what_is_broken(monkeypatch, capsys, folder):
    assert ended(monkeypatch, capsys, "check", f"--data={folder}") == (
        0, f"{folder} train: 0 of 8 elements are broken.\n", "",
    )  # fmt: skip
    (folder / "ant" / "1.png").write_bytes((folder / "ant" / "1.png").read_bytes()[:60])
    (folder / "bee" / "5.png").write_bytes(b"")
    code, output, errors = ended(monkeypatch, capsys, "check", f"--data={folder}")
    assert (code, errors) == (1, f"{folder} train: 2 of 8 elements are broken.\n")
    first, second = output.splitlines()
    assert first.startswith(f"{folder}/ant/1.png: ") and second.startswith(f"{folder}/bee/5.png: ")
    assert len(first) > len(f"{folder}/ant/1.png: ") and len(second) > len(f"{folder}/bee/5.png: ")
    code, _, errors = ended(monkeypatch, capsys, "stats", f"--data={folder}", "--image_size=4")
    assert code == 2 and errors.startswith(f"error: {folder} train: {folder}/ant/1.png: ") and errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of stats, check, preview, and --data=NAME."),
        (["stats"], "give a data set with --data=NAME"),
        (["stat", "--data=digits"], "no command 'stat': did you mean stats?"),
        (["stats", "check", "--data=digits"], "give one of stats, check"),
        (["stats", "--data=digit"], "digits"),
        (["stats", "--data=digits", "--split=trian"], "has no split 'trian'"),
        (["stats", "--data=digits", "--out=stats.npz"], "--out=stats.npz: the file's name must end in .json."),
        (
            ["stats", "--data=digits", "--plot=stats.doc"],
            "--plot=stats.doc: the file's name must end in .png, .svg, .pdf.",
        ),
        (["stats", "--data=digits", "--image_size=0"], "--image_size=0: a side has a pixel at least."),
        (["stats", "--data=digits", "--crop=pad"], "crop='pad' is random"),
        (["stats", "--data=digits", "--crop=centre"], "there is no 'centre': did you mean center"),
        (["stats", "--data=digits", "--plot=/dev/null/stats.png"], "/dev/null/stats.png"),
        (["stats", "--data=digits", "--otu=x"], "Unknown command line flag 'otu'"),
        (["check", "--data=digits", "--plot=stats.png"], "--plot is for kerascnn data stats."),
    ],
)
def test_wrong_input_ends_with_2_and_one_line(arguments, message, monkeypatch, capsys, data_dir):
    code, _, errors = ended(monkeypatch, capsys, *arguments, f"--data_dir={data_dir}")
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith("error: ") and message in errors


def test_on_a_terminal_there_is_no_chatter(data_dir):
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "tools.data", "check", "--data=digits", f"--data_dir={data_dir}", "--split=test"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "digits test: 0 of 360 elements are broken.\n", "")
