"""What every experiment does alike: it trains recipes, and leaves a figure and a table.

    def experiment(lab: Lab) -> None:
        runs = lab.train({"plain20": PLAIN, "resnet20": RESIDUAL}, seeds=(0, 1))
        ...
        lab.save(figure, rows)

    if __name__ == "__main__":
        main(experiment)

The module's docstring is the text beside the figure: a title, the question, `Lecture:` what the lectures say, and
`Seen:` what came out here. `make experiments` runs all of them and writes docs/experiments.md.
"""

import contextlib
import csv
import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from matplotlib.figure import Figure
from tqdm import tqdm

from kerascnn import console
from kerascnn.train import Recipe
from kerascnn.train.recipe import Diverged

# Of lines and bars, in their order: they differ in lightness too, for those who see colours alike (Okabe and Ito).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999")


@dataclasses.dataclass(frozen=True)
class Trained:
    """One run that is done.

    Attributes:
      folder: with all that a run leaves; `model.keras` among it, unless it diverged.
      history: a row for each epoch, as in `metrics.csv`; empty where it diverged in the first.
      parameters: of the model.
      diverged: whether its loss was no number any more, or stayed high.
    """

    folder: Path
    history: list[dict[str, float]]
    parameters: int
    diverged: bool

    def last(self, column: str) -> float:
        """What stands in the last row; NaN where the run diverged."""
        return math.nan if self.diverged else self.history[-1][column]

    def model(self) -> Any:
        """The trained Keras model."""
        from kerascnn.models import load_model

        return load_model(self.folder / "model.keras")


@dataclasses.dataclass(frozen=True)
class Lab:
    """Where an experiment works.

    Attributes:
      name: of the experiment, its module's.
      data_dir: where TensorFlow Datasets keeps its files; None for its own place.
      runs: the folder that receives the runs; finished ones are not trained again.
      out: the folder that receives `NAME.png` and `NAME.csv`.
      smoke: whether this is only to see that everything runs: two steps each, and experiments without training should
        do as little.
    """

    name: str
    data_dir: str | None
    runs: Path
    out: Path
    smoke: bool

    def train(
        self, recipes: Mapping[str, Recipe], seeds: Sequence[int] = (0,), **run_flags: Any
    ) -> dict[str, list[Trained]]:
        """Trains each recipe with each seed, one after the other; a line on a terminal shows how far it is.

        Args:
          recipes: by a name that is fit for a folder.
          seeds: in a smoke run the first alone.
          run_flags: as `kerascnn.train.run` takes them.

        Returns:
          For each name its runs, in the order of the seeds.
        """
        if self.smoke:
            recipes, seeds = {name: recipe.smoke() for name, recipe in recipes.items()}, seeds[:1]
        wanted = [(name, seed) for name in recipes for seed in seeds]
        found: dict[str, list[Trained]] = {name: [] for name in recipes}
        with tqdm(wanted, unit=" runs", leave=False, disable=None) as bar:
            for name, seed in bar:
                bar.set_description(f"{self.name}: {name}")
                folder = self.runs / self.name / f"{name}-{seed}"
                found[name].append(
                    _train(folder, recipes[name], {**run_flags, "seed": seed, "data_dir": self.data_dir})
                )
        return found

    def save(self, figure: Figure, rows: Sequence[Mapping[str, object]]) -> None:
        """Writes the figure, and a table whose columns are the keys of its rows; numbers as they are to be read."""
        self.out.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.out / f"{self.name}.png", dpi=100)
        with open(self.out / f"{self.name}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{self.name}: {self.out / self.name}.png, {self.name}.csv")


def _train(folder, recipe, run_flags):
    record, wanted = folder / "trained.json", {"recipe": dataclasses.asdict(recipe), "seed": run_flags["seed"]}
    if record.exists():
        kept = json.loads(record.read_text("utf-8"))
        if all(kept[key] == value for key, value in wanted.items()):
            return Trained(folder, kept["history"], kept["parameters"], kept["diverged"])
        console.fail(f"{folder} holds a run of another recipe: delete it, or give another --runs.")
    from kerascnn.models import create_model
    from kerascnn.train import run
    from kerascnn.train.run_dir import RunDir

    folder.mkdir(parents=True, exist_ok=True)
    # What a run prints goes into a file: many of them would hide how far the experiment is.
    with open(folder / "log.txt", "a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        try:
            result = run(recipe, model_dir=folder, **run_flags)
            history, diverged, parameters = result.history, False, result.model.count_params()
        except Diverged as error:
            print(error)
            history, diverged = RunDir(folder).read_metrics(recipe.epochs), True
            parameters = create_model(recipe.model, **recipe.overrides()).count_params()
    kept = {**wanted, "history": history, "parameters": parameters, "diverged": diverged}
    record.write_text(json.dumps(kept), encoding="utf-8")
    return Trained(folder, history, parameters, diverged)


def main(experiment: Callable[[Lab], None]) -> None:
    """Runs an experiment from the command line."""
    module = sys.modules["__main__"]
    values = flags.FlagValues()
    flags.DEFINE_string("data_dir", None, "where TensorFlow Datasets keeps its files", flag_values=values)
    flags.DEFINE_string("runs", "runs/experiments", "the folder for the runs", flag_values=values)
    flags.DEFINE_string("out", "docs/experiments", "the folder for the figure and the table", flag_values=values)
    flags.DEFINE_boolean("smoke", False, "two steps of each run, into a new folder: does it run?", flag_values=values)
    if rest := console.parse_flags(values, module.__doc__ or "", None):
        console.fail(f"{rest[0]!r} is not a flag: flags are written --NAME=VALUE.")
    runs, out = Path(values.runs), Path(values.out)
    if values.smoke:
        runs = out = Path(tempfile.mkdtemp(prefix="experiment-smoke-"))
    name = module.__spec__.name.rpartition(".")[2] if module.__spec__ else Path(str(module.__file__)).stem
    with console.quiet_start():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # it warns of functions that are compiled again, which each run's are
    experiment(Lab(name, values.data_dir, runs, out, values.smoke))
