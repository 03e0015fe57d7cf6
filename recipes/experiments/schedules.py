"""Schedules of the learning rate, and a warm-up at a high one.

Above: LeNet-5 with ReLU at the digits' 8x8 pixels, Nesterov's momentum, 15 epochs of one seed at a highest rate of
0.1, with each of the nine schedules. The images are rotated, shifted and zoomed at random: in a first trial, on the
images as they are, the constant rate already brought the training loss to nearly 0, and a schedule could not have
shown anything. Below: the same net on the images as they are, 12 epochs of a cosine from 0.3, with no warm-up and
with one of 4 epochs, six seeds each. That net and rate were chosen after a short trial of two seeds, in which the
warm-up helped.

Lecture: a high rate at first, and a lower one when the loss stands still: by steps, a cosine, with restarts
([1608.03983](https://arxiv.org/abs/1608.03983)). A high rate from the first step on can make the loss explode: let it
climb from 0 over some epochs.

Seen: above, as in the lecture. The constant rate ends at 0.37, all others below it; the lowest are polynomial and
one_cycle at 0.18 and cosine at 0.20. What falls early, exponential at 0.29 and step at 0.28, gains least. The restart
shows as a bump. It is one seed each: the order of those that are near each other says nothing, and the test
accuracies, 87.8 % for the constant rate and 93.6 to 97.5 % for the others, are of 360 images. Below, against the
lecture: without a warm-up 2 of 6 seeds end at chance, with one 4 of 6. While the rate climbs the loss falls faster
than without, but as the rate comes to 0.3 it rises again, in three seeds out of the picture. A warm-up helps a net
over its first steps; this one, with no norms, cannot bear the rate later either. Six seeds do not show that a warm-up
harms.
"""

import dataclasses
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from kerascnn.train import Recipe

from .lab import COLORS, Lab, main

# The random changes keep the loss from falling to 0 at any rate, which it does on the digits as they are.
RECIPE = Recipe(
    model="lenet5",
    model_args='padding="same", activation="relu", initializer="he_normal"',
    data="digits",
    augment="affine(degrees=15, translate=0.15, scale=0.15, shear=10)",
    epochs=15,
    batch_size=32,
    learning_rate=0.1,
)
SCHEDULES = {
    "constant": "constant",
    "step": "step(epochs=5)",
    "multistep": "multistep(epochs=(8, 12))",
    "exponential": "exponential(factor=0.5, epochs=2)",
    "polynomial": "polynomial",
    "cosine": "cosine",
    "cosine_restarts": "cosine_restarts(epochs=5)",
    "one_cycle": "one_cycle",
    "plateau": "plateau(patience=1)",
}
CHANCE = 2.29  # ln 10 is 2.303
HIGH = dataclasses.replace(RECIPE, augment="", epochs=12, learning_rate=0.3)


def experiment(lab: Lab) -> None:
    """Trains with each schedule, and at a high rate with and without a warm-up."""
    scheduled = {name: dataclasses.replace(RECIPE, schedule=schedule) for name, schedule in SCHEDULES.items()}
    warmed = {f"warmup{epochs}": dataclasses.replace(HIGH, warmup_epochs=epochs) for epochs in (0, 4)}
    if lab.smoke:
        scheduled = dict(list(scheduled.items())[-1:])
    runs = lab.train(scheduled)
    figure = Figure((9, 9.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(2, 1))
    above, below = parts
    above.suptitle("Every falling rate ends at a lower loss than the constant one")
    rows = []
    for (name, (run,)), axes in zip(runs.items(), above.subplots(3, 3, sharex=True, sharey=True).flat, strict=False):
        losses = [row["train_loss"] for row in run.history]
        axes.plot(np.arange(len(losses)) + 0.5, losses, color=COLORS[0])
        axes.set_yscale("log")
        axes.set_yticks(ticks := (0.2, 0.5, 1, 2), [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_title(f"{scheduled[name].schedule}: {losses[-1]:.2f}", fontsize=9)
        behind = axes.twinx()
        behind.stairs(_rates(scheduled[name], run), np.arange(len(losses) + 1), fill=True, color="#e0e0e0")
        behind.set(ylim=(0, 2 * RECIPE.learning_rate), yticks=())
        # The area is of other axes, which would be drawn above the curve.
        axes.set_zorder(behind.get_zorder() + 1)
        axes.patch.set_visible(False)
        rows.append(_row(scheduled[name], [run]))
    above.supylabel("training loss; grey: the learning rate, from 0", fontsize=10)
    above.supxlabel("epochs", fontsize=10)
    runs = lab.train(warmed, seeds=range(6))
    lost = [sum(not run.last("train_loss") < CHANCE for run in trained) for trained in runs.values()]
    below.suptitle(
        f"At a rate of {HIGH.learning_rate:g}, {lost[0]} of {len(runs['warmup0'])} seeds end at chance without a "
        f"warm-up, {lost[1]} with one"
    )
    axes = below.subplots()
    for (name, trained), color in zip(runs.items(), COLORS, strict=False):
        for run in trained:
            losses = [row["train_loss"] for row in run.history]
            label = f"{warmed[name].warmup_epochs:g} epochs of warm-up" if run is trained[0] else None
            axes.plot(np.arange(len(losses)) + 0.5, losses, color=color, label=label)
        rows.append(_row(warmed[name], trained))
    axes.set(xlabel="epochs", ylabel="training loss", yscale="log", ylim=(0.03, 10))
    axes.set_yticks(marks := (0.05, 0.2, 0.5, 1, 2, 5), [f"{mark:g}" for mark in marks])
    axes.minorticks_off()
    axes.legend(frameon=False)
    lab.save(figure, rows)


def _rates(recipe, run):
    """The learning rate at the start of each epoch: a run notes that of the next step at the end of each."""
    from kerascnn.train.schedules import make_schedule

    schedule = make_schedule(
        recipe.schedule,
        learning_rate=recipe.learning_rate,
        epochs=recipe.epochs,
        steps_per_epoch=int(run.history[0]["step"]),
    )
    return [float(schedule(0)), *(row["learning_rate"] for row in run.history[:-1])]


def _row(recipe, runs):
    """Of the table: a recipe and the ends of its runs, a number for each seed."""
    return {
        "schedule": recipe.schedule,
        "learning rate": f"{recipe.learning_rate:g}",
        "warm-up epochs": f"{recipe.warmup_epochs:g}",
        "train loss": ", ".join(f"{run.last('train_loss'):.2f}" for run in runs),
        "test accuracy, %": ", ".join(f"{run.last('test_accuracy'):.1%}".rstrip("%") for run in runs),
    }


if __name__ == "__main__":
    main(experiment)
