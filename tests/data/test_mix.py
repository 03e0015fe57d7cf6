"""Mixed batches against a reference in NumPy, element by element; the distribution of lambda; shares of a batch."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kerascnn.data import draws, mix

RNG = np.random.default_rng(0)
ROWS, HEIGHT, WIDTH, CLASSES = 24, 10, 14, 5
IMAGES = RNG.integers(0, 256, (ROWS, HEIGHT, WIDTH, 3), np.uint8)
LABELS = RNG.integers(0, CLASSES, ROWS)


def numbers(mixer, rows=ROWS, key=7):
    u = draws.uniform(draws.key(key, tf.range(rows, dtype=tf.int64)), mixer.draws)
    return u, draws.uniform(draws.key(key), mixer.batch_draws)


def reference(operations, mode, images, labels, u, v, classes, smoothing=0.0):
    """The same in loops. operations: (name, alpha, p, share)."""
    shares = np.cumsum([share for *_, share in operations])
    smooth = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
    _, height, width, _ = images.shape
    mixed_images, mixed_labels = [], []
    for row in range(0, len(images), 2 if mode == "half" else 1):
        partner = row ^ 1
        drawn = {"batch": v, "element": u[row], "pair": u[row // 2 * 2], "half": u[row]}[mode]
        name, alpha, p, _ = operations[np.flatnonzero(drawn[0] < shares / shares[-1])[0]]
        image, lam = np.float64(images[row]), 1.0
        if drawn[1] < p:
            lam = scipy.stats.beta.ppf(np.float64(drawn[2]), alpha, alpha)
            if name == "mixup":
                image = np.rint(lam * image + (1 - lam) * images[partner])
            else:
                tall, wide = int(height * np.sqrt(1 - lam)), int(width * np.sqrt(1 - lam))
                middle_y, middle_x = int(drawn[3] * height), int(drawn[4] * width)
                top, left = max(middle_y - tall // 2, 0), max(middle_x - wide // 2, 0)
                bottom, right = min(middle_y + (tall + 1) // 2, height), min(middle_x + (wide + 1) // 2, width)
                image[top:bottom, left:right] = images[partner, top:bottom, left:right]
                lam = 1 - (bottom - top) * (right - left) / (height * width)
        mixed_images.append(image.astype(np.uint8))
        mixed_labels.append(lam * smooth[row] + (1 - lam) * smooth[partner])
    return np.array(mixed_images), np.array(mixed_labels)


def text(operations, mode):
    return ", ".join(f"{name}(alpha={alpha}, {mode=}, {p=}, {share=})" for name, alpha, p, share in operations)


CASES = {
    "mixup": [("mixup", 0.2, 1.0, 1.0)],
    "cutmix": [("cutmix", 1.0, 1.0, 1.0)],
    "sometimes": [("cutmix", 0.7, 0.5, 1.0)],
    "switch": [("mixup", 0.8, 0.9, 1.0), ("cutmix", 1.0, 0.8, 1.0)],
    "shares": [("cutmix", 1.0, 1.0, 3.0), ("mixup", 2.0, 1.0, 1.0), ("mixup", 0.4, 0.5, 2.0)],
}


@pytest.mark.parametrize("mode", ["batch", "pair", "element", "half"])
@pytest.mark.parametrize("case", CASES)
def test_every_element_is_that_of_the_reference(case, mode):
    mixer = mix.parse(text(CASES[case], mode))
    for key in range(6 if mode == "batch" else 2):
        u, v = numbers(mixer, key=key)
        images, labels = mixer(IMAGES, LABELS, u, v, CLASSES, smoothing=0.1)
        expected_images, expected_labels = reference(
            CASES[case], mode, IMAGES, LABELS, u.numpy(), v.numpy(), CLASSES, smoothing=0.1
        )
        assert (images.dtype, labels.dtype, images.shape) == (tf.uint8, tf.float32, expected_images.shape)
        # The quantiles are interpolated and the weights have 16 bits: what is nearly a tie may round to the other side.
        assert np.abs(np.int64(images) - expected_images).max() <= ("mixup" in text(CASES[case], mode))
        assert np.mean(images != expected_images) < 0.01
        np.testing.assert_allclose(labels, expected_labels, atol=1e-5)
        np.testing.assert_allclose(np.sum(labels, 1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_something_is_mixed_and_something_is_not(name):
    mixer = mix.parse(f"{name}(alpha=1.0, p=0.5, mode='pair')")
    images, _ = mixer(IMAGES, LABELS, *numbers(mixer), CLASSES)
    changed = np.any(images != IMAGES, (1, 2, 3))
    assert 0.2 < changed.mean() < 0.8
    np.testing.assert_array_equal(changed[::2], changed[1::2])


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 8.0])
def test_lambda_follows_the_beta_distribution(alpha):
    """At fixed draws; most of 0.05's and 0.2's lies at its ends."""
    mixer = mix.parse(f"mixup(alpha={alpha}, mode='element')")
    u = draws.uniform(draws.key(3, tf.range(200_000, dtype=tf.int64)), mixer.draws)
    blank = tf.zeros([200_000, 1, 1, 1], tf.uint8)
    _, labels = mixer(blank, tf.range(200_000) % 2, u, [], 2)
    lam = np.where(np.arange(200_000) % 2, labels[:, 1], labels[:, 0]).astype(np.float64)
    assert lam.min() >= 0 and lam.max() <= 1
    # Kolmogorov's and Smirnov's, between the places where float32 tells lambda from 0 and from 1.
    small = np.geomspace(1e-6, 0.5, 2000)
    places = np.concatenate([small, 1 - small[::-1]])
    seen = np.searchsorted(np.sort(lam), places) / len(lam)
    assert np.abs(seen - scipy.stats.beta.cdf(places, alpha, alpha)).max() < 1.63 / np.sqrt(len(lam))  # 1 % chance


def test_the_ends_of_the_numbers():
    """The smallest and the largest number that can be drawn: nothing is negative, nothing above 1."""
    last = np.float32(1 - 2**-24)
    for name, alpha in (("mixup", 0.2), ("mixup", 1.0), ("cutmix", 0.2), ("cutmix", 1.0)):
        mixer = mix.parse(f"{name}(alpha={alpha}, mode='element')")
        u = np.float32([[0, 0, a, b, c] for a in (0, last) for b in (0, last) for c in (0, last)])
        images, labels = mixer(IMAGES[:8], LABELS[:8], u, [], CLASSES)
        expected = reference([(name, alpha, 1.0, 1.0)], "element", IMAGES[:8], LABELS[:8], u, None, CLASSES)
        np.testing.assert_array_equal(images, expected[0])
        np.testing.assert_allclose(labels, expected[1], atol=1e-6)


def test_cutmix_labels_count_the_pixels():
    """A black image and a white one: the mean is the white one's share, also where the box hangs over the edge."""
    mixer = mix.parse("cutmix(mode='element')")
    rows = 4000
    images = np.zeros([rows, 9, 13, 1], np.uint8)
    images[1::2] = 255
    mixed, labels = mixer(images, np.arange(rows) % 2, *numbers(mixer, rows), 2)
    white = np.mean(mixed.numpy() == 255, (1, 2, 3))
    np.testing.assert_allclose(labels[:, 1], white, atol=1e-6)
    foreign = np.where(np.arange(rows) % 2, 1 - white, white)
    assert 0 < np.mean(foreign == 0) < 0.1 and foreign.max() > 0.8


def test_any_even_share_of_the_rows_gives_its_share_of_the_batch():
    for mode in ("batch", "pair", "element", "half"):
        mixer = mix.parse(f"mixup(alpha=0.8, {mode=}), cutmix({mode=})")
        u, v = numbers(mixer)
        whole_images, whole_labels = mixer(IMAGES, LABELS, u, v, CLASSES)
        for share in (slice(0, 8), slice(8, 10), slice(10, 24)):
            images, labels = mixer(IMAGES[share], LABELS[share], u[share], v, CLASSES)
            kept = slice(share.start // mixer.rows, share.stop // mixer.rows)
            np.testing.assert_array_equal(images, whole_images[kept])
            np.testing.assert_array_equal(labels, whole_labels[kept])


@pytest.mark.parametrize("mode", ["batch", "pair", "element", "half"])
@pytest.mark.parametrize("static", [True, False])
def test_in_a_pipeline_as_by_hand(static, mode):
    mixer = mix.parse(f"mixup({mode=}), cutmix({mode=})")
    u, v = numbers(mixer)
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS, u)).batch(8, drop_remainder=static)
    dataset = dataset.map(lambda images, labels, u: mixer(images, labels, u, v, CLASSES, 0.1), tf.data.AUTOTUNE)
    rows = 8 // mixer.rows if static else None
    assert dataset.element_spec == (
        tf.TensorSpec([rows, HEIGHT, WIDTH, 3], tf.uint8),
        tf.TensorSpec([rows, CLASSES], tf.float32),
    )
    images, labels = (np.concatenate(parts) for parts in zip(*dataset, strict=True))
    by_hand = mixer(IMAGES, LABELS, u, v, CLASSES, 0.1)
    np.testing.assert_array_equal(images, by_hand[0])
    np.testing.assert_allclose(labels, by_hand[1], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels(channels):
    mixer = mix.parse("cutmix(mode='half')")
    images = RNG.integers(0, 256, (6, 4, 4, channels), np.uint8)
    u, v = numbers(mixer, 6)
    mixed, _ = mixer(images, LABELS[:6], u, v, CLASSES)
    expected = reference(CASES["cutmix"], "half", images, LABELS[:6], u.numpy(), v.numpy(), CLASSES)
    np.testing.assert_array_equal(mixed, expected[0])


@pytest.mark.parametrize("named", [None, "", "repeat", "repeat(times=2)"])
def test_without_a_mix_nothing_is_mixed(named):
    mixer = mix.parse(named)
    assert (mixer.draws, mixer.batch_draws, mixer.rows, mixer.mode) == (0, 0, 1, None)
    images, labels = mixer(IMAGES[:3], LABELS[:3], *numbers(mixer, 3), CLASSES, smoothing=0.1)  # odd
    np.testing.assert_array_equal(images, IMAGES[:3])
    np.testing.assert_allclose(labels, np.eye(CLASSES)[LABELS[:3]] * 0.9 + 0.02, atol=1e-6)


def test_what_a_mix_carries():
    assert mix.parse("mixup").repeats == 1
    both = mix.parse("repeat(times=3), mixup(mode='half')")
    assert (both.repeats, both.rows, both.draws, both.batch_draws, both.mode) == (3, 2, 5, 0, "half")
    assert (mix.parse("cutmix").draws, mix.parse("cutmix").batch_draws) == (0, 5)


def test_an_odd_batch_is_an_error():
    mixer = mix.parse("mixup(mode='pair')")
    u, v = numbers(mixer, 3)
    with pytest.raises(ValueError, match="mix: 3 images cannot be mixed in pairs: give each worker an even share"):
        mixer(IMAGES[:3], LABELS[:3], u, v, CLASSES)
    dynamic = tf.function(lambda *batch: mixer(*batch, CLASSES), input_signature=[
        tf.TensorSpec([None, HEIGHT, WIDTH, 3], tf.uint8),
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([None, 5]),
        tf.TensorSpec([0]),
    ])  # fmt: skip
    assert dynamic(IMAGES[:4], LABELS[:4], numbers(mixer, 4)[0], v)[0].shape == (4, HEIGHT, WIDTH, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="images cannot be mixed in pairs"):
        dynamic(IMAGES[:3], LABELS[:3], u, v)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("mixpu", "mix: there is no 'mixpu': did you mean mixup"),
        ("mixup(alpha=0)", r"alpha=0 must be above 0"),
        ("cutmix(alpha=-1.0)", r"alpha=-1.0 must be above 0"),
        ("mixup(p=1.1)", "p=1.1 is no probability"),
        ("mixup(share=0)", "share=0 must be above 0"),
        ("mixup(mode='elem')", "'batch' or 'pair' or 'half' or 'element' is wanted"),
        ("mixup, cutmix(mode='pair')", "the mode must be the same in all, not batch and pair"),
        ("mixup(0.2)", r"not of the form 'name\(key=value\)'"),
        ("repeat(times=0)", "times=0 must be 1 or more"),
        ("repeat(times=2), repeat(times=3)", "repeat stands there twice"),
    ],
)
def test_wrong_texts(wrong, message):
    with pytest.raises(ValueError, match=message):
        mix.parse(wrong)
