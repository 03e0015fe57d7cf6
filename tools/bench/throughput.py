"""Images a second and memory of our models and of their peers, forward only (infer) or of a training step (train).

python -m tools.bench infer --models=resnet50,mobilenet_v2 --vs=keras.applications --batch_size=16
python -m tools.bench train --models=resnet50 --vs=timm --backend=jax --precision=mixed_bfloat16 --batch_size=256

Each side is a process of its own; only one runs at a time, in turn, a round of steps each. A training step is the
forward pass with batch statistics, cross-entropy, the backward pass and an update by SGD with momentum. The images are
random and stay on the device. Keras peers run on our backend; timm runs on PyTorch with channels_last, and with
torch.autocast where the precision is mixed. Our model takes the form in which the peer's weights are published
(kerascnn.weights.form). Figures are medians over the rounds, ratios those of each round: above 1, ours is faster.
Memory is the framework's peak on a GPU, and on a CPU that of the whole process, the framework's code included.
"""

import csv
import dataclasses
import os
import statistics
import sys

from absl import flags

from kerascnn import console, registry

from .peers import keras_names, timm_name
from .process import Process
from .worker import Side

PEERS = ("keras.applications", "timm")
FORMS = {"keras.applications": "keras", "timm": "timm"}


@dataclasses.dataclass
class Row:
    """A line of the CSV file. What is not measured is None."""

    mode: str
    model: str
    peer: str
    backend: str
    precision: str
    compiled: bool
    batch_size: int
    image_size: int
    steps: int
    rounds: int
    device: str
    ours_images_per_second: float
    ours_bytes: int
    peer_images_per_second: float | None = None
    peer_bytes: int | None = None
    ratio: float | None = None
    ratios: str = ""


# One may not take the memory of all.
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def main(argv: list[str]) -> None:
    mode, values = argv[0], read_flags(argv)
    for peer in values.vs:
        if peer not in PEERS:
            console.fail(f"no peer {peer!r}: {registry.close_names(peer, PEERS)}")
    with console.quiet_start():
        import kerascnn.models  # noqa: F401
    try:
        specs = {name: registry.lookup(name).spec for name in values.models}
    except ValueError as error:
        console.fail(error)
    print(
        f"{mode}: batch {values.batch_size}, {values.precision}, {values.backend}{', compiled' * values.compile};"
        f" images/s, medians of {values.rounds} rounds of {values.steps} steps"
    )
    widths = (max(map(len, [*values.models, "model"])), max(map(len, [*values.vs, "peer"])))
    layout = f"{{:{widths[0]}}}  {{:>5}}  {{:{widths[1]}}}  {{:>9}} {{:>9}} {{:>6}}  {{:>9}} {{:>9}}"
    print(layout.format("model", "size", "peer", "ours/s", "peer/s", "ratio", "ours MiB", "peer MiB"))
    rows = []
    for name, spec in specs.items():
        size = values.image_size or spec.input_shape[0]
        for row in measure(mode, name, size, values):
            rows.append(row)
            mebibytes = [x and x / 2**20 for x in (row.ours_bytes, row.peer_bytes)]
            cells = zip(
                [row.ours_images_per_second, row.peer_images_per_second, row.ratio, *mebibytes],
                [",.1f", ",.1f", ".2f", ",.0f", ",.0f"],
                strict=True,
            )
            figures = ["-" if x is None else format(x, form) for x, form in cells]
            print(layout.format(name, size, row.peer, *figures), flush=True)
    if rows:
        print("on", ", ".join(sorted({row.device for row in rows})))
    if values.csv:
        with open(values.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
            writer.writeheader()
            writer.writerows(map(dataclasses.asdict, rows))


def read_flags(argv: list[str]) -> flags.FlagValues:
    values = flags.FlagValues()
    precisions = ["float32", "mixed_bfloat16", "mixed_float16"]
    flags.DEFINE_list("models", "resnet50", "our names, with commas", flag_values=values)
    flags.DEFINE_list("vs", "keras.applications", f"peers, with commas: {', '.join(PEERS)}", flag_values=values)
    flags.DEFINE_enum("backend", "tensorflow", ["tensorflow", "jax"], "Keras's", flag_values=values)
    flags.DEFINE_enum("precision", "float32", precisions, "float32, or the other half", flag_values=values)
    flags.DEFINE_boolean(
        "compile", False, "XLA under TensorFlow, torch.compile under PyTorch; JAX always compiles", flag_values=values
    )
    flags.DEFINE_integer("batch_size", 32, "images a step", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("image_size", None, "the side of the images; else the model's", 1, flag_values=values)
    flags.DEFINE_integer("steps", 10, "steps a round", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("rounds", 5, "rounds of each side", lower_bound=1, flag_values=values)
    flags.DEFINE_string("csv", None, "a file to write the figures to", flag_values=values)
    python = os.environ.get("KERASCNN_TORCH_PYTHON", sys.executable)
    flags.DEFINE_string("torch_python", python, "the Python that has PyTorch and timm", flag_values=values)
    if rest := console.parse_flags(values, __doc__, argv):
        console.fail(f"not a flag: {rest[0]!r}")
    return values


def measure(mode, name, size, values) -> list[Row]:
    """A row for each peer, or one of ours alone where none is asked for; tells which it cannot measure."""
    common = {
        "mode": mode, "precision": values.precision, "batch_size": values.batch_size, "image_size": size,
        "steps": values.steps, "compile": values.compile,
    }  # fmt: skip
    rows = []
    # Two peers may want ours in two forms, so that each is a run of two sides.
    for peer in values.vs or [""]:
        sides = [Side("kerascnn", name, backend=values.backend, form=FORMS.get(peer), **common)]
        if peer == "timm":
            sides.append(Side(peer, timm_name(name), backend="torch", **common))
        elif peer and name not in keras_names():
            print(f"not measured: {name}: {peer}: it has no such model", flush=True)
            continue
        elif peer:
            sides.append(Side(peer, keras_names()[name], backend=values.backend, **common))
        try:
            rows.append(compare(sides, name, peer, values))
        except RuntimeError as error:
            print(f"not measured: {name}: {error}", flush=True)
    return rows


def seconds(worker: Process) -> float:
    """How long a round takes."""
    worker.tell()
    return worker.hear()["seconds"]


def compare(sides, name, peer, values) -> Row:
    """Runs our side, and the peer's if there is one, in turn."""
    workers: list[Process] = []
    devices: list[str] = []
    try:
        # One after the other, since in warming up some time which algorithm is the fastest. The peer's first: it is the
        # one that may be missing.
        for side in reversed(sides):
            environment = SHARED | {"KERAS_BACKEND": side.backend}
            python = values.torch_python if side.backend == "torch" else sys.executable
            workers.insert(0, Process("worker", side, python, environment))
            devices.insert(0, workers[0].hear()["device"])
        ours = sides[0]
        if len(set(devices)) > 1:
            raise RuntimeError(f"ours runs on {devices[0]}, {peer} on {devices[1]}")
        rounds = [[ours.batch_size * ours.steps / seconds(worker) for worker in workers] for _ in range(values.rounds)]
        rates = [statistics.median(column) for column in zip(*rounds, strict=True)]
        ratios = [ours / theirs for ours, *rest in rounds for theirs in rest]
        for worker in workers:
            worker.close()
        memory = [worker.hear()["bytes"] for worker in workers]
    finally:
        for worker in workers:
            worker.stop()
    row = Row(
        ours.mode, name, peer, ours.backend, ours.precision, ours.compile, ours.batch_size, ours.image_size,
        ours.steps, values.rounds, devices[0], rates[0], memory[0],
    )  # fmt: skip
    if ratios:
        row.peer_images_per_second, row.peer_bytes, row.ratio = rates[1], memory[1], statistics.median(ratios)
        row.ratios = " ".join(f"{ratio:.3f}" for ratio in ratios)
    return row
