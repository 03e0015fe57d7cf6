"""The flags that name a trained model, of `kerascnn evaluate` and `kerascnn predict`, and the model that they name."""

from pathlib import Path

from absl import flags

from kerascnn import console


def define(values: flags.FlagValues) -> None:
    for name, text in {
        "model": "a name of `kerascnn list`, with --weights",
        "weights": "timm:NAME, keras:imagenet, hf:OWNER/REPOSITORY or a file; see `kerascnn list --weights`",
        "run": "the model_dir of a finished run, in place of --model and --weights",
    }.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_integer("image_size", None, "the side of the images; by default as published", flag_values=values)
    flags.DEFINE_boolean("test_size", False, "the larger size that was published for testing", flag_values=values)


def check(values: flags.FlagValues) -> None:
    """Ends the process with 2 where the flags name no model, or two, or a folder that holds none."""
    if bool(values.run) == bool(values.model) or bool(values.model) != bool(values.weights):
        console.fail("give --model=NAME and --weights=SOURCE (kerascnn list --weights), or --run=MODEL_DIR.")
    for name in ("model.keras", "preprocessing.json") if values.run else ():
        if not (Path(values.run) / name).is_file():
            console.fail(f"{values.run} holds no finished run (no {name}): give the model_dir of one with --run.")


def load(values: flags.FlagValues):
    """(the model, the `Preprocessing` of its images, the catalogue's entry of its weights or None).

    What is wrong ends the process with 2, and a download that fails with 1.
    """
    try:
        return _of_run(Path(values.run)) if values.run else _published(values)
    except ValueError as error:
        console.fail(error)
    except OSError as error:
        console.fail(error, code=1)


def _of_run(folder):
    from kerascnn import data
    from kerascnn.models import load_model

    return load_model(folder / "model.keras"), data.Preprocessing.load(folder / "preprocessing.json"), None


def _published(values):
    from kerascnn import create_model
    from kerascnn.weights.transforms import find_checkpoint, kept_by_run, preprocessing

    checkpoint = None if kept_by_run(values.weights) else find_checkpoint(values.weights, values.model)
    prepared = preprocessing(
        values.weights, model=values.model, image_size=values.image_size, test_size=values.test_size
    )
    shape = (*prepared.image_size, prepared.channels)
    return create_model(values.model, weights=values.weights, input_shape=shape), prepared, checkpoint
