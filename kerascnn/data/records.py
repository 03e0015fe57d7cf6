"""TFRecord files with random access: their index, the ImageNet schema, and how a source is copied into them.

A folder that `write` made holds shards, `SPLIT-00003-of-00016`, for each split a `SPLIT.index.npy` (the byte offset and
the label of each record), and `manifest.json`: classes, image shape, counts, and the size and the SHA-256 of each file.
"""

import contextlib
import dataclasses
import fcntl
import functools
import glob
import hashlib
import json
import math
import os
import re
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

SCHEMA = ("image/encoded", "image/class/label")
LABELS_FROM = 1  # in the files that `write` makes, as in everyone's TFRecords of ImageNet: 0 means background there
MANIFEST = "manifest.json"
MAKING = ".making-"  # and a split: the folder in which `write` keeps what it has done of it
SHARD_BYTES = 100 * 2**20
KEPT_FROM = 10_000  # the index of that many records is kept for the next time
# train-00000-of-01024, imagenet2012-train.tfrecord-00000-of-01024, train-00000-of-01024.tfrecord; train.tfrecord
SHARD = re.compile(r"(?:.+-)?(?P<split>[^-.]+)(?:\.tfrecords?)?-(?P<number>\d+)-of-(?P<count>\d+)(?:\.tfrecords?)?")
WHOLE = re.compile(r"(?P<split>[^.]+)\.tfrecords?")
FORMATS = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF8", "BMP": b"BM"}


# ---- Reading


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """The elements of one split, in TFRecord files.

    Attributes:
      files: in their order.
      classes: labels are below this; a label that is not fails when it is read.
      labels_from: what the first class is called in the files.
      keys: the features that hold the encoded image and the label.
      lengths: the records of each file, where that is known without reading them.
      stored: a file with their index as `write` makes it, and its SHA-256.
    """

    files: tuple[str, ...]
    classes: int
    labels_from: int = 0
    keys: tuple[str, str] = SCHEMA
    lengths: tuple[int, ...] = ()
    stored: tuple[str, str] = ("", "")

    @property
    def size(self) -> int:
        return sum(self.shard_lengths)

    @property
    def nbytes(self) -> int:
        return sum(map(os.path.getsize, self.files))

    @functools.cached_property
    def shard_lengths(self) -> tuple[int, ...]:
        return self.lengths or tuple(map(len, self._scanned))

    @property
    def labels(self) -> np.ndarray | None:
        return self._stored[1] if self.stored[0] else None

    @functools.cached_property
    def _stored(self):
        path, digest = self.stored
        try:
            found = np.load(path, allow_pickle=False) if sha256(path) == digest else None
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
        if found is None:
            raise ValueError(f"{path} is not what {MANIFEST} says: it has another SHA-256. Make the folder anew.")
        return found

    @functools.cached_property
    def _scanned(self):
        found = index(self.files)
        for path, offsets, length in zip(self.files, found, self.lengths or map(len, found), strict=True):
            if len(offsets) != length:
                raise ValueError(f"{path} holds {len(offsets)} records where {length} should be.")
        return found

    def locator(self) -> Callable:
        """A function from indices to `FILE, record N`, for messages."""
        place = self._place()

        def locate(index):
            file, number = place(index)
            return tf.strings.join([file, ", record ", tf.strings.as_string(number)])

        return locate

    def reader(self) -> Callable:
        """A function from an index to (encoded, label)."""
        offsets = _constant(self._stored[0] if self.stored[0] else np.concatenate(self._scanned), tf.int64)
        place = self._place()
        image, label = self.keys
        features = {image: tf.io.FixedLenFeature([], tf.string), label: tf.io.FixedLenFeature([], tf.int64)}

        def read(index):
            file, number = place(index)
            variant = tf.raw_ops.TFRecordDatasetV2(
                filenames=[file],
                compression_type="",
                buffer_size=tf.constant(0, tf.int64),  # no more is read than the one record
                byte_offsets=[tf.gather(offsets, index)],
            )
            records = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
            found = tf.io.parse_single_example(records.take(1).get_single_element(), features)
            low, high = self.labels_from, self.labels_from + self.classes
            fits = (found[label] >= low) & (found[label] < high)
            told = ["label", found[label], "is not in", f"[{low}, {high}):", file, "record", number]
            tf.debugging.Assert(fits, told)
            return found[image], found[label] - low

        return read

    def _place(self):
        files = _constant(self.files, tf.string)
        starts = _constant(np.cumsum([0, *self.shard_lengths[:-1]]), tf.int64)

        def place(index):
            """The file of an element, and its number in there; of a scalar or a vector."""
            flat = tf.reshape(tf.cast(index, tf.int64), [-1])
            file = tf.reshape(tf.searchsorted(starts, flat, side="right") - 1, tf.shape(index))
            return tf.gather(files, file), index - tf.gather(starts, file)

        return place


def _constant(values, dtype):
    with tf.device("CPU"):  # not on a GPU: the input pipeline looks it up
        return tf.constant(values, dtype)


# ---- The index: where each record begins


def index(files: Sequence[str]) -> list[np.ndarray]:
    """The byte offset of each record, an int64 [n] for each file, from the headers alone.

    Those of many records are kept in `$XDG_CACHE_HOME/kerascnn` (`~/.cache/kerascnn`) until a file changes its size or
    its time.

    Raises:
      ValueError: a file is empty, cut short, compressed or no TFRecord file.
      OSError: a file cannot be read.
    """
    stats = [(os.path.abspath(path), os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in files]
    digest = hashlib.sha256(json.dumps(stats).encode("utf-8", "surrogateescape")).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    kept = Path(home, "kerascnn", f"{digest}.npz")
    with contextlib.suppress(OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):  # whatever it holds: anew
        with open(kept, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = np.split(arrays["offsets"], np.cumsum(arrays["lengths"])[:-1])
        if len(found) == len(files):
            return found
    with ThreadPoolExecutor(16) as threads:
        work = threads.map(_offsets, files)
        found = list(tqdm.tqdm(work, "index", len(files), unit="file", delay=1, leave=False, disable=None))
    if sum(map(len, found)) >= KEPT_FROM:
        with contextlib.suppress(OSError):  # it is no more than quicker
            kept.parent.mkdir(parents=True, exist_ok=True)
            with whole(kept) as temporary, open(temporary, "wb") as output:
                np.savez(output, offsets=np.concatenate(found), lengths=[len(offsets) for offsets in found])
    return found


def _offsets(path):
    offsets, headers, at = [], bytearray(), 0
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        while at < size:
            header = os.pread(file.fileno(), 12, at)  # uint64 length, uint32 checksum of it
            offsets.append(at)
            headers += header.ljust(12, b"\0")
            at += int.from_bytes(header[:8], "little") + 16
    if not offsets:
        raise ValueError(f"{path} is empty.")
    if headers[:2] == b"\x1f\x8b":
        raise ValueError(f"{path} is compressed (GZIP), so that no record can be found by itself: gunzip it.")
    rows = np.frombuffer(bytes(headers), np.uint8).reshape(-1, 12)
    wrong = np.flatnonzero(_masked_crc32c(rows[:, :8]) != rows[:, 8:].copy().view("<u4")[:, 0])
    if len(wrong) and wrong[0] == 0 and size >= 12:
        raise ValueError(f"{path} is no TFRecord file.")
    if len(wrong) and offsets[wrong[0]] + 12 <= size:
        raise ValueError(f"{path} is damaged: the length of record {wrong[0]} has a wrong checksum.")
    if at != size:
        raise ValueError(f"{path} is cut short: its record {len(offsets) - 1} is not whole.")
    return np.array(offsets, np.int64)


def _masked_crc32c(rows):
    """The checksum of TFRecord lengths: uint32 [n] of uint8 [n, 8]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in rows.T:
        crc = table[(crc ^ column) & 0xFF] ^ (crc >> 8)
    crc = ~crc
    return ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)


# ---- Opening


def shards(paths: Iterable[str]) -> dict[str, list[str]]:
    """{split: files} as the names of shards tell, such as `train-00000-of-00128`.

    Raises:
      ValueError: a name tells no split, or a shard is missing or there twice.
    """
    found: dict[str, dict[int, tuple[int, str]]] = {}
    for path in sorted(paths):
        name = os.path.basename(path)
        match = SHARD.fullmatch(name) or WHOLE.fullmatch(name)
        if match is None:
            raise ValueError(f"{path}: a name such as train-00000-of-00128 or train.tfrecord is wanted.")
        words = match.groupdict()
        number, count = int(words.get("number", 0)), int(words.get("count", 1))
        split = found.setdefault(words["split"], {})
        if number in split or any(count != other for other, _ in split.values()) or number >= count:
            raise ValueError(f"{path} does not go together with the other files of {words['split']!r}.")
        split[number] = count, path
    for split in found.values():
        count, path = next(iter(split.values()))
        missing = sorted(set(range(count)) - set(split))
        if missing:
            raise ValueError(f"{path} is one of {count} files, and number {missing[0]} is missing.")
    return {name: [split[number][1] for number in sorted(split)] for name, split in found.items()}


def is_shard(name: str) -> bool:
    """Whether a file is called as one that TFRecords are in."""
    return bool(SHARD.fullmatch(name) or WHOLE.fullmatch(name))


def open_files(pattern: str, labels_from: int | None, classes: int | str | None) -> tuple[tuple[str, ...], dict]:
    """(class names, {split: Records}) of TFRecords in the ImageNet schema that have no manifest.

    Args:
      pattern: a glob, a file, or a folder.
      labels_from: the label of the first class: 1 in most people's files, 0 in some.
      classes: how many, or a file with the name of one in each line.

    Raises:
      ValueError: files are missing, or one of the two numbers, which cannot be known without reading all records.
    """
    if os.path.isdir(pattern):
        paths = [entry.path for entry in os.scandir(pattern) if is_shard(entry.name)]
    else:
        paths = [pattern] if os.path.exists(pattern) else glob.glob(pattern)
    if not paths:
        raise ValueError(f"no file matches {pattern}.")
    if labels_from is None or classes is None:
        raise ValueError(
            f"{pattern} has no {MANIFEST}, so say what its labels mean: {pattern}?labels_from=1&classes=1000 "
            "(classes may name a file with a class name in each line)."
        )
    if isinstance(classes, int):
        names = tuple(map(str, range(classes)))
    else:
        names = tuple(Path(classes).read_text("utf-8").splitlines())
        if len(set(names)) < len(names) or not all(name.strip() for name in names):
            raise ValueError(f"{classes} has an empty line, or a name twice.")
    if not names:
        raise ValueError(f"{pattern}: at least one class is wanted.")
    found = shards(paths)
    return names, {split: Records(tuple(files), len(names), labels_from) for split, files in found.items()}


def open_folder(folder: str) -> tuple[tuple[str, ...], tuple, dict[str, Records]]:
    """(class names, image shape, {split: Records}) of a folder that `write` has made.

    Raises:
      ValueError: it is not finished, or a file is missing, of another size, or there without being in the manifest.
    """
    entries = sorted(os.listdir(folder))
    if any(entry.startswith(MAKING) for entry in entries):
        raise ValueError(f"{folder} is not finished: make it again as before, and it goes on.")
    path = os.path.join(folder, MANIFEST)
    manifest = _manifest(path)
    splits: dict[str, Records] = {}
    wanted: set[str] = set()
    try:
        for split, row in manifest["splits"].items():
            rows = row["shards"]
            files = [os.path.join(folder, plain(shard["file"])) for shard in rows]
            for file, shard in zip(files, rows, strict=True):
                size = os.path.getsize(file) if os.path.exists(file) else None
                if size != shard["bytes"]:
                    what = "is missing" if size is None else f"has {size} bytes where {shard['bytes']} should be"
                    raise ValueError(f"{file} {what}.")
            wanted.update(map(os.path.basename, files))
            splits[split] = Records(
                tuple(files),
                len(manifest["class_names"]),
                manifest["labels_from"],
                lengths=tuple(shard["records"] for shard in rows),
                stored=(os.path.join(folder, plain(row["index"]["file"])), row["index"]["sha256"]),
            )
        names, shape = tuple(manifest["class_names"]), tuple(manifest["image_shape"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no manifest of ours ({error!r}).") from error
    for entry in entries:
        if is_shard(entry) and entry not in wanted:
            raise ValueError(f"{os.path.join(folder, entry)} is not in {MANIFEST}: take it away.")
    return names, shape, splits


def verify(folder: str) -> int:
    """Reads all shards of a folder that `write` has made, and returns how many have the right checksum: all.

    Raises:
      ValueError: the folder is not whole, or a file's checksum differs; all of these are named.
    """
    open_folder(folder)
    splits = _manifest(os.path.join(folder, MANIFEST))["splits"].values()
    rows = [row for split in splits for row in (*split["shards"], split["index"])]
    paths = [os.path.join(folder, row["file"]) for row in rows]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(tqdm.tqdm(threads.map(sha256, paths), "verify", len(paths), unit="file", delay=1, disable=None))
    wrong = [path for path, row, digest in zip(paths, rows, found, strict=True) if digest != row.get("sha256")]
    if wrong:
        raise ValueError(f"other content than {MANIFEST} says: {', '.join(wrong)}.")
    return len(paths)


def _manifest(path) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except ValueError as error:
        raise ValueError(f"{path} is no manifest of ours: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no manifest of ours.")
    return found


# ---- Writing


def write(
    source,
    split: str,
    folder: str,
    *,
    name: str | None = None,
    shards: int | None = None,
    workers: int | None = None,
    seed: int | None = None,
) -> None:
    """Copies a split of a source into `folder` as TFRecords in the ImageNet schema; images are not encoded anew.

    After a kill or a full disk, the same call goes on with the shards that are missing, and in the end the files are
    the same.

    Args:
      source: what `open_source` gave.
      split: of the source; a slice too.
      folder: may hold other splits of the same source already.
      name: what the split is called there; None for `split`.
      shards: how many files; None for as many as make them about 100 MB large.
      workers: threads; None for one a core.
      seed: of the order of the elements; None for the source's order.

    Raises:
      ValueError: the folder holds something else, or elements cannot be read or are no images (20 of them are named).
      OSError: it cannot be written.
    """
    name = name or split
    size = source.size(split)
    shards = shards or min(size, math.ceil(source.nbytes(split) / SHARD_BYTES)) or 1
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"{name!r} cannot be a split's name: give one of letters and digits.")
    if not 1 <= shards <= size:
        raise ValueError(f"{size} elements cannot be written into {shards} files.")
    os.makedirs(folder, exist_ok=True)
    with _locked(folder):
        for left in glob.glob(os.path.join(glob.escape(folder), "*.tmp")):
            os.remove(left)
        manifest_path, making = os.path.join(folder, MANIFEST), os.path.join(folder, f"{MAKING}{name}")
        same = {
            "class_names": list(source.class_names),
            "image_shape": list(source.image_shape),
            "labels_from": LABELS_FROM,
        }
        manifest: dict[str, Any] = _manifest(manifest_path) if os.path.exists(manifest_path) else same | {"splits": {}}
        order = np.arange(size) if seed is None else np.random.RandomState(seed).permutation(size)
        job = {
            "source": source.name,
            "split": split,
            "seed": seed,
            "shards": shards,
            "bytes": source.nbytes(split),
            "elements": _fingerprint(source, split, size),
        }
        if {key: manifest.get(key) for key in same} != same:
            raise ValueError(f"{folder} holds data of other classes or another shape: choose another folder.")
        if name in manifest["splits"]:
            if manifest["splits"][name]["job"] == job:
                shutil.rmtree(making, ignore_errors=True)  # killed right before it did that
                return
            raise ValueError(f"{folder} holds another {name!r} already: choose another folder, or delete it.")
        os.makedirs(making, exist_ok=True)
        journal = os.path.join(making, "job.json")
        if os.path.exists(journal) and _manifest(journal) != job:
            raise ValueError(f"{making} was begun from other data or settings: delete {folder}, or choose another.")
        _write_json(journal, job)
        rows = _write_shards(source, split, np.array_split(order, shards), name, folder, making, workers)
        found = np.array([np.concatenate([row.pop(key) for row in rows]) for key in ("offsets", "labels")], np.int64)
        index = os.path.join(folder, f"{name}.index.npy")
        with whole(index) as temporary, open(temporary, "wb") as file:
            np.save(file, found)
        manifest["splits"][name] = {
            "job": job,
            "records": size,
            "classes": np.bincount(found[1], minlength=len(source.class_names)).tolist(),
            "index": {"file": os.path.basename(index), "sha256": sha256(index)},
            "shards": rows,
        }
        _write_json(manifest_path, manifest, indent=1)
        shutil.rmtree(making)


def cached(source, split: str, folder: str):
    """The source with this one split, read from a copy below `folder`; made now, where it is not there already.

    Its elements have the same order, so that they are the same by their indices. Several processes may ask for one.

    Raises:
      ValueError, OSError: as `write` does.
    """
    words = re.sub(r"[^\w.=-]+", "_", f"{source.name} {split}").strip("_.")[-80:]
    digest = hashlib.sha256(json.dumps([source.name, split]).encode("utf-8", "surrogateescape")).hexdigest()
    place = os.path.join(folder, f"{words}-{digest[:12]}")
    write(source, split, place, name="data")
    return dataclasses.replace(source, splits={split: open_folder(place)[2]["data"]})


def _fingerprint(source, split, size):
    """What tells apart two data sets of the same name and size: their elements' names, and the labels if known."""
    digest, locate = hashlib.sha256(), source.locate(split)
    for start in range(0, size, 10_000):
        places = locate(tf.range(start, min(start + 10_000, size), dtype=tf.int64)).numpy()
        digest.update(b"\0".join(map(os.path.basename, places)) + b"\0")  # the data may have moved
    labels = source.labels(split)
    digest.update(b"" if labels is None else labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _write_shards(source, split, orders, name, folder, making, workers):
    """The manifest's row of each shard, with the offsets and labels of its records; writes those that are missing."""
    read, locate = source.read(split), source.locate(split)
    stop, bad = threading.Event(), []
    bar = tqdm.tqdm(None, f"{name} -> {folder}", sum(map(len, orders)), unit="image", delay=1, disable=None)

    def finish(number):
        file = f"{name}-{number:05}-of-{len(orders):05}"
        path, row_path = os.path.join(folder, file), os.path.join(making, f"{file}.json")
        with contextlib.suppress(OSError, ValueError):
            row = _manifest(row_path)
            if os.path.getsize(path) == row["bytes"] and sha256(path) == row["sha256"]:
                bar.update(row["records"])
                return row
        temporary = os.path.join(making, file)
        offsets, labels, at = [], [], 0
        elements = tf.data.Dataset.from_tensor_slices(orders[number].astype(np.int64))
        elements = elements.map(lambda i: (*read(i), locate(i)), tf.data.AUTOTUNE, deterministic=True).prefetch(8)
        with tf.io.TFRecordWriter(temporary) as writer:
            for encoded, label, place in _readable(elements, f"{source.name} {split}"):
                if stop.is_set():
                    return None
                kind = next((kind for kind, magic in FORMATS.items() if encoded.startswith(magic)), None)
                if kind is None:
                    bad.append(os.fsdecode(place))
                    continue
                record = _example(encoded, int(label), kind, place, source.class_names)
                writer.write(record)
                offsets.append(at)
                labels.append(int(label))
                at += len(record) + 16
                bar.update()
        if len(offsets) < len(orders[number]):
            return None
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        row = {"file": file, "records": len(offsets), "bytes": at, "sha256": sha256(temporary)}
        row |= {"offsets": offsets, "labels": labels}
        os.replace(temporary, path)
        _write_json(row_path, row)
        return row

    threads = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        rows = list(threads.map(finish, range(len(orders))))
    except tf.errors.OpError as error:
        raise OSError(f"cannot write to {folder}: {error.message}. What is finished is kept.") from error
    finally:
        stop.set()
        threads.shutdown(cancel_futures=True)
        bar.close()
    if bad:
        more = f" and {len(bad) - 20} more" if len(bad) > 20 else ""
        raise ValueError(f"neither JPEG, PNG, GIF nor BMP: {', '.join(sorted(bad)[:20])}{more}.")
    return rows


def _readable(elements, name):
    try:
        yield from elements.as_numpy_iterator()
    except tf.errors.OpError as error:
        raise ValueError(f"{name} cannot be read: {error.message}") from error


def _example(encoded, label, kind, place, class_names):
    def feature(value):
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        "image/encoded": encoded,
        "image/format": kind.encode(),
        "image/filename": os.path.basename(place),
        "image/class/label": label + LABELS_FROM,
        "image/class/text": class_names[label].encode("utf-8"),
    }
    features = {key: feature(value) for key, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def plain(name: object) -> str:
    """The name itself, if it is one of a file in a folder and of nothing else.

    Raises:
      ValueError: it is not.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[^\W_][^/\\\x00-\x1f]*", name):
        raise ValueError(f"{name!r} is no plain name.")
    return name


def sha256(path: str | os.PathLike) -> str:
    """The checksum of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def whole(path):
    """A name to write to, which becomes `path` once all is written: a reader sees everything or nothing."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def _write_json(path, content, indent=None):
    with whole(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=indent)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(folder):
    """One process at a time; the others wait. The lock ends with the process, however that ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
