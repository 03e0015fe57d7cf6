"""A slice of the loss surface, without and with shortcuts.

Two random directions from the trained weights of three nets of the experiment `depth`, each filter of a direction as
long as the net's own filter ([1712.09913](https://arxiv.org/abs/1712.09913)), biases and norms left as they are: 21x21
points, the loss of 256 training images at each. In the figure norms take the statistics of these images, as they do in
training; the table also has the slice with the running averages kept, as the paper's code has it.

Lecture: shortcuts make deep nets easy to optimise; in the paper's figures a plain net of 56 layers has a chaotic
surface with steep walls, and shortcuts make it smooth and nearly convex.

Seen: with shortcuts 56 layers lie at the bottom of a deep and round bowl, as the shallow plain net does. The plain net
of 56 is not down in any: it stands at a loss of 1.15 on a plateau, where nothing near is much lower. The paper's chaos
does not show: hardly any local minima, whichever statistics the norms take, and where the running averages are kept all
three nets rise to thousands at the corners. The paper's nets were trained for hundreds of epochs, these for 15, and the
plain one is still near its start. One pair of directions: a slice says little about the other million.
"""

import dataclasses
import itertools
import math

import numpy as np
from matplotlib.figure import Figure

from . import depth
from .lab import Lab, main

NETS = {"plain20": "20 layers, no shortcuts", "plain56": "56 layers, no shortcuts", "resnet56": "56 layers, shortcuts"}
POINTS, IMAGES = 21, 256


def direction(weights: list[np.ndarray], draws: np.random.Generator) -> list[np.ndarray]:
    """A random direction in which each filter has the length that it has in the weights; zeros for biases and norms."""
    drawn = []
    for weight in weights:
        step = draws.normal(size=weight.shape).astype("float32")
        axes = tuple(range(weight.ndim - 1))
        sizes = np.sqrt((weight**2).sum(axes) / (step**2).sum(axes)) if axes else 0.0
        drawn.append(step * np.float32(sizes))
    return drawn


def surface(model, images, labels, places: np.ndarray, training: bool) -> np.ndarray:
    """The loss at every pair of places along two directions, [along the second, along the first].

    `training` is whether norms take the statistics of these images, in place of their running averages.
    """
    import tensorflow as tf

    draws = np.random.default_rng(0)
    weights = [variable.numpy() for variable in model.trainable_variables]
    first, second = direction(weights, draws), direction(weights, draws)
    others = [variable.value for variable in model.non_trainable_variables]

    @tf.function
    def loss(a, b):
        moved = [w + a * x + b * y for w, x, y in zip(weights, first, second, strict=True)]
        logits, _ = model.stateless_call(moved, others, images, training=training)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    places = tf.constant(places, tf.float32)
    return np.array([[float(loss(a, b)) for a in places] for b in places])


def minima(losses: np.ndarray) -> int:
    """How many points inside of the slice lie lower than their eight neighbours."""
    patches = np.lib.stride_tricks.sliding_window_view(losses, (3, 3)).reshape(-1, 9)
    return int((patches.argmin(-1) == 4).sum())


def experiment(lab: Lab) -> None:
    """Computes a slice for each net and draws their contours on one scale."""
    from kerascnn.data import pipeline

    nets = list(NETS)[:1] if lab.smoke else list(NETS)
    places = np.linspace(-1, 1, 3 if lab.smoke else POINTS)
    # The nets are those of `depth`, which are trained here if they are not there yet.
    runs = dataclasses.replace(lab, name="depth").train({name: depth.RECIPES[name] for name in nets})
    count = 8 if lab.smoke else IMAGES
    batches = pipeline(
        "digits", f"train[:{count}]", batch_size=count, crop="resize", train=False, data_dir=lab.data_dir
    )
    images, labels = next(iter(batches))
    found, rows = {}, []
    for name, training in itertools.product(nets, (True, False)):
        losses = surface(runs[name][0].model(), images, labels, places, training)
        if training:
            found[name] = losses
        middle, near = len(places) // 2, np.hypot(*np.meshgrid(places, places))
        ring = losses[(near > 0.45) & (near < 0.55)] if not lab.smoke else losses
        rows.append(
            {
                "net": name,
                "norms take": "these images" if training else "running averages",
                "loss at the trained weights": f"{losses[middle, middle]:.4f}",
                "at half a filter's length, mean": f"{ring.mean():.2f}",
                "lowest and highest of the slice": f"{losses.min():.4f}, {losses.max():,.0f}",
                "points below chance (%)": f"{100 * (losses < np.log(10)).mean():.0f}",
                "local minima": minima(losses),
            }
        )
    lab.save(draw(found, places), rows)


def draw(found: dict[str, np.ndarray], places: np.ndarray) -> Figure:
    """Contours of the logarithm, on one scale for all nets."""
    figure = Figure((11, 3.9), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(found), sharey=True))
    logs = {name: np.log10(losses) for name, losses in found.items()}
    levels = np.linspace(min(map(np.min, logs.values())), max(map(np.max, logs.values())) + 1e-3, 25)
    for (name, values), axes in zip(logs.items(), panels, strict=True):
        filled = axes.contourf(places, places, values, levels, cmap="viridis")
        axes.contour(places, places, values, levels, colors="white", linewidths=0.4, linestyles="solid")
        axes.contour(places, places, values, [np.log10(np.log(10))], colors="#d55e00", linewidths=1.6)
        axes.plot(0, 0, marker="+", color="white", markersize=10)
        axes.set_title(NETS[name], fontsize=11)
        axes.set_aspect("equal")
        axes.set_xlabel("along the first direction")
    panels[0].set_ylabel("along the second direction\n(1: as long as the weights)")
    bar = figure.colorbar(filled, ax=list(panels), label="training loss (chance: orange line)")
    ticks = [
        tick
        for tick in [scale * 10.0**power for power in range(-6, 4) for scale in (1, 3)]
        if levels[0] < np.log10(tick) < levels[-1]
    ]
    bar.set_ticks([math.log10(tick) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])
    figure.suptitle("Slices of the loss around the trained weights (+)")
    return figure


if __name__ == "__main__":
    main(experiment)
