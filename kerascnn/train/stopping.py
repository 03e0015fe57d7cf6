"""What decides whether a run goes on: the loss while it trains, the accuracy after each epoch."""

import math
from collections.abc import Iterable

import numpy as np

from kerascnn.train.recipe import Diverged, Recipe

HIGH, HIGH_STEPS = 3.0, 100  # a loss so many times the first, for so many steps, does not come back
OVERFLOWS = 20  # steps that float16 may need in a row to find its loss scale
ROLLBACKS = 3

ADVICE = "Try a lower --learning_rate, more --warmup_epochs or --clip='global_norm(limit=1.0)', in another --model_dir."


class Course:
    """How a run has gone so far, in plain numbers, so that a checkpoint can hold them. The same on every worker.

    Args:
      recipe: for its patience.
      plateau: the schedule's, or None.
      patient: whether a loss that is no number may be an overflow that the loss scale will mend.

    Attributes:
      first_loss: of the first step; NaN before it.
      high, broken: steps in a row until now whose loss is high, or no number.
      rollbacks: how often the run went back and halved its rate.
      best, best_epoch: the best test accuracy so far, and the first epoch that had it.
      ended: whether the run has ended before its last epoch.
    """

    def __init__(self, recipe: Recipe, plateau=None, *, patient: bool = False):
        self._patience, self._plateau, self._patient = recipe.patience, plateau, patient
        self.first_loss, self.high, self.broken, self.rollbacks = math.nan, 0, 0, 0
        self.best, self.best_epoch, self.ended = -math.inf, 0, False
        self.plateau = plateau.start() if plateau else np.zeros(0)

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it, for a checkpoint."""
        return {
            "loss": np.array([self.first_loss, self.high, self.broken]),
            "rollbacks": np.array(self.rollbacks),
            "best": np.array([self.best, self.best_epoch]),
            "ended": np.array(self.ended),
            "plateau": self.plateau,
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Sets it to what `arrays` gave."""
        first_loss, high, broken = arrays["loss"]
        self.first_loss, self.high, self.broken = float(first_loss), int(high), int(broken)
        self.best, self.best_epoch = float(arrays["best"][0]), int(arrays["best"][1])
        self.rollbacks, self.ended, self.plateau = int(arrays["rollbacks"]), bool(arrays["ended"]), arrays["plateau"]

    def after_steps(self, losses: Iterable[float], first: int) -> None:
        """Looks at the losses of the steps from number `first` on.

        Raises:
          Diverged: one of them is no number, or they have been high for too long.
        """
        for step, loss in enumerate(losses, first):
            if math.isnan(self.first_loss) and math.isfinite(loss):
                self.first_loss = float(loss)
            self.broken = 0 if math.isfinite(loss) else self.broken + 1
            self.high = self.high + 1 if loss > HIGH * self.first_loss else 0
            if self.broken > (OVERFLOWS if self._patient else 0):
                raise Diverged(f"the loss is {loss} in step {step}.")
            if self.high >= HIGH_STEPS:
                raise Diverged(
                    f"the loss is {loss:.4g} in step {step} and was above {HIGH:g} times the first step's, "
                    f"{self.first_loss:.4g}, for {HIGH_STEPS} steps."
                )

    def after_epoch(self, epoch: int, *, loss: float, accuracy: float) -> bool:
        """Takes an evaluation into account; returns whether it is the best so far. Ends a run that has no patience."""
        if self._plateau:
            self.plateau = self._plateau.after(self.plateau, loss)
        better = accuracy > self.best
        if better:
            self.best, self.best_epoch = accuracy, epoch
        if self._patience and epoch - self.best_epoch >= self._patience:
            self.ended = True
        return better

    def rate_factor(self) -> float:
        """What the schedule's rate is multiplied with."""
        return (self._plateau.factor(self.plateau) if self._plateau else 1.0) * 0.5**self.rollbacks
