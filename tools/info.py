"""What there is to know of a model: its paper, its parameters and operations, its stages.

kerascnn info NAME            as in kerascnn info resnet20_cifar
"""

from absl import flags

from kerascnn import console


def main() -> None:
    names = console.parse_flags(flags.FlagValues(), __doc__)
    if len(names) != 1:
        console.fail("give the name of one model (kerascnn list shows them).")
    with console.quiet_start():
        from kerascnn import models
    try:
        info = models.model_info(names[0])
    except ValueError as error:
        console.fail(error)
    rows = {
        "model": info.name,
        "family": info.family,
        "paper": info.paper,
        "input": "x".join(map(str, info.input_shape)),
        "classes": info.num_classes,
        "parameters": f"{info.params:,} ({info.trainable_params:,} trainable)",
        "multiply-accumulates": f"{info.macs:,} for one image",
    }
    rows |= {name: "x".join(map(str, shape)) for name, shape in info.stages}
    for name, value in rows.items():
        print(f"{name:22}{value}")


if __name__ == "__main__":
    main()
