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
from kerascnn.train.cluster import check_flags
from kerascnn.train.interrupt import Interrupted

# What each of these run flags may be.
CHOICES = {
    "strategy": ("one_device", "mirrored", "multi_worker", "tpu"),
    "precision": ("float32", "float64", "mixed_bfloat16", "mixed_float16"),
    "on_corrupt": ("error", "skip"),
    "on_divergence": ("stop", "rollback"),
    "resume": ("latest", "older", "best"),
}

# `--smoke`: images of a side that all models take, and so many a step that parts, pairs and copies divide them.
SMOKE_SIZE, SMOKE_BATCH = 76, 12


class WrongInput(ValueError):
    """A run cannot begin: a name, a value, a file or a folder is wrong. The message says which, and what to do."""


class BadData(RuntimeError):
    """An element of the data cannot be used, or too many cannot. The message names them."""


class LostWorker(RuntimeError):
    """Another machine of the run is gone. The message names it; the last checkpoint is whole."""


class Diverged(ArithmeticError):
    """The loss is no longer a number, or has grown and stayed high. The last good checkpoint is kept."""


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
      test_image_size: the side in evaluation and serving, where it is another one; none for the same.
      crop: what of each training image is seen, as in `random_resized(scale=(0.25, 1))` or `pad(pixels=4)`.
      test_crop: the same in evaluation and serving, as in `center(fraction=0.875)`.
      tta: views of each test image over which evaluation takes the mean of the logits, as in `flip`; none for one.
      augment: random changes to each training image, as in `affine(degrees=10), horizontal_flip`.
      mix: mixes training images with each other, as in `mixup(alpha=0.2), cutmix(alpha=1)`.
      preprocess: `channel_mean_std`, `channel_mean`, `mean_image`, `whiten`, `unit` or `none`.
      data_init: what the data give a first value to, as in `whiten_patches(images=5000)` for the first convolution.
      epochs: passes over the training split; may grow when a run is resumed.
      batch_size: images a step, over all replicas.
      accumulate: parts of a batch that each replica computes one after the other, to need less memory.
      optimizer: how gradients change weights, as in `nesterov(momentum=0.9)`, `adamw` or `lars`.
      learning_rate: the highest one; used as it is written, whatever the batch size.
      schedule: what follows the warm-up, as in `cosine`, `multistep(epochs=(30, 60, 80))` or `plateau`.
      warmup_epochs: the rate climbs from 0 in a line over this many.
      cooldown_epochs: the rate falls to 0 in a line over this many, the last ones.
      weight_decay: the L2 term `weight_decay * weight` in each gradient, of kernels only.
      decoupled: the weights shrink by `rate * weight_decay` instead, as adamw and lion always have it.
      l1: the term `l1 * sign(weight)` in each gradient; together with weight_decay it is the elastic net.
      decay_all: weight_decay and l1 also act upon biases and the weights of norms.
      clip: limits gradients, as in `global_norm(limit=1.0)`, `agc(limit=0.01)`, `norm` or `value`.
      layer_decay: the rate of each block is this times that of the next; 1 for the same.
      loss: `softmax`, `binary(threshold=0.2, sum=True)` or `focal(gamma=2.0)`.
      label_smoothing: the share of each label that is spread over all classes.
      class_weights: `balanced`, or a number for each class with commas between; none for all 1.
      aux_weight: how much an auxiliary classifier's loss counts, or `auto` to have every loss start at 1.
      teacher: a run's folder, or NAME:WEIGHTS, of a trained model to learn from as well.
      distillation: how it is learned from: `soft(weight=0.5, temperature=1.0)` or `hard(weight=0.5)`.
      average: of the weights, to evaluate and export: `ema(decay=0.9999)` or `swa(start=0.75)`.
      patience: epochs without a better test accuracy after which the run ends; 0 for never.
      restore_best: the model at the end is the one with the best test accuracy, not the last.
    """

    model: str
    model_args: str = ""
    data: str
    train_split: str = "train"
    test_split: str = "test"
    image_size: int | None = None
    test_image_size: int | None = None
    crop: str = "resize"
    test_crop: str = "resize"
    tta: str = ""
    augment: str = ""
    mix: str = ""
    preprocess: str = "channel_mean_std"
    data_init: str = ""
    epochs: int
    batch_size: int
    accumulate: int = 1
    optimizer: str = "nesterov"
    learning_rate: float
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    cooldown_epochs: float = 0.0
    weight_decay: float = 0.0
    decoupled: bool = False
    l1: float = 0.0
    decay_all: bool = False
    clip: str = ""
    layer_decay: float = 1.0
    loss: str = "softmax"
    label_smoothing: float = 0.0
    class_weights: str = ""
    aux_weight: str = "0.3"
    teacher: str = ""
    distillation: str = "soft"
    average: str = ""
    patience: int = 0
    restore_best: bool = False

    def __post_init__(self) -> None:
        left = self.epochs - self.warmup_epochs
        checks = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "accumulate": (self.accumulate >= 1, "1 or more"),
            "image_size": (self.image_size is None or self.image_size >= 1, "1 or more, or none,"),
            "test_image_size": (
                self.test_image_size is None or (self.image_size is not None and self.test_image_size >= 1),
                "1 or more beside an image_size, or none,",
            ),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "warmup_epochs": (0 <= self.warmup_epochs <= self.epochs, f"from 0 to the {self.epochs} epochs"),
            "cooldown_epochs": (0 <= self.cooldown_epochs <= left, f"from 0 to the {left:g} epochs behind the warm-up"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "l1": (self.l1 >= 0, "0 or more"),
            "layer_decay": (0 < self.layer_decay <= 1, "above 0 and up to 1"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "from 0 to below 1"),
            "patience": (self.patience >= 0, "0 or more"),
        }
        _check(self, checks)

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
        """The same in two steps on a few small images: whether it runs, not how well.

        In place of a data set of TensorFlow Datasets come made-up images in its form, so that it need not be there. The
        rate shrinks with the batch: two steps at one for 2,048 images drive deep nets to infinity.
        """
        warmup = min(self.warmup_epochs, 1)
        return dataclasses.replace(
            self,
            data=re.sub("^tfds:", "synthetic:", self.data),
            image_size=self.image_size and min(self.image_size, SMOKE_SIZE),
            test_image_size=self.test_image_size and min(self.test_image_size, SMOKE_SIZE + 8),
            epochs=1,
            warmup_epochs=warmup,
            cooldown_epochs=min(self.cooldown_epochs, 1 - warmup),
            batch_size=SMOKE_BATCH,
            learning_rate=self.learning_rate * min(1, SMOKE_BATCH / self.batch_size),
            accumulate=min(self.accumulate, 2),
            train_split=f"{self.train_split.partition('[')[0]}[:{2 * SMOKE_BATCH}]",
            test_split=f"{self.test_split.partition('[')[0]}[:{SMOKE_BATCH + 3}]",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFlags:
    """Where and on what a recipe runs, from which seed, and what is done when something goes wrong.

    Attributes:
      data_dir: where TensorFlow Datasets keeps its files; none for `~/tensorflow_datasets`.
      model_dir: the run's folder; none for `runs/RECIPE`. A run that is there already is resumed.
      export_dir: where to put a SavedModel at the end; none for no export.
      strategy: `one_device`, `mirrored` (all GPUs of the machine), `multi_worker` or `tpu`.
      workers: HOST:PORT of every worker with commas between; none for what TF_CONFIG or Slurm says.
      worker_index: which of them this process is, from 0 on; worker 0 writes the files.
      tpu: the TPU's name or address.
      precision: `float32`, `float64`, `mixed_bfloat16` or `mixed_float16`.
      xla: whether XLA compiles the whole step: slower to start, often quicker then; with one_device.
      seed: of the initial weights and of everything that is drawn.
      cache: `memory`, or a folder on a quick disk, to keep the encoded images in.
      on_corrupt: `error`, or `skip` to do without up to 1 % of the images.
      data_service: host:port of a dispatcher (tools/data_service.py) whose workers prepare the training images.
      checkpoint_minutes: how often to save within an epoch; at its end is always.
      keep: how many of the newest checkpoints stay, beside the best.
      resume: which checkpoint to go on from: `latest`, `older` (if the latest is broken) or `best`.
      on_divergence: `stop`, or `rollback` to the last checkpoint at half the rate, three times at most.
      watch_every: steps between looks at gradients, updates and activations; 0 for none.
    """

    data_dir: str | None = None
    model_dir: str | None = None
    export_dir: str | None = None
    strategy: str = "one_device"
    workers: str = ""
    worker_index: int | None = None
    tpu: str = ""
    precision: str = "float32"
    xla: bool = False
    seed: int = 0
    cache: str | None = None
    on_corrupt: str = "error"
    data_service: str | None = None
    checkpoint_minutes: float = 10.0
    keep: int = 3
    resume: str = "latest"
    on_divergence: str = "stop"
    watch_every: int = 0

    def __post_init__(self) -> None:
        for flag, names in CHOICES.items():
            if (value := getattr(self, flag)) not in names:
                raise ValueError(f"no {flag} {value!r}: {close_names(value, names)}")
        checks = {
            "checkpoint_minutes": (self.checkpoint_minutes > 0, "above 0"),
            "keep": (self.keep >= 1, "1 or more"),
            "watch_every": (self.watch_every >= 0, "0 or more"),
        }
        _check(self, checks)
        check_flags(self.strategy, workers=self.workers, worker_index=self.worker_index, tpu=self.tpu)
        if self.xla and self.strategy != "one_device":
            raise ValueError("xla is for one_device: a TPU compiles by itself, and sums over replicas are not XLA's.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommandFlags:
    """What a command line has beside them.

    Attributes:
      smoke: two steps on a few images, evaluation and export, to see that everything runs.
      plot_schedule: a PNG file to draw the learning rate into; then nothing is trained.
    """

    smoke: bool = False
    plot_schedule: str | None = None


def _check(fields: Recipe | RunFlags, checks: dict[str, tuple[bool, str]]) -> None:
    for name, (holds, wanted) in checks.items():
        if not holds:
            raise ValueError(f"{name}={getattr(fields, name)!r} is out of range: {wanted} is wanted.")


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
    define_flags(values, CommandFlags())
    rest = console.parse_flags(values, module.__doc__ or name, argv)
    if rest:
        console.fail(f"{rest[0]!r} is not a flag: flags are written --NAME=VALUE.")
    try:
        recipe = dataclasses.replace(recipe, **_chosen(values, Recipe))
        run_flags = RunFlags(**_chosen(values, RunFlags))
    except ValueError as error:
        console.fail(error)
    _train(name.rpartition(".")[2], recipe, run_flags, CommandFlags(**_chosen(values, CommandFlags)))


def _train(name: str, recipe: Recipe, run_flags: RunFlags, command: CommandFlags) -> NoReturn:
    model_dir, export_dir = run_flags.model_dir or str(Path("runs") / name), run_flags.export_dir
    if command.smoke:
        recipe = recipe.smoke()
        model_dir = run_flags.model_dir or tempfile.mkdtemp(prefix=f"{name}-smoke-")
        export_dir = export_dir or str(Path(model_dir) / "export")
    run_flags = dataclasses.replace(run_flags, model_dir=model_dir, export_dir=export_dir)
    try:
        with console.quiet_start():
            from kerascnn.train.loop import plot_schedule, run
        if command.plot_schedule:
            plot_schedule(recipe, command.plot_schedule, data_dir=run_flags.data_dir)
            print(f"Plot:   {command.plot_schedule}")
            sys.exit(0)
        result = run(recipe, **vars(run_flags))
    except KeyboardInterrupt:
        console.fail("stopped at once; a run that was under way goes on from its last checkpoint.", 130)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signal)
    except WrongInput as error:
        console.fail(error)
    except Diverged as error:
        console.fail(error, 3)
    except (BadData, LostWorker, OSError) as error:  # a full disk, say: what was saved before is whole
        console.fail(error, 1)
    if result.files:
        print(f"Model:  {result.files.model}\nReport: {result.files.report}")
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
