"""Random changes to one image: uint8 in, uint8 out, every draw from a stateless seed.

An augmentation is named as it is called, several of them in their order:
`"affine(degrees=10, translate=0.1), horizontal_flip()"`.
"""

import ast
import difflib
import inspect
import math
from collections.abc import Callable

import tensorflow as tf


def affine(image, seed, *, degrees: float = 0, translate: float = 0, scale: float = 0, shear: float = 0):
    """Rotates, moves, zooms and shears about the centre, in one bilinear resampling; black comes in at the edges.

    Args:
      image: uint8 [height, width, channels].
      seed: int [2].
      degrees: the angle is drawn from [-degrees, degrees].
      translate: the shift along each axis, in shares of the side, from [-translate, translate].
      scale: the zoom factor, from [1 - scale, 1 + scale].
      shear: the angle by which vertical lines lean, in degrees, from [-shear, shear].
    """
    draws = tf.unstack(tf.random.stateless_uniform([5], seed, -1, 1))
    angle, lean = draws[0] * math.radians(degrees), tf.tan(draws[4] * math.radians(shear))
    zoom = 1 / (1 + draws[3] * scale)
    height, width, _ = image.shape
    # The transform maps output pixels to input pixels, as the resampling wants it.
    cos, sin = tf.cos(angle) * zoom, tf.sin(angle) * zoom
    row_x = (cos, cos * lean + sin)
    row_y = (-sin, cos - sin * lean)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    out_x, out_y = centre_x + draws[1] * translate * width, centre_y + draws[2] * translate * height
    offset_x = centre_x - row_x[0] * out_x - row_x[1] * out_y
    offset_y = centre_y - row_y[0] * out_x - row_y[1] * out_y
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        # As floats: on integers the operation cuts fractions off, which darkens.
        images=tf.cast(image, tf.float32)[tf.newaxis],
        transforms=tf.stack([*row_x, offset_x, *row_y, offset_y, 0.0, 0.0])[tf.newaxis],
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
    )
    return tf.cast(tf.round(moved[0]), tf.uint8)


def horizontal_flip(image, seed):
    """Mirrors left and right, with probability one half. Not for text, nor for anything that has a left and a right."""
    return tf.cond(tf.random.stateless_uniform([], seed) < 0.5, lambda: image[:, ::-1], lambda: image)


def pad_crop(image, seed, *, pixels: int = 4):
    """Pads with black on every side, then cuts out the old size anywhere (arXiv:1512.03385, 4.2, for CIFAR)."""
    top, left = tf.unstack(tf.random.stateless_uniform([2], seed, 0, 2 * pixels + 1, tf.int32))
    padded = tf.pad(image, [[pixels, pixels], [pixels, pixels], [0, 0]])
    return tf.ensure_shape(padded[top : top + image.shape[0], left : left + image.shape[1]], image.shape)


AUGMENTATIONS = {function.__name__: function for function in (affine, horizontal_flip, pad_crop)}


def parse(text: str | None) -> Callable:
    """The function (image, seed) -> image that `text` names; None or an empty text changes nothing.

    Raises:
      ValueError: not of the form `name(key=number), ...`, a name or a key that does not exist, a number that cannot be.
    """
    steps = [_step(node, text) for node in _calls(text or "")]

    def apply(image, seed):
        for place, (function, arguments) in enumerate(steps):
            image = function(image, tf.random.fold_in(seed, place), **arguments)
        return image

    return apply


def _calls(text):
    try:
        calls = ast.parse(f"[{text}]", mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"augment={text!r} is not of the form 'name(key=number), name()': {error.msg}.") from error
    if not isinstance(calls, ast.List):  # "a()] + [b()", say
        raise ValueError(f"augment={text!r} is not of the form 'name(key=number), name()'.")
    return calls.elts


def _step(node, text):
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args):
        raise ValueError(f"augment={text!r}: {ast.unparse(node)!r} is not of the form 'name(key=number)'.")
    name = node.func.id
    if name not in AUGMENTATIONS:
        raise ValueError(f"no augmentation {name!r}: {_closest(name, AUGMENTATIONS)}")
    parameters = inspect.signature(AUGMENTATIONS[name]).parameters.values()
    known = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    arguments = {}
    for keyword in node.keywords:
        if keyword.arg not in known:
            raise ValueError(f"{name} has no parameter {keyword.arg!r}: {_closest(str(keyword.arg), known)}")
        if keyword.arg in arguments:
            raise ValueError(f"{name} is given {keyword.arg} twice.")
        arguments[keyword.arg] = _number(keyword.value, known[keyword.arg], f"{name}({ast.unparse(keyword)})")
    return AUGMENTATIONS[name], arguments


def _number(node, kind, text):
    try:
        value = ast.literal_eval(node)
    except (TypeError, ValueError):
        value = None
    if isinstance(value, bool) or not isinstance(value, int | kind) or not 0 <= value < math.inf:
        raise ValueError(f"{text}: a {'whole ' if kind is int else ''}number from 0 on is wanted.")
    return value


def _closest(word, names):
    if not names:
        return "it takes none."
    close = difflib.get_close_matches(word, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}."
