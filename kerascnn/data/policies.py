"""Published policies over the operations of one image, and presets: what suits which images, each with its reason.

A policy draws kinds of operations and a magnitude for each, and computes those alone.

RandAugment     https://arxiv.org/abs/1909.13719
TrivialAugment  https://arxiv.org/abs/2103.10158  its wide ranges
AutoAugment     https://arxiv.org/abs/1805.09501  the tables of its appendix, for the three data sets
AugMix          https://arxiv.org/abs/1912.02781
3-Augment       https://arxiv.org/abs/2204.07118  DeiT III
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from scipy import special

from kerascnn.data import geometry, operations, pixels
from kerascnn.data.geometry import Interpolation
from kerascnn.data.operations import Operation, between, check, normal, whole

# Every kind, with how its strength is said. Those that say it with a sign are turned around for half of the images.
# fmt: off
KINDS = {
    "identity":     "identity",
    "autocontrast": "autocontrast",
    "equalize":     "equalize",
    "invert":       "invert",
    "posterize":    "posterize {:.0f} bits",
    "solarize":     "solarize {:.0f}",
    "color":        "color {:+.2f}",
    "contrast":     "contrast {:+.2f}",
    "brightness":   "brightness {:+.2f}",
    "sharpness":    "sharpness {:+.2f}",
    "rotate":       "rotate {:+.1f} deg",
    "shear_x":      "shear x {:+.2f}",
    "shear_y":      "shear y {:+.2f}",
    "translate_x":  "translate x {:+.3f}",
    "translate_y":  "translate y {:+.3f}",
}

# From the least magnitude to the largest. Enhancements are by a factor of 1 plus or minus so much; a shear is a slope,
# with the top left corner in its place; a translation is in shares of the side, or in pixels where it is above 1.
PLAIN = {"identity": (0, 0), "autocontrast": (0, 0), "equalize": (0, 0)}
RANDAUGMENT = PLAIN | {
    "posterize": (8, 4), "solarize": (256, 0), "color": (0, 0.9), "contrast": (0, 0.9), "brightness": (0, 0.9),
    "sharpness": (0, 0.9), "rotate": (0, 30), "shear_x": (0, 0.3), "shear_y": (0, 0.3),
    "translate_x": (0, 150 / 331), "translate_y": (0, 150 / 331),
}
AUTOAUGMENT = RANDAUGMENT | {"invert": (0, 0)}
TRIVIALAUGMENT = PLAIN | {
    "posterize": (8, 2), "solarize": (256, 0), "color": (0, 0.99), "contrast": (0, 0.99), "brightness": (0, 0.99),
    "sharpness": (0, 0.99), "rotate": (0, 135), "shear_x": (0, 0.99), "shear_y": (0, 0.99),
    "translate_x": (0, 32), "translate_y": (0, 32),
}
AUGMIX = {
    "autocontrast": (0, 0), "equalize": (0, 0), "posterize": (4.5, 0.5), "solarize": (256, 0), "rotate": (0, 30),
    "shear_x": (0, 0.3), "shear_y": (0, 0.3), "translate_x": (0, 1 / 3), "translate_y": (0, 1 / 3),
}

# Twenty-five pairs each, of which an image gets one: the kind, its probability, its magnitude from 0 to 9.
SUB_POLICIES = {
    "imagenet": (
        "posterize    0.4 8   rotate       0.6 9",
        "solarize     0.6 5   autocontrast 0.6 -",
        "equalize     0.8 -   equalize     0.6 -",
        "posterize    0.6 7   posterize    0.6 6",
        "equalize     0.4 -   solarize     0.2 4",
        "equalize     0.4 -   rotate       0.8 8",
        "solarize     0.6 3   equalize     0.6 -",
        "posterize    0.8 5   equalize     1.0 -",
        "rotate       0.2 3   solarize     0.6 8",
        "equalize     0.6 -   posterize    0.4 6",
        "rotate       0.8 8   color        0.4 0",
        "rotate       0.4 9   equalize     0.6 -",
        "equalize     0.0 -   equalize     0.8 -",
        "invert       0.6 -   equalize     1.0 -",
        "color        0.6 4   contrast     1.0 8",
        "rotate       0.8 8   color        1.0 2",
        "color        0.8 8   solarize     0.8 7",
        "sharpness    0.4 7   invert       0.6 -",
        "shear_x      0.6 5   equalize     1.0 -",
        "color        0.4 0   equalize     0.6 -",
        "equalize     0.4 -   solarize     0.2 4",
        "solarize     0.6 5   autocontrast 0.6 -",
        "invert       0.6 -   equalize     1.0 -",
        "color        0.6 4   contrast     1.0 8",
        "equalize     0.8 -   equalize     0.6 -",
    ),
    "cifar10": (
        "invert       0.1 -   contrast     0.2 6",
        "rotate       0.7 2   translate_x  0.3 9",
        "sharpness    0.8 1   sharpness    0.9 3",
        "shear_y      0.5 8   translate_y  0.7 9",
        "autocontrast 0.5 -   equalize     0.9 -",
        "shear_y      0.2 7   posterize    0.3 7",
        "color        0.4 3   brightness   0.6 7",
        "sharpness    0.3 9   brightness   0.7 9",
        "equalize     0.6 -   equalize     0.5 -",
        "contrast     0.6 7   sharpness    0.6 5",
        "color        0.7 7   translate_x  0.5 8",
        "equalize     0.3 -   autocontrast 0.4 -",
        "translate_y  0.4 3   sharpness    0.2 6",
        "brightness   0.9 6   color        0.2 8",
        "solarize     0.5 2   invert       0.0 -",
        "equalize     0.2 -   autocontrast 0.6 -",
        "equalize     0.2 -   equalize     0.6 -",
        "color        0.9 9   equalize     0.6 -",
        "autocontrast 0.8 -   solarize     0.2 8",
        "brightness   0.1 3   color        0.7 0",
        "solarize     0.4 5   autocontrast 0.9 -",
        "translate_y  0.9 9   translate_y  0.7 9",
        "autocontrast 0.9 -   solarize     0.8 3",
        "equalize     0.8 -   invert       0.1 -",
        "translate_y  0.7 9   autocontrast 0.9 -",
    ),
    "svhn": (
        "shear_x      0.9 4   invert       0.2 -",
        "shear_y      0.9 8   invert       0.7 -",
        "equalize     0.6 -   solarize     0.6 6",
        "invert       0.9 -   equalize     0.6 -",
        "equalize     0.6 -   rotate       0.9 3",
        "shear_x      0.9 4   autocontrast 0.8 -",
        "shear_y      0.9 8   invert       0.4 -",
        "shear_y      0.9 5   solarize     0.2 6",
        "invert       0.9 -   autocontrast 0.8 -",
        "equalize     0.6 -   rotate       0.9 3",
        "shear_x      0.9 4   solarize     0.3 3",
        "shear_y      0.8 8   invert       0.7 -",
        "equalize     0.9 -   translate_y  0.6 6",
        "invert       0.9 -   equalize     0.6 -",
        "contrast     0.3 3   rotate       0.8 4",
        "invert       0.8 -   translate_y  0.0 2",
        "shear_y      0.7 6   solarize     0.4 8",
        "invert       0.6 -   rotate       0.8 4",
        "shear_y      0.3 7   translate_x  0.9 3",
        "shear_x      0.1 6   invert       0.6 -",
        "solarize     0.7 2   translate_y  0.6 7",
        "shear_y      0.8 4   invert       0.8 -",
        "shear_x      0.7 9   translate_y  0.8 3",
        "shear_y      0.8 5   autocontrast 0.7 -",
        "shear_x      0.7 2   invert       0.1 -",
    ),
}

# What the images show: the policy, and why.
PRESETS = {
    "natural": (
        "horizontal_flip, color_jitter(brightness=0.4, contrast=0.4, saturation=0.4)",
        "photographs: a mirror image is as likely and light varies, but nothing stands on its head",
    ),
    "small_natural": (
        "pad_crop(pixels=4), horizontal_flip",
        "thumbnails such as CIFAR's: few pixels bear no more than a shift and a mirror",
    ),
    "text": (
        "affine(degrees=5, translate=0.05, scale=0.1, shear=10), brightness(strength=0.3), contrast(strength=0.3)",
        "letters and digits: slanted and written in any light, but mirrored they are others or none",
    ),
    "handed": (
        "affine(degrees=10, translate=0.05, scale=0.1), color_jitter(brightness=0.3, contrast=0.3, saturation=0.3)",
        "what has a left and a right, such as traffic signs, hands and X-rays: no flips",
    ),
    "overhead": (
        "horizontal_flip, quarter_turn, color_jitter(brightness=0.3, contrast=0.3, saturation=0.3)",
        "satellites and drones: seen from above there is no up, while haze and season change the light",
    ),
    "microscopy": (
        "horizontal_flip, quarter_turn, color_jitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.04)",
        "a slide has no up and no left, its magnification is fixed, and stains differ a little in hue",
    ),
}
# fmt: on

_NUMBER = {kind: i for i, kind in enumerate(KINDS)}
_SIGNED = [int("+" in words) for words in KINDS.values()]
_TRANSFORMS = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def randaugment(
    *, n: int = 2, m: float = 9, std: float = 0.0, fill: int = 128, interpolation: Interpolation = "nearest"
) -> Operation:
    """`n` of the paper's fourteen operations, one after the other, each drawn evenly, with magnitude `m` from 0 to 10.

    Ranges are RANDAUGMENT's, as torchvision has them, where the largest magnitude is 30: `m=9` is 27 there. A magnitude
    above 0 always changes more than a smaller one; in the paper's code 5 leaves colours as they are.

    Args:
      n: how many.
      m: from 0 to 10.
      std: of the normal noise on each magnitude, which stays within 0 and 10 (timm's `mstd`); the paper has none.
      fill: the level of what comes in at the edges.
      interpolation: `nearest`, as in the paper's code, or `bilinear`.
    """
    check("randaugment", "n", n, 1, 100)
    check("randaugment", "m", m, 0, 10)
    check("randaugment", "std", std, 0, 10)
    numbers = np.array([_NUMBER[kind] for kind in RANDAUGMENT], np.int32)

    def draw(u):
        kinds = tf.gather(numbers, whole(u[:n], 0, len(numbers) - 1))
        noise = normal(u[2 * n :]) * std if std else tf.zeros(n, tf.float64)
        return kinds, _strengths(RANDAUGMENT, kinds, tf.clip_by_value(m + noise, 0, 10) / 10, u[n : 2 * n])

    return _policy("randaugment", (3 if std else 2) * n, draw, fill, interpolation)


def trivialaugment(*, fill: int = 128, interpolation: Interpolation = "nearest") -> Operation:
    """One operation of fourteen, with one magnitude of thirty-one, both drawn evenly."""
    numbers = np.array([_NUMBER[kind] for kind in TRIVIALAUGMENT], np.int32)

    def draw(u):
        kinds = tf.gather(numbers, whole(u[:1], 0, len(numbers) - 1))
        return kinds, _strengths(TRIVIALAUGMENT, kinds, tf.cast(whole(u[1:2], 0, 30), tf.float64) / 30, u[2:3])

    return _policy("trivialaugment", 3, draw, fill, interpolation)


def autoaugment(
    *,
    policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet",
    fill: int = 128,
    interpolation: Interpolation = "nearest",
) -> Operation:
    """One pair of operations of the twenty-five that were found on a data set, each with its probability."""
    words = [row.split() for row in SUB_POLICIES[policy]]
    kinds = np.array([[_NUMBER[row[0]], _NUMBER[row[3]]] for row in words], np.int32)
    shares = np.array([[row[1], row[4]] for row in words], np.float32)
    levels = np.array([[0 if level == "-" else int(level) for level in (row[2], row[5])] for row in words], np.float64)

    def draw(u):
        row = whole(u[0], 0, len(words) - 1)
        drawn = tf.where(u[1:3] < tf.gather(shares, row), tf.gather(kinds, row), _NUMBER["identity"])
        return drawn, _strengths(AUTOAUGMENT, drawn, tf.gather(levels, row) / 9, u[3:5])

    return _policy("autoaugment", 5, draw, fill, interpolation)


def augmix(*, severity: float = 3, width: int = 3, depth: int = -1, alpha: float = 1.0, fill: int = 0) -> Operation:
    """Several chains of operations, mixed with one another and with the image they began with.

    Magnitudes are drawn from [0.1, severity], where the authors' code cuts angles and thresholds down to whole numbers;
    resampling is bilinear. The consistency loss of the paper is not part of this.

    Args:
      severity: from 0.1 to 10.
      width: the number of chains; their weights are drawn from a Dirichlet distribution.
      depth: the operations in each chain; -1 draws one to three.
      alpha: of that distribution, and of the Beta distribution of all chains' share.
      fill: the level of what comes in at the edges.
    """
    check("augmix", "severity", severity, 0.1, 10)
    check("augmix", "width", width, 1, 10)
    check("augmix", "depth", depth, -1, 10)
    check("augmix", "alpha", alpha, 0.01, 100)
    if depth == 0:
        raise ValueError("augmix(depth=0): -1, or a number from 1 to 10 is wanted.")
    longest = 3 if depth < 0 else depth
    numbers = np.array([_NUMBER[kind] for kind in AUGMIX], np.int32)
    # Gamma variates by their quantiles; both distributions are made of them.
    quantiles = np.maximum(special.gammaincinv(alpha, (np.arange(4096) + 0.5) / 4096), 1e-300)
    steps = width * longest

    def draw(u):
        parts = tf.split(u, [steps, steps, steps, width, width, 2])
        kinds = tf.reshape(tf.gather(numbers, whole(parts[0], 0, len(numbers) - 1)), [width, longest])
        fractions = tf.reshape(between(parts[1], 0.1, severity) / 10, [width, longest])
        if depth < 0:
            lengths = whole(parts[3], 1, longest)[:, tf.newaxis]
            kinds = tf.where(tf.range(longest) < lengths, kinds, _NUMBER["identity"])
        weights, shares = (tf.gather(quantiles, whole(part, 0, len(quantiles) - 1)) for part in parts[4:])
        shares /= tf.reduce_sum(shares)
        weights *= shares[1] / tf.reduce_sum(weights)
        strengths = _strengths(PLAIN | AUGMIX, kinds, fractions, tf.reshape(parts[2], [width, longest]))
        return kinds, strengths, tf.concat([shares[:1], weights], 0)

    def apply(image, kinds, strengths, weights):
        weights = tf.cast(weights, tf.float32)

        def add(k, total):
            chain = _applied(image, kinds[k], strengths[k], fill, "bilinear")
            return k + 1, total + weights[k + 1] * tf.cast(chain, tf.float32)

        total = tf.while_loop(lambda k, _: k < width, add, (0, weights[0] * tf.cast(image, tf.float32)))[1]
        return tf.cast(tf.clip_by_value(tf.round(total), 0, 255), tf.uint8)

    def say(kinds, strengths, weights):
        chains = zip(weights[1:], kinds, strengths, strict=True)
        return [f"{weights[0]:.2f} original"] + [
            f"{weight:.2f} {', '.join(_said(*chain)) or 'original'}" for weight, *chain in chains
        ]

    return Operation(
        name="augmix",
        draws=3 * steps + 2 * width + 2,
        draw=draw,
        apply=apply,
        say=say,
        fill=fill,
        batch=False,
    )


def threeaugment(*, jitter: float = 0.3) -> list[Operation]:
    """Grey, solarize or a Gaussian blur, one of the three; then colour jitter, and a flip for half of the images.

    Args:
      jitter: the strength of brightness, contrast and saturation.
    """

    def apply(image, choice, sigma):
        branches = [pixels.greyed, lambda x: pixels.solarized(x, 128), lambda x: pixels.blurred(x, sigma, 2.0)]
        return tf.switch_case(choice, [lambda branch=branch: branch(image) for branch in branches])

    one = Operation(
        name="threeaugment",
        draws=2,
        draw=lambda u: (whole(u[0], 0, 2), between(u[1], 0.1, 2.0)),
        apply=apply,
        say=lambda choice, sigma: ("grayscale", "solarize 128", f"blur {sigma:.2f} px")[choice],
        batch=False,
    )
    jitters = operations.color_jitter(brightness=jitter, contrast=jitter, saturation=jitter)
    return [one, jitters, operations.horizontal_flip()]


def _policy(name, draws, draw, fill, interpolation):
    return Operation(
        name=name,
        draws=draws,
        draw=draw,
        apply=lambda image, kinds, strengths: _applied(image, kinds, strengths, fill, interpolation),
        say=_said,
        fill=fill,
        interpolation=interpolation,
        batch=False,
    )


def _strengths(ranges, kinds, fractions, signs):
    """float64: the strength of each kind at a fraction of its range, for half of the numbers `signs` turned around."""
    starts, ends = (np.array([ranges.get(kind, (0, 0))[end] for kind in KINDS], np.float64) for end in (0, 1))
    start, end = tf.gather(starts, kinds), tf.gather(ends, kinds)
    strengths = start + (end - start) * fractions
    strengths = tf.where(kinds == _NUMBER["posterize"], tf.maximum(tf.floor(strengths + 0.5), 1), strengths)
    return tf.where((tf.gather(_SIGNED, kinds) == 1) & (signs < 0.5), -strengths, strengths)


def _said(kinds: Sequence[int], strengths: Sequence[float]) -> list[str]:
    words = list(KINDS.values())
    return [words[kind].format(strength) for kind, strength in zip(kinds, strengths, strict=True) if kind]


def _applied(image, kinds, strengths, fill, interpolation):
    """The operations of these kinds [n], one after the other. A loop and not a chain: XLA compiles each branch once."""

    height, width, _ = image.shape
    places = geometry.origins(_transforms(height, width, kinds, strengths), height, width, interpolation)

    def step(k, image):
        strength = strengths[k]
        branches: dict[str, Any] = {
            "identity": lambda: image,
            "autocontrast": lambda: pixels.autocontrasted(image),
            "equalize": lambda: pixels.equalized(image),
            "invert": lambda: pixels.inverted(image),
            "posterize": lambda: pixels.posterized(image, strength),
            "solarize": lambda: pixels.solarized(image, strength),
            "color": lambda: pixels.coloured(image, 1 + strength),
            "contrast": lambda: pixels.contrasted(image, 1 + strength),
            "brightness": lambda: pixels.brightened(image, 1 + strength),
            "sharpness": lambda: pixels.sharpened(image, 1 + strength),
            "transform": lambda: geometry.sampled(
                image, [x[k] for x in places], fill=fill, interpolation=interpolation
            ),
        }
        # The kinds after these are all transforms.
        return k + 1, tf.switch_case(tf.minimum(kinds[k], len(branches) - 1), list(branches.values()))

    return tf.while_loop(lambda k, _: k < kinds.shape[0], step, (0, image))[1]


def _transforms(height, width, kinds, strengths):
    turn, shear_x, shear_y, move_x, move_y = (tf.where(kinds == _NUMBER[name], strengths, 0) for name in _TRANSFORMS)
    angle = turn * (math.pi / 180)
    cos, sin = tf.cos(angle), tf.sin(angle)
    move_x, move_y = (tf.where(abs(move) > 1, move, move * side) for move, side in ((move_x, width), (move_y, height)))
    return cos, shear_x - sin, shear_x * height / 2 - move_x, shear_y + sin, cos, shear_y * width / 2 - move_y


def _preset(text):
    return lambda: text


POLICIES = {
    function.__name__: function for function in (randaugment, trivialaugment, autoaugment, augmix, threeaugment)
} | {name: _preset(text) for name, (text, _) in PRESETS.items()}
