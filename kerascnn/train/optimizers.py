"""One update of the weights: gradients summed over replicas, checked, decayed, applied."""

import keras
import tensorflow as tf


class LossScale:
    """The dynamic loss scale of float16 (arXiv:1710.03740, 3.2): halved by an overflow, doubled after 2,000 good steps.

    A constant 1 where `dynamic` is false: then nothing is checked. Made inside the strategy's scope.
    """

    def __init__(self, dynamic: bool):
        self.dynamic = dynamic
        mirrored = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.scale = tf.Variable(2.0**15 if dynamic else 1.0, name="scale", **mirrored)
        self.good_steps = tf.Variable(0, name="good_steps", dtype=tf.int64, **mirrored)

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """What changes, by its names in a checkpoint."""
        return {"scale": self.scale, "good_steps": self.good_steps} if self.dynamic else {}

    def update(self, finite) -> None:
        """Notes whether a step's gradients were finite."""
        good = tf.where(finite, self.good_steps + 1, tf.zeros([], tf.int64))
        grow = good >= 2000
        self.scale.assign(tf.where(finite, tf.where(grow, self.scale * 2, self.scale), tf.maximum(self.scale / 2, 1)))
        self.good_steps.assign(tf.where(grow, tf.zeros([], tf.int64), good))


def apply_gradients(
    optimizer: keras.optimizers.Optimizer, loss_scale: LossScale, gradients, variables, weight_decay: float
) -> None:
    """Adds the gradients up over all replicas and updates the variables. Called by each replica in its step.

    Weight decay is the L2 term of the papers' SGD, `weight_decay * kernel` added to the gradient, on kernels only.
    The sums are made before the check for overflow, so that all replicas reach the same verdict, and a step that
    overflowed changes no weight and no momentum. (Keras's own loss scaling looks before the sum.)
    """
    context = tf.distribute.get_replica_context()
    gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, [g / loss_scale.scale for g in gradients])
    values = [variable.value for variable in variables]
    decays = [weight_decay if variable.name.endswith("kernel") else 0.0 for variable in variables]

    def update_all(strategy, gradients):
        rate = optimizer.learning_rate

        def update_one(value, gradient, decay):
            optimizer.update_step(gradient + decay * value if decay else gradient, value, rate)

        for value, gradient, decay in zip(values, gradients, decays, strict=True):
            strategy.extended.update(value, update_one, args=(gradient, decay), group=False)
        optimizer.iterations.assign_add(1)

    def update_if_finite(strategy, gradients):
        if not loss_scale.dynamic:
            return update_all(strategy, gradients)
        local = [strategy.experimental_local_results(gradient)[0] for gradient in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in local])
        tf.cond(finite, lambda: update_all(strategy, gradients), lambda: None)
        loss_scale.update(finite)

    context.merge_call(update_if_finite, args=(gradients,))
