import keras
import numpy as np
import pytest

import kerascnn


@pytest.fixture(scope="module")
def model():
    return kerascnn.create_model("resnet10", input_shape=(64, 64, 3), num_classes=5)


def shapes(features):
    return [tuple(output.shape[1:]) for output in features.outputs]


def test_the_ends_of_the_stages(model):
    features = kerascnn.features(model)
    assert shapes(features) == [(16, 16, 64), (8, 8, 128), (4, 4, 256), (2, 2, 512)]
    assert list(features.output_names) == ["stage1", "stage2", "stage3", "stage4"]
    assert features.name == "resnet10_features"
    images = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype("float32")
    maps = features(images)
    logits = np.mean(maps[-1], (1, 2)) @ model.get_layer("logits").kernel
    np.testing.assert_allclose(logits, model(images), atol=1e-5)


def test_some_of_them_in_the_order_asked_for(model):
    assert shapes(kerascnn.features(model, (4, 2))) == [(2, 2, 512), (8, 8, 128)]
    one = kerascnn.features(model, [3])
    assert isinstance(one.output, list) and shapes(one) == [(4, 4, 256)]
    assert shapes(kerascnn.features(model, np.array([1]))) == [(16, 16, 64)]


def test_weights_are_shared_and_those_behind_are_left_out(model):
    features = kerascnn.features(model, [1])
    ours, theirs = {id(w) for w in features.weights}, {id(w) for w in model.weights}
    assert ours < theirs
    assert not any(w.path.startswith("stage2") for w in features.weights)
    assert [w.path for w in kerascnn.features(model).weights] == [w.path for w in model.weights][:-2]


@pytest.mark.parametrize(("name", "count"), [("lenet5", 2), ("resnet20_cifar", 3)])
def test_nets_with_fewer_stages_give_all(name, count):
    assert len(kerascnn.features(kerascnn.create_model(name)).outputs) == count


def test_nets_with_five_give_the_last_four():
    x = image = keras.Input((64, 64, 3))
    for i in range(1, 6):
        x = keras.layers.Identity(name=f"stage{i}")(keras.layers.Conv2D(i, 3, 2, "same")(x))
    net = keras.Model(image, x)
    assert shapes(kerascnn.features(net)) == [(16, 16, 2), (8, 8, 3), (4, 4, 4), (2, 2, 5)]
    assert shapes(kerascnn.features(net, (1, 2, 3, 4)))[0] == (32, 32, 1)


@pytest.mark.parametrize("fields", [{"num_classes": 0}, {"num_classes": 0, "pooling": None}])
def test_models_without_classes_and_open_sizes(fields):
    bare = kerascnn.create_model("resnet20_cifar", input_shape=(None, None, 1), **fields)
    assert shapes(kerascnn.features(bare)) == [(None, None, 16), (None, None, 32), (None, None, 64)]


def test_of_a_loaded_model_and_through_a_file(model, tmp_path):
    model.save(tmp_path / "model.keras")
    features = kerascnn.features(kerascnn.load_model(tmp_path / "model.keras"), (2, 4))
    features.save(tmp_path / "features.keras")
    images = np.random.default_rng(0).standard_normal((1, 64, 64, 3)).astype("float32")
    wanted = kerascnn.features(model, (2, 4))(images)
    for loaded in (features, keras.saving.load_model(tmp_path / "features.keras")):
        for found, expected in zip(loaded(images), wanted, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ((1, 5), "resnet10 has no stage 5: choose 1, 2, 3 or 4"),
        ((0,), "resnet10 has no stage 0: choose 1, 2, 3 or 4"),
        ((-1,), "no stage -1"),
        (("stage1",), "no stage 'stage1'"),
        ((True,), "no stage True"),
        ((), "stages must hold at least one of 1, 2, 3, 4"),
        (4, r"stages must be a list of numbers, such as \[4\], not 4"),
        ("4", r"stages must be a list of numbers, such as \[4\], not '4'"),
    ],
)
def test_what_is_not_there_is_said(model, stages, says):
    with pytest.raises(ValueError, match=says):
        kerascnn.features(model, stages)


def test_a_model_without_stages():
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="stage_one")], name="plain")
    with pytest.raises(ValueError, match="plain has no layers named stage1, stage2"):
        kerascnn.features(plain)
