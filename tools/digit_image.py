"""Writes one of the built-in test digits as a PNG file, to have an image to classify.

python -m tools.digit_image --out=digit.png
"""

from pathlib import Path

from absl import flags

from kerascnn import console


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("out", "digit.png", "the file to write", flag_values=values)
    flags.DEFINE_integer("index", 7, "which of the 360", lower_bound=0, upper_bound=359, flag_values=values)
    flags.DEFINE_string("data_dir", None, "where TensorFlow Datasets keeps its files", flag_values=values)
    if console.parse_flags(values, __doc__):
        console.fail("everything is a flag here: --out=FILE.")
    with console.quiet_start():
        from kerascnn.data import open_source
    try:
        encoded, label = next(iter(open_source("digits", values.data_dir).dataset("test").skip(values.index)))
        Path(values.out).write_bytes(encoded.numpy())
    except OSError as error:
        console.fail(error)
    print(f"{values.out}: a handwritten {label.numpy()} that no training has seen")


if __name__ == "__main__":
    main()
