"""Counts how often a trained model is right, beside what its publisher states.

kerascnn evaluate --model=resnet50 --weights=timm:resnet50.a1_in1k --data=/data/imagenet
kerascnn evaluate --run=MODEL_DIR --data=digits
kerascnn evaluate --run=MODEL_DIR --data=digits --tta='flip_and_shift(pixels=1)'

Classes are matched by their names: a folder of some of ImageNet's, by synset or by name, will do.
"""

import csv
import datetime
import os

from absl import flags

from kerascnn import console

from . import pretrained

SPLITS = ("validation", "val", "test")


def main() -> None:
    values = flags.FlagValues()
    pretrained.define(values)
    flags.DEFINE_string("data", None, "digits, tfds:NAME, a folder, a CSV or TFRecords", flag_values=values)
    flags.DEFINE_string("split", None, "by default the data's validation or test split", flag_values=values)
    flags.DEFINE_string("data_dir", None, "where TFDS keeps its files", flag_values=values)
    flags.DEFINE_integer("batch_size", 64, "images at once", lower_bound=1, flag_values=values)
    flags.DEFINE_string(
        "tta",
        "",
        "views of each image to average, as in flip; whatever a run's recipe says",
        flag_values=values,
    )
    flags.DEFINE_string("on_corrupt", "error", "error, or skip, for images that cannot be used", flag_values=values)
    flags.DEFINE_string("csv", None, "a file to add a row to", flag_values=values)
    rest = console.parse_flags(values, __doc__)
    if rest or not values.data:
        console.fail("give --data=NAME, and --model=NAME with --weights=SOURCE, or --run=MODEL_DIR.")
    pretrained.check(values)
    with console.quiet_start():
        import tensorflow as tf

        from kerascnn import data
        from kerascnn.data.lost import Lost
        from kerascnn.evaluate.accuracy import accuracy
    try:
        source = data.open_source(values.data, values.data_dir)
        split = values.split or default_split(source)
        lost = Lost(source, split, values.on_corrupt)
        source.size(split)
    except (ValueError, OSError) as error:
        console.fail(error)
    with console.quiet_start():
        model, preprocessing, checkpoint = pretrained.load(values)
    try:
        labels = match(source, preprocessing, checkpoint)
        found = accuracy(
            model,
            source,
            split,
            preprocessing,
            batch_size=values.batch_size,
            labels=labels,
            lost=lost,
            tta=values.tta,
        )
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        console.fail(getattr(error, "message", error))
    report(values, split, preprocessing, checkpoint, found, lost)


def default_split(source) -> str:
    """The split to evaluate on, by the names that are in use; a ValueError where that is not clear."""
    names = list(source.splits)
    for split in (*SPLITS, *(names if len(names) == 1 else ())):
        if split in names:
            return split
    raise ValueError(f"{source.name} has the splits {', '.join(names)}: say which with --split.")


def match(source, preprocessing, checkpoint):
    """Which of the model's classes the data's are; a line on stderr where they are taken in their order."""
    from kerascnn.evaluate.accuracy import matched
    from kerascnn.weights import catalog

    synsets = [catalog.synsets(checkpoint.classes)] if checkpoint is not None and checkpoint.classes else []
    labels = matched(source.class_names, preprocessing.class_names, *synsets)
    known = (preprocessing.class_names, *synsets)
    if not any(set(source.class_names) <= set(names) for names in known):
        console.note(f"The classes of {source.name} have other names than the model's: they are taken in their order.")
    return labels


def report(values, split, preprocessing, checkpoint, found, lost) -> None:
    height, width = preprocessing.image_size
    what = values.run or f"{values.model} with {values.weights}"
    seen = f"{preprocessing.crop}, tta={values.tta}" if values.tta else preprocessing.crop
    print(f"{what} on {values.data} {split}: {found.images:,} images of {width}x{height}, {seen}")
    if lost.elements:
        print(f"{len(lost.elements)} images could not be used and are not counted")
    published = checkpoint.top1 if checkpoint is not None else None
    beside = ""
    if published is not None:
        where = f"{checkpoint.top1_source}" + (f", at {checkpoint.top1_size}" if checkpoint.top1_size else "")
        beside = f"   published {published:.2f} % ({where}), difference {100 * found.top1 - published:+.2f}"
    print(f"top-1 {100 * found.top1:6.2f} %{beside}")
    print(f"top-5 {100 * found.top5:6.2f} %")
    if values.csv:
        add_row(
            values.csv,
            {
                "date": datetime.date.today().isoformat(),
                "model": values.model or "",
                "weights": values.run or values.weights,
                "data": values.data,
                "split": split,
                "images": found.images,
                "image_size": f"{width}x{height}",
                "crop": preprocessing.crop,
                "tta": values.tta,
                "top1": f"{100 * found.top1:.3f}",
                "top5": f"{100 * found.top5:.3f}",
                "published_top1": "" if published is None else published,
                "difference": "" if published is None else f"{100 * found.top1 - published:+.3f}",
            },
        )


def add_row(path, row) -> None:
    """Adds a row to a CSV file, with a heading if it is new; one with other columns is left as it is."""
    try:
        with open(path, "a+", newline="") as file:
            file.seek(0)
            heading = next(csv.reader(file), None)
            if heading not in (None, list(row)):
                console.fail(f"--csv={path} has other columns than a result: give another file.", code=1)
            file.seek(0, os.SEEK_END)
            writer = csv.DictWriter(file, list(row))
            if heading is None:
                writer.writeheader()
            writer.writerow(row)
    except OSError as error:
        console.fail(f"--csv={path}: {error}", code=1)


if __name__ == "__main__":
    main()
