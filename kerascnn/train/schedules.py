"""The learning rate at each step, by name.

A schedule is named as it is called, as in `cosine(end=0.01)`. A warm-up may stand ahead of it, a cool-down behind it:

warm-up    over the first `warmup_epochs` in a line from 0 to where the schedule then begins
cool-down  over the last `cooldown_epochs` in a line from where the schedule then is to 0 (arXiv:2106.04560)

The schedule has the epochs between them for itself: a cosine has fallen when the cool-down begins. Those whose papers
name epochs, `step` and `multistep`, count them from the very start, through the warm-up; all others from its end.

`end`, `start` and `smallest` are shares of `learning_rate`, as every number here is but epochs: another learning rate
leaves the curve its shape.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from kerascnn.data import calls


class Span(NamedTuple):
    """What a shape is stretched over, in steps: an epoch, and all between the warm-up and the cool-down."""

    epoch: int
    length: int


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Lowers the rate where the loss of evaluations falls no more, as PyTorch's ReduceLROnPlateau does.

    Its state is one float64 array, for checkpoints: [the factor, the lowest loss, evaluations since it].

    Attributes:
      by: what the factor is multiplied by.
      patience: so many evaluations without a lower loss are borne; one more lowers the rate.
      threshold: a loss is lower if it is below `(1 - threshold)` times the lowest so far.
      smallest: the factor goes no lower.
    """

    by: float
    patience: int
    threshold: float
    smallest: float

    def start(self) -> np.ndarray:
        """The state before the first evaluation."""
        return np.array([1.0, np.inf, 0.0])

    def after(self, state: np.ndarray, loss: float) -> np.ndarray:
        """The state after an evaluation that gave `loss`. One that is no number is not lower."""
        factor, lowest, waited = state
        lower = loss < lowest * (1 - self.threshold)
        lowest, waited = (loss, 0) if lower else (lowest, waited + 1)
        if waited > self.patience:
            factor, waited = max(factor * self.by, self.smallest), 0
        return np.array([factor, lowest, waited])

    def factor(self, state: np.ndarray) -> float:
        """What the schedule's rate is to be multiplied by."""
        return float(state[0])


@dataclasses.dataclass(frozen=True)
class Shape:
    """A schedule of height 1.

    Attributes:
      share: (steps float64, Span) -> shares of the learning rate, float64.
      from_start: the steps are counted from the run's first one, not from the end of the warm-up.
      warms_up: there is a warm-up in it.
      plateau: what lowers it further.
    """

    share: Callable
    from_start: bool = False
    warms_up: bool = False
    plateau: Plateau | None = None


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Call it with the number of steps done, an integer or any array of them: float32 rates of the same shape.

    It computes in float64 and can be part of a compiled function. Behind the last step the rate stays.

    Attributes:
      shape: what it is made of.
      learning_rate: the highest rate.
      epoch: steps in one.
      steps: in all, of which `warmup` and `cooldown` are those.
      plateau: None, or what gives a factor of the rate after each evaluation.
    """

    shape: Shape
    learning_rate: float
    epoch: int
    steps: int
    warmup: int
    cooldown: int

    @property
    def plateau(self) -> Plateau | None:
        return self.shape.plateau

    def __call__(self, step):
        step = tf.cast(tf.convert_to_tensor(step, dtype_hint=tf.int64), tf.float64)
        last = float(self.steps - self.cooldown)
        rate = self._scheduled(tf.clip_by_value(step, self.warmup, last))
        if self.warmup:
            rate *= tf.minimum(step / self.warmup, 1)
        if self.cooldown:
            rate *= tf.clip_by_value((self.steps - step) / self.cooldown, 0, 1)
        return tf.cast(rate, tf.float32)

    def _scheduled(self, step):
        """The rates between the warm-up and the cool-down."""
        since = step if self.shape.from_start else step - self.warmup
        length = max(self.steps - self.warmup - self.cooldown, 1)
        return self.learning_rate * self.shape.share(since, Span(self.epoch, length))


def make_schedule(
    text: str,
    *,
    learning_rate: float,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: float = 0.0,
    cooldown_epochs: float = 0.0,
) -> Schedule:
    """The schedule that a text names, for a run of `epochs`. See this module for warm-up and cool-down.

    Args:
      text: one of `SCHEDULES`.
      learning_rate: the highest rate.

    Raises:
      ValueError: the text has another form, a name or a value cannot be, or the parts do not fit into the run.
    """
    shapes = calls.evaluate(text, SCHEDULES, "schedule")
    if len(shapes) != 1:
        raise ValueError(f"schedule={text!r}: one is wanted, as in 'cosine(end=0.01)'.")
    shape: Shape = shapes[0]
    if learning_rate <= 0:
        raise ValueError(f"learning_rate={learning_rate}: above 0 is wanted.")
    if warmup_epochs < 0 or cooldown_epochs < 0 or warmup_epochs + cooldown_epochs > epochs:
        raise ValueError(
            f"warmup_epochs={warmup_epochs} and cooldown_epochs={cooldown_epochs} do not fit into epochs={epochs}."
        )
    if shape.warms_up and warmup_epochs:
        raise ValueError(f"schedule={text!r} warms up by itself: warmup_epochs={warmup_epochs} has to be 0.")
    warmup, cooldown = round(warmup_epochs * steps_per_epoch), round(cooldown_epochs * steps_per_epoch)
    schedule = Schedule(shape, learning_rate, steps_per_epoch, epochs * steps_per_epoch, warmup, cooldown)
    if not float(schedule(schedule.steps - cooldown)) and cooldown:
        raise ValueError(
            f"schedule={text!r} has fallen to 0 when the cool-down begins: give it an end=, or leave the cool-down out."
        )
    return schedule


def constant() -> Shape:
    """The learning rate."""
    return Shape(lambda step, span: tf.ones_like(step))


def step(*, epochs: float = 30.0, factor: float = 0.1) -> Shape:
    """Multiplied by `factor` after every `epochs`, counted from the very start (arXiv:1512.03385, on ImageNet).

    EfficientNet's rate is `step(epochs=2.4, factor=0.97)`.
    """
    _check("step", above_zero={"epochs": epochs}, factors={"factor": factor})
    # What is added keeps a quotient that is whole but for rounding, as 3 / (30 * 0.1), from falling short.
    return Shape(lambda step, span: factor ** tf.floor(step / (span.epoch * epochs) + 1e-9), from_start=True)


def multistep(*, epochs: tuple[float, ...] = (30, 60), factor: float = 0.1) -> Shape:
    """Multiplied by `factor` after each of these epochs, counted from the very start (arXiv:1512.03385, on CIFAR)."""
    if min(epochs) <= 0 or any(later <= epoch for epoch, later in itertools.pairwise(epochs)):
        raise ValueError(f"schedule: multistep(epochs={epochs}): rising numbers above 0 are wanted.")
    _check("multistep", factors={"factor": factor})

    def share(step, span):
        return factor ** tf.cast(_passed([epoch * span.epoch for epoch in epochs], step), tf.float64)

    return Shape(share, from_start=True)


def exponential(*, factor: float = 0.97, epochs: float = 2.4) -> Shape:
    """Multiplied by `factor` in every `epochs`, a little in each step; `step` does it in stairs."""
    _check("exponential", above_zero={"epochs": epochs}, factors={"factor": factor})
    return Shape(lambda step, span: factor ** (step / (span.epoch * epochs)))


def polynomial(*, power: float = 1.0, end: float = 0.0) -> Shape:
    """Down to `end` as `(1 - progress) ** power`: a line, or bent (arXiv:1606.00915 has 0.9)."""
    _check("polynomial", above_zero={"power": power}, shares={"end": end})
    return Shape(lambda step, span: end + (1 - end) * (1 - step / span.length) ** power)


def cosine(*, end: float = 0.0) -> Shape:
    """Down to `end` in half a wave (arXiv:1608.03983, without restarts)."""
    _check("cosine", shares={"end": end})
    return Shape(lambda step, span: end + (1 - end) * _wave(step / span.length))


def cosine_restarts(*, epochs: float = 10.0, growth: float = 2.0, shrink: float = 1.0, end: float = 0.0) -> Shape:
    """Half waves down to `end`, each `growth` times as long as the one before, the first `epochs` (arXiv:1608.03983).

    Each begins at `shrink` times the height of the one before. The last one is cut off where the run ends: 10, 20 and
    40 epochs make 70.
    """
    _check(
        "cosine_restarts", above_zero={"epochs": epochs}, from_one={"growth": growth},
        factors={"shrink": shrink}, shares={"end": end},
    )  # fmt: skip

    def share(step, span):
        first = span.epoch * epochs
        if first < 1:
            raise ValueError(f"schedule: cosine_restarts(epochs={epochs}): at least a step is wanted.")
        starts, ends = [0.0], first
        while ends < span.length:
            starts.append(ends)
            ends += first * growth ** (len(starts) - 1)
        period = _passed(starts[1:], step)
        counted = tf.cast(period, tf.float64)
        progress = (step - tf.gather(tf.constant(starts, tf.float64), period)) / (first * growth**counted)
        peak = shrink**counted
        return end + tf.maximum(peak - end, 0) * _wave(tf.clip_by_value(progress, 0, 1))

    return Shape(share)


def one_cycle(
    *,
    rise: float = 0.3,
    start: float = 0.04,
    end: float = 4e-6,
    curve: Literal["cosine", "linear"] = "cosine",
) -> Shape:
    """From `start` to 1 over the share `rise` of the run, and down to `end` (arXiv:1708.07120).

    The defaults are those of PyTorch's OneCycleLR; the paper has lines. Both lower the momentum while the rate is high,
    which is not done here. The rise is the warm-up: `warmup_epochs` has to be 0.
    """
    _check("one_cycle", shares={"start": start, "end": end})
    if not 0 < rise < 1:
        raise ValueError(f"schedule: one_cycle(rise={rise}): above 0 and below 1 is wanted.")
    down = _wave if curve == "cosine" else (lambda progress: 1 - progress)

    def share(step, span):
        top = rise * span.length
        rising = 1 - (1 - start) * down(tf.minimum(step / top, 1))
        falling = end + (1 - end) * down(tf.maximum((step - top) / (span.length - top), 0))
        return tf.where(step < top, rising, falling)

    return Shape(share, warms_up=True)


def plateau(*, factor: float = 0.1, patience: int = 10, threshold: float = 1e-4, smallest: float = 0.0) -> Shape:
    """Constant, and multiplied by `factor` where the test loss falls no more: see `Plateau`."""
    _check("plateau", factors={"factor": factor}, shares={"threshold": threshold, "smallest": smallest})
    if patience < 0:
        raise ValueError(f"schedule: plateau(patience={patience}): 0 or more is wanted.")
    return dataclasses.replace(constant(), plateau=Plateau(factor, patience, threshold, smallest))


SCHEDULES = {
    shape.__name__: shape
    for shape in (
        constant, step, multistep, exponential, polynomial, cosine, cosine_restarts, one_cycle, plateau,
    )
}  # fmt: skip


def plot(schedule: Schedule, path: str | os.PathLike, steps_per_epoch: int, epochs: int) -> None:
    """Draws the rate against the epochs, as a PNG file. A plateau's factor is not in it: it comes from the losses."""
    import matplotlib
    from matplotlib.figure import Figure

    steps = np.arange(epochs * steps_per_epoch + 1)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure((6.4, 3.6), layout="constrained")
        axes = figure.add_subplot(frameon=False)
        axes.plot(steps / steps_per_epoch, schedule(steps).numpy(), color="#2463d1", linewidth=1.6, clip_on=False)
        axes.set_xlabel("Epochs", color="#5d656e")
        axes.set_ylabel("Learning rate", color="#5d656e")
        axes.tick_params(length=0, labelcolor="#5d656e", pad=5)
        axes.grid(axis="y", color="#dfe3e8", linewidth=0.6)
        axes.set_xlim(0, epochs)
        axes.set_ylim(0, None)
        figure.savefig(path, format="png", dpi=150)


def _wave(progress):
    """From 1 to 0 as progress goes from 0 to 1, in half a cosine wave."""
    return 0.5 * (1 + tf.cos(np.pi * progress))


def _passed(starts, step):
    """How many of the rising `starts` each step has reached, int32."""
    # Less than a step, and more than rounding can make of a product such as 30 * 0.1.
    starts = tf.constant([start - 1e-6 for start in starts], tf.float64)
    return tf.reshape(tf.searchsorted(starts, tf.reshape(step, [-1]), side="right"), tf.shape(step))


def _check(name, *, above_zero=(), from_one=(), factors=(), shares=()):
    wanted = {
        "above 0": (above_zero, lambda number: number > 0),
        "1 or more": (from_one, lambda number: number >= 1),
        "above 0 and up to 1": (factors, lambda number: 0 < number <= 1),
        "from 0 on and below 1": (shares, lambda number: 0 <= number < 1),
    }
    for words, (numbers, holds) in wanted.items():
        for key, number in dict(numbers).items():
            if not holds(number):
                raise ValueError(f"schedule: {name}({key}={number}): {words} is wanted.")
