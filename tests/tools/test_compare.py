"""`kerascnn compare`: which runs are one row, what stands in it, and folders that hold no finished run."""

import csv
import dataclasses
import json
import statistics
import sys

import pytest
from PIL import Image

from kerascnn.train.recipe import RunFlags
from kerascnn.train.run_dir import COLUMNS, RunDir, read_finished
from recipes.digits_lenet5 import RECIPE
from tools import compare

SHORT = dataclasses.replace(RECIPE, epochs=3)
FINAL = 0.9


def make(path, recipe=SHORT, seed=0, accuracies=(0.5, 0.95, FINAL), finish=True, **origin):
    """A run's folder as training leaves it: each epoch took 2 s."""
    folder = RunDir(path)
    folder.write_recipe(recipe, RunFlags(seed=seed))
    rows = [
        dict.fromkeys(COLUMNS, 0.25) | {"epoch": epoch, "test_accuracy": accuracy, "seconds": 2.0 * epoch}
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    if rows:
        folder.write_metrics(rows)
    if finish:
        folder.write_result(rows[-1], seconds=rows[-1]["seconds"], parameters=61706, macs=416520)
    if origin:
        record = json.loads(folder.recipe.read_text())
        folder.recipe.write_text(json.dumps(record | origin))
    return path


def ended(monkeypatch, capsys, *arguments):
    """(exit code, stdout, stderr) of the command."""
    monkeypatch.setattr(sys, "argv", ["kerascnn compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        compare.main()
    return end.value.code, *capsys.readouterr()


def cells(line):
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_seeds_are_one_row_and_recipes_are_many(tmp_path, monkeypatch, capsys):
    finals = (0.9, 0.92, 0.97)
    slow = dataclasses.replace(SHORT, learning_rate=0.001, optimizer="adamw")
    folders = [make(tmp_path / f"a{seed}", seed=seed, accuracies=(0.5, 0.975, finals[seed])) for seed in (2, 0, 1)]
    folders.append(make(tmp_path / "b", slow, seed=7))
    code, output, errors = ended(monkeypatch, capsys, *folders)
    assert (code, errors) == (0, "")
    head, first, second, _, title, *differences = output.splitlines()
    assert cells(head) == ["seeds", *compare.COLUMNS]
    mean, deviation = 100 * statistics.fmean(finals), 100 * statistics.stdev(finals)
    spread = f"{mean:.2f} ± {deviation:.2f} %"
    assert cells(first) == [
        "optimizer=nesterov", "3", spread, "97.50 ± 0.00 %", "0.2500 ± 0.0000", "6 ± 0 s", "61.7K", "417K",
    ]  # fmt: skip
    assert cells(second) == ["optimizer=adamw", "1", "90.00 %", "95.00 %", "0.2500", "6 s", "61.7K", "417K"]
    assert title == "What else differs:"
    assert list(map(cells, differences)) == [
        ["optimizer=nesterov", f"learning_rate={SHORT.learning_rate:g}"],
        ["optimizer=adamw", "learning_rate=0.001"],
    ]


def test_the_accuracy_of_an_average_is_the_runs(tmp_path):
    folder = RunDir(make(tmp_path / "run"))
    row = folder.read_metrics(3)[-1] | {"average_accuracy": 0.99, "average_loss": 0.01}
    folder.write_metrics([row])
    folder.write_result(row, seconds=6.0, parameters=1, macs=1)
    found = compare.numbers(read_finished(folder.path))
    assert (found["accuracy"], found["best_accuracy"], found["loss"]) == (0.99, 0.99, 0.01)


def test_numbers_of_flags_and_of_files_are_the_same(tmp_path):
    whole = dataclasses.replace(SHORT, warmup_epochs=3)
    flag = dataclasses.replace(SHORT, warmup_epochs=3.0)
    runs, _ = compare.read([str(make(tmp_path / "a", whole)), str(make(tmp_path / "b", flag, seed=1))])
    ((group,), remarks) = compare.grouped(runs)
    assert len(group.runs) == 2 and not remarks and group.label == "lenet5"


def test_labels_are_the_model_and_what_else_is_needed(tmp_path):
    recipes = [
        SHORT,
        dataclasses.replace(SHORT, learning_rate=0.001),
        dataclasses.replace(SHORT, model="vgg11", epochs=4),
    ]
    runs, _ = compare.read([str(make(tmp_path / str(i), recipe)) for i, recipe in enumerate(recipes)])
    groups, _ = compare.grouped(runs)
    assert [group.label for group in groups] == [
        f"lenet5, learning_rate={SHORT.learning_rate:g}",
        "lenet5, learning_rate=0.001",
        f"vgg11, learning_rate={SHORT.learning_rate:g}",
    ]
    assert [group.differing for group in groups] == [{"epochs": 3}, {"epochs": 3}, {"epochs": 4}]


def test_a_seed_again_is_told_apart_by_its_commit_or_left_out(tmp_path, monkeypatch, capsys):
    folders = [make(tmp_path / f"{commit}{seed}", seed=seed, commit=commit * 40) for commit in "ab" for seed in (0, 1)]
    code, output, errors = ended(monkeypatch, capsys, *folders)
    assert (code, errors) == (0, "")
    assert [cells(line)[:2] for line in output.splitlines()[1:]] == [[f"commit={c * 40}", "2"] for c in "ab"]
    again = make(tmp_path / "again", commit="a" * 40)
    code, output, errors = ended(monkeypatch, capsys, folders[0], again)
    assert cells(output.splitlines()[1])[:2] == ["lenet5", "1"]
    assert errors == f"left out: {again} repeats seed 0 of the same recipe.\n"


def test_seeds_of_several_commits_are_remarked(tmp_path, monkeypatch, capsys):
    folders = [make(tmp_path / str(seed), seed=seed, commit=str(seed) * 40) for seed in (1, 2)]
    _, output, errors = ended(monkeypatch, capsys, *folders)
    assert cells(output.splitlines()[1])[:2] == ["lenet5", "2"]
    assert errors == "lenet5: its runs differ in their commit.\n"


def test_bad_folders_do_not_lose_the_others(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    foreign = make(tmp_path / "foreign")
    (foreign / "recipe.json").write_text('{"recipe": 3}')
    broken = make(tmp_path / "broken")
    (broken / "result.json").write_text("{")
    bare = make(tmp_path / "bare")
    (bare / "metrics.csv").unlink()
    wrong = {
        tmp_path / "missing": "is not a folder.",
        tmp_path / "file": "is not a folder.",
        tmp_path / "empty": "holds no run: it has no recipe.json.",
        foreign: "recipe.json is not what this version of kerascnn writes: it lacks 'recipe'.",
        broken: "result.json is not JSON",
        bare: "has lost its metrics.csv.",
        make(tmp_path / "begun", accuracies=(), finish=False): "is not finished: it has not done an epoch.",
        make(tmp_path / "half", accuracies=(0.1,), finish=False): "is not finished: it has done 1 of 3 epochs; it is",
        make(tmp_path / "end", finish=False): "is not finished: it has done 3 of 3 epochs, but an older version",
    }
    code, output, errors = ended(monkeypatch, capsys, *wrong, make(tmp_path / "good"))
    assert code == 1
    assert cells(output.splitlines()[1])[:3] == ["lenet5", "1", "90.00 %"]
    lines = errors.splitlines()
    assert len(lines) == len(wrong)
    for line, (path, message) in zip(lines, wrong.items(), strict=True):
        assert line.startswith(f"left out: {path}") and message in line
    code, output, errors = ended(monkeypatch, capsys, *wrong)
    assert (code, output) == (2, "") and errors.endswith("error: no finished run is left to compare.\n")


def test_a_run_that_diverged_is_said_to(tmp_path):
    folder = RunDir(make(tmp_path / "run", finish=False, accuracies=(0.5, 0.1)))
    rows = folder.read_metrics(2)
    folder.write_metrics([rows[0], rows[1] | {"train_loss": float("nan")}])
    with pytest.raises(ValueError, match=r"2 of 3 epochs, and its loss is no longer a number\.$"):
        read_finished(folder.path)


def test_a_longer_run_takes_back_its_result(tmp_path):
    folder = RunDir(make(tmp_path / "run"))
    assert read_finished(folder.path).result["accuracy"] == FINAL
    folder.write_recipe(dataclasses.replace(SHORT, epochs=4), RunFlags())
    with pytest.raises(ValueError, match="is not finished: it has done 3 of 4 epochs; it is under way"):
        read_finished(folder.path)


def test_the_files_that_it_writes(tmp_path, monkeypatch, capsys):
    fields = [{"learning_rate": 0.1 / 2**i} for i in range(7)]
    folders = [
        make(tmp_path / f"{i}-{seed}", dataclasses.replace(SHORT, **field), seed=seed, accuracies=(0.5, 0.6 + i / 100))
        for i, field in enumerate(fields)
        for seed in (0, 1)
    ]
    picture, page, numbers = tmp_path / "runs.png", tmp_path / "runs.html", tmp_path / "runs.csv"
    code, output, errors = ended(
        monkeypatch, capsys, *folders, f"--plot={picture}", f"--html={page}", f"--csv={numbers}"
    )
    assert (code, errors) == (0, "")
    assert output.splitlines()[-3:] == [f"Wrote {path}" for path in (picture, page, numbers)]
    with Image.open(picture) as opened:
        assert opened.width == 1650
    text = page.read_text()
    assert text.count("<svg") == 2 and "The best 6 of 7." in text  # there are six colours
    assert "learning_rate=0.1<" in text.split("<h2>Runs</h2>")[0]
    assert "learning_rate=0.1<" not in text.split("<h2>Curves</h2>")[1].split("<h2>")[0]  # the least accurate
    with open(numbers, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["folder"] for row in rows] == list(map(str, folders))
    assert [float(row["accuracy"]) for row in rows] == pytest.approx([0.6 + i // 2 / 100 for i in range(14)])


def test_the_band_is_from_the_lowest_seed_to_the_highest(tmp_path):
    paths = [make(tmp_path / "a"), make(tmp_path / "b", seed=1, accuracies=(0.7, 0.6))]  # the second ended early
    runs, _ = compare.read(map(str, paths))
    ((group,), _) = compare.grouped(runs)
    found = compare.curves(group)
    assert found["epoch"] == [1, 2] and found["seconds"] == [2, 4]
    assert (found["low"], found["high"]) == ([0.5, 0.6], [0.7, 0.95])
    assert found["mean"] == pytest.approx([0.6, 0.775])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give the folders of runs, as in kerascnn compare runs/*"),
        (["--plot=a.gif", "run"], "--plot=a.gif: the file's name must end in .png, .svg, .pdf."),
    ],
)
def test_wrong_input(arguments, message, monkeypatch, capsys):
    assert ended(monkeypatch, capsys, *arguments) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize("flag", ["plot", "html", "csv"])
def test_a_file_that_cannot_be_written(flag, tmp_path, monkeypatch, capsys):
    path = tmp_path / "missing" / f"runs.{'png' if flag == 'plot' else flag}"
    code, _, errors = ended(monkeypatch, capsys, make(tmp_path / "run"), f"--{flag}={path}")
    assert code == 2 and errors == f"error: --{flag}={path}: No such file or directory.\n"
    assert not path.parent.exists()
