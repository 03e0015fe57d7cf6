"""How soon does a net learn with each activation, and what does a step cost?

LeNet-5 at the digits' own 8x8 pixels with 13 activations, the weights begun as their papers or the lectures say, 8
epochs at a constant rate, three seeds. Each has the best of four rates (0.01 to 0.3), by the training accuracy at the
end. The time is that of a forward and a backward pass of LeNet-5 at 32x32 with 128 images, all nets in turn in one
process, as a share of ReLU's in the same round. The machine was busy: the middle half of the rounds shows how much the
times varied.

Lecture: sigmoid saturates, and its outputs are not centred on zero; tanh saturates too; ReLU is cheap and learns about
six times faster than both; ELU and sigmoid need an exponential; maxout doubles the weights. So: ReLU first, then leaky
ReLU, maxout and ELU, hardly tanh, never sigmoid ([cs231n](https://cs231n.github.io/neural-networks-1/)).

Seen: sigmoid stays at chance (10.0 %) at every rate. Maxout and ELU learn soonest, 95.7 and 94.2 % after 2 epochs.
Unlike in the lecture, tanh is no slower than ReLU: 88.9 and 89.6 % after 2 epochs, 97.6 and 97.2 % after 8. After 8
epochs all but softplus (95.6 %) and sigmoid lie between 96.7 and 98.3 %, close together for three seeds that differ by
up to 2.2 points. The time of tanh, ELU, SELU and even sigmoid cannot be told from that of a second net with ReLU: the
convolutions cost more than an exponential does. PReLU and GELU took half as long again, and maxout, with twice the
filters, 5.6 times as long, far more than twice: the layer is slow here.
"""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .lab import COLORS, Lab, main

# What each activation's own paper or the lectures start its weights with; He's where they name no other.
INITIALIZERS = {
    "sigmoid": "glorot_uniform",
    "tanh": "glorot_uniform",
    "softplus": "he_normal",
    "relu": "he_normal",
    "relu6": "he_normal",
    "leaky_relu": "he_normal",
    "prelu": "he_normal",
    "elu": "he_normal",
    "selu": "lecun_normal",
    "gelu": "he_normal",
    "silu": "he_normal",
    "hard_swish": "he_normal",
    "maxout": "he_normal",
}
RATES, SEEDS = (0.01, 0.03, 0.1, 0.3), (0, 1, 2)
EPOCHS, EARLY = 8, 2
BATCH, ROUNDS = 32, 60
CONTROL = "relu, a second net"

Digits = dict[str, tuple[np.ndarray, np.ndarray]]


def read_digits(lab: Lab) -> Digits:
    """The images and labels of both splits, normalised; a few in a smoke run."""
    from kerascnn.data import pipeline

    few, splits = f"[:{2 * BATCH}]" if lab.smoke else "", ("train", "test")
    batches = {
        name: pipeline("digits", name + few, batch_size=2000, crop="resize", train=False, data_dir=lab.data_dir)
        for name in splits
    }
    return {name: next(batches[name].as_numpy_iterator()) for name in splits}


class Net:
    """LeNet-5 for 8x8 pixels with an activation, which learns with Nesterov's momentum of 0.9 at a constant rate.

    It has a loop of its own, which compiles once for all seeds and rates: runs of a recipe would each time.

    Attributes:
      parameters: how many it has.
    """

    def __init__(self, activation: str, digits: Digits):
        import keras
        import tensorflow as tf

        from kerascnn.models import create_model
        from kerascnn.train.optimizers import Update

        def make():
            initializer = INITIALIZERS[activation]
            return create_model(
                "lenet5", activation=activation, initializer=initializer, padding="same", input_shape=(8, 8, 1)
            )

        (images, labels), (test_images, test_labels) = (map(tf.constant, digits[name]) for name in ("train", "test"))
        model, self._count = make(), len(labels)
        self.parameters = model.count_params()
        update = Update(model, optimizer="nesterov(momentum=0.9)")
        outputs = [layer.output for layer in model.layers if "_act" in layer.name]
        highest = [keras.ops.max(x, (1, 2)) if len(x.shape) == 4 else x for x in outputs]
        wide = keras.Model(model.inputs, [model.output, keras.ops.concatenate(highest, -1)])

        @tf.function
        def epoch(order, rate):
            for batch in order:
                with tf.GradientTape() as tape:
                    logits = model(tf.gather(images, batch), training=True)
                    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(labels, batch), logits)
                    loss = tf.reduce_mean(losses)
                update(tape.gradient(loss, model.trainable_variables), rate)

        @tf.function
        def look():
            (logits, units), test_logits = wide(images), model(test_images)
            right = [tf.argmax(logits, -1) == labels, tf.argmax(test_logits, -1) == test_labels]
            shares = tf.stack([tf.reduce_mean(tf.cast(x, tf.float32)) for x in (*right, tf.reduce_all(units <= 0, 0))])
            return tf.where(tf.reduce_all(tf.math.is_finite(logits)), shares, np.nan)

        def restart(seed):
            keras.utils.set_random_seed(seed)
            model.set_weights(make().get_weights())
            for variable in update.optimizer.variables:
                variable.assign(np.zeros(variable.shape))

        self._restart, self._epoch, self._look = restart, epoch, look

    def learn(self, seed: int, rate: float, epochs: int) -> np.ndarray:
        """Trains from the beginning, and looks at the net before and after each epoch.

        Returns:
          [1 + epochs, 3]: the accuracy on the training and on the test images, and the share of units that are
          positive on no training image; NaN where logits are no numbers. A unit is a channel of a convolution or an
          output of a fully connected layer, behind its activation.
        """
        import tensorflow as tf

        self._restart(seed)
        draws, steps, seen = np.random.default_rng(seed), self._count // BATCH, [self._look().numpy()]
        for _ in range(epochs):
            order = draws.permutation(self._count)[: steps * BATCH].reshape(steps, BATCH)
            self._epoch(tf.constant(order), tf.constant(rate, tf.float32))
            seen.append(self._look().numpy())
        return np.array(seen)


def step_times(activations: Sequence[str], rounds: int) -> dict[str, np.ndarray]:
    """How long a training step takes with each activation, as shares of relu's in the same round: [rounds] each.

    LeNet-5 at 32x32 with 128 images, forward and backward, in an order that is drawn for each round. A second net with
    relu stands in as CONTROL, to show how much two equal nets differ.
    """
    import keras
    import tensorflow as tf

    from kerascnn.models import create_model

    draws = np.random.default_rng(0)
    images = tf.constant(draws.normal(size=(128, 32, 32, 1)), tf.float32)
    labels = tf.constant(draws.integers(10, size=128))

    def step_of(activation):
        keras.utils.set_random_seed(0)
        model = create_model("lenet5", activation=activation, initializer=INITIALIZERS[activation])

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                logits = model(images, training=True)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            return tape.gradient(loss, model.trainable_variables)

        compiled = step.get_concrete_function()
        for _ in range(3):  # the first calls are slower
            compiled()
        return compiled

    steps = {name: step_of(name) for name in activations} | {CONTROL: step_of("relu")}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name in draws.permutation(list(steps)):
            started = time.perf_counter()
            steps[name]()
            seconds[name].append(time.perf_counter() - started)
    return {name: np.array(found) / seconds["relu"] for name, found in seconds.items()}


@dataclasses.dataclass(frozen=True)
class Found:
    """What came out for an activation.

    Attributes:
      parameters: of its net.
      rate: the one of the highest accuracy on the training images.
      accuracies: on the test images at that rate in percent, [seeds, 1 + epochs].
    """

    parameters: int
    rate: float
    accuracies: np.ndarray


def best(name: str, digits: Digits, rates: Sequence[float], seeds: Sequence[int], epochs: int) -> Found:
    """Trains at all rates from all seeds. The rate is chosen by the training images, so the test images stay new."""
    net = Net(name, digits)
    learned = {rate: np.array([net.learn(seed, rate, epochs) for seed in seeds]) for rate in rates}
    rate = max(rates, key=lambda rate: np.nan_to_num(learned[rate][:, -1, 0].mean()))
    return Found(net.parameters, rate, 100 * learned[rate][:, :, 1])


def experiment(lab: Lab) -> None:
    """Trains with each activation at several rates, measures the time of a step, and draws both."""
    digits = read_digits(lab)
    names = ("relu", "tanh") if lab.smoke else tuple(INITIALIZERS)
    rates, seeds, epochs = (RATES[1:3], SEEDS[:1], EARLY) if lab.smoke else (RATES, SEEDS, EPOCHS)
    found = {name: best(name, digits, rates, seeds, epochs) for name in names}
    times = step_times(names, 3 if lab.smoke else ROUNDS)
    order = sorted(names, key=lambda name: -found[name].accuracies[:, EARLY].mean())
    rows = [row(name, found[name], times[name]) for name in order]
    lab.save(
        draw({name: found[name] for name in order}, times), [*rows, {**dict.fromkeys(rows[0], ""), **control(times)}]
    )


def row(name: str, found: Found, times: np.ndarray) -> dict[str, object]:
    """A line of the table."""
    early, last = found.accuracies[:, EARLY], found.accuracies[:, -1]
    return {
        "activation": name,
        "weights": INITIALIZERS[name],
        "parameters": f"{found.parameters:,}",
        "rate": found.rate,
        f"test accuracy after {EARLY} epochs (%)": f"{early.mean():.1f}",
        f"after {EPOCHS} epochs (%)": f"{last.mean():.1f}",
        "lowest and highest of the seeds": f"{last.min():.1f}, {last.max():.1f}",
        **cost(times),
    }


def cost(times: np.ndarray) -> dict[str, str]:
    """The last columns of the table."""
    low, middle, high = np.percentile(times, (25, 50, 75))
    return {"time of a step, relu 1": f"{middle:.2f}", "middle half of the rounds": f"{low:.2f} to {high:.2f}"}


def control(times: dict[str, np.ndarray]) -> dict[str, str]:
    """The columns that the second net with relu has."""
    return {"activation": CONTROL, **cost(times[CONTROL])}


def draw(found: dict[str, Found], times: dict[str, np.ndarray]) -> Figure:
    """Left the errors, right the times; a line for each activation, the first on top."""
    figure = Figure((10, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for place, (name, each) in enumerate(found.items()):
        for when, color, marker in ((EARLY, COLORS[5], "D"), (-1, COLORS[0], "o")):
            errors = 100 - each.accuracies[:, when]
            left.plot(errors, [place] * len(errors), marker, color=color, markersize=6, alpha=0.7)
        low, middle, high = np.percentile(times[name], (25, 50, 75))
        right.plot((low, high), (place, place), color=COLORS[0], linewidth=2)
        right.plot(middle, place, "o", color=COLORS[0])
    left.plot([], [], "D", color=COLORS[5], label=f"after {EARLY} epochs")
    left.plot([], [], "o", color=COLORS[0], label=f"after {EPOCHS} epochs")
    left.legend(loc="upper right")
    left.set_yticks(range(len(found)), list(found))
    left.invert_yaxis()
    left.set_xscale("log")
    left.set_xticks((1, 2, 5, 10, 20, 50, 90), ("1", "2", "5", "10", "20", "50", "90"))
    left.set_xlabel("test error of each seed (%)")
    right.axvspan(*np.percentile(times[CONTROL], (25, 75)), color=COLORS[7], alpha=0.4, linewidth=0)
    right.set_xscale("log", base=2)
    right.xaxis.set_major_formatter("{x:g}")
    right.set_xlabel("time of a training step, relu = 1\n(half of the rounds; grey: relu again)")
    for axes in (left, right):
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.suptitle("Maxout and ELU learn soonest; sigmoid does not learn")
    return figure


if __name__ == "__main__":
    main(experiment)
