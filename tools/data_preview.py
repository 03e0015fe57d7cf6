"""Draws what a recipe makes of its training images: the originals, some epochs of each, and what was drawn for them.

kerascnn data preview --recipe=digits_resnet20 --out=preview.png
kerascnn data preview --data=PATH --image_size=224 --crop=random_resized --augment='natural' --out=preview.png
"""

import dataclasses
import importlib
import textwrap

import numpy as np
from absl import flags

from kerascnn import cli, console
from kerascnn.registry import close_names

FIELDS = ("data", "train_split", "crop", "augment", "mix")


def preview(argv: list[str]) -> None:
    values = read_flags(argv)
    chosen, image_size = settings(values)
    with console.quiet_start():
        from kerascnn import data
    try:
        source = data.open_source(chosen["data"], values.data_dir)
        rows = made(source, chosen, image_size, values)
        draw(rows, " ".join(f"{name}={value}" for name, value in chosen.items() if value), values.out)
    except (ValueError, OSError) as error:
        console.fail(error)
    print(f"{values.out}: {len(rows)} images of {source.name} {chosen['train_split']}, {values.epochs} epochs of each")


def read_flags(argv):
    values = flags.FlagValues()
    flags.DEFINE_string(
        "recipe", None, "whose data and augmentation to show; the flags below take its place", flag_values=values
    )
    flags.DEFINE_string("data", None, "as in a recipe", flag_values=values)
    flags.DEFINE_string("train_split", None, "as in a recipe", flag_values=values)
    flags.DEFINE_string("crop", None, "as in a recipe", flag_values=values)
    flags.DEFINE_string("augment", None, "as in a recipe", flag_values=values)
    flags.DEFINE_string("mix", None, "as in a recipe", flag_values=values)
    flags.DEFINE_integer("image_size", None, "as in a recipe", lower_bound=1, flag_values=values)
    flags.DEFINE_string("data_dir", None, "where TensorFlow Datasets keeps its files", flag_values=values)
    flags.DEFINE_integer("seed", 0, "of what is drawn", flag_values=values)
    flags.DEFINE_integer("images", 6, "how many originals", lower_bound=1, upper_bound=50, flag_values=values)
    flags.DEFINE_integer("epochs", 6, "how many epochs of each", lower_bound=1, upper_bound=50, flag_values=values)
    flags.DEFINE_string("out", "preview.png", "the picture, as .png, .svg or .pdf", flag_values=values)
    rest = console.parse_flags(values, __doc__, argv)
    if rest:
        console.fail(f"{rest[0]!r} is not a flag: flags are written --NAME=VALUE.")
    if values.out.rpartition(".")[2].lower() not in ("png", "svg", "pdf"):
        console.fail(f"--out={values.out}: the file's name must end in .png, .svg, .pdf.")
    return values


def settings(values):
    """({field of a recipe: its value}, image size), from the recipe and the flags over it."""
    chosen = {"train_split": "train", "crop": "resize", "augment": "", "mix": ""}
    image_size = values.image_size
    if values.recipe:
        known = cli.names("recipes")
        if values.recipe not in known:
            console.fail(f"no recipe {values.recipe!r}: {close_names(values.recipe, known)}")
        recipe = importlib.import_module(f"{cli.package('recipes')}.{values.recipe}").RECIPE
        chosen |= {name: value for name, value in dataclasses.asdict(recipe).items() if name in FIELDS}
        image_size = image_size or recipe.image_size
    chosen |= {name: values[name].value for name in FIELDS if values[name].value is not None}
    if "data" not in chosen:
        console.fail("give a --recipe, or --data.")
    return chosen, image_size


def made(source, chosen, image_size, values):
    """For each image: (original, its label, [(what became of it, its label, what was drawn)])."""
    import tensorflow as tf

    from kerascnn.data import augment, crop, decode, draws, mix
    from kerascnn.data.batches import drawn

    cut, policy, mixer = crop.parse(chosen["crop"]), augment.parse(chosen["augment"]), mix.parse(chosen["mix"])
    size = (image_size, image_size) if image_size else source.image_shape[:2]
    if None in size:
        raise ValueError(f"the images of {source.name} have no common size: give --image_size.")
    split, classes = chosen["train_split"], len(source.class_names)
    count = min(values.images, source.size(split))
    count -= count % 2 if mixer.mode and count > 1 else 0  # partners are neighbours
    # Evenly over the split, which may be sorted by class.
    index = tf.constant(np.arange(count) * source.size(split) // count)
    read, channels = source.read(split), source.channels
    make = tf.function(lambda encoded, u, v: policy(cut.encoded(encoded, u, size, channels), v))
    found = [read(i) for i in index]
    originals = [decode.decode(encoded, channels).numpy() for encoded, _ in found]
    labels = tf.stack([label for _, label in found])
    rows = [(image, source.class_names[label], []) for image, label in zip(originals, labels, strict=True)]
    for epoch in range(values.epochs):
        u, v, w = drawn(values.seed, epoch, index, tf.zeros_like(index), (cut.draws, policy.draws, mixer.draws))
        images = tf.stack([make(found[i][0], u[i], v[i]) for i in range(count)])
        shares = tf.one_hot(labels, classes)
        if mixer.mode:
            for_batch = draws.uniform(draws.key(values.seed, -1, epoch), mixer.batch_draws)
            images, shares = mixer(images, labels, w, for_batch, classes)
        for row, (image, share) in enumerate(zip(images.numpy(), shares.numpy(), strict=True)):
            height, width = originals[row].shape[:2]
            words = [cut.describe(u[row].numpy(), height, width)] if cut.draws else []
            named = ", ".join(f"{share[c]:.2f} {source.class_names[c]}" for c in np.flatnonzero(share > 0.005))
            rows[row][2].append((image, named if mixer.mode else "", [*words, *policy.describe(v[row].numpy())]))
    return rows


def draw(rows, title, path):
    """A grid: a row an image, the original first."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = 1 + max(len(changed) for *_, changed in rows)
    wrapped = [
        [[label], *([*([named] if named else []), *words] for _, named, words in changed)] for _, label, changed in rows
    ]
    wrapped = [
        ["\n".join(line for word in words for line in textwrap.wrap(word, 26)) for words in row] for row in wrapped
    ]
    lines = max(text.count("\n") + 1 for row in wrapped for text in row)
    with matplotlib.rc_context({"font.size": 8, "font.family": "DejaVu Sans", "svg.fonttype": "none"}):
        figure, grid = plt.subplots(
            len(rows), columns, figsize=(1.75 * columns, (1.75 + 0.145 * lines) * len(rows) + 0.5), squeeze=False
        )
        for (original, _, changed), texts, row in zip(rows, wrapped, grid, strict=True):
            images = [original, *(image for image, *_ in changed)]
            for axes in row:
                axes.axis("off")
            for axes, image, text in zip(row, images, texts, strict=False):
                shown = image if image.shape[-1] > 2 else image[..., 0]
                axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axes.text(0.5, -0.03, text, transform=axes.transAxes, ha="center", va="top", linespacing=1.15)
        for column, axes in enumerate(grid[0]):
            axes.set_title(f"epoch {column}" if column else "original", fontsize=8, color="#666666")
        figure.suptitle("\n".join(textwrap.wrap(title, 24 * columns)), x=0.01, ha="left", fontsize=9)
        figure.tight_layout(h_pad=0.8)
        try:
            figure.savefig(path, dpi=110)
        except OSError as error:
            raise OSError(f"cannot write {path}: {error.strerror or error}") from error
        finally:
            plt.close(figure)
