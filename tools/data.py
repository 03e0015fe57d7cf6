"""Looks at a data set: what is in it, and whether all of it can be used.

kerascnn data stats --data=NAME     counts its classes; mean, deviation and principal axes of its colours
kerascnn data check --data=NAME     decodes every element and lists what is broken; exits with 1 if anything is
kerascnn data preview --recipe=RECIPE    draws what a recipe makes of its images; its --help says more

A NAME is what recipes take as --data, such as digits or tfds:cifar10.
"""

import sys

from absl import flags

from kerascnn import console
from kerascnn.registry import close_names

from .data_preview import preview

FORMATS = ("png", "svg", "pdf")
MOST_ROWS = 40  # classes that are listed in full
BAR = 40  # characters


def main() -> None:
    if sys.argv[1:2] == ["preview"]:  # which has flags of its own
        preview(["kerascnn data preview", *sys.argv[2:]])
        return
    values = flags.FlagValues()
    flags.DEFINE_string("data", None, "the data set: digits, tfds:NAME, a folder, ...", flag_values=values)
    flags.DEFINE_string("data_dir", None, "where TensorFlow Datasets keeps its files", flag_values=values)
    flags.DEFINE_string("split", "train", "which part of it, such as train[:1000]", flag_values=values)
    flags.DEFINE_integer("image_size", None, "stats: the side that images are resized to", flag_values=values)
    flags.DEFINE_string("crop", "resize", "stats: how, such as center(fraction=0.875)", flag_values=values)
    flags.DEFINE_string("out", None, "stats: where to save them, such as stats.json", flag_values=values)
    flags.DEFINE_string("plot", None, "stats: where to draw them, such as stats.png", flag_values=values)
    words = console.parse_flags(values, __doc__)
    known = (*COMMANDS, "preview")
    if len(words) != 1 or words[0] not in COMMANDS:
        console.fail(
            f"no command {words[0]!r}: {close_names(words[0], known)}"
            if words and words[0] not in COMMANDS
            else f"give one of {', '.join(known)}, and --data=NAME."
        )
    if not values.data:
        console.fail("give a data set with --data=NAME, such as --data=digits.")
    for flag in ("image_size", "crop", "out", "plot"):
        if words[0] != "stats" and values[flag].present:
            console.fail(f"--{flag} is for kerascnn data stats.")
    with console.quiet_start():
        from kerascnn import data
    try:
        source = data.open_source(values.data, values.data_dir)
        code = COMMANDS[words[0]](source, values)
    except (ValueError, OSError) as error:
        console.fail(error)
    sys.exit(code)


def stats(source, values) -> int:
    """Prints what is in a split, and saves and draws it where the flags say so."""
    from kerascnn.data import measure
    from kerascnn.data.statistics import LARGEST_WHITENED, measure_statistics

    if values.out is not None and not values.out.endswith(".json"):
        raise ValueError(f"--out={values.out}: the file's name must end in .json.")
    if values.plot is not None and values.plot.rpartition(".")[2].lower() not in FORMATS:
        raise ValueError(
            f"--plot={values.plot}: the file's name must end in {', '.join(f'.{end}' for end in FORMATS)}."
        )
    if values.image_size is not None and values.image_size < 1:
        raise ValueError(f"--image_size={values.image_size}: a side has a pixel at least.")
    plain = measure(source, values.split, image_size=values.image_size, mode="none", crop=values.crop)
    numbers = plain.image_size[0] * plain.image_size[1] * plain.channels
    whitened = values.out is not None and numbers <= LARGEST_WHITENED
    known = measure_statistics(source, values.split, plain.decode, pixel_products=whitened)
    tell(known)
    if values.out is not None:
        known.save(values.out)
        print(f"\nSaved: {values.out}")
    if values.plot is not None:
        plot(known, values.plot)
        print(f"{'' if values.out else chr(10)}Plot:  {values.plot}")
    return 0


def check(source, values) -> int:
    """Decodes every element of a split; tells what is broken on stdout, a line each, and 1."""
    from kerascnn.data.decode import decode
    from kerascnn.data.statistics import broken

    size, count = source.size(values.split), 0
    for _, name, reason in broken(source, values.split, lambda encoded: decode(encoded, source.channels)):
        count += 1
        print(f"{name}: {reason}", flush=True)
    print(
        f"{source.name} {values.split}: {count:,} of {size:,} elements are broken.", file=sys.stderr if count else None
    )
    return 1 if count else 0


COMMANDS = {"stats": stats, "check": check}


def tell(known) -> None:
    height, width, channels = known.image_shape
    print(f"{known.name}: {known.images:,} images of {height}x{width}x{channels}, {len(known.class_counts)} classes\n")
    rows, left_out = listed(known.class_counts)
    most, space = max(known.class_counts.values()), max(map(len, ["class", *rows]))
    print(f"{'class':{space}}  images")
    for name, count in rows.items():
        bar = "\N{FULL BLOCK}" * round(BAR * count / most) or "\N{LEFT ONE EIGHTH BLOCK}" * (count > 0)
        print(f"{name:{space}}{count:8,}  {bar}".rstrip())
        if left_out and name == list(rows)[len(rows) // 2 - 1]:
            print(f"... {left_out} more")
    print("\nchannel     mean      std    mean/255  std/255")
    for i, (mean, std) in enumerate(zip(known.mean, known.std, strict=True)):
        print(f"{i:<7}{mean:9.3f}{std:9.3f}{mean / 255:12.4f}{std / 255:9.4f}")
    variances, axes = known.principal_colours()
    print("\nprincipal axis    std    share  direction")
    for i, variance in enumerate(variances):
        share = variance / (variances.sum() or 1)
        print(f"{i + 1:<14}{variance**0.5:7.3f}{share:9.2%}  {' '.join(f'{number:7.4f}' for number in axes[:, i])}")


def listed(counts):
    """({class: count} of those that are shown, how many are not): of many, the most frequent and the rarest."""
    if len(counts) <= MOST_ROWS:
        return counts, 0
    by_count = sorted(counts, key=counts.__getitem__, reverse=True)
    shown = by_count[: MOST_ROWS // 4] + by_count[-MOST_ROWS // 4 :]
    return {name: counts[name] for name in shown}, len(counts) - len(shown)


def plot(known, path) -> None:
    """Draws the mean image, the class counts, and the colours along the principal axes."""
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def shown(colours):
        """As matplotlib draws them: two channels are grey and alpha, four are colour and alpha."""
        visible = colours[..., :1] if colours.shape[-1] < 3 else colours[..., :3]
        return np.repeat(visible, 4 - visible.shape[-1], -1)[..., :3].clip(0, 255) / 255

    channels = known.image_shape[-1]
    variances, axes = known.principal_colours()
    with matplotlib.rc_context({"font.size": 9, "svg.fonttype": "none", "text.parse_math": False}):
        figure, panels = plt.subplots(1, 3, figsize=(14, 4.2), width_ratios=(1, 2, 1.4), layout="constrained")
        for panel, title in zip(
            panels, ("Mean image", "Images of each class", "Colours along the principal axes"), strict=True
        ):
            panel.set_title(title, loc="left")
            panel.spines[:].set_visible(False)
        figure.suptitle(f"{known.name}: {known.images:,} images", x=0.01, ha="left", fontsize=12)
        panels[0].imshow(shown(known.mean_image), interpolation="nearest")
        panels[0].set(xticks=[], yticks=[])
        names, counts = list(known.class_counts), list(known.class_counts.values())
        many = len(names) > MOST_ROWS
        counts = sorted(counts, reverse=True) if many else counts
        panels[1].bar(range(len(names)), counts, width=1.0 if many else 0.8, color="#4c78a8")
        panels[1].set_ylim(0, max(counts) * 1.05)
        panels[1].tick_params(length=0)
        panels[1].grid(axis="y", color="#dddddd", linewidth=0.6)
        panels[1].set_axisbelow(True)
        if many:
            panels[1].set(xticks=[], xlabel=f"{len(names)} classes, the most frequent first")
        else:
            turned = {"rotation": 90} if max(map(len, names)) * len(names) > 60 else {}
            panels[1].set_xticks(range(len(names)), names, **turned)
        steps = np.linspace(-2, 2, 201)
        for i in range(channels):
            strip = known.mean + steps[:, np.newaxis] * variances[i] ** 0.5 * axes[:, i]
            panels[2].imshow(shown(strip[np.newaxis]), extent=(-2, 2, i + 0.4, i - 0.4), aspect="auto")
        panels[2].set(xlim=(-2, 2), ylim=(channels - 0.5, -0.5), xlabel="standard deviations from the mean")
        shares = variances / (variances.sum() or 1)
        panels[2].set_yticks(range(channels), [f"{i + 1}: {share:.1%}" for i, share in enumerate(shares)])
        panels[2].tick_params(length=0)
        try:
            figure.savefig(path, dpi=150)
        finally:
            plt.close(figure)


if __name__ == "__main__":
    main()
