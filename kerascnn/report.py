"""Self-contained HTML pages with plots: one file, no scripts, nothing loaded from outside.

    tiles = report.tiles({"Test accuracy": "99.4 %"})
    chart = report.line_chart("Loss", {"test": (epochs, losses)}, x_label="Epoch", y_label="Cross-entropy")
    report.write("report.html", report.page("resnet20", "on the digits", tiles, report.section("Training", chart)))

A piece (`tiles`, `table`, `properties`, `line_chart`, `confusion_matrix`, `confused_pairs`, `hardest_classes`,
`gallery`) returns markup for `section`, and that for `page`. Any other text that is handed in is escaped.
`training_report` writes the page of one training run.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import itertools
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from markupsafe import Markup

Format = Callable[[Any], str]

# Charts are drawn in stand-in colours that become CSS variables, so one drawing serves light, dark and paper.
INK, MUTED, LINE = "#000001", "#000002", "#000003"
SERIES = ("#000011", "#000012", "#000013", "#000014", "#000015", "#000016")
DEPTHS = tuple(f"#0000{i}" for i in range(20, 31))  # from the first layer of a net to its last
TINTS = tuple(f"#0000{i}" for i in range(40, 48))  # from few to all
CSS_COLORS = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)"}
CSS_COLORS |= {color: f"var(--series-{i})" for i, color in enumerate(SERIES)}
CSS_COLORS |= {
    color: f"color-mix(in oklch, var(--series-1) {10 * i}%, var(--series-0))" for i, color in enumerate(DEPTHS)
}
CSS_COLORS |= {
    color: f"color-mix(in srgb, var(--wrong) {20 + 80 * i // (len(TINTS) - 1)}%, var(--paper))"
    for i, color in enumerate(TINTS)
}

LARGEST_MATRIX = 30  # classes; a larger picture would be unreadable
DASH = "\N{EN DASH}"  # stands for a number that is not there
SPACE = "\N{NO-BREAK SPACE}"


def number(value: float) -> str:
    """`value` for people: thousands set apart, small ones with up to three digits, a dash for NaN."""
    if math.isnan(value):
        return DASH
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def three_digits(value: float) -> str:
    """`value` with three digits even where the last ones are zeros, as losses are compared."""
    return DASH if math.isnan(value) else f"{value:#.3g}"


def percent(value: float, digits: int = 2) -> str:
    """A fraction as a percentage. Never rounded up to 100 %: a mistake in a million is a mistake."""
    if math.isnan(value):
        return DASH
    text = f"{100 * value:.{digits}f}"
    if value < 1 and text.startswith("100"):
        text = f"{100 - 10**-digits:.{digits}f}"
    return f"{text}{SPACE}%"


def rough_percent(value: float) -> str:
    """`percent` with one digit, for shares of a few images."""
    return percent(value, digits=1)


# What a row of a training history holds: {key: (heading, format)}. Only runs that average their weights have averages.
HISTORY = {
    "epoch": ("Epoch", number),
    "step": ("Step", number),
    "learning_rate": ("Learning rate", number),
    "train_loss": ("Train loss", three_digits),
    "train_accuracy": ("Train accuracy", percent),
    "test_loss": ("Test loss", three_digits),
    "test_accuracy": ("Test accuracy", percent),
    "average_loss": ("Averaged test loss", three_digits),
    "average_accuracy": ("Averaged test accuracy", percent),
    "images_per_second": ("Images/s", number),
    "seconds": ("Seconds", number),
}


def training_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    subtitle: str,
    summary: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    confusion: np.ndarray,
    class_names: Sequence[str],
    mistakes: Sequence[Mapping[str, Any]],
    recipe: Mapping[str, Any],
    lost: Mapping[str, Any] | None = None,
    watched: tuple[Sequence[str], np.ndarray] | None = None,
) -> None:
    """Writes the report of one training run.

    Args:
        path: the HTML file. It is replaced in one step: a reader sees the old page or the new one, whole.
        title, subtitle: texts.
        summary: texts and their headings, the tiles at the top, such as {"Test accuracy": "99.4 %"}.
        history: one mapping an epoch with the keys of `HISTORY`. Accuracies are fractions; NaN, or a missing key,
            stands for what was not measured.
        confusion: counts [classes, classes], true classes down and predicted ones across.
        class_names: a text for each class.
        mistakes: mappings with `image` (uint8 [height, width, 1 or 3]), `label` and `prediction` (texts), `score` (the
            probability of the prediction) and `index` (in the test split), worst first; all of them, or some.
        recipe: names and their values, or headings and such mappings.
        lost: the same, of data that could not be used; nothing is shown where there is none.
        watched: names and rows [rows, 1 + names] of the steps that were looked at, the step first, as
            `kerascnn.train.probe.read_rows` gives them.

    Raises:
        ValueError: when shapes disagree, or an image is not uint8.
        OSError: when the file cannot be written. An older one is then still there.
    """
    confusion, class_names = _checked(confusion, class_names)
    if len(class_names) <= LARGEST_MATRIX:
        confusions = [confusion_matrix(confusion, class_names), confused_pairs(confusion, class_names, limit=10)]
    else:
        confusions = [confused_pairs(confusion, class_names), hardest_classes(confusion, class_names)]
    images, wrong = int(confusion.sum()), int(confusion.sum() - np.trace(confusion))
    sections = [
        section("Training", *_curves(history), _history_table(history)),
        *([section("Inside the network", *_inside(*watched))] if watched and len(watched[1]) else []),
        section("Confusions", *confusions if wrong else confusions[:1]),
        section("Worst mistakes", *_worst(mistakes, images, wrong)),
        *([section("Data that could not be used", properties(lost))] if lost else []),
        section("Recipe", properties(recipe)),
    ]
    write(path, page(title, subtitle, tiles(summary), *sections))


def _curves(history):
    """The four charts of a training run."""
    if not history:
        return []
    column = {key: np.array([row.get(key, math.nan) for row in history], float) for key in HISTORY}
    epoch = column["epoch"]

    def chart(title, series, y_label, note, scale="linear"):
        series = {name: (epoch, column[key]) for name, key in series.items()}
        return line_chart(title, series, x_label="Epoch", y_label=y_label, note=note, scale=scale)

    def last_and_best(key, best):
        heading, show = HISTORY[key]
        values = column[key]
        measured = np.flatnonzero(np.isfinite(values))
        if not len(measured):
            return f"{heading} not measured."
        last, top = measured[-1], measured[best(values[measured])]
        text = f"{heading} {show(values[last])} after epoch {number(epoch[last])}"
        if values[top] != values[last]:
            return f"{text}; {show(values[top])} at best, after epoch {number(epoch[top])}."
        return f"{text}, the best of the run." if len(measured) > 1 else f"{text}."

    loss_note = last_and_best("test_loss", np.argmin)
    broken = epoch[~np.isfinite(column["train_loss"])]
    if len(broken):
        loss_note += f" Train loss not finite in {len(broken)} of {len(epoch)} epochs, first in {number(broken[0])}."
    losses = np.concatenate([column["train_loss"], column["test_loss"], column["average_loss"]])
    losses = losses[np.isfinite(losses)]
    decades = len(losses) > 0 and 0 < 10 * losses.min() < losses.max()
    rate, rate_note = column["learning_rate"], ""
    if np.isfinite(rate).any():
        peak = np.nanargmax(rate)
        rate_note = f"Highest in epoch {number(epoch[peak])}: {number(rate[peak])}."
    speed, speed_note = column["images_per_second"], ""
    if np.isfinite(speed).any():
        speed_note = f"{number(np.nanmedian(speed))} images/s in the median epoch."

    accuracy_note = last_and_best("test_accuracy", np.argmax)
    loss = {"test": "test_loss", "train": "train_loss"}
    accuracy = {"test": "test_accuracy", "train": "train_accuracy"}
    if np.isfinite(column["average_accuracy"]).any():
        loss["test, weights averaged"] = "average_loss"
        accuracy["test, weights averaged"] = "average_accuracy"
        accuracy_note += f" {last_and_best('average_accuracy', np.argmax)}"
    axis = "Accuracy (error on a log scale)"
    return [
        chart("Loss", loss, "Loss", loss_note, "log" if decades else "linear"),
        chart("Accuracy", accuracy, axis, accuracy_note, "accuracy"),
        chart("Learning rate", {"rate": "learning_rate"}, "Learning rate", rate_note),
        chart("Speed", {"speed": "images_per_second"}, "Training images per second", speed_note),
    ]


def _history_table(history):
    if not history:
        return "No epoch was recorded."
    keys = [key for key in HISTORY if not key.startswith("average_") or any(key in row for row in history)]
    rows = [[row.get(key, math.nan) for key in keys] for row in history]
    title = f"All {len(rows)} epochs in numbers" if len(rows) > 1 else "The epoch in numbers"
    return _macros().details(title, table(dict(HISTORY[key] for key in keys), rows))


def _inside(names, rows):
    """The charts of the steps that were looked at: each layer's update, the gradient, dead units."""
    rows = np.asarray(rows, float)
    column = dict(zip(("step", *names), rows.T, strict=True))

    def of_layers(kind):
        return {name.partition("/")[2]: values for name, values in column.items() if name.startswith(f"{kind}/")}

    shares = of_layers("dead_share")
    return [
        _update_chart(column["step"], of_layers("update_ratio")),
        _gradient_chart(column["step"], column["gradient_norm"]),
        *([_dead_chart(column["step"], shares)] if shares else []),  # a net of tanh has none
    ]


HEALTHY_UPDATE = 1e-3  # https://cs231n.github.io/neural-networks-3/


def _update_chart(step, ratios):
    """One line a layer, coloured by its depth."""
    lines = {}
    for layer, values in ratios.items():
        x, y = _averaged(step, values, 150)
        lines[layer] = x[y > 0], y[y > 0]
    lines = {layer: xy for layer, xy in lines.items() if len(xy[0])}
    if not lines:
        return "No layer's weights changed in the steps that were looked at."
    shade = [DEPTHS[round(i * (len(DEPTHS) - 1) / max(len(lines) - 1, 1))] for i in range(len(lines))]
    usual = {layer: np.median(y) for layer, (_, y) in lines.items()}
    least, most = min(usual, key=usual.get), max(usual, key=usual.get)
    note = (
        f"Near the dashed {HEALTHY_UPDATE:g} layers learn well. Median {number(np.median(list(usual.values())))}; "
        f"least in {least} ({number(usual[least])}), most in {most} ({number(usual[most])})."
    )
    svg = _draw_lines(
        list(lines.values()), shade, "Step", "Change of weights / weights", "log", "Updates", guide=HEALTHY_UPDATE
    )
    label = f"Line chart of the change of each of {len(lines)} layers' weights by step."
    ends = dict.fromkeys(((next(iter(lines)), shade[0]), (list(lines)[-1], shade[-1])))
    legend = [(layer, CSS_COLORS[color]) for layer, color in ends]
    return _macros().chart("Update ratio", note, svg, label, legend)


def _gradient_chart(step, norms, most=300):
    finite = np.isfinite(norms)
    note = f"Not finite in {np.sum(~finite)} of {len(norms)} steps." if not finite.all() else ""
    if finite.any():
        peak = np.nanargmax(np.where(finite, norms, math.nan))
        note = f"Largest in step {number(step[peak])}: {number(norms[peak])}. {note}".strip()
    if len(norms) > most:
        note += f" Each point is the mean of about {round(len(norms) / most)} steps that were looked at."
    seen = norms[finite & (norms > 0)]
    decades = len(seen) > 0 and seen.max() > 10 * seen.min()
    return line_chart(
        "Gradient norm",
        {"norm": _averaged(step, norms, most)},
        x_label="Step",
        y_label="Norm of all gradients",
        note=note,
        scale="log" if decades else "linear",
    )


def _dead_chart(step, shares):
    """One row a layer, tinted by the share of its units that are dead."""
    last = {layer: values[-1] for layer, values in shares.items()}
    alive = sum(not values.any() for values in shares.values())
    if alive == len(shares):
        return f"No dead units in the {len(shares)} layers that may have them."
    most = max(last, key=last.get)
    with_dead = sum(value > 0 for value in last.values())
    note = f"In step {number(step[-1])} in {with_dead} of {len(shares)} layers"
    note += f", most in {most}: {rough_percent(last[most])}." if with_dead else "."
    grid = [_averaged(step, values, 60) for values in shares.values()]
    svg = _draw_rows(list(shares), grid[0][0], np.array([values for _, values in grid]), "Step", "Dead units")
    label = f"Heat map of the share of dead units in {len(shares)} layers by step. {note}"
    legend = [(f"{share} %", CSS_COLORS[TINTS[_tint(share / 100)]]) for share in (1, 25, 100)]
    return _macros().chart("Dead units", note, svg, label, legend)


def _averaged(x, y, most):
    """At most `most` points: the means of neighbours, without those that are not finite."""
    xs, ys = (np.array_split(values, min(most, len(x))) for values in (x, y))
    kept = [part[np.isfinite(part)] for part in ys]
    return np.array([part.mean() for part in xs]), np.array([part.mean() if len(part) else math.nan for part in kept])


def _tint(share):
    """Which of TINTS; the root lifts the few."""
    return max(math.ceil(len(TINTS) * math.sqrt(share) - 1e-9), 1) - 1


def _worst(mistakes, images, wrong):
    if not images:
        return ["No test images."]
    if not wrong:
        return [f"No mistakes on the {images:,} test images."]
    text = f"{wrong:,} {'mistake' if wrong == 1 else 'mistakes'} on {images:,} test images"
    if not mistakes:
        return [f"{text}."]
    if len(mistakes) < wrong:
        text += f"; the {len(mistakes)} worst" if len(mistakes) > 1 else "; the worst"
    return [f"{text}:", gallery(mistakes)]


def line_chart(
    title: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_label: str,
    y_label: str,
    note: str = "",
    scale: str = "linear",
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> Markup:
    """A titled figure with one line a series.

    Args:
        title, x_label, y_label: texts.
        series: mapping of names to (x, y), two sequences of numbers. Points that are not finite are left out, and the
            line goes on to the next one. The first series is drawn on top.
        note: a text below the title that says what there is to see.
        scale: of the y axis. "linear" starts at zero, "log" is logarithmic, and "accuracy" is for fractions from 0 to
            1, which it spreads by the logarithm of the error rate so that 99.4 and 99.7 % stay apart.
        bands: (low, high) around the lines of some series, as long as these; drawn lightly in their colour.
    """
    points, around = {}, {}
    for name, xy in series.items():
        x, y = (np.asarray(values, float) for values in xy)
        seen = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (scale != "log"))
        points[name] = x[seen], y[seen]
        if bands and name in bands:
            around[len(points) - 1] = [np.asarray(values, float)[seen] for values in bands[name]]
    colors = [INK] if len(points) == 1 else [SERIES[i % len(SERIES)] for i in range(len(points))]
    show = percent if scale == "accuracy" else number
    ranges = [f"{name} from {show(y[0])} to {show(y[-1])}" for name, (_, y) in points.items() if len(y)]
    label = f"Line chart of {y_label} by {x_label}: {', '.join(ranges)}."
    lines = list(points.values())
    svg = _draw_lines(lines, colors, x_label, y_label, scale, salt=title, bands=around) if ranges else ""
    # The legend is the page's part: it wraps on a phone, and names from outside never meet matplotlib.
    legend = [
        (name, CSS_COLORS[color])
        for (name, (_, y)), color in zip(points.items(), colors, strict=True)
        if len(y) and len(points) > 1
    ]
    return _macros().chart(title, note, svg, label, legend)


def _draw_lines(lines, colors, x_label, y_label, scale, salt, guide=None, bands=None):
    bands = bands or {}
    xs, ys = (np.concatenate(values) for values in zip(*lines, strict=True))
    ys = np.concatenate([ys, *(limit for band in bands.values() for limit in band)])

    def draw(axes):
        dots = {"marker": "o", "markersize": 3.5, "markeredgewidth": 0} if max(len(x) for x, _ in lines) <= 12 else {}
        for i, ((x, y), color) in enumerate(zip(lines, colors, strict=True)):
            width = 0.8 if len(lines) > len(SERIES) else 1.1 if i else 1.6
            axes.plot(x, y, color=color, linewidth=width, zorder=9 - i / 99, clip_on=False, **dots)
        for i, band in bands.items():
            axes.fill_between(lines[i][0], *band, color=colors[i], alpha=0.15, linewidth=0, zorder=1)
        if guide is not None:
            axes.axhline(guide, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=10)
        axes.set_ylabel(y_label, color=MUTED)
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        margin = 0.01 * (xs.max() - xs.min()) or 0.5
        axes.set_xlim(xs.min() - margin, xs.max() + margin)
        fit_axis(axes, ys if guide is None else np.append(ys, guide), scale)

    return _picture(draw, x_label, 2.6, salt)


def _draw_rows(names, x, shares, x_label, salt):
    """Shares [rows, columns] as tinted cells; none where a share is 0. `x` is the middle of each column."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    edges = np.concatenate([[x[0]], (x[1:] + x[:-1]) / 2, [x[-1]]]) if len(x) > 1 else x[0] + np.array([-0.5, 0.5])
    height = min(0.15, 8 / len(names))  # inches of a row
    cells = [[] for _ in TINTS]
    for row, values in enumerate(shares):
        tints = [_tint(share) if share > 0 else -1 for share in values]
        starts = [0, *(i for i in range(1, len(tints)) if tints[i] != tints[i - 1]), len(tints)]
        for start, end in itertools.pairwise(starts):
            if tints[start] >= 0:
                left, right, top, bottom = edges[start], edges[end], row - 0.46, row + 0.46
                cells[tints[start]] += [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]

    def draw(axes):
        for corners, color in zip(cells, TINTS, strict=True):
            if corners:
                codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(corners) // 5)
                axes.add_patch(PathPatch(Path(corners, codes), facecolor=color, linewidth=0))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(len(names) - 0.5, -0.5)
        every = math.ceil(0.1 / height)  # so that names stand clear of each other
        axes.set_yticks(range(0, len(names), every), names[::every], fontsize=7)
        axes.hlines(np.arange(0, len(names) + 1, every) - 0.5, *edges[[0, -1]], color=LINE, linewidth=0.4, zorder=0)

    return _picture(draw, x_label, 0.45 + height * len(names), salt)


def _picture(draw, x_label, height, salt):
    """What a function draws into axes, `height` inches high with their labels, as an SVG element."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # A user's matplotlibrc must not restyle the page; the salt makes ids differ between charts but not between runs.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams |= {
            "svg.fonttype": "none",
            "svg.hashsalt": salt,
            "text.parse_math": False,
            "font.size": 8.5,
        }
        figure = Figure((4.4, height), layout="constrained", frameon=False)
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.02)
        axes = figure.add_subplot(frameon=False)
        draw(axes)
        axes.set_xlabel(x_label, color=MUTED)
        axes.tick_params(length=0, labelcolor=MUTED, pad=5)
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10), integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter(_tick)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _inline(file.getvalue())


def fit_axis(axes: Any, values: np.ndarray, scale: str) -> None:
    """Fits the y axis of matplotlib's `axes` around values, [n] and finite; the scales are those of `line_chart`."""
    {"linear": _linear_axis, "log": _log_axis, "accuracy": _accuracy_axis}[scale](axes, values)


def _linear_axis(axes, values):
    from matplotlib.ticker import MaxNLocator

    low, high = min(0, values.min()), max(0, values.max())
    axes.set_ylim(low, high + 0.04 * (high - low) if high > low else 1)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 2.5, 5, 10)))
    axes.yaxis.set_major_formatter(_tick)


def _log_axis(axes, values):
    axes.set_yscale("log")
    decades = range(math.floor(np.log10(values.min())), math.ceil(np.log10(values.max())) + 1)
    ticks = [float(f"{digit}e{decade}") for digit in (1, 3, 2, 5) for decade in decades]
    _frame(axes, values, np.log10, lambda position: 10**position, ticks, _tick)


def _accuracy_axis(axes, values):
    # Distances are those of log(error + resolution): 100 % has a place, and among large errors the axis is even.
    errors = 1 - values
    resolution = max(1e-4, errors[errors > 1e-9].min(initial=1))

    def position(accuracy):
        return -np.log10(np.maximum(1 - accuracy, -0.9 * resolution) + resolution)

    def accuracy(position):
        return 1 + resolution - 10**-position

    axes.set_yscale("function", functions=(position, accuracy))
    ticks = [1, 0, 0.9, 0.99, 0.999, 0.5, 0.95, 0.995, 0.8, 0.98, 0.998, 0.7, 0.6, 0.4, 0.2, 0.3, 0.1]
    ends = position(0) - 0.01, position(1) + 0.01
    _frame(axes, values, position, accuracy, ticks, lambda tick: f"{100 * tick:.6g}{SPACE}%", ends)


def _tick(value, _=None):
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{round(value, 12):,.6g}"


def _frame(axes, values, position, value, ticks, show, ends=(-math.inf, math.inf)):
    """Fits a y axis around `values`, and labels those of `ticks`, best first, that stand clear of each other on it.

    `position` and its inverse `value` turn values into positions, in decades, and back; `ends` are the farthest ones.
    """
    from matplotlib.ticker import MaxNLocator

    low, high = position(values.min()), position(values.max())
    margin = max(0.04 * (high - low), 0.05 - (high - low) / 2)  # Values that nearly agree must not fill the picture.
    low, high = max(low - margin, ends[0]), min(high + margin, ends[1])

    def clear(ticks, chosen=()):
        for tick in ticks:
            at = position(tick)
            if low <= at <= high and all(abs(at - position(other)) > (high - low) / 11 for other in chosen):
                chosen = (*chosen, tick)
        return chosen

    chosen = clear(ticks)
    if len(chosen) < 3:
        chosen = clear(MaxNLocator(5).tick_values(value(low), value(high)), chosen)
    axes.set_ylim(value(low), value(high))
    axes.set_yticks(chosen, [show(tick) for tick in chosen])
    axes.set_yticks([], minor=True)


def _inline(svg):
    """Matplotlib's SVG file as an element of a page that gives it size, font and colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<svg[^>]*(viewBox=\"[^\"]*\")[^>]*>", r'<svg \1 aria-hidden="true">', svg)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # It would style the whole page.
    svg = re.sub(r"<g id=\"[^\"]*\"", "<g", svg)  # No one refers to them, and every chart has the same.
    svg = re.sub(r" font-family: [^;\"]*;?", "", svg).replace("xlink:href", "href")
    return re.sub("|".join(CSS_COLORS), lambda color: CSS_COLORS[color[0]], svg)


def confusion_matrix(counts: np.ndarray, class_names: Sequence[str]) -> Markup:
    """The confusion matrix as a table, right answers in one colour and mistakes in another, strong enough to be seen.

    Args:
        counts: integers [classes, classes], true classes down and predicted ones across.
        class_names: a text for each class.

    Raises:
        ValueError: when the two disagree.
    """
    counts, class_names = _checked(counts, class_names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Mistakes are rare: they get a tint from the first one on, the root lifts the few, and the diagonal keeps quiet.
    # Ink stays readable on all of it.
    tints = np.where(np.eye(len(counts), dtype=bool), 40 * shares, 20 + 45 * np.sqrt(shares))
    rows = [
        {
            "name": name,
            "images": int(counts[i].sum()),
            "recall": rough_percent(shares[i, i] if counts[i].any() else math.nan),
            "cells": [(int(count), round(tint)) for count, tint in zip(counts[i], tints[i], strict=True)],
        }
        for i, name in enumerate(class_names)
    ]
    right = f"{np.trace(counts):,} of {counts.sum():,} test images right."
    note = f"{right} Stronger tint: larger share of the true class."
    return _macros().matrix("Confusion matrix", note, class_names, rows)


def confused_pairs(counts: np.ndarray, class_names: Sequence[str], limit: int = 20) -> Markup:
    """A table of the `limit` most frequent mistakes; arguments and errors as for `confusion_matrix`."""
    counts, class_names = _checked(counts, class_names)
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[: min(limit, np.count_nonzero(wrong))]
    pairs = [np.unravel_index(i, counts.shape) for i in order]
    rows = [(class_names[i], class_names[j], wrong[i, j], wrong[i, j] / counts[i].sum()) for i, j in pairs]
    columns: dict[str, Format] = {
        "True class": str,
        "Predicted": str,
        "Images": number,
        "Share of class": rough_percent,
    }
    return table(columns, rows, title="Most confused pairs")


def hardest_classes(counts: np.ndarray, class_names: Sequence[str], limit: int = 20) -> Markup:
    """A table of the `limit` classes with the smallest recall; arguments and errors as for `confusion_matrix`."""
    counts, class_names = _checked(counts, class_names)
    images = counts.sum(axis=1)
    recall = np.diag(counts) / np.maximum(images, 1)
    order = [i for i in np.argsort(recall, kind="stable") if images[i]][:limit]
    rows = [(class_names[i], counts[i, i], images[i], recall[i]) for i in order]
    columns: dict[str, Format] = {"Class": str, "Right": number, "Images": number, "Recall": rough_percent}
    return table(columns, rows, title="Hardest classes")


def _checked(counts, class_names):
    counts = np.asarray(counts)
    if counts.shape != (len(class_names), len(class_names)):
        raise ValueError(f"The confusion matrix is {list(counts.shape)}, but there are {len(class_names)} class names.")
    return counts, class_names


def gallery(mistakes: Sequence[Mapping[str, Any]]) -> Markup:
    """Images with label, prediction and score; `mistakes` and errors as in `training_report`."""
    cards = [dict(mistake, png=_data_uri(mistake["image"])) for mistake in mistakes]
    small = all(max(np.shape(mistake["image"])) < 128 for mistake in mistakes)  # then their pixels are shown as squares
    return _macros().gallery(cards, small)


def _data_uri(image, largest=256):
    """A PNG of `image` as the address of an <img>, scaled down when a side is above `largest` pixels."""
    import PIL.Image

    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(
            f"An image must be uint8 [height, width, 1 or 3]; this one is {image.dtype} {list(image.shape)}."
        )
    picture = PIL.Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    picture.thumbnail((largest, largest))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def tiles(items: Mapping[str, str]) -> Markup:
    """Headings and their texts as a row of large figures."""
    return _macros().tiles(items)


def table(columns: Mapping[str, Format], rows: Iterable[Sequence[Any]], title: str = "") -> Markup:
    """A table. `columns` maps headings to formats: `str`, or a function from numbers to text, which aligns right."""
    rows = [[show(cell) for show, cell in zip(columns.values(), row, strict=True)] for row in rows]
    return _macros().table(title, [(heading, show is not str) for heading, show in columns.items()], rows)


def properties(mapping: Mapping[str, Any]) -> Markup:
    """Names and values as tables, one for each mapping inside `mapping`; what is nested deeper has dotted names."""
    groups = {title: _flat(values) for title, values in mapping.items() if isinstance(values, Mapping)}
    plain = {name: value for name, value in mapping.items() if name not in groups}
    return _macros().properties({"": plain, **groups} if plain else groups)


def _flat(mapping, prefix=""):
    flat = {}
    for name, value in mapping.items():
        nested = isinstance(value, Mapping) and value
        flat |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def section(title: str, *pieces: Markup | str) -> Markup:
    """A headed part of a page, its pieces side by side where there is room; plain strings become paragraphs."""
    return _macros().section(title, pieces)


def page(title: str, subtitle: str, *pieces: Markup | str) -> str:
    """The whole HTML document."""
    return str(_macros().page(title, subtitle, pieces))


def write(path: str | os.PathLike[str], html: str) -> None:
    """Puts `html` at `path` in one step: when that fails (OSError), an older file is still there, whole."""
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as file:
            file.write(html.encode("utf-8", "backslashreplace"))  # Names of files need not be valid Unicode.
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


@functools.cache
def _macros():
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["rough_percent"] = rough_percent
    return environment.from_string(TEMPLATE).module


# The content security policy makes browsers hold the promise of the first line, whatever text found its way in.
TEMPLATE = """
{% macro page(title, subtitle, pieces) %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{{ title }} &middot; {{ subtitle }}</title>
<style>
:root {
  --paper: #fff; --ink: #1a1d21; --muted: #5d656e; --line: #dfe3e8; --card: #f5f7f9; --right: #2f6fde; --wrong: #e8590c;
  --series-0: #2463d1; --series-1: #d9730d; --series-2: #16825d;
  --series-3: #b5308a; --series-4: #7a5ad6; --series-5: #7b6a1d;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --ink: #e8eaed; --muted: #a0a8b1; --line: #30363d; --card: #1d2126;
    --right: #3d7df0; --wrong: #f0701f; --series-0: #74a7ff; --series-1: #f5a04c; --series-2: #4fc79a;
    --series-3: #ef86c8; --series-4: #b39cff; --series-5: #cfc05e;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 2rem 1.25rem 3rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%; }
h1, h2, h3, p, dl, dd, figure { margin: 0; overflow-wrap: break-word; min-width: 0; }
h1 { font-size: 1.75rem; line-height: 1.2; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 1rem; padding-bottom: .4rem; border-bottom: 1px solid var(--line); }
h3, caption { font-size: 1rem; font-weight: 600; text-align: left; }
p { flex-basis: 100%; }
header p, figcaption p, .tiles dt, th, .gallery dt { color: var(--muted); }
figcaption p { font-size: .875rem; }
table { border-collapse: collapse; font-size: .875rem; }
caption { padding-bottom: .4rem; }
caption::first-letter { text-transform: uppercase; }
th { font-weight: 400; text-align: left; }
th, td { padding: .3rem .6rem; vertical-align: baseline; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
tr + tr > *, tbody > tr > * { border-top: 1px solid var(--line); }
.number { text-align: right; }
td { overflow-wrap: anywhere; }
td.number { white-space: nowrap; }
.pieces { display: flex; flex-wrap: wrap; gap: 2rem 2.5rem; align-items: flex-start; }
.pieces > p:not(:last-child) { margin-bottom: -1rem; }
.pieces > .table { flex: 1 1 20rem; min-width: 0; }
.pieces > .table table { width: 100%; }
.scroll { overflow-x: auto; max-width: 100%; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin-top: 1.5rem; }
.tiles div { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
.tiles dt { font-size: .875rem; }
.tiles dd { font-size: 1.3rem; font-weight: 600; line-height: 1.25; }
.chart { flex: 1 1 24rem; max-width: 36rem; align-self: stretch; display: flex; flex-direction: column;
  justify-content: space-between; }
.chart figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; column-gap: 1rem; }
.chart svg { display: block; width: 100%; height: auto; margin-top: .5rem; overflow: visible; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: 0; padding: 0; list-style: none; font-size: .875rem; }
.legend li::before { content: ""; display: inline-block; width: 1.2em; margin-right: .4em; vertical-align: middle;
  border-top: 3px solid var(--key); }
.matrix { max-width: 100%; }
.matrix table { --cell: 2.1rem; margin-top: .75rem; font-size: .8125rem; line-height: 1; }
.matrix th, .matrix td { padding: .2rem; border: 0; vertical-align: middle; white-space: nowrap; }
.matrix tbody td { min-width: var(--cell); height: var(--cell); border: 1px solid var(--line); text-align: center; }
.matrix tbody td.number { border: 0; text-align: right; padding-left: .6rem; color: var(--muted); }
.matrix tbody th, .matrix thead th:first-child { text-align: right; padding-right: .5rem; max-width: 11rem; }
.matrix thead th { text-align: center; vertical-align: bottom; }
.matrix .tall { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; max-height: 9rem;
  margin: auto; }
.matrix th span { display: block; line-height: 1.3; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.matrix .right { background: color-mix(in srgb, var(--right) var(--tint), var(--paper)); }
.matrix .wrong { background: color-mix(in srgb, var(--wrong) var(--tint), var(--paper)); font-weight: 600; }
.matrix .many { --cell: 1.7rem; font-size: .75rem; }
@media (max-width: 30rem) {
  .matrix table { --cell: 1.5rem; font-size: .75rem; }
  .matrix tbody td { padding: 0; }
  .matrix tbody th { max-width: 6rem; }
  .matrix thead [scope="colgroup"] { text-align: left; }
}
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--card-width, 8rem), 1fr)); gap: 1rem;
  width: 100%; }
.gallery img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: .25rem;
  background: var(--card); }
.gallery .small { image-rendering: pixelated; }
.gallery dl { margin-top: .4rem; font-size: .875rem; }
.gallery dl div { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 .5rem; }
.gallery .label dd { font-weight: 600; }
.properties { columns: 2 22rem; column-gap: 2.5rem; width: 100%; }
.properties table { width: 100%; margin-bottom: 1.5rem; break-inside: avoid; }
.properties td { font-family: ui-monospace, monospace; font-size: .8125rem; }
.properties th { width: 40%; }
details { flex-basis: 100%; min-width: 0; }
summary { cursor: pointer; color: var(--muted); }
@media print {
  :root { font-size: 10px; }
  body { max-width: none; padding: 0; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  figure, tr, .tiles div { break-inside: avoid; }
  h2 { break-after: avoid; }
}
</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p>{{ subtitle }}</p>
</header>
<main>
{% for piece in pieces %}
{{ piece }}
{% endfor %}
</main>
</body>
</html>
{% endmacro %}

{% macro section(title, pieces) %}
<section>
<h2>{{ title }}</h2>
<div class="pieces">
{% for piece in pieces %}
{% if piece.__html__ is defined %}{{ piece }}{% else %}<p>{{ piece }}</p>{% endif %}

{% endfor %}
</div>
</section>
{% endmacro %}

{% macro details(title, content) %}
<details>
<summary>{{ title }}</summary>
<div class="scroll">{{ content }}</div>
</details>
{% endmacro %}

{% macro tiles(items) %}
<dl class="tiles">
{% for name, value in items.items() %}
<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
{% endfor %}
</dl>
{% endmacro %}

{% macro table(title, columns, rows) %}
<div class="table scroll">
<table>
{% if title %}<caption>{{ title }}</caption>{% endif %}

<thead><tr>
{% for heading, numeric in columns %}
<th scope="col"{% if numeric %} class="number"{% endif %}>{{ heading }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for cell in row %}<td{% if columns[loop.index0][1] %} class="number"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}

{% macro properties(groups) %}
<div class="properties">
{% for title, items in groups.items() %}
<table>
{% if title %}<caption>{{ title }}</caption>{% endif %}

<tbody>
{% for name, value in items.items() %}
<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}
</tbody>
</table>
{% endfor %}
</div>
{% endmacro %}

{% macro chart(title, note, svg, label, legend) %}
<figure class="chart">
<figcaption>
<h3>{{ title }}</h3>
{% if legend %}
<ul class="legend">
{% for name, color in legend %}
<li style="--key: {{ color }}">{{ name }}</li>
{% endfor %}
</ul>
{% endif %}
{% if note %}<p>{{ note }}</p>{% endif %}

</figcaption>
{% if svg %}<div role="img" aria-label="{{ label }}">{{ svg | safe }}</div>{% endif %}

</figure>
{% endmacro %}

{% macro matrix(title, note, names, rows) %}
<figure class="matrix">
<figcaption>
<h3>{{ title }}</h3>
<p>{{ note }}</p>
</figcaption>
<div class="scroll" tabindex="0" role="region" aria-label="{{ title }}">
<table{% if names | length > 20 %} class="many"{% endif %}>
<thead>
<tr><td></td><th scope="colgroup" colspan="{{ names | length }}">Predicted</th><td></td></tr>
<tr><th scope="col">True</th>
{% set tall = names | map("length") | max > 3 %}
{% for name in names %}
<th scope="col" title="{{ name }}"><span{% if tall %} class="tall"{% endif %}>{{ name }}</span></th>
{% endfor %}
<th scope="col" class="number">Recall</th></tr>
</thead>
<tbody>
{% for row in rows %}
{% set i = loop.index0 %}
<tr><th scope="row" title="{{ row.name }}"><span>{{ row.name }}</span></th>
{% for count, tint in row.cells %}
{% set j = loop.index0 %}
{% if count %}
<td class="{{ "right" if i == j else "wrong" }}" style="--tint: {{ tint }}%"
 title="{{ row.name }}, predicted {{ names[j] }}: {{ count }} of {{ row.images }}">{{ count }}</td>
{% else %}
<td></td>
{% endif %}
{% endfor %}
<td class="number">{{ row.recall }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</figure>
{% endmacro %}

{% macro gallery(mistakes, small) %}
<div class="gallery"{% if not small %} style="--card-width: 10rem"{% endif %}>
{% for mistake in mistakes %}
<figure>
<img src="{{ mistake.png }}"{% if small %} class="small"{% endif %}
 alt="Test image {{ mistake.index }}: {{ mistake.label }}, predicted {{ mistake.prediction }}">
<figcaption><dl>
<div class="label"><dt>Label</dt><dd>{{ mistake.label }}</dd></div>
<div><dt>Prediction</dt><dd>{{ mistake.prediction }}</dd></div>
<div><dt>Score</dt><dd>{{ mistake.score | rough_percent }}</dd></div>
<div><dt>Image</dt><dd>{{ mistake.index }}</dd></div>
</dl></figcaption>
</figure>
{% endfor %}
</div>
{% endmacro %}
"""
