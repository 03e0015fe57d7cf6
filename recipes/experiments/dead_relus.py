"""How many ReLUs die when the learning rate is too high?

LeNet-5 on the digits as they are, with ReLU and with leaky ReLU (slope 0.01), 6 epochs at constant rates, five seeds
each. Counted are the units, channels or outputs of fully connected layers, that are positive on none of the 1,437
training images. With ReLU they are dead: no gradient passes. With leaky ReLU a hundredth of it does.

Lecture: a large step can move a ReLU to where it never fires again; with a rate that is set too high as much as 40 % of
a net can be dead ([cs231n](https://cs231n.github.io/neural-networks-1/)). Leaky ReLU does not die.

Seen: as in the lecture, and worse. Up to a rate of 0.1 both end with 2 to 7 % of such units (medians) and learn equally
well. At 0.2, 28 % of the ReLUs are dead, and 7 % of the leaky ones are never positive; the accuracies are 70.8 % and
84.7 %. At 0.25, 73 % of the ReLUs are dead, at 0.3, 91 %, and the net is near chance. Leaky ReLU still learns something
there, where it gets through: 3 of 5 seeds end in NaN from 0.25 on, and none with ReLU. A dead net cannot blow up.
"""

import numpy as np
from matplotlib.figure import Figure

from .activations import Net, read_digits
from .lab import COLORS, Lab, main

NAMES = {"relu": "ReLU", "leaky_relu": "leaky ReLU"}
RATES = (0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
SEEDS, EPOCHS = (0, 1, 2, 3, 4), 6


def experiment(lab: Lab) -> None:
    """Trains with both at rising rates, and counts the units that are positive on no training image."""
    digits = read_digits(lab)
    rates, seeds, epochs = (RATES[:2], SEEDS[:1], 1) if lab.smoke else (RATES, SEEDS, EPOCHS)
    found = {}
    for name in NAMES:
        net = Net(name, digits)
        found[name] = 100 * np.array([[net.learn(seed, rate, epochs)[-1] for seed in seeds] for rate in rates])
    rows = []
    for i, rate in enumerate(rates):
        line: dict[str, object] = {"rate": rate}
        for name, title in NAMES.items():
            _, accuracies, never = found[name][i].T
            line[f"{title}: never positive (%)"] = median(never)
            line[f"{title}: test accuracy (%)"] = median(accuracies)
            line[f"{title}: seeds that diverged"] = f"{int(np.isnan(never).sum())} of {len(seeds)}"
        rows.append(line)
    lab.save(draw(rates, found), rows)


def median(values: np.ndarray) -> str:
    """The median of the seeds that did not diverge."""
    left = values[~np.isnan(values)]
    return f"{np.median(left):.1f}" if len(left) else ""


def draw(rates: tuple[float, ...], found: dict[str, np.ndarray]) -> Figure:
    """Left the shares of units, right the accuracies, over the rate; a point for each seed, a line at their median."""
    figure = Figure((10, 4.4), layout="constrained")
    panels = figure.subplots(1, 2)
    for (name, title), color, shift in zip(NAMES.items(), (COLORS[1], COLORS[0]), (-0.002, 0.002), strict=True):
        for axes, column in zip(panels, (2, 1), strict=True):
            values = found[name][:, :, column]
            places = np.repeat(rates, values.shape[1]) + shift
            axes.plot(places, values.ravel(), ".", color=color, alpha=0.6)
            left = (~np.isnan(values)).sum(1)
            axes.plot(np.array(rates)[left > 0], np.nanmedian(values[left > 0], 1), color=color, label=title)
            for rate, row, count in zip(rates, values, left, strict=True):
                if 0 < count < len(row):
                    place = (rate + shift, np.nanmax(row))
                    text = f"{count} of {len(row)}"
                    axes.annotate(text, place, (0, 6), textcoords="offset points", ha="center", color=color, fontsize=9)
    panels[0].set_ylabel("units that are positive on no training image (%)")
    panels[1].set_ylabel("test accuracy (%)")
    for axes in panels:
        axes.set_ylim(-2, 102)
        axes.set_xlim(0, max(RATES) + 0.04)
        axes.set_xlabel("learning rate (k of n: seeds that did not diverge)")
        axes.grid(alpha=0.3)
    panels[0].legend(loc="upper left")
    panels[1].legend(loc="lower left")
    figure.suptitle("At rates of 0.25 and more, most ReLUs are dead after 6 epochs")
    return figure


if __name__ == "__main__":
    main(experiment)
