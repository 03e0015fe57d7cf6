"""One image a step, a mini-batch, or all images: epochs against time.

LeNet-5 at the digits' 8x8 pixels, plain gradient descent at a constant rate: one image a step for 8 epochs, 32 for
40, all 1,437 for 150. After each epoch the loss of all training images is taken, by the weights that are there. Each
batch has its own rate, chosen beforehand on the training loss: the best of 0.003, 0.01, 0.03 and 0.1 after 6 epochs,
of 0.03, 0.1, 0.3 and 1 after 10 (after 40, 1 is lower), of 0.1, 0.3, 1 and 3 after 150. No batch norm: it cannot do
with one image.

Lecture: batch gradient descent goes through all data for one step, which is exact and slow; a single image's gradient
is quick and noisy, and leaves most of the hardware idle; a mini-batch of 32 to 256 is the compromise that all use.

Seen: single images needed 5 epochs to a loss below 0.1 for the first time, mini-batches 10, the whole set 115. In
time, single images were the slowest: 12 s, against 1.8 s with mini-batches and 2.8 s with the whole set. The times
are of one run each on two busy cores, by the median of images a second, without compiling, evaluation and
checkpoints: noisy, so that only the first is clearly different. So small a net on so few pixels makes the whole set
cheaper than the lecture has it: 115 steps where the mini-batches took 440. And its curve is not smooth: at a rate of
1, which was its best, the loss jumps.
"""

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from kerascnn.train import Recipe

from .lab import COLORS, Lab, main

IMAGES = 1437  # of the training split
GOAL = 0.1
RECIPE = Recipe(
    model="lenet5",
    model_args='padding="same"',
    data="digits",
    test_split="train",  # the loss of all training images, by the weights at the end of each epoch
    epochs=1,
    batch_size=1,
    optimizer="sgd",
    learning_rate=1,
    schedule="constant",
)
RECIPES = {
    "single": dataclasses.replace(RECIPE, batch_size=1, learning_rate=0.03, epochs=8),
    "mini-batch": dataclasses.replace(RECIPE, batch_size=32, learning_rate=0.3, epochs=40),
    "batch": dataclasses.replace(RECIPE, batch_size=IMAGES, learning_rate=1, epochs=150),
}


def experiment(lab: Lab) -> None:
    """Trains with one image, 32 images and all images a step."""
    runs = lab.train(RECIPES)
    figure = Figure((9, 4.2), layout="constrained")
    figure.suptitle("Single images a step need the fewest epochs and the most time, the whole set the most epochs")
    by_epoch, by_time = figure.subplots(1, 2, sharey=True)
    rows = []
    for (name, (run,)), color in zip(runs.items(), COLORS, strict=False):
        recipe = RECIPES[name]
        steps = IMAGES // recipe.batch_size
        speed = float(np.nanmedian([row["images_per_second"] for row in run.history]))
        epochs = np.array([row["epoch"] for row in run.history])
        losses = np.array([row["test_loss"] for row in run.history])
        seconds = epochs * steps * recipe.batch_size / speed
        label = f"{recipe.batch_size} image{'s' * (recipe.batch_size > 1)} a step"
        for axes, x in ((by_epoch, epochs), (by_time, seconds)):
            axes.plot(x, losses, ".-", markersize=4, color=color, label=label)
        there = np.flatnonzero(losses < GOAL)
        rows.append(
            {
                "batch": recipe.batch_size,
                "learning rate": f"{recipe.learning_rate:g}",
                "steps an epoch": steps,
                "images a second": f"{speed:.2g}",
                f"epochs to {GOAL}": int(epochs[there[0]]) if len(there) else "",
                f"steps to {GOAL}": int(epochs[there[0]]) * steps if len(there) else "",
                f"seconds to {GOAL}": f"{seconds[there[0]]:.2g}" if len(there) else "",
                "last loss": f"{losses[-1]:.3g}",
            }
        )
    for axes, label in ((by_epoch, "epochs"), (by_time, "seconds of training, without compiling and evaluation")):
        axes.set(xlabel=label, xscale="log", yscale="log")
        axes.axhline(GOAL, color=COLORS[-1], linewidth=0.8, linestyle=":")
    by_epoch.set_ylabel("loss of all training images")
    by_epoch.legend(frameon=False)
    lab.save(figure, rows)


if __name__ == "__main__":
    main(experiment)
