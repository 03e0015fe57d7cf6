"""How fast an exported model answers, beside the same model in the formats of others, on the CPU.

python -m tools.bench export --models=mobilenet_v2,resnet50 --batches=1,16

The model is that of keras.applications, with random weights and statistics. Against the SavedModel that its own
`model.export` writes stand our SavedModels (the signature `logits`), LiteRT and ONNX as we write them, and OpenVINO
reading our SavedModel. Each side is a process of its own with --threads threads; only one runs at a time, in turn, half
a second each. Milliseconds are medians over the rounds, ratios the medians of those of each round: below 1, the side is
faster than `model.export`.

The last lines are about JPEG files of 500x375: what the signature `serving_default` takes for them, what decoding them
takes by itself, and what decoding, cropping, resizing and normalising take as evaluation does it.
"""

import csv
import io
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from absl import flags

from kerascnn import console, registry

from .export_worker import Side
from .peers import build_keras_application, keras_names
from .process import Process

BASE = "model.export"
# By name, what runs it, and where its file lies.
SIDES = {
    BASE: ("tensorflow", "keras"),
    "ours float32": ("tensorflow", "float32"),
    "ours bfloat16": ("tensorflow", "bfloat16"),
    "LiteRT float32": ("litert", "float32.tflite"),
    "LiteRT int8": ("litert", "int8.tflite"),
    "ONNX Runtime float32": ("onnxruntime", "float32.onnx"),
    "OpenVINO float32": ("openvino", "float32"),
    "OpenVINO bfloat16": ("openvino bfloat16", "float32"),
    "ours float32, JPEG files": ("tensorflow files", "float32"),
    "decoding the files": ("decoding", "float32"),
    "preparing the files": ("preparing", "float32"),
}


class Row(NamedTuple):
    """A line of the CSV file."""

    model: str
    batch: int
    side: str
    milliseconds: float
    ratio: float
    ratios: str


def main(argv: list[str]) -> None:
    values = flags.FlagValues()
    flags.DEFINE_list("models", "mobilenet_v2,resnet50", "our names, with commas", flag_values=values)
    flags.DEFINE_list("batches", "1,16", "images a call, with commas", flag_values=values)
    flags.DEFINE_list("sides", list(SIDES), "which to measure", flag_values=values)
    flags.DEFINE_integer("rounds", 5, "rounds of each side", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("threads", 2, "threads of each side", lower_bound=1, flag_values=values)
    flags.DEFINE_string("csv", None, "a file to write the figures to", flag_values=values)
    if rest := console.parse_flags(values, __doc__, argv):
        console.fail(f"not a flag: {rest[0]!r}")
    for kind, names, known in (("model", values.models, keras_names()), ("side", values.sides, SIDES)):
        for name in names:
            if name not in known:
                console.fail(f"no {kind} {name!r} here: {registry.close_names(name, known)}")
    if not all(batch.isdecimal() and int(batch) for batch in values.batches):
        console.fail(f"--batches={','.join(values.batches)}: give numbers of images.")
    rows = []
    print(f"export: {values.threads} threads, medians of {values.rounds} rounds")
    for name in values.models:
        with tempfile.TemporaryDirectory() as folder:
            write(name, Path(folder), values.sides)
            for batch in map(int, values.batches):
                rows += measure(name, Path(folder), batch, values)
    if values.csv:
        with open(values.csv, "w", newline="") as file:
            csv.writer(file).writerows([Row._fields, *rows])


def write(name: str, folder: Path, sides: list[str]) -> None:
    """The files of all sides."""
    with console.quiet_start():
        import keras
        import numpy as np
        import PIL.Image

        from kerascnn.data import Preprocessing
        from kerascnn.serve import bundle, folding, formats

    print(f"writing {name}", flush=True)
    random = np.random.default_rng(0)
    model = build_keras_application(keras_names()[name])
    for layer in model.layers:  # statistics of 0 and 1, and biases of 0, would be left out of the graph
        for variable in layer.variables if isinstance(layer, keras.layers.BatchNormalization) else []:
            low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-0.3, 0.3)
            variable.assign(random.uniform(low, high, variable.shape))
    height, width, channels = model.input_shape[1:]
    preprocessing = Preprocessing(
        image_size=(height, width), channels=channels, mean=(127.5,) * channels, std=(127.5,) * channels,
        class_names=tuple(f"class {i}" for i in range(model.output_shape[-1])), computed_from="nothing",
        crop="center",
    )  # fmt: skip
    needed = {SIDES[side][1] for side in sides}
    if "keras" in needed:
        model.export(folder / "keras", verbose=False)
    for precision in needed.intersection(folding.PRECISIONS):
        bundle.export(model, folder / precision, preprocessing, precision=precision, min_agreement=0.0)
    folded = folding.fold(model)
    images = np.float32(random.normal(size=(16, height, width, channels)))
    for file in map(Path, needed):
        kind = {".tflite": "litert", ".onnx": "onnx"}.get(file.suffix)
        if kind:
            options = {"precision": file.stem, "calibration": images} if kind == "litert" else {}
            (folder / file).write_bytes(formats.FORMATS[kind].load().convert(folded, **options))
    (folder / "jpeg").mkdir()
    for i in range(16):
        coarse = PIL.Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).resize((500, 375))
        content = io.BytesIO()
        coarse.save(content, "JPEG", quality=90)
        (folder / "jpeg" / f"{i}.jpg").write_bytes(content.getvalue())


def measure(name: str, folder: Path, batch: int, values) -> list[Row]:
    """A row for each side; tells which cannot be measured."""
    workers: dict[str, Process] = {}
    try:
        for side in values.sides:
            kind, file = SIDES[side]
            job = Side(side, kind, str(folder / file), str(folder / "jpeg"), batch, values.threads)
            # Read by TensorFlow as it starts; the others are told by their own options.
            threads = {"TF_NUM_INTRAOP_THREADS": str(values.threads), "TF_NUM_INTEROP_THREADS": str(values.threads)}
            worker = Process("export_worker", job, sys.executable, threads)
            try:
                worker.hear()
                workers[side] = worker
            except RuntimeError as error:
                print(f"not measured: {error}", flush=True)
        rounds = []
        for _ in range(values.rounds):
            rounds.append({side: asked(worker) for side, worker in workers.items()})
    finally:
        for worker in workers.values():
            worker.stop()
    rows = []
    for side in workers:
        ratios = [times[side] / times[BASE] for times in rounds] if BASE in workers else [float("nan")]
        median = statistics.median(times[side] for times in rounds)
        rows.append(Row(name, batch, side, median, statistics.median(ratios), " ".join(f"{x:.3f}" for x in ratios)))
        print(
            f"{name:14} batch {batch:3}  {side:26} {median:8.2f} ms  {rows[-1].ratio:5.2f}"
            f"  ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )
    return rows


def asked(worker: Process) -> float:
    """The milliseconds of a call, over half a second."""
    worker.tell()
    return worker.hear()["milliseconds"]
