"""Many steps in one call of a compiled function, so that Python costs nothing."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

CALL_SECONDS = 0.5  # how long one call keeps the progress bar, and a signal, waiting


class Steps:
    """A step, compiled so that one call runs as many as take about `CALL_SECONDS`, which is found by timing.

    The number is an argument of the compiled function, so that nothing is compiled anew for it.

    Args:
      strategy: whose replicas run the step.
      step: takes what the iterator gives and returns a vector [3], which is summed over replicas and steps.
    """

    def __init__(self, strategy: tf.distribute.Strategy, step: Callable):
        @tf.function
        def steps(iterator, count):
            totals = tf.zeros([3])
            for _ in tf.range(count):
                sums = strategy.run(step, args=next(iterator))
                totals += strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
            return totals

        self._steps = steps
        self._compiled = False
        self._count, self._timed_steps, self._timed_seconds = 1, 0, 0.0

    def __call__(self, iterator, steps: int) -> Iterator[tuple[int, np.ndarray]]:
        """Runs `steps` steps. Gives after each call how many it ran and their summed vector, float64."""
        while steps > 0:
            count = min(self._count, steps)
            started = time.perf_counter()
            totals = self._steps(iterator, tf.constant(count)).numpy().astype(np.float64)
            seconds = time.perf_counter() - started
            if self._compiled:
                self._timed_steps += count
                self._timed_seconds += seconds
                self._count = max(1, round(count * CALL_SECONDS / seconds))
            self._compiled = True
            steps -= count
            yield count, totals

    def per_second(self) -> float:
        """Steps a second since this was last asked, without the first call, which compiles; NaN if there were none."""
        steps, seconds = self._timed_steps, self._timed_seconds
        self._timed_steps, self._timed_seconds = 0, 0.0
        return steps / seconds if seconds else float("nan")
