"""The size of an image from its header is what decoding finds; what cannot be told is not guessed."""

import io
import struct

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerascnn.serve import image_size

IMAGE = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (31, 47, 3), np.uint8))
KINDS = {
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "exif": ("JPEG", {"exif": b"Exif\0\0" + b"\xff\xc0" * 3000}),
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {"comment": b"x" * 1000}),
}


def encode(kind):
    format, options = KINDS[kind]
    buffer = io.BytesIO()
    IMAGE.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_size(kind):
    encoded = encode(kind)
    assert image_size.pixels(encoded) == 31 * 47 == tf.size(tf.io.decode_image(encoded, 3)[..., 0]).numpy()
    for end in range(0, min(len(encoded), 700)):
        assert image_size.pixels(encoded[:end]) in (0, 31 * 47)


def test_a_bmp_with_the_upper_lines_first():
    encoded = bytearray(encode("bmp"))
    encoded[22:26] = struct.pack("<i", -31)
    assert image_size.pixels(bytes(encoded)) == 31 * 47


def test_a_gif_whose_frame_is_larger_than_its_screen():
    encoded = bytearray(encode("gif"))
    encoded[6:10] = struct.pack("<HH", 1, 1)
    assert image_size.pixels(bytes(encoded)) == 31 * 47


@pytest.mark.parametrize(
    "encoded", [b"", b"text", b"\xff\xd8", b"\x89PNG", b"GIF89a", b"BM", b"\xff\xd8" + b"\xff" * 9]
)
def test_what_is_no_image_has_no_pixels(encoded):
    assert image_size.pixels(encoded) == 0


@pytest.mark.parametrize("encoded", [b"\xff\xd8" + b"\xff\xe0\0\2" * 5000, b"GIF89a" + b"\0" * 7 + b"!\xfe\0" * 5000])
def test_a_size_behind_too_much_is_not_looked_for(encoded):
    assert image_size.pixels(encoded) is None
    assert image_size.cost([encoded], 1000) == [1000]


def test_cost_of_rows():
    features = {"image/encoded": [encode("png")], "image/format": [b"PNG"], "other": [b"x", encode("jpeg")]}
    example = tf.train.Example(
        features=tf.train.Features(
            feature={key: tf.train.Feature(bytes_list=tf.train.BytesList(value=v)) for key, v in features.items()}
        )
    )
    rows = [encode("png"), b"text", example.SerializeToString(), b"\nno example"]
    assert image_size.cost(rows, 10**6) == [31 * 47, 0, 31 * 47, 0]
