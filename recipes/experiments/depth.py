"""Without shortcuts, deeper nets train worse.

The nets of 20, 56 and 110 layers for small images, with shortcuts and without, on the digits as they are: no
augmentation, no smoothing of labels, 15 epochs of one seed, the same rate for all. What counts is the error on the
training images, in each epoch while the weights changed: overfitting cannot raise it. The last two columns compare
gradients ahead of the first step: of the first convolution's weights to those of the last one's, root mean squares.

Lecture: a plain net of 56 layers has more training error than one of 20, though it could copy the shallower one and
leave the rest as the identity; with shortcuts the deeper net is the better one
([1512.03385](https://arxiv.org/abs/1512.03385), figure 6).

Seen: the lecture's order, and more of it in so short a training: without shortcuts 0.1 % of training error with 20
layers, 52.3 % with 56 and 80.7 % with 110; with shortcuts 0.1 % or less in each, though 110 layers take some epochs
longer. The plain nets have batch norm, as in the paper, so that their activations neither die nor blow up; the paper
adds that the gradients are healthy. Here they are not: untrained, those of the first layer of the plain net of 110 are
23 million times those of the last, and without norm 9 times. Batch norm itself makes gradients grow with each layer
([1902.08129](https://arxiv.org/abs/1902.08129)); shortcuts keep that at 110 times. One seed, and tiny images: the last
stages have maps of 2x2.
"""

import numpy as np
from matplotlib.figure import Figure

from kerascnn.train import Recipe

from .lab import COLORS, Lab, Trained, main

DEPTHS = (20, 56, 110)
KINDS = {"plain": "without shortcuts", "resnet": "with shortcuts"}


def recipe(model: str) -> Recipe:
    """What trains each of them; the warm-up is for the deepest, as in the paper."""
    return Recipe(
        model=model,
        data="digits",
        epochs=15,
        batch_size=64,
        learning_rate=0.05,
        warmup_epochs=2,
        weight_decay=1e-4,
    )


RECIPES = {f"{kind}{depth}": recipe(f"{kind}{depth}_cifar") for depth in DEPTHS for kind in KINDS}


def errors(run: Trained) -> list[float]:
    """The training error of each epoch in percent."""
    return [100 * (1 - row["train_accuracy"]) for row in run.history]


def rounded(value: float) -> str:
    """Two figures, without powers of ten."""
    return f"{float(f'{value:.2g}'):,.10g}"


def gradient_ratio(model: str, norm: str) -> float:
    """How many times as large as that of the last convolution's kernel the gradient of the first one's is, untrained.

    Of both the root mean square, in training mode, on 64 made-up images.
    """
    import keras
    import tensorflow as tf

    from kerascnn import create_model

    keras.utils.set_random_seed(0)
    net = create_model(model, input_shape=(8, 8, 1), norm=norm)
    images, labels = tf.random.normal((64, 8, 8, 1)), tf.range(64) % 10
    kernels = [layer.kernel for layer in net.layers if "conv" in layer.name and hasattr(layer, "kernel")]
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, net(images, training=True))
        loss = tf.reduce_mean(losses)
    first, last = tape.gradient(loss, [kernels[0].value, kernels[-1].value])
    return float(np.sqrt(np.mean(first**2) / np.mean(last**2)))


def experiment(lab: Lab) -> None:
    """Trains the six nets and draws their training errors, one panel for each kind."""
    recipes = dict(list(RECIPES.items())[:2]) if lab.smoke else RECIPES
    runs = {name: found[0] for name, found in lab.train(recipes).items()}
    figure = Figure((10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for (kind, meaning), axes in zip(KINDS.items(), panels, strict=True):
        for depth, color in zip(DEPTHS, COLORS, strict=False):
            if run := runs.get(f"{kind}{depth}"):
                epochs = range(1, len(run.history) + 1)
                axes.plot(epochs, errors(run), color=color, marker=".", label=f"{depth} layers")
        axes.set_title(meaning)
        axes.set_xlabel("epoch")
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
        axes.legend()
    panels[0].set_ylabel("training error (%)")
    figure.suptitle("Training error of deeper nets, without and with shortcuts")
    rows = []
    for name, run in runs.items():
        model = RECIPES[name].model
        rows.append(
            {
                "net": name,
                "parameters": f"{run.parameters:,}",
                "training error in the last epoch (%)": f"{errors(run)[-1]:.1f}",
                "training loss": f"{run.last('train_loss'):.4f}",
                "test error (%)": f"{100 * (1 - run.last('test_accuracy')):.1f}",
                "untrained: gradient of first / last layer": rounded(gradient_ratio(model, "batch")),
                "the same without norm": rounded(gradient_ratio(model, "none")),
            }
        )
    lab.save(figure, rows)


if __name__ == "__main__":
    main(experiment)
