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
    from kerascnn.train.optimizers import LossScale, apply_gradients
    from kerascnn.train.steps import Steps
    from kerascnn.train.strategy import make_strategy

    batch, steps = values.batch_size, values.steps
    size, _, channels = shape = (values.image_size, values.image_size, 1)
    images = tf.random.stateless_normal([batch * 8, size, size, channels], [0, 1])
    labels = tf.random.stateless_uniform([batch * 8], [0, 2], 0, 10, tf.int64)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch, drop_remainder=True).cache().repeat()

    def make():
        return create_model(values.model, num_classes=10, input_shape=shape), keras.optimizers.SGD(
            0.01, momentum=0.9, nesterov=True
        )

    strategy = make_strategy("one_device")
    with strategy.scope():
        model, optimizer = make()
        optimizer.build(model.trainable_variables)
        scale = LossScale(dynamic=False)

    def step(images, labels):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            losses = metrics.cross_entropy(labels, logits)
            loss = tf.reduce_sum(losses) / batch
        gradients = tape.gradient(loss, model.trainable_variables)
        apply_gradients(optimizer, scale, gradients, model.trainable_variables, 0.0)
        return metrics.sums(labels, logits, losses)

    ours, batches = Steps(strategy, step), iter(strategy.experimental_distribute_dataset(data))
    theirs, their_optimizer = make()
    theirs.compile(their_optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])

    def run_ours():
        for _ in ours(batches, steps):
            pass

    def run_fit():
        theirs.fit(data, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)

    table("train loop", "Keras fit", run_ours, run_fit, batch * steps, values.rounds)


def table(name_a, name_b, run_a, run_b, images, rounds) -> None:
    """Runs both once to compile, then in turn; prints images a second and the ratio of each round."""
    run_a(), run_b()
    rates_a: list[float] = []
    rates_b: list[float] = []
    for _ in range(rounds):
        for run, rates in ((run_a, rates_a), (run_b, rates_b)):
            started = time.perf_counter()
            run()
            rates.append(images / (time.perf_counter() - started))
    ratios = [a / b for a, b in zip(rates_a, rates_b, strict=True)]
    for name, rates, form in ((name_a, rates_a, ",.0f"), (name_b, rates_b, ",.0f"), ("ratio", ratios, ".2f")):
        print(f"{name:12} median {statistics.median(rates):{form}}   each {' '.join(f'{x:{form}}' for x in rates)}")
