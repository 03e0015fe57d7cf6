"""The training loop: one compiled function over `tf.distribute`, called again and again.

Not Keras's `fit`: that averages metrics over replicas, which is wrong for a partial batch, and does not run on many
machines. What is trained is a plain Keras model all the same.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerascnn import data, serve
from kerascnn.data import augment
from kerascnn.data.batches import padded, steps_per_epoch
from kerascnn.evaluate import metrics
from kerascnn.models import create_model
from kerascnn.train import checkpoints
from kerascnn.train.finish import finish
from kerascnn.train.interrupt import Interrupt, Interrupted
from kerascnn.train.optimizers import LossScale, apply_gradients
from kerascnn.train.recipe import Diverged, Recipe, WrongInput
from kerascnn.train.run_dir import RunDir
from kerascnn.train.schedules import make_schedule
from kerascnn.train.steps import Steps
from kerascnn.train.strategy import dtype_policy, make_strategy
from kerascnn.train.watch import Watch


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
      model: the trained model, plain Keras in float32, as it stands in `model_dir/model.keras`.
      history: a row for each epoch, as in `metrics.csv`.
      preprocessing: what its images go through.
      bundle: the exported SavedModel's folder, or None.
    """

    model: keras.Model
    history: list[dict[str, float]]
    preprocessing: data.Preprocessing
    bundle: Path | None


def run(
    recipe: Recipe,
    *,
    model_dir: str | os.PathLike,
    data_dir: str | None = None,
    strategy: str = "one_device",
    precision: str = "float32",
    export_dir: str | None = None,
    seed: int = 0,
) -> Result:
    """Trains a recipe, or goes on with the run that `model_dir` holds; a finished one is loaded.

    Args:
      recipe: what to train.
      model_dir: the folder that receives everything: see `kerascnn.train.run_dir`.
      data_dir, strategy, precision, export_dir, seed: as in `kerascnn.train.recipe.RunFlags`.

    Raises:
      WrongInput: a name, a value or a folder that cannot be used; nothing was changed.
      Interrupted: Ctrl-C or SIGTERM came; everything is saved.
      Diverged: the loss is no longer a number.
      OSError: a file could not be written; the older checkpoints are whole.
    """
    flags = {"data_dir": data_dir, "strategy": strategy, "precision": precision, "export_dir": export_dir, "seed": seed}
    with Interrupt() as interrupt:
        with _wrong_input():
            if keras.backend.backend() != "tensorflow":
                raise ValueError(f"training runs on TensorFlow, not {keras.backend.backend()}: unset KERAS_BACKEND.")
            folder = RunDir(Path(model_dir))
            folder.check(recipe)
            training = Training(recipe, folder, data.open_source(recipe.data, data_dir), strategy, precision, seed)
            training.resume()
            record = folder.write_recipe(recipe, flags)
        if training.epoch < recipe.epochs:
            training.train(interrupt)
            model = finish(training, record)
            training.totals = np.zeros(3)
            training.save(recipe.epochs)
        else:
            print(f"Finished before: {folder.path} holds {recipe.epochs} epochs. More --epochs would go on from there.")
            from kerascnn.models import load_model

            model = load_model(folder.model)
    bundle = serve.export(model, export_dir, training.preprocessing) if export_dir else None
    return Result(model, training.history, training.preprocessing, bundle)


class Training:
    """A run's model, optimiser and place, from its first step to its last."""

    def __init__(self, recipe, folder, source, strategy, precision, seed):
        self.recipe, self.folder, self.source, self.seed = recipe, folder, source, seed
        if folder.preprocessing.exists():
            self.preprocessing = data.Preprocessing.load(folder.preprocessing)
        else:
            self.preprocessing = data.measure(
                source, recipe.train_split, image_size=recipe.image_size, mode=recipe.preprocess
            )
        augment.parse(recipe.augment)
        source.size(recipe.test_split)
        self.steps_per_epoch = steps_per_epoch(source, recipe.train_split, recipe.batch_size)
        self.strategy = make_strategy(strategy)
        self.replicas = self.strategy.num_replicas_in_sync
        if recipe.batch_size % self.replicas:
            raise ValueError(f"batch_size={recipe.batch_size} cannot be shared out among {self.replicas} replicas.")

        keras.utils.set_random_seed(seed)
        with dtype_policy(precision), self.strategy.scope():
            self.model = self.create_model()
            rate = make_schedule(
                recipe.schedule,
                recipe.learning_rate,
                steps=recipe.epochs * self.steps_per_epoch,
                warmup_steps=round(recipe.warmup_epochs * self.steps_per_epoch),
            )
            self.optimizer = keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=recipe.nesterov, name="sgd")
            self.optimizer.build(self.model.trainable_variables)
            self.loss_scale = LossScale(dynamic=precision == "mixed_float16")
        if self.replicas > 1:  # statistics over the global batch: one device and many compute the same
            for layer in self.model.layers:
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.synchronized = True
        self.train_steps = Steps(self.strategy, self.train_step)
        self.test_steps = Steps(self.strategy, self.test_step)
        self.test_data = self.batches(self.test_batches)
        # The place: steps done, epochs done, and the sums over the epoch that is under way.
        self.step, self.epoch, self.totals, self.history = 0, 0, np.zeros(3), []

    def create_model(self) -> keras.Model:
        """A new model of the recipe."""
        return create_model(
            self.recipe.model,
            num_classes=len(self.source.class_names),
            input_shape=(*self.preprocessing.image_size, self.preprocessing.channels),
            **self.recipe.overrides(),
        )

    def train_step(self, images, labels):
        """One replica's share of a step."""
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            losses = metrics.cross_entropy(labels, logits, self.recipe.label_smoothing)
            # The mean over the global batch: replicas add their shares up.
            loss = tf.reduce_sum(losses) / self.recipe.batch_size * self.loss_scale.scale
        gradients = tape.gradient(loss, variables)
        apply_gradients(self.optimizer, self.loss_scale, gradients, variables, self.recipe.weight_decay)
        return metrics.sums(labels, logits, losses)

    def test_step(self, images, labels, weights):
        """One replica's share of an evaluation step."""
        logits = self.model(images, training=False)
        return metrics.sums(labels, logits, metrics.cross_entropy(labels, logits), weights)

    def train(self, interrupt: Interrupt) -> None:
        """From where the run is to the end of its last epoch, with a checkpoint after each."""
        recipe, seconds, started = self.recipe, sum(row["seconds"] for row in self.history[-1:]), time.perf_counter()
        batches = iter(self.batches(self.train_batches))
        with Watch(
            images=recipe.epochs * self.steps_per_epoch * recipe.batch_size,
            done=self.step * recipe.batch_size,
            epochs=recipe.epochs,
            log_dir=self.folder.tensorboard,
        ) as watch:
            for epoch in range(self.epoch + 1, recipe.epochs + 1):
                for count, sums in self.train_steps(batches, epoch * self.steps_per_epoch - self.step):
                    self.step += count
                    self.totals += sums
                    loss, accuracy = metrics.means(self.totals)
                    watch.images(count * recipe.batch_size, epoch=epoch, loss=loss, accuracy=accuracy, rate=self.rate())
                    if not np.isfinite(loss):
                        raise Diverged(
                            f"the loss is {loss} by step {self.step}. Try a lower --learning_rate or more "
                            f"--warmup_epochs, in another --model_dir; {self.folder.path} keeps what was before."
                        )
                    self.stop_if_asked(interrupt)
                loss, accuracy = metrics.means(self.totals)
                test_loss, test_accuracy = metrics.means(self.evaluate(interrupt))
                self.history.append(
                    {
                        "epoch": epoch,
                        "step": self.step,
                        "learning_rate": self.rate(),
                        "train_loss": loss,
                        "train_accuracy": accuracy,
                        "test_loss": test_loss,
                        "test_accuracy": test_accuracy,
                        "images_per_second": self.train_steps.per_second() * recipe.batch_size,
                        "seconds": seconds + time.perf_counter() - started,
                    }
                )
                watch.epoch(self.history[-1])
                self.folder.write_metrics(self.history)
                if epoch < recipe.epochs:
                    self.totals = np.zeros(3)
                    self.save(epoch)
                else:  # the run is finished when its model and report are written, too: till then its last epoch is not
                    self.save(epoch - 1)

    def evaluate(self, interrupt: Interrupt | None = None) -> np.ndarray:
        """[sum of losses, number right, number of examples] over the test split, each example counted once."""
        steps = -(-self.source.size(self.recipe.test_split) // self.recipe.batch_size)
        totals = np.zeros(3)
        for _, sums in self.test_steps(iter(self.test_data), steps):
            totals += sums
            if interrupt:
                self.stop_if_asked(interrupt)
        return totals

    def train_batches(self) -> tf.data.Dataset:
        """Global batches from the run's place on."""
        return data.pipeline(
            self.source,
            self.recipe.train_split,
            batch_size=self.recipe.batch_size,
            augment=self.recipe.augment,
            preprocess=self.preprocessing,
            seed=self.seed,
            start_step=self.step,
        )

    def test_batches(self) -> tf.data.Dataset:
        """Global batches of the whole test split, filled up with examples of weight 0."""
        batches = data.pipeline(
            self.source,
            self.recipe.test_split,
            batch_size=self.recipe.batch_size,
            preprocess=self.preprocessing,
            train=False,
        )
        return padded(batches, self.recipe.batch_size)

    def batches(self, make: Callable[[], tf.data.Dataset]):
        """Each global batch, shared out among the replicas in its order."""
        return self.strategy.distribute_datasets_from_function(
            lambda _: make().rebatch(self.recipe.batch_size // self.replicas) if self.replicas > 1 else make()
        )

    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.learning_rate)

    def variables(self) -> dict[str, Any]:
        """All that a checkpoint holds of the model and its optimiser, by names that are the same in every process."""
        return {
            **{
                f"model/{layer.name}/{i}_{variable.name}": variable  # a layer's random state has a counted-up path
                for layer in self.model.layers
                for i, variable in enumerate(layer.variables)
            },
            **{f"optimizer/{variable.path}": variable for variable in self.optimizer.variables},
            **{f"loss_scale/{name}": variable for name, variable in self.loss_scale.variables.items()},
        }

    def save(self, epoch: int) -> None:
        """Writes a checkpoint: `epoch` epochs are done."""
        self.epoch = epoch
        arrays = {name: variable.numpy() for name, variable in self.variables().items()}
        place = {"step": np.int64(self.step), "epoch": np.int64(epoch), "totals": self.totals}
        checkpoints.save(self.folder.checkpoints, self.step, arrays | place)

    def resume(self) -> None:
        """Goes to the place of the last whole checkpoint; without one the run begins here."""
        self.preprocessing.save(self.folder.preprocessing)
        arrays = checkpoints.latest(self.folder.checkpoints)
        if arrays is None:
            return
        # A run that changes to float16 has no scale to go on with.
        wanted = {k: v for k, v in self.variables().items() if k in arrays or not k.startswith("loss_scale/")}
        checkpoints.restore(wanted, arrays, self.folder.checkpoints)
        self.step, self.epoch, self.totals = int(arrays["step"]), int(arrays["epoch"]), arrays["totals"]
        self.history = self.folder.read_metrics(self.epoch)
        if self.epoch < self.recipe.epochs:
            print(f"Resuming {self.folder.path} after step {self.step} ({self.epoch} of {self.recipe.epochs} epochs).")

    def stop_if_asked(self, interrupt: Interrupt) -> None:
        """Saves and leaves when a signal came."""
        if interrupt.signal is not None:
            self.save(self.epoch)
            raise Interrupted(
                interrupt.signal,
                f"Stopped after step {self.step}, saved in {self.folder.path}. The same command goes on from there.",
            )


@contextlib.contextmanager
def _wrong_input() -> Iterator[None]:
    """What fails while a run is prepared is the input's fault, and has changed nothing yet."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise WrongInput(str(error)) from error
