r"""Copies images into sharded TFRecord files in the ImageNet schema, with a manifest of counts and checksums.

    python -m tools.make_tfrecord --data=folder:PHOTOS --out=DIR
    python -m tools.make_tfrecord --imagenet_train=ILSVRC2012_img_train.tar --out=DIR \
        --imagenet_val=ILSVRC2012_img_val.tar --val_labels=LABELS
    python -m tools.make_tfrecord --verify --out=DIR

--data takes whatever a recipe's does, and --data=DIR reads the copy. Images stay as they are encoded, nothing is
extracted to disk, and what was stopped goes on when it is called again. LABELS has a line for each validation image, in
the order of their names: its synset (n01440764), or the place of that among the sorted ones, from 0 on. The numbers of
ImageNet's development kit, 1 to 1000, have another order and will not do.
"""

import os
import re

from absl import flags

from kerascnn import console


def main() -> None:
    values = flags.FlagValues()
    # fmt: off
    flags.DEFINE_string("data", None, "what is copied, as a recipe names it", flag_values=values)
    flags.DEFINE_string("data_dir", None, "where TensorFlow Datasets keeps its files", flag_values=values)
    flags.DEFINE_list("split", [], "splits or slices of --data, with commas between; all if none", flag_values=values)
    flags.DEFINE_string("imagenet_train", None, "ILSVRC2012_img_train.tar, in place of --data", flag_values=values)
    flags.DEFINE_string("imagenet_val", None, "ILSVRC2012_img_val.tar", flag_values=values)
    flags.DEFINE_string("val_labels", None, "the labels of --imagenet_val", flag_values=values)
    flags.DEFINE_string("out", None, "the folder to write to", flag_values=values)
    flags.DEFINE_integer("shards", None, "files a split; none for about 100 MB each", 1, flag_values=values)
    flags.DEFINE_integer("workers", None, "threads; none for one a core", 1, flag_values=values)
    flags.DEFINE_integer("seed", 0, "of the order in which elements are spread", 0, 2**32 - 1, flag_values=values)
    flags.DEFINE_boolean("verify", False, "only compare the files in --out with their checksums", flag_values=values)
    # fmt: on
    rest = console.parse_flags(values, __doc__)
    if rest:
        console.fail(f"{rest[0]!r} is not a flag: flags are written --NAME=VALUE.")
    tars = bool(values.imagenet_train or values.imagenet_val)
    if not values.out or (values.data is not None) + tars + values.verify != 1:
        console.fail("give --out=DIR, and one of --data=SOURCE, --imagenet_train=TAR (or --imagenet_val) and --verify.")
    if (values.imagenet_val is None) != (values.val_labels is None):
        console.fail("--imagenet_val and --val_labels go together.")
    with console.quiet_start():
        from kerascnn.data import records, sources
    try:
        if values.verify:
            print(f"{values.out}: {records.verify(values.out)} files, all as {records.MANIFEST} says")
            return
        source = _imagenet(values) if tars else sources.open_source(values.data, values.data_dir)
        splits = {split: re.split(r"\W", split)[0] for split in values.split or source.splits}
        if not splits or len(set(splits.values())) < len(splits):
            console.fail("say with --split=NAME what to copy: different splits, or a slice of each.")
        sizes = {split: source.size(split) for split in splits}
    except (ValueError, OSError) as error:
        console.fail(error)
    options = {"shards": values.shards, "workers": values.workers, "seed": values.seed}
    try:
        for split, name in splits.items():
            records.write(source, split, values.out, name=name, **options)
            print(f"{values.out}: {sizes[split]:,} images in {name}")
    except ValueError as error:
        console.fail(error)
    except OSError as error:  # a full disk, say
        console.fail(error, 1)
    except KeyboardInterrupt:
        console.fail("stopped; the same command goes on from here.", 130)


def _imagenet(values):
    from kerascnn.data import records, sources, tars

    splits, names = {}, ()
    if values.imagenet_train:
        names, splits["train"] = tars.open_train(values.imagenet_train)
    elif os.path.exists(os.path.join(values.out, records.MANIFEST)):
        names, *_ = records.open_folder(values.out)  # as the training archive gave them
    if values.imagenet_val:
        names, splits["validation"] = tars.open_val(values.imagenet_val, values.val_labels, names)
    return sources.Source("imagenet", names, (None, None, 3), splits)


if __name__ == "__main__":
    main()
