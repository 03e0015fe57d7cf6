"""Turns a finished run into a SavedModel that classifies image files.

kerascnn export --run=MODEL_DIR --export_dir=DIR
"""

from pathlib import Path

from absl import flags

from kerascnn import console


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("run", None, "the model_dir of a finished run", flag_values=values)
    flags.DEFINE_string("export_dir", None, "where the bundle's versions are: DIR/1, DIR/2, ...", flag_values=values)
    flags.DEFINE_integer("top_k", 5, "how many classes the bundle gives for an image", flag_values=values)
    rest = console.parse_flags(values, __doc__)
    if rest or not (values.run and values.export_dir):
        console.fail("give --run=MODEL_DIR and --export_dir=DIR.")
    run = Path(values.run)
    if not (run / "model.keras").is_file():
        console.fail(f"{run} holds no finished run (no model.keras): give the model_dir of one with --run.")
    with console.quiet_start():
        from kerascnn import data, serve
        from kerascnn.models import load_model
    try:
        model, preprocessing = load_model(run / "model.keras"), data.Preprocessing.load(run / "preprocessing.json")
        print(f"Bundle: {serve.export(model, values.export_dir, preprocessing, top_k=values.top_k)}")
    except (ValueError, OSError) as error:
        console.fail(error)


if __name__ == "__main__":
    main()
