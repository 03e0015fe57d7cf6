"""What training makes small: a loss by name, on labels that may be smoothed, of one or several heads, with a teacher.

All of it is computed from logits, in float32, and in float64 where the logits are.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from kerascnn.data import calls
from kerascnn.evaluate import metrics
from kerascnn.train.averages import unchanged


def softmax():
    """Cross-entropy of the classes' softmax with the labels."""
    return metrics.cross_entropy


def binary(threshold: float | None = None, sum: bool = False):
    """Cross-entropy of each class's sigmoid with its share of the label; the mean over classes, or their sum.

    "ResNet strikes back" (https://arxiv.org/abs/2110.00476) has threshold=0.2 and the sum: a mixed image is then a full
    example of each class whose share is above it. As in timm's BinaryCrossEntropy labels are smoothed first (a share of
    1 to 1 - s + s/classes, one of 0 to s/classes), and then those above the threshold become 1 and the others 0.

    Raises:
      ValueError: a threshold that is not from 0 to below 1.
    """
    if threshold is not None and not 0 <= threshold < 1:
        raise ValueError(f"loss: binary(threshold={threshold}): from 0 to below 1 is wanted.")

    def loss(labels, logits, smoothing):
        shares = _shares(labels, logits, smoothing)
        if threshold is not None:
            shares = tf.cast(shares > threshold, logits.dtype)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(shares, logits)
        return tf.reduce_sum(losses, -1) if sum else tf.reduce_mean(losses, -1)

    return loss


def focal(gamma: float = 2.0, alpha: float | None = None):
    """The focal loss (https://arxiv.org/abs/1708.02002), which cares less for examples that are right already.

    The paper has one sigmoid for each class. This is its form for one class out of several, on the softmax p: the sum
    over classes of share * (1 - p)**gamma * -log(p), times `alpha`. The paper's alpha weighs objects against
    background; here it is one factor for all, and `class_weights` weigh classes. With gamma=0 it is `softmax`.

    Raises:
      ValueError: a gamma below 0, or an alpha that is not above 0.
    """
    if gamma < 0 or (alpha is not None and alpha <= 0):
        raise ValueError(f"loss: focal(gamma={gamma}, alpha={alpha}): gamma from 0 on, and alpha above 0, are wanted.")

    def loss(labels, logits, smoothing):
        log_p = tf.nn.log_softmax(logits)
        # Where p is 1, gamma below 1 has no finite slope.
        wrong = tf.maximum(-tf.math.expm1(log_p), np.finfo(logits.dtype.as_numpy_dtype).eps)
        losses = -tf.reduce_sum(_shares(labels, logits, smoothing) * wrong**gamma * log_p, -1)
        return losses if alpha is None else alpha * losses

    return loss


def soft(weight: float = 0.5, temperature: float = 1.0):
    """Distillation (https://arxiv.org/abs/1503.02531): the student's softmax at a temperature shall be the teacher's.

    The loss becomes (1 - weight) * loss + weight * temperature**2 * KL(teacher || student), both at the temperature;
    its square keeps the gradient's size. Whatever the loss, these are softmaxes.

    Raises:
      ValueError: a weight that is not from 0 to 1, or a temperature that is not above 0.
    """
    _check_weight("soft", weight)
    if temperature <= 0:
        raise ValueError(f"distillation: soft(temperature={temperature}): a number above 0 is wanted.")

    def distilled(loss, losses, logits, taught):
        teacher, student = tf.nn.log_softmax(taught / temperature), tf.nn.log_softmax(logits / temperature)
        divergence = tf.reduce_sum(tf.exp(teacher) * (teacher - student), -1)
        return (1 - weight) * losses + weight * temperature**2 * divergence

    return distilled


def hard(weight: float = 0.5):
    """Distillation as in DeiT (https://arxiv.org/abs/2012.12877): the class that the teacher names is a second label.

    The loss becomes (1 - weight) * loss + weight * the same loss with the teacher's class, which is not smoothed.

    Raises:
      ValueError: a weight that is not from 0 to 1.
    """
    _check_weight("hard", weight)

    def distilled(loss, losses, logits, taught):
        return (1 - weight) * losses + weight * loss(tf.argmax(taught, -1), logits, 0.0)

    return distilled


LOSSES: dict[str, Callable] = {"softmax": softmax, "binary": binary, "focal": focal}
DISTILLATIONS: dict[str, Callable] = {"soft": soft, "hard": hard}


class Objective:
    """What each example adds to what training makes small.

    The loss of the logits, of which a teacher may be a part, plus `aux_weight` times the loss of each auxiliary head;
    all times the weight of the example's class. Weights are not renormalised: the loop divides the sum by the number of
    examples, not by their weights, as Keras does.

    Args:
      loss: `softmax`, `binary(threshold=..., sum=...)` or `focal(gamma=..., alpha=...)`.
      label_smoothing: the share of each label that is spread over all classes.
      classes: how many there are.
      class_weights: "" for all alike; `balanced`, examples / (classes * examples of the class); or a number for each
        class, as in "1, 2, 0.5". An example of several classes has the mean of their weights by its shares.
      class_counts: [classes], how many examples each has; for `balanced`. One that has none gets the weight 0.
      heads: how many outputs the model has; all but the first are auxiliary. They have no teacher.
      aux_weight: a number; or `auto`: each head's loss, the first too, is scaled by a constant so that it starts at 1.
        Then the objective is made in the strategy's scope, and `measure` finds the constants before the first step.
      teacher: from uint8 images [batch, height, width, channels] to logits [batch, classes]; None for no distillation.
      distillation: `soft(weight=..., temperature=...)` or `hard(weight=...)`; without a teacher it has nothing to do.

    Attributes:
      automatic: whether the scales have to be measured.
      scales: [heads], what each head's loss is multiplied with: numbers, or where they are measured a variable.

    Raises:
      ValueError: a name is unknown, or a value cannot be.
    """

    def __init__(
        self,
        loss: str = "softmax",
        label_smoothing: float = 0.0,
        *,
        classes: int,
        class_weights: str = "",
        class_counts: Sequence[int] | np.ndarray | None = None,
        heads: int = 1,
        aux_weight: str = "0.3",
        teacher: Callable | None = None,
        distillation: str = "soft",
    ):
        self._loss = _one(loss, LOSSES, "loss")
        self._distilled = _one(distillation, DISTILLATIONS, "distillation")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing={label_smoothing}: from 0 to below 1 is wanted.")
        self._smoothing, self._classes, self._heads, self._teacher = label_smoothing, classes, heads, teacher
        self._class_weights = _class_weights(class_weights, classes, class_counts)
        self.automatic = aux_weight.strip() == "auto"
        if self.automatic and heads == 1:
            raise ValueError("aux_weight='auto': the model has no auxiliary heads (as include_aux=True gives).")
        if self.automatic:
            # Every replica has the same: it is assigned on the host alone.
            self.scales = tf.Variable(np.ones(heads, np.float32), trainable=False, name="scales")
        else:
            self.scales = np.array([1.0] + [_aux_weight(aux_weight)] * (heads - 1))

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """What a checkpoint has to hold, by its names there."""
        return {"loss/scales": self.scales} if self.automatic else {}

    def __call__(self, labels, outputs, images=None):
        """What each example adds, [batch].

        Args:
          labels: integers [batch], or shares of all classes [batch, classes].
          outputs: the logits [batch, classes]; or a list of them, those of the auxiliary heads behind the first.
          images: uint8 [batch, height, width, channels], as the teacher takes them.
        """
        parts = self.parts(labels, outputs, images)
        return tf.reduce_sum(parts * tf.cast(self.scales, parts.dtype)[:, tf.newaxis], 0)

    def parts(self, labels, outputs, images=None):
        """The loss of each head before it is scaled, [heads, batch]; the arguments are those of a call."""
        outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        if len(outputs) != self._heads:
            raise ValueError(f"the model gives {len(outputs)} outputs, where {self._heads} were announced.")
        labels = tf.convert_to_tensor(labels)
        outputs = [metrics.widened(logits) for logits in outputs]
        parts = [self._loss(labels, logits, self._smoothing) for logits in outputs]
        if self._teacher is not None:
            taught = tf.stop_gradient(tf.cast(self._teacher(images), outputs[0].dtype))
            parts[0] = self._distilled(self._loss, parts[0], outputs[0], taught)
        together = tf.stack(parts)
        if self._class_weights is None:
            return together
        weights = tf.constant(self._class_weights, together.dtype)
        if len(labels.shape) == 2:
            return together * tf.linalg.matvec(tf.cast(labels, together.dtype), weights)
        return together * tf.gather(weights, labels)


def measure(
    objective: Objective, strategy: tf.distribute.Strategy, model: keras.Model, batch: tuple, normalise: Callable
) -> None:
    """Sets the scales of an objective with aux_weight=auto, so that each head's mean loss over a batch becomes 1.

    One forward pass in training mode, since a new model's batch norm knows no statistics yet; the model is afterwards
    as it was. Called on the host, by every worker. A head whose loss is 0, or no number, keeps the scale 1.

    Args:
      batch: (uint8 images, labels) of all replicas, as a distributed iterator gives it.
      normalise: from uint8 images to the model's input.
    """

    def of_replica(images, labels):
        parts = objective.parts(labels, model(normalise(images), training=True), images)
        examples = tf.cast(tf.shape(parts)[1:], parts.dtype)
        return tf.concat([tf.reduce_sum(parts, 1), examples], 0)

    @tf.function(autograph=False)
    def of_all(images, labels):
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(of_replica, (images, labels)), axis=None)

    with unchanged(model.non_trainable_variables):
        *sums, examples = of_all(*batch).numpy()
    means = np.array(sums) / examples
    usable = np.isfinite(means) & (means > 0)
    objective.scales.assign(np.where(usable, 1 / np.where(usable, means, 1), 1).astype(np.float32))


def _one(text, functions, field):
    found = calls.evaluate(text, functions, field)
    if len(found) != 1:
        raise ValueError(f"{field}={text!r}: one of {', '.join(functions)} is wanted.")
    return found[0]


def _shares(labels, logits, smoothing):
    """Of each class in each label, in the logits' dtype, with so much spread over all classes."""
    classes = logits.shape[-1]
    shares = (
        tf.cast(labels, logits.dtype) if len(labels.shape) == 2 else tf.one_hot(labels, classes, dtype=logits.dtype)
    )
    return (1 - smoothing) * shares + smoothing / classes if smoothing else shares


def _check_weight(name, weight):
    if not 0 <= weight <= 1:
        raise ValueError(f"distillation: {name}(weight={weight}): from 0 to 1 is wanted.")


def _aux_weight(text):
    found = list(_numbers(text))
    if len(found) != 1 or not 0 <= found[0] < math.inf:
        raise ValueError(f"aux_weight={text!r}: a number from 0 on, or auto, is wanted.")
    return found[0]


def _class_weights(text, classes, counts):
    """float64 [classes], or None where all are alike."""
    if not text.strip():
        return None
    if text.strip() == "balanced":
        if counts is None or len(counts) != classes:
            raise ValueError(f"class_weights='balanced': the numbers of examples of {classes} classes are wanted.")
        known = np.asarray(counts, np.float64)
        return np.where(known > 0, known.sum() / (classes * np.maximum(known, 1)), 0.0)
    weights = np.array(list(_numbers(text)))
    if len(weights) != classes or not np.all((weights >= 0) & (weights < math.inf)) or not weights.any():
        raise ValueError(
            f"class_weights={text!r}: balanced, or a number from 0 on for each of {classes} classes, is wanted."
        )
    return weights


def _numbers(text) -> Iterator[float]:
    """Those in a text with commas between them; NaN for what is none."""
    for word in text.split(","):
        try:
            yield float(word)
        except ValueError:
            yield math.nan
