"""Writes the facts of every model that the tests hold the code to: tests/golden/models.json.

    python -m tools.golden ['PATTERN' ...]     without one, of all models; with them, of those and of new ones

Read the difference before it is committed: a number that moves is a model that changed. The logits are those of weights
that are drawn from their names, on images that are always the same, so that no file of weights is needed.
"""

import fnmatch
import json
import pathlib
import sys
import zlib

import keras
import numpy as np
import tqdm

import kerascnn
from kerascnn import registry

PATH = pathlib.Path(__file__).parent.parent / "tests/golden/models.json"


def images(shape, count=2):
    """Returns the same float32 images each time."""
    return np.random.default_rng(0).standard_normal((count, *shape)).astype("float32")


def fill(model):
    """Gives every weight values that depend on its name and shape alone, whatever the backend. Returns the model.

    The signal neither dies nor blows up. What ends a residual branch is quartered, or deep sums would grow until
    rounding decides: a norm without an activation behind it, or a convolution without a norm in a net that has norms.
    Branches that no shortcut passes are halved, so that what they add up to stays alive.
    """
    names = {layer.name for layer in model.layers}
    normed = any("norm" in name for name in names)
    for layer in model.layers:
        ends = layer.name.replace("norm", "act") not in names or (
            normed and "_se_" not in layer.name and layer.name.replace("conv", "norm") not in names
        )
        for weight in layer.weights:
            rng = np.random.default_rng(zlib.crc32(f"{layer.name}/{weight.name}".encode()))
            if weight.name == "kernel":  # He's scale
                own = 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else -1  # a channel sees itself alone
                value = rng.standard_normal(weight.shape) * np.sqrt(2 / np.prod(weight.shape[:own]))
            elif weight.name in ("gamma", "gain", "moving_variance"):
                value = rng.uniform(0.5, 1.5, weight.shape)
            else:
                value = 0.1 * rng.standard_normal(weight.shape)
            if ends and weight.name in ("kernel", "gamma") and layer.name != "logits":
                value /= 2 if "_branch" in layer.name else 4
            weight.assign(value.astype("float32"))
    return model


def small(name):
    """Returns the size of image at which a model's logits are held: its own, but not above 96 pixels, to be quick."""
    height, width, channels = registry.lookup(name).spec.input_shape
    return (min(height, 96), min(width, 96), channels)


def quick():
    """Returns the names of the models that tests run by default: of each family the one that computes least."""
    facts, families = registry.facts(), {}
    for name in sorted(facts, key=lambda name: -facts[name]["macs"]):
        families[facts[name]["family"]] = name
    return list(families.values())


def held(name):
    """Returns what is held for a model: the first logits of two small images, and the deviation of all."""
    model = fill(kerascnn.create_model(name, input_shape=small(name)))
    logits = np.asarray(model(images(small(name))))
    rows = [[float(f"{value:.6g}") for value in row[:16]] for row in logits]
    return {"logits": rows, "std": float(f"{logits.std():.6g}")}


def settled(old, new):
    """Returns the old numbers where the new ones are the same but for rounding, as another machine's are."""
    same = old is not None and np.abs(np.subtract(old["logits"], new["logits"])).max() <= 3e-5 * old["std"]
    return old if same else new


def main():
    patterns = sys.argv[1:] or ["*"]
    known = json.loads(PATH.read_text()) if PATH.exists() else {}
    rows = []
    for name in tqdm.tqdm(kerascnn.list_models()):
        if name not in known or any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            known[name] = settled(known.get(name), held(name))
            keras.backend.clear_session()
        rows.append(f"{json.dumps(name)}: {json.dumps(known[name])}")
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    print(f"wrote {len(rows)} models to {PATH}")


if __name__ == "__main__":
    main()
