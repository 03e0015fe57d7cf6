"""A run's folder: what it holds, and whether a command may go on with it."""

import contextlib
import csv
import dataclasses
import fcntl
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerascnn.train.recipe import Recipe, RunFlags

COLUMNS = (
    "epoch",
    "step",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "images_per_second",
    "input_wait",
    "seconds",
)
# Those of a run with an average of its weights, behind `test_accuracy`.
AVERAGE = ("average_loss", "average_accuracy")


@dataclasses.dataclass(frozen=True)
class RunDir:
    """The files of one run.

    Attributes:
      path: the folder; made when it is missing.

    Raises:
      OSError: the folder cannot be made or written.
    """

    path: Path

    def __post_init__(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OSError(
                f"cannot write the run's folder {self.path} ({error.strerror}): give another one with --model_dir"
            ) from error

    recipe = property(lambda self: self.path / "recipe.json")
    preprocessing = property(lambda self: self.path / "preprocessing.json")
    metrics = property(lambda self: self.path / "metrics.csv")
    watched = property(lambda self: self.path / "watch.csv")
    tensorboard = property(lambda self: self.path / "tensorboard")
    checkpoints = property(lambda self: self.path / "checkpoints")
    model = property(lambda self: self.path / "model.keras")
    report = property(lambda self: self.path / "report.html")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """While in this context, no other process may train in the folder; a process that dies lets go of it.

        Raises:
          ValueError: another process does.
        """
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another process trains in {self.path}: wait, or give another --model_dir.") from None
            yield

    def check(self, recipe: Recipe) -> None:
        """Passes if the folder is empty or holds a run of the same recipe; `epochs` alone may have grown.

        Raises:
          ValueError: the folder holds a run of another recipe; the message names the fields.
        """
        if not self.recipe.exists():
            return
        try:
            before = dict(json.loads(self.recipe.read_text(encoding="utf-8"))["recipe"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.recipe} does not hold a recipe ({error!r}): give another --model_dir.") from error
        now = dataclasses.asdict(recipe)
        if now.keys() != before.keys():
            fields = ", ".join(sorted(now.keys() ^ before.keys()))
            raise ValueError(
                f"{self.path} holds a run of another version of kerascnn, whose recipes differ in {fields}. It can be "
                "evaluated and exported, but not gone on with: give another --model_dir."
            )
        changed = sorted(key for key in now if now.get(key) != before.get(key))
        if "epochs" in changed and recipe.epochs > before["epochs"]:
            changed.remove("epochs")
        if changed:
            differences = ", ".join(f"{key}={before.get(key)!r}, not {now.get(key)!r}" for key in changed)
            raise ValueError(
                f"{self.path} holds a run with {differences}. Go on with its own values (epochs may grow), "
                "or give another --model_dir."
            )

    def write_recipe(self, recipe: Recipe, flags: RunFlags) -> dict[str, Any]:
        """Writes `recipe.json` and returns what is in it: the recipe, the run's flags, versions and the commit."""
        run = {key: value for key, value in vars(flags).items() if key != "model_dir"}
        record = {"recipe": dataclasses.asdict(recipe), "run": run, **provenance()}
        write_text(self.recipe, json.dumps(record, indent=2, default=os.fspath))
        return record

    def read_metrics(self, up_to_epoch: int) -> list[dict[str, float]]:
        """The rows of `metrics.csv` for the epochs that a checkpoint holds, oldest first.

        Raises:
          ValueError: the file is something else.
        """
        if not self.metrics.exists():
            return []
        with open(self.metrics, newline="", encoding="utf-8") as file:
            try:
                reader = csv.DictReader(file)
                columns = _columns(reader.fieldnames or ())
                rows = [{key: float(row[key]) for key in columns} for row in reader]
            except (KeyError, TypeError, ValueError, csv.Error) as error:
                raise ValueError(
                    f"{self.metrics} is not what a run writes ({error!r}): mend it, or delete it and lose the curves."
                ) from error
        return [row for row in rows if row["epoch"] <= up_to_epoch]

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """Writes `metrics.csv` anew, whole or not at all."""
        columns = _columns(rows[0])
        lines = [",".join(columns), *(",".join(f"{row[key]:.7g}" for key in columns) for row in rows)]
        write_text(self.metrics, "\n".join(lines) + "\n")


def _columns(names):
    place = COLUMNS.index("test_accuracy") + 1
    return (*COLUMNS[:place], *(name for name in AVERAGE if name in names), *COLUMNS[place:])


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def provenance() -> dict[str, Any]:
    """The command, the versions and, in a checkout, the commit that a run is made with."""
    packages = ("kerascnn", "tensorflow", "keras", "tensorflow-datasets", "numpy")
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
            versions[package] = "not installed"
    return {"versions": versions, "commit": _commit(), "command": shlex.join(sys.argv)}


def _commit() -> str | None:
    """The checkout's commit, with `+changes` if files differ from it; None if this package is not a checkout's."""

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", os.path.dirname(__file__), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # not merely installed below somebody's repository
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
