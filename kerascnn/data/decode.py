"""From a file's bytes to uint8 pixels: the one road for training, evaluation and the exported bundle."""

import functools
from collections.abc import Callable

import tensorflow as tf

# What one image may have at most. A file is refused by the size in its header, before a pixel is decoded: a PNG of some
# kilobytes can hold gigabytes of black.
MAX_PIXELS = 2**27

# By the names in recipes, TensorFlow's name of the filter and how many pixels it reaches to either side.
FILTERS = {"bilinear": ("triangle", 1), "bicubic": ("keyscubic", 2), "lanczos": ("lanczos3", 3)}


def decode(encoded, channels: int):
    """The pixels of one JPEG, PNG, GIF (its first frame) or BMP, uint8 [height, width, channels].

    Channels are 1 for grey, 2 for grey and alpha, 3 for colour, 4 for colour and alpha. Grey is repeated to three
    channels, and colour turns to grey by Rec. 601, as channels ask; alpha is 255 where a file has none.

    TensorFlow does not look at a photograph's EXIF orientation (nor do Pillow and torchvision, unless asked), nor at
    the palette of a BMP, which is taken for shades of grey, nor at the transparent colour of a GIF; of 16 bits it keeps
    the upper 8, and what the first frame of a GIF leaves free is black.

    Args:
      encoded: a string scalar.
      channels: 1 to 4.

    Raises:
      ValueError: there are no such channels.
      tf.errors.InvalidArgumentError: (when run) the bytes are no such image or are cut short, or their header tells of
        no pixels or of more than `MAX_PIXELS`.
    """
    _check_channels(channels)
    jpeg, other = (functools.partial(function, channels=channels) for function in (_jpeg, decode_other))
    image = choose(is_jpeg(encoded), jpeg, other, encoded)
    return tf.ensure_shape(image, [None, None, channels])


def choose(condition, then: Callable, otherwise: Callable, *tensors):
    """As `tf.cond` for functions of these tensors that give one, for branches that are large and seldom taken.

    The nodes of a `tf.cond` become a part of the graph around it, and those of the branch that is not taken are passed
    over one by one: measured, the formats that a JPEG is not take a tenth of the time of its random resized crop. Here
    they stay functions, one node.

    A `functools.partial` of a function and what can be hashed is traced once in a process, though many graphs have it:
    the rarer formats take more time to trace than a small data set to read.
    """
    if tf.executing_eagerly():
        return then(*tensors) if condition else otherwise(*tensors)
    inputs = [tf.convert_to_tensor(tensor) for tensor in tensors]
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs]
    yes, no = (_traced(function).get_concrete_function(*specs) for function in (then, otherwise))
    (output,) = yes.outputs
    return tf.raw_ops.If(cond=condition, input=inputs, Tout=[output.dtype], then_branch=yes, else_branch=no)[0]


def _traced(function):
    if isinstance(function, functools.partial):
        return _traced_once(function.func, function.args, tuple(function.keywords.items()))
    return tf.function(function, autograph=False)


@functools.cache
def _traced_once(function, arguments, keywords):
    return tf.function(functools.partial(function, *arguments, **dict(keywords)), autograph=False)


def is_jpeg(encoded):
    """Whether the bytes begin as a JPEG does."""
    return tf.equal(tf.strings.substr(encoded, 0, 2), b"\xff\xd8")


def ends_as_jpeg(encoded):
    """Whether the bytes end as a JPEG mostly does, with the marker of its end."""
    return tf.equal(tf.strings.substr(encoded, tf.maximum(tf.strings.length(encoded) - 2, 0), 2), b"\xff\xd9")


def jpeg_shape(encoded):
    """int32 [3]: height, width and stored channels of a JPEG, from its header.

    Raises:
      tf.errors.InvalidArgumentError: (when run) as `decode`.
    """
    shape = tf.image.extract_jpeg_shape(encoded)
    with _checked(shape[0], shape[1]):
        return tf.identity(shape)


def decode_jpeg(encoded, shape, window=None, *, channels: int, ratio: int = 1):
    """The pixels of one JPEG or of a window of it; what lies outside the window is not computed.

    Args:
      encoded: a string scalar that `is_jpeg`.
      shape: from `jpeg_shape`.
      window: int32 (top, left, height, width), in pixels of the result; None for all.
      channels: as in `decode`.
      ratio: 1, 2, 4 or 8, to shrink by while decoding: from an inverse cosine transform of fewer frequencies comes the
        image without what it is too small to show.
    """

    def pixels(channels):
        # The accurate method takes no more time (measured), and has Pillow's pixels; the default is 1 level off.
        options = {"channels": channels, "ratio": ratio, "dct_method": "INTEGER_ACCURATE"}
        if window is None:
            return tf.image.decode_jpeg(encoded, **options)
        return tf.image.decode_and_crop_jpeg(encoded, window, **options)

    _check_channels(channels)
    if channels > 2:
        return _opaque(pixels(3)) if channels == 4 else pixels(3)
    # libjpeg makes no grey of CMYK.
    grey = tf.cond(tf.equal(shape[2], 4), lambda: _grey(pixels(3)), lambda: pixels(1))
    return _opaque(grey) if channels == 2 else grey


def decode_other(encoded, channels: int):
    """As `decode`, for everything but JPEGs."""
    _check_channels(channels)
    png, rarer = (functools.partial(function, channels=channels) for function in (_png, _rarer))
    image = choose(tf.equal(tf.strings.substr(encoded, 0, 2), b"\x89P"), png, rarer, encoded)
    return tf.ensure_shape(image, [None, None, channels])


def _jpeg(encoded, channels):
    return decode_jpeg(encoded, jpeg_shape(encoded), channels=channels)


def _rarer(encoded, channels):
    known = tf.cast(tf.equal(tf.strings.substr(encoded, 0, 2), [b"GI", b"BM"]), tf.int32)
    branches = [functools.partial(function, encoded, channels) for function in (_unknown, _gif, _bmp)]
    return tf.switch_case(tf.reduce_sum(known * [1, 2]), branches)


def _png(encoded, channels):
    header = tf.cast(tf.io.decode_raw(encoded, tf.uint8, fixed_length=26), tf.int32)
    width, height = tf.unstack(tf.io.decode_raw(encoded, tf.int32, little_endian=False, fixed_length=24)[4:])

    def decoded(channels):
        image = tf.image.decode_png(encoded, channels)
        if channels == 3:
            return image
        # Where grey has fewer than 8 bits, TensorFlow gives "opaque" in as few.
        depth, kind = header[24], header[25]
        opaque = tf.where((kind == 0) & (depth < 8), 2**depth - 1, 255)
        alpha = tf.where(
            tf.equal(image[..., 3:], tf.cast(opaque, tf.uint8)), tf.constant(255, tf.uint8), image[..., 3:]
        )
        return tf.concat([image[..., :3], alpha], -1)

    with _checked(height, width):
        return _as_channels(decoded, channels, alpha=True)


def _bmp(encoded, channels):
    width, height = tf.unstack(tf.io.decode_raw(tf.strings.substr(encoded, 2, 24), tf.int32, fixed_length=24)[4:])
    with _checked(tf.abs(height), width):  # a negative height tells that the upper lines come first
        return _as_channels(lambda channels: tf.image.decode_bmp(encoded, channels), channels, alpha=True)


def _gif(encoded, channels):
    width, height = tf.unstack(tf.cast(tf.io.decode_raw(encoded, tf.uint16, fixed_length=10)[3:], tf.int32))
    with _checked(height, width):
        first, height, width = _first_frame(encoded)
    with _checked(height, width):
        return _as_channels(lambda _: tf.io.decode_image(first, 3, expand_animations=False), channels, alpha=False)


def _unknown(encoded, channels):
    # As numbers: an error's text that is no UTF-8 becomes a UnicodeDecodeError on its way to Python.
    start = tf.io.decode_raw(tf.strings.substr(encoded, 0, 4), tf.uint8)
    message = ["this is no JPEG, PNG, GIF or BMP: it begins with the bytes", start]
    with tf.control_dependencies([tf.raw_ops.Assert(condition=False, data=message, summarize=4)]):
        return tf.zeros([0, 0, channels], tf.uint8)


def _first_frame(encoded):
    """(the GIF up to its first image's end, this image's height and width): TensorFlow would decode all the others.

    A GIF is a header, a palette, and then blocks; those that begin with an exclamation mark are no images. A block ends
    in a chain of pieces of up to 255 bytes, each behind its length, and a length of zero.
    """
    content = tf.concat([tf.io.decode_raw(encoded, tf.uint8), [0]], 0)
    last = tf.strings.length(encoded)

    def byte(place):
        return tf.cast(content[tf.minimum(place, last)], tf.int32)

    def palette(place):
        flags = byte(place)
        return tf.where(flags < 128, 0, 3 * 2 ** (1 + flags % 8))

    def step(place, chain, image):
        """Over a block's head, or over a piece of a chain and all behind it while they are as long as they can be."""
        value = byte(place)
        lengths = tf.cast(tf.equal(content[tf.minimum(place, last) :: 256], 255), tf.int32)
        full = tf.reduce_sum(tf.math.cumprod(lengths))
        is_image = tf.equal(value, ord(","))
        head = tf.where(is_image, 11 + palette(place + 9), 2)
        return (
            place + tf.where(chain, tf.where(full > 0, 256 * full, 1 + value), head),
            tf.logical_not(chain & tf.equal(value, 0)),
            tf.where(is_image & ~chain, place, image),
        )

    def goes_on(place, chain, image):
        return chain | tf.equal(byte(place), ord("!")) | tf.equal(byte(place), ord(",")) & (image < 0)

    end, _, image = tf.while_loop(goes_on, step, [13 + palette(10), tf.constant(False), tf.constant(-1)])
    first = tf.strings.substr(encoded, 0, tf.minimum(end, last))
    height, width = (byte(image + i) + 256 * byte(image + i + 1) for i in (7, 5))
    return tf.strings.join([first, b";"]), height, width


def _as_channels(decoded, channels, alpha):
    """What `decoded`, a function of the number of channels, gives with 3 or, if it knows `alpha`, 4, as `channels`."""
    if channels in (1, 3) or not alpha:
        colour = decoded(3)
        colour = _grey(colour) if channels < 3 else colour
        return _opaque(colour) if channels in (2, 4) else colour
    image = decoded(4)
    return image if channels == 4 else tf.concat([_grey(image[..., :3]), image[..., 3:]], -1)


def _grey(colour):
    """Rec. 601 in integers, as Pillow rounds it."""
    levels = tf.cast(colour, tf.int32) * [19595, 38470, 7471]
    return tf.cast((tf.reduce_sum(levels, -1, keepdims=True) + 2**15) // 2**16, tf.uint8)


def _opaque(image):
    return tf.pad(image, [[0, 0], [0, 0], [0, 1]], constant_values=255)


def _checked(height, width):
    """A context: what is computed within waits until it is sure that the image is of a size that can be."""
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    message = ["an image of width x height", width, "x", height, "must have from 1 to", MAX_PIXELS, "pixels"]
    fits = tf.logical_and(pixels > 0, pixels <= MAX_PIXELS)
    return tf.control_dependencies([tf.raw_ops.Assert(condition=fits, data=message)])


def _check_channels(channels):
    if channels not in (1, 2, 3, 4):
        raise ValueError(f"an image has 1, 2, 3 or 4 channels, not {channels}.")


def resize(image, size: tuple[int, int], interpolation: str = "bilinear", antialias: bool = True):
    """Resizes one uint8 image to (height, width), rounded; untouched where it fits already.

    Args:
      image: uint8 [height, width, channels].
      size: (height, width).
      interpolation: `bilinear`, `bicubic` (Keys's with a = -0.5, as Pillow's) or `lanczos` (three lobes).
      antialias: whether the filter widens where the image shrinks, as Pillow's does.
    """
    fits = tf.reduce_all(tf.equal(tf.shape(image)[:2], size))
    fitting = tf.cond(fits, lambda: image, lambda: stretch(image, size, interpolation, antialias))
    return tf.ensure_shape(fitting, [*size, image.shape[-1]])


def stretch(image, size: tuple[int, int], interpolation: str, antialias: bool):
    """As `resize`, without a look at the image's size."""
    if interpolation == "bilinear" and not antialias:
        # Measured: of the time that the general operation takes, 0.35 for uint8 pixels and 0.18 for float32.
        images = tf.cast(image[tf.newaxis], tf.float32)
        images = tf.raw_ops.ResizeBilinear(images=images, size=size, half_pixel_centers=True)
        return _to_uint8(images[0])
    scale = tf.constant(size, tf.float32) / tf.cast(tf.shape(image)[:2], tf.float32)
    return resample(image, size, scale, [0.0, 0.0], interpolation, antialias)


def resample(image, size: tuple[int, int], scale, offset, interpolation: str, antialias: bool):
    """Cuts uint8 [*size, channels] out of a resized image, of which no other pixel is computed.

    Args:
      image: uint8 [height, width, channels].
      size: (height, width).
      scale: float32 [2], by which height and width grow.
      offset: float32 [2]: where the first pixel lies in the resized image.
      interpolation, antialias: as in `resize`.
    """
    kernel, _ = FILTERS[interpolation]
    images = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis],
        size=size,
        scale=scale,
        translation=tf.negative(offset),
        kernel_type=kernel,
        antialias=antialias,
    )
    return _to_uint8(images[0] if kernel == "triangle" else tf.clip_by_value(images[0], 0.0, 255.0))


def _to_uint8(levels):
    return tf.cast(tf.round(levels), tf.uint8)  # bilinear weights never leave [0, 255]
