"""What a run is made of, and what a checkpoint keeps of it."""

from typing import Any

import keras
import numpy as np

from kerascnn.models import create_model
from kerascnn.train import checkpoints
from kerascnn.train.inputs import Inputs
from kerascnn.train.optimizers import LossScale
from kerascnn.train.recipe import Recipe
from kerascnn.train.run_dir import RunDir
from kerascnn.train.schedules import make_schedule
from kerascnn.train.strategy import dtype_policy, make_strategy


class State:
    """A run: its inputs, model and optimiser, and its place between the first step and the last.

    Attributes:
      step: steps done.
      epoch: epochs done, each with its evaluation and its checkpoint.
      totals: `kerascnn.evaluate.metrics.sums` over the epoch that is under way.
      history: a row of `metrics.csv` for each epoch done.

    Raises:
      ValueError: something that the recipe names does not exist or does not fit.
    """

    def __init__(self, recipe: Recipe, folder: RunDir, inputs: Inputs, *, strategy: str, precision: str, seed: int):
        self.recipe, self.folder, self.inputs, self.seed = recipe, folder, inputs, seed
        self.steps_per_epoch = inputs.steps_per_epoch
        self.strategy = make_strategy(strategy)
        self.replicas = self.strategy.num_replicas_in_sync
        for size in (recipe.batch_size, inputs.step_size):
            if size % self.replicas:
                raise ValueError(f"batch_size={size} cannot be shared out among {self.replicas} replicas.")

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
        self.step, self.epoch, self.totals = 0, 0, np.zeros(3)
        self.history: list[dict[str, float]] = []

    def create_model(self) -> keras.Model:
        """A new model of the recipe."""
        preprocessing = self.inputs.preprocessing
        return create_model(
            self.recipe.model,
            num_classes=len(preprocessing.class_names),
            input_shape=(*preprocessing.image_size, preprocessing.channels),
            **self.recipe.overrides(),
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

    def save(self, *, epoch: int) -> None:
        """Writes a checkpoint in which `epoch` epochs are done."""
        self.epoch = epoch
        arrays = {name: variable.numpy() for name, variable in self.variables().items()}
        place = {"step": np.int64(self.step), "epoch": np.int64(epoch), "totals": self.totals}
        checkpoints.save(self.folder.checkpoints, self.step, arrays | place)

    def resume(self) -> None:
        """Goes to the place of the last whole checkpoint; without one, the run begins here.

        Raises:
          ValueError: the checkpoint is of another model.
        """
        arrays = checkpoints.latest(self.folder.checkpoints)
        if arrays is None:
            return
        # A run that changes to float16 has no scale to go on with.
        wanted = {k: v for k, v in self.variables().items() if k in arrays or not k.startswith("loss_scale/")}
        checkpoints.restore(wanted, arrays, self.folder.checkpoints)
        self.step, self.epoch, self.totals = int(arrays["step"]), int(arrays["epoch"]), arrays["totals"]
        self.history = self.folder.read_metrics(self.epoch)
