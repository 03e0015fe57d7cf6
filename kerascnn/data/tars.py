"""ImageNet's tar archives as they are downloaded, read where they lie: nothing is extracted."""

import dataclasses
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
import tqdm

NAME = re.compile(r"\w[\w.-]*")  # neither a path nor hidden
END = bytes(512)  # of each archive


@dataclasses.dataclass(frozen=True, eq=False)
class Members:
    """The elements of one split, uncompressed in a tar archive.

    Attributes:
      archive: its path.
      names: of each image.
      places: the byte offset and the size of each, int64 [size, 2].
      labels: int64 [size].
    """

    archive: str
    names: tuple[str, ...]
    places: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        return len(self.names)

    @property
    def nbytes(self) -> int:
        return int(self.places[:, 1].sum())

    @property
    def shard_lengths(self) -> tuple[int, ...]:
        return (self.size,)

    def locator(self) -> Callable:
        """A function from indices to `ARCHIVE/NAME`, for messages."""
        with tf.device("CPU"):
            names = tf.constant([os.fsencode(f"{self.archive}/{name}") for name in self.names])
        return lambda index: tf.gather(names, index)

    def reader(self) -> Callable:
        """A function from an index to (encoded, label)."""
        with tf.device("CPU"):
            places, labels = tf.constant(self.places, tf.int64), tf.constant(self.labels, tf.int64)
        end = os.path.getsize(self.archive)

        def read(index):
            offset, size = tf.unstack(tf.gather(places, index))
            variant = tf.raw_ops.FixedLengthRecordDatasetV2(
                filenames=[self.archive],
                header_bytes=offset,
                record_bytes=size,
                footer_bytes=end - offset - size,
                buffer_size=tf.constant(0, tf.int64),
                compression_type="",
            )
            found = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
            return found.get_single_element(), tf.gather(labels, index)

        return read


def open_train(archive: str) -> tuple[tuple[str, ...], Members]:
    """(class names, elements) of an archive that holds an archive of images for each class, named after it.

    Raises:
      ValueError: it is not so, is compressed or cut short, or holds what is no plain file of a plain name.
    """
    with open(archive, "rb") as file:
        classes = sorted(_members(file, archive, os.path.getsize(archive)))
        names, places, labels = [], [], []
        for label, (name, offset, size) in enumerate(
            tqdm.tqdm(classes, "index", unit="class", delay=1, leave=False, disable=None)
        ):
            if not name.endswith(".tar"):
                raise ValueError(f"{archive} holds {name!r}, where archives named after the classes should be.")
            file.seek(offset)
            for image, *place in sorted(_members(file, f"{archive}/{name}", offset + size)):
                names.append(f"{name}/{image}")
                places.append(place)
                labels.append(label)
    class_names = tuple(name.removesuffix(".tar") for name, *_ in classes)
    return class_names, Members(archive, tuple(names), np.array(places, np.int64), np.array(labels, np.int64))


def open_val(archive: str, labels: str, class_names: tuple[str, ...] = ()) -> tuple[tuple[str, ...], Members]:
    """(class names, elements) of an archive of images and a file with the label of each.

    Args:
      archive: the tar file.
      labels: a line for each image, in the order of their names: a class name, or its place among them, from 0 on.
      class_names: those of the training archive; none for those in `labels`, sorted.

    Raises:
      ValueError: the archive is not so (see `open_train`), or a label is neither.
    """
    with open(archive, "rb") as file:
        members = sorted(_members(file, archive, os.path.getsize(archive)))
    lines = Path(labels).read_text("utf-8").split()
    if len(lines) != len(members):
        raise ValueError(f"{labels} has {len(lines)} labels, and {archive} {len(members)} images.")
    class_names = class_names or tuple(sorted(set(lines)))
    numbers = {str(number): number for number in range(len(class_names))}
    numbers |= {name: number for number, name in enumerate(class_names)}
    for line, label in enumerate(lines, 1):
        if label not in numbers:
            known = f"{class_names[0]} ... {class_names[-1]}, or 0 ... {len(class_names) - 1}"
            raise ValueError(f"{labels}, line {line}: {label!r} is no label: there are {known}.")
    names = tuple(name for name, *_ in members)
    places = np.array([place for _, *place in members], np.int64)
    return class_names, Members(archive, names, places, np.array([numbers[label] for label in lines], np.int64))


def _members(file, path, end):
    """[(name, offset, size)] of the files in the archive that begins where `file` stands, and ends before `end`."""
    found: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name, place = member.name.removeprefix("./"), (member.offset_data, member.size)
                # A link has no bytes of its own, and those of a sparse file are not its content.
                if not member.isreg() or member.sparse is not None:
                    raise ValueError(f"{path} holds {member.name!r}, which is no plain file.")
                if not NAME.fullmatch(name):
                    raise ValueError(f"{path} holds {member.name!r}, which is no plain name.")
                if name in found:
                    raise ValueError(f"{path} holds {member.name!r} twice.")
                if not member.size:
                    raise ValueError(f"{path} holds {member.name!r}, which is empty.")
                found[name] = place
            file.seek(archive.offset)
            last = archive.offset
    except tarfile.TarError as error:
        raise ValueError(f"{path} is no tar archive, or is compressed or cut short: {error}.") from error
    if file.read(len(END)) != END or last > end:
        raise ValueError(f"{path} is damaged or cut short after {len(found)} files.")
    if not found:
        raise ValueError(f"{path} holds no files.")
    return [(name, *place) for name, place in found.items()]
