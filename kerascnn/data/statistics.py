"""What is known of a split: its classes, its mean image, how its colours vary; from exact sums of integers."""

import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from kerascnn.data import lost
from kerascnn.data.sources import Source

LARGEST_WHITENED = 3072  # numbers in an image: 32x32x3. The matrix has their square, and finding it takes their cube.
ZCA_BIAS = 0.1
_EXACT = 2**24 // 255**2  # so many products of two pixels add up exactly in float32
_BATCH_NUMBERS = 2**23


@dataclasses.dataclass(frozen=True)
class Statistics:
    """The sums that everything else follows from.

    Attributes:
      name: what was measured, such as `digits train`.
      class_counts: the number of images of each class, in the order of the labels.
      pixel_sums: int64 [height, width, channels], over all images.
      colour_products: int64 [channels, channels], over all pixels: channel times channel.
      pixel_products: int64 [d, d], over all images: each of an image's d numbers times each; None if not asked for.

    Raises:
      ValueError: these do not fit together.
    """

    name: str
    class_counts: dict[str, int] = dataclasses.field(hash=False)
    pixel_sums: np.ndarray = dataclasses.field(hash=False, repr=False)
    colour_products: np.ndarray = dataclasses.field(hash=False, repr=False)
    pixel_products: np.ndarray | None = dataclasses.field(default=None, hash=False, repr=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.class_counts, dict) and all(type(n) is int for n in self.class_counts.values())):
            raise ValueError("class_counts must be whole numbers by class.")
        if self.images < 1 or min(self.class_counts.values()) < 0:
            raise ValueError("there are no images.")
        if np.ndim(self.pixel_sums) != 3 or np.size(self.pixel_sums) == 0:
            raise ValueError(f"pixel_sums has the shape {np.shape(self.pixel_sums)}, not that of an image.")
        numbers, channels = np.size(self.pixel_sums), self.image_shape[-1]
        for name, array, shape, count in (
            ("pixel_sums", self.pixel_sums, self.image_shape, self.images),
            ("colour_products", self.colour_products, (channels, channels), self.images * numbers * 255),
            ("pixel_products", self.pixel_products, (numbers, numbers), self.images * 255),
        ):
            if array is None:
                continue
            if np.shape(array) != shape or array.dtype != np.int64:
                raise ValueError(f"{name} is {array.dtype} {np.shape(array)}, not int64 {shape}.")
            if np.min(array) < 0 or np.max(array) > 255 * count:
                raise ValueError(f"{name} is out of the range of {self.images} images.")

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(self.class_counts.values())

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return np.shape(self.pixel_sums)

    @property
    def mean_image(self) -> np.ndarray:
        """float64 [height, width, channels], in levels of 0 to 255 as all that follows."""
        return self.pixel_sums / self.images

    @property
    def mean(self) -> np.ndarray:
        """float64 [channels]."""
        height, width, _ = self.image_shape
        return self.pixel_sums.sum((0, 1)) / (self.images * height * width)

    @property
    def std(self) -> np.ndarray:
        """float64 [channels]: the deviation, divided by the number of pixels."""
        return np.sqrt(np.diag(self.covariance))

    @functools.cached_property
    def covariance(self) -> np.ndarray:
        """float64 [channels, channels], of the colours of all pixels."""
        height, width, _ = self.image_shape
        return _covariance(self.pixel_sums.sum((0, 1)), self.colour_products, self.images * height * width)

    def principal_colours(self) -> tuple[np.ndarray, np.ndarray]:
        """The variances [channels] along the principal axes, largest first, and the axes: [channels, axis].

        An axis points to where its largest component is positive.
        """
        variances, axes = np.linalg.eigh(self.covariance)
        variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(0)[np.newaxis], 0)
        return variances, axes * np.where(largest < 0, -1.0, 1.0)

    def zca(self) -> np.ndarray:
        """float64 [d, d], the W of ZCA whitening (x - mean image) @ W: decorrelates, and changes images the least.

        With the eigenvectors U and the eigenvalues l of the covariance of an image's d numbers, W is
        U (l / m + 0.1)^(-1/2) U' / sqrt(m), where m is the mean of l: the bias 0.1 counts on a scale on which the mean
        variance of a pixel is 1, as in the maxout paper's code for CIFAR-10 (https://arxiv.org/abs/1302.4389). It
        keeps directions without variance, such as black borders, from being blown up.

        Raises:
          ValueError: the sums for it were not asked for.
        """
        if self.pixel_products is None:
            raise ValueError(f"{self.name} was measured without pixel_products.")
        covariance = _covariance(self.pixel_sums.ravel(), self.pixel_products, self.images)
        scale = np.trace(covariance) / len(covariance) or 1.0  # images that are all the same
        variances, axes = np.linalg.eigh(covariance / scale)
        return (axes / np.sqrt(np.maximum(variances, 0) + ZCA_BIAS)) @ axes.T / math.sqrt(scale)

    def save(self, path: str | os.PathLike) -> None:
        """Writes JSON, with the mean and so on for people, and the sums to an .npz of the same name beside it."""
        variances, axes = self.principal_colours()
        fields = {
            "name": self.name,
            "class_counts": self.class_counts,
            "images": self.images,
            "image_shape": self.image_shape,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "covariance": self.covariance.tolist(),
            "principal_variances": variances.tolist(),
            "principal_axes": axes.T.tolist(),
        }
        arrays = {name: getattr(self, name) for name in ("pixel_sums", "colour_products", "pixel_products")}
        save(path, fields, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Statistics":
        """Reads what `save` wrote.

        Raises:
          ValueError: the files are something else, or damaged.
        """
        try:
            fields, arrays = load(path)
            return cls(**{name: fields[name] for name in ("name", "class_counts") if name in fields}, **arrays)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} does not hold the statistics of a data set: {error}") from error


@tf.autograph.experimental.do_not_convert
def measure_statistics(
    source: Source,
    split: str,
    decode: Callable,
    *,
    pixel_products: bool = False,
    on_corrupt: str = "error",
) -> Statistics:
    """Reads a split once and adds up its images.

    Args:
      source: from `open_source`.
      split: for what is to be used in training, the training split.
      decode: from an encoded image to uint8 [height, width, channels], all of one static shape.
      pixel_products: whether to add up what ZCA whitening needs too, for images of up to 3,072 numbers.
      on_corrupt: `error`; or `skip`, which leaves out what cannot be decoded, up to 1 % of the split.

    Raises:
      ValueError: an element cannot be used (its name, and why), too many cannot, or images too large to be whitened.
    """
    lost.check(on_corrupt)
    size, classes = source.size(split), len(source.class_names)
    elements = tf.data.Dataset.range(size).map(_element(source, split, decode), tf.data.AUTOTUNE)
    if on_corrupt == "skip":
        elements = elements.ignore_errors().filter(lambda image, label: (label >= 0) & (label < classes))
    height, width, channels = elements.element_spec[0].shape
    numbers = height * width * channels
    if pixel_products and numbers > LARGEST_WHITENED:
        raise ValueError(
            f"images of {height}x{width}x{channels} are too large to be whitened: {numbers:,} numbers, and "
            f"{LARGEST_WHITENED:,} (32x32x3) at most."
        )
    batch_size = min(max(_BATCH_NUMBERS // numbers, 1), _EXACT)
    row_type = tf.float32 if width <= _EXACT else tf.float64

    def sums(images, labels):
        rows = tf.cast(tf.reshape(images, [-1, width, channels]), row_type)
        flat = tf.cast(tf.reshape(images, [-1, numbers]), tf.float32)
        colours = tf.reduce_sum(tf.cast(tf.matmul(rows, rows, transpose_a=True), tf.int64), 0)
        pixels = tf.matmul(flat, flat, transpose_a=True) if pixel_products else tf.zeros([])
        return labels, tf.reduce_sum(flat, 0), colours, pixels

    batches = elements.batch(batch_size).map(sums, tf.data.AUTOTUNE).prefetch(1)
    shapes = [[numbers], [channels] * 2, [numbers] * 2 if pixel_products else []]
    counts, totals, done = np.zeros(classes, np.int64), [np.zeros(shape, np.int64) for shape in shapes], 0
    progress = tqdm.tqdm(total=size, desc=f"Statistics of {source.name} {split}", unit=" images", delay=5, disable=None)
    try:
        with progress:
            for labels, *parts in batches.as_numpy_iterator():
                if labels.min() < 0 or labels.max() >= classes:
                    raise ValueError(f"{source.name} {split}: a label is out of range.")
                counts += np.bincount(labels, minlength=classes)
                for total, part in zip(totals, parts, strict=True):
                    total += part.astype(np.int64)
                done += len(labels)
                progress.update(len(labels))
    except (tf.errors.OpError, ValueError) as error:
        found = next(broken(source, split, decode, done, min(done + batch_size, size)), None)
        if found is None:
            raise
        raise ValueError(f"{source.name} {split}: {found[1]}: {found[2]}") from error
    if size - done > lost.LIMIT * size:
        _, name, reason = next(broken(source, split, decode))
        raise ValueError(
            f"{source.name} {split}: {size - done:,} of {size:,} elements cannot be used, more than {lost.LIMIT:.0%}, "
            f"such as {name}: {reason} (kerascnn data check lists them)"
        )
    return Statistics(
        name=f"{source.name} {split}",
        class_counts=dict(zip(source.class_names, counts.tolist(), strict=True)),
        pixel_sums=totals[0].reshape(height, width, channels),
        colour_products=totals[1],
        pixel_products=totals[2] if pixel_products else None,
    )


def broken(
    source: Source, split: str, decode: Callable, start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, str, str]]:
    """(index, name, reason) of each element that cannot be read or decoded, or whose label there is not; in order."""
    classes = len(source.class_names)
    one = [tf.TensorSpec([], tf.int64)]
    element = tf.function(_element(source, split, decode), input_signature=one, autograph=False)
    locate = source.locate(split)

    def reason(index):
        try:
            _, label = element(tf.constant(index, tf.int64))
        except tf.errors.OpError as error:
            return _reason(error)
        return "" if 0 <= label < classes else f"the label {int(label)} is not one of {classes} classes"

    indices = range(start, source.size(split) if stop is None else stop)
    progress = tqdm.tqdm(total=len(indices), desc=f"{source.name} {split}", unit=" images", delay=5, disable=None)
    with ThreadPool() as pool, progress:
        for index, text in zip(indices, pool.imap(reason, indices, chunksize=16), strict=True):
            progress.update()
            if text:
                yield index, locate(tf.constant(index, tf.int64)).numpy().decode(errors="backslashreplace"), text


def _reason(error):
    """What happened, in one line, without where in the graph: that stands in the lines before and behind `[[{{node`."""
    text = re.sub(r"\{\{.*?\}\} ?", "", error.message.partition("\n\t [[")[0]).strip() or type(error).__name__
    _, asserted, values = text.partition("assertion failed: ")  # [message] [value] ...
    return " ".join(values[1:-1].replace("] [", " ").split()) if asserted else text.splitlines()[-1]


def _element(source, split, decode):
    read = source.read(split)

    def element(index):
        encoded, label = read(index)
        return decode(encoded), label

    return element


def _covariance(sums, products, count):
    """float64 [n, n] of n sums and n x n sums of products over `count`: in Python's integers, rounded once, last."""
    sums = [int(total) for total in sums]
    return np.array(
        [
            [(count * product - a * b) / count**2 for product, b in zip(row.tolist(), sums, strict=True)]
            for row, a in zip(products, sums, strict=True)
        ]
    )


def same(one: Any, other: Any) -> bool:
    """Whether two dataclasses are of one type and equal in every field, arrays included."""
    if type(one) is not type(other):
        return False
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one)]
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else type(a) is type(b) and a == b for a, b in pairs)


def save(path: str | os.PathLike, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray | None]) -> None:
    """Writes fields as JSON and arrays, those that are not None, to an .npz of the same name beside it.

    The JSON holds the checksum of the .npz: of two files that were not written together, none is read.

    Raises:
      OSError: they cannot be written; what was there before still is.
    """
    path = Path(path)
    held: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
    files = {}
    if held:
        buffer = io.BytesIO()
        np.savez(buffer, **held)
        files[path.with_suffix(".npz")] = buffer.getvalue()
        fields = {**fields, "npz_sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    files[path] = (json.dumps(fields, indent=2) + "\n").encode()
    temporaries = {file: file.with_name(f"{file.name}.tmp") for file in files}
    try:
        for file, content in files.items():
            temporaries[file].write_bytes(content)
        for file, temporary in temporaries.items():
            os.replace(temporary, file)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
    if not held:
        path.with_suffix(".npz").unlink(missing_ok=True)


def load(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields and arrays that `save` wrote.

    Raises:
      ValueError: the files are something else, or damaged, or not of one time.
      OSError: there is no such file.
    """
    try:
        fields = json.loads(Path(path).read_bytes())
    except RecursionError as error:
        raise ValueError("it is nested too deep.") from error
    if not isinstance(fields, dict):
        raise ValueError("it is no JSON object.")
    digest = fields.pop("npz_sha256", None)
    if digest is None:
        return fields, {}
    beside = Path(path).with_suffix(".npz")
    content = beside.read_bytes() if beside.exists() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{beside.name} beside it is {'damaged, or of another one' if content else 'missing'}.")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return fields, dict(arrays)
    except (OSError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{beside.name} beside it holds no arrays: {error}") from error
