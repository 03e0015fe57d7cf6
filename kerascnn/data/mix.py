"""Mixing the images of a batch, and their labels with them: mixup, CutMix, or one of them at random.

    mixup   https://arxiv.org/abs/1710.09412    every pixel is lambda * its own + (1 - lambda) * its partner's
    CutMix  https://arxiv.org/abs/1905.04899    a box of the partner's pixels; lambda is the share outside of the box
    repeat  https://arxiv.org/abs/1901.09335    several augmentations of each image in a batch; done by the pipeline

A mix is named as it is called: `"mixup(alpha=0.2)"`; several are a switch between them, with equal chances or as their
`share` says: `"mixup(alpha=0.8), cutmix(share=3)"`. Lambda is drawn from Beta(alpha, alpha).

Partners are neighbours, rows 2j and 2j + 1 of the batch, so that a worker with any even share of it needs no other
rows. Which of them share a draw (of lambda, the box, the switch and whether to mix at all) is the `mode`, as in timm:

    batch    the whole batch
    pair     both rows of a pair: each is mixed with the other by the same lambda, and gets the same box
    element  none: each row has its own
    half     none, and only the first row of a pair is mixed and kept: the batch that comes out is half as large
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np
import tensorflow as tf

from kerascnn.data import calls

DRAWS = 5  # for each decision: which mix, whether at all, lambda, and the place of the box: row and column
_CELLS = 2**14  # of a table of quantiles
_STEPS = 2**16  # of a pixel's weight: what is mixed in float32 is then exact, in whatever order a compiler computes it
Mode = Literal["batch", "pair", "half", "element"]


@dataclasses.dataclass(frozen=True)
class Operation:
    """One way to mix: `weigh(numbers, height, width)` gives the weight of each pixel and that of the label."""

    weigh: Callable
    mode: str
    p: float
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"mix: p={self.p} is no probability.")
        if self.share <= 0:
            raise ValueError(f"mix: share={self.share} must be above 0; leave out what is never to be drawn.")


@dataclasses.dataclass(frozen=True)
class Mix:
    """What is done to each batch.

    Attributes:
      operations: a switch between these; none changes nothing.
      repeats: how many augmentations of each image a batch holds: for the pipeline, which makes no neighbours of them.
    """

    operations: tuple[Operation, ...] = ()
    repeats: int = 1

    def __post_init__(self) -> None:
        modes = {operation.mode for operation in self.operations}
        if len(modes) > 1:
            raise ValueError(f"mix: the mode must be the same in all, not {' and '.join(sorted(modes))}.")

    @property
    def mode(self) -> str | None:
        """How draws are shared; None where nothing is mixed."""
        return self.operations[0].mode if self.operations else None

    @property
    def draws(self) -> int:
        """How many uniform numbers are wanted for each row."""
        return 0 if self.mode in (None, "batch") else DRAWS

    @property
    def batch_draws(self) -> int:
        """How many uniform numbers are wanted for the batch."""
        return DRAWS if self.mode == "batch" else 0

    @property
    def rows(self) -> int:
        """How many rows that come in make one that goes out: 2 in mode `half`, else 1."""
        return 2 if self.mode == "half" else 1

    def __call__(self, images, labels, u, v, classes: int, smoothing: float = 0.0):
        """Mixes a batch.

        Args:
          images: uint8 [b, height, width, channels], b even unless nothing is mixed, the other sides static.
          labels: integers [b].
          u: float32 [b, draws] in [0, 1), of each row. A pair takes those of its first row.
          v: float32 [batch_draws], of the batch.
          classes: how many there are.
          smoothing: the share of each label that is spread over all classes.

        Returns:
          uint8 images, rounded, and float32 labels [b, classes] that each sum to 1; b / 2 of both in mode `half`.

        Raises:
          ValueError: the batch is odd; tf.errors.InvalidArgumentError when run, where its size is not static.
        """
        labels = tf.one_hot(labels, classes, 1 - smoothing + smoothing / classes, smoothing / classes)
        if not self.operations:
            return images, labels
        images, labels, u = _even(images, labels, tf.convert_to_tensor(u))
        count, height, width, channels = images.shape
        pixels, label = self._weights(_shared(self.mode, u, v), height, width)
        images = _blend(images, tf.round(pixels * _STEPS) / _STEPS, self.mode == "half")
        first, second = _partners(labels, self.mode == "half")
        labels = label * first + (1 - label) * second
        rows = -1 if count is None else count // self.rows
        return tf.reshape(images, [rows, height, width, channels]), tf.reshape(labels, [rows, classes])

    def _weights(self, numbers, height, width):
        """What the first of two partners gives: to pixels [..., height or 1, width or 1, 1], to the label [..., 1]."""
        edges = np.cumsum([0, *(operation.share for operation in self.operations)])
        pixels = label = tf.ones([1])
        for operation, low, high in zip(self.operations, edges, edges[1:], strict=False):
            low, high = (np.float32(edge / edges[-1]) for edge in (low, high))
            switch, chance = numbers[..., 0], numbers[..., 1]
            drawn = (low <= switch) & (switch < high) & (chance < operation.p)
            its_pixels, its_label = operation.weigh(numbers[..., 2:], height, width)
            pixels = tf.where(drawn[..., None, None, None], its_pixels, pixels)
            label = tf.where(drawn[..., None], its_label, label)
        return pixels, label


def parse(text: str | None) -> Mix:
    """The mix that a recipe's text names; None or an empty text mixes nothing.

    Raises:
      ValueError: see `kerascnn.data.calls`; or a value out of range, or modes that differ.
    """
    found = calls.evaluate(text, TABLE, "mix")
    repeats = [item for item in found if isinstance(item, int)]
    if len(repeats) > 1:
        raise ValueError(f"mix={text!r}: repeat stands there twice.")
    return Mix(tuple(item for item in found if isinstance(item, Operation)), *repeats)


def mixup(*, alpha: float = 0.2, mode: Mode = "batch", p: float = 1.0, share: float = 1.0) -> Operation:
    """Mixup.

    Args:
      alpha: of Beta(alpha, alpha), from which lambda is drawn.
      mode: see the module.
      p: the chance that anything is mixed where this mix was drawn.
      share: how often it is drawn, beside those of the others.
    """
    table = _beta_quantiles(alpha).astype(np.float32)

    def weigh(numbers, height, width):
        lam = _interpolated(table, numbers[..., :1])
        return lam[..., None, None], lam

    return Operation(weigh, mode, p, share)


def cutmix(*, alpha: float = 1.0, mode: Mode = "batch", p: float = 1.0, share: float = 1.0) -> Operation:
    """CutMix. The box's sides are sqrt(1 - lambda) of the image's, its centre is anywhere; what hangs over is cut off.

    Args:
      alpha, mode, p, share: as in `mixup`.
    """
    table = np.sqrt(1 - _beta_quantiles(alpha)).astype(np.float32)

    def weigh(numbers, height, width):
        scale = _interpolated(table, numbers[..., 0])
        rows, tall = _within(scale, numbers[..., 1], height)
        columns, wide = _within(scale, numbers[..., 2], width)
        inside = rows[..., :, None] & columns[..., None, :]
        return tf.cast(~inside, tf.float32)[..., None], 1 - (tall * wide / (height * width))[..., None]

    return Operation(weigh, mode, p, share)


def repeat(*, times: int = 3) -> int:
    """Repeated augmentation: a batch holds each of its images so many times, each augmented anew."""
    if times < 1:
        raise ValueError(f"repeat: times={times} must be 1 or more.")
    return times


TABLE = {function.__name__: function for function in (mixup, cutmix, repeat)}


def _beta_quantiles(alpha):
    """Of Beta(alpha, alpha), float64 [_CELLS + 1]: a line that climbs through them is off by less than 1 / _CELLS."""
    from scipy.special import betaincinv

    if alpha <= 0:
        raise ValueError(f"mix: alpha={alpha} must be above 0.")
    return betaincinv(alpha, alpha, np.linspace(0, 1, _CELLS + 1))


def _interpolated(table, u):
    place = u * _CELLS
    cell = tf.cast(place, tf.int32)
    low, high = tf.gather(table, cell), tf.gather(table, cell + 1)
    return low + (place - tf.floor(place)) * (high - low)


def _within(scale, centre, size):
    """Which of `size` places [..., size] lie in a stretch of `scale` times `size` about `centre`, and how many do."""
    length, middle = tf.floor(scale * size), tf.floor(centre * size)
    first = tf.maximum(middle - length // 2, 0)
    end = tf.minimum(middle + (length + 1) // 2, size)
    places = tf.range(size, dtype=tf.float32)
    return (first[..., None] <= places) & (places < end[..., None]), end - first


def _shared(mode, u, v):
    """The numbers for each decision, [pairs or 1, rows of a pair or 1, DRAWS]."""
    if mode == "batch":
        return v[None, None]
    pairs = tf.reshape(u, [-1, 2, DRAWS])
    return pairs if mode == "element" else pairs[:, :1]


def _even(images, *others):
    message = "images cannot be mixed in pairs: give each worker an even share of the batch."
    count = images.shape[0]
    if count is None:
        checks = [tf.debugging.assert_equal(tf.shape(images)[0] % 2, 0, f"mix: {message}")]
    elif count % 2:
        raise ValueError(f"mix: {count} {message}")
    else:
        checks = []
    with tf.control_dependencies(checks):
        return [tf.identity(batch) for batch in (images, *others)]


def _partners(rows, half):
    """Each row and its partner, both [pairs, 2, ...]; in mode `half` [pairs, 1, ...]."""
    pairs = tf.reshape(rows, [-1, 2, *rows.shape[1:]])
    return (pairs[:, :1], pairs[:, 1:]) if half else (pairs, tf.reverse(pairs, [1]))


@tf.function(jit_compile=True, autograph=False)  # fused, it is one pass over the pixels in place of seven
def _blend(images, weights, half):
    first, second = (tf.cast(pixels, tf.float32) for pixels in _partners(images, half))
    return tf.cast(tf.round(weights * first + (1 - weights) * second), tf.uint8)
