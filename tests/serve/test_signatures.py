"""Every signature sees images as evaluation does, and says which of a batch is none."""

import io
import struct

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerascnn import data
from kerascnn.serve.signatures import signatures

RNG = np.random.default_rng(0)
SIZE = (12, 10)
KERNEL = RNG.normal(size=(SIZE[0] * SIZE[1] * 3, 4)).astype(np.float32)
NAMES = ("cat", "dog", "häuschen", "two words")


def network(inputs):
    """Of a linear model, the features are its inputs."""
    features = tf.reshape(inputs, [-1, len(KERNEL)])
    return {"logits": features @ KERNEL / 10, "features": features}


def made(crop="resize", top_k=3, on_bad_image="error"):
    preprocessing = data.Preprocessing(SIZE, 3, (120.0, 110.0, 100.0), (50.0, 60.0, 70.0), NAMES, "nothing", crop)
    return preprocessing, signatures(network, preprocessing, top_k=top_k, on_bad_image=on_bad_image)


@pytest.fixture(scope="module")
def strict():
    return made()


@pytest.fixture(scope="module")
def lenient():
    return made(on_bad_image="flag")


def encode(pixels, format="PNG", **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def pixels(height, width):
    cells = RNG.integers(0, 256, (3, 4, 3)).astype(np.uint8)
    return np.array(PIL.Image.fromarray(cells).resize((width, height), PIL.Image.Resampling.BICUBIC))


PHOTO = pixels(40, 31)
WHOLE = [encode(PHOTO, "JPEG"), encode(PHOTO), encode(PHOTO, "GIF"), encode(PHOTO, "BMP")]


def expected(preprocessing, files):
    images = tf.stack([preprocessing.decode(file) for file in files])
    return network(preprocessing.normalise(images))


def example(**features):
    lists = {
        key.replace("__", "/"): tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        for key, value in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()


def specs(functions):
    found = {}
    for name, function in functions.items():
        traced = function.get_concrete_function()
        (takes,), _ = traced.structured_input_signature
        gives = {key: (o.dtype.name, o.shape.as_list()) for key, o in traced.structured_outputs.items()}
        found[name] = (takes.name, takes.dtype.name, takes.shape.as_list(), gives)
    return found


def test_what_they_take_and_give(strict, lenient):
    answer = {"classes": ("string", [None, 3]), "scores": ("float32", [None, 3])}
    features = {"features": ("float32", [None, 360])}
    logits = ("inputs", "float32", [None, 12, 10, 3], {"logits": ("float32", [None, 4])})
    wanted = {
        "serving_default": ("image_bytes", "string", [None], answer),
        "uint8": ("images", "uint8", [None, None, None, 3], answer),
        "features": ("image_bytes", "string", [None], features),
        "logits": logits,
        "examples": ("examples", "string", [None], answer),
    }
    assert specs(strict[1]) == wanted
    valid = {"valid": ("bool", [None])}
    flagged = {name: (*row[:3], row[3] | valid) for name, row in wanted.items()} | {"logits": logits}
    assert specs(lenient[1]) == flagged


def test_without_features_there_is_no_such_signature(strict):
    functions = signatures(lambda inputs: {"logits": network(inputs)["logits"]}, strict[0], top_k=1)
    assert set(functions) == {"serving_default", "uint8", "logits", "examples"}


@pytest.mark.parametrize(
    "crop",
    [
        "center(fraction=0.8)",
        pytest.param("resize", marks=pytest.mark.slow),
        pytest.param("squash(fraction=0.9, interpolation='bicubic')", marks=pytest.mark.slow),
    ],
)
def test_files_examples_and_pixels_go_the_way_of_evaluation(crop):
    preprocessing, functions = made(crop, top_k=4)
    wanted = expected(preprocessing, WHOLE)
    scores = tf.nn.softmax(wanted["logits"]).numpy()
    order = np.argsort(-scores, kind="stable")
    names = np.array([name.encode() for name in NAMES], object)[order]
    from_files = functions["serving_default"](tf.constant(WHOLE))
    from_examples = functions["examples"](
        tf.constant([example(image__encoded=[file], image__class__text=[b"dog"]) for file in WHOLE])
    )
    for answers in (from_files, from_examples):
        np.testing.assert_array_equal(answers["classes"].numpy(), names)
        np.testing.assert_allclose(answers["scores"], np.take_along_axis(scores, order, -1), rtol=1e-5)
    np.testing.assert_allclose(functions["features"](tf.constant(WHOLE))["features"], wanted["features"], rtol=1e-5)
    for sides in [SIZE, (40, 31), (24, 20), (5, 64), (1, 1)]:  # those of the model, which some crops leave alone, too
        image = pixels(*sides)
        by_pixels = functions["uint8"](tf.constant(np.stack([image, image[::-1]])))
        by_file = functions["serving_default"](tf.constant([encode(image), encode(image[::-1])]))
        for key, value in by_file.items():
            np.testing.assert_array_equal(by_pixels[key], value)
    inputs = preprocessing.normalise(tf.stack([preprocessing.decode(file) for file in WHOLE]))
    np.testing.assert_allclose(functions["logits"](inputs)["logits"], wanted["logits"], rtol=1e-5)


def huge(format):
    """A small file whose header tells of 2^32 pixels."""
    whole = bytearray(encode(pixels(4, 4), format))
    place, code = {"PNG": (16, ">II"), "BMP": (18, "<ii"), "GIF": (6, "<HH")}[format]
    side = 65_535 if format == "GIF" else 65_536
    struct.pack_into(code, whole, place, side, side)
    return bytes(whole)


# What is wrong, as the error says it.
BROKEN = r"this (JPEG|PNG|GIF|BMP) is damaged or cut short, or has no pixels or more than 134,217,728"
FOREIGN = "this is no JPEG, PNG, GIF or BMP: it begins with the bytes "
BAD = {
    "no bytes": (b"", "there are no bytes"),
    "text": (b"no image", f"{FOREIGN}110 111 32 105"),
    "one byte": (b"\xff", f"{FOREIGN}255"),
    "not UTF-8": (b"\xfe\xff\xfd\xfc", f"{FOREIGN}254 255 253 252"),
    "WebP": (encode(PHOTO, "WEBP"), FOREIGN),
    "the start of a JPEG": (b"\xff\xd8", BROKEN),
    "half a JPEG": (WHOLE[0][: len(WHOLE[0]) // 2], BROKEN),
    "a JPEG without its middle": (WHOLE[0][:100] + WHOLE[0][-100:], BROKEN),
    "the start of a PNG": (b"\x89P", BROKEN),
    "half a PNG": (WHOLE[1][: len(WHOLE[1]) // 2], BROKEN),
    "a PNG with other bytes in its middle": (WHOLE[1][:60] + b"????" + WHOLE[1][64:], BROKEN),
    "half a GIF": (WHOLE[2][: len(WHOLE[2]) // 2], BROKEN),
    "half a BMP": (WHOLE[3][: len(WHOLE[3]) // 2], BROKEN),
    "a huge PNG": (huge("PNG"), BROKEN),
    "a huge GIF": (huge("GIF"), BROKEN),
    "a huge BMP": (huge("BMP"), BROKEN),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_error_names_the_first_bad_image(kind, strict):
    content, message = BAD[kind]
    for batch, place in [([content], 0), ([*WHOLE, content, WHOLE[0], b""], 4)]:
        for name in ("serving_default", "features"):
            with pytest.raises(tf.errors.InvalidArgumentError, match=rf"image_bytes\[{place}\]: {message}"):
                strict[1][name](tf.constant(batch))


def test_a_flag_marks_bad_images_and_the_others_are_answered(lenient):
    _, functions = lenient
    contents = [content for content, _ in BAD.values()]
    batch = [WHOLE[0], *contents, *WHOLE[1:]]
    valid = np.array([True, *[False] * len(contents), True, True, True])
    whole = functions["serving_default"](tf.constant(WHOLE))
    encoded = [example(image__encoded=[content]) for content in batch]
    for name, given in (("serving_default", batch), ("examples", encoded)):
        answers = functions[name](tf.constant(given))
        np.testing.assert_array_equal(answers["valid"], valid)
        np.testing.assert_array_equal(answers["classes"].numpy()[valid], whole["classes"])
        np.testing.assert_allclose(answers["scores"].numpy()[valid], whole["scores"], rtol=1e-5)
        assert (answers["classes"].numpy()[~valid] == b"").all() and (answers["scores"].numpy()[~valid] == 0).all()
    answers = functions["features"](tf.constant(batch))
    np.testing.assert_array_equal(answers["valid"], valid)
    np.testing.assert_allclose(
        answers["features"].numpy()[valid], functions["features"](tf.constant(WHOLE))["features"], rtol=1e-5
    )
    assert (answers["features"].numpy()[~valid] == 0).all()
    alone = functions["serving_default"](tf.constant([b""]))
    assert not alone["valid"].numpy().any() and alone["scores"].shape == (1, 3)
    assert functions["uint8"](tf.constant(PHOTO[np.newaxis]))["valid"].numpy().tolist() == [True]


@pytest.mark.parametrize(
    "bad",
    [
        b"no example",
        b"",
        example(image=[WHOLE[0]]),
        example(image__encoded=[WHOLE[0], WHOLE[1]]),
        example(image__encoded=[]),
        example(image__encoded=[b"no image"]),
        WHOLE[0],
    ],
    ids=["no protocol buffer", "nothing in it", "another key", "two images", "no value", "no image", "an image itself"],
)
def test_a_bad_example_is_named(bad, strict, lenient):
    batch = tf.constant([example(image__encoded=[WHOLE[0]]), bad])
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"examples\[1\]: this is no tf.Example with a whole image"
    ):
        strict[1]["examples"](batch)
    assert lenient[1]["examples"](batch)["valid"].numpy().tolist() == [True, False]


@pytest.mark.parametrize("sides", [(0, 8), (8, 0)])
def test_images_without_pixels_are_an_error(sides, strict):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"images of height x width.*have no pixels"):
        strict[1]["uint8"](tf.zeros([2, *sides, 3], tf.uint8))


def test_a_batch_may_be_empty(strict, lenient):
    for _, functions in (strict, lenient):
        for name, empty in {
            "serving_default": tf.zeros([0], tf.string),
            "examples": tf.zeros([0], tf.string),
            "features": tf.zeros([0], tf.string),
            "uint8": tf.zeros([0, 9, 9, 3], tf.uint8),
            "logits": tf.zeros([0, *SIZE, 3]),
        }.items():
            assert {output.shape[0] for output in functions[name](empty).values()} == {0}


def test_order_is_kept_in_a_large_batch(strict):
    _, functions = strict
    files = [encode(pixels(20 + i % 7, 20)) for i in range(100)]
    together = functions["serving_default"](tf.constant(files))
    for i in range(0, 100, 9):
        alone = functions["serving_default"](tf.constant(files[i : i + 1]))
        np.testing.assert_array_equal(together["classes"][i], alone["classes"][0])
        np.testing.assert_allclose(together["scores"][i], alone["scores"][0], rtol=1e-5)


@pytest.mark.parametrize("mode", ["channels", "mean image", "whitening"])
def test_pixels_are_normalised_as_in_evaluation(mode):
    shape = (4, 5, 3)
    arrays = {
        "channels": {},
        "mean image": {"mean_image": np.float32(RNG.normal(size=shape))},
        "whitening": {"whitening": np.float32(RNG.normal(size=(60, 60)))},
    }
    preprocessing = data.Preprocessing(
        image_size=shape[:2], channels=3, mean=(1.0, 20.0, 300.0), std=(50.0, 7.0, 0.3), class_names=tuple("ab"),
        computed_from="nothing", **arrays[mode],
    )  # fmt: skip
    images = RNG.integers(0, 256, (3, *shape), np.uint8)
    flat = {"features": lambda x: tf.reshape(x, [-1, 60]), "logits": lambda x: tf.reduce_sum(x, [2, 3])[:, :2]}
    found = signatures(lambda x: {name: f(x) for name, f in flat.items()}, preprocessing, top_k=1)
    features = found["features"](tf.stack([tf.io.encode_png(image) for image in images]))["features"]
    np.testing.assert_allclose(features, flat["features"](preprocessing.normalise(images)), rtol=1e-5, atol=1e-4)
