"""The contract that every model keeps. The smallest of each family by default, the others with -m slow."""

import inspect
import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerascnn
from kerascnn import models, registry
from tools import golden, make_stubs

GOLDEN = json.loads(golden.PATH.read_text())
FAMILIES = {registry.lookup(name).family for name in kerascnn.list_models()}


def smallest(family):
    names = [name for name in kerascnn.list_models() if registry.lookup(name).family == family]
    return min(names, key=lambda name: GOLDEN[name]["params"])


QUICK = {smallest(family) for family in FAMILIES} | {"plain20_cifar"}  # which no shortcut helps
SLOW = pytest.mark.slow
every_model = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else SLOW) for name in kerascnn.list_models()]
)


def logits(model, **call):
    return np.asarray(model(golden.images(model.input_shape[1:]), **call))


def close(actual, expected, tolerance=1e-4):
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * expected.std()


# Of the papers, or of MISSION.md; not from the code.
TRAINABLE = {
    "lenet5": 61_706,
    "resnet20_cifar": 269_722,
    "resnet32_cifar": 464_154,
    "resnet44_cifar": 658_586,
    "resnet56_cifar": 853_018,
    "resnet110_cifar": 1_727_962,
    "plain20_cifar": 269_722,
    "plain32_cifar": 464_154,
    "plain44_cifar": 658_586,
    "plain56_cifar": 853_018,
    "plain110_cifar": 1_727_962,
}


@pytest.mark.parametrize("name", TRAINABLE)
def test_published_parameters(name):
    assert GOLDEN[name]["trainable_params"] == TRAINABLE[name]
    model = kerascnn.create_model(name)
    assert sum(w.numpy().size for w in model.trainable_weights) == TRAINABLE[name]


def test_multiply_accumulates_by_hand():
    first, rest, widths = 32**2 * 27 * 16, 0, (16, 32, 64)
    for i, width in enumerate(widths):
        rest += (32 // 2**i) ** 2 * 9 * width * (5 * width + widths[max(i - 1, 0)])
    assert GOLDEN["resnet20_cifar"]["macs"] == GOLDEN["plain20_cifar"]["macs"] == first + rest + 640


def test_the_golden_file_holds_these_models():
    assert list(GOLDEN) == kerascnn.list_models(), "run python -m tools.golden"


@every_model
def test_facts(name):
    info, facts = kerascnn.model_info(name), GOLDEN[name]
    for fact in ("params", "trainable_params", "macs"):
        assert getattr(info, fact) == facts[fact]
    assert {stage: list(shape) for stage, shape in info.stages} == facts["stages"]
    assert list(facts["stages"]) == [f"stage{i + 1}" for i in range(len(facts["stages"]))]
    assert info.paper.startswith("https://")
    assert info.family in FAMILIES
    spec = registry.lookup(name).spec
    assert (info.input_shape, info.num_classes) == (spec.input_shape, spec.num_classes)
    assert info.image_size == spec.input_shape[0]


@every_model
def test_golden_logits(name):
    model = golden.fill(kerascnn.create_model(name))
    close(logits(model)[:, :16], GOLDEN[name]["logits"])
    assert (model.name, model.input.name, model.layers[-1].name) == (name, "image", "logits")
    assert model.output.dtype == "float32"


@every_model
def test_keras_round_trip(name, tmp_path):
    rates = {"dropout": 0.1} | ({"drop_path": 0.1} if name.startswith("resnet") else {})
    model = golden.fill(kerascnn.create_model(name, **rates))
    model.save(tmp_path / "model.keras")
    loaded = kerascnn.load_model(tmp_path / "model.keras")
    assert loaded.to_json() == model.to_json()
    np.testing.assert_array_equal(logits(loaded), logits(model))


@every_model
def test_every_weight_gets_a_gradient(name):
    model = golden.fill(kerascnn.create_model(name))
    images = golden.images(model.input_shape[1:])
    with tf.GradientTape() as tape:
        y = model(images, training=False)
        loss = tf.reduce_sum(y * golden.images(y.shape[1:]))
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert np.isfinite(gradient).all(), weight.path
        assert np.any(gradient), weight.path


@every_model
def test_features_and_feature_map(name):
    features = kerascnn.create_model(name, num_classes=0)
    assert len(features.output_shape) == 2
    assert "logits" not in [layer.name for layer in features.layers]
    last = list(GOLDEN[name]["stages"].values())[-1]
    assert kerascnn.create_model(name, num_classes=0, pooling=None).output_shape == (None, *last)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", sorted(QUICK))
def test_mixed_precision(name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = golden.fill(kerascnn.create_model(name))
    finally:
        keras.config.set_dtype_policy("float32")
    y = logits(model)
    assert y.dtype == np.float32
    close(y, GOLDEN[name]["logits"], 0.1 if policy == "mixed_bfloat16" else 0.02)


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
        ("resnet20_cifr", {}, "no model 'resnet20_cifr': did you mean resnet20_cifar, resnet32_cifar or "),
        ("resnet20_cifar", {"activaton": "relu"}, r"no field 'activaton': did you mean activation\? Its fields are "),
        ("resnet20_cifar", {"activation": "rleu"}, r"activation must be relu, .*, not 'rleu': did you mean .*relu"),
        ("resnet20_cifar", {"initializer": "he"}, "initializer must be he_normal, "),
        ("resnet20_cifar", {"input_shape": (7, 8, 3)}, "resnet20_cifar: images must be 8x8 or larger, not 7x8"),
        ("resnet20_cifar", {"depths": (1, 1)}, "widths must be 2 numbers"),
        ("resnet20_cifar", {"widths": (64, 32, 16)}, "widths must be 3 numbers that do not fall"),
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
