"""How large an image is, from its file's first bytes: what decoding it would cost, known before anything is decoded."""

from collections.abc import Iterable

# Segments of a JPEG, and blocks of a GIF, that are looked at on the way to the size; a photograph has tens.
MAX_STEPS = 1_000


def pixels(encoded: bytes) -> int | None:
    """Height times width of a JPEG, PNG, GIF (its first frame) or BMP.

    It is 0 for bytes that are no such image, or are cut short before they tell: a decoder refuses them. It is None
    where the size lies behind more than `MAX_STEPS` parts of the file, which is not looked through.
    """
    if encoded.startswith(b"\xff\xd8"):
        return _jpeg(encoded)
    if encoded.startswith(b"\x89PNG"):
        return _number(encoded, 16, 4, "big") * _number(encoded, 20, 4, "big")
    if encoded.startswith(b"GIF"):
        return _gif(encoded)
    if encoded.startswith(b"BM"):
        height = _number(encoded, 22, 4, "little")
        return _number(encoded, 18, 4, "little") * min(height, 2**32 - height)  # negative: the upper lines come first
    return 0


def _number(encoded, start, length, order) -> int:
    part = encoded[start : start + length]
    return int.from_bytes(part, order) if len(part) == length else 0


def _jpeg(encoded):
    """A JPEG is a row of segments, each behind 0xFF and its kind; nearly all begin with their length."""
    place = 2
    for _ in range(MAX_STEPS):
        place = encoded.find(b"\xff", place)
        if place < 0 or place + 4 > len(encoded):
            return 0
        kind = encoded[place + 1]
        if kind == 0xFF:  # filling
            place += 1
        elif 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # the start of a frame
            return _number(encoded, place + 5, 2, "big") * _number(encoded, place + 7, 2, "big")
        elif kind in (0x00, 0x01) or 0xD0 <= kind <= 0xD8:  # these stand alone
            place += 2
        else:
            place += 2 + _number(encoded, place + 2, 2, "big")
    return None


def _gif(encoded):
    """A GIF is a header, a palette and blocks: images behind a comma, others behind an exclamation mark."""
    screen = _number(encoded, 6, 2, "little") * _number(encoded, 8, 2, "little")
    place = 13 + _palette(encoded, 10)
    steps = MAX_STEPS
    while encoded[place : place + 1] == b"!":
        place += 2
        while length := _number(encoded, place, 1, "little"):
            place, steps = place + 1 + length, steps - 1
            if steps < 0:
                return None
        place, steps = place + 1, steps - 1
        if steps < 0:
            return None
    frame = _number(encoded, place + 5, 2, "little") * _number(encoded, place + 7, 2, "little")
    return max(screen, frame)


def _palette(encoded, place):
    flags = _number(encoded, place, 1, "little")
    return 3 * 2 ** (1 + flags % 8) if flags >= 128 else 0


def cost(values: Iterable[bytes], largest: int) -> list[int]:
    """For each string of a tensor, the pixels that its decoding may come to.

    A string that is no image may be a serialised tf.Example that holds some. One whose size cannot be told counts as
    `largest`.
    """
    return [_at_most(value, largest) for value in values]


def _at_most(value, largest):
    known = pixels(value)
    if known == 0 and value[:1] == b"\n":  # as every tf.Example begins
        return max(map(lambda image: largest if image is None else image, map(pixels, _within(value))), default=0)
    return largest if known is None else known


def _within(value):
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(value).features.feature
    except DecodeError:
        return []
    return [content for feature in features.values() for content in feature.bytes_list.value]
