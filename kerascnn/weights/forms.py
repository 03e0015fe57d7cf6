"""What a model must change to be the one that another library published weights for.

The models have torchvision's form, timm's where torchvision has none. A row holds for the names that match a pattern.
"""

import fnmatch
from typing import Any

# keras.applications' ResNets stride where the paper does, and have biases ahead of their norms.
KERAS_NORM = {"bn_epsilon": 1.001e-5, "bn_momentum": 0.99}
RESNET = {"stride_in_1x1": True, "conv_bias": True, **KERAS_NORM}
# Its pre-activation ResNets stride at the end of a stage, and pad the stem's pool with zeros.
RESNET_V2 = {"stride_last": True, "outer_bias": True, "pool_zeros": True, **KERAS_NORM}
# Its mobile nets are TensorFlow's.
MOBILE = {"padding": "same", "bn_epsilon": 1e-3, "bn_momentum": 0.999}

# Its Inceptions' norms have no scale.
INCEPTION = {"bn_scale": False, "pool_zeros": False, "bn_momentum": 0.99}

# fmt: off
FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "torchvision": {
        "efficientnet_b[567]": {"bn_epsilon": 1e-3},
    },
    "timm": {
        "mobilenet_v3*":       {"bn_epsilon": 1e-5},
        "mobilenet_v3*_minimal": {"bn_epsilon": 1e-3, "padding": "same"},  # there are TensorFlow's weights alone
        "efficientnet_v2_[smlx]*": {"bn_epsilon": 1e-5},
    },
    "keras": {
        "resnet50":            RESNET,
        "resnet101":           RESNET,
        "resnet152":           RESNET,
        "resnetv2_50":         RESNET_V2,
        "resnetv2_101":        RESNET_V2,
        "resnetv2_152":        RESNET_V2,
        "inception_v3":        INCEPTION,
        "inception_resnet_v2": INCEPTION,
        "densenet*[0-9]":      KERAS_NORM,
        "xception":            {"padding": "same", "bn_epsilon": 1e-3, "bn_momentum": 0.99},
        "nasnet_*":            {"pool_zeros": True, "bn_momentum": 0.9997},
        "mobilenet_v1*":       MOBILE | {"bn_momentum": 0.99},
        "mobilenet_v2*":       MOBILE,
        "mobilenet_v3*":       MOBILE,
        "efficientnet_b*":     MOBILE | {"bn_momentum": 0.99},
        "efficientnet_v2_*":   MOBILE | {"bn_momentum": 0.9},
    },
}
# fmt: on


def form(library: str, name: str) -> dict[str, Any]:
    """Returns the overrides that give the model `name` the form of "torchvision", "timm" or "keras" (applications).

    An empty dictionary where the form is ours. An unknown library is a ValueError.
    """
    if library not in FORMS:
        raise ValueError(f"no library {library!r}: choose {' or '.join(FORMS)}")
    fields: dict[str, Any] = {}
    for pattern, row in FORMS[library].items():
        if fnmatch.fnmatchcase(name, pattern):
            fields |= row
    return fields
