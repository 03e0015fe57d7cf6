"""Windows fall where they should, the fused road gives the pixels of the plain one, and both are Pillow's."""

import functools
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from scipy import ndimage

from kerascnn.data import crop, draws
from kerascnn.data.decode import decode

SIZE = (48, 64)
FILTERS = {"bilinear": 2, "bicubic": 3, "lanczos": 1}  # Pillow's numbers


@functools.cache
def photo(height, width, seed=0):
    """A picture with coarse and fine structure, as Pillow has it."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (9, 12, 3), np.uint8)
    large = np.float32(PIL.Image.fromarray(picture).resize((width, height), PIL.Image.Resampling.BICUBIC))
    fine = ndimage.uniform_filter(rng.normal(0, 40, (height, width, 3)), (3, 3, 0))
    return PIL.Image.fromarray(np.uint8(np.clip(large + fine, 0, 255)))


def file(image, format="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **({"quality": 90} if format == "JPEG" else {}) | options)
    return buffer.getvalue()


def uniform(crop, index=0, seed=0):
    return draws.uniform(draws.key(seed, 0, index), crop.draws).numpy()


def windows(crop, height, width, count, size=SIZE):
    """int [count, 4]: top, left, height, width."""
    u = draws.uniform(draws.key(1, tf.range(count)), crop.draws)
    plan = tf.function(lambda u: tf.map_fn(lambda u: crop.plan(u, tf.constant([height, width]), size)[0], u, tf.int32))
    return plan(u).numpy()


def difference(ours, theirs):
    return np.abs(np.int32(ours) - np.int32(theirs)).mean()


TEXTS = [
    "random_resized",
    "random_resized(scale=(0.3, 1), ratio=(1, 1), interpolation='bicubic', antialias=True)",
    "scale_jitter",
    "scale_jitter(shortest=(64, 80), antialias=True)",
    "pad(pixels=6)",
    "resize",
    "center",
    "center(fraction=1)",
    "center(fraction=0.7, interpolation='lanczos', antialias=False)",
    "squash(fraction=0.9, interpolation='bicubic')",
]


@pytest.mark.parametrize("missing", [2, 60, 4000])
def test_a_jpeg_without_its_end_is_an_error_wherever_the_window_lies(missing):
    cut, encoded = crop.parse("random_resized"), file(photo(100, 150))
    top = np.full(cut.draws, 1e-3, np.float32)  # a small window in the upper left corner
    cut.encoded(encoded, top, SIZE, 3)
    with pytest.raises(tf.errors.InvalidArgumentError):
        cut.encoded(encoded[:-missing], top, SIZE, 3)


def test_bytes_behind_a_jpeg_do_not_matter():
    cut, encoded = crop.parse("random_resized"), file(photo(100, 150))
    u = uniform(cut)
    assert difference(cut.encoded(encoded + b"\n\0", u, SIZE, 3), cut.encoded(encoded, u, SIZE, 3)) < 0.25


@pytest.mark.parametrize(
    ("sides", "channels"), [((100, 150), 3), ((330, 210), 3), (SIZE, 1), ((20, 500), 1), ((1, 1), 3), ((1, 40), 1)]
)
@pytest.mark.parametrize("text", TEXTS)
def test_an_encoded_image_gives_what_its_pixels_give(text, sides, channels):
    cut = crop.parse(text)
    u = uniform(cut)
    image = photo(*sides)
    for format in ("PNG", "JPEG"):
        encoded = file(image, format)
        ours = cut.encoded(encoded, u, SIZE, channels)
        assert ours.shape == (*SIZE, channels) and ours.dtype == tf.uint8
        plain = cut.image(decode(encoded, channels), u, SIZE)
        if format == "PNG" or cut.coarse is None:
            np.testing.assert_array_equal(ours, plain)
        else:  # at a window's edge, JPEG's colours lack a neighbour; and shrinking while decoding is another filter
            assert difference(ours, plain) < (2 if sides == (330, 210) else 0.25)


@pytest.mark.parametrize("text", TEXTS)
def test_in_a_graph_the_shape_is_known_and_the_pixels_are_the_same(text):
    cut = crop.parse(text)
    encoded, u = file(photo(100, 150)), uniform(cut)
    compiled = tf.function(lambda encoded, u: cut.encoded(encoded, u, SIZE, 3)).get_concrete_function(
        tf.TensorSpec([], tf.string), tf.TensorSpec([cut.draws])
    )
    assert compiled.output_shapes.as_list() == [*SIZE, 3]
    np.testing.assert_array_equal(compiled(tf.constant(encoded), tf.constant(u)), cut.encoded(encoded, u, SIZE, 3))


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_cut_like_the_rest(channels):
    alpha = np.dstack([np.asarray(photo(90, 120)), np.asarray(photo(90, 120, 1))[..., 0]])
    cut = crop.parse("random_resized")
    encoded = file(PIL.Image.fromarray(alpha), "PNG")
    ours = cut.encoded(encoded, uniform(cut), SIZE, channels)
    alone = cut.image(alpha[..., 3:], uniform(cut), SIZE)
    np.testing.assert_array_equal(ours[..., -1:], alone)
    assert np.all(cut.encoded(file(photo(90, 120)), uniform(cut), SIZE, channels)[..., -1] == 255)


def test_random_windows_have_the_areas_and_forms_that_were_asked_for():
    cut = crop.parse("random_resized(scale=(0.2, 0.5), ratio=(0.5, 2))")
    top, left, height, width = windows(cut, 400, 500, 4000).T
    assert min(top.min(), left.min()) == 0
    assert (top + height).max() == 400 and (left + width).max() == 500
    area, form = height * width / 400 / 500, width / height
    assert 0.195 < area.min() < 0.205 and 0.495 < area.max() < 0.505
    assert 0.49 < form.min() < 0.51 and 1.96 < form.max() < 2.04
    assert abs(area.mean() - 0.35) < 0.01  # even; nearly all of these fit at the first try
    assert abs(np.log(form).mean()) < 0.03 and abs(np.log(form).std() - np.log(4) / 12**0.5) < 0.03
    np.testing.assert_allclose((top / (401 - height)).mean(), 0.5, atol=0.02)
    np.testing.assert_allclose((left / (501 - width)).mean(), 0.5, atol=0.02)


@pytest.mark.parametrize(
    ("ratio", "sides", "window"),
    [
        ((3 / 4, 4 / 3), (90, 1000), (0, 440, 90, 120)),
        ((3 / 4, 4 / 3), (1000, 90), (440, 0, 120, 90)),
        ((0.5, 1), (1000, 1), (499, 0, 2, 1)),
        ((8, 9), (30, 40), (12, 0, 5, 40)),
    ],
)
def test_where_no_window_fits_the_centre_is_taken(ratio, sides, window):
    cut = crop.parse(f"random_resized(scale=(1, 1), ratio={ratio})")
    np.testing.assert_array_equal(windows(cut, *sides, 20), [window] * 20)


def test_the_first_window_that_fits_is_taken():
    cut = crop.parse("random_resized(scale=(0.1, 1), ratio=(1, 1))")
    u = np.float32([0.9] * 3 + [0.3] + [0.1] * 6 + [0.5] * 10 + [0.25, 0.999])
    # 0.37 of 100x200 is a square of 86; 0.91 is none that fits.
    np.testing.assert_array_equal(cut.plan(tf.constant(u), tf.constant([100, 200]), SIZE)[0], [3, 114, 86, 86])


@pytest.mark.parametrize("sides", [(500, 375), (375, 500), (1500, 2000), (256, 256)])
def test_scale_jitter_draws_the_shorter_side(sides):
    top, left, height, width = windows(crop.parse("scale_jitter"), *sides, 2000, (224, 224)).T
    np.testing.assert_array_equal(height, width)
    shortest = 224 * min(sides) / height
    assert abs(shortest.min() - 256) < 2 and abs(shortest.max() - 480) < 3
    assert min(top.min(), left.min()) == 0
    assert (top + height).max() > sides[0] - 3 and (left + width).max() > sides[1] - 3


def test_scale_jitter_is_a_resize_and_a_cut():
    cut = crop.parse("scale_jitter(shortest=(100, 100), antialias=True)")
    image = photo(300, 480)
    u = np.float32([0, 0.255, 0.5])  # 40 of (300 - 3 * 48), 144 of (480 - 3 * 64)
    theirs = image.resize(SIZE[::-1], PIL.Image.Resampling.BILINEAR, box=(144, 40, 144 + 3 * 64, 40 + 3 * 48))
    assert difference(cut.encoded(file(image, "PNG"), u, SIZE, 3), theirs) < 0.3


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
def test_a_large_jpeg_is_shrunk_in_decoding_and_the_window_stays_where_it_is(ratio, antialias):
    image = photo(1201, 1603)
    cut = crop.parse(f"random_resized(scale=(0.5, 0.5), ratio=(1, 1), antialias={antialias})")
    size = (981 // ratio - 7, 981 // ratio - 7)
    u = np.float32([0] * 20 + [0.5, 0.4])  # the root of half of 1201 * 1603 is 981
    top, left, height, width = (place // ratio * ratio for place in (110, 249, 981, 981))
    for format in ("JPEG", "PNG"):
        encoded = file(image, format)
        original = PIL.Image.open(io.BytesIO(encoded))
        theirs = original.resize(size, PIL.Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
        ours = cut.encoded(encoded, u, size, 3)
        right, *moved = (
            difference(ours[4:-4, 4:-4], np.roll(theirs, move, (0, 1))[4:-4, 4:-4])
            for move in [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]
        )
        assert right < 2 and right < 0.8 * min(moved)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("sides", "fraction"), [((375, 500), 0.875), ((500, 333), 0.95), ((60, 40), 0.7), ((600, 801), 1.0)]
)
def test_center_is_pillows_resize_and_then_a_cut(sides, fraction, interpolation):
    image = photo(*sides)
    cut = crop.parse(f"center(fraction={fraction}, interpolation='{interpolation}')")
    size = 112
    shorter = int(size / fraction)
    height, width = (shorter * side // min(sides) for side in sides)
    resized = image.resize((width, height), FILTERS[interpolation])
    left, top = round((width - size) / 2), round((height - size) / 2)
    theirs = resized.crop((left, top, left + size, top + size))
    assert difference(cut.image(np.asarray(image), [], (size, size)), theirs) < 0.3
    encoded = file(image)
    resized = PIL.Image.open(io.BytesIO(encoded)).resize((width, height), FILTERS[interpolation])
    theirs = resized.crop((left, top, left + size, top + size))
    assert difference(cut.encoded(encoded, [], (size, size), 3), theirs) < 0.3


@pytest.mark.parametrize("sides", [(100, 100), (100, 300), (90, 70), (7, 2000)])
def test_center_of_another_form_covers_the_size(sides):
    """Of whatever form, the image is resized as little as the size allows."""
    cut, size = crop.parse("center(fraction=0.8)"), (24, 64)  # from 30 x 80
    factor = max(30 / sides[0], 80 / sides[1])
    resized = photo(*sides).resize((int(factor * sides[1] + 1e-6), int(factor * sides[0] + 1e-6)), FILTERS["bilinear"])
    left, top = round((resized.width - 64) / 2), round((resized.height - 24) / 2)
    theirs = resized.crop((left, top, left + 64, top + 24))
    ours = cut.image(np.asarray(photo(*sides)), np.float32([]), size)
    assert np.abs(np.int32(ours) - np.int32(theirs)).max() <= 2


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("sides", "fraction"), [((375, 500), 0.875), ((500, 333), 0.95), ((60, 40), 0.7), ((600, 801), 1.0), (SIZE, 0.8)]
)
def test_squash_is_pillows_resize_of_all_and_then_a_cut(sides, fraction, interpolation):
    image, (height, width) = photo(*sides), SIZE
    cut = crop.parse(f"squash(fraction={fraction}, interpolation='{interpolation}')")
    encoded = file(image)
    high, wide = int(height / fraction), int(width / fraction)
    left, top = round((wide - width) / 2), round((high - height) / 2)
    for original, ours in (
        (image, cut.image(np.asarray(image), [], SIZE)),
        (PIL.Image.open(io.BytesIO(encoded)), cut.encoded(encoded, [], SIZE, 3)),
    ):
        theirs = original.resize((wide, high), FILTERS[interpolation]).crop((left, top, left + width, top + height))
        assert difference(ours, theirs) < 0.3


def test_all_of_an_image_squashed_is_the_crop_resize():
    image = np.asarray(photo(200, 300))
    np.testing.assert_array_equal(crop.squash().image(image, [], SIZE), crop.resize().image(image, [], SIZE))


@pytest.mark.parametrize(
    "text", ["center", "center(fraction=0.5, interpolation='lanczos')", "resize", "pad(pixels=0)", "squash"]
)
def test_an_image_of_the_size_is_left_alone(text):
    cut = crop.parse(text)
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    np.testing.assert_array_equal(cut.image(image, uniform(cut), SIZE), image)


def test_without_antialias_pixels_are_pillows_transform():
    image = photo(200, 300)
    cut = crop.parse("random_resized(scale=(1, 1), ratio=(1.5, 1.5))")
    theirs = image.transform((150, 110), PIL.Image.Transform.EXTENT, (0, 0, 300, 200), PIL.Image.Resampling.BILINEAR)
    ours = np.int32(cut.image(np.asarray(image), uniform(cut), (110, 150)))
    assert np.abs(ours - np.int32(theirs))[1:-1, 1:-1].max() <= 1


@pytest.mark.parametrize("count", [1, 50])
@pytest.mark.parametrize(("shape", "pixels"), [((32, 32, 3), 4), ((8, 8, 1), 1), ((9, 14, 4), 20), ((5, 4, 2), 0)])
def test_padding_a_batch_gives_the_pixels_of_each_image(shape, pixels, count):
    cut = crop.parse(f"pad(pixels={pixels})")
    images = np.random.default_rng(0).integers(1, 256, (count, *shape), np.uint8)
    u = draws.uniform(draws.key(0, tf.range(count)), 2)
    expected = np.zeros_like(images)
    for image, (down, right), result in zip(images, np.int32(u * (2 * pixels + 1)), expected, strict=True):
        padded = np.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
        result[:] = padded[down : down + shape[0], right : right + shape[1]]
    np.testing.assert_array_equal(cut.batch(images, u), expected)
    each = [cut.image(image, numbers, shape[:2]) for image, numbers in zip(images, u, strict=True)]
    np.testing.assert_array_equal(each, expected)


def test_padding_works_on_batches_whose_number_is_not_known():
    cut = crop.parse("pad")
    images = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
    u = draws.uniform(draws.key(0, tf.range(10)), 2).numpy()
    batches = tf.data.Dataset.from_tensor_slices((images, u)).batch(4).map(cut.batch)
    assert batches.element_spec.shape.as_list() == [None, 32, 32, 3]
    np.testing.assert_array_equal(np.concatenate(list(batches)), cut.batch(images, u))


def test_padding_moves_everywhere_up_to_its_width():
    cut = crop.parse("pad(pixels=2)")
    u = draws.uniform(draws.key(0, tf.range(400)), 2)
    dot = np.zeros([400, 7, 7, 1], np.uint8)
    dot[:, 3, 3] = 1
    moved = np.argwhere(cut.batch(dot, u))
    assert len(moved) == 400
    assert {tuple(place) for place in moved[:, 1:3]} == {(y, x) for y in range(1, 6) for x in range(1, 6)}


@pytest.mark.parametrize(
    ("text", "u", "words"),
    [
        ("random_resized(scale=(1, 1), ratio=(1, 1))", [0] * 20 + [0.5, 0.5], "crop 100x100 at (50, 0)"),
        ("scale_jitter", [0, 0.25, 0.5], "shorter side 256, 50% right, 25% down"),
        ("pad(pixels=2)", [0, 0.99], "moved by (-2, 2)"),
        ("resize", [], "all of it"),
        ("center", [], "centre, 87.5%"),
        ("squash", [], "squashed centre, 100.0%"),
    ],
)
def test_description(text, u, words):
    assert crop.parse(text).describe(np.float32(u), 100, 200) == words


@pytest.mark.parametrize("text", TEXTS)
def test_bad_files_are_errors(text):
    cut = crop.parse(text)
    for encoded in (b"", b"text", file(photo(100, 150))[:400], file(photo(60, 70), "PNG")[:-40]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            cut.encoded(encoded, uniform(cut), SIZE, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one crop is wanted"),
        ("resize, center", "one crop is wanted"),
        ("centre", "did you mean center"),
        ("center(fraktion=1)", "no parameter 'fraktion'"),
        ("center(fraction=0)", r"center\(fraction=0\): a number above 0"),
        ("center(fraction=1.1)", "up to 1"),
        ("squash(fraction=0)", r"squash\(fraction=0\): a number above 0"),
        ("center(interpolation='nearest')", "'bilinear' or 'bicubic' or 'lanczos' is wanted"),
        ("random_resized(scale=(0, 1))", "0 < lowest <= highest <= 1"),
        ("random_resized(scale=(0.5, 0.4))", "0 < lowest <= highest <= 1"),
        ("random_resized(scale=(0.5, 2))", "0 < lowest <= highest <= 1"),
        ("random_resized(ratio=(2, 1))", "0 < lowest <= highest"),
        ("random_resized(ratio=(-1, 1))", "0 < lowest <= highest"),
        ("scale_jitter(shortest=(0, 5))", "1 <= lowest <= highest"),
        ("scale_jitter(shortest=(9.5, 12))", "whole number"),
        ("pad(pixels=-1)", "from 0 on"),
    ],
)
def test_what_cannot_be(text, message):
    with pytest.raises(ValueError, match=message):
        crop.parse(text)
