"""Images as files: folders of class folders, and tables of paths and labels."""

import collections
import csv
import dataclasses
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

SPLITS = ("train", "val", "validation", "test")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")  # in any case


@dataclasses.dataclass(frozen=True, eq=False)
class Files:
    """The elements of one split, a file each.

    Attributes:
      paths: in their order.
      labels: int64 [size].
    """

    paths: tuple[str, ...]
    labels: np.ndarray

    @property
    def size(self) -> int:
        return len(self.paths)

    @functools.cached_property
    def nbytes(self) -> int:
        return sum(os.stat(path).st_size for path in self.paths)

    @property
    def shard_lengths(self) -> tuple[int, ...]:
        return (self.size,)

    def locator(self) -> Callable:
        """A function from indices to paths."""
        with tf.device("CPU"):
            paths = tf.constant([os.fsencode(path) for path in self.paths])
        return lambda index: tf.gather(paths, index)

    def reader(self) -> Callable:
        """A function from an index to (encoded, label)."""
        locate = self.locator()
        with tf.device("CPU"):
            labels = tf.constant(self.labels, tf.int64)
        return lambda index: (tf.io.read_file(locate(index)), tf.gather(labels, index))


def open_folder(root: str) -> tuple[tuple[str, ...], dict[str, Files]]:
    """(class names, {split: Files}) of a folder.

    It holds a folder for each class, which is one split, `train`; or a folder for each split (`train`, `val`,
    `validation`, `test`) of such class folders, the same in each. Classes and files are sorted by name (by code points,
    in every locale), and folders inside a class belong to it. Hidden files do not count, nor do those that are not
    named as images; how many is said on stderr.

    Raises:
      ValueError: there are no class folders, one is without images, the classes of two splits differ, or a link leads
        back to where it is.
    """
    names = _folders(root)
    splits = [name for name in names if name in SPLITS]
    if splits and splits != names:
        other = next(name for name in names if name not in SPLITS)
        raise ValueError(f"{root} holds {splits[0]!r}, a split, beside {other!r}, which is none: have one kind.")
    places = {split: os.path.join(root, split) for split in sorted(splits, key=SPLITS.index)} or {"train": root}
    classes = {split: _folders(place) for split, place in places.items()}
    first = next(iter(places))
    for split, found in classes.items():
        if not found:
            raise ValueError(f"{places[split]} holds no class folders.")
        for name in found:
            if name not in classes[first]:
                raise ValueError(f"{os.path.join(places[split], name)} is a class that {places[first]} lacks.")
        for name in classes[first]:
            if name not in found:
                raise ValueError(f"{os.path.join(places[first], name)} is a class that {places[split]} lacks.")
    ignored: collections.Counter[str] = collections.Counter()
    files = {split: _split(place, classes[first], ignored) for split, place in places.items()}
    if ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in ignored.most_common(5))
        print(f"{root}: ignored {ignored.total()} files that are not named as images: {kinds}", file=sys.stderr)
    return tuple(classes[first]), files


def _folders(folder):
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    for name in names:
        if not name.isprintable():
            raise ValueError(f"{folder} holds a folder whose name cannot be shown: {name!r}.")
    return names


def _split(root, classes, ignored):
    paths, labels, top = [], [], os.stat(root)
    for name in os.listdir(root):
        if not name.startswith(".") and name not in classes:
            ignored["beside the class folders"] += 1
    for label, name in enumerate(classes):
        before = len(paths)
        for path in _walk(os.path.join(root, name), ((top.st_dev, top.st_ino),)):
            extension = os.path.splitext(path)[1]
            if extension.lower() in EXTENSIONS:
                paths.append(path)
            else:
                ignored[extension or "without an extension"] += 1
        if len(paths) == before:
            raise ValueError(f"{os.path.join(root, name)} holds no images ({', '.join(EXTENSIONS)}).")
        labels += [label] * (len(paths) - before)
    return Files(tuple(paths), np.array(labels, np.int64))


def _walk(folder, above) -> Iterator[str]:
    """The files below a folder, sorted; links are followed, but not in circles."""
    found = os.stat(folder)
    here = found.st_dev, found.st_ino
    if here in above:
        raise ValueError(f"{folder} is a link to a folder that it lies in: take it away.")
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, (*above, here))
        else:
            yield entry.path


def open_table(table: str) -> tuple[tuple[str, ...], dict[str, Files]]:
    """(class names, {split: Files}) of a CSV file in UTF-8.

    A row is `path,label`, or what a first row with the names `path` (or `image`), `label` and, if wanted, `split` says;
    without that column all is one split, `train`. Paths are relative to the table's folder. Labels are whole numbers
    from 0 on, all of which occur, or class names, which are sorted.

    Raises:
      ValueError: a row (it is named) lacks a cell, names a file that does not exist, or a label that cannot be; or
        training lacks a class.
    """
    with open(table, encoding="utf-8-sig", newline="") as file:
        try:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{table} is no CSV file in UTF-8: {error}.") from error
    columns = ["path", "label"]
    heading = ["path" if cell.lower() == "image" else cell.lower() for cell in rows[0][1]] if rows else []
    if {"path", "label"} <= set(heading):
        columns = heading
        del rows[0]
    if not rows:
        raise ValueError(f"{table} has no rows.")
    return _table(table, rows, columns)


def _table(table, rows, columns):
    places: dict[str, tuple[str, int]] = {}
    splits: dict[str, list[tuple[int, str, str]]] = {}
    for line, cells in rows:
        where = f"{table}, line {line}"
        if len(cells) != len(columns):
            raise ValueError(f"{where}: {len(cells)} cells where {len(columns)} should be.")
        row = dict(zip(columns, cells, strict=True))
        path, label, split = row["path"], row["label"], row.get("split", "train")
        if not (path and label and split):
            raise ValueError(f"{where}: an empty cell.")
        path = os.path.join(os.path.dirname(table), path)
        if not os.path.isfile(path):
            raise ValueError(f"{where}: there is no file {path}.")
        other, before = places.setdefault(path, (label, line))
        if other != label:
            raise ValueError(f"{where}: {path} has the label {label} here and {other} in line {before}.")
        splits.setdefault(split, []).append((line, path, label))
    words = {label for label, _ in places.values()}
    if all(re.fullmatch(r"-?\d+", word) for word in words):
        numbers = {word: int(word) for word in words}
        found = set(numbers.values())
        if min(found) < 0:
            raise ValueError(f"{table}: {min(found)} is no label: they count from 0 on.")
        if len(found) <= max(found):
            missing = next(number for number in range(len(found)) if number not in found)
            raise ValueError(f"{table}: labels count from 0 to {max(found)}, and none is {missing}.")
        names = tuple(map(str, range(len(found))))
    else:
        names = tuple(sorted(words))
        numbers = {name: label for label, name in enumerate(names)}
    first = "train" if "train" in splits else next(iter(splits))
    known = {numbers[label] for _, _, label in splits[first]}
    for name, split in splits.items():
        for line, path, label in split:
            if numbers[label] not in known:
                raise ValueError(f"{table}, line {line}: {path} of {name!r} is of class {label}; {first!r} has none.")
    return names, {
        name: Files(tuple(path for _, path, _ in split), np.array([numbers[label] for *_, label in split], np.int64))
        for name, split in splits.items()
    }
