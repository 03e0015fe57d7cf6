"""What there is to know of a model: its paper, its size and work, what its stages give and see, published weights.

kerascnn info NAME            as in kerascnn info resnet50
kerascnn info NAME --FIELD=VALUE    the same with other fields, as in --input_shape=64,64,3 --norm=group
kerascnn info --plot=FILE     all models, parameters against multiply-accumulates, as .png, .svg or .pdf
kerascnn info NAME --help     the fields of a model
"""

import ast
import contextlib
import dataclasses
import inspect
import itertools
import math
import re
import sys
import typing

from absl import flags

from kerascnn import console, registry

from .list import accuracy, short, side

FORMATS = ("png", "svg", "pdf")


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("plot", None, "where to draw all models, such as models.png", flag_values=values)
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if words:
        with console.quiet_start():
            import kerascnn.models  # noqa: F401
        known = next((word for word in words if registry.our_name(word) in registry.list_models()), words[0])
        try:
            variant = registry.lookup(known)
        except ValueError as error:
            console.fail(error)
        define_fields(values, variant)
    names = console.parse_flags(values, __doc__)
    if values.plot is not None and not names:
        plot(values.plot)
    elif len(names) != 1 or values.plot is not None:
        console.fail("give the name of one model (kerascnn list shows them), or --plot=FILE for all.")
    else:
        try:
            tell(variant, given_fields(values, variant))
        except ValueError as error:
            console.fail(error)


def define_fields(values, variant) -> None:
    """A flag for each field of the model. Each takes text, which the field itself checks."""
    hints = typing.get_type_hints(type(variant.spec))
    for field in dataclasses.fields(variant.spec):
        default, hint = getattr(variant.spec, field.name), inspect.formatannotation(hints[field.name])
        text = f"{hint.replace('typing.', '')}; {default!r} unless given"
        if isinstance(default, bool):
            flags.DEFINE_boolean(field.name, None, text, flag_values=values)
        else:
            flags.DEFINE_string(field.name, None, text, flag_values=values)


def given_fields(values, variant):
    """{field: value} of those that were given."""
    found = {}
    for field in dataclasses.fields(variant.spec):
        value = values[field.name].value
        if isinstance(value, str):
            with contextlib.suppress(SyntaxError, ValueError):  # for a word, such as group
                value = ast.literal_eval(value)
        if values[field.name].present:
            found[field.name] = value
    return found


def tell(variant, fields) -> None:
    """Builds the model and prints what is known of it. A ValueError where it cannot be built."""
    import kerascnn
    from kerascnn.weights import catalog

    spec = registry.override(variant, fields)
    quick = {"pooling": spec.pooling, "initializer": "zeros"}
    cost = kerascnn.complexity(kerascnn.create_model(variant.name, **quick | fields))
    changed = ", ".join(f"{name}={value}" for name, value in registry.differences(variant, spec).items())
    rows = {
        "model": f"{variant.name} with {changed}" if changed else variant.name,
        "also called": ", ".join(variant.aliases),
        "family": variant.family,
        "paper": variant.paper,
        "input": "x".join(map(str, spec.input_shape)),
        "classes": spec.num_classes,
        "parameters": f"{cost.params:,} ({cost.trainable_params:,} trainable)",
        "multiply-accumulates": f"{cost.macs:,} for one image",
        "peak activations": f"{cost.peak_memory:,} bytes for one image in float32",
    }
    for name, value in rows.items():
        if value != "":
            print(f"{name:22}{value}")
    print()
    table(["stage", "output", "parameters", "macs", "sees", "stride"], list(parts(cost.layers)))
    if weights := list(map(described, catalog.known(variant.name))):
        print()
        table(["weights", "size", "classes", "top-1", "licence"], weights)


def described(checkpoint):
    """The row of published weights."""
    top1 = accuracy(checkpoint.top1, checkpoint.top1_size)
    size, classes = side(checkpoint.image_size), str(checkpoint.num_classes or "none")
    return [checkpoint.source, size, classes, top1, checkpoint.license or "-"]


def parts(layers):
    """A row for each stage, the stem in the first; what follows the last is the head."""
    params = macs = 0
    for i, layer in enumerate(layers):
        params, macs = params + layer.params, macs + layer.macs
        stage = re.fullmatch(r"stage\d+", layer.name)
        if stage or i == len(layers) - 1:
            whole = layer.receptive_field == math.inf
            sees = ("all", "") if whole else (f"{layer.receptive_field}x{layer.receptive_field}", f"{layer.stride:.3g}")
            shape = "x".join(map(str, layer.output_shape))
            yield [layer.name if stage else "head", shape, f"{params:,}", f"{macs:,}", *sees]
            params = macs = 0


def table(headings, rows) -> None:
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        print("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]))


def plot(path) -> None:
    """Draws every model of facts.json; a wrong file ends the process."""
    if path.rpartition(".")[2].lower() not in FORMATS:
        console.fail(f"--plot={path}: the file's name must end in {', '.join(f'.{ending}' for ending in FORMATS)}.")
    try:
        open(path, "ab").close()  # a wrong place is told before the drawing, which takes a while
    except OSError as error:
        console.fail(f"--plot={path}: {error}")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullFormatter

    facts = registry.facts()
    families = list(dict.fromkeys(fact["family"] for fact in facts.values()))
    # Twenty colours, the strong ones first, and then again with another shape.
    colors = {family: plt.get_cmap("tab20")((2 * i) % 20 + i // 10 % 2) for i, family in enumerate(families)}
    shapes = {family: "o^s"[i // 20 % 3] for i, family in enumerate(families)}
    panels: dict[str, dict] = {"images of less than 100 pixels": {}, "images of 100 pixels and more": {}}
    for name, fact in facts.items():
        panels[list(panels)[fact["input_shape"][0] >= 100]][name] = (fact["macs"], fact["params"])
    panels = {title: places for title, places in panels.items() if places}
    left_out = []
    with matplotlib.rc_context({"font.size": 9, "svg.fonttype": "none", "font.family": "DejaVu Sans"}):
        widths = [1, 2.6][-len(panels) :]
        figure, all_axes = plt.subplots(1, len(panels), figsize=(20, 12), width_ratios=widths, squeeze=False)
        for axes, (title, places) in zip(all_axes[0], panels.items(), strict=True):
            axes.set(xscale="log", yscale="log", xlabel="Multiply-accumulates for one image", ylabel="Parameters")
            axes.set_title(f"{len(places)} models for {title}", loc="left", fontsize=12)
            axes.grid(which="major", color="#dddddd", linewidth=0.8)
            axes.grid(which="minor", color="#f1f1f1", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.margins(0.1)
            axes.spines[["top", "right"]].set_visible(False)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(
                    FuncFormatter(lambda value, _: f"{short(value)[:-1].split('.')[0]}{short(value)[-1]}")
                )
                axis.set_minor_formatter(NullFormatter())
            for name, place in places.items():
                family = facts[name]["family"]
                axes.scatter(*place, s=24, color=colors[family], marker=shapes[family], linewidths=0, zorder=3)
        dots = [plt.Line2D([], [], linestyle="", marker=shapes[family], color=colors[family]) for family in families]
        figure.tight_layout(rect=(0, 0, 0.93, 1))
        figure.legend(dots, families, loc="upper right", frameon=False, bbox_to_anchor=(1, 0.97))
        figure.canvas.draw()  # the labels need to know where everything stands
        for axes, places in zip(all_axes[0], panels.values(), strict=True):
            left_out += label(axes, places, {name: colors[facts[name]["family"]] for name in places})
        try:
            figure.savefig(path, dpi=150)
        except OSError as error:
            console.fail(f"--plot={path}: {error}")
        plt.close(figure)
    print(f"{path}: {len(facts)} models" + (f"; no room to name {', '.join(left_out)}" if left_out else ""))


def label(axes, places, colors):
    """Writes each name beside its point, further off with a thin line where it is crowded; returns those left out."""
    canvas = axes.figure.canvas.get_renderer()
    pixels = {name: axes.transData.transform(place) for name, place in places.items()}
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in pixels.values()]
    frame = axes.get_window_extent(canvas)
    lines, labels, left_out = [], [], []
    crowd = {name: sum(math.dist(a, b) < 60 for b in pixels.values()) for name, a in pixels.items()}
    for name in sorted(places, key=crowd.__getitem__, reverse=True):
        text = axes.text(0, 0, name, fontsize=7.5, color=[0.62 * c for c in colors[name][:3]], va="center", ha="center")
        extent = text.get_window_extent(canvas)
        width, height = extent.width + 3, extent.height + 1
        x, y = pixels[name]
        for strict, (dx, dy) in itertools.product((True, False), list(offsets(width, height))):
            box = (x + dx - width / 2, y + dy - height / 2, x + dx + width / 2, y + dy + height / 2)
            inside = frame.x0 <= box[0] and box[2] <= frame.x1 and frame.y0 <= box[1] and box[3] <= frame.y1
            line = ((x, y), (min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])))
            if not inside or any(overlap(box, other) for other in taken):
                continue
            through = any(overlap((*point, *point), other) for point in between(line) for other in labels)
            if not strict or not (through or any(cross(line, other) for other in lines)):
                break
        else:
            text.remove()
            left_out.append(name)
            continue
        taken.append(box)
        labels.append(box)
        text.set_position(axes.transData.inverted().transform((x + dx, y + dy)))
        if math.dist(*line) > 12:
            lines.append(line)
            ends = axes.transData.inverted().transform(line)
            axes.plot(*zip(*ends, strict=True), color=colors[name], linewidth=0.5, alpha=0.7, zorder=2)
            taken += [(px - 1, py - 1, px + 1, py + 1) for px, py in between(line)]
    return left_out


def offsets(width, height):
    """Where the middle of a label may stand from its point: right, left, above, below, then further and further off."""
    for gap in (7, 14, 22, 32, 44, 58, 74, 92, 112, 134, 158):
        for turn in range(16 if gap > 7 else 8):
            angle = 2 * math.pi * turn / (16 if gap > 7 else 8)
            across, up = math.cos(angle), math.sin(angle)
            yield (gap + width / 2) * across, (gap + height / 2) * up


def between(line):
    (ax, ay), (bx, by) = line
    count = max(int(math.dist(*line) / 4), 2)
    return [(ax + (bx - ax) * i / count, ay + (by - ay) * i / count) for i in range(2, count)]


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def cross(one, other):
    (a, b), (c, d) = one, other

    def side(p, q, r):
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]) > 0

    return side(a, b, c) != side(a, b, d) and side(c, d, a) != side(c, d, b)


if __name__ == "__main__":
    main()
