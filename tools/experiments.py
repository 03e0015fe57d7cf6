"""Runs the lectures' experiments, and writes docs/experiments.md from what they left.

    python -m tools.experiments [NAME ...] [--data_dir=DIR]

Without a name all of them, one after the other; runs that are finished already are not trained again. The page is made
of each module's docstring, its figure and its table. With --check nothing is run or written, and a page that is not
current ends it with 1.
"""

import ast
import csv
import pathlib
import subprocess
import sys
import time

from absl import flags

from kerascnn import cli, console
from kerascnn.registry import close_names

ROOT = pathlib.Path(__file__).parent.parent
MODULES, FIGURES, PAGE = ROOT / "recipes/experiments", ROOT / "docs/experiments", ROOT / "docs/experiments.md"

# In the order of the lectures.
EXPERIMENTS = (
    "learning_rates",
    "batch_size",
    "optimizers",
    "schedules",
    "initialisation",
    "activations",
    "dead_relus",
    "normalisation",
    "regularisation",
    "depth",
    "loss_surface",
    "receptive_field",
    "separable",
)


def title_and_text(name: str) -> tuple[str, str]:
    """The first line of an experiment's docstring, and the rest."""
    text = ast.get_docstring(ast.parse((MODULES / f"{name}.py").read_text("utf-8"))) or name
    title, _, rest = text.partition("\n")
    return title.rstrip("."), rest.strip()


def table(name: str) -> list[str]:
    """The lines of an experiment's table, as Markdown."""
    with open(FIGURES / f"{name}.csv", newline="", encoding="utf-8") as file:
        heading, *rows = csv.reader(file)
    # Numbers stand on the right: a column whose first word everywhere begins as one does.
    numeric = [all(row[i][:1] in "-+.0123456789" for row in rows) for i in range(len(heading))]
    rule = ["--:" if right else "---" for right in numeric]
    return [f"| {' | '.join(cells)} |" for cells in (heading, rule, *rows)]


def page() -> str:
    """docs/experiments.md."""
    lines = [
        "# The lectures' experiments",
        "",
        "What courses on convolutional networks say, tried on the built-in digits: 1,437 training and 360 test images",
        "of 8x8 pixels, where one image is 0.28 % of the test accuracy. On so little data much is seen that need not",
        "hold elsewhere; the text says where it differs from the lecture. `make experiments` runs all of them and",
        "writes this page, `python -m recipes.experiments.NAME` runs one. Training is bitwise the same each time on",
        "the same CPU; times are not.",
        "",
    ]
    titles = {name: title_and_text(name)[0] for name in EXPERIMENTS}
    lines += [f"- [{title}](#{name})" for name, title in titles.items()]
    for name, title in titles.items():
        lines += ["", f'## <a name="{name}"></a>{title}', "", f"`python -m recipes.experiments.{name}`", ""]
        lines += [title_and_text(name)[1], "", f"![{title}](experiments/{name}.png)", "", *table(name)]
    return "\n".join(lines) + "\n"


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_boolean(
        "check", False, "run and write nothing; exit with 1 if the page is not current", flag_values=values
    )
    flags.DEFINE_string("data_dir", None, "where TensorFlow Datasets keeps its files", flag_values=values)
    flags.DEFINE_string("runs", "runs/experiments", "the folder for the runs", flag_values=values)
    names = console.parse_flags(values, __doc__)
    for name in names:
        if name not in EXPERIMENTS:
            console.fail(f"no experiment {name!r}: {close_names(name, EXPERIMENTS)}")
    if values.check:
        if page() != PAGE.read_text("utf-8"):
            console.fail(f"{PAGE.relative_to(ROOT)} is not current: python -m tools.experiments writes it.", code=1)
        return
    failed = []
    for i, name in enumerate(names or EXPERIMENTS, 1):
        print(f"{i}/{len(names or EXPERIMENTS)} {name}", flush=True)
        started = time.monotonic()
        command = [sys.executable, "-m", f"{cli.package('recipes')}.experiments.{name}", f"--runs={values.runs}"]
        command += [f"--out={FIGURES}", *([f"--data_dir={values.data_dir}"] if values.data_dir else [])]
        if subprocess.run(command).returncode:
            failed.append(name)
        print(f"    {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        console.fail(f"{', '.join(failed)} did not end well, see above; docs/experiments.md stays as it was.", code=1)
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
