"""What a person sees of a run while it goes on: the progress bar, a line for each epoch, TensorBoard."""

import sys

import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm

from kerascnn.evaluate import metrics
from kerascnn.train import probe
from kerascnn.train.probe import Probe
from kerascnn.train.state import State
from kerascnn.train.steps import Call

# What TensorBoard shows beside the loss and the accuracy of each of its runs.
KINDS = ("train", "test", "average")
SPEED = ("learning_rate", "images_per_second", "images_per_second_per_replica", "input_wait")


class Watch:
    """A context that shows progress, on a terminal with a bar, and writes TensorBoard's events. Worker 0 alone does.

    Args:
      state: where the run is.
    """

    def __init__(self, state: State):
        recipe = state.recipe
        self._state, self._shown = state, state.worker == 0
        self._bar = tqdm(
            total=recipe.epochs * state.steps_per_epoch * recipe.batch_size,
            initial=state.step * recipe.batch_size,
            unit=" images",
            unit_scale=True,
            leave=False,
            disable=not (self._shown and sys.stderr.isatty()),
        )
        kinds = [kind for kind in KINDS if self._shown and (state.average or kind != "average")]
        self._writers = {kind: tf.summary.create_file_writer(str(state.folder.tensorboard / kind)) for kind in kinds}
        if self._shown and state.folder.watched.exists():  # what an interrupted run saw behind its checkpoint goes
            names, rows = probe.read_rows(state.folder.watched, state.step)
            probe.write_rows(state.folder.watched, names, rows)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()
        for writer in self._writers.values():
            writer.close()

    def call(self, call: Call) -> None:
        """After a call: some more images were trained on."""
        state = self._state
        loss, accuracy = metrics.means(state.totals)
        images = call.count * state.recipe.batch_size
        self._bar.set_description(f"epoch {state.epoch + 1}/{state.recipe.epochs}", refresh=False)
        each = f", {images / call.seconds / state.replicas:,.0f} images/s each of {state.replicas}"
        self._bar.set_postfix_str(
            f"loss {loss:.3f}, accuracy {accuracy:.1%}, rate {state.rate():.2g}, waiting for input {call.waited:.0%}"
            + (each if state.replicas > 1 else ""),
            refresh=False,
        )
        self._bar.update(images)

    def look(self, seen: Probe, values: np.ndarray) -> None:
        """After a step that was looked at: its statistics."""
        if self._shown:
            probe.append_row(self._state.folder.watched, seen.names, self._state.step, values)
            probe.to_tensorboard(self._writers["train"], seen.names, self._state.step, values)

    def epoch(self, row: dict[str, float]) -> None:
        """After an epoch: its row of `metrics.csv`."""
        if not self._shown:
            return
        epochs, speed = self._state.recipe.epochs, row["images_per_second"]  # NaN where no step was left to do
        average = f"average {row['average_accuracy']:7.2%}  " if self._state.average else ""
        self._bar.write(
            f"epoch {row['epoch']:>{len(str(epochs))}.0f}/{epochs}  "
            f"train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:7.2%}  "
            f"test loss {row['test_loss']:.4f} accuracy {row['test_accuracy']:7.2%}  {average}"
            f"rate {row['learning_rate']:.3g}" + (f"  {speed:,.0f} images/s" if speed == speed else ""),
            file=sys.stdout,
        )
        sys.stdout.flush()
        row = row | {"images_per_second_per_replica": row["images_per_second"] / self._state.replicas}
        for kind, writer in self._writers.items():
            with writer.as_default(step=int(row["step"])):
                for quantity in ("loss", "accuracy"):
                    tf.summary.scalar(quantity, row[f"{kind}_{quantity}"])
                for quantity in SPEED if kind == "train" else ():
                    tf.summary.scalar(quantity, row[quantity])
            writer.flush()
