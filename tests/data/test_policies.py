"""Policies draw what their papers say, apply it in order, and the tables are the published ones."""

import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from kerascnn.data import augment, draws, policies

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, [40, 32, 3], np.uint8)
NAMES = list(policies.KINDS)

# The tables of arXiv:1805.09501 as torchvision 0.28 has them: the kind, ten times its probability, its magnitude.
# fmt: off
PUBLISHED = {
    "imagenet": """
        Po48 Ro69, So65 Ac6-, Eq8- Eq6-, Po67 Po66, Eq4- So24,
        Eq4- Ro88, So63 Eq6-, Po85 Eq10-, Ro23 So68, Eq6- Po46,
        Ro88 Co40, Ro49 Eq6-, Eq0- Eq8-, In6- Eq10-, Co64 Ct108,
        Ro88 Co102, Co88 So87, Sh47 In6-, Sx65 Eq10-, Co40 Eq6-,
        Eq4- So24, So65 Ac6-, In6- Eq10-, Co64 Ct108, Eq8- Eq6-,
    """,
    "cifar10": """
        In1- Ct26, Ro72 Tx39, Sh81 Sh93, Sy58 Ty79, Ac5- Eq9-,
        Sy27 Po37, Co43 Br67, Sh39 Br79, Eq6- Eq5-, Ct67 Sh65,
        Co77 Tx58, Eq3- Ac4-, Ty43 Sh26, Br96 Co28, So52 In0-,
        Eq2- Ac6-, Eq2- Eq6-, Co99 Eq6-, Ac8- So28, Br13 Co70,
        So45 Ac9-, Ty99 Ty79, Ac9- So83, Eq8- In1-, Ty79 Ac9-,
    """,
    "svhn": """
        Sx94 In2-, Sy98 In7-, Eq6- So66, In9- Eq6-, Eq6- Ro93,
        Sx94 Ac8-, Sy98 In4-, Sy95 So26, In9- Ac8-, Eq6- Ro93,
        Sx94 So33, Sy88 In7-, Eq9- Ty66, In9- Eq6-, Ct33 Ro84,
        In8- Ty02, Sy76 So48, In6- Ro84, Sy37 Tx93, Sx16 In6-,
        So72 Ty67, Sy84 In8-, Sx79 Ty83, Sy85 Ac7-, Sx72 In1-,
    """,
}
KINDS = {
    "Po": "posterize", "So": "solarize", "Ac": "autocontrast", "Eq": "equalize", "In": "invert", "Co": "color",
    "Ct": "contrast", "Br": "brightness", "Sh": "sharpness", "Ro": "rotate", "Sx": "shear_x", "Sy": "shear_y",
    "Tx": "translate_x", "Ty": "translate_y",
}
# fmt: on


def numbers(policy, count):
    return draws.uniform(draws.key(3, tf.range(count)), policy.draws)


def drawn(text, count):
    """What a policy's first operation draws, for many images."""
    policy = augment.parse(text)
    draw = tf.function(policy.operations[0].draw)
    rows = [draw(u) for u in numbers(policy, count)]
    return [np.stack(values) for values in zip(*rows, strict=True)]


def affine(image, matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(128,) * 3)


# Each kind by Pillow, and how many levels may differ.
REFERENCES = {
    "identity": (lambda image, _: image, 0),
    "autocontrast": (lambda image, _: ImageOps.autocontrast(image), 1),
    "equalize": (lambda image, _: ImageOps.equalize(image), 0),
    "invert": (lambda image, _: ImageOps.invert(image), 0),
    "posterize": (lambda image, bits: ImageOps.posterize(image, int(bits)), 0),
    "solarize": (ImageOps.solarize, 0),
    "color": (lambda image, x: ImageEnhance.Color(image).enhance(1 + x), 1),
    "contrast": (lambda image, x: ImageEnhance.Contrast(image).enhance(1 + x), 1),
    "brightness": (lambda image, x: ImageEnhance.Brightness(image).enhance(1 + x), 1),
    "sharpness": (lambda image, x: ImageEnhance.Sharpness(image).enhance(1 + x), 1),
    "rotate": (lambda image, x: image.rotate(x, fillcolor=(128,) * 3), 0),
    "shear_x": (lambda image, x: affine(image, (1, x, 0, 0, 1, 0)), 0),
    "shear_y": (lambda image, x: affine(image, (1, 0, 0, x, 1, 0)), 0),
    "translate_x": (lambda image, x: affine(image, (1, 1e-9, -x * image.width, 0, 1, 0)), 0),
    "translate_y": (lambda image, x: affine(image, (1, 1e-9, 0, 0, 1, -x * image.height)), 0),
}


def test_every_kind_has_a_reference():
    assert list(REFERENCES) == NAMES


def test_randaugment_applies_what_it_drew():
    policy = augment.parse("randaugment(n=1, m=5, std=3)")
    image, seen = IMAGE // 2 + 40, set()
    for u in numbers(policy, 120):
        kind, strength = (x.numpy()[0] for x in policy.operations[0].draw(u))
        reference, levels = REFERENCES[NAMES[kind]]
        expected = np.float64(reference(Image.fromarray(image), float(strength)))
        np.testing.assert_allclose(np.float64(policy(image, u)), expected, rtol=0, atol=levels, err_msg=NAMES[kind])
        seen.add(NAMES[kind])
    assert seen == set(policies.RANDAUGMENT)


def test_operations_follow_one_another():
    two, one = augment.parse("randaugment(n=2, m=9)"), augment.parse("randaugment(n=1, m=9)")
    for u in numbers(two, 20).numpy():
        np.testing.assert_array_equal(two(IMAGE, u), one(one(IMAGE, u[::2]), u[1::2]))
        assert two.describe(u) == one.describe(u[::2]) + one.describe(u[1::2])


def test_randaugment_draws_fourteen_operations_evenly():
    kinds, strengths = drawn("randaugment(n=2, m=9)", 1500)
    counts = np.bincount(kinds.ravel(), minlength=15)
    assert counts[NAMES.index("invert")] == 0
    assert np.all(abs(np.delete(counts, NAMES.index("invert")) - 3000 / 14) < 5 * np.sqrt(3000 / 14))
    assert abs(np.corrcoef(kinds[:, 0], kinds[:, 1])[0, 1]) < 0.1
    found = {name: {round(float(x), 4) for x in strengths[kinds == i]} for i, name in enumerate(NAMES)}
    assert found["rotate"] == {-27.0, 27.0} and found["color"] == {-0.81, 0.81} and found["shear_x"] == {-0.27, 0.27}
    assert found["translate_y"] == {-0.4079, 0.4079}  # 0.9 * 150 / 331
    assert found["posterize"] == {4.0} and found["solarize"] == {25.6}  # 8 - 3.6 and 256 - 0.9 * 256


def test_the_noise_on_magnitudes_is_normal_and_stays_inside():
    kinds, strengths = drawn("randaugment(n=4, m=5, std=1)", 1500)
    levels = abs(strengths[kinds == NAMES.index("rotate")]) / 3
    assert abs(levels.mean() - 5) < 0.2 and abs(levels.std() - 1) < 0.15
    kinds, strengths = drawn("randaugment(n=4, m=9, std=4)", 300)
    levels = abs(strengths[kinds == NAMES.index("rotate")]) / 3
    assert levels.max() == 10 and np.mean(levels == 10) > 0.2 and levels.min() >= 0


def test_trivialaugment_draws_one_with_any_of_31_strengths():
    kinds, strengths = drawn("trivialaugment", 3000)
    assert kinds.shape == (3000, 1) and set(NAMES) - {NAMES[kind] for kind in kinds[:, 0]} == {"invert"}
    rotations = strengths[kinds == NAMES.index("rotate")]
    np.testing.assert_allclose(abs(rotations) % 4.5 % 4.5, 0, atol=1e-9)
    assert abs(rotations).max() == 135 and rotations.min() < 0 < rotations.max()
    assert set(strengths[kinds == NAMES.index("posterize")]) == {2, 3, 4, 5, 6, 7, 8}
    assert abs(strengths[kinds == NAMES.index("translate_x")]).max() == 32


def test_translations_above_one_are_pixels():
    policy = augment.parse("trivialaugment(fill=0)")
    for u in numbers(policy, 400):
        kind, strength = (x.numpy()[0] for x in policy.operations[0].draw(u))
        if NAMES[kind] == "translate_x" and 1 < strength < 20:
            shift = round(float(strength))
            ours = policy(IMAGE, u).numpy()
            columns = [np.array_equal(ours[:, s:], IMAGE[:, : 32 - s]) for s in (shift - 1, shift, shift + 1)]
            assert sum(columns) == 1 and np.all(ours[:, : shift - 1] == 0)
            return
    pytest.fail("no such translation was drawn")


@pytest.mark.parametrize("name", PUBLISHED)
def test_autoaugment_tables_are_the_published_ones(name):
    published = []
    for pair in PUBLISHED[name].replace("\n", " ").strip(" ,").split(","):
        published.append(re.findall(r"(\w\w)(\d+)(.)(?= |$)", pair))
    ours = [row.split() for row in policies.SUB_POLICIES[name]]
    assert len(ours) == len(published) == 25
    for row, pair in zip(ours, published, strict=True):
        assert row == [x for kind, share, level in pair for x in (KINDS[kind], f"{int(share) / 10}", level)]


def test_autoaugment_draws_pairs_with_their_probabilities():
    kinds, strengths = drawn("autoaugment(policy='svhn')", 4000)
    invert = NAMES.index("invert")
    # Four rows begin with invert and have 0.9, one each 0.8 and 0.6; two more end with it.
    rows = [row.split() for row in policies.SUB_POLICIES["svhn"]]
    expected = sum(float(row[1 + i]) for row in rows for i in (0, 3) if row[i] == "invert") / 25
    assert abs(np.mean(np.sum(kinds == invert, 1)) - expected) < 0.04
    assert np.mean(kinds == 0) > 0.2
    rotations = abs(strengths[kinds == NAMES.index("rotate")])
    assert {round(x, 4) for x in rotations} == {10.0, 13.3333}  # magnitudes 3 and 4 of 9, of 30 degrees


def test_augmix_mixes_its_chains():
    policy = augment.parse("augmix(severity=5)")
    for u in numbers(policy, 3):
        kinds, strengths, weights = (x.numpy() for x in policy.operations[0].draw(u))
        assert kinds.shape == strengths.shape == (3, 3) and abs(weights.sum() - 1) < 1e-9 and weights.min() > 0
        mixed = weights[0] * IMAGE
        for weight, *drawn in zip(weights[1:], kinds, strengths, strict=True):
            mixed = mixed + weight * np.float64(
                policies._applied(tf.constant(IMAGE), *map(tf.constant, drawn), 0, "bilinear")
            )
        np.testing.assert_allclose(np.float64(policy(IMAGE, u)), mixed, atol=0.51)
        assert policy.describe(u.numpy())[0] == f"{weights[0]:.2f} original" and len(policy.describe(u.numpy())) == 4


def test_augmix_draws_as_its_paper_says():
    kinds, strengths, weights = drawn("augmix(severity=3)", 800)
    lengths = np.sum(kinds > 0, 2).ravel()
    np.testing.assert_allclose(np.bincount(lengths, minlength=4) / len(lengths), [0, 1 / 3, 1 / 3, 1 / 3], atol=0.05)
    assert {NAMES[kind] for kind in np.unique(kinds)} == {*policies.AUGMIX, "identity"}
    rotations = abs(strengths[kinds == NAMES.index("rotate")])
    assert 0.3 <= rotations.min() < 0.5 and 8.8 < rotations.max() <= 9
    # Beta(1, 1) and Dirichlet(1, 1, 1): means and variances.
    np.testing.assert_allclose([weights[:, 0].mean(), weights[:, 0].var()], [1 / 2, 1 / 12], atol=0.02)
    shares = weights[:, 1:] / weights[:, 1:].sum(1, keepdims=True)
    np.testing.assert_allclose([shares.mean(), shares.var()], [1 / 3, 1 / 18], atol=0.01)
    (sharp,) = (drawn("augmix(alpha=20)", 400)[2][:, 0],)
    np.testing.assert_allclose([sharp.mean(), sharp.var()], [1 / 2, 1 / 164], atol=0.01)


def test_threeaugment_draws_one_of_three():
    policy = augment.parse("threeaugment(jitter=0)")
    said = {policy.describe(u)[0].split()[0] for u in numbers(policy, 30).numpy()}
    assert said == {"grayscale", "solarize", "blur"}
    for u in numbers(policy, 12).numpy():
        first, flipped = policy.describe(u)[0], len(policy.describe(u)) == 2
        ours = policy(IMAGE, u).numpy()[:, :: -1 if flipped else 1]
        if first == "grayscale":
            np.testing.assert_array_equal(ours, ImageOps.grayscale(Image.fromarray(IMAGE)).convert("RGB"))
        elif first == "solarize 128":
            np.testing.assert_array_equal(ours, ImageOps.solarize(Image.fromarray(IMAGE), 128))
        else:
            assert ours.std() < IMAGE.std()


@pytest.mark.parametrize("name", policies.PRESETS)
def test_presets_have_a_policy_and_a_reason(name):
    text, reason = policies.PRESETS[name]
    policy = augment.parse(name)
    assert [o.name for o in policy.operations] == [o.name for o in augment.parse(text).operations]
    assert "\n" not in reason and len(reason) > 30
    names = {operation.name for operation in policy.operations}
    assert ("horizontal_flip" in names) == (name not in ("text", "handed"))


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("text", ["randaugment", "augmix(width=1)", "3augment"])
def test_policies_take_grey_and_four_channels(text, channels):
    policy = augment.parse(text)
    image = RNG.integers(0, 256, [9, 9, channels], np.uint8)
    assert policy(image, numbers(policy, 1)[0]).shape == (9, 9, channels)


@pytest.mark.parametrize(
    "text",
    [
        *("randaugment(n=0)", "randaugment(m=11)", "randaugment(std=-1)", "randaugment(fill=256)"),
        *("augmix(severity=0)", "augmix(severity=11)", "augmix(width=0)", "augmix(depth=0)", "augmix(alpha=0)"),
        *("trivialaugment(fill=-1)", "3augment(jitter=-1)"),
    ],
)
def test_values_that_cannot_be_are_refused_at_once(text):
    with pytest.raises(ValueError, match=r"a number from .* is wanted"):
        augment.parse(text)
