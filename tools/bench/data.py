"""Images a second of our input pipeline and of others', all of them on the CPU, from files to batches in memory.

python -m tools.bench data --vs=torchvision,keras_cv,keras
python -m tools.bench data --vs=torchvision --tasks=crop --torch_python=/an/environment/with/torchvision/bin/python

The images are JPEGs of 500x375, quality 90, cut out of scikit-learn's two sample photographs. Each side is a process of
its own on the same cores; only one runs at a time, in turn, a round of some seconds each. All end at batches of
normalised float32 images, but for those that say uint8 and leave the rest to the accelerator.

  crop         Random resized crop to 224x224, and flip. "decode" is decode_and_crop_jpeg alone at the same crops: what
               nothing built on it can pass. keras decodes all, resizes to 256x256, and crops and flips batches. Ours
               keeps so few files in memory, as "decode" does; torchvision and keras read them from the disk's cache.
  randaugment  The same and RandAugment(2, 9). keras_cv and keras get our crops, as uint8 batches.
  digits       The built-in digits of 8x8 from memory: padding, crop and flip.
  small        The same on 32x32 images, such as CIFAR's. torchvision has tensors; keras cuts a batch in one place.
  memory       What our process holds after the first and after the last of --epochs, RandAugment and all.

Figures are medians over the rounds, ratios those of each round's images/s: "ours/it" is our float32 batches to the
line's, "it/decode" the line's to decoding alone. "CPU ms" is the time of all cores for an image: where images/s lie far
below cores * 1000 / that, other processes had the machine, or a pipeline left it idle.
"""

import csv
import dataclasses
import json
import os
import statistics
import sys
import tempfile

from absl import flags

from kerascnn import console
from kerascnn.registry import close_names

from .data_worker import JPEG_SIZE, Side
from .process import Process

PEERS = ("torchvision", "keras_cv", "keras")

# Who runs, and what comes out.
DECODE, UINT8, OURS = ("decode", "uint8"), ("kerascnn", "uint8"), ("kerascnn", "float32")
TORCHVISION, KERAS_CV, KERAS = ((peer, "float32") for peer in PEERS)

# By task: the side of its images, and all that run it.
# fmt: off
TASKS: dict[str, tuple[int, list[tuple[str, str]]]] = {
    "crop":        (224, [DECODE, UINT8, OURS, TORCHVISION, KERAS]),
    "randaugment": (224, [UINT8, OURS, TORCHVISION, KERAS_CV, KERAS]),
    "digits":      (8,   [UINT8, OURS]),
    "small":       (32,  [UINT8, OURS, TORCHVISION, KERAS]),
    "memory":      (224, [OURS]),
}
# fmt: on

ON_CPU = {"CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}

# Where a JPEG can be cut out of a photograph of 427x640.
TOPS, LEFTS = 427 - JPEG_SIZE[0] + 1, 640 - JPEG_SIZE[1] + 1
DIFFERENT_PIECES = 4 * TOPS * LEFTS  # of two photographs, each as it is and mirrored
SMALL_IMAGES = 10_000

LAYOUT = "{:11}  {:11}  {:7}  {:>8} {:>7} {:>8} {:>10}"


@dataclasses.dataclass
class Row:
    """A line of the CSV file. What is not measured is None; a text holds what each round or each epoch gave."""

    task: str
    library: str
    output: str
    image_size: int
    batch_size: int
    cores: int
    images_per_second: float | None = None
    images_per_second_each: str = ""
    cpu_milliseconds: float | None = None
    ours_ratio: float | None = None
    decode_ratio: float | None = None
    bytes_after_epochs: str = ""


def main(argv: list[str]) -> None:
    values = read_flags(argv)
    print(
        f"data: {values.images} JPEGs of {JPEG_SIZE[1]}x{JPEG_SIZE[0]}, batch {values.batch_size}, "
        f"{values.cores} cores; medians of {values.rounds} rounds of {values.seconds:g} s"
    )
    print(LAYOUT.format("task", "pipeline", "output", "images/s", "CPU ms", "ours/it", "it/decode"))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(folder, values.images)
        if "small" in values.tasks:
            write_small_images(folder, SMALL_IMAGES)
        for task in values.tasks:
            try:
                rows += measure_memory(folder, values) if task == "memory" else measure_speed(task, folder, values)
            except RuntimeError as error:
                print(f"not measured: {task}: {error}", flush=True)
    if values.csv:
        with open(values.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
            writer.writeheader()
            writer.writerows(map(dataclasses.asdict, rows))


def read_flags(argv: list[str]) -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_list("vs", ",".join(PEERS), f"peers, with commas: {', '.join(PEERS)}", flag_values=values)
    flags.DEFINE_list("tasks", ",".join(TASKS), "what to measure, with commas", flag_values=values)
    flags.DEFINE_integer("images", 400, "JPEGs", 1, DIFFERENT_PIECES, flag_values=values)
    flags.DEFINE_integer("batch_size", 64, "images a batch", 1, flag_values=values)
    flags.DEFINE_integer("cores", 2, "of each side, and the loading processes of torchvision", 1, flag_values=values)
    flags.DEFINE_integer("rounds", 5, "rounds of each side", lower_bound=1, flag_values=values)
    flags.DEFINE_float("seconds", 3, "the least that a round takes, once it runs", 0, flag_values=values)
    flags.DEFINE_integer("epochs", 20, "over the JPEGs, for memory", lower_bound=1, flag_values=values)
    flags.DEFINE_string("csv", None, "a file to write the figures to", flag_values=values)
    python = os.environ.get("KERASCNN_TORCH_PYTHON", sys.executable)
    flags.DEFINE_string("torch_python", python, "the Python that has PyTorch and torchvision", flag_values=values)
    if rest := console.parse_flags(values, __doc__, argv):
        console.fail(f"not a flag: {rest[0]!r}")
    for kind, names, known in (("peer", values.vs, PEERS), ("task", values.tasks, TASKS)):
        for name in names:
            if name not in known:
                console.fail(f"no {kind} {name!r}: {close_names(name, known)}")
    if values.cores > (cores := len(os.sched_getaffinity(0))):
        console.fail(f"--cores={values.cores}: there are {cores}")
    return values


def write_jpegs(folder: str, count: int) -> None:
    """Writes `count` JPEGs below jpeg/, each another piece of a photograph."""
    import numpy as np
    from sklearn.datasets import load_sample_images

    height, width = JPEG_SIZE
    photographs = [view for image in load_sample_images().images for view in (image, image[:, ::-1])]
    for number, piece in enumerate(np.random.default_rng(0).choice(DIFFERENT_PIECES, count, replace=False)):
        which, top, left = np.unravel_index(piece, (4, TOPS, LEFTS))
        pixels = photographs[which][top : top + height, left : left + width]
        write_image(pixels, os.path.join(folder, "jpeg", "china" if which < 2 else "flower", f"{number}.jpg"))


def write_small_images(folder: str, count: int) -> None:
    """Writes `count` PNGs of 32x32 below small/: noise, in ten classes."""
    import numpy as np

    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)):
        write_image(pixels, os.path.join(folder, "small", f"class{number % 10}", f"{number}.png"))


def write_image(pixels, path: str) -> None:
    from PIL import Image

    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90, compress_level=1)  # the one is for JPEG, the other for PNG


def measure_speed(task: str, folder: str, values: flags.FlagValues) -> list[Row]:
    """Runs all sides of a task in turn and prints a line for each; tells which it cannot measure."""
    image_size, sides = TASKS[task]
    workers: dict[tuple[str, str], Process] = {}
    try:
        for side in sides:
            if side[0] in PEERS and side[0] not in values.vs:
                continue
            try:
                workers[side] = start(task, *side, folder, values)
            except RuntimeError as error:
                print(f"not measured: {task}: {error}", flush=True)
        answers = [[asked(worker, seconds=values.seconds) for worker in workers.values()] for _ in range(values.rounds)]
    finally:
        for worker in workers.values():
            worker.stop()
    rounds = dict(zip(workers, zip(*answers, strict=True), strict=True))
    rates = {side: [answer["images"] / answer["seconds"] for answer in each] for side, each in rounds.items()}

    def ratio(above, below):
        if above == below or above not in rates or below not in rates:
            return None
        return statistics.median(a / b for a, b in zip(rates[above], rates[below], strict=True))

    rows = []
    for side, each in rates.items():
        row = Row(task, *side, image_size, values.batch_size, values.cores)
        row.images_per_second = statistics.median(each)
        row.images_per_second_each = " ".join(f"{rate:.1f}" for rate in each)
        row.cpu_milliseconds = statistics.median(1000 * x["cpu_seconds"] / x["images"] for x in rounds[side])
        row.ours_ratio, row.decode_ratio = ratio(OURS, side), ratio(side, DECODE)
        ratios = ["-" if x is None else f"{x:.2f}" for x in (row.ours_ratio, row.decode_ratio)]
        rate, cpu = f"{row.images_per_second:,.0f}", f"{row.cpu_milliseconds:.3f}"
        print(LAYOUT.format(task, *side, rate, cpu, *ratios), flush=True)
        rows.append(row)
    return rows


def measure_memory(folder: str, values: flags.FlagValues) -> list[Row]:
    worker = start("memory", *OURS, folder, values)
    try:
        each = asked(worker, epochs=values.epochs)["bytes"]
    finally:
        worker.stop()
    print(f"memory       {each[0] / 2**20:,.0f} MiB after epoch 1, {each[-1] / 2**20:,.0f} MiB after epoch {len(each)}")
    row = Row("memory", *OURS, TASKS["memory"][0], values.batch_size, values.cores)
    row.bytes_after_epochs = " ".join(map(str, each))
    return [row]


def start(task: str, library: str, output: str, folder: str, values: flags.FlagValues) -> Process:
    side = Side(task, library, output, folder, values.images, TASKS[task][0], values.batch_size, values.cores)
    process = Process("data_worker", side, values.torch_python if library == "torchvision" else sys.executable, ON_CPU)
    process.hear()  # it is ready
    return process


def asked(process: Process, **question) -> dict:
    process.tell(json.dumps(question))
    return process.hear()
