"""Our training loop against Keras's fit: same model, data and batch.

python -m tools.bench loop
"""

import statistics
import time

from absl import flags

from kerascnn import console


def main(argv: list[str]) -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("model", "resnet20_cifar", "the model to train", flag_values=values)
    flags.DEFINE_integer("image_size", 32, "the side of its images", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("batch_size", 64, "images a step", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("steps", 100, "steps a round", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("rounds", 5, "rounds of each side", lower_bound=1, flag_values=values)
    if rest := console.parse_flags(values, __doc__, argv):
        console.fail(f"not a flag: {rest[0]!r}")
    with console.quiet_start():
        from kerascnn import models, registry  # noqa: F401
    try:
        registry.lookup(values.model)
    except ValueError as error:
        console.fail(error)
    print(f"loop: {values.model}, {values.image_size}x{values.image_size}, batch {values.batch_size}")
    loop(values)


def loop(values) -> None:
    """Images a second of the training step alone, from data in memory, without the calls that compile."""
    import keras
    import tensorflow as tf

    from kerascnn.evaluate import metrics
    from kerascnn.models import create_model
    from kerascnn.train.losses import Objective
    from kerascnn.train.optimizers import Update
    from kerascnn.train.schedules import make_schedule
    from kerascnn.train.steps import Steps
    from kerascnn.train.strategy import make_strategy

    batch, steps = values.batch_size, values.steps
    size, _, channels = shape = (values.image_size, values.image_size, 1)
    images = tf.random.stateless_normal([batch * 8, size, size, channels], [0, 1])
    labels = tf.random.stateless_uniform([batch * 8], [0, 2], 0, 10, tf.int64)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch, drop_remainder=True).cache().repeat()
    strategy = make_strategy("one_device")

    def ours(xla):
        with strategy.scope():
            model = create_model(values.model, num_classes=10, input_shape=shape)
            update = Update(model, optimizer="nesterov")
            objective = Objective(classes=10)
        schedule = make_schedule("constant", learning_rate=0.01, epochs=1, steps_per_epoch=1_000_000)

        def step(number, images, labels):
            with tf.GradientTape() as tape:
                logits = model(images, training=True)
                losses = objective(labels, logits)
                loss = tf.reduce_sum(losses) / batch
            update(tape.gradient(loss, model.trainable_variables), schedule(number))
            return metrics.sums(labels, logits, losses)

        compiled = Steps(strategy, tf.function(step, jit_compile=True) if xla else step)
        batches = iter(strategy.experimental_distribute_dataset(data))

        def run():
            for _ in compiled(batches, steps):
                pass

        return run

    def fit():
        model = create_model(values.model, num_classes=10, input_shape=shape)
        optimizer = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        return lambda: model.fit(data, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)

    table({"train loop": ours(False), "with --xla": ours(True), "Keras fit": fit()}, batch * steps, values.rounds)


def table(sides, images, rounds) -> None:
    """Runs all twice to compile and find their pace, then in turn; prints images a second, and ratios to the last."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for run in [*sides.values()] * 2:
        run()
    for _ in range(rounds):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            rates[name].append(images / (time.perf_counter() - started))
    *_, last = rates.values()
    for name, found in rates.items():
        ratios = [a / b for a, b in zip(found, last, strict=True)]
        each = " ".join(f"{rate:,.0f}" for rate in found)
        print(f"{name:12} median {statistics.median(found):,.0f}   ratio {statistics.median(ratios):.2f}   each {each}")
