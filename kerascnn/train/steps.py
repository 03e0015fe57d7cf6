"""Many steps in one call of a compiled function, so that Python costs nothing."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

CALL_SECONDS = 0.5  # how long one call keeps the progress bar, and a signal, waiting


@dataclasses.dataclass(frozen=True)
class Call:
    """What one call did. All but `waited` is the same on every worker.

    Attributes:
      count: steps that it ran; 0 where a worker was asked to stop.
      sums: what the steps returned, added up over replicas and steps, float64.
      losses: the mean loss of each step, [count].
      seconds: it took, as the mean over the workers.
      waited: the share of its time that this worker spent waiting for input.
      stop: how many workers were asked to stop by each signal that `Steps` was given.
    """

    count: int
    sums: np.ndarray
    losses: np.ndarray
    seconds: float
    waited: float
    stop: np.ndarray


class Steps:
    """A step, compiled so that one call runs as many as take about `CALL_SECONDS`, which is found by timing.

    The number is an argument of the compiled function, so that nothing is compiled anew for it. Workers that are slower
    than others would find other numbers: so they agree on the time that a call took.

    Args:
      strategy: whose replicas run the step.
      step: takes its number since the run began and what the iterator gives; returns a vector [width] for sums over
        replicas and steps: the sum of losses, anything, and the number of examples first.
      width: of that vector.
      part: takes the same, and is run `parts - 1` times ahead of each `step`, on what the iterator gives next. Its
        vector is added.
      signals: numbers of signals that a worker may be asked to stop by.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        step: Callable,
        *,
        width: int = 3,
        part: Callable | None = None,
        parts: int = 1,
        signals: tuple[int, ...] = (),
    ):
        @tf.autograph.experimental.do_not_convert
        def total(values):
            return tf.cast(strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None), tf.float64)

        @tf.autograph.experimental.do_not_convert  # but `steps`, for its loops
        def run(function, number, iterator, done):
            # The clock is read on the host: when what was before is done, and when the batch is there.
            with tf.control_dependencies([done]):
                before = tf.timestamp()
            with tf.control_dependencies([before]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(strategy.experimental_local_results(batch))):
                waited = tf.timestamp() - before
            return total(strategy.run(function, args=(number, *batch))), waited

        @tf.function
        def steps(iterator, first, count, asked):
            asked = total(strategy.run(tf.identity, args=(asked,)))
            count = tf.where(tf.reduce_any(asked > 0), 0, count)
            sums, waited = tf.zeros([width], tf.float64), tf.zeros([], tf.float64)
            losses = tf.TensorArray(tf.float64, size=count)
            with tf.control_dependencies([asked]):
                began = tf.timestamp()
            for i in tf.range(count):
                of_step = tf.zeros([width], tf.float64)
                if parts > 1:
                    for _ in tf.range(parts - 1):
                        of_part, seconds = run(part, first + tf.cast(i, tf.int64), iterator, of_step + sums)
                        of_step, waited = of_step + of_part, waited + seconds
                of_part, seconds = run(step, first + tf.cast(i, tf.int64), iterator, of_step + sums)
                of_step, waited = of_step + of_part, waited + seconds
                losses = losses.write(i, of_step[0] / of_step[2])
                sums += of_step
            with tf.control_dependencies([sums]):
                seconds = tf.timestamp() - began
            together = total(strategy.run(tf.identity, args=(seconds,))) / strategy.num_replicas_in_sync
            return count, sums, losses.stack(), together, waited / seconds, asked

        self._steps, self._signals = steps, signals
        self._compiled = False
        self._count, self._timed_steps, self._timed_seconds = 1, 0, 0.0

    def __call__(
        self, iterator, steps: int, *, first: int = 0, asked: Callable[[], int | None] = lambda: None
    ) -> Iterator[Call]:
        """Runs `steps` steps, of which the first has the number `first`, and gives a `Call` after each call.

        Args:
          asked: gives the signal by which this worker was asked to stop, or None. The last `Call` tells every worker.
        """
        while steps > 0:
            signal = asked()
            done = self._steps(
                iterator,
                tf.constant(first, tf.int64),
                tf.constant(min(self._count, steps)),
                tf.constant([float(signal == number) for number in self._signals], tf.float32),
            )
            count, sums, losses, seconds, waited, stop = (value.numpy() for value in done)
            call = Call(int(count), sums, losses, float(seconds), float(waited), stop)
            if self._compiled and call.count:
                self._timed_steps += call.count
                self._timed_seconds += call.seconds
                self._count = max(1, round(call.count * CALL_SECONDS / max(call.seconds, 1e-6)))
            self._compiled = True
            steps, first = steps - call.count, first + call.count
            yield call
            if stop.any():
                return

    def per_second(self) -> float:
        """Steps a second since this was last asked, without the first call, which compiles; NaN if there were none."""
        steps, seconds = self._timed_steps, self._timed_seconds
        self._timed_steps, self._timed_seconds = 0, 0.0
        return steps / seconds if seconds else float("nan")


def make_agree(strategy: tf.distribute.Strategy) -> Callable[..., np.ndarray]:
    """A function of some numbers that returns the sum of each over all replicas, float64.

    What every worker brings is told to every worker. One that comes early waits for the others.
    """

    @tf.function(autograph=False)
    def total(values):
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(tf.identity, args=(values,)), axis=None)

    return lambda *values: total(tf.constant(np.array(values, np.float64))).numpy()
