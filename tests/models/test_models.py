"""The contract that every model keeps. The smallest of each family by default, the others with -m slow."""

import csv
import dataclasses
import inspect
import itertools
import json
import re
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerascnn
from kerascnn import models, registry
from kerascnn.weights import keras_names
from tools import golden, make_stubs, make_zoo, torch_golden

GOLDEN = json.loads(golden.PATH.read_text())
FACTS = registry.facts()
FAMILIES = {registry.lookup(name).family for name in kerascnn.list_models()}
# Their fully connected layers need an image of a fixed size.
FIXED = {"lenet", "alexnet", "vgg"}

# The last has no shortcuts; two are costly as they come, and small forms of them have tests of their own.
QUICK = {*golden.quick(), "plain20_cifar"} - {"nasnet_mobile", "dpn48b"}
SLOW = pytest.mark.slow
# By default these are small, in tests of their own, and have their switches here.
LARGE = {"vgg11_bn", "inception_v3", "xception", "densenet_bc100_cifar", "preact_resnet164_cifar"}
NAMES = [pytest.param(name, marks=() if name in QUICK - LARGE else SLOW) for name in kerascnn.list_models()]
every_model = pytest.mark.parametrize("name", NAMES)
small_models = pytest.mark.parametrize("name", sorted(QUICK))


@pytest.fixture(scope="module")
def filled(name):
    """The model at its golden size, filled; one at a time, for all tests that need no other."""
    keras.backend.clear_session()
    return golden.fill(kerascnn.create_model(name, input_shape=golden.small(name), initializer="zeros"))


every_filled_model = pytest.mark.parametrize("name", NAMES, scope="module")
# By default those with layers of our own, or with what Keras writes in another way; test_switches reads all configs.
FILED = {"lenet5", "resnet20_cifar", "nf_resnet26", "mobilenet_v1_025", "shufflenet_v2_x0_5", "inception_next_atto"}
FILES = [pytest.param(name, marks=() if name in FILED else SLOW) for name in kerascnn.list_models()]


def logits(model, **call):
    return np.asarray(model(golden.images(model.input_shape[1:]), **call))


def close(actual, expected, tolerance=1e-4):
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * expected.std()


def rows(file):
    with open(golden.PATH.parent / file, newline="") as lines:
        return [row for row in csv.DictReader(lines)]


def torch_rows():
    """What PyTorch's libraries count, for each model of ours that they have."""
    found = [(torch_golden.our_name(row["name"]), row) for row in rows("torch_models.csv")]
    return [pytest.param(name, row, id=f"{row['source']}-{name}") for name, row in found if name in FACTS]


@pytest.mark.parametrize(("name", "row"), torch_rows())
def test_counts_are_those_of_pytorch(name, row):
    facts, size = FACTS[name], int(row["input_size"])
    assert facts["trainable_params"] == int(row["trainable_params"])
    assert facts["params"] == int(row["params_with_bn_buffers"])
    if registry.lookup(name).spec.input_shape[0] == size:
        macs = facts["macs"]
    else:
        model = kerascnn.create_model(name, input_shape=(size, size, 3), initializer="zeros")  # quick to draw
        macs = kerascnn.complexity(model).macs
    assert macs == int(row["conv_fc_macs"])


COUNTED = {torch_golden.our_name(row["name"]): row for row in rows("torch_counts.csv")}


@pytest.mark.parametrize("row", rows("torch_counts.csv"), ids=lambda row: f"{row['source']}-{row['name']}")
def test_parameters_are_those_of_pytorch(row):
    facts = FACTS[torch_golden.our_name(row["name"])]
    assert (facts["trainable_params"], facts["params"]) == (
        int(row["trainable_params"]),
        int(row["params_with_bn_buffers"]),
    )


@pytest.mark.parametrize("row", rows("papers.csv"), ids=lambda row: f"{row['name']}-{row['fact']}")
def test_counts_are_those_of_the_papers(row):
    digits, unit = re.fullmatch(r"([\d.]+)([KMG]?)", row["printed"]).groups()
    scale = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[unit]
    half = 0.5 * 10 ** -len(digits.partition(".")[2])
    assert abs(FACTS[row["name"]][row["fact"]] / scale - float(digits)) <= half, row["source"]


# Neither in the tables of PyTorch's libraries nor printed in a paper: held by their golden numbers alone.
UNPUBLISHED = {
    "resnet10", "alexnet_grouped", "zfnet", "nin", "nin_cifar", "seresnet20_cifar", "se_mobilenet_v2", "airbench95",
    "airbench96",
}  # fmt: skip


def test_every_count_is_held_against_someone_elses():
    known = {row.values[0] for row in torch_rows()} | set(COUNTED) | {row["name"] for row in rows("papers.csv")}
    known |= set(keras_names.OURS.values())  # which tests/weights/test_keras_names.py counts
    assert set(kerascnn.list_models()) - known == UNPUBLISHED


def test_multiply_accumulates_by_hand():
    first, rest, widths = 32**2 * 27 * 16, 0, (16, 32, 64)
    for i, width in enumerate(widths):
        rest += (32 // 2**i) ** 2 * 9 * width * (5 * width + widths[max(i - 1, 0)])
    assert FACTS["resnet20_cifar"]["macs"] == FACTS["plain20_cifar"]["macs"] == first + rest + 640


def test_the_golden_file_holds_these_models():
    assert list(GOLDEN) == kerascnn.list_models(), "run python -m tools.golden"


@every_model
def test_facts(name):
    assert make_zoo.measured(name) == FACTS[name], "run python -m tools.make_zoo"
    assert list(FACTS[name]["stages"]) == [f"stage{i + 1}" for i in range(len(FACTS[name]["stages"]))]


@every_model
def test_stages_get_coarser(name):
    stages, size = list(FACTS[name]["stages"].values()), registry.lookup(name).spec.input_shape[0]
    heights = [shape[0] for shape in stages]
    assert heights == sorted(set(heights), reverse=True), "each stage halves the one before"
    assert all(height <= size for height in heights)


@every_filled_model
def test_golden_logits(name, filled):
    close(logits(filled)[:, :16], GOLDEN[name]["logits"])
    assert (filled.name, filled.input.name, filled.layers[-1].name) == (
        name,
        "image",
        "pool" if registry.lookup(name).family == "squeezenet" else "logits",
    )
    assert filled.output.dtype == "float32"


@pytest.mark.parametrize("name", FILES, scope="module")
def test_keras_round_trip(name, filled, tmp_path):
    filled.save(tmp_path / "model.keras")
    loaded = kerascnn.load_model(tmp_path / "model.keras")
    (tmp_path / "model.keras").unlink()  # pytest keeps the folders of three runs
    assert loaded.to_json() == filled.to_json()
    assert (loaded.variant, dict(loaded.overrides)) == (name, dict(filled.overrides))
    np.testing.assert_array_equal(logits(loaded), logits(filled))


@every_filled_model
def test_every_weight_gets_a_gradient(name, filled):
    images = golden.images(filled.input_shape[1:])
    with tf.GradientTape() as tape:
        y = filled(images, training=False)
        loss = tf.reduce_sum(y * golden.images(y.shape[1:]))
    gradients = tape.gradient(loss, [w.value for w in filled.trainable_weights])
    for weight, gradient in zip(filled.trainable_weights, gradients, strict=True):
        assert np.isfinite(gradient).all(), weight.path
        assert np.any(gradient), weight.path


@every_filled_model
def test_features_are_the_stages(name, filled):
    stages = [f"stage{i + 1}" for i in range(len(FACTS[name]["stages"]))]
    features = kerascnn.features(filled, range(1, len(stages) + 1))
    maps = features(golden.images(filled.input_shape[1:]))
    assert [map.shape[-1] for map in maps] == [shape[-1] for shape in FACTS[name]["stages"].values()]


@every_model
def test_features(name):
    shape = golden.small(name)
    features = kerascnn.create_model(name, num_classes=0, input_shape=shape, initializer="zeros")
    assert len(features.output_shape) == 2
    assert "logits" not in [layer.name for layer in features.layers]


def odd(name):
    """A size that no stage halves evenly."""
    return max(registry.lookup(name).spec.min_size, 33 if golden.small(name)[0] == 32 else 65)


SIZED = {"lenet5", "alexnet", "resnet10", "mobilenet_v1_025", "googlenet"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SIZED else SLOW) for name in kerascnn.list_models()]
)
def test_odd_sizes_and_one_channel(name):
    shape = (odd(name), odd(name) + 12, 1)
    model = kerascnn.create_model(name, input_shape=shape, num_classes=3)
    assert np.isfinite(model(golden.images(shape))).all()


@every_model
def test_the_feature_map_of_any_size_and_two_channels(name):
    sides = golden.small(name)[:2] if registry.lookup(name).family in FIXED else (None, None)
    model = kerascnn.create_model(name, input_shape=(*sides, 2), num_classes=0, pooling=None)
    channels = list(FACTS[name]["stages"].values())[-1][-1]
    assert len(model.output_shape) == 4 and model.output_shape[-1] >= channels
    height, width = sides if sides[0] else (odd(name) + 2, odd(name))
    found = np.asarray(model(golden.images((height, width, 2))))
    assert found.shape[-1] == model.output_shape[-1] and np.isfinite(found).all()


# The range of float16 is the smaller one, and the casts are the same.
@pytest.mark.parametrize("policy", [pytest.param("mixed_bfloat16", marks=SLOW), "mixed_float16"])
@pytest.mark.parametrize("name", sorted(QUICK - LARGE), scope="module")
def test_mixed_precision(name, filled, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = kerascnn.create_model(name, input_shape=golden.small(name), initializer="zeros")
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights(filled.get_weights())
    y = logits(model)
    assert y.dtype == np.float32
    close(y[:, :16], GOLDEN[name]["logits"], 0.1 if policy == "mixed_bfloat16" else 0.02)


# Of nets with shortcuts alone.
BRANCHED = {"drop_path", "drop_block", "zero_init_residual"}
# By default each switch once, as many at a time as go together; then their other values.
TOGETHER = [
    dict(
        norm="batch", activation="elu", initializer="glorot_uniform", padding="same", pooling="max", dropout=0.1,
        drop_connect=0.1, drop_path=0.2, drop_block=0.2, zero_init_residual=True, conv_bias=True, rematerialize=True,
        bn_momentum=0.5, bn_epsilon=1e-2, output_stride=8,
    ),
    dict(norm="group", activation="maxout", initializer="lecun_normal", pooling="catavgmax", fractional_pool=1.5),
]  # fmt: skip
OTHERS = [
    dict(norm="none", activation="prelu"),
    dict(norm="layer", activation="maxout", initializer="he_normal"),
    dict(norm="instance", activation="gelu", initializer="large_normal", rematerialize=True),
    dict(norm="batch", activation="maxout", initializer="he_normal_fan_out", padding="symmetric"),
    dict(activation="leaky_relu", initializer="glorot_normal", output_stride=16),
    dict(activation="selu", initializer="small_normal"),
    dict(activation="silu", initializer="zeros"),
    dict(activation="tanh"),
    dict(activation="softplus"),
    dict(activation="sigmoid"),
    dict(activation="hard_swish"),
    dict(activation="relu"),
    dict(activation="relu6"),
]
SWITCHES = [*TOGETHER, *(pytest.param(fields, marks=SLOW) for fields in OTHERS)]


@pytest.mark.parametrize("fields", SWITCHES, ids=lambda fields: "-".join(map(str, fields.values()))[:50])
@small_models
def test_switches(name, fields):
    variant = registry.lookup(name)
    known = {field.name for field in dataclasses.fields(variant.spec)}
    given = {field: value for field, value in fields.items() if field in known}
    if given.get("pooling") and variant.family in FIXED:  # fully connected layers stand in its place
        del given["pooling"]
    if given.get("pooling") == "catavgmax" and variant.family == "squeezenet":  # which pools classes
        del given["pooling"]
    if variant.family == "cifar_resnet" and not variant.spec.shortcut:
        given = {field: value for field, value in given.items() if field not in BRANCHED}
    if "hidden" in known and variant.family in FIXED:  # which are most of their weights
        given["hidden"] = (64, 32)
    if "depths" in known:  # the first block of a stage and one behind it; more are more of the same
        given["depths"] = tuple(min(depth, 2) for depth in variant.spec.depths)
    if "rows" in known:  # likewise; a row may stand for several blocks
        rows = variant.spec.rows
        rows = (rows[0], *(row for before, row in itertools.pairwise(rows) if row.stride > 1 or before.stride > 1))
        given["rows"] = tuple(r._replace(repeats=min(r.repeats, 2)) if hasattr(r, "repeats") else r for r in rows)
    if variant.family == "nasnet":
        given["depths"] = (1, 1, 1)
    if variant.family == "regnet":  # five blocks in its four stages
        given |= dict(depth=5, slope=60.0)
    if "middle" in known:
        given["middle"] = 1
    if variant.family == "inception_v3":
        given["stages"] = tuple(modules[:2] for modules in variant.spec.stages)
    side = golden.small(name)[0] if variant.family in FIXED else min(golden.small(name)[0], 64)
    side = max(side, registry.override(variant, given).min_size)
    shape = (side, side, golden.small(name)[2])
    model = kerascnn.create_model(name, input_shape=shape, num_classes=3, **given)
    recorded = {field: value for field, value in given.items() if value != getattr(variant.spec, field)}
    assert set(recorded) <= set(model.overrides)
    images = golden.images(model.input_shape[1:])
    with tf.GradientTape() as tape:
        y = model(images, training=True)
        loss = tf.reduce_sum(y * golden.images(y.shape[1:]))
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    assert y.shape == (2, 3)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    if fields is TOGETHER[0]:
        again = kerascnn.models.Classifier.from_config(model.get_config())
        assert again.to_json() == model.to_json()
    if "bn_epsilon" in given:
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.5, 1e-2)}
    if "output_stride" in given:
        last = model.get_layer(f"stage{len(FACTS[name]['stages'])}").output.shape
        assert last[1] == -(-side // given["output_stride"])


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 15, 3), (33, 8, 4), (None, None, 3)])
@pytest.mark.parametrize("name", ["resnet20_cifar", "plain20_cifar"])
def test_small_nets_take_any_size_from_8_on(name, shape):
    model = kerascnn.create_model(name, input_shape=shape, num_classes=3)
    sizes = [shape] if shape[0] else [(8, 9, 3), (31, 17, 3)]
    for size in sizes:
        assert model(golden.images(size)).shape == (2, 3)


@pytest.mark.parametrize(("shape", "fields"), [((16, 16, 1), {}), ((17, 29, 3), {}), ((4, 8, 1), {"padding": "same"})])
def test_lenet5_takes_any_size_from_16_on(shape, fields):
    assert kerascnn.create_model("lenet5", input_shape=shape, **fields)(golden.images(shape)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("resnet20_cifr", {}, "no model 'resnet20_cifr': did you mean resnet20_cifar, .*resnet32_cifar"),
        ("resnet20_cifar", {"activaton": "relu"}, r"no field 'activaton': did you mean activation\? Its fields are "),
        ("resnet20_cifar", {"activation": "rleu"}, r"activation must be relu, .*, not 'rleu': did you mean .*relu"),
        ("resnet20_cifar", {"initializer": "he"}, "initializer must be he_normal, "),
        ("resnet20_cifar", {"input_shape": (7, 8, 3)}, "resnet20_cifar: images must be 8x8 or larger, not 7x8"),
        ("resnet20_cifar", {"depths": (1, 1)}, "widths must be 2 numbers"),
        ("resnet20_cifar", {"widths": (64, 32, 16)}, "widths must not fall"),
        ("plain20_cifar", {"drop_path": 0.1}, "plain20_cifar: zero_init_residual and drop_path need shortcuts"),
        ("lenet5", {"drop_path": 0.1}, "lenet5 has no field 'drop_path'"),
        ("lenet5", {"pooling": "max"}, "lenet5: pooling must be avg or None"),
        ("lenet5", {"input_shape": (8, 8, 1)}, "lenet5: images must be 16x16 or larger, not 8x8"),
        ("lenet5", {"input_shape": (None, None, 1)}, "needs a fixed image size: give input_shape="),
    ],
)
def test_what_cannot_be_is_said(name, fields, says):
    with pytest.raises(ValueError, match=says):
        kerascnn.create_model(name, **fields)


def test_other_libraries_names_are_known():
    model = kerascnn.create_model("mobilenetv2_035", input_shape=(32, 32, 3))
    assert model.name == model.variant == "mobilenet_v2_035"
    assert models.mobilenetv2_035 is models.mobilenet_v2_035
    assert kerascnn.model_info("mobilenetv2_035").aliases == ("mobilenetv2_035",)


def test_switches_reach_the_layers():
    model = models.resnet20_cifar(
        depths=[1, 1, 1], norm="batch", activation="prelu", padding="same", bn_epsilon=1e-3, bn_momentum=0.5,
        initializer="zeros", zero_init_residual=True, dropout=0.3, drop_path=0.2,
    )  # fmt: skip
    assert model.get_layer("stage2_block1_conv1").padding == "same"
    assert not np.any(model.get_layer("stage2_block1_conv1").kernel)
    assert not np.any(model.get_layer("stage2_block1_norm2").gamma)
    assert np.all(model.get_layer("stage2_block1_norm1").gamma)
    assert (model.get_layer("stem_norm").epsilon, model.get_layer("stem_norm").momentum) == (1e-3, 0.5)
    assert isinstance(model.get_layer("stage3_block1_act2"), keras.layers.PReLU)
    assert model.get_layer("dropout").rate == 0.3
    rates = [model.get_layer(f"stage{i}_block1_drop_path").rate for i in (1, 2, 3)]
    assert rates == pytest.approx([0.2 / 3, 0.4 / 3, 0.2])


def test_option_a_shortcuts_take_every_second_pixel_and_append_zeros():
    model = golden.fill(models.resnet20_cifar(input_shape=(9, 8, 3)))
    pad = next(op for op in model.operations if type(op).__name__ == "Pad")
    both = keras.Model(model.input, [model.get_layer("stage1").output, pad.output])
    before, after = map(np.asarray, both(golden.images((9, 8, 3))))
    np.testing.assert_array_equal(after[..., :16], before[:, ::2, ::2])
    np.testing.assert_array_equal(after[..., 16:], 0)


def test_a_plain_net_is_the_same_net_without_shortcuts():
    plain, residual = models.plain20_cifar(), models.resnet20_cifar()
    assert [w.path for w in plain.weights] == [w.path for w in residual.weights]
    assert not any("add" in layer.name or "pool" in layer.name for layer in plain.layers[:-2])


def test_zero_init_residual_starts_blocks_as_identities():
    model = models.resnet20_cifar(zero_init_residual=True)
    stages = keras.Model(model.input, [model.get_layer(name).output for name in ("stem_act", "stage1")])
    before, after = map(np.asarray, stages(golden.images((32, 32, 3))))
    np.testing.assert_array_equal(after, before)


def test_builders():
    build = models.resnet20_cifar
    assert (build.__name__, build.__module__) == ("resnet20_cifar", "kerascnn.models")
    assert "https://arxiv.org/abs/1512.03385" in build.__doc__
    parameters = inspect.signature(build).parameters
    common = list(inspect.signature(kerascnn.create_model).parameters)[1:-1]
    assert set(common) | {"depths", "norm"} <= set(parameters)
    assert parameters["depths"].default == (3, 3, 3)
    assert build(num_classes=3, weights=None).output_shape == (None, 3)
    with pytest.raises(ValueError, match="did you mean num_classes"):
        build(num_clases=3)


def test_a_wrong_builder_offers_the_close_ones():
    with pytest.raises(AttributeError, match="has no attribute 'resnet20_cifr': did you mean resnet20_cifar"):
        models.resnet20_cifr  # noqa: B018
    with pytest.raises(ImportError, match="has no attribute 'resnet20_cifr': did you mean resnet20_cifar"):
        from kerascnn.models import resnet20_cifr  # noqa: F401


def test_the_stubs_are_current():
    assert make_stubs.PATH.read_text("utf-8") == make_stubs.stub(), "run python -m tools.make_stubs"


class TestLoadModel:
    def test_a_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no model file .*none\.keras"):
            kerascnn.load_model(tmp_path / "none.keras")

    def test_another_kind_of_file(self, tmp_path):
        path = tmp_path / "lenet5.weights.h5"
        models.lenet5().save_weights(path)
        with pytest.raises(ValueError, match=r"is not a \.keras file; weights alone are for create_model"):
            kerascnn.load_model(path)

    def test_a_damaged_file(self, tmp_path):
        path = tmp_path / "model.keras"
        models.lenet5().save(path)
        for content in (b"", b"no zip", path.read_bytes()[:9_000]):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=r"model\.keras is damaged, or not a model"):
                kerascnn.load_model(path)

    def test_a_file_without_its_config(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
            archive.writestr("metadata.json", "{}")
        with pytest.raises(ValueError, match=r"model\.keras is damaged, or not a model"):
            kerascnn.load_model(tmp_path / "model.keras")

    def test_code_in_a_file_is_not_run(self, tmp_path):
        keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)]).save(tmp_path / "model.keras")
        with pytest.raises(ValueError, match="can be loaded safely"):
            kerascnn.load_model(tmp_path / "model.keras")


RECORDED = {"depths": (1, 1, 1), "norm": "group", "dropout": 0.1, "input_shape": (16, 16, 3), "activation": "relu"}
RECORD = {"depths": [1, 1, 1], "norm": "group", "dropout": 0.1, "input_shape": [16, 16, 3]}


class TestRecord:
    """A model remembers its variant and its overrides."""

    def test_in_its_config(self):
        model = models.resnet20_cifar(**RECORDED)
        config = model.get_config()
        assert (config["variant"], config["overrides"]) == ("resnet20_cifar", RECORD)
        again = models.create_model(model.variant, **model.overrides)
        assert [layer.get_config() for layer in again.layers] == [layer.get_config() for layer in model.layers]

    def test_in_its_file(self, tmp_path):
        models.resnet20_cifar(**RECORDED).save(tmp_path / "model.keras")
        loaded = kerascnn.load_model(tmp_path / "model.keras")
        assert (loaded.variant, loaded.overrides) == ("resnet20_cifar", RECORD)

    def test_a_model_made_of_its_layers_has_none(self):
        model = models.resnet20_cifar(**RECORDED)
        assert keras.models.clone_model(model).variant is None
        assert not hasattr(keras.Model(model.input, model.get_layer("stage1").output), "variant")
