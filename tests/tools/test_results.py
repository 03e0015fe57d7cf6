"""`python -m tools.results`: rows from runs, claims from rows, and what it measures, which is a commit."""

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kerascnn.train.run_dir import Finished
from tools import results

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = '''\
r"""LeNet-5 on the digits.

    python -m recipes.digits_lenet5

What is not said here is as elsewhere.
Expected: not measured yet. The paper has 99.05 % on other
digits.
"""

RECIPE = 3
'''


def finished(seed, accuracy, seconds=27.4, commit=COMMIT, **origin):
    versions = {"python": "3.11.7", "tensorflow": "2.21.0", "keras": "3.15.1"}
    hardware = {"cpu": "AMD EPYC", "cores": 2, "gpus": []}
    result = {
        "accuracy": accuracy,
        "seconds": seconds,
        "parameters": 61706,
        "macs": 416520,
        "finished": f"2026-11-2{seed}T01:02:03+00:00",
    }
    origin = {"versions": versions, "hardware": hardware, "commit": commit} | origin
    return Finished(Path(f"out/seed{seed}"), {}, {"seed": seed}, origin, [], result)


ROW = results.row_of("digits_lenet5", [finished(1, 359 / 360, 30), finished(0, 357 / 360), finished(2, 1.0)])
CLAIM = (
    "99.63 % of the test images, the mean of seeds 0 to 2 (99.17, 99.72, 100.00), after 28 s of training with all "
    "evaluations; 61,706 parameters. AMD EPYC with 2 cores; commit 0123456789 (docs/results.md)"
)


def test_a_row_says_all_that_is_known():
    assert dataclasses.asdict(ROW) == {
        "recipe": "digits_lenet5",
        "accuracy": "99.63",
        "deviation": "0.42",
        "each": "99.17, 99.72, 100.00",
        "seconds": "28",
        "parameters": "61,706",
        "macs": "416,520",
        "command": "python -m recipes.digits_lenet5 --seed=SEED",
        "seeds": "0 to 2",
        "versions": "Python 3.11.7, TensorFlow 2.21.0, Keras 3.15.1",
        "hardware": "AMD EPYC with 2 cores",
        "commit": "0123456789",
        "date": "2026-11-22",
    }
    assert results.claim_of(ROW) == CLAIM
    one = results.row_of("digits_lenet5", [finished(3, 0.5, 9000)])
    assert one.deviation == "-"
    assert results.claim_of(one).startswith("50.00 % of the test images, seed 3, after 2.5 h of training")


@pytest.mark.parametrize(
    "other, message",
    [
        (finished(1, 0.5, hardware={"cpu": "another"}), "its runs differ in their hardware. Delete out to measure"),
        (finished(1, 0.5, versions={"python": "3"}), "its runs differ in their versions."),
    ],
    ids=["hardware", "versions"],
)
def test_runs_of_one_row_are_alike(other, message):
    with pytest.raises(ValueError, match=f"^digits_lenet5: {re.escape(message)}"):
        results.row_of("digits_lenet5", [finished(0, 0.5), other])


@pytest.mark.parametrize("commit", [None, COMMIT + "+changes"])
def test_numbers_need_a_commit(commit):
    with pytest.raises(ValueError, match=r"was trained at .*: its numbers have no source"):
        results.row_of("digits_lenet5", [finished(0, 0.5, commit=commit)])


@pytest.mark.parametrize(
    "seeds, text", [([3], "3"), ([0, 1], "0 and 1"), ([0, 1, 2, 3, 4], "0 to 4"), ([0, 2, 7], "0, 2 and 7")]
)
def test_seeds_in_words(seeds, text):
    assert results.seeds_text(seeds) == text


@pytest.mark.parametrize("seconds, text", [(27.4, "27 s"), (119, "119 s"), (2700, "45 min"), (18720, "5.2 h")])
def test_durations(seconds, text):
    assert results.duration(seconds) == text


def test_a_claim_is_all_of_a_card_that_changes():
    card = results.with_claim(CARD, CLAIM)
    before, after = CARD.split("Expected: not measured yet.")[0], " The paper has 99.05 % on other\ndigits.\n"
    assert card.startswith(before)
    assert card.endswith('\ndigits.\n"""\n\nRECIPE = 3\n')
    paragraph = card[len(before) :].split('"""')[0]
    assert " ".join(paragraph.split()) == " ".join(f"Expected: {CLAIM}.{after}".split())
    assert max(map(len, card.splitlines())) <= 120
    assert results.with_claim(card, CLAIM) == card
    again = results.with_claim(card, CLAIM.replace("99.63", "99.64"))
    assert " ".join(again.split()) == " ".join(card.replace("99.63", "99.64").split())


@pytest.mark.parametrize("text", ["Expected: 99 %.", "Expects: not measured yet.", "Expected: not measured."])
def test_a_card_that_takes_no_claim(text):
    card = CARD.replace("Expected: not measured yet.", text)
    card += 'NOTE = """(docs/results.md)"""\n'  # what stands behind the docstring is not the card's
    with pytest.raises(ValueError, match="a card has to say 'Expected: not measured yet'"):
        results.with_claim(card, CLAIM)


def test_the_page_is_read_as_it_is_written(tmp_path):
    page = tmp_path / "results.md"
    assert results.read_page(page) == {}
    other = dataclasses.replace(ROW, recipe="a_gpu", hardware="NVIDIA H100, AMD EPYC with 16 cores", deviation="-")
    rows = {"digits_lenet5": ROW, "a_gpu": other}
    page.write_text(results.page_text(rows))
    assert results.read_page(page) == rows
    assert page.read_text().index("`a_gpu`") < page.read_text().index("`digits_lenet5`")
    page.write_text(results.page_text({}))
    assert results.read_page(page) == {} and "Nothing is measured yet." in page.read_text()


@pytest.mark.parametrize("old, new", [("| 99.63 |", "| 99.63 | 1 |"), ("99.63", " 99.63"), ("## How", "## What")])
def test_a_page_that_was_edited_is_refused(old, new, tmp_path):
    page = tmp_path / "results.md"
    text = results.page_text({ROW.recipe: ROW})
    assert old in text
    page.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=r"results\.md is not what python -m tools\.results writes"):
        results.read_page(page)
    assert len(results.check(page, tmp_path)) == 1


@pytest.fixture
def written(tmp_path):
    """A page and a card that agree."""
    page, cards = tmp_path / "results.md", tmp_path / "recipes"
    cards.mkdir()
    (cards / "__init__.py").write_text('"""The recipes."""\n')
    (cards / "digits_lenet5.py").write_text(results.with_claim(CARD, CLAIM))
    (cards / "imagenet_lenet5.py").write_text(CARD)
    page.write_text(results.page_text({ROW.recipe: ROW}))
    assert results.check(page, cards) == []
    return page, cards


def test_a_number_that_the_page_lacks_is_found(written):
    page, cards = written
    card = cards / "digits_lenet5.py"
    card.write_text(card.read_text().replace("99.72", "99.99"))
    (complaint,) = results.check(page, cards)
    assert complaint.startswith("digits_lenet5: its card says '99.63 %") and "99.99" in complaint
    card.write_text(CARD)
    assert len(results.check(page, cards)) == 1
    page.write_text(results.page_text({}))
    assert results.check(page, cards) == []
    card.write_text(results.with_claim(CARD, CLAIM))
    assert results.check(page, cards) == [f"digits_lenet5: its card claims what results.md lacks: {CLAIM}"]


def test_cards_that_are_gone_or_say_nothing_are_found(written):
    page, cards = written
    (cards / "digits_lenet5.py").unlink()
    (cards / "imagenet_lenet5.py").write_text(CARD.replace("not measured yet", "much"))
    first, second = results.check(page, cards)
    assert first == "results.md has a row for digits_lenet5, which is no recipe."
    assert second.startswith("imagenet_lenet5: its card has to say 'Expected: not measured yet'")


def test_which_data_is_at_hand(tmp_path):
    (tmp_path / "cifar10" / "3.0.2").mkdir(parents=True)
    (tmp_path / "mnist").mkdir()
    assert results.at_hand("digits", None)
    assert not results.at_hand("tfds:cifar10", str(tmp_path))
    (tmp_path / "cifar10" / "3.0.2" / "dataset_info.json").write_text("{}")
    assert results.at_hand("tfds:cifar10", str(tmp_path)) and results.at_hand("tfds:cifar10:3.0.2", str(tmp_path))
    assert not results.at_hand("tfds:mnist", str(tmp_path))
    assert results.at_hand(f"folder:{tmp_path}", None) and not results.at_hand(str(tmp_path / "none"), None)


def command(monkeypatch, capsys, *arguments):
    """(exit code, stdout, stderr) of the command."""
    monkeypatch.setattr(sys, "argv", ["tools.results", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        results.main()
    return end.value.code, *capsys.readouterr()


def test_check(written, monkeypatch, capsys):
    monkeypatch.setattr(results, "PAGE", written[0])
    monkeypatch.setattr(results, "CARDS", written[1])
    assert command(monkeypatch, capsys, "--check") == (0, "The cards and docs/results.md agree.\n", "")
    written[0].unlink()
    code, output, errors = command(monkeypatch, capsys, "--check")
    assert (code, errors) == (1, "") and "its card claims what results.md lacks" in output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["digits_lenet5"], "'digits_lenet5' is not a flag: flags are written --NAME=VALUE."),
        (["--seeds=0,a"], "--seeds=0,a are not numbers such as 0,1,2."),
        (["--seeds="], "--seeds names none: give one at least."),
    ],
)
def test_wrong_input(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, capsys, *arguments) == (2, "", f"error: {message}\n")


RECIPE = '''\
r"""A recipe of seconds.

Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="lenet5", data="digits", image_size=32, epochs=1, batch_size=64, learning_rate=0.05,
    train_split="train[:256]", test_split="test[:100]",
)

if __name__ == "__main__":
    main(RECIPE)
'''


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with the library as it is here, and one short recipe, where `results` works; its `git`."""
    root = tmp_path / "project"
    shutil.copytree(results.ROOT / "kerascnn", root / "kerascnn", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in {"recipes/__init__.py": "", "recipes/tiny.py": RECIPE, "docs/results.md": ""}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "docs/results.md").write_text(results.page_text({}))
    (root / ".gitignore").write_text("runs/\n__pycache__/\n")
    for name in ("author", "committer"):
        monkeypatch.setenv(f"GIT_{name.upper()}_NAME", name)
        monkeypatch.setenv(f"GIT_{name.upper()}_EMAIL", f"{name}@localhost")

    def git(*arguments):
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    monkeypatch.setattr(results, "ROOT", root)
    monkeypatch.setattr(results, "PAGE", root / "docs/results.md")
    monkeypatch.setattr(results, "CARDS", root / "recipes")
    return root, git


def test_a_commit_is_cloned_and_its_recipes_are_read(project, capsys):
    root, git = project
    checkout = root / "runs" / "checkout"
    first = results.clone(root, checkout)
    assert first == git("rev-parse", "HEAD") and capsys.readouterr().err == ""
    (recipe,) = results.recipes_of(checkout).items()
    assert recipe[0] == "tiny" and recipe[1]["learning_rate"] == 0.05
    code = results.code_of(checkout)
    assert "kerascnn/train/step.py" in code and "kerascnn/serve" not in code

    (root / "recipes/tiny.py").write_text(RECIPE.replace("0.05", "0.1"))
    assert results.clone(root, checkout) == first  # what is not committed has no part in it
    assert f"commit {first[:10]} is measured" in capsys.readouterr().err
    assert results.recipes_of(checkout) == dict([recipe])

    (root / "kerascnn/serve/card.py").write_text("# changed\n")
    git("commit", "--quiet", "--all", "--message=second")
    second = results.clone(root, checkout)
    assert second != first and results.recipes_of(checkout)["tiny"]["learning_rate"] == 0.1
    assert results.code_of(checkout) == code
    (root / "kerascnn/train/step.py").write_text("# changed\n")
    git("commit", "--quiet", "--all", "--message=third")
    results.clone(root, checkout)
    assert results.code_of(checkout) != code


def test_no_checkout_no_results(tmp_path):
    with pytest.raises(ValueError, match="git rev-parse failed"):
        results.clone(tmp_path, tmp_path / "checkout")


def test_what_cannot_be_measured_is_said_before(project, monkeypatch, capsys):
    root, _ = project
    code, _, errors = command(monkeypatch, capsys, "--recipes=tini", f"--out={root / 'runs'}")
    assert code == 2 and "has no recipe 'tini': did you mean tiny?" in errors
    (root / "recipes/tiny.py").write_text(RECIPE.replace("not measured yet", "much"))
    code, output, errors = command(monkeypatch, capsys, "--recipes=tiny", f"--out={root / 'runs'}")
    assert (code, output) == (2, "") and "error: tiny: a card has to say 'Expected: not measured yet'" in errors


@pytest.mark.slow
def test_measuring_and_measuring_again(project, data_dir, monkeypatch, capsys):
    root, git = project
    arguments = ["--seeds=0,1", f"--data_dir={data_dir}", f"--out={root / 'runs'}"]
    code, output, errors = command(monkeypatch, capsys, *arguments)
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0] == "With data at hand: tiny."
    assert re.fullmatch(r"tiny seed 0: \d+\.\d\d %, \d+ s", lines[1]) and lines[2].startswith("tiny seed 1: ")
    row = results.read_page(results.PAGE)["tiny"]
    assert row.commit == git("rev-parse", "HEAD")[:10] and row.parameters == "61,706" and row.seeds == "0 and 1"
    assert row.each == ", ".join(re.search(r"\d+\.\d\d", line)[0] for line in lines[1:])
    card = (root / "recipes/tiny.py").read_text()
    assert results.claim_of(row) in " ".join(card.split())

    models = {path: path.stat().st_mtime_ns for path in root.glob("runs/tiny/*/seed*/model.keras")}
    assert len(models) == 2
    (killed,) = root.glob("runs/tiny/*/seed1")
    (killed / "result.json").unlink()
    for path in (killed / "checkpoints").iterdir():  # so it was killed before its first checkpoint
        path.unlink()
    code, output, errors = command(monkeypatch, capsys, *arguments)
    assert code == 0 and output.splitlines()[:2] == lines[:2]
    assert [path for path, time in models.items() if path.stat().st_mtime_ns != time] == [killed / "model.keras"]
    assert results.read_page(results.PAGE)["tiny"].each == row.each

    (root / "kerascnn/train/loop.py").write_text("raise SystemExit('broken')\n")
    git("commit", "--quiet", "--all", "--message=broken")
    code, output, errors = command(monkeypatch, capsys, *arguments)
    assert code == 1 and "tiny seed 0: training ended with" in errors
    assert results.read_page(results.PAGE)["tiny"].each == row.each  # the row of the commit that was measured stays
