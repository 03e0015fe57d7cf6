import pathlib
import pickle

import numpy as np
import pytest

import kerascnn
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
        ({"num_classes": 3}, r"logits/kernel is \(64, 10\) in the file, \(64, 3\) in the model"),
        ({"input_shape": (8, 8, 1)}, r"stem_conv/kernel is \(3, 3, 3, 16\) in the file, \(3, 3, 1, 16\) in the model"),
        ({"depths": (2, 1, 1)}, "it has no stage1_block2_conv1/kernel"),
        ({"depths": (1, 1), "widths": (16, 64)}, "stage2_block1_conv1/kernel is"),
        ({"num_classes": 0}, "which has no logits"),
        ({"norm": "none"}, "it has no stem_conv/bias"),
        ({"norm": "group"}, "stem_norm has more tensors in the file"),
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
    with pytest.raises(ValueError, match=r"give the path of a \.safetensors, \.weights\.h5 or \.keras file\. Pickles"):
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
