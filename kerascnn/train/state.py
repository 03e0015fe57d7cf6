"""What a run is made of, and what a checkpoint keeps of it."""

import dataclasses
import zlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerascnn.evaluate import tta
from kerascnn.models import create_model
from kerascnn.train import averages, checkpoints, data_init
from kerascnn.train.inputs import Inputs
from kerascnn.train.losses import Objective
from kerascnn.train.optimizers import Update
from kerascnn.train.recipe import Recipe, RunFlags
from kerascnn.train.run_dir import RunDir
from kerascnn.train.schedules import Schedule, make_schedule
from kerascnn.train.steps import make_agree
from kerascnn.train.stopping import Course
from kerascnn.train.strategy import dtype_policy, worker_of
from kerascnn.train.teacher import load_teacher


class State:
    """A run: its inputs, model and optimiser, and its place between the first step and the last.

    Attributes:
      worker, workers: which of how many processes this is; worker 0 writes the run's folder.
      objective: what is made small.
      update: how gradients change the weights.
      average: of the weights, with a model of its own; None where the recipe wants none.
      views: what evaluation sees of each image; None for the image alone.
      data_init: what the data give a first value to; None for nothing.
      course: what decides whether the run goes on, and at which share of the schedule's rate.
      step: steps done.
      epoch: epochs done, each with its evaluation and its checkpoint.
      totals: `kerascnn.evaluate.metrics.sums` over the epoch that is under way.
      finished: whether the run has its model and its report.
      history: a row of `metrics.csv` for each epoch done.

    Raises:
      ValueError: something that the recipe names does not exist or does not fit.
    """

    def __init__(
        self, recipe: Recipe, flags: RunFlags, folder: RunDir, inputs: Inputs, strategy: tf.distribute.Strategy
    ):
        self.recipe, self.flags, self.folder, self.inputs, self.strategy = recipe, flags, folder, inputs, strategy
        self.worker, self.workers = worker_of(strategy)
        self.replicas = strategy.num_replicas_in_sync
        self._agree = make_agree(strategy)
        self.steps_per_epoch = inputs.steps_per_epoch
        shares = self.replicas * recipe.accumulate
        for size in (recipe.batch_size, inputs.step_size):
            if size % shares:
                raise ValueError(
                    f"batch_size={size} cannot be shared out among {self.replicas} replicas"
                    + (f", in {recipe.accumulate} parts each." if recipe.accumulate > 1 else ".")
                )
        self.schedule = schedule_of(recipe, self.steps_per_epoch)
        self.views = self._make_views()
        self.data_init = data_init.parse(recipe.data_init)
        keras.utils.set_random_seed(flags.seed)
        with dtype_policy(flags.precision), strategy.scope():
            sides = inputs.image_size if inputs.image_size == inputs.preprocessing.image_size else (None, None)
            self.model = self.create_model(sides)
            if self.data_init:
                self.data_init.layer(self.model)  # or its error
            self.update = Update(
                self.model,
                optimizer=recipe.optimizer,
                weight_decay=recipe.weight_decay,
                decoupled=recipe.decoupled,
                l1=recipe.l1,
                decay_all=recipe.decay_all,
                clip=recipe.clip,
                layer_decay=recipe.layer_decay,
                dynamic_scale=flags.precision == "mixed_float16",
            )
            self.objective = self._make_objective()
            spec = averages.parse(recipe.average)
            self.average = averages.Average(spec, self.model, self.create_model(sides)) if spec else None
            self.rate_factor = tf.Variable(1.0, trainable=False, name="rate_factor")
            # One replica's gradients of the parts of a batch.
            self.accumulated = [
                tf.Variable(
                    tf.zeros(variable.shape, variable.dtype),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.SUM,
                )
                for variable in (self.model.trainable_variables if recipe.accumulate > 1 else ())
            ]
        if self.replicas > 1:  # statistics over the global batch: one device and many compute the same
            for layer in [*self.model.layers, *(self.average.twin.layers if self.average else ())]:
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.synchronized = True
        self.course = Course(recipe, self.schedule.plateau, patient=flags.precision == "mixed_float16")
        self.step, self.epoch, self.totals, self.finished = 0, 0, np.zeros(3), False
        self.history: list[dict[str, float]] = []

    def create_model(self, sides: tuple[int | None, int | None] | None = None, **overrides: Any) -> keras.Model:
        """A new model of the recipe, or one that differs from it; for images of evaluation's size, or of others."""
        preprocessing = self.inputs.preprocessing
        return create_model(
            self.recipe.model,
            num_classes=len(preprocessing.class_names),
            input_shape=(*(sides or preprocessing.image_size), preprocessing.channels),
            **(self.recipe.overrides() | overrides),
        )

    def _make_objective(self) -> Objective:
        recipe, inputs = self.recipe, self.inputs
        for field, there, what in (
            ("aux_weight", len(self.model.outputs) > 1, f"{recipe.model} has no auxiliary classifiers"),
            ("distillation", recipe.teacher, "there is no teacher"),
        ):
            if not there and getattr(recipe, field) != getattr(Recipe, field):
                raise ValueError(f"{field}={getattr(recipe, field)!r}: {what}. Leave it out.")
        classes = len(inputs.source.class_names)
        counts = inputs.class_counts() if recipe.class_weights == "balanced" else None
        teacher = None
        if recipe.teacher:
            teacher = load_teacher(
                recipe.teacher, classes=classes, image_size=inputs.image_size, channels=inputs.source.channels
            )
        return Objective(
            recipe.loss,
            recipe.label_smoothing,
            classes=classes,
            class_weights=recipe.class_weights,
            class_counts=counts,
            heads=len(self.model.outputs),
            aux_weight=recipe.aux_weight,
            teacher=teacher,
            distillation=recipe.distillation,
        )

    def _make_views(self) -> tta.Views | None:
        views = tta.parse(self.recipe.tta, self.inputs.preprocessing.image_size)
        if views and views.scales:
            raise ValueError(
                f"tta={self.recipe.tta!r} is for `kerascnn evaluate`, which can decode images at other sizes."
            )
        return views

    def take_first_values(self) -> None:
        """Gives the model what `data_init` finds in the data. Every worker comes here; the first one reads the data."""
        if not self.data_init:
            return
        layer, inputs = self.data_init.layer(self.model), self.inputs
        kernel = np.zeros(layer.kernel.shape)
        if self.worker == 0:
            seen = dataclasses.replace(inputs.preprocessing, image_size=inputs.image_size)
            images = data_init.images_of(inputs.source, self.recipe.train_split, seen, self.data_init.images)
            kernel = self.data_init.kernel(kernel.shape, images)
        kernel = self.agree(*kernel.flat).reshape(kernel.shape)
        for model in (self.model, *([self.average.twin] if self.average else [])):
            model.get_layer(layer.name).kernel.assign(kernel)

    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule(self.step)) * float(self.rate_factor.numpy())

    def agree(self, *values: float) -> np.ndarray:
        """Sums over the workers of what each brings; those who come first wait for the others."""
        return self._agree(*values) * self.workers / self.replicas if self.workers > 1 else np.array(values)

    def variables(self) -> dict[str, Any]:
        """All that a checkpoint holds in variables, by names that are the same in every process."""
        return {
            **{
                f"model/{layer.name}/{i}_{variable.name}": variable  # a layer's random state has a counted-up path
                for layer in self.model.layers
                for i, variable in enumerate(layer.variables)
            },
            **self.update.variables,
            **self.objective.variables,
            **(self.average.variables if self.average else {}),
        }

    def at_end(self) -> bool:
        """Whether all epochs are done, or as many as the run shall have."""
        return self.epoch >= self.recipe.epochs or self.course.ended

    def end_epoch(self, row: dict[str, float], *, stop: bool = False) -> None:
        """Takes an epoch's row of `metrics.csv` into account, and saves. `stop`: whether this worker wants no more."""
        kind = "average" if self.average else "test"
        best = self.course.after_epoch(self.epoch + 1, loss=row[f"{kind}_loss"], accuracy=row[f"{kind}_accuracy"])
        self.course.ended |= bool(self.agree(float(stop)).any())
        self.rate_factor.assign(self.course.rate_factor())
        self.epoch, self.totals = self.epoch + 1, np.zeros(3)
        self.history.append(row)
        if self.worker == 0:
            self.folder.write_metrics(self.history)
        if best or not self.course.high:  # else it may be on its way to diverge: the last good one is worth more
            self.save(best=best)

    def save(self, *, best: bool = False, finished: bool = False) -> None:
        """Writes a checkpoint. Every worker comes here; the first one writes.

        Args:
          best: whether it is the best so far, which is kept.
          finished: whether the run has its model and its report.

        Raises:
          OSError: it cannot be written; the older ones are whole.
        """
        self.finished = finished
        error = None
        if self.worker == 0:
            arrays = {name: variable.numpy() for name, variable in self.variables().items()}
            arrays |= {f"course/{name}": value for name, value in self.course.arrays().items()}
            arrays |= {name: np.asarray(getattr(self, name)) for name in ("step", "epoch", "totals", "finished")}
            try:
                checkpoints.save(self.folder.checkpoints, self.step, arrays, keep=self.flags.keep, best=best)
            except OSError as failed:
                error = failed
        if self.agree(float(error is not None)).any():
            raise error or OSError("worker 0 could not write a checkpoint; its own message says why.")

    def check_workers(self) -> None:
        """Passes if all workers see the same folder, and are at the same place of the same run.

        Raises:
          ValueError: one does not.
        """
        if self.workers == 1:
            return
        recipe = repr((dataclasses.asdict(self.recipe), self.flags.precision, self.flags.seed))
        marks = {
            "run of the recipe": zlib.crc32(recipe.encode()),
            "preprocessing": zlib.crc32(repr(self.inputs.preprocessing).encode()),
            "place in the run, so another --model_dir (workers have to share one)": self.step,
        }
        own = np.array(list(marks.values()), np.float64)
        mean = self.agree(*own) / self.workers
        for what, differs in zip(marks, self.agree(*(own != mean)) > 0, strict=True):
            if differs:
                raise ValueError(f"the workers differ in their {what}. Start all of them with the same command.")

    def resume(self, which: str = "latest") -> None:
        """Goes to the place of a checkpoint; without one, the run begins here.

        Raises:
          ValueError: the checkpoint is broken, or of another model.
        """
        arrays = checkpoints.load(self.folder.checkpoints, which)
        if arrays is None:
            return
        # A run that changes to float16 has no scale to go on with.
        self._restore(arrays, lambda name: name in arrays or not name.startswith("loss_scale/"))
        self.step, self.epoch, self.totals = int(arrays["step"]), int(arrays["epoch"]), arrays["totals"]
        self.finished = bool(arrays["finished"])
        self.course.restore({name: arrays[f"course/{name}"] for name in self.course.arrays()})
        self.rate_factor.assign(self.course.rate_factor())
        self.history = self.folder.read_metrics(self.epoch)

    def restore_best(self) -> None:
        """Gives the model, and the average, the weights of the epoch with the best test accuracy."""
        arrays = checkpoints.load(self.folder.checkpoints, "best")
        self._restore(arrays, lambda name: name.startswith(("model/", "average/")))

    def _restore(self, arrays, wanted):
        variables = {name: variable for name, variable in self.variables().items() if wanted(name)}
        checkpoints.restore(variables, arrays, self.folder.checkpoints)


def schedule_of(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """The schedule of a recipe; a ValueError where it has none of this name."""
    return make_schedule(
        recipe.schedule,
        learning_rate=recipe.learning_rate,
        epochs=recipe.epochs,
        steps_per_epoch=steps_per_epoch,
        warmup_epochs=recipe.warmup_epochs,
        cooldown_epochs=recipe.cooldown_epochs,
    )
