"""Writes what torchvision and timm compute in float64, for the tests that hold our models to them.

    python -m tools.torch_golden            in an environment with torch, torchvision and timm
    python -m tools.torch_golden forms      timm's other architectures that kerascnn/weights/catalog.json has
    python -m tools.torch_golden counts     the parameters of all their models that we have, and names of those that we
                                            lack: torch_counts.csv and torch_zoo.csv

Their checkpoints are made up: every tensor is drawn from its name and shape, so that none has to be downloaded and ours
can be filled alike. float64, because made-up weights drive some deep nets into chaos: seresnet50's logits in float32
differ from those in float64 by half a percent in PyTorch itself. Models that we do not have are left out, and those of
more than 210 million parameters.
"""

import collections
import csv
import functools
import gzip
import json
import pathlib
import sys
import zlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent.parent / "tests/golden"
PATH = FOLDER / "torch_float64.json.gz"
COUNTS = FOLDER / "torch_counts.csv"
ZOO = FOLDER / "torch_zoo.csv"
FORMS = FOLDER / "torch_forms.json.gz"
CATALOG = FOLDER.parent.parent / "kerascnn/weights/catalog.json"
FACTS = FOLDER.parent.parent / "kerascnn/models/facts.json"  # read as a file: Keras need not be installed here
SIZE = 96
LARGEST = 210_000_000  # parameters: in float64 more of them do not fit into the memory of a small machine


def synthetic_tensor(name, shape):
    """Returns the tensor of a PyTorch state dict that stands under `name`: float32, drawn from the name alone.

    Kernels have He's scale, norms' scales and variances lie between 0.5 and 1.5, and the rest is small.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) <= 1):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 and not name.endswith("running_mean") else 0.1
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def synthetic_images(size, channels=3):
    """Returns two float32 images, (2, size, size, channels): coarse blocks of colour and a little noise."""
    rng = np.random.default_rng(0)
    blocks = rng.standard_normal((2, 8, 8, channels))
    at = np.arange(size) * 8 // size
    return (blocks[:, at][:, :, at] + 0.25 * rng.standard_normal((2, size, size, channels))).astype(np.float32)


def our_name(name):
    """Returns our name of a model of torchvision or timm, whether we have it or not."""
    # timm's own senet154 is Gluon's, whose stem pools in another way.
    return {"senet154": "gluon_senet154"}.get(name) or _our_names().get(name, name)


@functools.cache
def _our_names():
    return {alias: ours for ours, fact in json.loads(FACTS.read_text()).items() for alias in fact["aliases"]}


def libraries():
    """Imports torchvision and timm; a PyTorch without its operators, as the CPU's wheel is, has them declared first."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d"):
            library.define(f"{name}(Tensor x) -> Tensor")
            library.define(f"_{name}_backward(Tensor x) -> Tensor")
        library.define("qroi_align(Tensor x) -> Tensor")
        import torchvision
    import timm

    torchvision_names = torchvision.models.list_models(module=torchvision.models)
    return {
        "torchvision": (torchvision_names, lambda name: torchvision.models.get_model(name), torchvision.__version__),
        "timm": (timm.list_models(), lambda name: timm.create_model(name), timm.__version__),
    }


def facts(model):
    """Returns the names and shapes of a PyTorch model's tensors, and its logits for made-up ones."""
    import torch

    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, tensor in model.state_dict().items():  # in place: torchvision's MNASNets load no state without a version
        tensor.copy_(torch.from_numpy(np.asarray(synthetic_tensor(name, shapes[name]))))
    images = torch.from_numpy(synthetic_images(SIZE).transpose(0, 3, 1, 2).copy()).double()
    with torch.no_grad():
        logits = model.double().eval()(images).numpy()
    rows = [[float(f"{value:.12g}") for value in row[:16]] for row in logits]
    return {"tensors": shapes, "logits": rows, "std": float(f"{logits.std():.6g}")}


def counts(model):
    """Returns a PyTorch model's trainable parameters, and all, with the running averages of batch norm.

    Without those of classifiers that only training has.
    """
    kept = {name: value for name, value in model.state_dict().items() if not name.lower().startswith("aux")}
    averages = sum(value.numel() for name, value in kept.items() if name.endswith(("running_mean", "running_var")))
    trainable = sum(value.numel() for name, value in model.named_parameters() if name in kept)
    return trainable, trainable + averages


def write_counts(ours, known):
    """Writes the counts of the models that we have, and how many models each module has."""
    import torch

    rows, modules = [], collections.Counter()
    for library, (names, create, version) in known.items():
        for name in names:
            modules[library, version.partition("+")[0], module_of(library, name)] += 1
            if our_name(name) in ours:
                try:
                    with torch.device("meta"):
                        model = create(name)
                except NotImplementedError:  # torchvision's RegNets compute their widths with tensors
                    model = create(name)
                rows.append((name, library, *counts(model)))
    write_table(COUNTS, ("name", "source", "trainable_params", "params_with_bn_buffers"), rows)
    write_table(ZOO, ("source", "version", "module", "models"), [(*key, number) for key, number in modules.items()])


def module_of(library, name):
    """Returns the module in which torchvision or timm defines a model, by its last name."""
    import timm
    import torchvision

    build = timm.model_entrypoint(name) if library == "timm" else torchvision.models.get_model_builder(name)
    return build.__module__.rpartition(".")[2]


def write_table(path, columns, rows):
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    print(f"wrote {len(rows)} rows to {path}")


def main():
    if sys.argv[1:] not in ([], ["forms"], ["counts"]):
        sys.exit(f"{' '.join(sys.argv[1:])!r} is none of forms and counts; without a word it writes {PATH.name}")
    ours = {name: fact["params"] for name, fact in json.loads(FACTS.read_text()).items()}
    known = libraries()
    if sys.argv[1:] == ["forms"]:
        wanted = catalogued(ours) - {full.partition("/")[2] for full in read(PATH)["models"]}
        write(FORMS, known, [("timm", name) for name in known["timm"][0] if name in wanted])
    elif sys.argv[1:] == ["counts"]:
        write_counts(ours, known)
    else:
        names = ((library, name) for library, (names, *_) in known.items() for name in names)
        write(PATH, known, [row for row in names if ours.get(our_name(row[1]), LARGEST + 1) <= LARGEST])


def catalogued(ours):
    """Returns timm's architectures in the catalogue of weights whose models are not too large."""
    rows = json.loads(CATALOG.read_text())["checkpoints"].items()
    sources = (source for name, row in rows for source in row if ours[name] <= LARGEST)
    return {source[5:].partition(".")[0] for source in sources if source.startswith("timm:")}


def read(path):
    return json.loads(gzip.decompress(path.read_bytes()))


def write(path, known, rows):
    """Writes the facts of each (library, name) into a file."""
    found = {}
    for library, name in rows:
        print(f"{library}/{name}", flush=True)
        found[f"{library}/{name}"] = facts(known[library][1](name))
    versions = {library: version for library, (*_, version) in known.items()}
    text = json.dumps({"versions": versions, "size": SIZE, "models": found})
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"wrote {len(found)} models to {path}")


if __name__ == "__main__":
    main()
