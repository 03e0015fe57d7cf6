"""Files of every kind become the pixels that Pillow finds in them; what is broken is an error, not a picture."""

import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerascnn.data.decode import decode, resize

RNG = np.random.default_rng(0)
SHAPE = (33, 50)
# Smooth, so that a JPEG of it is close to it.
COLOUR = np.asarray(PIL.Image.fromarray(RNG.integers(0, 256, (4, 5, 3), np.uint8)).resize(SHAPE[::-1]))
PHOTO = PIL.Image.fromarray(COLOUR)


def file(format, mode="RGB", photo=PHOTO, **options):
    buffer = io.BytesIO()
    photo.convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def pillow(encoded, channels):
    return np.asarray(PIL.Image.open(io.BytesIO(encoded)).convert("L" if channels == 1 else "RGB"))


FILES = {
    "png grey": file("PNG", "L"),
    "png grey alpha": file("PNG", "LA"),
    "png colour": file("PNG"),
    "png colour alpha": file("PNG", "RGBA"),
    "png palette": file("PNG", "P"),
    "png black and white": file("PNG", "1"),
    "jpeg grey": file("JPEG", "L"),
    "jpeg colour": file("JPEG"),
    "jpeg progressive": file("JPEG", progressive=True),
    "jpeg CMYK": file("JPEG", "CMYK"),
    "bmp colour": file("BMP"),
    "bmp grey": file("BMP", "L"),
    "gif": file("GIF", "P"),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_that_pillow_finds(name, channels):
    if (name, channels) == ("jpeg CMYK", 1):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(FILES[name], channels)
        return
    pixels = decode(FILES[name], channels)
    assert pixels.shape == (*SHAPE, channels) and pixels.dtype == tf.uint8
    # JPEG leaves some rounding to the decoder, and so does the way from colour to grey.
    tolerance = 4 if "jpeg" in name else channels == 1
    np.testing.assert_allclose(np.squeeze(pixels), pillow(FILES[name], channels), atol=tolerance)


def test_shape_is_known_inside_a_graph():
    for channels in (1, 3):
        graph = tf.function(lambda encoded, channels=channels: decode(encoded, channels)).get_concrete_function(
            tf.TensorSpec([], tf.string)
        )
        assert graph.output_shapes.as_list() == [None, None, channels]


def test_16_bits_keep_their_upper_half():
    deep = RNG.integers(0, 2**16, SHAPE, np.uint16)
    pixels = decode(file("PNG", "I;16", PIL.Image.fromarray(deep)), 1)
    np.testing.assert_array_equal(pixels[..., 0], deep >> 8)


def test_a_moving_gif_gives_its_first_frame():
    frames = [PIL.Image.new("L", (6, 5), level) for level in (40, 200)]
    encoded = file("GIF", "L", frames[0], save_all=True, append_images=frames[1:])
    for channels in (1, 3):
        np.testing.assert_array_equal(decode(encoded, channels), np.full([5, 6, channels], 40))


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_short_is_an_error(name):
    whole = FILES[name]
    for length in [1, 2, 3, 10, 60, len(whole) // 2, len(whole) - 5]:  # the last bytes may be an end mark alone
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(whole[:length], 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"digit.png\n" * 100, bytes(1000), file("TIFF"), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"],
    ids=["empty", "a letter", "text", "zeros", "tiff", "png, two bytes", "jpeg, three bytes"],
)
def test_what_is_no_such_image_is_an_error(content, channels):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(content, channels)


def test_a_png_with_any_byte_wrong_is_an_error():
    whole = FILES["png grey"]
    for place in range(8, len(whole), 7):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :], 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_resize_leaves_alone_what_fits(channels):
    image = RNG.integers(0, 256, (9, 14, channels), np.uint8)
    np.testing.assert_array_equal(resize(image, (9, 14)), image)


@pytest.mark.parametrize("size", [(8, 8), (20, 30), (33, 24), (66, 100), (47, 11), (1, 1)])
def test_resize_is_bilinear_and_antialiased_as_pillows_is(size):
    image = RNG.integers(0, 256, (*SHAPE, 3), np.uint8)
    ours = resize(image, size)
    assert ours.shape == (*size, 3) and ours.dtype == tf.uint8
    planes = [PIL.Image.fromarray(plane) for plane in np.moveaxis(np.float32(image), -1, 0)]
    theirs = np.stack([plane.resize(size[::-1], PIL.Image.Resampling.BILINEAR) for plane in planes], -1)
    np.testing.assert_allclose(ours, theirs, atol=0.501)  # rounded


def test_resize_keeps_black_and_white():
    for level in (0, 255):
        np.testing.assert_array_equal(
            resize(np.full([11, 13, 1], level, np.uint8), (4, 29)), np.full([4, 29, 1], level)
        )
