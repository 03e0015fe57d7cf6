"""Depthwise separable convolutions: the time does not follow the multiplications.

A full convolution against a depthwise one followed by a 1x1: counted by `kerascnn.complexity`, and timed in turn on
random images, alone and with the gradients of weights and images: CPU time of one thread, 4 images, medians over 15
rounds with their quartiles.

Lecture: a 5x5x3 convolution of a 12x12x3 image into 256 channels takes 1,228,800 multiplications, as depthwise and
pointwise 53,952. MobileNet ([1704.04861](https://arxiv.org/abs/1704.04861)) is made of such layers.

Seen: the counts are the lecture's. Its own example, with 22.8 times fewer, is about 1.5 times as fast, and 2 with
gradients: so small a layer takes mostly what every call takes. MobileNet's layers all have 8 to 9 times fewer. That of
112x112 pixels and 32 channels is 4 times as fast, and each further one more: the 7x7 with 1,024 channels 10 times or
above, which is more than the count says. Likely reasons, not measured: a depthwise convolution does little with each
number that it reads, and the last full one has 38 MB of weights to read for few pixels. CPU time of an AMD EPYC with
AVX-512, noisy: between runs the ratios of MobileNet's layers moved by up to a tenth, those of the lecture's by more.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure

from .lab import COLORS, Lab, main


class Shape(NamedTuple):
    """A convolution at stride 1."""

    what: str
    side: int
    channels: int
    filters: int
    kernel: int
    padding: str


# fmt: off
SHAPES = (
    Shape("lecture",               12,    3,  256, 5, "valid"),
    Shape("MobileNet, layer 2",   112,   32,   64, 3, "same"),
    Shape("MobileNet, layer 4",    56,  128,  128, 3, "same"),
    Shape("MobileNet, layer 6",    28,  256,  256, 3, "same"),
    Shape("MobileNet, layer 8",    14,  512,  512, 3, "same"),
    Shape("MobileNet, layer 14",    7, 1024, 1024, 3, "same"),
)
# fmt: on
BATCH = 4
ROUNDS = 15


def nets(shape: Shape) -> tuple:
    """The full convolution and the separable one, without biases, as models."""
    import keras

    image = keras.Input((shape.side, shape.side, shape.channels))
    full = keras.layers.Conv2D(shape.filters, shape.kernel, padding=shape.padding, use_bias=False)(image)
    depthwise = keras.layers.DepthwiseConv2D(shape.kernel, padding=shape.padding, use_bias=False)(image)
    pointwise = keras.layers.Conv2D(shape.filters, 1, use_bias=False)(depthwise)
    return keras.Model(image, full), keras.Model(image, pointwise)


def passes(net, images) -> dict[str, Callable]:
    """What is timed, compiled."""
    import tensorflow as tf

    @tf.function
    def forward():
        return net(images)

    @tf.function
    def training():
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(net(images) ** 2)
        return tape.gradient(loss, [images, *(weight.value for weight in net.weights)])

    return {"forward": forward, "training": training}


def seconds(function: Callable) -> float:
    """Seconds of CPU in one call, which leaves out what other processes take; on a CPU it returns when it is done."""
    start = time.process_time()
    function()
    return time.process_time() - start


class Times(NamedTuple):
    """The median seconds of both sides, and the quartiles of the ratios full / separable of the rounds."""

    full: float
    separable: float
    low: float
    middle: float
    high: float


def measure(shape: Shape, rounds: int) -> dict[str, Times]:
    """Times both sides of each pass in turn."""
    import tensorflow as tf

    images = tf.random.normal((BATCH, shape.side, shape.side, shape.channels), seed=0)
    full, separable = (passes(net, images) for net in nets(shape))
    found = {}
    for name in full:
        for function in (full[name], separable[name]):
            seconds(function), seconds(function)
        pairs = [(seconds(full[name]), seconds(separable[name])) for _ in range(rounds)]
        ratios = [one / other for one, other in pairs]
        sides = (statistics.median(column) for column in zip(*pairs, strict=True))
        found[name] = Times(*sides, *statistics.quantiles(ratios, method="inclusive"))
    return found


def experiment(lab: Lab) -> None:
    """Counts and times each shape, and draws how many times as fast beside how many times fewer."""
    import tensorflow as tf

    from kerascnn import complexity

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    shapes, rounds = (SHAPES[:2], 2) if lab.smoke else (SHAPES, ROUNDS)
    rows, fewer = [], []
    faster: dict[str, list[Times]] = {"forward": [], "training": []}
    for shape in shapes:
        full, separable = map(complexity, nets(shape))
        found = measure(shape, rounds)
        fewer.append(full.macs / separable.macs)
        for name, times in found.items():
            faster[name].append(times)
        rows.append(
            {
                "layer": shape.what,
                "image": f"{shape.side}x{shape.side}x{shape.channels}",
                "filters": f"{shape.filters} of {shape.kernel}x{shape.kernel}",
                "parameters": f"{full.params:,} / {separable.params:,}",
                "multiplications": f"{full.macs:,} / {separable.macs:,}",
                "fewer": f"{fewer[-1]:.1f} times",
                "forward, ms": " / ".join(f"{1000 * side:.2f}" for side in found["forward"][:2]),
                "faster (quartiles)": said(found["forward"]),
                "with gradients, ms": " / ".join(f"{1000 * side:.2f}" for side in found["training"][:2]),
                "then faster (quartiles)": said(found["training"]),
            }
        )
    lab.save(draw(shapes, fewer, faster), rows)


def said(times: Times) -> str:
    """The ratio for the table."""
    return f"{times.middle:.1f} times ({times.low:.1f} to {times.high:.1f})"


def draw(shapes: tuple[Shape, ...], fewer: list[float], faster: dict[str, list[Times]]) -> Figure:
    """Bars for each shape: what was counted, and what the clock says."""
    figure = Figure((10, 4.6), layout="constrained")
    axes = figure.subplots()
    bars = {
        "fewer multiplications": fewer,
        "faster forward": [times.middle for times in faster["forward"]],
        "faster forward and with gradients": [times.middle for times in faster["training"]],
    }
    for i, ((label, heights), color) in enumerate(zip(bars.items(), COLORS, strict=False)):
        axes.bar([at + (i - 1) * 0.27 for at in range(len(shapes))], heights, 0.25, color=color, label=label)
        tops = heights if i == 0 else [times.high for times in list(faster.values())[i - 1]]
        for at, (height, top) in enumerate(zip(heights, tops, strict=True)):
            axes.annotate(f"{height:.1f}", (at + (i - 1) * 0.27, top + 0.3), ha="center", fontsize=9)
    for i, each in enumerate(faster.values()):
        reach = [[t.middle - t.low for t in each], [t.high - t.middle for t in each]]
        places = [at + i * 0.27 for at in range(len(shapes))]
        axes.errorbar(places, [t.middle for t in each], reach, fmt="none", ecolor="black", elinewidth=1, capsize=2)
    names = [f"{shape.what}\n{shape.side}x{shape.side}x{shape.channels}\nto {shape.filters}" for shape in shapes]
    axes.set_xticks(range(len(shapes)), names)
    axes.set_ylim(0, 1.08 * max(fewer))
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_ylabel("times")
    axes.set_xlabel("layer, its image, its filters; black bars are quartiles")
    axes.legend()
    axes.set_title(
        "Depthwise separable for full convolutions: how many times fewer multiplications, and how many times faster"
    )
    return figure


if __name__ == "__main__":
    main(experiment)
