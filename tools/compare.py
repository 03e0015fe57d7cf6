"""Compares finished runs: a table, a figure, and what their recipes differ in.

kerascnn compare RUN_DIR...                       as in kerascnn compare runs/*
kerascnn compare RUN_DIR... --plot=runs.png       draws the test accuracy as well
kerascnn compare RUN_DIR... --html=runs.html      the table and the figure as a page
kerascnn compare RUN_DIR... --csv=runs.csv        the numbers of each run

Runs that differ in their seed alone are one row: the mean over the seeds, and behind ± their standard deviation. The
accuracy and the loss are those of the model that each run kept, on its test split: of the average of the weights where
there is one. "At best" is the best epoch of each run, which only its test images told; multiply-accumulates are for
one image. Folders that hold no finished run are told and left out; the command then ends with 1.
"""

import csv
import dataclasses
import io
import itertools
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from kerascnn import console, report
from kerascnn.train.run_dir import Finished, read_finished, write_text

from .list import short

FORMATS = ("png", "svg", "pdf")
RUN_FIELDS = ("precision", "xla")  # the run flags that move a result, beside the seed
ORIGIN = ("commit", "versions", "hardware")
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
LETTERS = 150  # of the legend that fit beside each other
DASHES = ("-", (0, (5, 2)), (0, (1, 1)), (0, (6, 1, 1, 1)))


@dataclasses.dataclass
class Group:
    """Runs that differ in their seed alone, in the order of their seeds.

    Attributes:
      fields: of the recipe, the run flags that move a result, and what had to be told apart of where they come from.
      label: tells the group from the others in as few of the differing fields as do so.
      differing: the other fields that are not the same in all groups.
    """

    runs: list[Finished]
    fields: dict[str, Any]
    label: str = ""
    differing: dict[str, Any] = dataclasses.field(default_factory=dict)


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("plot", None, "where to draw the test accuracy, such as runs.png", flag_values=values)
    flags.DEFINE_string("html", None, "where to write a page, such as runs.html", flag_values=values)
    flags.DEFINE_string("csv", None, "where to write the numbers of each run, such as runs.csv", flag_values=values)
    paths = console.parse_flags(values, __doc__)
    if not paths:
        console.fail("give the folders of runs, as in kerascnn compare runs/*")
    if values.plot is not None and values.plot.rpartition(".")[2].lower() not in FORMATS:
        console.fail(f"--plot={values.plot}: the file's name must end in {', '.join(f'.{end}' for end in FORMATS)}.")
    runs, wrong = read(paths)
    for message in wrong:
        console.note(message)
    if not runs:
        console.fail("no finished run is left to compare.")
    groups, remarks = grouped(runs)
    print(table(groups))
    for remark in remarks:
        console.note(remark)
    writers: dict[str, Callable[[list[Group], str], None]] = {"plot": plot, "html": write_page, "csv": write_csv}
    for flag, write in writers.items():
        if (path := values[flag].value) is not None:
            try:
                write(groups, path)
            except OSError as error:
                console.fail(f"--{flag}={path}: {error.strerror or error}.")
            print(f"Wrote {path}")
    sys.exit(1 if wrong else 0)


def read(paths: Iterable[str]) -> tuple[list[Finished], list[str]]:
    """The runs in these folders, each once, and what is wrong with the others."""
    runs, wrong = [], []
    for path in dict.fromkeys(Path(path).resolve() for path in paths):
        try:
            runs.append(read_finished(path))
        except (ValueError, OSError) as error:
            wrong.append(f"left out: {error}")
    return runs, wrong


def grouped(runs: Sequence[Finished]) -> tuple[list[Group], list[str]]:
    """Groups in the order of their first runs, and remarks on what is not as it should be.

    Runs of one recipe that repeat a seed are of several commits, versions or machines, and are told apart by these. A
    run that repeats a seed in all of them adds nothing: it is left out.
    """
    groups, remarks = [], []
    for group in _split(runs, lambda run: run.recipe | {name: run.run.get(name) for name in RUN_FIELDS}):
        if _repeated(group.runs):
            parts = _split(group.runs, lambda run: {name: run.origin.get(name) for name in ORIGIN})
            groups += [Group(part.runs, group.fields | part.fields) for part in parts]
        else:
            groups.append(group)
    for group in groups:
        for run in _repeated(group.runs):
            group.runs.remove(run)
            remarks.append(f"left out: {run.path} repeats seed {run.seed} of the same recipe.")
        group.runs.sort(key=lambda run: run.seed)
    _label(groups)
    for group in groups:
        for name in ORIGIN:
            if len({_key(run.origin.get(name)) for run in group.runs}) > 1:
                remarks.append(f"{group.label}: its runs differ in their {name}.")
    return groups, remarks


def _split(runs, fields_of):
    found = {}
    for run in runs:
        fields = fields_of(run)
        found.setdefault(_key(fields), Group([], fields)).runs.append(run)
    return list(found.values())


def _repeated(runs):
    """The runs whose seed an earlier one has."""
    seeds, repeated = set(), []
    for run in runs:
        if run.seed in seeds:
            repeated.append(run)
        seeds.add(run.seed)
    return repeated


def _key(value):
    """A text that is the same for equal values of JSON: a flag has 3.0 where a recipe's file has 3."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_key(value[name])}" for name in sorted(value)) + "}"
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


def _label(groups):
    """Finds the labels: the model where it differs, and the fewest fields, the recipe's first, that tell all apart."""
    names = list(dict.fromkeys(name for group in groups for name in group.fields))
    differing = [name for name in names if len({_key(group.fields.get(name)) for group in groups}) > 1]
    always = [name for name in differing if name == "model"]
    others = [name for name in differing if name != "model"]
    few = itertools.chain.from_iterable(itertools.combinations(others, count) for count in range(4))
    texts = [{name: _text(group.fields.get(name)) for name in differing} for group in groups]
    tell = (
        [*always, *some]
        for some in few
        if len({tuple(text[name] for name in (*always, *some)) for text in texts}) == len(groups)
    )
    chosen = next(tell, differing)
    for group in groups:
        group.label = ", ".join(_named(name, group.fields.get(name)) for name in chosen) or group.fields["model"]
        group.differing = {name: group.fields.get(name) for name in differing if name not in chosen}


def _named(name, value):
    return _text(value) if name == "model" else f"{name}={_text(value)}"


def _text(value):
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {_text(item)}" for key, item in value.items() if item != []) + ")"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value in ("", None) else str(value)


def numbers(run: Finished) -> dict[str, float]:
    """What the table has of one run."""
    curve = _curve(run)
    return {name: run.result[name] for name in ("accuracy", "loss", "seconds", "parameters", "macs")} | {
        "best_accuracy": max(curve[1])
    }


def _curve(run):
    """Its epochs, the test accuracy after each, and the seconds until then."""
    key = "average_accuracy" if "average_accuracy" in run.history[0] else "test_accuracy"
    return [[row[column] for row in run.history] for column in ("epoch", key, "seconds")]


def _percent(values):
    return _spread([100 * value for value in values], "{:.2f}", "{:.2f}", " %")


def _spread(values, mean, deviation, unit=""):
    """The mean of numbers, and behind ± their standard deviation where there are several."""
    text = mean.format(statistics.fmean(values))
    if len(values) > 1:
        text += " ± " + deviation.format(statistics.stdev(values))
    return text + unit


# {heading: (what of a run, its text over the runs of a group)}
COLUMNS: dict[str, tuple[str, Callable[[list[float]], str]]] = {
    "test accuracy": ("accuracy", _percent),
    "at best": ("best_accuracy", _percent),
    "test loss": ("loss", lambda values: _spread(values, "{:.4f}", "{:.4f}")),
    "time": ("seconds", lambda values: _spread(values, "{:,.0f}", "{:,.0f}", " s")),
    "parameters": ("parameters", lambda values: short(statistics.fmean(values))),
    "macs": ("macs", lambda values: short(statistics.fmean(values))),
}


def rows(groups: Iterable[Group]) -> list[list[str]]:
    """The rows of the table: the label, the number of seeds, and COLUMNS."""
    found = []
    for group in groups:
        of_runs = [numbers(run) for run in group.runs]
        texts = [show([one[name] for one in of_runs]) for name, show in COLUMNS.values()]
        found.append([group.label, str(len(group.runs)), *texts])
    return found


def table(groups: Sequence[Group]) -> str:
    """The table as text, and below it what else the recipes differ in."""
    cells = [["", "seeds", *COLUMNS], *rows(groups)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells]
    if any(group.differing for group in groups):
        lines += ["", "What else differs:"]
        for group in groups:
            fields = ", ".join(f"{name}={_text(value)}" for name, value in group.differing.items())
            lines.append(f"{group.label:{widths[0]}}  {fields}")
    return "\n".join(lines)


def curves(group: Group) -> dict[str, list[float]]:
    """Over the seeds of a group: `epoch`, `seconds` (the mean), `mean`, `low` and `high` of the test accuracy.

    Each has a number for each of the epochs that all of its runs have.
    """
    of_runs = [_curve(run) for run in group.runs]
    length = min(len(curve[0]) for curve in of_runs)
    epochs, accuracies, seconds = (np.array([curve[i][:length] for curve in of_runs]) for i in range(3))
    found = {
        "epoch": epochs[0],
        "seconds": seconds.mean(0),
        "mean": accuracies.mean(0),
        "low": accuracies.min(0),
        "high": accuracies.max(0),
    }
    return {name: values.tolist() for name, values in found.items()}


AXES = {"epoch": "Epoch", "seconds": "Seconds of training and evaluation"}


def _note(groups):
    several = any(len(group.runs) > 1 for group in groups)
    return "The mean over the seeds; the band is from the lowest to the highest." if several else ""


def plot(groups: Sequence[Group], path: str) -> None:
    """Draws the test accuracy of each group over epochs and over time."""
    import matplotlib
    from matplotlib.figure import Figure

    found = [curves(group) for group in groups]
    shown = np.concatenate([values for curve in found for values in (curve["low"], curve["high"])])
    with matplotlib.rc_context({"font.size": 9, "svg.fonttype": "none", "text.parse_math": False}):
        seeds = [f" ({len(group.runs)} seeds)" if len(group.runs) > 1 else "" for group in groups]
        labels = [group.label + text for group, text in zip(groups, seeds, strict=True)]
        columns = max(1, min(4, LETTERS // (8 + max(map(len, labels)))))
        height = 4.2 + 0.2 * math.ceil(len(labels) / columns)
        figure = Figure((11, height), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for panel, (axis, x_label) in zip(panels, AXES.items(), strict=True):
            for i, (group, curve) in enumerate(zip(groups, found, strict=True)):
                style = {"color": COLORS[i % len(COLORS)], "linestyle": DASHES[i // len(COLORS) % len(DASHES)]}
                panel.plot(curve[axis], curve["mean"], linewidth=1.3, **style)
                if len(group.runs) > 1:
                    panel.fill_between(
                        curve[axis], curve["low"], curve["high"], color=style["color"], alpha=0.2, linewidth=0
                    )
            panel.set_xlabel(x_label)
            panel.grid(axis="y", color="#dddddd", linewidth=0.6)
            panel.spines[["top", "right"]].set_visible(False)
        report.fit_axis(panels[0], shown, "accuracy")
        panels[0].set_ylabel("Test accuracy (error on a log scale)")
        figure.suptitle("Test accuracy of the runs", x=0.01, ha="left", fontsize=12)
        if note := _note(groups):
            panels[0].set_title(note, loc="left", fontsize=9)
        figure.legend(panels[0].lines, labels, loc="outside lower left", ncols=columns, frameon=False)
        figure.savefig(path, dpi=150)


def write_page(groups: Sequence[Group], path: str) -> None:
    """Writes the table and the figure as a page that needs no network."""
    best = sorted(groups, key=lambda group: -statistics.fmean(numbers(run)["accuracy"] for run in group.runs))
    drawn = [group for group in groups if group in best[: len(report.SERIES)]]
    note = _note(drawn) + f" The best {len(drawn)} of {len(groups)}." * (len(drawn) < len(groups))
    found = {group.label: curves(group) for group in drawn}
    bands = {label: (curve["low"], curve["high"]) for label, curve in found.items()}
    charts = [
        report.line_chart(
            f"Test accuracy over {what}",
            {label: (curve[axis], curve["mean"]) for label, curve in found.items()},
            x_label=AXES[axis],
            y_label="Accuracy (error on a log scale)",
            note=note,
            scale="accuracy",
            bands={group.label: bands[group.label] for group in drawn if len(group.runs) > 1},
        )
        for axis, what in (("epoch", "epochs"), ("seconds", "time"))
    ]
    texts: dict[str, report.Format] = {"Runs": str, "Seeds": _as_it_is}
    texts |= {heading.capitalize(): _as_it_is for heading in COLUMNS}
    pieces = [report.section("Results", report.table(texts, rows(groups))), report.section("Curves", *charts)]
    names = list(groups[0].differing)
    if names:
        fields = [[group.label, *(_text(group.differing[name]) for name in names)] for group in groups]
        pieces.append(report.section("What else differs", report.table(dict.fromkeys(["Runs", *names], str), fields)))
    folders = [[group.label, str(run.seed), str(run.path)] for group in groups for run in group.runs]
    pieces.append(report.section("Runs", report.table({"Runs": str, "Seed": _as_it_is, "Folder": str}, folders)))
    runs = sum(len(group.runs) for group in groups)
    report.write(path, report.page("Runs compared", f"{runs} runs of {len(groups)} recipes", *pieces))


def _as_it_is(text):
    """A format of numbers, which align right, that are texts already."""
    return text


def write_csv(groups: Sequence[Group], path: str) -> None:
    """Writes a row for each run: its group, its numbers, the fields that differ, and where it comes from."""
    lines = []
    for group in groups:
        for run in group.runs:
            differing = {name: _text(value) for name, value in group.differing.items() if name not in ORIGIN}
            first = {"group": group.label, "seed": run.seed, **numbers(run)}
            lines.append(first | differing | {"commit": run.origin.get("commit"), "folder": str(run.path)})
    file = io.StringIO()
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(Path(path), file.getvalue())


if __name__ == "__main__":
    main()
