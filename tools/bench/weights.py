"""What weights cost: loading a file against building the model, and the time from import to a first prediction.

python -m tools.bench weights --model=resnet152 --torch_python=/that/environment/bin/python

The file is made up: random numbers under the names and in the shapes of timm. Building and loading take turns in one
process; memory is what the process holds more after loading than after building, at its peak and at its end, in files'
sizes. The first prediction, of one image of random pixels, is asked of a new process each time, ours and timm's in
turn, from the import to the logits.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

from absl import flags

from kerascnn import console

from .build import seconds

# A new process each: what it is told, and its code, which prints the seconds.
OURS = """
import time; started = time.perf_counter()
import sys, kerascnn, numpy
model = kerascnn.create_model(sys.argv[1], weights=sys.argv[2])
numpy.asarray(model(numpy.ones((1, *model.input_shape[1:]), "float32")))
print(time.perf_counter() - started)
"""
TIMM = """
import sys; from tools.bench.worker import declare_torchvision_operators as declare; import time
started = time.perf_counter()
import torch; declare(torch); import timm
model = timm.create_model(sys.argv[1], checkpoint_path=sys.argv[2]).eval()
with torch.no_grad(): model(torch.ones(1, *model.default_cfg["input_size"])).numpy()
print(time.perf_counter() - started)
"""
# Loads, or only builds, and tells how much memory it held at its peak and at its end.
MEMORY = """
import sys, json, resource, kerascnn
kerascnn.create_model("lenet5")
model = kerascnn.create_model(sys.argv[1], weights=sys.argv[2] if len(sys.argv) > 2 else None)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
private = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")][0] * 1024
print(json.dumps([peak, private]))
"""


def main(argv: list[str]) -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("model", "resnet152", "our name of a model that timm has, too", flag_values=values)
    flags.DEFINE_integer("rounds", 5, "rounds of each side", lower_bound=1, flag_values=values)
    flags.DEFINE_string(
        "torch_python", None, "the Python that has PyTorch and timm; none leaves timm out", flag_values=values
    )
    if rest := console.parse_flags(values, __doc__, argv):
        console.fail(f"not a flag: {rest[0]!r}")
    with console.quiet_start():
        import keras

        from kerascnn import create_model, registry
        from kerascnn.weights import saving
    try:
        registry.lookup(values.model)
    except ValueError as error:
        console.fail(error)

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        model = create_model(values.model)
        saving.save_timm(model, path)
        architecture = saving.architecture(model)
        size = os.path.getsize(path)
        del model
        built, loaded = [], []
        for _ in range(values.rounds):
            built.append(seconds(lambda: create_model(values.model)))
            loaded.append(seconds(lambda: create_model(values.model, weights=path)))
        ratios = [a / b for a, b in zip(loaded, built, strict=True)]
        print(f"{values.model}: a file of {size / 2**20:.0f} MiB; medians of {values.rounds} rounds, and all ratios")
        show("seconds to build and load / to build", loaded, built, ratios)
        keras.backend.clear_session()
        told = [json.loads(run(sys.executable, MEMORY, values.model, *more)) for more in ((), (path,))]
        for what, (plain, full) in zip(("peak", "kept"), zip(*told, strict=True), strict=True):
            more = (full - plain) / size
            print(f"memory, {what}: {plain / 2**20:.0f} MiB built, {full / 2**20:.0f} MiB loaded: {more:+.2f} files")
        sides = {"ours": (sys.executable, OURS, values.model)}
        if values.torch_python:
            sides["timm"] = (values.torch_python, TIMM, architecture)
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(values.rounds):
            for side, (python, code, name) in sides.items():
                taken[side].append(float(run(python, code, name, path)))
        if "timm" in taken:
            ratios = [a / b for a, b in zip(taken["ours"], taken["timm"], strict=True)]
            show("seconds from import to prediction, ours / timm", taken["ours"], taken["timm"], ratios)
        else:
            print(f"seconds from import to prediction: {statistics.median(taken['ours']):.2f}")


def show(what, ours, theirs, ratios) -> None:
    medians = " / ".join(f"{statistics.median(x):.2f}" for x in (ours, theirs))
    print(f"{what}: {medians} = {statistics.median(ratios):.2f}   {' '.join(f'{x:.2f}' for x in ratios)}", flush=True)


def run(python, code, *arguments) -> str:
    """The last line that a new process prints; what goes wrong in it ends this one."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ
    done = subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        console.fail(f"{python}: {done.stderr.strip().splitlines()[-1]}", code=1)
    return done.stdout.strip().splitlines()[-1]
