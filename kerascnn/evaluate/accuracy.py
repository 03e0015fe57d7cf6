"""How often a model's class, or one of its best five, is right, on data whose classes may be some of its own."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from tqdm import tqdm

from kerascnn import data
from kerascnn.data.lost import Lost
from kerascnn.evaluate.predictions import predicted_batches
from kerascnn.registry import close_names


class Accuracy(NamedTuple):
    """Shares of `images`: those whose class came first, and those whose class was among the first five."""

    top1: float
    top5: float
    images: int


def accuracy(
    model: keras.Model,
    source: data.Source,
    split: str,
    preprocessing: data.Preprocessing,
    *,
    batch_size: int = 64,
    labels: Sequence[int] | None = None,
    lost: Lost | None = None,
    tta: str = "",
) -> Accuracy:
    """Counts over every example of a split, each once. A progress bar shows on a terminal.

    Args:
      preprocessing: as the model wants its images.
      labels: which output of the model each of the source's classes is, from `matched`; None where they are the same.
      lost: the account of examples that cannot be used, which are left out if it skips them; None makes them an error.
      tta: the views of each image whose logits are averaged; see `kerascnn.evaluate.tta`.

    Raises:
      ValueError: the model gives another number of classes, or what is no number; or there are no such views.
    """
    outputs = model.output_shape[-1]
    known = np.arange(len(source.class_names)) if labels is None else np.asarray(labels)
    if known.max() >= outputs:
        raise ValueError(
            f"{model.name} has {outputs} classes, {source.name} has {known.max() + 1}: it cannot know them."
        )
    ranks = []
    lost = lost or Lost(source, split)
    with tqdm(total=source.size(split), desc="evaluating", unit=" images", disable=None, leave=False) as bar:
        for found, logits in predicted_batches(model, source, split, preprocessing, batch_size, lost, tta):
            if not np.isfinite(logits).all():
                raise ValueError(f"{model.name} gives what is no number (NaN or infinite) for images of {source.name}.")
            ranks.append(rank(logits, known[found]))
            bar.update(len(found))
    places = np.concatenate(ranks)
    return Accuracy(float(np.mean(places < 1)), float(np.mean(places < 5)), len(places))


def rank(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes stand before the right one, [n]: those with more, and of those with as much the earlier ones."""
    right = np.take_along_axis(logits, labels[:, np.newaxis], 1)
    earlier = np.arange(logits.shape[1]) < labels[:, np.newaxis]
    return np.sum((logits > right) | ((logits == right) & earlier), 1)


def matched(names: Sequence[str], *known: Sequence[str]) -> list[int]:
    """Which of a model's classes each class of a data set is, by its name.

    Args:
      names: of the data set's classes.
      known: what the model's classes are called, in their order; there may be several such lists, as "tench, Tinca
        tinca" and "n01440764" for the first of ImageNet. A list whose names are numbers tells nothing.

    Raises:
      ValueError: a class is none of the model's, and the numbers of classes differ too.
    """
    for called in known:
        places = {name: i for i, name in enumerate(called)}
        if all(name in places for name in names):
            return [places[name] for name in names]
    if len(names) == len(known[0]):
        return list(range(len(names)))
    missing = next(name for name in names if name not in known[0])
    offer = close_names(missing, known[0])
    raise ValueError(
        f"the model's {len(known[0])} classes do not include {missing!r}, one of the data's {len(names)}"
        + (f": {offer}" if offer.endswith("?") else "")
    )
