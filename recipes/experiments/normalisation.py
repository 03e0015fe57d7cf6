"""How do norms do where few images are normalised together?

A residual net of 8 layers on the digits as they are, 4 epochs, two seeds. Every step is one of 32 images at the same
rate, but the gradient comes from parts of 32, 8, 2 or 1 images (`accumulate`), and batch norm sees one part at a time,
as it does where a device holds few images. The other norms, and none, see each image by itself whatever the parts: they
are trained with all 32.

Lecture: batch norm averages over the images of a batch, height and width; layer norm over channels, height and width of
each image; instance norm over height and width; group norm over these and groups of channels. Batch norm's error
increases rapidly where batches get small, while group norm's stays
([1803.08494](https://arxiv.org/abs/1803.08494)).

Seen: batch norm over 32 images is the best of all, 98.9 and 99.4 %, and it falls with fewer: 98.6 and 98.9 % over 8,
98.1 and 98.9 % over 2. That is little, where the paper's is much on ImageNet: 1 of the 360 test images is 0.28 %. Over
one image it ends at 96.7 %, below all others and below no norm at all (98.3 %), though its training accuracy is 99.5
and 99.8 %: it trains as instance norm does, and then tests with running averages. The norms that see one image lie
between 97.8 and 98.9 %. Group norm in parts of 2 computes the same but for rounding, and still ended with other
accuracies than in parts of 32 from the same seed, 98.3 in place of 97.8 %: two images.
"""

from matplotlib.figure import Figure

from kerascnn.train import Recipe

from .lab import COLORS, Lab, Trained, main

BATCH, SEEDS = 32, (0, 1)
TOGETHER = (32, 8, 2, 1)  # images that batch norm sees together
OTHERS = ("group", "layer", "instance", "none")


def recipe(norm: str, together: int = BATCH) -> Recipe:
    """A residual net of 8 layers. Each step is one of 32 images, whose gradients come from parts of `together`.

    The running averages move after each part, and look back over as many images whatever its size: about 320.
    """
    return Recipe(
        model="resnet20_cifar",
        model_args=f"depths=(1, 1, 1), norm='{norm}', bn_momentum={0.9 ** (together / BATCH):.5g}",
        data="digits",
        epochs=4,
        batch_size=BATCH,
        accumulate=BATCH // together,
        learning_rate=0.05,
        warmup_epochs=1,
    )


RECIPES = {f"batch-{together}": recipe("batch", together) for together in TOGETHER}
RECIPES |= {f"{norm}-{BATCH}": recipe(norm) for norm in OTHERS}
CHECK = {"group-2": recipe("group", 2)}  # with one seed: does the size of the parts matter to it?


def experiment(lab: Lab) -> None:
    """Trains each of them, and draws the test accuracies."""
    runs = lab.train(dict(list(RECIPES.items())[:1]) if lab.smoke else RECIPES, SEEDS)
    runs |= lab.train(CHECK)
    lab.save(draw(runs), [row(name, found) for name, found in runs.items()])


def row(name: str, runs: list[Trained]) -> dict[str, object]:
    """A line of the table."""
    norm, _, together = name.partition("-")
    columns = {"training accuracy, last epoch (%)": "train_accuracy", "test accuracy (%)": "test_accuracy"}
    found = {
        title: ", ".join("diverged" if run.diverged else f"{100 * run.last(column):.1f}" for run in runs)
        for title, column in columns.items()
    }
    return {"norm": norm, "images in a part": together, "parameters": f"{runs[0].parameters:,}", **found}


def draw(runs: dict[str, list[Trained]]) -> Figure:
    """A column for each norm, for batch norm one a size of its parts: a point for each seed, a bar at the mean."""
    figure = Figure((8, 4.6), layout="constrained")
    axes = figure.subplots()
    columns = {f"batch-{together}": f"batch\n{together}" for together in reversed(TOGETHER)}
    columns |= {f"{norm}-{BATCH}": norm for norm in OTHERS}
    shown = [name for name in columns if name in runs]
    for place, name in enumerate(shown):
        color = COLORS[0] if name.startswith("batch") else COLORS[1]
        accuracies = [100 * run.last("test_accuracy") for run in runs[name]]
        axes.plot([place] * len(accuracies), accuracies, "o", color=color, alpha=0.6)
        axes.plot(place, sum(accuracies) / len(accuracies), "_", color=color, markersize=26, markeredgewidth=2)
    axes.set_xticks(range(len(shown)), [columns[name] for name in shown])
    axes.set_xlabel("norm; below batch norm how many images it sees together, of the 32 of a step")
    axes.set_ylabel("test accuracy of each seed, and mean (%)")
    axes.grid(axis="y", alpha=0.3)
    axes.set_title("Batch norm over fewer images tests worse, and over one the worst of all")
    return figure


if __name__ == "__main__":
    main(experiment)
