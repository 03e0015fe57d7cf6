"""One update of the weights: gradients summed over replicas, checked, clipped, decayed, applied; by which rule."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerascnn.data import calls
from kerascnn.train.clipping import make_clip
from kerascnn.train.layer_decay import depths


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


class Update:
    """What becomes of a step's gradients. Made inside the strategy's scope, called by each replica in its step.

    Args:
      model: whose `trainable_variables`, as they are now, are changed.
      optimizer: one of `OPTIMIZERS`, as in `nesterov(momentum=0.9)`.
      weight_decay: the L2 term `weight_decay * weight` in the gradient, as the papers' SGD has it.
      decoupled: decay takes `rate * weight_decay * weight` off the weight instead (arXiv:1711.05101). `adamw`, `lamb`
        and `lion` always do; `lars` has the decay inside its ratio and cannot.
      l1: the term `l1 * sign(weight)` in the gradient; with `weight_decay` an elastic net.
      decay_all: both decays are for all weights, not for kernels only.
      clip: see `kerascnn.train.clipping`; it sees the gradients without decay.
      layer_decay: a weight's rate is `layer_decay ** depth` of the whole, `kerascnn.train.layer_decay.depths`; so is
        its decoupled decay, which goes with the rate.
      dynamic_scale: the loss is scaled for float16.

    Attributes:
      optimizer: the Keras optimizer. Its own `learning_rate` is not used.
      loss_scale: by what the loss has to be multiplied.

    Raises:
      ValueError: a name or a value that cannot be.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        optimizer: str = "nesterov",
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        decay_all: bool = False,
        clip: str = "",
        layer_decay: float = 1.0,
        dynamic_scale: bool = False,
    ):
        if weight_decay < 0 or l1 < 0:
            raise ValueError(f"weight_decay={weight_decay}, l1={l1}: from 0 on.")
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay={layer_decay}: above 0 and up to 1.")
        rules = calls.evaluate(optimizer, OPTIMIZERS, "optimizer")
        if len(rules) != 1:
            raise ValueError(f"optimizer={optimizer!r}: one is wanted, as in 'nesterov(momentum=0.9)'.")
        rule: Rule = rules[0]
        if decoupled and rule.kind is Lars:
            raise ValueError("decoupled: lars has its weight decay inside the ratio; leave it out.")
        self._variables = list(model.trainable_variables)
        self._clip = make_clip(clip, model)
        decayed = [decay_all or is_kernel(variable) for variable in self._variables]
        decays = [weight_decay if yes else 0.0 for yes in decayed]
        none = [0.0] * len(decays)
        inside, outside = (none, decays) if decoupled or rule.decoupled else (decays, none)
        arguments = dict(rule.arguments)
        if rule.kind is Lars:
            arguments["decays"], inside = inside, none
        self._plan = list(
            zip(
                [variable.value for variable in self._variables],
                inside,
                outside,
                [l1 if yes else 0.0 for yes in decayed],
                [layer_decay**depth for depth in depths(model)],
                strict=True,
            )
        )
        # Keras casts the numbers as TensorFlow does, a Python float by way of float32, but a NumPy one as it is.
        if {variable.dtype for variable in self._variables} == {"float64"}:
            arguments = {k: np.float64(v) if isinstance(v, float) else v for k, v in arguments.items()}
        self.optimizer = rule.kind(learning_rate=1.0, name="optimizer", **arguments)
        self.optimizer.build(self._variables)
        self.loss_scale = LossScale(dynamic_scale)

    @property
    def variables(self) -> dict[str, Any]:
        """What changes beside the weights, by its names in a checkpoint."""
        kept = {v.path: v for v in self.optimizer.variables if v is not self.optimizer.learning_rate}
        return kept | {f"loss_scale/{name}": variable for name, variable in self.loss_scale.variables.items()}

    def __call__(self, gradients: Sequence, rate) -> list:
        """Changes the weights by one step, unless float16 overflowed on any replica: then only the loss scale.

        The sums over replicas are made before the check for overflow, so that all replicas reach the same verdict, and
        a step that overflowed changes no weight and no momentum. (Keras's own loss scaling looks before the sum.)

        Args:
          gradients: this replica's, of the scaled loss, by the model's trainable variables.
          rate: the learning rate, a number.

        Returns:
          The gradients, summed over the replicas, unscaled and not clipped.

        Raises:
          ValueError: a weight has no gradient.
        """
        missed = [v.path for v, gradient in zip(self._variables, gradients, strict=True) if gradient is None]
        if missed:
            raise ValueError(f"the loss does not depend on {', '.join(missed[:3])}{' ...' if missed[3:] else ''}.")
        if self.loss_scale.dynamic:
            gradients = [gradient / tf.cast(self.loss_scale.scale, gradient.dtype) for gradient in gradients]
        summed = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
        arguments = [self._clip(summed), tf.convert_to_tensor(rate, dtype_hint=tf.float64)]
        if self.loss_scale.dynamic:
            arguments.append(tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in summed]))
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._update_if_finite if self.loss_scale.dynamic else self._update_all,
            tf.distribute.get_strategy(),
            *arguments,
        )
        return summed

    def _update_if_finite(self, strategy, gradients, rate, finite):
        finite = strategy.experimental_local_results(finite)[0]
        tf.cond(finite, lambda: self._update_all(strategy, gradients, rate), lambda: None)
        self.loss_scale.update(finite)

    def _update_all(self, strategy, gradients, rate):
        for (value, *numbers), gradient in zip(self._plan, gradients, strict=True):
            strategy.extended.update(value, self._update_one, args=(gradient, rate, *numbers), group=False)
        self.optimizer.iterations.assign_add(1)

    def _update_one(self, value, gradient, rate, inside, outside, l1, multiplier):
        rate = tf.cast(rate, value.dtype)
        if multiplier != 1:
            rate *= multiplier
        if inside:
            gradient += inside * value
        if l1:
            gradient += l1 * tf.sign(value)
        if outside:
            value.assign_sub(rate * outside * value)
        self.optimizer.update_step(gradient, value, rate)


def is_kernel(variable) -> bool:
    """Whether a weight is one that inputs are multiplied by, and no bias, scale or shift."""
    return variable.name.endswith("kernel")


@dataclasses.dataclass(frozen=True)
class Rule:
    """An optimizer's class, what it is made with, and whether its weight decay is always decoupled."""

    kind: Callable[..., keras.optimizers.Optimizer]
    arguments: dict[str, Any]
    decoupled: bool = False


class TensorFlowRMSprop(keras.optimizers.Optimizer):
    """See `rmsprop_tf`."""

    def __init__(self, *, rho: float, momentum: float, epsilon: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.rho, self.momentum, self.epsilon = rho, momentum, epsilon

    def build(self, variables):
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity", initializer="ones")
        self.momenta = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        i = self._get_variable_index(variable)
        velocity, momentum = self.velocities[i].value, self.momenta[i].value
        velocity.assign_add((tf.square(gradient) - velocity) * (1 - self.rho))
        momentum.assign(self.momentum * momentum + learning_rate * gradient / tf.sqrt(velocity + self.epsilon))
        variable.assign_sub(momentum)


class Lars(keras.optimizers.Optimizer):
    """See `lars`. `decays` holds the weight decay of each weight."""

    def __init__(self, *, momentum: float, trust: float, decays: Sequence[float], **kwargs: Any):
        super().__init__(**kwargs)
        self.momentum, self.trust, self.decays = momentum, trust, tuple(decays)

    def build(self, variables):
        super().build(variables)
        self.momenta = self.add_optimizer_variables(variables, "momentum")
        self.scaled = tuple(is_kernel(variable) for variable in variables)

    def update_step(self, gradient, variable, learning_rate):
        i = self._get_variable_index(variable)
        step = learning_rate * (gradient + self.decays[i] * variable)
        if self.scaled[i]:
            size = tf.norm(variable)
            against = tf.norm(gradient) + self.decays[i] * size
            there = (size > 0) & (against > 0)
            step *= tf.where(there, self.trust * size / tf.where(there, against, 1), 1)
        momentum = self.momenta[i].value
        momentum.assign(self.momentum * momentum + step)
        variable.assign_sub(momentum)


def sgd() -> Rule:
    """weight -= rate * gradient."""
    return Rule(keras.optimizers.SGD, {})


def momentum(*, momentum: float = 0.9) -> Rule:
    """Polyak's: velocity = momentum * velocity - rate * gradient; weight += velocity.

    PyTorch leaves the rate out of the velocity and multiplies by it afterwards: the same at a constant rate only.
    """
    _check("momentum", fractions={"momentum": momentum})
    return Rule(keras.optimizers.SGD, {"momentum": float(momentum)})


def nesterov(*, momentum: float = 0.9) -> Rule:
    """The same, looking ahead: weight += momentum * velocity - rate * gradient, with the new velocity."""
    _check("nesterov", fractions={"momentum": momentum})
    return Rule(keras.optimizers.SGD, {"momentum": float(momentum), "nesterov": True})


def adagrad(*, initial: float = 0.1, epsilon: float = 1e-7) -> Rule:
    """Duchi et al. 2011 (https://jmlr.org/papers/v12/duchi11a.html): rate * gradient / sqrt(sum of squares + epsilon).

    The sum begins at `initial`. In PyTorch it begins at 0 and epsilon, 1e-10, is outside of the root.
    """
    _check("adagrad", positive={"epsilon": epsilon}, from_zero={"initial": initial})
    return Rule(keras.optimizers.Adagrad, {"initial_accumulator_value": float(initial), "epsilon": epsilon})


def adadelta(*, rho: float = 0.95, epsilon: float = 1e-7) -> Rule:
    """arXiv:1212.5701, epsilon inside both roots as in the paper and in PyTorch, whose epsilon is 1e-6.

    The paper has no rate: it is 1 there.
    """
    _check("adadelta", fractions={"rho": rho}, positive={"epsilon": epsilon})
    return Rule(keras.optimizers.Adadelta, {"rho": rho, "epsilon": epsilon})


def rmsprop(*, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7, centered: bool = False) -> Rule:
    """Keras's: rate * gradient / sqrt(mean square + epsilon) goes into the momentum. The mean square begins at 0.

    In PyTorch epsilon is outside of the root, and the rate outside of the momentum.
    """
    _check("rmsprop", fractions={"rho": rho, "momentum": momentum}, positive={"epsilon": epsilon})
    arguments = {"rho": rho, "momentum": momentum, "epsilon": epsilon, "centered": centered}
    return Rule(keras.optimizers.RMSprop, arguments)


def rmsprop_tf(*, rho: float = 0.9, momentum: float = 0.9, epsilon: float = 1e-3) -> Rule:
    """TensorFlow 1's, which trained MobileNet and EfficientNet: as `rmsprop`, but the mean square begins at 1.

    So the first steps are short. The defaults are EfficientNet's (arXiv:1905.11946); MobileNet's epsilon is 1.
    """
    _check("rmsprop_tf", fractions={"rho": rho, "momentum": momentum}, positive={"epsilon": epsilon})
    return Rule(TensorFlowRMSprop, {"rho": rho, "momentum": momentum, "epsilon": epsilon})


def adam(*, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False) -> Rule:
    """arXiv:1412.6980, in the quicker form at the end of its section 2: epsilon is added to the uncorrected root.

    The algorithm's epsilon, which is PyTorch's, too, is `epsilon / sqrt(1 - beta_2**step)` there: larger at first.
    `amsgrad` (https://openreview.net/forum?id=ryQu7f-RZ) keeps the largest second moment.
    """
    return Rule(keras.optimizers.Adam, _adam("adam", beta_1, beta_2, epsilon) | {"amsgrad": amsgrad})


def adamw(*, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False) -> Rule:
    """arXiv:1711.05101: `adam`, with its weight decay decoupled. As in PyTorch, the decay is multiplied by the rate."""
    return Rule(keras.optimizers.Adam, _adam("adamw", beta_1, beta_2, epsilon) | {"amsgrad": amsgrad}, decoupled=True)


def lamb(*, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-6) -> Rule:
    """arXiv:1904.00962: Adam's step, in every weight scaled to the weight's own norm.

    Differs from the paper, as Keras does: weight decay is decoupled, taken off first and not part of the scaled step.
    Biases and norms are scaled, too, which the authors' code leaves out.
    """
    return Rule(keras.optimizers.Lamb, _adam("lamb", beta_1, beta_2, epsilon), decoupled=True)


def lion(*, beta_1: float = 0.9, beta_2: float = 0.99) -> Rule:
    """arXiv:2302.06675: rate * sign(beta_1 * momentum + (1 - beta_1) * gradient). Wants a tenth of Adam's rate."""
    _check("lion", fractions={"beta_1": beta_1, "beta_2": beta_2})
    if not beta_1 > 0:  # Keras refuses it
        raise ValueError(f"optimizer: lion(beta_1={beta_1}): above 0 and below 1 is wanted.")
    return Rule(keras.optimizers.Lion, {"beta_1": beta_1, "beta_2": beta_2}, decoupled=True)


def lars(*, momentum: float = 0.9, trust: float = 0.001) -> Rule:
    """arXiv:1708.03888: momentum on steps that are, in each kernel, scaled to its own norm.

    ratio = trust * |weight| / (|gradient| + weight_decay * |weight|)
    velocity = momentum * velocity + rate * ratio * (gradient + weight_decay * weight); weight -= velocity

    The ratio is 1 for what is no kernel, and where a norm is 0. So biases and norms take the rate as it is.
    """
    _check("lars", fractions={"momentum": momentum}, positive={"trust": trust})
    return Rule(Lars, {"momentum": momentum, "trust": trust})


OPTIMIZERS = {
    rule.__name__: rule
    for rule in (sgd, momentum, nesterov, adagrad, adadelta, rmsprop, rmsprop_tf, adam, adamw, lamb, lion, lars)
}


def _adam(name, beta_1, beta_2, epsilon):
    _check(name, fractions={"beta_1": beta_1, "beta_2": beta_2}, positive={"epsilon": epsilon})
    return {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}


def _check(name, *, fractions=(), positive=(), from_zero=()):
    wanted = {
        "from 0 on and below 1": (fractions, lambda number: 0 <= number < 1),
        "above 0": (positive, lambda number: number > 0),
        "0 or more": (from_zero, lambda number: number >= 0),
    }
    for words, (numbers, holds) in wanted.items():
        for key, number in dict(numbers).items():
            if not holds(number):
                raise ValueError(f"optimizer: {name}({key}={number}): {words} is wanted.")
