"""Elements that cannot be used, and batches that never came: named, counted, and not too many of either.

An element is lost when it cannot be read or decoded, or when its label is not a class. With `error` it ends the run.
With `skip` it is named once on stderr and does not count in evaluation; in training the next whole image of its batch
takes its place, so that all other batches stay what they are. More than 1 % of a split is too much.
"""

import re
import sys
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerascnn.registry import close_names

LIMIT = 0.01  # of a split may be skipped
CHOICES = ("error", "skip")
LATE = 64  # batches after which one that has not come counts as lost
_MARK = "unusable data: "


def check(on_corrupt: str) -> None:
    """Raises a ValueError unless this is `error` or `skip`."""
    if on_corrupt not in CHOICES:
        raise ValueError(f"no on_corrupt {on_corrupt!r}: {close_names(on_corrupt, CHOICES)}")


class Lost:
    """The account of one split, for one run.

    Args:
      source: its name and `locate` are used.
      split: of the source.
      on_corrupt: `error` or `skip`.

    Attributes:
      elements: {index: name} of those skipped, as they were found.
      batches: how many batches of a data service have not come; some may yet.

    Raises:
      ValueError: another `on_corrupt`.
    """

    def __init__(self, source, split: str, on_corrupt: str = "error"):
        check(on_corrupt)
        self.elements: dict[int, str] = {}
        self.batches = 0
        self._name, self._size, self._skip = f"{source.name} {split}", source.size(split), on_corrupt == "skip"
        self._highest, self._missing, self._told = -1, set[int](), 0

    def mend(self, images, labels, usable, index, locate, keep_size: bool):
        """In graph: a batch without its unusable rows, or an error that names them.

        Args:
          images, labels: a row an element.
          usable: bool, a row an element.
          index: the elements' indices.
          locate: from an index to a name.
          keep_size: whether the next usable rows take the place of unusable ones; else those are taken out.
        """
        all_usable, some_usable = tf.reduce_all(usable), tf.reduce_any(usable)
        names = locate(tf.boolean_mask(index, ~usable)[:3])
        text = tf.strings.join(
            [
                _MARK,
                tf.strings.reduce_join(names, separator=", "),
                " cannot be read, or is no whole image, or has a label that is no class. `kerascnn data check` says "
                "what is wrong with which; --on_corrupt=skip does without up to 1 % of them.",
            ]
        )
        passes = (some_usable if keep_size else True) if self._skip else all_usable
        with tf.control_dependencies([tf.debugging.Assert(passes, [text], summarize=1)]):
            usable = tf.identity(usable)

        def mended():
            if not keep_size:
                return tf.boolean_mask(images, usable), tf.boolean_mask(labels, usable)
            rows = tf.where(usable)[:, 0]
            following = tf.cumsum(tf.cast(usable, tf.int64), exclusive=True) % tf.size(rows, tf.int64)
            rows = tf.gather(rows, following)
            return tf.gather(images, rows), tf.gather(labels, rows)

        mended_images, mended_labels = tf.cond(tf.reduce_all(usable), lambda: (images, labels), mended)
        if keep_size:
            return tf.ensure_shape(mended_images, images.shape), tf.ensure_shape(mended_labels, labels.shape)
        return mended_images, mended_labels

    def watch(self, batches: tf.data.Dataset, locate, numbered: bool) -> tf.data.Dataset:
        """Takes (images, labels, lost indices, batch's number), keeps account of the last two, gives the first two.

        Args:
          batches: the data set.
          locate: from indices to names.
          numbered: whether batches may go missing, and so their numbers are looked at.
        """

        def told(images, labels, index, number):
            calls = []
            if self._skip:
                add = lambda: tf.numpy_function(self._add, [index, locate(index)], tf.int64)  # noqa: E731
                calls.append(tf.cond(tf.size(index) > 0, add, lambda: tf.constant(0, tf.int64)))
            if numbered:
                calls.append(tf.numpy_function(self._arrived, [number], tf.int64))
            with tf.control_dependencies(calls):
                return tf.identity(images), tf.identity(labels)

        if not (self._skip or numbered):
            return batches.map(lambda images, labels, *others: (images, labels))
        return batches.map(told)

    def _add(self, index: np.ndarray, names: np.ndarray) -> np.int64:
        for i, name in zip(index.tolist(), names.tolist(), strict=True):
            if i not in self.elements:
                self.elements[i] = name.decode(errors="replace")
                print(f"skipped, unusable: {self.elements[i]}", file=sys.stderr, flush=True)
        if len(self.elements) > LIMIT * self._size:
            raise ValueError(
                f"{_MARK}{len(self.elements)} of the {self._size} elements of {self._name}, more than {LIMIT:.0%}, "
                f"such as {next(iter(self.elements.values()))}. `kerascnn data check` lists them all."
            )
        return np.int64(0)

    def _arrived(self, number) -> np.int64:
        number = int(number)
        if self._highest < 0:
            self._highest = number - 1
        self._missing.update(range(self._highest + 1, number))
        self._missing.discard(number)
        self._highest = max(self._highest, number)
        self.batches = sum(self._highest - missing > LATE for missing in self._missing)
        if self.batches > self._told:
            print(f"data service: {self.batches} batches have not come; a worker may have died", file=sys.stderr)
            self._told = self.batches
        return np.int64(0)


def explanation(error: Exception) -> str | None:
    """What is wrong with the data, from an error of the pipeline; None if it is of another kind."""
    found = re.search(re.escape(_MARK) + r"([^\n]*)", str(error))
    return f"{_MARK}{found[1].rstrip(']')}" if found else None


def listed(accounts: Sequence[Lost]) -> list[str]:
    """The names of all elements that were skipped, each once, sorted."""
    return sorted({name for account in accounts for name in account.elements.values()})
