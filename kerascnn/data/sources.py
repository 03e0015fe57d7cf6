"""Where images come from. A source knows its classes, its shape and how many elements each split has, and reads each by
its index, so that any order costs the same and a worker reads no more than its share."""

import contextlib
import dataclasses
import functools
import io
import os
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from kerascnn.data import folders, records, synthetic
from kerascnn.registry import close_names

KEPT = 8  # what pipelines share of a source: its pixels by split and crop, its statistics
MEMORY_BYTES = 2**30  # what is read into memory, where a data set's files have no random access
KINDS = (
    "give 'digits' (built in), 'tfds:NAME' (TensorFlow Datasets), 'folder:PATH' or a path: of a folder of class "
    "folders, a .csv file of paths and labels, or TFRecords."
)


class Elements(Protocol):
    """What stands in one split, by index. `Files`, `Records` and `Memory` are such."""

    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def shard_lengths(self) -> tuple[int, ...]: ...
    @property
    def labels(self) -> np.ndarray | None: ...
    def reader(self) -> Callable: ...
    def locator(self) -> Callable: ...


@dataclasses.dataclass(frozen=True)
class Source:
    """An image classification data set that is ready to be read.

    A split is one of `splits`, a slice of it, or a sum of these, in TFDS's words: `train[:16]`, `train[10%:20%]`,
    `train[-5:]+test`. Each method raises a ValueError where there is no such split, and where it is empty.

    Attributes:
      name: as the user wrote it; see `open_source`.
      class_names: in the order of the labels.
      image_shape: (height, width, channels); None where it differs from image to image.
      splits: what stands in each.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int | None, int | None, int]
    splits: Mapping[str, Elements] = dataclasses.field(repr=False)
    _kept: dict = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def channels(self) -> int:
        return self.image_shape[-1]

    def keep(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make()` gave for this key, as when pixels were decoded for another pipeline; the last few are kept."""
        if key not in self._kept:
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = make()
        return self._kept[key]

    def size(self, split: str) -> int:
        """The number of elements of a split."""
        return sum(stop - start for _, start, stop in self._parts(split))

    def nbytes(self, split: str) -> int:
        """The size of a split as it is stored, for a slice by its share."""
        return sum(whole.nbytes * (stop - start) // whole.size for whole, start, stop in self._parts(split))

    def labels(self, split: str) -> np.ndarray | None:
        """The labels, int64 [size], where they are known without reading the images; else None."""
        parts = [(whole.labels, start, stop) for whole, start, stop in self._parts(split)]
        found = [labels[start:stop] for labels, start, stop in parts if labels is not None]
        return np.concatenate(found) if len(found) == len(parts) else None

    def read(self, split: str) -> Callable:
        """A function for `Dataset.map`: from an index, a scalar int64, to (encoded image, label), string and int64.

        It raises (when run) tf.errors.OpError where an element cannot be read, or has a label that is no class.
        """
        parts = self._parts(split)
        readers = [whole.reader() for whole, *_ in parts]
        if len(parts) == 1:
            return lambda index: readers[0](index + parts[0][1])

        def read(index):
            offsets, part = _place(parts, index)
            branches = [functools.partial(reader, index + at) for reader, at in zip(readers, offsets, strict=True)]
            return tf.switch_case(part, branches)

        return read

    def locate(self, split: str) -> Callable:
        """A function from indices, int64 of any rank up to 1, to strings that say where an element is, for messages."""
        parts = self._parts(split)
        locators = [whole.locator() for whole, *_ in parts]

        def locate(index):
            offsets, part = _place(parts, index)
            found = tf.zeros_like(index, tf.string)
            for i, ((_, start, stop), locator) in enumerate(zip(parts, locators, strict=True)):
                there = locator(tf.clip_by_value(index + offsets[i], start, stop - 1))
                found = tf.where(part == i, there, found)
            return found

        return locate

    @tf.autograph.experimental.do_not_convert
    def dataset(self, split: str) -> tf.data.Dataset:
        """(encoded image, label) in the order of the indices, always the same."""
        return tf.data.Dataset.range(self.size(split)).map(self.read(split), tf.data.AUTOTUNE, deterministic=True)

    def _parts(self, split: str) -> list[tuple[Elements, int, int]]:
        """The ranges that a split is made of."""
        import tensorflow_datasets as tfds

        if split in self.splits:
            parts = [(self.splits[split], 0, self.splits[split].size)]
        else:
            names = [word.partition("[")[0] for word in re.split(r"\s*\+\s*", split)]
            try:
                wholes = {name: self.splits[name] for name in (self.splits if "all" in names else names)}
            except KeyError as error:
                raise ValueError(f"{self.name} has no split {error}; it has {', '.join(self.splits)}.") from None
            lengths = {
                name: tfds.core.SplitInfo(name=name, shard_lengths=list(whole.shard_lengths), num_bytes=0)
                for name, whole in wholes.items()
            }
            try:
                slices = tfds.core.ReadInstruction.from_spec(split).to_absolute(lengths)
            except (ValueError, NotImplementedError) as error:
                raise ValueError(f"{self.name} {split}: {' '.join(str(error).split())}") from error
            parts = [(wholes[s.splitname], s.from_ or 0, s.to) for s in slices]
            parts = [(whole, start, whole.size if stop is None else stop) for whole, start, stop in parts]
        parts = [(whole, start, stop) for whole, start, stop in parts if start < stop]
        if not parts:
            raise ValueError(f"{self.name} {split} has no elements.")
        return parts


def _place(parts, index):
    """What to add to an index for each part, and the part that it lies in."""
    ends = np.cumsum([stop - start for _, start, stop in parts])
    offsets = [start - end + (stop - start) for (_, start, stop), end in zip(parts, ends, strict=True)]
    part = sum(tf.cast(index >= int(end), tf.int32) for end in ends[:-1])
    return offsets, part if len(parts) > 1 else tf.zeros_like(index, tf.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class Memory:
    """The elements of one split, all in memory once one is asked for.

    Attributes:
      name: for messages.
      load: gives ([encoded], [label]).
    """

    name: str
    load: Callable

    @functools.cached_property
    def _loaded(self):
        encoded, labels = self.load()
        return encoded, np.array(labels, np.int64)

    @property
    def size(self) -> int:
        return len(self._loaded[0])

    @property
    def nbytes(self) -> int:
        return sum(map(len, self._loaded[0]))

    @property
    def shard_lengths(self) -> tuple[int, ...]:
        return (self.size,)

    @property
    def labels(self) -> np.ndarray:
        return self._loaded[1]

    def locator(self) -> Callable:
        return lambda index: tf.strings.join([self.name, ", element ", tf.strings.as_string(index)])

    def reader(self) -> Callable:
        with tf.device("CPU"):
            encoded, labels = tf.constant(self._loaded[0], tf.string), tf.constant(self._loaded[1])
        return lambda index: (tf.gather(encoded, index), tf.gather(labels, index))


def open_source(name: str, data_dir: str | os.PathLike | None = None) -> Source:
    """Opens a data set.

    Args:
      name: one of these.
        `digits`: the built-in one.
        `synthetic:NAME`: made-up images in the form of a data set that TensorFlow Datasets knows: its classes, sizes,
        kind of files; 256 for each split, of any name. To see that something runs.
      `tfds:NAME` (also `tfds:NAME/CONFIG:VERSION`): one that TensorFlow Datasets has prepared below `data_dir`.
        `folder:PATH`, or the path alone: class folders, or `train/` and `val/` of them; see `folders.open_folder`.
        A path that ends in `.csv`: a table of paths and labels; see `folders.open_table`.
        A folder or a glob of TFRecords in the ImageNet schema. Where `tools.make_tfrecord` made them, they say what
        else there is to know; else it follows the path, as in `/data/train-*?labels_from=1&classes=1000`.
      data_dir: where TFDS keeps its files; None for TFDS's own default (`~/tensorflow_datasets`, or `$TFDS_DATA_DIR`).

    Images of folders, tables, and TFRecords that say nothing else are taken for colour images of different sizes.

    Raises:
      ValueError: no such data set, it is not one of labelled images, or its files are not what they should be.
      FileNotFoundError: it is known but not prepared; the message has the command. Nothing is downloaded here.
      OSError: `data_dir` cannot be written, or a file cannot be read.
    """
    if name == "digits":
        return _digits(_prepared_digits(data_dir))
    kind, _, rest = name.partition(":")
    if kind == "synthetic":
        return _synthetic(name, _builder(rest, data_dir))
    if kind == "tfds":
        return _tfds(name, _builder(rest, data_dir), data_dir)
    path, query = (rest if kind == "folder" else name), None
    if kind != "folder" and (asked := re.search(r"\?(?=labels_from=|classes=)", path)):  # any other ? is a glob's
        path, query = path[: asked.start()], path[asked.end() :]
    path = os.path.expanduser(path)
    colour = (None, None, 3)
    if kind == "folder":
        _existing(name, path, os.path.isdir)
        return Source(name, *_between(colour, folders.open_folder(path)))
    if query is None and path.lower().endswith(".csv"):
        _existing(name, path, os.path.isfile)
        return Source(name, *_between(colour, folders.open_table(path)))
    if query is None and os.path.isdir(path):
        entries = [entry.name for entry in os.scandir(path) if entry.is_file()]
        if records.MANIFEST in entries or any(entry.startswith(records.MAKING) for entry in os.listdir(path)):
            return Source(name, *records.open_folder(path))
        if not any(map(records.is_shard, entries)):
            return Source(name, *_between(colour, folders.open_folder(path)))
    if not re.search(r"[*?\[]", path):
        _existing(name, path, os.path.exists)
        if os.path.isfile(path) and not records.is_shard(os.path.basename(path)):
            raise ValueError(f"{path} is no data source: {KINDS}")
    return Source(name, *_between(colour, records.open_files(path, **_query(name, query))))


def _between(shape, opened):
    names, splits = opened
    return names, shape, splits


def _query(name, query):
    """`labels_from` and `classes` from the text behind a path's question mark."""
    found: dict[str, int | str | None] = {"labels_from": None, "classes": None}
    for word in (query or "").split("&") if query else []:
        key, _, value = word.partition("=")
        if key not in found or not value or (key == "labels_from" and value not in ("0", "1")):
            raise ValueError(f"{name}: {word!r} is not of the form labels_from=1 (or 0) or classes=1000 (or a file).")
        found[key] = int(value) if value.isdecimal() else value
    return found


def _existing(name, path, is_kind):
    """Raises a ValueError with close names unless there is such a path."""
    if is_kind(path):
        return
    folder, last = os.path.split(path.rstrip("/"))
    if os.path.exists(path):
        raise ValueError(f"no data source {name!r}: {path} is {'a folder' if os.path.isdir(path) else 'a file'}.")
    while folder and not os.path.isdir(folder):
        folder, last = os.path.split(folder)
    names = [entry for entry in sorted(os.listdir(folder or ".")) if not entry.startswith(".")]
    if os.sep in path or ":" in name:
        where = folder or "this folder"
        raise ValueError(f"no data source {name!r}: {where} holds no {last!r}: {close_names(last, names)}")
    close = close_names(name, ["digits", *names])
    raise ValueError(f"no data source {name!r}: {close if close.endswith('?') else KINDS}")


# ---- TensorFlow Datasets


def _builder(name, data_dir):
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        raise ValueError(f"TensorFlow Datasets knows no data set {name!r}: {close_names(name, known)}") from error
    except (AssertionError, ImportError, ValueError) as error:  # a version, a config, a way of writing it
        raise ValueError(f"tfds:{name} cannot be opened: {error}") from error


def _features(name, builder):
    """The features of a data set that are its image and its label."""
    import tensorflow_datasets as tfds

    info = builder.info
    keys = info.supervised_keys
    image, label = [info.features[key] for key in keys] if keys and len(keys) == 2 else [None, None]
    if not (
        isinstance(image, tfds.features.Image)
        and isinstance(label, tfds.features.ClassLabel)
        and label.num_classes
        and np.dtype(image.np_dtype).itemsize <= 2  # floats are stored as something else
    ):
        raise ValueError(f"{name} is not a data set of single images with one class label each.")
    return image, label


def _synthetic(name, builder) -> Source:
    image, label = _features(name, builder)

    def load(split):
        form = tuple(image.shape), label.num_classes
        return synthetic.split(split, *form, jpeg=image.encoding_format == "jpeg")

    splits = _AnySplit(lambda split: Memory(f"{name} {split}", functools.partial(load, split)))
    return Source(name, tuple(label.names), tuple(image.shape), splits)


def _tfds(name, builder, data_dir) -> Source:
    image, label = _features(name, builder)
    if _is_prepared(builder):
        splits = {split: _elements(f"{name} {split}", builder, split) for split in builder.info.splits}
    else:  # then TFDS has nothing to read, unless it was given something else
        try:
            builder.as_dataset(split="train")
        except AssertionError as error:
            where = f" --data_dir={data_dir}" if data_dir else ""
            raise FileNotFoundError(
                f"{name} is not prepared in {builder.data_dir}. Prepare it first: "
                f"tfds build {name.removeprefix('tfds:')}{where}"
            ) from error
        splits = _AnySplit(lambda split: _loaded(f"{name} {split}", builder, split))
    return Source(name, tuple(label.names), tuple(image.shape), splits)


def _elements(name, builder, split) -> Elements:
    import tensorflow_datasets as tfds

    info = builder.info.splits[split]
    files = {os.fspath(path): n for path, n in zip(info.filepaths, info.shard_lengths, strict=True) if n}
    if builder.info.file_format is not tfds.core.FileFormat.TFRECORD or not any(map(os.path.exists, files)):
        return _loaded(name, builder, split)
    image, label = builder.info.supervised_keys
    classes = builder.info.features[label].num_classes
    return records.Records(tuple(files), classes, keys=(image, label), lengths=tuple(files.values()))


def _loaded(name, builder, split) -> Elements:
    return Memory(name, functools.partial(_load, name, builder, split))


class _AnySplit(dict):
    """Splits of which nobody knows the names: there is what can be loaded."""

    def __init__(self, load):
        super().__init__()
        self._load = load

    def __missing__(self, split):
        self[split] = self._load(split)
        return self[split]


def _load(name, builder, split):
    """([encoded], [label]) of a split, as TFDS reads it: of any file format."""
    import tensorflow_datasets as tfds

    image, _ = builder.info.supervised_keys
    encoded, labels, total = [], [], 0
    try:
        dataset = builder.as_dataset(
            split=split,
            as_supervised=True,
            shuffle_files=False,
            decoders={image: tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
        )
        if dataset.element_spec[0].dtype == tf.uint8:
            dataset = dataset.map(lambda image, label: (tf.io.encode_png(image), label))
        for element, label in dataset.as_numpy_iterator():
            encoded.append(element)
            labels.append(label)
            total += len(element)
            if total > MEMORY_BYTES:
                raise ValueError(
                    f"{name} is no TFRecord file, so that it has to be read into memory, and has more than "
                    f"{MEMORY_BYTES:,} bytes: tfds convert_format --out_file_format=tfrecord turns it into one."
                )
    except (tf.errors.OpError, ImportError) as error:
        raise ValueError(f"{name} cannot be read: {error}") from error
    return encoded, labels


@functools.cache
def _digits(folder):
    """The built-in digits in that folder, which are always the same: opened once, so that they are decoded once."""
    import tensorflow_datasets as tfds

    return _tfds("digits", tfds.builder_from_directory(folder), None)


def _prepared_digits(data_dir):
    """The folder that has them."""
    from kerascnn.data.digits import Digits

    builder = Digits(data_dir=data_dir)
    if _is_prepared(builder):
        return os.fspath(builder.data_dir)
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
    return os.fspath(builder.data_dir)


def _is_prepared(builder):
    # As the builder's own method has it, which writes a warning besides when the answer is no.
    return (builder.data_path / "dataset_info.json").exists()
