"""Measures speed: both sides in one run, in turn, and their ratio. Machines are noisy, so only the ratio holds.

python -m tools.bench build    how long our models take to build, against keras.applications'
python -m tools.bench loop     our training loop against Keras's fit: same model, data and batch
python -m tools.bench infer    images a second and memory, forward only, against keras.applications and timm
python -m tools.bench train    the same of a whole training step
python -m tools.bench data     images a second of the input pipeline, against torchvision, keras-cv and Keras's layers
python -m tools.bench export   exported models against model.export, LiteRT, ONNX Runtime and OpenVINO
python -m tools.bench weights  time and memory of loading weights, and from import to a first prediction, against timm

python -m tools.bench NAME --help shows the flags of one.
"""

import sys

from kerascnn import console
from kerascnn.registry import close_names

from . import build, data, export, loop, throughput, weights

BENCHMARKS = {
    "build": build.main,
    "loop": loop.main,
    "infer": throughput.main,
    "train": throughput.main,
    "data": data.main,
    "export": export.main,
    "weights": weights.main,
}


def main() -> None:
    name = (sys.argv[1:2] or ["--help"])[0]
    if name in ("--help", "-h"):
        print(__doc__.strip())
        return
    if name not in BENCHMARKS:
        console.fail(f"no benchmark {name!r}: {close_names(name, BENCHMARKS)}")
    BENCHMARKS[name](sys.argv[1:])


if __name__ == "__main__":
    main()
