"""Learning rates from 1e-6 to 1e6: most of them do not train.

LeNet-5 with ReLU at the digits' 8x8 pixels, plain gradient descent at a constant rate, 200 steps of 32 images out of
320, one run for each of 13 rates. A run is stopped when its loss is no number any more, or is above three times the
first for 100 steps.

Lecture: find a rate that makes the loss fall within about 100 steps; too low, and it barely moves; too high, and it
rises or is NaN. The slides go from 1e-6, where the loss stands still, to 1e6, where it is NaN
([CS231n](https://cs231n.github.io/neural-networks-3/)).

Seen: three rates train: 1e-1 to a loss of 0.158, 1e0 with jumps to 0.8576, 1e-2 slowly to 2.09. From 1e-6 to 1e-3 the
loss stays within 1 % of its first 2.301, though at 1e-3 the accuracy is 17 % already, above chance. From 1e1 on no
run goes on: four are NaN in step 2 to 5. But 1e6, NaN in the slides, keeps to numbers here, and so does 1e4: the mean
loss of the first ten steps is above 1e21 and falls, yet after 100 steps it is still far above three times the first.
"""

import dataclasses
import math
import re

from matplotlib.figure import Figure

from kerascnn.train import Recipe

from .lab import COLORS, Lab, main

# An epoch is 10 steps: so often the loss is known. Runs end after 200 steps.
RECIPE = Recipe(
    model="lenet5",
    model_args='padding="same", activation="relu", initializer="he_normal"',
    data="digits",
    train_split="train[:320]",
    epochs=20,
    batch_size=32,
    optimizer="sgd",
    learning_rate=0.1,
    schedule="constant",
)
RATES = tuple(10.0**exponent for exponent in range(-6, 7))


def experiment(lab: Lab) -> None:
    """Trains the same net at 13 learning rates, one decade apart."""
    rates = {f"1e{round(math.log10(rate))}": rate for rate in RATES[-3 if lab.smoke else 0 :]}
    runs = lab.train({name: dataclasses.replace(RECIPE, learning_rate=rate) for name, rate in rates.items()})
    figure = Figure((9, 4.4), layout="constrained")
    curves, ends = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    figure.suptitle("Three of 13 learning rates train; lower ones hardly move, higher ones are stopped by the engine")
    rows, colors, still = [], iter(COLORS), iter(["1e-3 and lower"])
    for name, (run,) in runs.items():
        steps, losses = [row["step"] for row in run.history], [row["train_loss"] for row in run.history]
        if run.diverged:
            reason = _reason(run)
            ends.plot(rates[name], 5.5, "x", color="black")
            ends.annotate(reason, (rates[name], 5), rotation=90, ha="center", va="top", fontsize=8)
        else:
            reason = "lower" if losses[-1] < 0.95 * losses[0] else "moved by less than 5 %"
            moved = reason == "lower"
            color = next(colors) if moved else COLORS[-1]
            curves.plot(steps, losses, color=color, label=name if moved else next(still, None))
            ends.plot(rates[name], losses[-1], "o", color=color)
        rows.append(
            {
                "learning rate": name,
                "loss, first 10 steps": f"{losses[0]:.4g}" if losses else "",
                "loss, last 10 steps": f"{losses[-1]:.4g}" if losses else "",
                "train accuracy": "" if run.diverged else f"{run.last('train_accuracy'):.0%}",
                "what happened": reason,
            }
        )
    curves.set(xlabel="steps of 32 images", ylabel="training loss, mean over 10 steps", yscale="log")
    curves.set_yticks(ticks := (0.2, 0.5, 1, 2, 5), [f"{tick:g}" for tick in ticks])
    curves.minorticks_off()
    curves.legend(title="learning rate", frameon=False)
    ends.set(xlabel="learning rate (x: stopped, at no height)", xscale="log", title="the last 10 steps")
    lab.save(figure, rows)


def _reason(run):
    """Why the engine ended the run, in few words, from what it said."""
    said = (run.folder / "log.txt").read_text("utf-8").splitlines()[-1]
    loss, step = re.search(r"the loss is (\S+) in step (\d+)", said).groups()
    return "too high for 100 steps" if "above" in said else f"{loss} in step {step}"


if __name__ == "__main__":
    main(experiment)
