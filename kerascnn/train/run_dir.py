"""A run's folder: what it holds, and whether a command may go on with it."""

import contextlib
import csv
import dataclasses
import datetime
import fcntl
import importlib.metadata
import json
import math
import os
import platform
import re
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
    result = property(lambda self: self.path / "result.json")

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
        """Writes `recipe.json` and returns what is in it: the recipe, the run's flags, and where it all comes from.

        What a shorter run has left as its result is none of this one's, and is deleted.
        """
        self.result.unlink(missing_ok=True)
        run = {key: value for key, value in vars(flags).items() if key != "model_dir"}
        record = {"recipe": dataclasses.asdict(recipe), "run": run, **provenance()}
        write_text(self.recipe, json.dumps(record, indent=2, default=os.fspath))
        return record

    def read_metrics(self, up_to_epoch: int) -> list[dict[str, float]]:
        """The rows of `metrics.csv` for the epochs that a checkpoint holds, oldest first.

        Raises:
          ValueError: the file is something else.
        """
        return [row for row in _read_metrics(self.metrics) if row["epoch"] <= up_to_epoch]

    def write_result(self, row: dict[str, float], *, seconds: float, parameters: int, macs: int) -> None:
        """Writes `result.json`, which a run has when it is finished.

        Args:
          row: that of `metrics.csv` for the model that was kept.
          seconds: of the whole run.
          parameters: of this model.
          macs: its multiply-accumulates for one image.
        """
        kept = "average" if "average_accuracy" in row else "test"
        result = {
            "epoch": int(row["epoch"]),
            "accuracy": row[f"{kept}_accuracy"],
            "loss": row[f"{kept}_loss"],
            "seconds": seconds,
            "parameters": parameters,
            "macs": macs,
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_text(self.result, json.dumps(result, indent=2))

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """Writes `metrics.csv` anew, whole or not at all."""
        columns = _columns(rows[0])
        lines = [",".join(columns), *(",".join(f"{row[key]:.7g}" for key in columns) for row in rows)]
        write_text(self.metrics, "\n".join(lines) + "\n")


@dataclasses.dataclass(frozen=True)
class Finished:
    """What the folder of a finished run says.

    Attributes:
      path: the folder.
      recipe, run: the fields of its Recipe and of its RunFlags.
      origin: its versions, hardware, commit and command, as `provenance` has them.
      history: a row for each epoch, as in `metrics.csv`.
      result: what `RunDir.write_result` writes.
    """

    path: Path
    recipe: dict[str, Any]
    run: dict[str, Any]
    origin: dict[str, Any]
    history: list[dict[str, float]]
    result: dict[str, Any]

    @property
    def seed(self) -> int:
        return self.run["seed"]


def read_finished(path: Path) -> Finished:
    """Reads the folder of a finished run, and changes nothing there.

    Raises:
      ValueError: there is no run, or none that is finished; the message says what there is, and what to do.
      OSError: a file cannot be read.
    """
    files = {name: path / f"{name}.json" for name in ("recipe", "result")}
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder.")
    if not files["recipe"].exists():
        raise ValueError(f"{path} holds no run: it has no recipe.json.")
    record = _read_object(files["recipe"], {"recipe": dict, "run": dict, "versions": dict, "command": str})
    history = _read_metrics(path / "metrics.csv")
    if not files["result"].exists():
        raise ValueError(f"{path} is not finished: {_progress(history, record)}")
    numbers = dict.fromkeys(("accuracy", "loss", "seconds", "parameters", "macs"), (int, float))
    result = _read_object(files["result"], {"epoch": int, "finished": str, **numbers})
    if not history:
        raise ValueError(f"{path} has lost its metrics.csv.")
    if not isinstance(record["run"].get("seed"), int):
        raise ValueError(f"{files['recipe']} does not say the run's seed.")
    recipe, run = record.pop("recipe"), record.pop("run")
    return Finished(path, recipe, run, record, history, result)


def _progress(history, record):
    again = f"The command that began it goes on with it: {record['command']}"
    if not history:
        return f"it has not done an epoch. {again}"
    last = history[-1]
    done = f"it has done {last['epoch']:.0f} of {record['recipe'].get('epochs')} epochs"
    if last["epoch"] == record["recipe"].get("epochs"):
        return f"{done}, but an older version of kerascnn made it, or it was stopped at its end. {again}"
    if not math.isfinite(last["train_loss"]):
        return f"{done}, and its loss is no longer a number."
    return f"{done}; it is under way, was stopped, or has diverged. {again}"


def _read_object(path, wanted):
    """A JSON object that has these keys, with values of these types."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}).") from error
    for key, kind in wanted.items():
        if not isinstance(found, dict) or not isinstance(found.get(key), kind):
            raise ValueError(f"{path} is not what this version of kerascnn writes: it lacks {key!r}.")
    return found


def _read_metrics(path):
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        try:
            reader = csv.DictReader(file)
            columns = _columns(reader.fieldnames or ())
            return [{key: float(row[key]) for key in columns} for row in reader]
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(
                f"{path} is not what a run writes ({error!r}): mend it, or delete it and lose the curves."
            ) from error


def _columns(names):
    place = COLUMNS.index("test_accuracy") + 1
    return (*COLUMNS[:place], *(name for name in AVERAGE if name in names), *COLUMNS[place:])


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def provenance() -> dict[str, Any]:
    """The command, the versions, the hardware and, in a checkout, the commit that a run is made with."""
    packages = ("kerascnn", "tensorflow", "keras", "tensorflow-datasets", "numpy")
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
            versions[package] = "not installed"
    return {"versions": versions, "hardware": hardware(), "commit": _commit(), "command": shlex.join(sys.argv)}


def hardware() -> dict[str, Any]:
    """The processor's name, the cores that this process may use, and the names of the GPUs that TensorFlow sees."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # macOS lacks it
    gpus = []
    if tensorflow := sys.modules.get("tensorflow"):  # as wherever something trains; to load it here would take seconds
        devices = tensorflow.config.list_physical_devices("GPU")
        details = [tensorflow.config.experimental.get_device_details(device) for device in devices]
        gpus = [one.get("device_name", "GPU") for one in details]
    return {"cpu": _cpu(), "cores": cores, "gpus": gpus}


def _cpu():
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)  # ARM's kernels do not say it
    return found[1].strip() if found else platform.processor() or platform.machine()


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
