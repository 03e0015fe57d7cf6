"""What the papers mean by Xavier and Kaiming, by name.

fan_in is what one output sums over: for a convolution, kernel height x kernel width x input channels of its group, so
for a depthwise one kernel height x kernel width.
Normal means normal: Keras's own `he_normal` and its siblings cut the tails off at two standard deviations.
"""

import difflib

from keras.initializers import Initializer, RandomNormal, VarianceScaling, Zeros

# fmt: off
TABLE = {
    "he_normal":         lambda: VarianceScaling(2.0, "fan_in",  "untruncated_normal"),  # arXiv:1502.01852: Kaiming
    "he_normal_fan_out": lambda: VarianceScaling(2.0, "fan_out", "untruncated_normal"),  # keeps the gradients' scale
    "glorot_uniform":    lambda: VarianceScaling(1.0, "fan_avg", "uniform"),             # Glorot, Bengio 2010: Xavier
    "glorot_normal":     lambda: VarianceScaling(1.0, "fan_avg", "untruncated_normal"),
    "lecun_normal":      lambda: VarianceScaling(1.0, "fan_in",  "untruncated_normal"),  # LeCun 1998; for SELU
    "small_normal":      lambda: RandomNormal(stddev=0.01),  # AlexNet's; in deep nets activations die out
    "large_normal":      lambda: RandomNormal(stddev=0.05),  # in wide nets activations blow up or saturate
    "transformer_normal": lambda: RandomNormal(stddev=0.02),  # ViT's, and of nets that take after it, as ConvNeXt
    "zeros":             lambda: Zeros(),                    # all neurons stay alike: to show why not
}
# fmt: on


def get(name: str, depthwise: int = 0) -> Initializer:
    """Returns a new initialiser; an unknown name is a ValueError that offers the close ones.

    New each time, because a seeded Keras initialiser gives every layer that shares it the same values. For a depthwise
    kernel `depthwise` is its number of input channels, all of which Keras would count into fan_in.
    """
    if name not in TABLE:
        close = difflib.get_close_matches(str(name), TABLE) or TABLE
        raise ValueError(f"no initializer {name!r}: did you mean {', '.join(close)}?")
    initializer = TABLE[name]()
    if depthwise and isinstance(initializer, VarianceScaling):
        # Keras has fan_in channels times too large, and fan_out right.
        initializer.scale *= {"fan_in": depthwise, "fan_out": 1, "fan_avg": (depthwise + 1) / 2}[initializer.mode]
    return initializer
