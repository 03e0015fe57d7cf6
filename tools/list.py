"""The models, as a table.

kerascnn list ['PATTERN']     as in kerascnn list 'resnet*'
"""

from absl import flags

from kerascnn import console


def main() -> None:
    patterns = console.parse_flags(flags.FlagValues(), __doc__)
    if len(patterns) > 1:
        console.fail("one pattern at most; quote it, so that the shell leaves it alone: 'resnet*'.")
    with console.quiet_start():
        from kerascnn import models, registry
    pattern = patterns[0] if patterns else "*"
    found = [registry.lookup(name) for name in models.list_models(pattern)]
    if not found:
        console.fail(f"no model matches {pattern!r}: {registry.close_names(pattern, models.list_models())}")
    print(f"{'model':24}{'family':16}{'input':>16}{'classes':>9}")
    for variant in found:
        size = "x".join(map(str, variant.spec.input_shape))
        print(f"{variant.name:24}{variant.family:16}{size:>16}{variant.spec.num_classes:>9}")


if __name__ == "__main__":
    main()
