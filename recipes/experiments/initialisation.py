"""A net learns where the scale of its weights keeps the spread of its activations.

Above, what 1,000 random inputs become in six fully connected layers of 4,096 units, for weights from normal
distributions of deviation 0.01 and 0.05, Xavier's and He's, with tanh and with ReLU. Below, the training loss of a
plain net of 20 layers without any norm on the digits, begun from the same four: one rate, gradients clipped, one seed.

Lecture: in CS231n, with 0.01 the activations die out, with 0.05 they saturate or blow up; Xavier's deviation,
sqrt(1 / inputs), fits tanh, and He's, sqrt(2 / inputs), fits ReLU
([Glorot and Bengio](https://proceedings.mlr.press/v9/glorot10a.html), [1502.01852](https://arxiv.org/abs/1502.01852)).

Seen: above as in the lecture. By the sixth layer 0.01 leaves a deviation of 0.046 with tanh and 0.007 with ReLU; 0.05
pushes a third of tanh's activations beyond 0.99 and ReLU's to a deviation of 110; He's keeps ReLU's at 0.81. Below,
with ReLU only He's leaves chance. Two things differ. With tanh Xavier's learns late and stays at a loss of 1.62, where
He's reaches 0.02: tanh shrinks what it gets, above too, and twenty layers feel it more than six. And 0.05 neither
saturates nor blows up in this net but dies out, since its convolutions sum over 144 to 576 inputs in place of 4,096:
what is large depends on the number of inputs, which is the point of Xavier's and He's.
"""

import numpy as np
from matplotlib.figure import Figure

from kerascnn.train import Recipe

from .lab import COLORS, Lab, Trained, main

# The library's names, and what the figure calls them.
WEIGHTS = {"small_normal": "0.01", "large_normal": "0.05", "glorot_normal": "Xavier", "he_normal": "He"}
ACTIVATIONS = ("tanh", "relu")
LAYERS = 6


def recipe(activation: str, initializer: str) -> Recipe:
    """What trains each of them: as the plain net of 20 layers, without norm."""
    return Recipe(
        model="plain20_cifar",
        model_args=f"norm='none', activation={activation!r}, initializer={initializer!r}",
        data="digits",
        epochs=12,
        batch_size=32,
        learning_rate=0.02,
        warmup_epochs=1,
        clip="global_norm(limit=1.0)",
    )


def activations(activation: str, initializer: str, width: int, images: int) -> list[np.ndarray]:
    """What each of the six layers gives for random inputs; both are the same for every activation."""
    import keras

    from kerascnn import initializers

    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(images, width)).astype("float32")
    given = []
    for _ in range(LAYERS):
        kernel = initializers.get(initializer)
        x = keras.layers.Dense(width, activation=activation, use_bias=False, kernel_initializer=kernel)(x)
        given.append(np.asarray(x))
    return given


def experiment(lab: Lab) -> None:
    """Lets activations run through six layers, trains from the same initialisations, and draws both."""
    width, images = (64, 50) if lab.smoke else (4096, 1000)
    names = [(activation, weights) for activation in ACTIVATIONS for weights in WEIGHTS]
    recipes = {f"{activation}-{weights}": recipe(activation, weights) for activation, weights in names}
    trained = lab.train(dict(list(recipes.items())[:2]) if lab.smoke else recipes)
    figure = Figure((11, 9.5), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=(2, 1))
    above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    panels = above.subplots(len(ACTIVATIONS), len(WEIGHTS))
    rows = []
    for (activation, weights), axes in zip(names, panels.flat, strict=True):
        given = activations(activation, weights, width, images)
        histograms(axes, given, activation)
        axes.set_title(f"{activation}, {WEIGHTS[weights]}", fontsize=11)
        row: dict[str, object] = {"activation": activation, "weights": WEIGHTS[weights]}
        for layer in (1, 3, 6):
            mean, deviation = given[layer - 1].mean(), given[layer - 1].std()
            row[f"layer {layer}: mean, deviation"] = f"{rounded(mean)}, {rounded(deviation)}"
        saturated = 100 * np.mean(np.abs(given[-1]) > 0.99)
        row["layer 6: beyond 0.99 (%)"] = f"{saturated:.0f}" if activation == "tanh" else ""
        for run in trained.get(f"{activation}-{weights}", ()):
            row["training loss"] = f"{run.last('train_loss'):.2f}"
            row["training accuracy (%)"] = f"{100 * run.last('train_accuracy'):.1f}"
        rows.append(row)
    for axes in panels[:, 0]:
        axes.set_ylabel("layer")
    above.suptitle("Activations of six wide layers, by the scale of the weights; beside each its deviation")
    curves(below.subplots(1, len(ACTIVATIONS), sharey=True), trained)
    below.suptitle("Training loss of a plain net of 20 layers without norm, from the same")
    lab.save(figure, rows if not lab.smoke else rows[:2])


def rounded(value: float) -> str:
    """Two figures, without powers of ten; 0 for what is small beside all of them."""
    return f"{float(f'{value:.2g}'):,.10g}" if abs(value) > 1e-3 else "0"


def histograms(axes, given: list[np.ndarray], activation: str) -> None:
    """One ridge for each layer, the first on top, with its deviation written beside it; of ReLU, what is above 0."""
    low, high = (-1.0, 1.0) if activation == "tanh" else (0.0, 4.0)
    edges = np.linspace(low, high, 41)
    for layer, values in enumerate(given, 1):
        counts, _ = np.histogram(values[values != 0], edges)
        axes.stairs(0.85 * counts / counts.max() - layer, edges, baseline=-layer, fill=True, color=COLORS[0])
        axes.annotate(
            rounded(values.std()), (1.02, -layer), xycoords=("axes fraction", "data"), fontsize=9, annotation_clip=False
        )
    axes.set_yticks([-layer for layer in range(1, LAYERS + 1)], range(1, LAYERS + 1))
    axes.set_ylim(-LAYERS - 0.1, 0)
    axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.set_xlabel("activation" if activation == "tanh" else "activation, where above 0", fontsize=9)


def curves(panels, trained: dict[str, list[Trained]]) -> None:
    """The training losses, one panel for each activation."""
    for activation, axes in zip(ACTIVATIONS, panels, strict=True):
        # The first lines are thicker: those that stay at chance lie on each other.
        for (weights, label), color, width in zip(WEIGHTS.items(), COLORS, (8, 5, 2.5, 1.5), strict=False):
            for run in trained.get(f"{activation}-{weights}", ()):
                losses = [row["train_loss"] for row in run.history]
                axes.plot(range(1, len(losses) + 1), losses, color=color, linewidth=width, label=label)
        axes.axhline(np.log(10), color="black", linewidth=0.8, linestyle=":", label="chance, ln 10")
        axes.set_title(activation, fontsize=11)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("training loss")
    panels[1].legend(loc="lower left")


if __name__ == "__main__":
    main(experiment)
