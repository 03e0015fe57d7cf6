import os
import pathlib
import pickle
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import kerascnn
from kerascnn import data
from tools import golden

SMALL = {"depths": (1, 1, 1), "input_shape": (8, 8, 3)}


def small(**fields):
    return kerascnn.create_model("resnet20_cifar", **(SMALL | fields))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A filled model, and the files that it was saved to."""
    folder = tmp_path_factory.mktemp("weights")
    model = golden.fill(small(drop_path=0.1, dropout=0.1))
    model.compile("adam", "mse")  # the optimizer's variables are not for the next model
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    return model, folder


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_weights_are_loaded(files, name, kind):
    model, folder = files
    loaded = small(weights=kind(folder / name))
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"num_classes": 3}, r"other shapes: logits/bias \(10,\) for .*logits/kernel \(64, 10\) for .* \(64, 3\)"),
        ({"input_shape": (8, 8, 1)}, r"stem_conv/kernel \(3, 3, 3, 16\) for stem_conv/kernel \(3, 3, 1, 16\)"),
        ({"depths": (2, 1, 1)}, "it lacks .*stage1_block2_conv1/kernel"),
        ({"depths": (1, 1), "widths": (16, 64)}, "other shapes: .*stage2_block1_conv1/kernel"),
        ({"num_classes": 0}, "the model has no logits/bias, logits/kernel"),
        ({"norm": "none"}, "it lacks .*stem_conv/bias"),
        ({"norm": "group"}, "the model has no .*stem_norm/2"),
    ],
)
def test_a_file_of_another_model_loads_nothing_and_is_named(files, name, fields, says):
    _, folder = files
    model = small(**fields)
    before = model.get_weights()
    with pytest.raises(ValueError, match=rf"{name} does not fit resnet20_cifar.*{says}"):
        kerascnn.weights.load(model, folder / name)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("source", ["timm:resnet20", "model.pth", "model.pt", "model.h5", "imagenet"])
def test_other_forms_say_which_ones_work(tmp_path, source):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("a pickle was loaded",)

    (tmp_path / source).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(
        ValueError, match=r"give the path of a \.safetensors, \.weights\.h5 or \.keras file, .* Pickles"
    ):
        small(weights=tmp_path / source)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
def test_a_missing_or_damaged_file_is_named(files, tmp_path, name):
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match=f"no weights file {path}"):
        small(weights=path)
    for content in (b"", b"not a model", (files[1] / name).read_bytes()[:20_000]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path} is damaged, or not a file that Keras wrote"):
            small(weights=path)


# ---------------------------------------------------------------- adapting


@pytest.fixture(scope="module")
def own(files):
    """The same weights in a file of safetensors."""
    model, folder = files
    kerascnn.weights.save(model, folder / "model.safetensors")
    return model, folder / "model.safetensors"


def arrays(model):
    return {f"{layer.name}/{weight.name}": np.asarray(weight) for layer in model.layers for weight in layer.weights}


def test_our_own_safetensors(own):
    model, path = own
    loaded = small(weights=path)
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert loaded.weights_source == str(path)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "model.safetensors"])
def test_another_number_of_classes_keeps_all_but_the_classifier(files, own, name, caplog):
    model, folder = files
    loaded = small(weights=folder / name, num_classes=3)
    before, after = arrays(model), arrays(loaded)
    assert after["logits/kernel"].shape == (64, 3) and np.std(after["logits/kernel"]) > 0
    for key in before.keys() - {"logits/kernel", "logits/bias"}:
        np.testing.assert_array_equal(before[key], after[key])
    assert "it does not use logits/" in caplog.text
    features = small(weights=folder / name, num_classes=0)
    assert features.output_shape == (None, 64)


def test_the_file_says_how_many_classes_there_are(tmp_path):
    kerascnn.weights.save(small(num_classes=7), tmp_path / "seven.safetensors")
    assert small(weights=tmp_path / "seven.safetensors").output_shape == (None, 7)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_grey_images_give_what_a_colour_network_gives_for_them(own, channels):
    model, path = own
    other = small(weights=path, input_shape=(8, 8, channels))
    grey = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    expected = np.asarray(model(np.repeat(grey, 3, -1)))
    np.testing.assert_allclose(np.asarray(other(np.repeat(grey, channels, -1))), expected, rtol=1e-4, atol=1e-4)


def test_images_of_any_size(own):
    model, path = own
    larger = small(weights=path, input_shape=(20, 12, 3))
    assert arrays(larger).keys() == arrays(model).keys()
    assert np.isfinite(np.asarray(larger(np.ones([1, 20, 12, 3], np.float32)))).all()


@pytest.mark.parametrize(("field", "value"), [("norm", "group"), ("activation", "silu")])
def test_a_norm_or_an_activation_that_contradicts_the_checkpoint_is_an_error(files, field, value):
    _, folder = files
    with pytest.raises(
        ValueError, match=f"{field}='{value}' contradicts the weights .*model.keras, which are for {field}="
    ):
        small(weights=folder / "model.keras", **{field: value})


def test_a_keras_file_says_which_model_it_is(files):
    _, folder = files
    with pytest.raises(ValueError, match=r"model\.keras holds the weights of resnet20_cifar, not of resnet32_cifar"):
        kerascnn.create_model("resnet32_cifar", weights=folder / "model.keras")
    assert kerascnn.create_model("resnet20_cifar", weights=folder / "model.keras").overrides["depths"] == [1, 1, 1]


def test_where_the_weights_came_from_is_kept(own, tmp_path):
    _, path = own
    small(weights=path).save(tmp_path / "again.keras")
    assert kerascnn.load_model(tmp_path / "again.keras").weights_source == str(path)
    assert small().weights_source is None


def test_a_folder_of_a_run(files, tmp_path):
    model, folder = files
    with pytest.raises(FileNotFoundError, match="no weights in the folder"):
        small(weights=tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for step, factor in ((99999999, 0), (100000000, 1)):
        kept = {
            f"model/{layer.name}/{i}_{variable.name}": factor * np.asarray(variable)
            for layer in model.layers
            for i, variable in enumerate(layer.variables)
        }
        np.savez(tmp_path / f"checkpoints/step-{step:08d}.npz", step=np.int64(step), **kept)
    for ours, theirs in zip(small(weights=tmp_path).weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    (tmp_path / "model.keras").write_bytes((folder / "model.keras").read_bytes())
    assert small(weights=tmp_path).weights_source.endswith("model.keras")


CHANGES = [
    lambda name, tensor: {},
    lambda name, tensor: {name[:-1]: tensor},
    lambda name, tensor: {name: tensor.reshape(-1, 1)},
    lambda name, tensor: {name: np.ascontiguousarray(tensor.T) if tensor.ndim > 1 else tensor[:-1]},
    lambda name, tensor: {name: tensor.astype(np.int32)},
    lambda name, tensor: {name: tensor, f"{name}_more": tensor},
]


@pytest.mark.parametrize("seed", range(12))
def test_no_change_of_a_file_loads_silently(own, tmp_path, seed):
    """Dropped, renamed, transposed, reshaped, of another type: whatever is done to tensors, they are named."""
    _, path = own
    rng = np.random.default_rng(seed)
    tensors = safetensors.numpy.load_file(path)
    names = list(tensors)
    for name in rng.choice(names, size=rng.integers(1, 4), replace=False):
        tensor = tensors.pop(name)
        tensors |= CHANGES[rng.integers(len(CHANGES))](name, tensor)
    safetensors.numpy.save_file(tensors, tmp_path / "changed.safetensors")
    model = small()
    before = model.get_weights()
    with pytest.raises(
        ValueError, match=r"changed\.safetensors does not fit resnet20_cifar: (it lacks|the model|other|int)"
    ):
        kerascnn.weights.load(model, tmp_path / "changed.safetensors")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_weights_of_other_precisions(own, tmp_path, dtype):
    _, path = own
    tensors = {name: tensor.astype(dtype) for name, tensor in safetensors.numpy.load_file(path).items()}
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors")
    for name, weight in arrays(small(weights=tmp_path / "x.safetensors")).items():
        np.testing.assert_array_equal(weight, tensors[name].astype(np.float32))


# ---------------------------------------------------------------- what a file says of itself


def test_a_file_of_safetensors_says_which_model_it_is(own):
    model, path = own
    again = kerascnn.create_model("resnet20_cifar", weights=path, input_shape=(8, 8, 3))
    assert again.overrides["depths"] == model.overrides["depths"] == [1, 1, 1]
    with pytest.raises(
        ValueError, match=r"model\.safetensors holds the weights of resnet20_cifar, not of resnet32_cifar"
    ):
        kerascnn.create_model("resnet32_cifar", weights=path)


def test_a_file_for_timm_says_which_form_it_has(tmp_path):
    fields = {"input_shape": (32, 32, 3), "padding": "same", "bn_epsilon": 1e-3}
    model = golden.fill(kerascnn.create_model("efficientnet_b0", **fields))
    kerascnn.weights.save_timm(model, tmp_path / "b0.safetensors")
    again = kerascnn.create_model("efficientnet_b0", weights=tmp_path / "b0.safetensors", input_shape=(32, 32, 3))
    assert dict(again.overrides) == dict(model.overrides)
    with pytest.raises(
        ValueError, match=r"b0\.safetensors holds the weights of efficientnet_b0, not of efficientnet_b1"
    ):
        kerascnn.create_model("efficientnet_b1", weights=tmp_path / "b0.safetensors")


def test_a_file_for_timm_without_a_classifier(tmp_path):
    model = golden.fill(kerascnn.create_model("resnet18", num_classes=0))
    kerascnn.weights.save_timm(model, tmp_path / "features.safetensors")
    again = kerascnn.create_model("resnet18", weights=tmp_path / "features.safetensors")
    assert again.output_shape == model.output_shape


def test_the_folder_of_a_run_has_its_preprocessing(run_dir):
    model = kerascnn.create_model("resnet20_cifar", weights=run_dir, input_shape=(8, 8, 1))
    kept = data.Preprocessing.load(run_dir / "preprocessing.json")
    for source in (model, run_dir, str(run_dir / "model.keras")):
        assert kerascnn.weights.preprocessing(source) == kept
    with pytest.raises(ValueError, match="says the image size of its run"):
        kerascnn.weights.preprocessing(run_dir, image_size=9)


JAX = """
import sys
import numpy as np
import kerascnn

model = kerascnn.create_model("resnet20_cifar", depths=(1, 1, 1), input_shape=(8, 8, 3), weights=sys.argv[1])
np.save(sys.argv[2], np.asarray(model(np.linspace(-1, 1, 2 * 8 * 8 * 3, dtype="float32").reshape(2, 8, 8, 3))))
grey = kerascnn.create_model("resnet20_cifar", input_shape=(8, 8, 1), weights=sys.argv[1], num_classes=3)
assert grey.output_shape == (None, 3)
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow
def test_weights_on_jax(own, tmp_path):
    model, path = own
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", JAX, path, tmp_path / "x.npy"], check=True, env=environment)
    expected = np.asarray(model(np.linspace(-1, 1, 2 * 8 * 8 * 3, dtype="float32").reshape(2, 8, 8, 3)))
    assert np.abs(np.load(tmp_path / "x.npy") - expected).max() <= 1e-4 * expected.std()
