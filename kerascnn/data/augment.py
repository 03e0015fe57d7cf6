"""Random changes to one image: uint8 in, uint8 out, and all that is drawn comes from numbers that are given.

An augmentation is named as it is called, several of them in their order:
`"pad_crop(pixels=4), horizontal_flip, randaugment(n=2, m=9)"`. The names are those of `kerascnn.data.operations`, of
`kerascnn.data.policies` (with presets for what the images show), and `keras_cv.LAYER`.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from kerascnn.data import calls, geometry, keras_cv_layers, operations, policies
from kerascnn.data.operations import Operation

FUNCTIONS = operations.OPERATIONS | policies.POLICIES | {"keras_cv": keras_cv_layers.layer}


class Policy:
    """Operations in their order. Only those that are drawn are computed, and XLA compiles what it can.

    Neighbours that move pixels are one transform and one resampling: what one of them moves out of the image another
    one can bring back. They are joined as long as they fill with the same level; the resampling is bilinear if that of
    one of them is. Flips among themselves stay flips.

    Attributes:
      operations: a list of them.
      draws: how many uniform numbers an image needs.
      batch: (uint8 images [batch, h, w, c], numbers [batch, draws]) -> images with the pixels that each gets alone;
        None where an operation can only be done one by one.
      parts: functions (images, u) -> images, which follow one another.
    """

    def __init__(self, chain: Iterable[Operation]):
        self.operations = list(chain)
        sizes = [operation.draws + (operation.p < 1) for operation in self.operations]
        ends = list(itertools.accumulate(sizes, initial=0))
        self._slices = [slice(*ends) for ends in itertools.pairwise(ends)]
        self.draws: int = ends[-1]
        groups = itertools.groupby(self._steps(), lambda step: step[0])
        self.parts = [_chained([step for _, step in steps], compiled) for compiled, steps in groups]
        batch = all(operation.batch for operation in self.operations)
        self.batch: Callable | None = self._apply if batch else None

    def __call__(self, image, u):
        """uint8 [height, width, channels] with numbers [draws] in [0, 1) -> uint8 of the same shape.

        Raises:
          ValueError: the image's shape is not known, or an operation cannot take it.
        """
        return self._apply(image, u)

    def describe(self, u: np.ndarray) -> list[str]:
        """What these numbers [draws] make of an image: a few words for each operation that changes it, in its order."""
        words: list[str] = []
        with tf.device("CPU"):
            for operation, part in zip(self.operations, self._slices, strict=True):
                numbers = tf.constant(u[part], tf.float32)
                if operation.p == 1 or numbers[-1] < operation.p:
                    said = operation.say(*(x.numpy() for x in operation.draw(numbers[: operation.draws])))
                    words += [said] if isinstance(said, str) else said
        return words

    def _apply(self, images, u):
        images, u = tf.convert_to_tensor(images), tf.convert_to_tensor(u, tf.float32)
        if None in images.shape[-3:].as_list():
            raise ValueError(f"augment: the height, width and channels of images must be known, not {images.shape}.")
        for part in self.parts:
            images = part(images, u)
        return images

    def _steps(self):
        """(whether XLA can compile it, function (images, u) -> images), with neighbouring transforms joined."""
        chain = list(zip(self.operations, self._slices, strict=True))
        while chain:
            count = _joined([operation for operation, _ in chain])
            if count:
                yield True, functools.partial(_warp, chain[:count])
            else:
                yield chain[0][0].compiled, functools.partial(_change, *chain[0])
            del chain[: max(count, 1)]


def _joined(chain):
    """How many operations, from the first on, are one transform; 0 where the first has to be done by itself."""
    count, fills = 0, set()
    for operation in chain:
        fills |= {operation.fill} - {None}
        if operation.transform is None or len(fills) > 1:
            break
        count += 1
    return count if any(operation.apply is None for operation in chain[:count]) else 0


def _warp(chain, images, u):
    """The transforms of a chain as one."""
    transforms = []
    for operation, part in chain:
        numbers = u[..., part]
        transform = operation.transform(*images.shape[-3:-1], *operation.draw(numbers[..., : operation.draws]))
        transforms.append(transform if operation.p == 1 else geometry.choose(numbers[..., -1] < operation.p, transform))
    transform = [tf.cast(x, tf.float64) for x in geometry.compose(*transforms)]
    moved = functools.reduce(
        tf.logical_or, (tf.reduce_any(x != y) for x, y in zip(transform, geometry.IDENTITY, strict=True))
    )
    fill = max(operation.fill or 0 for operation, _ in chain)
    bilinear = any(operation.interpolation == "bilinear" for operation, _ in chain)
    interpolation: geometry.Interpolation = "bilinear" if bilinear else "nearest"
    places = geometry.origins(transform, *images.shape[-3:-1], interpolation)
    return tf.cond(
        moved, lambda: geometry.sampled(images, places, fill=fill, interpolation=interpolation), lambda: images
    )


def _change(operation, part, images, u):
    numbers = u[..., part]

    def change():
        return operation.apply(images, *operation.draw(numbers[..., : operation.draws]))

    if operation.p == 1:
        return change()
    drawn = numbers[..., -1] < operation.p
    if images.shape.rank == 3:
        return tf.cond(drawn, change, lambda: images)
    return tf.where(drawn[:, tf.newaxis, tf.newaxis, tf.newaxis], change(), images)


def _chained(steps, compiled):
    def chain(images, u):
        for step in steps:
            images = tf.ensure_shape(step(images, u), images.shape)
        return images

    return tf.function(chain, autograph=False, jit_compile=True) if compiled else chain


@functools.cache
def parse(text: str | None) -> Policy:
    """The policy that a text names; None or an empty one changes nothing.

    Raises:
      ValueError: not of the form `name(key=value), ...`; a name or a key that does not exist; a value that cannot be.
    """
    # A name cannot begin with a digit in Python.
    named = None if text is None else re.sub(r"(?<![\w.])3augment\b", "threeaugment", text)
    made = calls.evaluate(named, FUNCTIONS, "augment")
    return Policy(itertools.chain.from_iterable(map(_flat, made)))


def _flat(made):
    """What a function gave, as operations: one, several, or the text of some."""
    if isinstance(made, str):
        made = calls.evaluate(made, FUNCTIONS, "augment")
        return itertools.chain.from_iterable(map(_flat, made))
    return [made] if isinstance(made, Operation) else made
