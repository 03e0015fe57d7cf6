"""Writes the facts of every model that the tests hold the code to: tests/golden/models.json.

    python -m tools.golden

Read the difference before it is committed: a number that moves is a model that changed. The logits are those of weights
that are drawn from their names, on images that are always the same, so that no file of weights is needed.
"""

import json
import pathlib
import zlib

import numpy as np

import kerascnn

PATH = pathlib.Path(__file__).parent.parent / "tests/golden/models.json"


def images(shape, count=2):
    """Returns the same float32 images each time."""
    return np.random.default_rng(0).standard_normal((count, *shape)).astype("float32")


def fill(model):
    """Gives every weight values that depend on its name and shape alone, whatever the backend. Returns the model."""
    for layer in model.layers:
        for weight in layer.weights:
            rng = np.random.default_rng(zlib.crc32(f"{layer.name}/{weight.name}".encode()))
            if weight.name == "kernel":  # He's scale, so that the signal neither dies nor blows up
                value = rng.standard_normal(weight.shape) * np.sqrt(2 / np.prod(weight.shape[:-1]))
            elif weight.name in ("gamma", "moving_variance"):
                value = rng.uniform(0.5, 1.5, weight.shape)
            else:
                value = 0.1 * rng.standard_normal(weight.shape)
            weight.assign(value.astype("float32"))
    return model


def facts(name):
    """Returns what is held for a model: counts, stages, and the logits of two images."""
    info = kerascnn.model_info(name)
    model = fill(kerascnn.create_model(name))
    logits = np.asarray(model(images(info.input_shape)))
    return {
        "params": info.params,
        "trainable_params": info.trainable_params,
        "macs": info.macs,
        "stages": dict(info.stages),
        "logits": [[float(f"{value:.6g}") for value in row[:16]] for row in logits],
        "std": float(f"{logits.std():.6g}"),
    }


def main():
    rows = [f"{json.dumps(name)}: {json.dumps(facts(name))}" for name in kerascnn.list_models()]
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    print(f"wrote {len(rows)} models to {PATH}")


if __name__ == "__main__":
    main()
