"""A look inside a training step: gradients, updates and activations, layer by layer, in a few numbers.

    probe = Probe(model)
    outputs = probe.model(images, training=True)  # in a step, in place of model(...)
    outputs, activations = outputs[: len(model.outputs)], outputs[len(model.outputs) :]
    ...
    values = probe.statistics(activations, gradients, before, after)  # one number for each of probe.names

What to look for: `update_ratio` is about 1e-3 where a layer learns well (https://cs231n.github.io/neural-networks-3/,
"Ratio of weights:updates"), and far below where it hardly moves; a `dead_share` that grows is units that are lost. The
numbers stand in a run's `watch.csv`, a row for each step that was looked at, and in TensorBoard.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

# What is an activation, by the name of its function or of its operation in lower case: Keras's, and two of layers.
_NAMES = {name.replace("_", "") for name in dir(keras.activations)} - {"get", "serialize", "deserialize", "linear"}
_ACTIVATIONS = _NAMES | {"prelu", "maxout"}
# Those that are 0 on a whole side, where no gradient passes: a unit that stays there for all examples learns nothing.
_ONE_SIDED = {"relu", "relu6", "hardsigmoid", "hardsilu", "hardswish", "sparseplus", "sparsesigmoid"}


class Probe:
    """What to measure in a functional model, and how.

    Attributes:
      model: the same layers with more outputs, a flat list: those of the model, then those of its activations. A model
        that trains in less memory (`rematerialize`) keeps all of its activations in a step that is looked at.
      names: of the numbers, in their order:
        gradient_norm               of all gradients together
        gradient_norm/LAYER         of a kernel's gradient
        update_ratio/LAYER          the norm of a kernel's change in this step, divided by that of the kernel before;
                                    inf for one that was zero
        activation_mean/LAYER       over examples, places and channels
        activation_std/LAYER        over the same
        dead_share/LAYER            the share of channels that are 0 at all places of all examples; for ReLU and others
                                    that are 0 on a whole side
        Layers stand in the order of the model, from the image on.

    Raises:
      ValueError: the model holds other models, into which this does not look.
    """

    def __init__(self, model: keras.Model):
        for layer in model.layers:
            if isinstance(layer, keras.Model):
                raise ValueError(
                    f"no look inside {model.name}: its layer {layer.name} is a model. Set --watch_every=0."
                )
        self._kernels = list(_kernels(model))
        found = [(operation, kind) for operation in model.operations if (kind := _activation(operation))]
        self._one_sided = [kind in _ONE_SIDED for _, kind in found]
        self.model = keras.Model(model.input, [*model.outputs, *(operation.output for operation, _ in found)])
        layers, activations = [name for name, _ in self._kernels], [operation.name for operation, _ in found]
        dying = [name for name, one_sided in zip(activations, self._one_sided, strict=True) if one_sided]
        self.names = (
            "gradient_norm",
            *(f"gradient_norm/{name}" for name in layers),
            *(f"update_ratio/{name}" for name in layers),
            *(f"activation_mean/{name}" for name in activations),
            *(f"activation_std/{name}" for name in activations),
            *(f"dead_share/{name}" for name in dying),
        )

    def statistics(self, activations: Sequence, gradients: Sequence, before: Sequence, after: Sequence) -> tf.Tensor:
        """The numbers of a step, float32 [len(names)] whatever the precision. For compiled functions.

        In a replica's share of a step they are those of its own examples. The mean over replicas is right for means
        and, if the gradients are those summed over replicas, for all that concerns kernels. It is a little low for a
        deviation; and a dead share is high by the channels that are 0 on one replica and not on another.

        Args:
          activations: the outputs of `model` behind those of the model itself.
          gradients: of the model's trainable variables, in their order; None is zero.
          before: the values of these variables ahead of the step, as copies.
          after: their values behind it.
        """
        norms = [tf.zeros([]) if gradient is None else _norm(gradient) for gradient in gradients]
        activations = [tf.cast(activation, tf.float32) for activation in activations]
        dead = [_dead_share(a) for a, one_sided in zip(activations, self._one_sided, strict=True) if one_sided]
        return tf.stack(
            [
                _norm(norms),
                *(norms[i] for _, i in self._kernels),
                *(_norm(after[i] - before[i]) / _norm(before[i]) for _, i in self._kernels),
                *(tf.reduce_mean(activation) for activation in activations),
                *(tf.math.reduce_std(activation) for activation in activations),
                *dead,
            ]
        )


def _kernels(model) -> Iterator[tuple[str, int]]:
    """Each kernel's layer, and its place among the trainable variables."""
    places = {id(variable): i for i, variable in enumerate(model.trainable_variables)}
    for layer in model.layers:
        kernels = [variable for variable in layer.trainable_variables if variable.name.endswith("kernel")]
        for kernel in kernels:
            yield layer.name if len(kernels) == 1 else f"{layer.name}_{kernel.name}", places[id(kernel)]


def _activation(operation) -> str | None:
    """Which activation an operation of a graph ends in, if it does: a layer of its own, a layer's last part, an op."""
    function = getattr(operation, "activation", None)
    name = getattr(function, "__name__", None) or type(function or operation).__name__
    name = name.replace("_", "").lower()
    if name not in _ACTIVATIONS:
        return None
    return "leakyrelu" if name == "relu" and getattr(operation, "negative_slope", 0) else name


def _norm(tensor):
    return tf.norm(tf.cast(tensor, tf.float32))


def _dead_share(activation):
    dead = tf.reduce_all(activation == 0, range(activation.shape.rank - 1))
    return tf.reduce_mean(tf.cast(dead, tf.float32))


def write_rows(path: Path, names: Sequence[str], rows: np.ndarray) -> None:
    """Writes a file of numbers anew, whole or not at all.

    Args:
      path: a CSV file; its columns are `step` and the names.
      names: of the numbers.
      rows: [rows, 1 + len(names)], the step first.
    """
    lines = [",".join(("step", *names)), *(_line(step, values) for step, *values in rows)]
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def append_row(path: Path, names: Sequence[str], step: int, values: Sequence[float] | np.ndarray) -> None:
    """Adds a line to a file of numbers, which begins with it if it is not there.

    Raises:
      ValueError: the file has other columns.
    """
    if not path.exists():
        write_rows(path, names, np.zeros((0, 1 + len(names))))
    with open(path, "r+b") as file:
        if file.readline() != (",".join(("step", *names)) + "\n").encode():
            raise ValueError(f"{path} has other columns than this run: an older version wrote it. Move it away.")
        file.seek(0, os.SEEK_END)
        file.write((_line(step, values) + "\n").encode())


def read_rows(path: Path, up_to_step: int) -> tuple[tuple[str, ...], np.ndarray]:
    """The names and rows, as `write_rows` takes them, of the steps that a checkpoint holds.

    A last line that is not whole, as a kill leaves it, is left out.

    Raises:
      ValueError: the file is something else.
    """
    *lines, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")
    try:
        (first, *names), *rows = (line.split(",") for line in lines)
        if first != "step" or any(len(row) != 1 + len(names) for row in rows):
            raise ValueError("its lines do not fit its columns")
        array = np.array(rows, np.float64).reshape(-1, 1 + len(names))
    except ValueError as error:
        raise ValueError(f"{path} is not what a run writes ({error}): mend it, or delete it and its curves.") from error
    return tuple(names), array[array[:, 0] <= up_to_step]


def _line(step, values):
    return ",".join((f"{step:.0f}", *(f"{value:.7g}" for value in values)))


def to_tensorboard(writer: tf.summary.SummaryWriter, names: Sequence[str], step: int, values) -> None:
    """Writes each number as a scalar, which TensorBoard groups by what stands ahead of the layer's name."""
    with writer.as_default(step=step):
        for name, value in zip(names, values, strict=True):
            tf.summary.scalar(name, value)
    writer.flush()
