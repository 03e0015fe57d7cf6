"""One side of `data`: a process that makes batches of images, and counts them whenever it is told to.

Its argument is a `Side` as JSON. It writes lines of JSON: {"ready": true} once the first batch has come; then, for each
line {"seconds": s} that it reads, {"images": how many, "seconds": in how many, "cpu_seconds": of all its threads and
processes}, and for each line {"epochs": n}, {"bytes": [the memory it held after each]}; and {"error": why} in place of
any of them. It needs no more than its own library, so that torchvision can run where there is no Keras.
"""

import dataclasses
import glob
import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterable
from typing import Any

JPEG_SIZE = (375, 500)
WINDOWS = 2000

# ImageNet's, in levels of 0 to 255.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
# Before the clock starts, if a round is as long: tf.data takes a while to find out how many threads it wants.
WARM_UP_SECONDS = 1.0

# What each task asks of our pipeline.
FLIP = {"augment": "horizontal_flip"}
RANDAUGMENT = {"augment": "horizontal_flip, randaugment(n=2, m=9)"}
OURS: dict[str, dict[str, Any]] = {
    "crop": {"crop": "random_resized", **FLIP},
    "randaugment": {"crop": "random_resized", **RANDAUGMENT},
    "digits": {"crop": "pad(pixels=1)", **FLIP},
    "small": {"crop": "pad(pixels=4)", **FLIP},
    "memory": {"crop": "random_resized", **RANDAUGMENT},
}


@dataclasses.dataclass(frozen=True)
class Side:
    """What `library` does for `task`, from images in `folder`.

    `library` is "decode", which is `decode_and_crop_jpeg` alone, "kerascnn", "torchvision", "keras_cv" or "keras".
    `output` is "uint8", or "float32" for normalised images. `images` is the number of JPEGs.
    """

    task: str
    library: str
    output: str
    folder: str
    images: int
    image_size: int
    batch_size: int
    cores: int

    @property
    def classes(self) -> str:
        """The folder of class folders."""
        return os.path.join(self.folder, "small" if self.task == "small" else "jpeg")


def our_batches(side: Side) -> Iterable:
    from kerascnn import data
    from kerascnn.data.batches import uint8_batches
    from kerascnn.data.lost import Lost

    source = data.open_source("digits", side.folder) if side.task == "digits" else data.open_source(side.classes)
    if side.task == "small":  # a data set such as CIFAR knows the size of its images, which a folder does not
        source = dataclasses.replace(source, image_shape=(32, 32, 3))
    prepared = data.measure(source, "train", image_size=side.image_size)
    options = {"batch_size": side.batch_size, **OURS[side.task]}
    if side.output == "float32":
        return data.pipeline(source, "train", preprocess=prepared, **options)
    return uint8_batches(source, "train", preprocessing=prepared, lost=Lost(source, "train"), **options)


def decoded_crops(side: Side) -> Iterable:
    """A pixel of each crop, from files in memory, so that there is nothing to do but decode."""
    import tensorflow as tf

    paths = sorted(glob.glob(os.path.join(side.classes, "*", "*")))
    files, windows = tf.stack([tf.io.read_file(path) for path in paths]), tf.constant(our_windows(side))

    def decode(index):
        return tf.image.decode_and_crop_jpeg(files[index % len(files)], windows[index % len(windows)], channels=3)[0, 0]

    dataset = tf.data.Dataset.range(2**60).map(decode, tf.data.AUTOTUNE)
    return dataset.batch(side.batch_size).prefetch(tf.data.AUTOTUNE)


def our_windows(side: Side) -> list[list[int]]:
    """The first `WINDOWS` that our pipeline cuts out of the JPEGs: top, left, height and width."""
    from kerascnn.data import crop
    from kerascnn.data.batches import drawn

    random_resized = crop.parse(OURS["crop"]["crop"])
    epochs, elements = zip(*(divmod(number, side.images) for number in range(WINDOWS)), strict=True)
    windows = []
    for u in drawn(0, epochs, elements, 0, (random_resized.draws,))[0].numpy():
        width, height, left, top = map(int, re.findall(r"\d+", random_resized.describe(u, *JPEG_SIZE)))
        windows.append([top, left, height, width])
    return windows


def torchvision_batches(side: Side) -> Iterable:
    """The loader that its users write: ImageFolder with Pillow, or tensors where all images fit into memory."""
    import torch

    try:
        import torchvision
    except RuntimeError:  # built for another PyTorch: it asks for operators, and none of them is used here
        from .worker import declare_torchvision_operators

        declare_torchvision_operators(torch)
        import torchvision
    from torchvision import transforms

    mean, std = ([x / 255 for x in numbers] for numbers in (MEAN, STD))
    flip, normalise = transforms.RandomHorizontalFlip(), transforms.Normalize(mean, std)
    if side.task == "small":
        to_float = transforms.ConvertImageDtype(torch.float32)
        steps = [transforms.RandomCrop(side.image_size, padding=4), flip, to_float, normalise]
        folder = torchvision.datasets.ImageFolder(side.classes, transforms.PILToTensor())
        dataset: Iterable = InMemory([folder[i] for i in range(len(folder))], transforms.Compose(steps))
    else:
        steps = [transforms.RandomResizedCrop(side.image_size), flip]
        if side.task == "randaugment":
            steps.append(transforms.RandAugment(2, 9))
        steps += [transforms.ToTensor(), normalise]
        dataset = torchvision.datasets.ImageFolder(side.classes, transforms.Compose(steps))
    endless = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=2**40)
    return torch.utils.data.DataLoader(dataset, side.batch_size, sampler=endless, num_workers=side.cores)


class InMemory(list):
    """A data set of (image, label) for PyTorch, changed by a transform as they are taken."""

    def __init__(self, elements, transform):
        super().__init__(elements)
        self.transform = transform

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return self.transform(image), label


def keras_cv_batches(side: Side) -> Iterable:
    import keras_cv

    augment = keras_cv.layers.RandAugment((0, 255), augmentations_per_image=2, magnitude=0.9, rate=10 / 11)
    return _augmented(our_batches(dataclasses.replace(side, task="crop", output="uint8")), [augment])


def keras_batches(side: Side) -> Iterable:
    import keras

    if side.task == "randaugment":
        ours = our_batches(dataclasses.replace(side, task="crop", output="uint8"))
        return _augmented(ours, [keras.layers.RandAugment((0, 255), num_ops=2, factor=0.9)])
    size, small = side.image_size, side.task == "small"
    folder = keras.utils.image_dataset_from_directory(
        side.classes, image_size=(size, size) if small else (256, 256), batch_size=None if small else side.batch_size
    )
    dataset = folder.cache().repeat().batch(side.batch_size) if small else folder.repeat()
    padding = [keras.layers.ZeroPadding2D(4)] if small else []
    return _augmented(dataset, [*padding, keras.layers.RandomCrop(size, size), keras.layers.RandomFlip("horizontal")])


BATCHES = {
    "kerascnn": our_batches,
    "decode": decoded_crops,
    "torchvision": torchvision_batches,
    "keras_cv": keras_cv_batches,
    "keras": keras_batches,
}


def _augmented(dataset, layers):
    """Batches through Keras layers, which draw in training mode, and normalised."""
    import numpy as np
    import tensorflow as tf

    def augment(images, labels):
        for layer in layers:
            images = layer(images, training=True)
        # A line at a time: TensorFlow takes four times as long to repeat three numbers over all pixels.
        mean, std = (np.tile(np.float32(numbers), images.shape[2]) for numbers in (MEAN, STD))
        lines = tf.reshape(tf.cast(images, tf.float32), [-1, len(mean)])
        return tf.reshape((lines - mean) / std, tf.shape(images)), labels

    return dataset.map(augment, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def count(batches: Iterable, side: Side, seconds: float) -> dict[str, float]:
    """How many images came in at least so many seconds: whole turns of the workers, from an iterator that has run in.

    The iterator is new each time, since one that waits for its next turn goes on filling its buffers meanwhile.
    """
    iterator, passed = iter(batches), 0.0
    for least in (min(WARM_UP_SECONDS, seconds), seconds):
        started, cpu, turns = time.perf_counter(), _cpu_seconds(), 0
        while turns == 0 or passed < least:
            for _ in range(side.cores):
                next(iterator)
            turns, passed = turns + 1, time.perf_counter() - started
    images = turns * side.cores * side.batch_size
    return {"images": images, "seconds": passed, "cpu_seconds": _cpu_seconds() - cpu}


def memory_after_epochs(batches: Iterable, side: Side, epochs: int) -> list[int]:
    iterator, steps = iter(batches), max(1, side.images // side.batch_size)
    memory = []
    for _ in range(epochs):
        for _ in range(steps):
            next(iterator)
        memory.append(_resident())
    return memory


def _cpu_seconds():
    ticks = 0
    for pid in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        with open(f"/proc/{pid}/stat") as stat:
            user, system = stat.read().rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def _resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    side = Side(**json.loads(sys.argv[1]))
    # Before any library counts them.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: side.cores])
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # what frameworks print must not come between

        def tell(**fields):
            print(json.dumps(fields), file=out, flush=True)

        try:
            batches = BATCHES[side.library](side)
            next(iter(batches))
            tell(ready=True)
            for line in sys.stdin:
                wanted = json.loads(line)
                if "epochs" in wanted:
                    tell(bytes=memory_after_epochs(batches, side, wanted["epochs"]))
                else:
                    tell(**count(batches, side, wanted["seconds"]))
        except Exception as error:
            tell(error=f"{type(error).__name__}: {error}".splitlines()[0])
            raise


if __name__ == "__main__":
    main()
