"""What a bundle answers to: functions from image files, pixels or normalised images to classes, features or logits.

All of them call the same few functions, so that parameters, class names and decoders stand in a file once.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from kerascnn.data import Preprocessing
from kerascnn.data import crop as cropping
from kerascnn.data.decode import MAX_PIXELS, choose

ON_BAD_IMAGE = ("error", "flag")

# How files of each format begin.
STARTS = {"JPEG": b"\xff\xd8", "PNG": b"\x89P", "GIF": b"GI", "BMP": b"BM"}

# Where an example has its image, as TensorFlow's own data sets of images have it.
EXAMPLE_KEY = "image/encoded"

# Images of one batch that are decoded at once, if there are as many threads.
PARALLEL = 16


def signatures(
    network: Callable, preprocessing: Preprocessing, *, top_k: int, on_bad_image: str = "error"
) -> dict[str, Callable]:
    """The functions of a bundle by their names, each from one tensor to a mapping of tensors.

    `serving_default` (image_bytes), `uint8` (images) and `examples` (examples) give `classes`, string [batch, top_k],
    and `scores`, their probabilities, best first; `logits` (inputs) gives `logits`, float32 [batch, classes];
    `features` (image_bytes) gives `features`, float32 [batch, d], where the network has any.

    Args:
      network: from float32 [batch, height, width, channels] to a mapping with `logits`, and `features` if it has any.
      preprocessing: what its images go through.
      top_k: how many classes to give.
      on_bad_image: of an element that is no whole image, `error` makes an InvalidArgumentError which names its place in
        the batch. `flag` gives a bool [batch] `valid` besides, false for such elements; their scores and features are
        0, their classes are empty.
    """
    size, shape = preprocessing.image_size, (*preprocessing.image_size, preprocessing.channels)
    crop = cropping.parse(preprocessing.crop)
    flags = on_bad_image == "flag"

    @_function(tf.TensorSpec([None, *shape], tf.float32, name="inputs"))
    def computed(inputs):
        return {name: tf.cast(output, tf.float32) for name, output in network(inputs).items()}

    @_function(tf.TensorSpec([None, *shape], tf.uint8, name="images"))
    def seen(images):
        return computed(_normalised(images, preprocessing))

    @_function(
        tf.TensorSpec([None, len(preprocessing.class_names)], tf.float32, name="logits"),
        tf.TensorSpec([None], tf.bool, name="valid"),
    )
    def ranked(logits, valid):
        scores, indices = tf.math.top_k(tf.nn.softmax(logits), top_k)
        return {"classes": tf.gather(tf.constant(preprocessing.class_names), indices), "scores": scores} | marked(valid)

    def marked(valid):
        return {"valid": valid} if flags else {}

    def blanked(answers):
        """Nothing is said of what is no image."""
        if not flags:
            return answers
        valid = answers["valid"][:, tf.newaxis]
        return {
            key: value if key == "valid" else tf.where(valid, value, tf.zeros_like(value))
            for key, value in answers.items()
        }

    @_function(tf.TensorSpec([], tf.string, name="encoded"))
    def decoded(encoded):
        return preprocessing.decode(encoded)

    @_function(tf.TensorSpec([None], tf.string, name="image_bytes"))
    def read(image_bytes):
        images, valid = _tried(decoded, image_bytes, shape)
        return images if flags else _whole(images, valid, image_bytes, "image_bytes", _no_image), valid

    @_function(tf.TensorSpec([None], tf.string, name="image_bytes"))
    def serving_default(image_bytes):
        images, valid = read(image_bytes)
        return blanked(ranked(seen(images)["logits"], valid))

    @_function(tf.TensorSpec([None], tf.string, name="image_bytes"))
    def features(image_bytes):
        images, valid = read(image_bytes)
        return blanked({"features": seen(images)["features"]} | marked(valid))

    @_function(tf.TensorSpec([None], tf.string, name="examples"))
    def examples(examples):
        def image(example):
            parsed = tf.io.parse_single_example(example, {EXAMPLE_KEY: tf.io.FixedLenFeature([], tf.string)})
            return decoded(parsed[EXAMPLE_KEY])

        images, valid = _tried(image, examples, shape)
        images = images if flags else _whole(images, valid, examples, "examples", _no_example)
        return blanked(ranked(seen(images)["logits"], valid))

    @_function(tf.TensorSpec([None, None, None, preprocessing.channels], tf.uint8, name="images"))
    def uint8(images):
        cropped = _cropped(images, crop, size)
        return ranked(seen(cropped)["logits"], tf.ones(tf.shape(images)[:1], tf.bool))

    @_function(tf.TensorSpec([None, *shape], tf.float32, name="inputs"))
    def logits(inputs):
        return {"logits": computed(inputs)["logits"]}

    found = {
        "serving_default": serving_default,
        "uint8": uint8,
        "features": features,
        "logits": logits,
        "examples": examples,
    }
    if "features" not in computed.get_concrete_function().structured_outputs:
        del found["features"]
    return found


def _function(*specs):
    return tf.function(input_signature=specs, autograph=False)


def _tried(function, elements, shape):
    """(uint8 [batch, *shape], bool [batch]): what a function makes of each element, zeros and false where it fails.

    In a graph an error cannot be caught, save by a data set that ignores errors. For one photograph it takes half a
    millisecond more than a plain call (measured); for 16, no more than `tf.map_fn`.
    """
    count = tf.size(elements, out_type=tf.int64)
    nothing = tf.data.Dataset.from_tensors((count, tf.zeros(shape, tf.uint8)))  # a batch must have something in it

    def made(parallel):
        each = tf.autograph.experimental.do_not_convert(lambda i: (i, function(elements[i])))
        images = tf.data.Dataset.range(count).map(each, num_parallel_calls=parallel)
        return images.ignore_errors().concatenate(nothing).batch(count + 1).get_single_element()

    places, images = tf.cond(count > 1, lambda: made(PARALLEL), lambda: made(None))  # a thread of its own takes 0.3 ms
    images = tf.ensure_shape(images, [None, *shape])
    found = tf.size(places) - 1
    rows = tf.tensor_scatter_nd_update(tf.fill([count + 1], found), places[:, tf.newaxis], tf.range(found + 1))[:count]
    valid = rows < found
    return choose(tf.reduce_all(valid), lambda images, rows: images[:-1], tf.gather, images, rows), valid


def _whole(images, valid, elements, name, explained):
    """The images, if all are valid; else an error that names the first element that is not."""

    def fail(images, valid, elements):
        first = tf.argmin(tf.cast(valid, tf.int32))
        message = tf.strings.join([f"{name}[", tf.strings.as_string(first), "]: ", explained(elements[first])])
        with tf.control_dependencies([tf.raw_ops.Assert(condition=False, data=[message])]):
            return tf.identity(images)

    return choose(tf.reduce_all(valid), lambda images, valid, elements: images, fail, images, valid, elements)


def _no_image(encoded):
    # As numbers: an error's text that is no UTF-8 becomes a UnicodeDecodeError on its way to Python.
    numbers = tf.strings.as_string(tf.io.decode_raw(tf.strings.substr(encoded, 0, 4), tf.uint8))
    known = tf.equal(tf.strings.substr(encoded, 0, 2), list(STARTS.values()))
    foreign = tf.strings.join(
        ["this is no JPEG, PNG, GIF or BMP: it begins with the bytes ", tf.strings.reduce_join(numbers, separator=" ")]
    )
    broken = tf.strings.join(
        [
            "this ",
            tf.constant(list(STARTS))[tf.argmax(tf.cast(known, tf.int32))],
            f" is damaged or cut short, or has no pixels or more than {MAX_PIXELS:,}",
        ]
    )
    message = tf.where(tf.reduce_any(known), broken, foreign)
    return tf.where(tf.strings.length(encoded) > 0, message, "there are no bytes")


def _no_example(example):
    kinds = ", ".join(STARTS)
    return f"this is no tf.Example with a whole image ({kinds}) of up to {MAX_PIXELS:,} pixels as {EXAMPLE_KEY}"


def _cropped(images, crop, size):
    """uint8 [batch, *size, channels] of images of any one size, as of files with these pixels."""

    def each(images):
        spec = tf.TensorSpec([*size, images.shape[-1]], tf.uint8)
        return tf.map_fn(lambda image: crop.image(image, tf.zeros([0]), size), images, fn_output_signature=spec)

    sides = tf.shape(images)[1:3]
    message = ["images of height x width", sides[0], "x", sides[1], "have no pixels"]
    with tf.control_dependencies([tf.raw_ops.Assert(condition=tf.reduce_all(sides > 0), data=message)]):
        images = tf.identity(images)
    if _keeps(crop, (*size, images.shape[-1])):
        fits = tf.reduce_all(tf.equal(sides, size))
        images = choose(fits, lambda images: images, each, images)
    else:
        images = each(images)
    return tf.ensure_shape(images, [None, *size, images.shape[-1]])


def _normalised(images, preprocessing):
    """As `preprocessing.normalise`, row by row: against three numbers TensorFlow takes twice the time and more."""
    height, width = preprocessing.image_size
    row = width * preprocessing.channels
    of_rows = dataclasses.replace(
        preprocessing,
        image_size=(height, 1),
        channels=row,
        mean=width * preprocessing.mean,
        std=width * preprocessing.std,
        mean_image=None if preprocessing.mean_image is None else preprocessing.mean_image.reshape(height, 1, row),
    )
    rows = of_rows.normalise(tf.reshape(images, [-1, height, 1, row]))
    return tf.reshape(rows, [-1, height, width, preprocessing.channels])


def _keeps(crop, shape):
    """Whether a crop leaves images as they are that have the size already."""
    with tf.init_scope():
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        return bool((crop.image(tf.constant(noise), tf.zeros([0]), shape[:2]).numpy() == noise).all())
