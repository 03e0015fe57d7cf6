"""Where images come from. A source knows its classes, its shape and how many elements each split has."""

import contextlib
import dataclasses
import io
import os
import re
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Source:
    """An image classification data set that is ready to be read.

    Attributes:
      name: as the user wrote it: `digits` or `tfds:NAME`.
      class_names: in the order of the labels.
      image_shape: (height, width, channels); None where it differs from image to image.
      builder: the TFDS builder behind it.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int | None, int | None, int]
    builder: Any = dataclasses.field(repr=False)

    @property
    def channels(self) -> int:
        return self.image_shape[-1]

    def size(self, split: str) -> int:
        """The number of elements of a split; TFDS's slices such as `train[:16]` work too.

        Raises:
          ValueError: the source has no such split, or a slice of it is empty.
        """
        known = self.builder.info.splits
        base = re.split(r"[\[+]", split)[0]
        if base not in known:
            raise ValueError(f"{self.name} has no split {base!r}; it has {', '.join(known)}.")
        size = known[split].num_examples
        if size < 1:
            raise ValueError(f"{self.name} {split} has no elements.")
        return size

    def nbytes(self, split: str) -> int:
        """The size of a split as it is stored, for a slice by its share."""
        size = self.size(split)
        whole = self.builder.info.splits[re.split(r"[\[+]", split)[0]]
        return whole.num_bytes * size // whole.num_examples

    def dataset(self, split: str) -> tf.data.Dataset:
        """(encoded image, label) in the order of the files, always the same."""
        import tensorflow_datasets as tfds

        self.size(split)
        return self.builder.as_dataset(
            split=split,
            as_supervised=True,
            shuffle_files=False,
            decoders={self.builder.info.supervised_keys[0]: tfds.decode.SkipDecoding()},
            # The default interleaving of files depends on nothing random either, but costs threads and reads ahead.
            read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
        )


def open_source(name: str, data_dir: str | os.PathLike | None = None) -> Source:
    """Opens a data set.

    Args:
      name: `digits`, the built-in one, or `tfds:NAME` (also `tfds:NAME/CONFIG:VERSION`) for one that is prepared below
        `data_dir`.
      data_dir: where TFDS keeps its files; None for TFDS's own default (`~/tensorflow_datasets`, or `$TFDS_DATA_DIR`).

    Raises:
      ValueError: no such data set, or it is not one of labelled images.
      FileNotFoundError: it is known but not prepared; the message has the command. Nothing is downloaded here.
      OSError: `data_dir` cannot be written.
    """
    import tensorflow_datasets as tfds

    if name == "digits":
        builder = _prepared_digits(data_dir)
    elif name.startswith("tfds:"):
        try:
            builder = tfds.builder(name.removeprefix("tfds:"), data_dir=data_dir, try_gcs=False)
        except tfds.core.DatasetNotFoundError as error:
            raise ValueError(f"TensorFlow Datasets knows no data set {name.removeprefix('tfds:')!r}.") from error
        except (AssertionError, ImportError, ValueError) as error:  # a version, a config, a way of writing it
            raise ValueError(f"{name} cannot be opened: {error}") from error
        if not _is_prepared(builder):
            where = f" --data_dir={data_dir}" if data_dir else ""
            raise FileNotFoundError(
                f"{name} is not prepared in {builder.data_dir}. Prepare it first: "
                f"tfds build {name.removeprefix('tfds:')}{where}"
            )
    else:
        raise ValueError(f"no data source {name!r}: give 'digits' (built in) or 'tfds:NAME' (TensorFlow Datasets).")
    return _source(name, builder)


def _is_prepared(builder):
    # As the builder's own method has it, which writes a warning besides when the answer is no.
    return (builder.data_path / "dataset_info.json").exists()


def _source(name, builder) -> Source:
    import tensorflow_datasets as tfds

    keys = builder.info.supervised_keys
    features = [builder.info.features[key] for key in keys] if keys and len(keys) == 2 else [None, None]
    if not (isinstance(features[0], tfds.features.Image) and isinstance(features[1], tfds.features.ClassLabel)):
        raise ValueError(f"{name} is not a data set of single images with one class label each.")
    return Source(name, tuple(features[1].names), tuple(features[0].shape), builder)


def _prepared_digits(data_dir):
    import tensorflow_datasets as tfds

    from kerascnn.data.digits import Digits

    builder = Digits(data_dir=data_dir)
    if _is_prepared(builder):
        return builder
    print(f"Preparing the built-in digits in {builder.data_dir}", flush=True)
    problem = None
    try:
        # TFDS reports a download here although there is none.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            builder.download_and_prepare()
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        problem = error
    if not _is_prepared(builder):  # else another process may have been quicker
        raise OSError(
            f"cannot prepare the digits in {os.path.dirname(os.fspath(builder.data_dir))} "
            f"({problem or f'{builder.data_dir} is not whole: delete it'}); "
            "give a folder that can be written with --data_dir"
        ) from problem
    return tfds.builder("digits", data_dir=data_dir)
