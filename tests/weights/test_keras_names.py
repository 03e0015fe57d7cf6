"""Weights of keras.applications on our models: the same arrays give the same logits, whatever they are."""

import csv

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import registry
from kerascnn.weights import keras_names
from kerascnn.weights.names import named_weights
from tools import golden, torch_golden
from tools.keras_golden import BARE, MINIMAL, create, published, wide

with open(golden.PATH.parent / "keras_applications.csv", newline="") as lines:
    FACTS = {row["name"]: row for row in csv.DictReader(lines)}

# The class, the side of the image, odd where the padding allows it, and what both are told.
QUICK = [
    ("VGG16", 33, *BARE),  # its fully connected layers fit 224 pixels alone
    ("ResNet50", 65, {}, {}),
    ("ResNet50V2", 65, {}, {}),
    ("InceptionV3", 75, {}, {}),
    ("Xception", 71, {}, {}),
    ("MobileNet", 64, *wide(0.25)),
    ("MobileNetV2", 65, *wide(0.35)),
    ("MobileNetV3Small", 65, {}, {}),
    ("EfficientNetB0", 65, {}, {}),
    ("ConvNeXtTiny", 65, {}, {}),
]
SLOW = [
    ("VGG16", 224, {}, {}),
    ("VGG19", 224, {}, {}),
    ("ResNet50", 224, {}, {}),
    ("ResNet101", 97, {}, {}),
    ("ResNet152", 64, {}, {}),
    ("ResNet101V2", 97, {}, {}),
    ("ResNet152V2", 64, {}, {}),
    ("InceptionV3", 107, {}, {}),
    ("InceptionResNetV2", 97, {}, {}),
    ("DenseNet121", 65, {}, {}),
    ("DenseNet169", 97, {}, {}),
    ("DenseNet201", 64, {}, {}),
    ("Xception", 96, {}, {}),
    ("MobileNet", 224, {}, {}),
    *(("MobileNet", 64, *wide(alpha)) for alpha in (0.5, 0.75)),
    ("MobileNetV2", 224, {}, {}),
    *(("MobileNetV2", 97, *wide(alpha)) for alpha in (0.5, 0.75, 1.3, 1.4)),
    ("MobileNetV3Large", 224, {}, {}),
    ("MobileNetV3Large", 97, *wide(0.75)),
    ("MobileNetV3Large", 97, *MINIMAL),
    ("MobileNetV3Small", 97, *wide(0.75)),
    ("MobileNetV3Small", 97, *MINIMAL),
    ("EfficientNetB0", 224, {}, {}),
    ("EfficientNetB1", 97, {}, {}),
    *((f"EfficientNetB{n}", 64, {}, {}) for n in range(2, 8)),
    ("ConvNeXtTiny", 224, {}, {}),
    *((f"ConvNeXt{size}", 64, {}, {}) for size in ("Small", "Base", "Large", "XLarge")),
    *((f"EfficientNetV2{size}", 64, {}, {}) for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    ("NASNetMobile", 65, {}, {}),
    ("NASNetMobile", 224, {}, {}),
    ("NASNetLarge", 64, {}, {}),
]


def case(name, size, theirs, ours, marks=()):
    told = ",".join(f"{key}={value}" for key, value in theirs.items())
    return pytest.param(name, size, theirs, ours, marks=marks, id="-".join(filter(None, (name, str(size), told))))


CASES = [case(*row) for row in QUICK] + [case(*row, marks=pytest.mark.slow) for row in SLOW]


@pytest.fixture(autouse=True)
def fresh():
    yield
    keras.backend.clear_session()


@pytest.mark.parametrize(("name", "size", "theirs", "ours"), CASES)
def test_logits_are_theirs(name, size, theirs, ours):
    published_model, model = published(name, size, **theirs), create(name, size, **ours)
    keras_names.assign(model, keras_names.tensors_of(published_model))
    spec = registry.override(registry.lookup(model.variant), model.overrides)
    rules = keras_names.TABLES[registry.lookup(model.variant).family](spec)
    theirs = {ours: layer for layer, ours in keras_names.from_one(part.name for part in published_model.layers).items()}
    for (layer, kind), (norm, _) in named_weights(model, rules).items():
        if kind == "gamma":
            other = published_model.get_layer(theirs[layer])
            if isinstance(other, keras.Sequential):  # of a norm and a convolution
                (other,) = (part for part in other.layers if hasattr(part, "epsilon"))
            assert norm.epsilon == other.epsilon
            assert getattr(norm, "momentum", None) == getattr(other, "momentum", None)
    images = inside = torch_golden.synthetic_images(size)
    if name.startswith("EfficientNet"):  # which has its preprocessing inside; ours sees what comes out of it
        images = 255 * images
        first = published_model.get_layer("stem_conv" if "V2" in name else "stem_conv_pad")
        inside = keras.Model(published_model.input, first.input)(images)
    expected = np.asarray(published_model(images))
    assert np.ptp(expected, 0).std() > 0.01 * expected.std() > 0, "the logits tell the images apart"
    assert np.abs(np.asarray(model(inside)) - expected).max() <= 1e-4 * expected.std()


def counted():
    quick = {row[0] for row in QUICK} - {"VGG16"}
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in keras_names.OURS]


@pytest.mark.parametrize("name", counted())
def test_counts_are_theirs(name):
    model = create(name, 224 if name.startswith("VGG") else 96, initializer="zeros")  # which is quick
    cost, facts = kerascnn.complexity(model), FACTS[name]
    extra = 7 if name.startswith("EfficientNetB") else 0  # the statistics of its preprocessing
    assert cost.trainable_params == int(facts["trainable_params"])
    assert cost.params + extra == int(facts["total_params"])


def test_every_family_of_ours_that_they_have_is_tested():
    tested = {registry.lookup(keras_names.OURS[row[0]]).family for row in QUICK + SLOW}
    assert tested == set(keras_names.TABLES) == {registry.lookup(ours).family for ours in keras_names.OURS.values()}
    assert {row[0] for row in QUICK + SLOW} == set(keras_names.OURS) <= set(FACTS)


@pytest.fixture(scope="module")
def tensors():
    return keras_names.tensors_of(published("MobileNet", 32, alpha=0.25))


KERNEL = "conv1", "kernel"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop(KERNEL), "it lacks conv1/kernel$"),
        (lambda t: t.update({("conv9", "kernel"): t[KERNEL]}), "the model has no conv9/kernel$"),
        (
            lambda t: t.update({KERNEL: t[KERNEL][..., :4]}),
            r"other shapes: conv1/kernel \(3, 3, 3, 4\) for stem_conv/kernel \(3, 3, 3, 8\)$",
        ),
        (
            lambda t: (t.pop(KERNEL), t.update({("x", "y"): t["conv1_bn", "beta"]})),
            "it lacks conv1/kernel; the model has no x/y$",
        ),
    ],
)
def test_what_does_not_fit_assigns_nothing_and_is_listed(tensors, change, says):
    changed = dict(tensors)
    change(changed)
    model = create("MobileNet", 32, width=0.25)
    before = model.get_weights()
    with pytest.raises(ValueError, match=rf"^mobilenet\.h5 does not fit mobilenet_v1: {says}"):
        keras_names.assign(model, changed, source="mobilenet.h5")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_older_files_call_a_weight_of_a_depthwise_convolution_by_another_name(tensors):
    old = {(layer, f"depthwise_{kind}" if "_dw_" in layer and kind == "kernel" else kind) for layer, kind in tensors}
    assert sum(kind == "depthwise_kernel" for _, kind in old) == 13
    model = create("MobileNet", 32, width=0.25)
    keras_names.assign(model, {(layer, kind): tensors[layer, kind.removeprefix("depthwise_")] for layer, kind in old})
    np.testing.assert_array_equal(model.get_layer("stage1_block1_conv1").kernel, tensors["conv_dw_1", "kernel"])


def test_what_they_lack():
    with pytest.raises(ValueError, match=r"does not fit lenet5: keras\.applications has no model of its family"):
        keras_names.assign(kerascnn.create_model("lenet5"), {})
    model = create("MobileNet", 32, width=0.25, se=True)
    with pytest.raises(ValueError, match=r"mobilenet_v1: no rule gives the name of stage1_block1_se_conv1"):
        keras_names.assign(model, {})
