"""Classifies image files with an exported bundle. Exits with 1 if any of them could not be read.

kerascnn predict --bundle=EXPORT_DIR IMAGE...
"""

import io
import sys

from absl import flags

from kerascnn import console


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("bundle", None, "the folder of a bundle, or of one version of it", flag_values=values)
    images = console.parse_flags(values, __doc__)
    if not values.bundle or not images:
        console.fail("give --bundle=EXPORT_DIR and at least one image.")
    with console.quiet_start():
        from kerascnn.serve.client import classify, open_bundle
    try:
        serve = open_bundle(values.bundle)
    except (ValueError, OSError) as error:
        console.fail(error)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold any byte
    broken = False
    for path, answer in classify(serve, images):
        if isinstance(answer, str):
            broken = True
            print(f"error: {path}: {answer}", file=sys.stderr)
        else:
            print(f"{path}: " + ", ".join(f"{name} {score:.1%}" for name, score in answer), flush=True)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
