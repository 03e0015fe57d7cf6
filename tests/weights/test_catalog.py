"""The catalogue of published weights: its rows, its names, and the config.json of others.

torch_forms.json.gz, which `python -m tools.torch_golden forms` writes, holds what timm computes in float64 for those of
its architectures that are a model of ours in another form.
"""

import dataclasses
import json
import re

import numpy as np
import pytest

import kerascnn
from kerascnn import registry, weights
from kerascnn.weights import catalog, keras_names, torch_names, torch_tables
from tools import torch_golden

PLAIN = torch_golden.read(torch_golden.PATH)["models"]
FORMS = torch_golden.read(torch_golden.FORMS)["models"]
QUICK = {"timm/mobilenetv1_125", "timm/tf_mobilenetv3_small_minimal_100"}
# How far, in standard deviations, the logits of the second image may be off where made-up weights drive the net into
# chaos: one ulp on the image moves those of tf_efficientnet_b5 by 8e-6, and timm's own of tf_efficientnet_b7 by 1.
CHAOTIC = {"timm/tf_efficientnet_b5": 1e-4, "timm/tf_efficientnet_b7": np.inf}
KNOWN = catalog.known()
TIMM = [checkpoint for checkpoint in KNOWN if checkpoint.source.startswith("timm:")]
KERAS = [checkpoint for checkpoint in KNOWN if checkpoint.source == "keras:imagenet"]


def architecture(checkpoint):
    return checkpoint.source.removeprefix("timm:").partition(".")[0]


@pytest.mark.parametrize("full", [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in FORMS])
def test_float64_logits_are_theirs(full, double):
    facts, size = FORMS[full], torch_golden.SIZE
    name, form = catalog.our_model(full.partition("/")[2])
    model = kerascnn.create_model(name, **{"input_shape": (size, size, 3)} | form)
    tensors = {name: torch_golden.synthetic_tensor(name, shape) for name, shape in facts["tensors"].items()}
    torch_names.assign(model, tensors, catalog.naming(name))
    logits = np.asarray(model(torch_golden.synthetic_images(size)))[:, :16]
    first, second = np.abs(logits - np.asarray(facts["logits"])).max(1) / facts["std"]
    assert first <= 1e-6 and second <= CHAOTIC.get(full, 1e-6)


def test_every_architecture_of_the_catalogue_has_logits_to_compare():
    small = {name for name, facts in registry.facts().items() if facts["params"] <= torch_golden.LARGEST}
    found = {f"timm/{architecture(checkpoint)}" for checkpoint in TIMM if checkpoint.model in small}
    assert set(FORMS) == found - set(PLAIN)
    for full in PLAIN:
        if full.startswith("timm/") and not full.endswith("/senet154"):
            name = torch_golden.our_name(full.partition("/")[2])
            if name in registry.facts():
                assert catalog.our_model(full.partition("/")[2]) == (name, weights.form("timm", name))


def test_the_tables_that_are_kept_twice_agree():
    theirs = {family for family, namings in torch_tables.TABLES.items() if "timm" in namings}
    assert theirs == set(catalog.TIMM_NAMING)


def test_how_many_there_are():
    assert len(TIMM) >= 187 - 9  # those that are known when this is written, without legacy pickles
    assert len(KERAS) == len({checkpoint.model for checkpoint in KERAS}) >= len(keras_names.OURS)
    assert len({checkpoint.source for checkpoint in TIMM}) == len(TIMM)
    assert set(keras_names.OURS.values()) <= {checkpoint.model for checkpoint in KERAS}
    order = [list(registry.facts()).index(checkpoint.model) for checkpoint in KNOWN]
    assert order == sorted(order)
    assert sum(checkpoint.top1 is not None for checkpoint in TIMM) > 100, "run the tool with --results"


@pytest.mark.parametrize("checkpoint", KNOWN, ids=lambda checkpoint: f"{checkpoint.model}-{checkpoint.source}")
def test_a_row_can_be_used(checkpoint):
    registry.override(registry.lookup(checkpoint.model), checkpoint.form)
    family = registry.lookup(checkpoint.model).family
    if checkpoint.naming == "keras":
        assert family in keras_names.TABLES
        assert checkpoint.form == weights.form("keras", checkpoint.model)
        assert checkpoint.url.startswith("https://storage.googleapis.com/") and checkpoint.url.endswith(".h5")
        assert checkpoint.md5 is None or re.fullmatch("[0-9a-f]{32}|[0-9a-f]{64}", checkpoint.md5)
        assert checkpoint.bgr == (family in ("vgg", "resnet"))
    else:
        assert checkpoint.naming in torch_tables.TABLES[family]
        assert (checkpoint.model, checkpoint.form) == catalog.our_model(architecture(checkpoint))
        assert (checkpoint.url, checkpoint.md5, checkpoint.bgr) == (None, None, False)
    assert checkpoint.labels is None
    assert len(checkpoint.mean) == len(checkpoint.std) == 3 and min(checkpoint.std) > 0 and max(checkpoint.mean) < 1
    assert min(checkpoint.image_size) >= 128 and min(checkpoint.test_size) >= min(checkpoint.image_size)
    assert 0.5 < checkpoint.crop <= 1 and 0.5 < checkpoint.test_crop <= 1
    assert checkpoint.crop_mode in catalog.CROP_MODES and checkpoint.interpolation in catalog.INTERPOLATIONS
    if checkpoint.classes:
        assert len(catalog.class_names(checkpoint.classes)) == checkpoint.num_classes
    else:
        assert checkpoint.num_classes == 0
    if checkpoint.top1 is None:
        assert (checkpoint.top1_size, checkpoint.top1_source) == (None, None)
    else:
        assert 50 < checkpoint.top1 < 95 and checkpoint.top1_source
        assert checkpoint.top1_size in (checkpoint.image_size[0], checkpoint.test_size[0])


def test_what_is_returned_can_be_changed_without_harm():
    catalog.find("timm:tf_efficientnet_b0.in1k").form["padding"] = "symmetric"
    assert catalog.find("timm:tf_efficientnet_b0.in1k").form["padding"] == "same"


def test_facts_that_are_published():
    found = catalog.find("timm:resnet50.a1_in1k", "resnet50")
    assert (found.image_size, found.crop, found.test_size, found.test_crop) == ((224, 224), 0.95, (288, 288), 1.0)
    assert (found.interpolation, found.license, found.classes) == ("bicubic", "apache-2.0", "imagenet1k")
    assert found in catalog.known("resnet50") and catalog.known("lenet5") == catalog.known("no_model") == []
    found = catalog.find("keras:imagenet", "vgg16")
    assert found.md5 == "64373286793e3c8b2b4e3219cbf3544b"
    assert [round(255 * value, 3) for value in (*found.mean, *found.std)] == [123.68, 116.779, 103.939, 1, 1, 1]


@pytest.mark.parametrize(
    ("source", "model", "says"),
    [
        ("timm:resnet50", None, "'timm:resnet50' lacks its tag: choose timm:resnet50.a1_in1k, .* in all"),
        ("timm:vgg16", None, "lacks its tag: choose timm:vgg16.tv_in1k$"),
        ("timm:resnet50.a1", None, "did you mean timm:resnet50"),
        ("timm:rsnet18.a1_in1k", None, "did you mean timm:resnet18.a1_in1k"),
        ("timm:resnet50.a1_in1k", "resnet101", r"is for resnet50, not resnet101: for that there is timm:resnet101\.a1"),
        ("timm:resnet50.a1_in1k", "lenet5", "is for resnet50, not lenet5$"),
        ("timm:alexnet.tv_in1k", "alexnet", "timm's hub has no AlexNet"),
        ("timm:googlenet.tv_in1k", None, "timm's hub has no GoogLeNet"),
        (
            "timm:legacy_seresnet50.in1k",
            None,
            r"a pickle alone, .*\.pth, .* python -m tools.convert_torch FILE.pth --out",
        ),
        ("timm:", None, "no weights 'timm:': kerascnn list --weights shows"),
        ("keras:imagenet", None, "say which, such as resnet50"),
        ("keras:imagenet", "resnet18", "no weights for resnet18; it has them for vgg16,"),
        ("keras:noisy", "resnet50", "keras.applications has keras:imagenet alone"),
        ("hf:owner/repo", None, "not in the catalogue, which has sources such as timm:resnet50.a1_in1k"),
        ("", None, "'' is not in the catalogue"),
    ],
)
def test_a_source_that_is_none(source, model, says):
    with pytest.raises(ValueError, match=says):
        catalog.find(source, model)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tf_resnet50", "no model of ours is timm's 'tf_resnet50': did you mean .*resnet50"),
        ("senet154", "is Gluon's, .* our senet154 is timm's legacy_senet154"),
        ("vit_base_patch16_224", "no model of ours is timm's 'vit_base_patch16_224'"),
    ],
)
def test_an_architecture_that_we_have_not(name, says):
    with pytest.raises(ValueError, match=says):
        catalog.our_model(name)


def test_class_names():
    names = catalog.class_names("imagenet1k")
    assert (len(names), names[0], names[999]) == (
        1000,
        "tench, Tinca tinca",
        "toilet tissue, toilet paper, bathroom tissue",
    )
    with pytest.raises(ValueError, match="no list of classes 'imagenet': did you mean imagenet1k"):
        catalog.class_names("imagenet")


def as_config(checkpoint):
    """The config.json that timm publishes with such weights."""
    return {
        "architecture": architecture(checkpoint),
        "num_classes": checkpoint.num_classes,
        "num_features": 2048,
        "global_pool": "avg",
        "pretrained_cfg": {
            "tag": checkpoint.source.partition(".")[2],
            "custom_load": False,
            "input_size": [3, *checkpoint.image_size],
            "test_input_size": [3, *checkpoint.test_size],
            "fixed_input_size": False,
            "interpolation": checkpoint.interpolation,
            "crop_pct": checkpoint.crop,
            "test_crop_pct": checkpoint.test_crop,
            "crop_mode": checkpoint.crop_mode,
            "mean": list(checkpoint.mean),
            "std": list(checkpoint.std),
            "num_classes": checkpoint.num_classes,
            "pool_size": [7, 7],
            "first_conv": "conv1",
            "classifier": "fc",
            "license": checkpoint.license,
        },
    }


def test_timms_own_configurations_say_what_the_catalogue_says():
    for checkpoint in TIMM:
        config = json.loads(json.dumps(as_config(checkpoint)))
        without = dataclasses.replace(checkpoint, top1=None, top1_size=None, top1_source=None)
        assert catalog.from_config(checkpoint.source, config) == without
        config |= config.pop("pretrained_cfg")  # as older repositories have it
        assert catalog.from_config(checkpoint.source, config) == without


LEAST = {"architecture": "resnet18", "num_classes": 2}


def test_what_a_config_lacks_has_timms_defaults():
    found = catalog.from_config("hf:a/b", LEAST)
    assert (found.model, found.image_size, found.test_size, found.num_classes) == (
        "resnet18",
        (224, 224),
        (224, 224),
        2,
    )
    assert (found.crop, found.crop_mode, found.interpolation) == (0.875, "center", "bicubic")
    assert (found.mean, found.std) == (catalog.IMAGENET_MEAN, catalog.IMAGENET_STD)
    assert (found.classes, found.labels, found.license, found.source) == (None, None, None, "hf:a/b")
    nulls = LEAST | {"pretrained_cfg": dict.fromkeys(("input_size", "mean", "crop_pct", "license", "test_input_size"))}
    assert catalog.from_config("hf:a/b", nulls) == found


def test_grey_weights():
    grey = {"pretrained_cfg": {"input_size": [1, 28, 28], "mean": [0.5], "std": [0.25]}}
    found = catalog.from_config("hf:a/b", LEAST | grey)
    assert (found.image_size, found.mean, found.std) == ((28, 28), (0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(
    ("fields", "labels", "classes"),
    [
        ({"label_names": ["cat", "dog"]}, ("cat", "dog"), None),
        ({"label_names": {"1": "dog"}}, ("0", "dog"), None),
        ({"label_names": ["n1", "n2"], "label_descriptions": {"n1": "cat"}}, ("cat", "n2"), None),
        ({"pretrained_cfg": {"label_names": ["cat", "dog"]}}, ("cat", "dog"), None),
        ({"label_names": None}, None, None),
        ({"num_classes": 0}, None, None),
        ({"num_classes": 1000}, None, "imagenet1k"),
        (
            {"num_classes": 1000, "label_names": [f"c{i}" for i in range(1000)]},
            tuple(f"c{i}" for i in range(1000)),
            None,
        ),
        ({"num_classes": 1000, "label_names": list(catalog.class_names("imagenet1k"))}, None, "imagenet1k"),
    ],
)
def test_class_names_of_a_config(fields, labels, classes):
    found = catalog.from_config("hf:a/b", LEAST | fields)
    assert (found.labels, found.classes) == (labels, classes)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"architecture": None}, "architecture in its config.json must be text, .* is missing"),
        ({"architecture": "resnt18"}, "architecture in its config.json: no model .* did you mean resnet18"),
        ({"num_classes": -1}, "num_classes .* whole number, 0 or more, but is -1"),
        ({"num_classes": None}, "num_classes .* is missing"),
        ({"num_classes": True}, "num_classes"),
        ({"pretrained_cfg": []}, "pretrained_cfg .* an object, but is"),
        ({"input_size": [224, 224, 3]}, r"input_size .* must be \[channels, height, width\], with 1 or 3 channels"),
        ({"input_size": 224}, "input_size"),
        ({"input_size": [3, 0, 1]}, "input_size"),
        ({"test_input_size": "x"}, "test_input_size"),
        ({"crop_pct": 0}, "crop_pct .* above 0, and 1 or less, but is 0"),
        ({"test_crop_pct": 95}, "test_crop_pct"),
        ({"crop_mode": "border"}, "crop_mode .* center or squash, but is 'border'"),
        ({"interpolation": "random"}, "interpolation .* bilinear or bicubic"),
        ({"mean": [0.5]}, "mean .* must be 3 numbers, as input_size has channels"),
        ({"mean": ["a", "b", "c"]}, "mean .* finite numbers"),
        ({"mean": [float("nan")] * 3}, "mean .* finite numbers"),
        ({"std": [1, 1, 0]}, "std .* above 0"),
        ({"input_size": [1, 28, 28]}, "mean .* is missing"),
        ({"license": 3}, "license"),
        ({"label_names": ["cat"]}, "label_names .* must be 2 texts"),
        ({"label_names": ["cat", "dog"], "label_descriptions": "x"}, "label_descriptions"),
        ({"label_offset": 1}, "changes the net by label_offset"),
        ({"global_pool": "max"}, "changes the net by global_pool: load the file itself"),
        ({"model_args": {"num_classes": 2, "norm_layer": "groupnorm"}}, "changes the net by norm_layer"),
        ({"model_args": 3}, "model_args"),
    ],
)
def test_a_config_that_is_wrong_is_answered_by_the_field(fields, says):
    with pytest.raises(ValueError, match=f"^hf:a/b: .*{says}"):
        catalog.from_config("hf:a/b", LEAST | fields)


JUNK = [None, True, -1, 0, 1e400, "x", "", [], [None], {}, {"a": 1}, [[3, 3, 3]], [3, 224, 224], "9" * 10_000]
FIELDS = [
    "architecture", "num_classes", "pretrained_cfg", "input_size", "test_input_size", "crop_pct", "test_crop_pct",
    "crop_mode", "interpolation", "mean", "std", "license", "label_names", "label_descriptions", "label_offset",
    "global_pool", "model_args",
]  # fmt: skip


def test_no_config_raises_anything_but_a_short_value_error():
    for config in JUNK + [LEAST | {field: value} for field in FIELDS for value in JUNK]:
        try:
            catalog.from_config("hf:a/b", config)
        except ValueError as error:
            assert len(str(error)) < 1000 and str(error).startswith("hf:a/b: ")
