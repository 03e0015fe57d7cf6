"""Random operations on one image, by name: what each draws, and what it makes of an image with that.

Each function makes an operation of its name with ranges of its own; its docstring says what is drawn, which is evenly
unless it says otherwise. `p` is the share of images that are changed at all. What images of one, two and four channels
become stands in `kerascnn.data.pixels`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kerascnn.data import geometry, pixels
from kerascnn.data.geometry import Interpolation

MAX_TURN = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """One random change. Either `apply` or `transform` says what it does, a mirror has both.

    Attributes:
      name: as in a recipe.
      draws: how many uniform numbers it needs.
      draw: (those [..., draws]) -> a tuple of what is drawn, each [...] or [..., n].
      apply: (uint8 images [..., h, w, c], *drawn) -> images.
      transform: (height, width, *drawn) -> a transform of `kerascnn.data.geometry`.
      say: (*drawn, as NumPy values) -> a few words, or a list of them where it does several things.
      p: the probability that it is applied.
      fill: the level that a transform puts where there is no image; None where that cannot be.
      interpolation: of the transform.
      batch: whether whole batches can be done at once, with the same pixels.
      compiled: whether XLA can compile it.
    """

    name: str
    draws: int = 0
    draw: Callable[..., tuple] = lambda u: ()
    apply: Callable[..., Any] | None = None
    transform: Callable[..., tuple] | None = None
    say: Callable[..., str | Sequence[str]]
    p: float = 1.0
    fill: int | None = None
    interpolation: Interpolation = "nearest"
    batch: bool = True
    compiled: bool = True

    def __post_init__(self) -> None:
        check(self.name, "p", self.p, 0, 1)
        if self.fill is not None:
            check(self.name, "fill", self.fill, 0, 255)


def check(name: str, key: str, value: float, low: float, high: float) -> None:
    """Raises ValueError unless the parameter `key` of the operation is from `low` to `high`."""
    if not low <= value <= high:
        raise ValueError(f"{name}({key}={value}): a number from {low:g} to {high:g} is wanted.")


def between(u, low: float, high: float):
    """float64 from `low` to `high`, in steps of 1/65536 so that whoever computes with it gets the same bits."""
    low_steps, steps = round(low * pixels.ONE), round(high * pixels.ONE) - round(low * pixels.ONE)
    return (low_steps + tf.floor(tf.cast(u, tf.float64) * steps + 0.5)) / pixels.ONE


def whole(u, low: int, high: int):
    """int32 from `low` to `high`, both included, each as likely."""
    return low + tf.cast(tf.floor(tf.cast(u, tf.float64) * (high - low + 1)), tf.int32)


def normal(u):
    """float64 of the standard normal distribution, from uniform numbers."""
    return tf.math.erfinv(2 * (tf.cast(u, tf.float64) + 2**-25) - 1) * math.sqrt(2)


# ---------------------------------------------------------------- where pixels go


def horizontal_flip(*, p: float = 0.5) -> Operation:
    """Left and right change places. Not for text, nor for anything that has a left and a right."""
    mirror = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return Operation(
        name="horizontal_flip",
        apply=lambda images: tf.reverse(images, [-2]),
        transform=lambda height, width: mirror,
        say=lambda: "flip left-right",
        p=p,
    )


def vertical_flip(*, p: float = 0.5) -> Operation:
    """Top and bottom change places."""
    mirror = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    return Operation(
        name="vertical_flip",
        apply=lambda images: tf.reverse(images, [-3]),
        transform=lambda height, width: mirror,
        say=lambda: "flip top-bottom",
        p=p,
    )


def quarter_turn() -> Operation:
    """No, one, two or three quarter turns. Images must be square."""

    def transform(height, width, quarters):
        if height != width:
            raise ValueError(f"quarter_turn: images must be square, not {height}x{width}; rotate() takes any.")
        cos, sin = (tf.cast(tf.gather(table, quarters), tf.float64) for table in ((1, 0, -1, 0), (0, 1, 0, -1)))
        return cos, -sin, 0.0, sin, cos, 0.0

    return Operation(
        name="quarter_turn",
        draws=1,
        draw=lambda u: (whole(u[..., 0], 0, 3),),
        transform=transform,
        say=lambda quarters: f"turn {90 * quarters} deg" if quarters else [],
    )


def pad_crop(*, pixels: int = 4) -> Operation:
    """Black is put around, then the old size is cut out anywhere (https://arxiv.org/abs/1512.03385, 4.2, for CIFAR)."""
    check("pad_crop", "pixels", pixels, 0, 4096)
    return Operation(
        name="pad_crop",
        draws=2,
        draw=lambda u: (whole(u[..., 0], -pixels, pixels), whole(u[..., 1], -pixels, pixels)),
        transform=lambda height, width, x, y: geometry.move(x, y),
        say=lambda x, y: f"move {x:+d} {y:+d} px",
        fill=0,
    )


def rotate(
    *, degrees: float = 15, p: float = 1.0, fill: int = 0, interpolation: Interpolation = "bilinear"
) -> Operation:
    """Turns about the centre, counter-clockwise by an angle from [-degrees, degrees]."""
    check("rotate", "degrees", degrees, 0, 180)
    return Operation(
        name="rotate",
        draws=1,
        draw=lambda u: (between(u[..., 0], -degrees, degrees),),
        transform=lambda height, width, angle: geometry.turn(angle),
        say=lambda angle: f"rotate {angle:+.1f} deg",
        p=p,
        fill=fill,
        interpolation=interpolation,
    )


def shear(
    *, x: float = 10, y: float = 0, p: float = 1.0, fill: int = 0, interpolation: Interpolation = "bilinear"
) -> Operation:
    """Vertical lines lean by an angle from [-x, x] degrees, horizontal ones by one from [-y, y]; the centre stays."""
    check("shear", "x", x, 0, 80)
    check("shear", "y", y, 0, 80)
    return Operation(
        name="shear",
        draws=2,
        draw=lambda u: (between(u[..., 0], -x, x), between(u[..., 1], -y, y)),
        transform=lambda height, width, lean_x, lean_y: geometry.lean(lean_x, lean_y),
        say=lambda lean_x, lean_y: f"shear {lean_x:+.1f} {lean_y:+.1f} deg",
        p=p,
        fill=fill,
        interpolation=interpolation,
    )


def translate(
    *, x: float = 0.1, y: float = 0.1, p: float = 1.0, fill: int = 0, interpolation: Interpolation = "bilinear"
) -> Operation:
    """Moves sideways by a share of the width from [-x, x], and down by a share of the height from [-y, y]."""
    check("translate", "x", x, 0, 1)
    check("translate", "y", y, 0, 1)
    return Operation(
        name="translate",
        draws=2,
        draw=lambda u: (between(u[..., 0], -x, x), between(u[..., 1], -y, y)),
        transform=lambda height, width, x, y: geometry.move(x * width, y * height),
        say=lambda x, y: f"translate {100 * x:+.1f} {100 * y:+.1f} %",
        p=p,
        fill=fill,
        interpolation=interpolation,
    )


def zoom(*, scale: float = 0.1, p: float = 1.0, fill: int = 0, interpolation: Interpolation = "bilinear") -> Operation:
    """Closer or further away, about the centre, by a factor from [1 - scale, 1 + scale]."""
    check("zoom", "scale", scale, 0, 0.99)
    return Operation(
        name="zoom",
        draws=1,
        draw=lambda u: (between(u[..., 0], 1 - scale, 1 + scale),),
        transform=lambda height, width, factor: geometry.zoom(factor),
        say=lambda factor: f"zoom {factor:.2f}",
        p=p,
        fill=fill,
        interpolation=interpolation,
    )


def affine(
    *,
    degrees: float = 0,
    translate: float = 0,
    scale: float = 0,
    shear: float = 0,
    p: float = 1.0,
    fill: int = 0,
    interpolation: Interpolation = "bilinear",
) -> Operation:
    """Zooms, turns, leans and moves, in one resampling.

    Args:
      degrees: the angle is drawn from [-degrees, degrees].
      translate: the shift along each axis, in shares of the side, from [-translate, translate].
      scale: the zoom factor, from [1 - scale, 1 + scale]; below 1.
      shear: the angle by which vertical lines lean, in degrees, from [-shear, shear].
      p: the share of images that are changed.
      fill: the level of what comes in at the edges.
      interpolation: `nearest` or `bilinear`.
    """
    for key, value, high in (("degrees", degrees, 180), ("translate", translate, 1), ("shear", shear, 80)):
        check("affine", key, value, 0, high)
    check("affine", "scale", scale, 0, 0.99)
    ranges = (
        (-degrees, degrees),
        (-translate, translate),
        (-translate, translate),
        (1 - scale, 1 + scale),
        (-shear, shear),
    )
    return Operation(
        name="affine",
        draws=5,
        draw=lambda u: tuple(between(u[..., i], low, high) for i, (low, high) in enumerate(ranges)),
        transform=lambda height, width, angle, x, y, factor, leaning: geometry.compose(
            geometry.zoom(factor), geometry.turn(angle), geometry.lean(leaning), geometry.move(x * width, y * height)
        ),
        say=lambda angle, x, y, factor, leaning: (
            f"affine {angle:+.0f} deg, {100 * x:+.0f} {100 * y:+.0f} %, zoom {factor:.2f}, shear {leaning:+.0f} deg"
        ),
        p=p,
        fill=fill,
        interpolation=interpolation,
    )


# ---------------------------------------------------------------- light and colour


def brightness(*, strength: float = 0.4, p: float = 1.0) -> Operation:
    """Values times a factor from [1 - strength, 1 + strength], which is never below 0."""
    return _enhancement("brightness", pixels.brightened, strength, p)


def contrast(*, strength: float = 0.4, p: float = 1.0) -> Operation:
    """Distances from the mean grey times a factor from [1 - strength, 1 + strength]."""
    return _enhancement("contrast", pixels.contrasted, strength, p)


def color(*, strength: float = 0.4, p: float = 1.0) -> Operation:
    """Saturation, as Pillow's Color: distances from grey times a factor from [1 - strength, 1 + strength]."""
    return _enhancement("color", pixels.coloured, strength, p)


def sharpness(*, strength: float = 0.4, p: float = 1.0) -> Operation:
    """Distances from the smoothed image times a factor from [1 - strength, 1 + strength]."""
    return _enhancement("sharpness", pixels.sharpened, strength, p)


def _enhancement(name, change, strength, p):
    check(name, "strength", strength, 0, 10)
    return Operation(
        name=name,
        draws=1,
        draw=lambda u: (between(u[..., 0], max(0, 1 - strength), 1 + strength),),
        apply=change,
        say=lambda factor: f"{name} {factor:.2f}",
        p=p,
    )


def hue(*, shift: float = 0.1, p: float = 1.0) -> Operation:
    """Hues turned by a share of the circle from [-shift, shift]."""
    check("hue", "shift", shift, 0, MAX_TURN)
    return Operation(
        name="hue",
        draws=1,
        draw=lambda u: (between(u[..., 0], -shift, shift),),
        apply=pixels.hue_turned,
        say=lambda turns: f"hue {360 * turns:+.0f} deg",
        p=p,
        batch=False,
    )


def color_jitter(
    *, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0, p: float = 1.0
) -> Operation:
    """Brightness, contrast, saturation and hue, each drawn as by the operation of its name, in an order that is drawn.

    As in torchvision: three factors from [1 - strength, 1 + strength], and a share of the circle from [-hue, hue].
    What is 0 is left out.
    """
    rows = [
        ("brightness", pixels.brightened, brightness, max(0, 1 - brightness), 1 + brightness),
        ("contrast", pixels.contrasted, contrast, max(0, 1 - contrast), 1 + contrast),
        ("saturation", pixels.coloured, saturation, max(0, 1 - saturation), 1 + saturation),
        ("hue", pixels.hue_turned, hue, -hue, hue),
    ]
    for name, _, strength, *_ in rows:
        check("color_jitter", name, strength, 0, MAX_TURN if name == "hue" else 10)
    rows = [row for row in rows if row[2]]
    count = len(rows)

    def draw(u):
        strengths = [between(u[..., i], low, high) for i, (*_, low, high) in enumerate(rows)]
        return tf.stack(strengths, -1), tf.argsort(u[..., count:], stable=True)

    def apply(image, strengths, order):
        def step(k, image):
            branches = [
                lambda i=i, change=change: change(image, strengths[i]) for i, (_, change, *_) in enumerate(rows)
            ]
            return k + 1, tf.switch_case(order[k], branches)

        # A loop and not a chain: XLA compiles each branch once.
        return tf.while_loop(lambda k, _: k < count, step, (0, image))[1]

    return Operation(
        name="color_jitter",
        draws=2 * count,
        draw=draw if rows else lambda u: (),
        apply=apply if rows else tf.identity,
        say=lambda strengths=(), order=(): [f"{rows[i][0]} {strengths[i]:.2f}" for i in order],
        p=p,
        batch=False,
    )


def grayscale(*, p: float = 0.1) -> Operation:
    """All three colours as their grey."""
    return Operation(name="grayscale", apply=pixels.greyed, say=lambda: "grayscale", p=p)


def pca(*, deviation: float = 0.1, p: float = 1.0) -> Operation:
    """AlexNet's colour shift: along ImageNet's principal components, by normal amounts of this deviation."""
    check("pca", "deviation", deviation, 0, 10)
    return Operation(
        name="pca",
        draws=3,
        draw=lambda u: (normal(u) * deviation,),
        apply=pixels.pca_shifted,
        say=lambda amounts: f"pca {amounts[0]:+.2f} {amounts[1]:+.2f} {amounts[2]:+.2f}",
        p=p,
    )


# ---------------------------------------------------------------- values


def posterize(*, low: int = 4, high: int = 8, p: float = 1.0) -> Operation:
    """Only the highest bits of each value stay: `low` to `high` of them."""
    check("posterize", "high", high, 1, 8)
    check("posterize", "low", low, 1, high)
    return Operation(
        name="posterize",
        draws=1,
        draw=lambda u: (whole(u[..., 0], low, high),),
        apply=pixels.posterized,
        say=lambda bits: f"posterize {bits} bits",
        p=p,
    )


def solarize(*, low: int = 128, high: int = 256, p: float = 1.0) -> Operation:
    """The negative of values from a threshold on, which is from `low` to `high`."""
    check("solarize", "high", high, 0, 256)
    check("solarize", "low", low, 0, high)
    return Operation(
        name="solarize",
        draws=1,
        draw=lambda u: (whole(u[..., 0], low, high),),
        apply=pixels.solarized,
        say=lambda threshold: f"solarize {threshold}",
        p=p,
    )


def invert(*, p: float = 0.5) -> Operation:
    """The negative."""
    return Operation(name="invert", apply=pixels.inverted, say=lambda: "invert", p=p)


def equalize(*, p: float = 0.5) -> Operation:
    """Each channel's histogram made flat."""
    return Operation(name="equalize", apply=pixels.equalized, say=lambda: "equalize", p=p)


def autocontrast(*, p: float = 0.5) -> Operation:
    """Each channel stretched over all levels."""
    return Operation(name="autocontrast", apply=pixels.autocontrasted, say=lambda: "autocontrast", p=p)


# ---------------------------------------------------------------- blur, noise, holes


def gaussian_blur(*, low: float = 0.1, high: float = 2.0, p: float = 0.5) -> Operation:
    """A true Gaussian, not Pillow's boxes, of `low` to `high` pixels' deviation."""
    check("gaussian_blur", "high", high, 0.01, 50)
    check("gaussian_blur", "low", low, 0.01, high)
    return Operation(
        name="gaussian_blur",
        draws=1,
        draw=lambda u: (between(u[..., 0], low, high),),
        apply=lambda image, sigma: pixels.blurred(image, sigma, high),
        say=lambda sigma: f"blur {sigma:.2f} px",
        p=p,
        batch=False,
    )


def gaussian_noise(*, deviation: float = 10.0, p: float = 0.5) -> Operation:
    """Normal noise on each value; its own deviation is drawn from [0, deviation], in levels of 255."""
    check("gaussian_noise", "deviation", deviation, 0, 255)
    return Operation(
        name="gaussian_noise",
        draws=3,
        draw=lambda u: (between(u[..., 0], 0, deviation), u[..., 1:]),
        apply=pixels.noisy,
        say=lambda deviation, _: f"noise {deviation:.1f}",
        p=p,
        batch=False,  # in floating point
    )


def cutout(*, side: int = 16, p: float = 1.0, fill: int = 0) -> Operation:
    """A square hole of `side` pixels around any pixel, cut off at the edges (https://arxiv.org/abs/1708.04552)."""
    check("cutout", "side", side, 0, 65536)
    check("cutout", "fill", fill, 0, 255)

    def apply(images, x, y):
        height, width = images.shape[-3:-1]
        top, left = (tf.cast(tf.floor(z * n), tf.int32) - side // 2 for z, n in ((y, height), (x, width)))
        return pixels.erased(images, top, left, side, side, fill)

    return Operation(
        name="cutout",
        draws=2,
        draw=lambda u: tuple(tf.unstack(tf.cast(u, tf.float64), axis=-1)),
        apply=apply,
        say=lambda x, y: f"cutout at {100 * x:.0f} {100 * y:.0f} %",
        p=p,
    )


def random_erasing(
    *,
    low: float = 0.02,
    high: float = 0.33,
    ratio: float = 0.3,
    p: float = 0.5,
    fill: int | None = None,
) -> Operation:
    """A box of noise, or of one level, anywhere (https://arxiv.org/abs/1708.04896).

    Its share of the area is drawn from [low, high]; its height by its width from [ratio, 1 / ratio], evenly in
    logarithms. A box that is longer than the image is cut to the image; the paper draws until one fits.

    Args:
      low: the least share of the area.
      high: the largest.
      ratio: the least height by width.
      p: the share of images that are changed.
      fill: a level; None for noise, every value drawn evenly.
    """
    check("random_erasing", "high", high, 0, 1)
    check("random_erasing", "low", low, 0, high)
    check("random_erasing", "ratio", ratio, 0.01, 1)
    if fill is not None:
        check("random_erasing", "fill", fill, 0, 255)

    def draw(u):
        places = tf.cast(u[..., 2:4], tf.float64)
        share, slope = between(u[..., 0], low, high), tf.exp(between(u[..., 1], math.log(ratio), -math.log(ratio)))
        return share, slope, places[..., 0], places[..., 1], u[..., 4:]

    def apply(images, share, slope, x, y, numbers):
        height, width = images.shape[-3:-1]
        area = share * (height * width)
        rows = tf.minimum(tf.floor(tf.sqrt(area * slope) + 0.5), height)
        columns = tf.minimum(tf.floor(tf.sqrt(area / slope) + 0.5), width)
        top, left = tf.floor(y * (height - rows + 1)), tf.floor(x * (width - columns + 1))
        what = pixels.static(images, numbers) if fill is None else fill
        return pixels.erased(images, top, left, rows, columns, what)

    return Operation(
        name="random_erasing",
        draws=6,
        draw=draw,
        apply=apply,
        say=lambda share, slope, x, y, _: f"erase {100 * share:.0f} %, {slope:.1f}:1",
        p=p,
    )


OPERATIONS = {
    function.__name__: function
    for function in (
        *(horizontal_flip, vertical_flip, quarter_turn, pad_crop, rotate, shear, translate, zoom, affine),
        *(brightness, contrast, color, sharpness, hue, color_jitter, grayscale, pca),
        *(posterize, solarize, invert, equalize, autocontrast),
        *(gaussian_blur, gaussian_noise, cutout, random_erasing),
    )
}
