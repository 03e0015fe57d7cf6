"""Turns a trained model into a bundle: a SavedModel that classifies image files, and other formats beside it.

kerascnn export --run=MODEL_DIR --export_dir=DIR
kerascnn export --model=resnet50 --weights=timm:resnet50.a1_in1k --data=/data/imagenet --export_dir=DIR
kerascnn export --run=MODEL_DIR --export_dir=DIR --formats=savedmodel,litert,onnx --precision=bfloat16,int8

Each file is compared with the model, on images of its run or of --data.
"""

import json
from pathlib import Path

from absl import flags

from kerascnn import console

from . import pretrained
from .evaluate import default_split


def main() -> None:
    values = flags.FlagValues()
    pretrained.define(values)
    for name, default, text in (
        ("export_dir", None, "where the bundle's versions are: DIR/1, DIR/2, ..."),
        ("on_bad_image", "error", "error, or flag: answers `valid` for each image, and the others of its batch"),
        ("data", None, "what to compare on: digits, tfds:NAME, a folder, a CSV or TFRecords; by default the run's"),
        ("split", None, "of the data; by default the run's test split, or the data's validation or test split"),
        ("data_dir", None, "where TFDS keeps its files"),
    ):
        flags.DEFINE_string(name, default, text, flag_values=values)
    flags.DEFINE_list("formats", ["savedmodel"], "savedmodel, and litert, onnx", flag_values=values)
    text = "float32, bfloat16 (savedmodel), float16, dynamic, int8 (litert); each format takes those that it knows"
    flags.DEFINE_list("precision", [], text, flag_values=values)
    flags.DEFINE_integer("top_k", 5, "how many classes the bundle gives for an image", flag_values=values)
    flags.DEFINE_integer("max_batch_size", 16, "images that a server computes at once at most", flag_values=values)
    text = "share of images that must keep their best class, or nothing is written; by default it depends on precision"
    flags.DEFINE_float("min_agreement", None, text, flag_values=values)
    rest = console.parse_flags(values, __doc__)
    if rest or not values.export_dir:
        console.fail("give --export_dir=DIR, and --model=NAME with --weights=SOURCE, or --run=MODEL_DIR.")
    pretrained.check(values)
    with console.quiet_start():
        from kerascnn import serve
        from kerascnn.serve import card

        model, preprocessing, checkpoint = pretrained.load(values)
    try:
        source, split, calibration_split = compared_on(values)
        with console.quiet_start():  # the converters write, too
            version = serve.export(
                model,
                values.export_dir,
                preprocessing,
                top_k=values.top_k,
                formats=values.formats,
                precision=values.precision,
                on_bad_image=values.on_bad_image,
                source=source,
                split=split,
                calibration_split=calibration_split,
                min_agreement=values.min_agreement,
                max_batch_size=values.max_batch_size,
                facts=card.of_run(values.run) if values.run else card.of_checkpoint(checkpoint),
            )
    except (ValueError, OSError) as error:
        console.fail(error)
    report(version)


def compared_on(values):
    """(the source, or None for made-up images; its split to compare on; its split to calibrate on)."""
    from kerascnn import data

    if values.data:
        source = data.open_source(values.data, values.data_dir)
        split = values.split or default_split(source)
        source.size(split)
        return source, split, "train" if "train" in source.splits else split
    if not values.run:
        return None, "", ""
    try:
        record = json.loads((Path(values.run) / "recipe.json").read_text(encoding="utf-8"))
        recipe = record["recipe"]
        source = data.open_source(recipe["data"], values.data_dir or record["run"]["data_dir"])
        source.size(recipe["test_split"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        console.note(f"The run's data are not at hand ({error}): compared on made-up images, unless --data names some.")
        return None, "", ""
    return source, values.split or recipe["test_split"], recipe["train_split"]


def report(version) -> None:
    """A line for each file, with its size and how near it is to the model."""
    from kerascnn.serve.card import size

    found = json.loads((version / "parity.json").read_text(encoding="utf-8"))
    print(f"Bundle: {version}, compared on {found['reference']}")
    for file, row in found["files"].items():
        print(
            f"  {file:24} {row['precision']:8} {size(row['bytes']):>9}  same best class for "
            f"{row['top1_agreement']:.2%}, largest difference {row['max_difference']:.1e}"
        )


if __name__ == "__main__":
    main()
