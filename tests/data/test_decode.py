"""Files of every kind become the pixels that Pillow finds in them; what is broken is an error, not a picture."""

import io
import pickle
import struct
import subprocess
import sys
import zlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerascnn.data.decode import MAX_PIXELS, decode, resize

RNG = np.random.default_rng(0)
SHAPE = (33, 50)
# Smooth, so that a JPEG of it is close to it.
COLOUR = np.asarray(PIL.Image.fromarray(RNG.integers(0, 256, (4, 5, 3), np.uint8)).resize(SHAPE[::-1]))
PHOTO = PIL.Image.fromarray(COLOUR)
SEE_THROUGH = PIL.Image.fromarray(np.dstack([COLOUR, COLOUR[::-1, :, 0]]))
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def file(format, mode="RGB", photo=PHOTO, **options):
    buffer = io.BytesIO()
    photo.convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def pillow(encoded, channels):
    image = PIL.Image.open(io.BytesIO(encoded))
    if image.mode in ("L", "1") and channels == 2:  # which Pillow does not know how to do
        return np.dstack([image.convert("L"), np.full(SHAPE, 255)])
    return np.asarray(image.convert(MODES[channels]))


FILES = {
    "png grey": file("PNG", "L"),
    "png grey alpha": file("PNG", "LA", SEE_THROUGH),
    "png colour": file("PNG"),
    "png colour alpha": file("PNG", "RGBA", SEE_THROUGH),
    "png palette": file("PNG", "P"),
    "png palette alpha": file("PNG", "P", transparency=3),
    "png black and white": file("PNG", "1"),
    "jpeg grey": file("JPEG", "L"),
    "jpeg colour": file("JPEG"),
    "jpeg all colours": file("JPEG", subsampling=0),
    "jpeg progressive": file("JPEG", progressive=True),
    "jpeg CMYK": file("JPEG", "CMYK"),
    "bmp colour": file("BMP"),
    "bmp grey": file("BMP", "L"),
    "gif": file("GIF", "P"),
    "gif interlaced": file("GIF", "P", interlace=True),
}


@pytest.mark.parametrize("channels", MODES)
@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_that_pillow_finds(name, channels):
    pixels = decode(FILES[name], channels)
    assert pixels.shape == (*SHAPE, channels) and pixels.dtype == tf.uint8
    # libjpeg takes the grey of a JPEG from the file, Pillow from its colours; and CMYK is a matter of rounding.
    tolerance = 2 if name == "jpeg CMYK" or ("jpeg" in name and channels < 3) else 0
    np.testing.assert_allclose(
        np.int32(pixels), np.reshape(pillow(FILES[name], channels), pixels.shape), atol=tolerance
    )


@pytest.mark.parametrize("channels", [0, 5, None])
def test_channels_that_cannot_be(channels):
    with pytest.raises(ValueError, match="1, 2, 3 or 4 channels"):
        decode(FILES["gif"], channels)


def test_in_a_graph_the_shape_is_known_and_the_pixels_are_the_same():
    for channels in MODES:
        graph = tf.function(lambda encoded, channels=channels: decode(encoded, channels)).get_concrete_function(
            tf.TensorSpec([], tf.string)
        )
        assert graph.output_shapes.as_list() == [None, None, channels]
        for encoded in FILES.values():
            np.testing.assert_array_equal(graph(tf.constant(encoded)), decode(encoded, channels))


def test_an_exported_model_decodes_too(tmp_path):
    module = tf.Module()
    module.decode = tf.function(lambda encoded: decode(encoded, 3), input_signature=[tf.TensorSpec([], tf.string)])
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    for encoded in FILES.values():
        np.testing.assert_array_equal(loaded.decode(tf.constant(encoded)), decode(encoded, 3))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_are_spread_over_all_levels(depth):
    levels = RNG.integers(0, 2**depth, (5, 16), np.uint8)
    packed = np.packbits((levels[..., np.newaxis] >> np.arange(depth)[::-1] & 1).reshape(5, -1), axis=-1)
    lines = b"".join(b"\0" + line.tobytes() for line in packed)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 16, 5, depth, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    encoded = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    expected = levels * (255 // (2**depth - 1))
    np.testing.assert_array_equal(decode(encoded, 2), np.dstack([expected, np.full_like(expected, 255)]))
    np.testing.assert_array_equal(decode(encoded, 3), np.dstack([expected] * 3))


def test_16_bits_keep_their_upper_half():
    deep = RNG.integers(0, 2**16, SHAPE, np.uint16)
    pixels = decode(file("PNG", "I;16", PIL.Image.fromarray(deep)), 1)
    np.testing.assert_array_equal(pixels[..., 0], deep >> 8)


@pytest.mark.parametrize("options", [{}, {"comment": b"x" * 700, "loop": 0}, {"include_color_table": True}])
def test_a_moving_gif_gives_its_first_frame_and_decodes_no_other(options):
    noise = [PIL.Image.fromarray(RNG.integers(0, 256, (60, 50), np.uint8)) for _ in range(3)]
    encoded = file("GIF", "L", noise[0], save_all=True, append_images=noise[1:], **options)
    # The first frame takes several full pieces of 255 bytes; what lies behind it is destroyed.
    start = len(encoded) // 2
    for moving in (encoded, encoded[:start] + b"\xff" * (len(encoded) - start)):
        for channels in (1, 3):
            expected = np.broadcast_to(np.asarray(noise[0])[..., np.newaxis], [60, 50, channels])
            np.testing.assert_array_equal(decode(moving, channels), expected)


def with_size(name, width, height):
    """A file with another size in its header."""
    content = bytearray(FILES[name])
    if "png" in name:
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif "jpeg" in name:
        (frame,) = [i for marker in (b"\xff\xc0", b"\xff\xc2") if (i := content.find(marker)) > 0]
        content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    elif "bmp" in name:
        content[18:26] = struct.pack("<ii", width, height)
    else:
        content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


FILES_BY_HEADER = ["png colour", "png grey", "jpeg colour", "jpeg progressive", "jpeg CMYK", "bmp colour", "gif"]


@pytest.mark.parametrize("name", FILES_BY_HEADER)
def test_more_pixels_than_allowed_are_refused_by_the_header(name):
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"60001\D+50003.*{MAX_PIXELS}"):
        decode(with_size(name, 60001, 50003), 3)


@pytest.mark.parametrize(
    ("name", "width", "height"),
    [("png grey", 2**31 - 1, 2**31 - 1), ("png grey", 1, 2**31), ("bmp grey", 2**30, -(2**30))],
)
def test_sizes_beyond_32_bits_are_refused(name, width, height):
    content = bytearray(FILES[name])
    place, form = (16, ">II") if "png" in name else (18, "<ii")
    content[place : place + 8] = struct.pack(form, width, height)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"from 1 to.*{MAX_PIXELS}"):
        decode(bytes(content), 3)


@pytest.mark.parametrize("name", FILES_BY_HEADER)
@pytest.mark.parametrize("size", [(0, 0), (7, 0), (0, 7)])
def test_images_without_pixels_are_refused(name, size):
    # libjpeg itself refuses such a header.
    message = "Invalid JPEG" if "jpeg" in name else rf"{size[0]}\D+{size[1]}\D+from 1 to"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(with_size(name, *size), 3)


def test_a_gifs_frame_is_checked_like_its_canvas():
    content = bytearray(FILES["gif"])
    frame = content.index(b",", 13 + 3 * 2 ** (1 + content[10] % 8))
    content[frame + 5 : frame + 9] = struct.pack("<HH", 60001, 50003)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"60001\D+50003.*{MAX_PIXELS}"):
        decode(bytes(content), 3)


def test_a_bmp_may_begin_at_its_top():
    content = bytearray(FILES["bmp colour"])
    content[22:26] = struct.pack("<i", -SHAPE[0])
    np.testing.assert_array_equal(decode(bytes(content), 3), COLOUR[::-1])


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_short_is_an_error(name):
    whole = FILES[name]
    for length in [1, 2, 3, 10, 60, len(whole) // 2, len(whole) - 5]:  # the last bytes may be an end mark alone
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(whole[:length], 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "content",
    [
        *[b"", b"x", b"digit.png\n" * 100, bytes(1000), file("TIFF"), file("WEBP")],
        *[b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"BMW drives", b"GIFT"],
    ],
    ids=["empty", "letter", "text", "zeros", "tiff", "webp", "png", "jpeg", "gif", "bmp", "bmw", "gift"],
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


# Reads seeds from the standard input, mutates them, and decodes what comes of it, in whole and by a fused crop.
FUZZ = """
import pickle, random, sys
import tensorflow as tf
from kerascnn.data import crop
from kerascnn.data.decode import decode

seeds, count = pickle.load(sys.stdin.buffer)
rng = random.Random(0)
signature = [tf.TensorSpec([], tf.string)]
whole = [tf.function(lambda e, c=c: decode(e, c), input_signature=signature) for c in (1, 3, 4)]
cut = crop.parse("random_resized(scale=(0.1, 0.3))")
part = tf.function(lambda e, u: cut.encoded(e, u, (9, 8), 3), input_signature=[*signature, tf.TensorSpec([cut.draws])])

def mutated():
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        place, kind = rng.randrange(len(content) + 1), rng.randrange(7)
        if kind == 0:
            del content[place:]
        elif kind == 1:
            del content[place : place + rng.randrange(40)]
        elif kind == 2:
            content[place:place] = rng.randbytes(rng.randrange(40))
        elif kind == 3:  # the header
            place = rng.randrange(64)
            content[place : place + 1] = rng.choice([b"\\x00", b"\\xff", b"\\x7f", rng.randbytes(1)])
        elif kind == 4:  # another file's rest
            other = rng.choice(seeds)
            content[place:] = other[rng.randrange(len(other)) :]
        elif content:
            place = rng.randrange(len(content))
            content[place] ^= 1 << rng.randrange(8)
    return bytes(content)

decoded = refused = 0
for i in range(count):
    content = tf.constant(mutated())
    for channels, function in zip((1, 3, 4), whole):
        if i % 3 != channels % 3:
            continue
        try:
            assert function(content).shape[2] == channels
            decoded += 1
        except tf.errors.OpError:
            refused += 1
    try:
        assert part(content, tf.constant([rng.random() for _ in range(cut.draws)])).shape == (9, 8, 3)
    except tf.errors.OpError:
        pass
print(decoded, refused)
"""


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_mutated_files_are_pixels_or_an_error_and_never_the_end_of_the_process(count):
    frames = [PIL.Image.fromarray(RNG.integers(0, 256, (20, 30), np.uint8)) for _ in range(3)]
    moving = file("GIF", "L", frames[0], save_all=True, append_images=frames[1:])
    job = pickle.dumps(([*FILES.values(), moving], count))
    command = [sys.executable, "-c", FUZZ]
    result = subprocess.run(command, input=job, capture_output=True, timeout=60 + count / 5, check=False)
    assert result.returncode == 0, result.stderr.decode(errors="replace")[-2000:]
    decoded, refused = map(int, result.stdout.split())
    assert decoded > count / 20 and refused > count / 20
