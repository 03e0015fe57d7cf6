"""Models of keras.applications filled with made-up weights, and ours in the form that carries them; for the tests."""

import zlib

import keras
import numpy as np

import kerascnn
from kerascnn import weights
from kerascnn.weights import keras_names

# What the class is told, and what ours is told beyond its form.
BARE = {"include_top": False}, {"num_classes": 0, "pooling": None}
MINIMAL = {"minimalistic": True}, {"minimal": True, "activation": "relu"}


def wide(alpha):
    return {"alpha": alpha}, {"width": alpha}


def fill(model):
    """Gives a model of keras.applications weights that depend on their names and shapes alone; batch norm too."""
    for (layer, kind), value in keras_names.tensors_of(model).items():
        rng, layer = np.random.default_rng(zlib.crc32(f"{layer}/{kind}".encode())), model.get_layer(layer)
        if isinstance(layer, keras.layers.Normalization):
            continue  # preprocessing, which ours has not
        if kind.endswith("kernel"):  # He's scale, so that the signal neither dies nor blows up
            own = isinstance(layer, keras.layers.DepthwiseConv2D) or kind == "depthwise_kernel"
            inputs = value.shape[:2] if own else value.shape[:-1]
            filled = rng.standard_normal(value.shape) * np.sqrt(2 / np.prod(inputs))
        elif kind in ("gamma", "moving_variance"):
            # Smaller steps behind the many gates of MobileNetV3Large, which multiply roundings up to 1e-4 otherwise.
            tamed = 0.5 if (model.name, kind) == ("MobileNetV3Large", "gamma") and "project" in layer.name else 1
            filled = tamed * rng.uniform(0.5, 1.5, value.shape)
        else:
            filled = 0.1 * rng.standard_normal(value.shape)
        next(weight for weight in layer.weights if weight.name == kind).assign(filled.astype("float32"))
    return model


def published(name, size, **fields):
    """A model of keras.applications that gives logits, filled."""
    if name.startswith(("MobileNetV3", "ConvNeXt")):
        fields["include_preprocessing"] = False
    build = getattr(keras.applications, name)
    return fill(build(weights=None, classifier_activation=None, input_shape=(size, size, 3), **fields))


def create(name, size, **fields):
    """Our model in the form that carries its weights."""
    ours = keras_names.OURS[name]
    return kerascnn.create_model(ours, **{"input_shape": (size, size, 3)} | weights.form("keras", ours) | fields)
