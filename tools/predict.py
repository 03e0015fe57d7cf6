"""Classifies image files. Exits with 1 if any of them could not be read.

kerascnn predict --bundle=EXPORT_DIR IMAGE...
kerascnn predict --model=resnet50 --weights=timm:resnet50.a1_in1k IMAGE...
kerascnn predict --run=MODEL_DIR IMAGE...
"""

import io
import sys

from absl import flags

from kerascnn import console

from . import pretrained


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("bundle", None, "the folder of a bundle, or of one version of it", flag_values=values)
    flags.DEFINE_boolean("trust", False, "opens a bundle that can do more than compute, too", flag_values=values)
    pretrained.define(values)
    flags.DEFINE_integer("top", 5, "how many classes, without a bundle", lower_bound=1, flag_values=values)
    images = console.parse_flags(values, __doc__)
    named = bool(values.model or values.weights or values.run)
    if bool(values.bundle) == named or not images:
        console.fail(
            "give --bundle=DIR, or --model=NAME and --weights=SOURCE, or --run=MODEL_DIR; and at least one image."
        )
    if named:
        pretrained.check(values)
        if values.trust:
            console.fail("--trust is about a --bundle: other files hold no graph.")
    answers = by_model(values, images) if named else by_bundle(values.bundle, values.trust, images)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold any byte
    broken = False
    for path, answer in answers:
        if isinstance(answer, str):
            broken = True
            print(f"error: {path}: {answer}", file=sys.stderr)
        else:
            print(f"{path}: " + ", ".join(f"{name} {score:.1%}" for name, score in answer), flush=True)
    sys.exit(1 if broken else 0)


def by_bundle(bundle, trust, images):
    with console.quiet_start():
        from kerascnn.serve.client import classify, open_bundle
    try:
        return classify(open_bundle(bundle, trust=trust), images)
    except (ValueError, OSError) as error:
        console.fail(error)


def by_model(values, images):
    with console.quiet_start():
        from kerascnn.evaluate.predictions import classify

        model, preprocessing, _ = pretrained.load(values)
    return classify(model, preprocessing, images, min(values.top, len(preprocessing.class_names)))


if __name__ == "__main__":
    main()
