"""Twelve optimisers on one net, each at its own rate.

LeNet-5 at the digits' 8x8 pixels, mini-batches of 32, a constant rate, 10 epochs of one seed. For each optimiser four
rates were tried, about three apart, in a short loop with another order of the images: the rate with the lowest
training loss in the last epoch is trained with, and the table has all of them. No weight decay, but 0.05 for AdamW,
which is Adam otherwise; LARS with a trust of 0.01, ten times its default, with which rates of 1 and more had done
worse. The curves are means over an epoch.

Lecture: plain gradient descent is slow along flat directions, and momentum and Nesterov's momentum hasten it;
Adagrad, RMSprop and Adam give each weight a rate of its own, Adagrad's only falls; Adam is a good first choice, and
SGD with momentum can be better if its rate is tuned. The sensible rates differ by orders of magnitude.

Seen: all twelve reach a training loss from 0.028 (Adagrad) to 0.199 (LARS). The rates that were chosen lie between
0.001 (Lion) and 10 (Adadelta). Plain SGD, 0.130, is behind momentum, 0.075, and Nesterov, 0.035. Adagrad, whose
falling rate the lecture has as its fault, and Adadelta are the lowest in these 440 steps. Adam, 0.116, is hardly
better than SGD. But a ranking this is not: at the same rate the search ended at 0.046 with Adam and at 0.011 with
momentum, in another order of the images. Nor are the test accuracies, 94.17 to 98.89 %, of one run each on 360
images: Adagrad, the lowest in the loss, shares the worst with RMSprop. LARS and LAMB are made for batches of
thousands.
"""

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from kerascnn.train import Recipe

from .lab import COLORS, Lab, main

RECIPE = Recipe(
    model="lenet5",
    model_args='padding="same"',
    data="digits",
    epochs=10,
    batch_size=32,
    optimizer="sgd",
    learning_rate=0.1,
    schedule="constant",
)
# The rates that are tried: about three apart, and wide enough for the best not to be at an end.
RATES = {
    "sgd": (0.03, 0.1, 0.3, 1),
    "momentum": (0.01, 0.03, 0.1, 0.3),
    "nesterov": (0.01, 0.03, 0.1, 0.3),
    "adagrad": (0.03, 0.1, 0.3, 1),
    "adadelta": (1, 3, 10, 30),
    "rmsprop": (1e-3, 3e-3, 0.01, 0.03),
    "rmsprop_tf": (3e-4, 1e-3, 3e-3, 0.01),
    "adam": (1e-3, 3e-3, 0.01, 0.03),
    "adamw": (1e-3, 3e-3, 0.01, 0.03),
    "lamb": (3e-3, 0.01, 0.03, 0.1),
    "lars(trust=0.01)": (0.03, 0.1, 0.3, 1),
    "lion": (3e-4, 1e-3, 3e-3, 0.01),
}
# What sets it apart from Adam.
DECAYS = {"adamw": 0.05}


def search(optimizer: str, rates: tuple[float, ...], images: np.ndarray, labels: np.ndarray) -> list[float]:
    """The training loss of the last epoch at each rate, from the same first weights and in the same order.

    A loop of its own, which compiles once for all rates, around the update that recipes have.
    """
    import keras
    import tensorflow as tf

    from kerascnn.models import create_model
    from kerascnn.train.optimizers import Update

    keras.utils.set_random_seed(0)
    model = create_model(RECIPE.model, **RECIPE.overrides(), input_shape=images.shape[1:])
    update = Update(model, optimizer=optimizer, weight_decay=DECAYS.get(optimizer, 0.0))
    variables = [*model.trainable_variables, *update.optimizer.variables]
    first = [variable.numpy() for variable in variables]
    images, labels = tf.constant(images), tf.constant(labels)

    @tf.function
    def epoch(batches, rate):
        total = tf.zeros([])
        for batch in batches:
            with tf.GradientTape() as tape:
                logits = model(tf.gather(images, batch), training=True)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(labels, batch), logits)
                loss = tf.reduce_mean(losses)
            update(tape.gradient(loss, model.trainable_variables), rate)
            total += loss
        return total / len(batches)

    found = []
    for rate in rates:
        for variable, value in zip(variables, first, strict=True):
            variable.assign(value)
        draws = np.random.default_rng(0)
        for _ in range(RECIPE.epochs):
            order = draws.permutation(len(labels))[: len(labels) // RECIPE.batch_size * RECIPE.batch_size]
            loss = epoch(tf.constant(order.reshape(-1, RECIPE.batch_size)), tf.constant(rate, tf.float32))
        found.append(float(loss))
    return found


def experiment(lab: Lab) -> None:
    """Chooses a rate for each optimiser, then trains with it."""
    images, labels = _images(lab)
    optimizers = list(RATES)[: 3 if lab.smoke else None]
    losses, recipes = {}, {}
    for optimizer in optimizers:
        losses[optimizer] = search(optimizer, RATES[optimizer], images, labels)
        rate = RATES[optimizer][int(np.nanargmin(losses[optimizer]))]
        recipes[optimizer] = dataclasses.replace(
            RECIPE, optimizer=optimizer, learning_rate=rate, weight_decay=DECAYS.get(optimizer, 0.0)
        )
    runs = lab.train(recipes)
    figure = Figure((9, 6.6), layout="constrained")
    figure.suptitle("Twelve optimisers, each at its own rate, bring the same net to a low training loss")
    panels = figure.subplots(3, 4, sharex=True, sharey=True)
    rows = []
    for (optimizer, (run,)), axes in zip(runs.items(), panels.flat, strict=False):
        for other, (shown,) in runs.items():
            own = other == optimizer
            axes.plot(
                [row["epoch"] for row in shown.history],
                [row["train_loss"] for row in shown.history],
                color=COLORS[0] if own else "#dddddd",
                linewidth=2 if own else 1,
                zorder=3 if own else 1,
            )
        rate = recipes[optimizer].learning_rate
        axes.set_title(f"{optimizer}\nrate {rate:g}, last loss {run.last('train_loss'):.2f}", fontsize=9)
        tried = (f"{loss:.2g} at {each:g}" for each, loss in zip(RATES[optimizer], losses[optimizer], strict=True))
        rows.append(
            {
                "optimizer": optimizer,
                "learning rate": f"{rate:g}",
                "train loss": f"{run.last('train_loss'):.3f}",
                "test accuracy": f"{run.last('test_accuracy'):.2%}",
                "loss in the search": "; ".join(tried),
            }
        )
    panels[0, 0].set(yscale="log", xticks=(0, 5, 10))
    panels[0, 0].set_yticks(ticks := (0.05, 0.2, 0.5, 1, 2), [f"{tick:g}" for tick in ticks])
    panels[0, 0].minorticks_off()
    figure.supxlabel("epochs", fontsize=10)
    figure.supylabel("training loss, mean over the epoch; grey: the other eleven", fontsize=10)
    lab.save(figure, rows)


def _images(lab):
    """The training images as one array with mean 0 and deviation 1, and their labels."""
    import tensorflow as tf

    from kerascnn.data import open_source

    source = open_source(RECIPE.data, lab.data_dir)
    encoded, labels = zip(*source.dataset("train[:64]" if lab.smoke else "train"), strict=True)
    images = np.stack([tf.io.decode_png(image).numpy() for image in encoded]).astype(np.float32)
    return (images - images.mean()) / images.std(), np.array(labels, np.int32)


if __name__ == "__main__":
    main(experiment)
