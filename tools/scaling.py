"""What training on many machines costs, predicted: bytes, seconds, efficiency, and the input that it asks for.

python -m tools.scaling [--model=resnet50,vgg16] [--replicas=8,64] [--batch_size=256] [--bandwidth=50] ...
python -m tools.scaling --write      into docs/scaling.md, from the defaults; --check whether it is current
python -m tools.scaling --measure=digits_resnet20 --workers=2 --steps=10,40 [-- FLAGS OF THE RECIPE]

The last trains for real, with workers on this machine, and compares the bytes that they send with the prediction. It
counts everything on the loopback device: run it where nothing else uses that, as in `unshare --net`.
"""

import csv
import dataclasses
import importlib
import math
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags

from kerascnn import cli, console, registry

PAGE = pathlib.Path(__file__).parent.parent / "docs/scaling.md"
BEGIN, END = "<!-- scaling: begin -->", "<!-- scaling: end -->"

NVIDIA = "[NVIDIA](https://github.com/NVIDIA/DeepLearningExamples/tree/master/TensorFlow/Classification/ConvNets/resnet50v1.5)"
TIMM = (
    "[timm](https://github.com/huggingface/pytorch-image-models/blob/main/results/"
    "benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv)"
)
P4D = "[AWS's p4d.24xlarge](https://aws.amazon.com/blogs/compute/amazon-ec2-p4d-instances-deep-dive/)"
NCCL = "[NCCL](https://github.com/NVIDIA/nccl/blob/01afd20a77b5804e0ecf1042509dd9d20ebf9e93/src/graph/tuning.cc)"
RING = f"{NCCL}'s own model of a ring, LL128"

# Images a second that one A100 trains on. ResNet-50 is the one that was published for it; the others are known from
# an RTX 3090, on which ResNet-50 does 1,218.
ESTIMATED = f"an estimate: {{}} of {TIMM} on an RTX 3090, times 2,375 / 1,218, which is ResNet-50's ratio"
# fmt: off
RATES = {
    "resnet50":     (2375,                     f"{NVIDIA}: one A100, TensorFlow with XLA, mixed precision"),
    "mobilenet_v2": (2313.10 * 2375 / 1218.01, ESTIMATED.format("2,313")),
    "vgg16":        (546.06 * 2375 / 1218.01,  ESTIMATED.format("546")),
}
# Everything else that a prediction is made of: flag, value, what it is, where it is from.
INPUTS = (
    ("batch_size",           256,   "images a replica and step",                        NVIDIA),
    ("replicas_per_machine", 8,     "GPUs of a machine",                                P4D),
    ("bandwidth",            50.0,  "GB/s of a machine's network, each way",            f"{P4D}: 400 Gb/s"),
    ("latency",              4.0,   "µs of a hop from machine to machine",              RING),
    ("inside_bandwidth",     235.0, "GB/s of a GPU's links in its machine, each way",   f"{NCCL}'s limit for A100s"),
    ("inside_latency",       1.9,   "µs of a hop within a machine",                     RING),
    ("launch",               10.0,  "µs to start a reduction",                          RING),
    ("backward",             2 / 3, "share of the computing in which gradients arise",  "two of three passes"),
    ("image_bytes", 147_897_477_120 / 1_281_167, "bytes of an encoded image", "ILSVRC2012_img_train.tar by its images"),
    ("image_cpu",            1.05,  "ms of a core to decode, crop and flip an image",   "[ours](benchmarks.md), uint8"),
)
# fmt: on
# A batch norm over the global batch adds up its sums, its sums of squares and its counts forward, the gradients of the
# first two backward: each in a reduction of its own, of float32 numbers for each channel. So Keras 3.15 does it, and
# so many were counted in a compiled step of TensorFlow 2.21 under MultiWorkerMirroredStrategy.
PER_NORM = 5
METRICS = 3 * 4  # a step's loss, correct answers and examples, in one reduction


class Reduced(NamedTuple):
    """What the replicas add up in a step: bytes on each replica, and in how many reductions.

    Attributes:
      gradients: of every trainable parameter in float32, in one reduction.
      others: of batch norm's statistics and of the metrics.
      reductions: of the others, one after another, since the next layer waits for each.
    """

    gradients: int
    others: int
    reductions: int


class Cost(NamedTuple):
    """Seconds of a reduction: `start + per_byte * bytes` (the alpha-beta model)."""

    start: float
    per_byte: float


@dataclasses.dataclass(frozen=True)
class Machines:
    """What replicas run on, and how they are joined: the flags of the same names, in the flags' units."""

    replicas_per_machine: int
    bandwidth: float
    latency: float
    inside_bandwidth: float
    inside_latency: float
    launch: float

    def shape(self, replicas: int) -> tuple[int, int]:
        """(replicas of a machine, machines); a ValueError where the machines are not full."""
        inside = min(replicas, self.replicas_per_machine)
        if replicas % inside:
            raise ValueError(f"{replicas} replicas do not fill machines of {self.replicas_per_machine}")
        return inside, replicas // inside


def sent(size: float, replicas: int) -> float:
    """Bytes that each replica sends to reduce `size` bytes in a ring, which is the least there can be.

    https://doi.org/10.1016/j.jpdc.2008.09.002
    """
    return 2 * (replicas - 1) / replicas * size


def ring(machines: Machines, replicas: int) -> Cost:
    """One ring through all replicas, in which every machine is entered once.

    A part of the bytes goes around twice, but for one hop; the slowest part meets every link between machines. What
    all parts have to pass is the narrowest link.
    """
    inside, count = machines.shape(replicas)
    hops = replicas - 1
    between = min(count, hops) if count > 1 else 0
    micro = machines.launch + 2 * ((hops - between) * machines.inside_latency + between * machines.latency)
    links = [machines.bandwidth] * (count > 1) + [machines.inside_bandwidth] * (inside > 1)
    return Cost(micro * 1e-6, sent(1, replicas) / (min(links) * 1e9) if links else 0.0)


def hierarchical(machines: Machines, replicas: int) -> Cost:
    """A ring in each machine leaves each of its replicas a share; the shares are added up between machines in a tree.

    The replicas of a machine use its network together. Two trees, in each of which the leaves of the other are not,
    keep all links busy and so move bytes as a ring does, in fewer hops:
    https://developer.nvidia.com/blog/massively-scale-deep-learning-training-nccl-2-4/
    """
    inside, count = machines.shape(replicas)
    up = math.ceil(math.log2(count))
    micro = machines.launch + 2 * ((inside - 1) * machines.inside_latency + up * machines.latency)
    seconds = sent(1, inside) / (machines.inside_bandwidth * 1e9) + sent(1, count) / (machines.bandwidth * 1e9)
    return Cost(micro * 1e-6, seconds)


def seconds(cost: Cost, size: float, reductions: int = 1) -> float:
    """Of `size` bytes in so many reductions, one after another."""
    return reductions * cost.start + size * cost.per_byte


def efficiency(compute: float, gradients: float, others: float, hidden: float = 0.0) -> float:
    """The share of a step in which replicas compute.

    Args:
      compute: seconds of a step on one replica.
      gradients: seconds in which the gradients are reduced.
      others: seconds of the reductions that layers wait for.
      hidden: seconds that reducing gradients may take while the backward pass still computes.
    """
    return compute / (compute + others + max(0.0, gradients - hidden))


def reduced(parameters: int, channels: Sequence[int]) -> Reduced:
    """Of a model with so many trainable parameters, and batch norms of so many channels."""
    return Reduced(4 * parameters, 4 * PER_NORM * sum(channels) + METRICS, PER_NORM * len(channels) + 1)


def norm_channels(model) -> list[int]:
    """The channels of each batch norm of a Keras model."""
    import keras

    return [layer.moving_mean.shape[0] for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def tables(models: dict[str, tuple[Reduced, float]], replicas: Sequence[int], inputs: dict[str, Any]) -> str:
    """The prediction in Markdown.

    Args:
      models: by name, what a step reduces and the images that a replica does in a second.
      replicas: numbers of them.
      inputs: a value for each of INPUTS.
    """
    fields = [field.name for field in dataclasses.fields(Machines)]
    machines = Machines(**{name: inputs[name] for name in fields})
    facts = registry.facts()
    lines = [
        "What each replica adds up with the others in a step, and what it sends for that:",
        "",
        "| model | trainable parameters | gradients, MB | batch norm and metrics, MB | reductions "
        + "".join(f"| sent, {number} replicas, MB " for number in replicas)
        + "|",
        "|---|--:|--:|--:|--:" + "|--:" * len(replicas) + "|",
    ]
    for name, (work, _) in models.items():
        cells = [f"{facts[name]['trainable_params']:,}", f"{work.gradients / 1e6:.1f}", f"{work.others / 1e6:.2f}"]
        cells += [str(work.reductions + 1)]
        cells += [f"{sent(work.gradients + work.others, number) / 1e6:.1f}" for number in replicas]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")

    lines += [
        "",
        f"A step of {inputs['batch_size']} images a replica. The efficiency is computing / (computing + what is waited "
        "for): without overlap, as",
        "gradients are reduced now, and with all of the backward pass to hide them behind, which is the upper bound.",
        "",
        "| model | replicas | computing, ms | gradients, ms: ring | hierarchical | batch norm and metrics, ms: ring "
        "| hierarchical | efficiency, no overlap: ring | hierarchical | full overlap: ring | hierarchical |",
        "|---|--:" + "|--:" * 9 + "|",
    ]
    for name, (work, rate) in models.items():
        compute = inputs["batch_size"] / rate
        for number in replicas:
            costs = [form(machines, number) for form in (ring, hierarchical)]
            gradients = [seconds(cost, work.gradients) for cost in costs]
            others = [seconds(cost, work.others, work.reductions) for cost in costs]
            cells = [f"{number}", f"{1e3 * compute:.1f}", *(f"{1e3 * value:.2f}" for value in gradients + others)]
            for hidden in (0.0, inputs["backward"] * compute):
                cells += [f"{efficiency(compute, *pair, hidden):.1%}" for pair in zip(gradients, others, strict=True)]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")

    lines += [
        "",
        "What has to come in while every replica computes without a pause; efficiency below 1 asks for less:",
        "",
        f"| model | images/s of a replica | TFLOP/s of it | images/s of a machine of {machines.replicas_per_machine} "
        "| encoded, MB/s | host's cores "
        + "".join(f"| encoded, {number} replicas, GB/s " for number in replicas)
        + "|",
        "|---" + "|--:" * (5 + len(replicas)) + "|",
    ]
    for name, (_, rate) in models.items():
        machine = rate * machines.replicas_per_machine
        cells = [f"{rate:,.0f}", f"{6 * facts[name]['macs'] * rate / 1e12:.1f}", f"{machine:,.0f}"]
        cells += [f"{machine * inputs['image_bytes'] / 1e6:,.0f}", f"{machine * inputs['image_cpu'] / 1e3:.1f}"]
        cells += [f"{number * rate * inputs['image_bytes'] / 1e9:.1f}" for number in replicas]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def inputs_table(inputs: dict[str, Any], rates: dict[str, tuple[float, str]]) -> str:
    """What the prediction is made of, in Markdown: each flag, its value, its source."""
    lines = ["| flag | value | what it is | from |", "|---|--:|---|---|"]
    for name, (rate, source) in rates.items():
        lines.append(f"| `--images_per_second` | {rate:,.0f} | that a replica trains on, `{name}` | {source} |")
    for flag, default, text, source in INPUTS:
        said = source if inputs[flag] == default else "the command line"
        number = f"{inputs[flag]:,.0f}" if inputs[flag] >= 1e4 else f"{inputs[flag]:.3g}"
        lines.append(f"| `--{flag}` | {number} | {text} | {said} |")
    return "\n".join(lines)


def prediction(
    rates: dict[str, tuple[float, str]],
    replicas: Sequence[int],
    inputs: dict[str, Any] | None = None,
    synchronized: bool = True,
) -> str:
    """All tables in Markdown. Builds the models, to see their batch norms.

    Args:
      rates: by the model's name, images a second of one replica and where that is from.
      replicas: numbers of them.
      inputs: those of INPUTS that differ from the defaults.
      synchronized: whether batch norm is over the global batch, as it is here.
    """
    from kerascnn import create_model, model_info

    inputs = {flag: default for flag, default, *_ in INPUTS} | (inputs or {})
    models = {}
    for name, (rate, _) in rates.items():
        channels = norm_channels(create_model(name, num_classes=0)) if synchronized else []
        models[name] = reduced(model_info(name).trainable_params, channels), rate
    return f"{inputs_table(inputs, rates)}\n\n{tables(models, replicas, inputs)}"


def with_tables(page: str, text: str) -> str:
    """The page with what is between its markers replaced; a ValueError where they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} lacks the lines {BEGIN} and {END}: the tables go between them")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def loopback_bytes() -> int:
    """That have gone over this machine's loopback device since it is up."""
    for line in pathlib.Path("/proc/net/dev").read_text("utf-8").splitlines():
        device, _, counters = line.partition(":")
        if device.strip() == "lo":
            return int(counters.split()[0])
    raise OSError("/proc/net/dev lists no loopback device")


def measure(recipe: str, workers: int, steps: tuple[int, int], arguments: Sequence[str] = ()) -> tuple[float, float]:
    """(bytes of a step that all workers send each other, as predicted; the same as counted)

    Trains twice on one epoch of so many steps and takes the difference, so that what happens once cancels out.

    Args:
      recipe: its name; `train_split` is one that can be sliced, and `steps` batches long at least.
      workers: processes on this machine, which send over its loopback device.
      steps: of the shorter run, and of the longer one.
      arguments: more flags for the recipe.

    Raises:
      RuntimeError: a training failed, or had not the steps that it should have.
    """
    plan = importlib.import_module(f"{cli.package('recipes')}.{recipe}").RECIPE
    counted = []
    with tempfile.TemporaryDirectory() as folder:
        for number in steps:
            run = pathlib.Path(folder) / str(number)
            command = [sys.executable, "-m", f"{__package__}.launch", f"--workers={workers}", "--", recipe, *arguments]
            command += [f"--train_split={plan.train_split}[:{number * plan.batch_size}]", "--epochs=1"]
            command += [f"--batch_size={plan.batch_size}", "--warmup_epochs=0", f"--model_dir={run}"]
            before = loopback_bytes()
            done = subprocess.run(command, capture_output=True, text=True)
            counted.append(loopback_bytes() - before)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
            with open(run / "metrics.csv", encoding="utf-8", newline="") as file:
                ran = int(float(list(csv.DictReader(file))[-1]["step"]))
            if ran != number:
                raise RuntimeError(f"{recipe} ran {ran} steps, not {number}: is its training split so long?")
        with console.quiet_start():
            from kerascnn import load_model

            model = load_model(run / "model.keras")
    parameters = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    work = reduced(parameters, norm_channels(model))
    predicted = workers * sent(work.gradients + work.others, workers)
    return predicted, (counted[1] - counted[0]) / (steps[1] - steps[0])


def numbers(text: str, flag: str, kind=int) -> list:
    """Positive numbers with commas between; ends the process for what is none."""
    try:
        found = [kind(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < number < math.inf for number in found):
        console.fail(f"--{flag}={text!r}: give positive numbers with commas between.")
    return found


def chosen_rates(models: Sequence[str], text: str | None) -> dict[str, tuple[float, str]]:
    """The images a second of each model and their source; ends the process where they are missing or too many."""
    facts = registry.facts()
    for name in models:
        if name not in facts:
            console.fail(f"no model {name!r}: {registry.close_names(name, facts)}")
        if text is None and name not in RATES:
            console.fail(f"nothing is known of how quick {name} is: give --images_per_second.")
    if text is None:
        return {name: RATES[name] for name in models}
    given = numbers(text, "images_per_second", float)
    if len(given) not in (1, len(models)):
        console.fail(f"--images_per_second={text}: give one number, or one for each of {', '.join(models)}.")
    rates = given * len(models) if len(given) == 1 else given
    return {name: (rate, "the command line") for name, rate in zip(models, rates, strict=True)}


def check(values: flags.FlagValues, inputs: dict[str, Any], replicas: Sequence[int]) -> None:
    """Ends the process for flags that are out of range or do not go together."""
    for flag, value in inputs.items():
        if not 0 < value < math.inf or (flag == "backward" and value > 1):
            console.fail(f"--{flag}={value} is out of range.")
    for number in replicas:
        if number % min(number, int(inputs["replicas_per_machine"])):
            console.fail(f"--replicas={number} does not fill machines of {inputs['replicas_per_machine']}.")
    of_page = ("model", "replicas", "images_per_second", "synchronized", *inputs)
    if (values.write or values.check) and not all(values[flag].using_default_value for flag in of_page):
        console.fail("the page is written from the defaults: leave out the other flags.")


def print_measured(recipe: str, workers: int, steps: Sequence[int], arguments: Sequence[str]) -> None:
    if recipe not in cli.names("recipes"):
        console.fail(f"no recipe {recipe!r}: {registry.close_names(recipe, cli.names('recipes'))}")
    if len(steps) != 2 or steps[0] >= steps[1]:
        console.fail("--steps: give two numbers, the smaller first.")
    try:
        predicted, counted = measure(recipe, workers, (steps[0], steps[1]), arguments)
    except (OSError, RuntimeError) as error:
        console.fail(error, 1)
    print("| recipe | workers | bytes a step, predicted | counted | counted / predicted |")
    print("|---|--:|--:|--:|--:|")
    print(f"| `{recipe}` | {workers} | {predicted:,.0f} | {counted:,.0f} | {counted / predicted:.3f} |")


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("model", ",".join(RATES), "names with commas between", flag_values=values)
    flags.DEFINE_string("replicas", "8,64,512", "how many train together", flag_values=values)
    flags.DEFINE_string(
        "images_per_second", None, "of one replica, for all models or each; none for the stored", flag_values=values
    )
    flags.DEFINE_boolean("synchronized", True, "batch norm over the global batch, as it is here", flag_values=values)
    for flag, default, text, _ in INPUTS:
        define: Any = flags.DEFINE_integer if isinstance(default, int) else flags.DEFINE_float
        define(flag, default, text, flag_values=values)
    flags.DEFINE_boolean("write", False, "write docs/scaling.md", flag_values=values)
    flags.DEFINE_boolean("check", False, "exit with 1 where docs/scaling.md is not current", flag_values=values)
    flags.DEFINE_string("measure", None, "a recipe to train on this machine", flag_values=values)
    flags.DEFINE_integer("workers", 2, "for --measure: processes", lower_bound=2, flag_values=values)
    flags.DEFINE_string("steps", "10,40", "for --measure: of a short and a longer training", flag_values=values)
    rest = console.parse_flags(values, __doc__)
    if values.measure:
        print_measured(values.measure, values.workers, numbers(values.steps, "steps"), rest)
        return
    if rest:
        console.fail(f"{rest[0]!r} is not a flag: flags are written --NAME=VALUE.")
    inputs = {flag: values[flag].value for flag, *_ in INPUTS}
    replicas = numbers(values.replicas, "replicas")
    check(values, inputs, replicas)
    rates = chosen_rates(values.model.split(","), values.images_per_second)
    with console.quiet_start():
        text = prediction(rates, replicas, inputs, values.synchronized)
    if not (values.write or values.check):
        print(text)
        return
    page = PAGE.read_text("utf-8")
    fresh = with_tables(page, text)
    if values.check:
        sys.exit(f"{PAGE} is not current: run python -m tools.scaling --write" if fresh != page else 0)
    PAGE.write_text(fresh, "utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
