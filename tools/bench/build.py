"""How long our models take to build, against keras.applications', in turn in one process.

python -m tools.bench build --models=resnet152,efficientnet_b7

Both with random weights, as they come: what a user waits for after create_model(NAME).
"""

import gc
import statistics
import time

from absl import flags

from kerascnn import console

from .peers import build_keras_application, keras_names


def main(argv: list[str]) -> None:
    values = flags.FlagValues()
    flags.DEFINE_list("models", "resnet152,efficientnet_b7", "our names, with commas", flag_values=values)
    flags.DEFINE_integer("rounds", 5, "rounds of each side", lower_bound=1, flag_values=values)
    if rest := console.parse_flags(values, __doc__, argv):
        console.fail(f"not a flag: {rest[0]!r}")
    with console.quiet_start():
        from kerascnn import create_model, registry
    try:
        for name in values.models:
            registry.lookup(name)
    except ValueError as error:
        console.fail(error)

    peers = keras_names()
    seconds(lambda: create_model("lenet5"))  # what is made once, at the first layer of all, is nobody's
    print(f"{'seconds to build':24} {'ours':>6} {'keras':>6} {'ratio':>6}   ratio of each round")
    for name in values.models:
        if name not in peers:
            print(f"not measured: {name}: keras.applications: it has no such model")
            continue
        ours, theirs = [], []
        for _ in range(values.rounds):
            ours.append(seconds(lambda name=name: create_model(name)))
            theirs.append(seconds(lambda name=name: build_keras_application(peers[name])))
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        medians = map(statistics.median, (ours, theirs, ratios))
        print(f"{name:24}", *(f"{x:6.2f}" for x in medians), " ", " ".join(f"{x:.2f}" for x in ratios), flush=True)


def seconds(build) -> float:
    """How long a model takes to build, with nothing left of others."""
    import keras

    keras.backend.clear_session()
    gc.collect()
    started = time.perf_counter()
    build()
    return time.perf_counter() - started
