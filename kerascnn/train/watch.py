"""What a person sees of a run while it goes on: the progress bar, a line for each epoch, TensorBoard."""

import sys
from pathlib import Path

import tensorflow as tf
from tqdm.auto import tqdm


class Watch:
    """A context that shows progress, on a terminal with a bar, and writes TensorBoard's events.

    Args:
      images: how many are trained on in the whole run.
      done: how many of them were before this process.
      epochs: of the whole run.
      log_dir: TensorBoard's folder.
    """

    def __init__(self, *, images: int, done: int, epochs: int, log_dir: Path):
        self.epochs = epochs
        self.bar = tqdm(
            total=images, initial=done, unit=" images", unit_scale=True, leave=False, disable=not sys.stderr.isatty()
        )
        self.writers = {split: tf.summary.create_file_writer(str(log_dir / split)) for split in ("train", "test")}

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()
        for writer in self.writers.values():
            writer.close()

    def images(self, count: int, *, epoch: int, loss: float, accuracy: float, rate: float) -> None:
        """After a call: `count` more images were trained on; the epoch's figures so far."""
        self.bar.set_description(f"epoch {epoch}/{self.epochs}", refresh=False)
        self.bar.set_postfix_str(f"loss {loss:.3f}, accuracy {accuracy:.1%}, rate {rate:.2g}", refresh=False)
        self.bar.update(count)

    def epoch(self, row: dict[str, float]) -> None:
        """After an epoch: its row of `metrics.csv`."""
        self.bar.write(
            f"epoch {row['epoch']:>{len(str(self.epochs))}.0f}/{self.epochs}  "
            f"train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:7.2%}  "
            f"test loss {row['test_loss']:.4f} accuracy {row['test_accuracy']:7.2%}  "
            f"rate {row['learning_rate']:.4f}  {row['images_per_second']:,.0f} images/s",
            file=sys.stdout,
        )
        sys.stdout.flush()
        for split, writer in self.writers.items():
            with writer.as_default(step=int(row["step"])):
                for quantity in ("loss", "accuracy"):
                    tf.summary.scalar(quantity, row[f"{split}_{quantity}"])
                if split == "train":
                    tf.summary.scalar("learning_rate", row["learning_rate"])
                    tf.summary.scalar("images_per_second", row["images_per_second"])
            writer.flush()
