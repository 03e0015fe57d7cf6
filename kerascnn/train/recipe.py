"""A recipe: every number that moves a result, and the command line that it becomes. Imports no TensorFlow."""

import ast
import dataclasses
import inspect
import re
import sys
import tempfile
import types
import typing
from pathlib import Path
from typing import Any, NoReturn

from absl import flags

from kerascnn import console
from kerascnn.registry import close_names
from kerascnn.train.interrupt import Interrupted

STRATEGIES = ("one_device", "mirrored")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
ON_CORRUPT = ("error", "skip")


class WrongInput(ValueError):
    """A run cannot begin: a name, a value, a file or a folder is wrong. The message says which, and what to do."""


class BadData(RuntimeError):
    """An element of the data cannot be used, or too many cannot. The message names them."""


class Diverged(ArithmeticError):
    """The loss is no longer a number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, on what, and how.

    Attributes:
      model: a model's name (see `kerascnn list`).
      model_args: fields of the model to set otherwise, as in `dropout=0.1, activation="silu"`.
      data: `digits`, `tfds:NAME`, or the path of image folders, a CSV file or TFRecords.
      train_split: what is trained on, and what the preprocessing statistics are taken from.
      test_split: what is evaluated on after each epoch.
      image_size: the side in pixels that images are resized to; none for the data's own.
      crop: what of each training image is seen, as in `random_resized(scale=(0.25, 1))` or `pad(pixels=4)`.
      test_crop: the same in evaluation and serving, as in `center(fraction=0.875)`.
      augment: random changes to each training image, as in `affine(degrees=10), horizontal_flip`.
      mix: mixes training images with each other, as in `mixup(alpha=0.2), cutmix(alpha=1)`.
      preprocess: `channel_mean_std`, `channel_mean`, `mean_image`, `whiten`, `unit` or `none`.
      epochs: passes over the training split; may grow when a run is resumed.
      batch_size: images a step, over all replicas.
      learning_rate: the highest one; used as it is written, whatever the batch size.
      schedule: what follows the warm-up: `cosine` or `constant`.
      warmup_epochs: the rate climbs from 0 in a line over this many.
      momentum: of SGD.
      nesterov: whether the momentum looks ahead.
      weight_decay: the L2 term `weight_decay * kernel` in each gradient; kernels only.
      label_smoothing: the share of each label that is spread over all classes.
    """

    model: str
    model_args: str = ""
    data: str
    train_split: str = "train"
    test_split: str = "test"
    image_size: int | None = None
    crop: str = "resize"
    test_crop: str = "resize"
    augment: str = ""
    mix: str = ""
    preprocess: str = "channel_mean_std"
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        checks = {
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 1,
            "image_size": self.image_size is None or self.image_size >= 1,
            "learning_rate": self.learning_rate > 0,
            "warmup_epochs": 0 <= self.warmup_epochs <= self.epochs,
            "momentum": 0 <= self.momentum < 1,
            "weight_decay": self.weight_decay >= 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
        }
        for field, holds in checks.items():
            if not holds:
                raise ValueError(f"{field}={getattr(self, field)!r} is out of range.")

    def overrides(self) -> dict[str, Any]:
        """`model_args` as keyword arguments.

        Raises:
          ValueError: it is not of the form `key=value, key=value` with plain values, or sets what the data sets.
        """
        try:
            call = ast.parse(f"dict({self.model_args})", mode="eval").body
            assert isinstance(call, ast.Call) and not call.args
            arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        except (SyntaxError, ValueError, AssertionError) as error:
            raise ValueError(f"model_args={self.model_args!r} is not of the form 'key=value, key=value'.") from error
        for name in ("num_classes", "input_shape"):
            if name in arguments:
                raise ValueError(f"model_args: {name} comes from the data.")
        return arguments

    def smoke(self) -> "Recipe":
        """The same in two steps on a few images: whether it runs, not how well."""
        return dataclasses.replace(
            self,
            epochs=1,
            warmup_epochs=min(self.warmup_epochs, 1),
            batch_size=8,
            train_split=f"{self.train_split.partition('[')[0]}[:16]",
            test_split=f"{self.test_split.partition('[')[0]}[:12]",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFlags:
    """Where and on what a recipe runs.

    Attributes:
      data_dir: where TensorFlow Datasets keeps its files; none for `~/tensorflow_datasets`.
      model_dir: the run's folder; none for `runs/RECIPE`. A run that is there already is resumed.
      strategy: `one_device`, or `mirrored` over all GPUs of the machine.
      precision: `float32`, `mixed_bfloat16` or `mixed_float16`.
      export_dir: where to put a SavedModel at the end; none for no export.
      smoke: two steps on a few images, evaluation and export, to see that everything runs.
      seed: of the initial weights and of everything that is drawn.
      cache: `memory`, or a folder on a quick disk, to keep the encoded images in.
      on_corrupt: `error`, or `skip` to do without up to 1 % of the images.
      data_service: host:port of a dispatcher (tools/data_service.py) whose workers prepare the training images.
    """

    data_dir: str | None = None
    model_dir: str | None = None
    strategy: str = "one_device"
    precision: str = "float32"
    export_dir: str | None = None
    smoke: bool = False
    seed: int = 0
    cache: str | None = None
    on_corrupt: str = "error"
    data_service: str | None = None

    def __post_init__(self) -> None:
        known = {"strategy": STRATEGIES, "precision": PRECISIONS, "on_corrupt": ON_CORRUPT}
        for kind, names in known.items():
            if (value := getattr(self, kind)) not in names:
                raise ValueError(f"no {kind} {value!r}: {close_names(value, names)}")


def main(recipe: Recipe, argv: list[str] | None = None) -> NoReturn:
    """Trains a recipe from the command line: each of its fields is a flag. Ends the process.

    Exit codes: 0 done (or done before), 1 something failed on the way, 2 wrong input, 3 the loss is no longer a
    number, 130 and 143 stopped by Ctrl-C and SIGTERM with everything saved.
    """
    module = sys.modules["__main__"]
    name = module.__spec__.name if module.__spec__ else Path(str(module.__file__)).stem
    values = flags.FlagValues()
    define_flags(values, recipe)
    define_flags(values, RunFlags())
    rest = console.parse_flags(values, module.__doc__ or name, argv)
    if rest:
        console.fail(f"{rest[0]!r} is not a flag: flags are written --NAME=VALUE.")
    try:
        recipe = dataclasses.replace(recipe, **_chosen(values, Recipe))
        run_flags = RunFlags(**_chosen(values, RunFlags))
    except ValueError as error:
        console.fail(error)
    _train(name.rpartition(".")[2], recipe, run_flags)


def _train(name: str, recipe: Recipe, run_flags: RunFlags) -> NoReturn:
    model_dir, export_dir = Path(run_flags.model_dir or Path("runs") / name), run_flags.export_dir
    if run_flags.smoke:
        recipe = recipe.smoke()
        model_dir = Path(run_flags.model_dir or tempfile.mkdtemp(prefix=f"{name}-smoke-"))
        export_dir = export_dir or str(model_dir / "export")
    try:
        with console.quiet_start():
            from kerascnn.train.loop import run
        result = run(
            recipe,
            model_dir=model_dir,
            data_dir=run_flags.data_dir,
            strategy=run_flags.strategy,
            precision=run_flags.precision,
            export_dir=export_dir,
            seed=run_flags.seed,
            cache=run_flags.cache,
            on_corrupt=run_flags.on_corrupt,
            data_service=run_flags.data_service,
        )
    except KeyboardInterrupt:
        console.fail("stopped at once; a run that was under way goes on from its last checkpoint.", 130)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signal)
    except WrongInput as error:
        console.fail(error)
    except Diverged as error:
        console.fail(error, 3)
    except (BadData, OSError) as error:  # a full disk, say: what was saved before is whole
        console.fail(error, 1)
    print(f"Model:  {model_dir / 'model.keras'}\nReport: {model_dir / 'report.html'}")
    if result.bundle:
        print(f"Bundle: {result.bundle}")
    sys.exit(0)


def define_flags(values: flags.FlagValues, defaults: Any) -> None:
    """Makes each field of a frozen dataclass a flag of its type, with its value and its line of the docstring."""
    define: dict[type, Any] = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_boolean,
        str: flags.DEFINE_string,
    }
    texts = dict(re.findall(r"^ +(\w+): (.*)$", inspect.getdoc(type(defaults)) or "", re.MULTILINE))
    for field, annotation in typing.get_type_hints(type(defaults)).items():
        kind = typing.get_args(annotation)[0] if isinstance(annotation, types.UnionType) else annotation
        define[kind](field, getattr(defaults, field), texts[field], flag_values=values)


def _chosen(values: flags.FlagValues, kind: type) -> dict[str, Any]:
    return {field.name: values[field.name].value for field in dataclasses.fields(kind)}
