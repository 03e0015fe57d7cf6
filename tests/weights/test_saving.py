"""What save_timm writes is what timm has: its names, its shapes, its logits; and it is ours again when it is read.

torch_float64.json.gz has the names and shapes of all tensors of timm's models. The tests that run timm itself need
KERASCNN_TORCH_PYTHON, a Python with torch, torchvision and timm.
"""

import csv
import gc
import gzip
import json
import os
import pathlib
import resource
import subprocess

import keras
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import kerascnn
from kerascnn import data, registry, weights
from kerascnn.weights import saving, torch_names, transforms
from tools import torch_golden

ROOT = pathlib.Path(__file__).parents[2]
PUBLISHED = json.loads(gzip.decompress(torch_golden.PATH.read_bytes()))["models"]
TIMM = {full.removeprefix("timm/"): facts["tensors"] for full, facts in PUBLISHED.items() if full.startswith("timm/")}
QUICK = {
    "resnet18", "resnetv2_18", "legacy_seresnet18", "densenet121", "mobilenetv1_100", "mobilenetv2_035",
    "mobilenetv3_small_075", "efficientnet_b0", "ecaresnet50d", "mobilenetv4_conv_small_035", "mnasnet_small",
    "ghostnet_050", "tf_efficientnetv2_b0",
    "convnext_atto", "inception_next_atto", "inception_v3",
    "skresnet18", "nf_resnet26", "dpn48b", "regnetx_002",
    "legacy_xception", "repvgg_a0",
}  # fmt: skip
SIDE = 80


def named(nets, quick=QUICK):
    return [pytest.param(net, marks=() if net in quick else pytest.mark.slow) for net in nets]


def build(net, **fields):
    """Our model in the form of one of timm's, with random weights."""
    name = torch_golden.our_name(net)
    return kerascnn.create_model(name, **{"input_shape": (SIDE, SIDE, 3)} | weights.form("timm", name) | fields)


def filled(net, **fields):
    """The same with made-up weights, and these."""
    model = build(net, **fields)
    tensors = {name: torch_golden.synthetic_tensor(name, t.shape) for name, t in saving.state_dict(model).items()}
    # Without a classifier the names do not tell whose they are.
    torch_names.assign(model, tensors, torch_names.table(registry.lookup(model.variant), "timm"))
    return model, tensors


@pytest.mark.parametrize("net", named(TIMM))
def test_the_tensors_are_timms_and_go_back_as_they_came(net):
    model = build(net, initializer="zeros")  # which is quick
    assert saving.architecture(model) == net
    tensors = {name: torch_golden.synthetic_tensor(name, shape) for name, shape in TIMM[net].items()}
    torch_names.assign(model, tensors)
    saved = saving.state_dict(model)
    assert saved.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert saved[name].dtype == tensor.dtype and saved[name].flags.c_contiguous
        np.testing.assert_array_equal(saved[name], tensor, err_msg=name)


@pytest.mark.parametrize(
    ("net", "path"),
    [
        ("resnet18", "folder"),
        ("resnetv2_18", "folder"),
        ("legacy_seresnet18", "folder"),
        pytest.param("densenet121", "folder", marks=pytest.mark.slow),  # its tensors are read back above
        ("mobilenetv1_100", "folder"),
        ("mobilenetv2_035", "folder"),
        ("mobilenetv3_small_075", "folder"),
        ("mobilenetv3_small_075", "model.safetensors"),
        ("efficientnet_b0", "folder"),
        pytest.param("vgg11", "folder", marks=pytest.mark.slow),
    ],
)
def test_a_saved_model_is_read_again(net, path, tmp_path):
    model, _ = filled(net, num_classes=5)
    saving.save_timm(model, tmp_path / path)
    again = kerascnn.create_model(model.variant, weights=tmp_path / path, num_classes=5, input_shape=(SIDE, SIDE, 3))
    assert again.overrides == model.overrides
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_fully_connected_layers_of_a_small_vgg_are_convolutions():
    small = {"widths": (4, 4, 4, 4, 6), "hidden": (8, 9), "num_classes": 3}
    model, tensors = filled("vgg11", **small)
    assert tensors["pre_logits.fc1.weight"].shape == (8, 6, 7, 7)
    assert tensors["pre_logits.fc2.weight"].shape == (9, 8, 1, 1)
    assert tensors["head.fc.weight"].shape == (3, 9)
    for name, tensor in saving.state_dict(model).items():
        np.testing.assert_array_equal(tensor, tensors[name])


def stand_in(name, fields):
    """What is told of a model before it is built."""
    model = keras.Sequential(name=name)
    model.variant, model.overrides = name, fields
    return model


def architecture(name, fields):
    return saving.architecture(stand_in(name, fields))


def test_the_architecture_is_that_of_the_form():
    tf = {"padding": "same", "bn_epsilon": 1e-3}
    rows = [
        ("resnet50", {"deep_stem": True}, "resnet50c"),
        ("resnet50", {"norm": "group"}, "resnet50_gn"),
        ("resnext50_32x4d", {"deep_stem": True, "avg_down": True}, "resnext50d_32x4d"),
        ("efficientnet_b0", tf, "tf_efficientnet_b0"),
        ("mobilenet_v3_small", tf, "tf_mobilenetv3_small_100"),
        ("mobilenet_v3_small_minimal", tf, "tf_mobilenetv3_small_minimal_100"),
        ("resnet18", {"dropout": 0.5, "drop_path": 0.1, "bn_momentum": 0.5, "num_classes": 3}, "resnet18"),
        ("resnet18", {"num_classes": 0, "pooling": "max"}, "resnet18"),
    ]
    for name, fields, net in rows:
        assert architecture(name, fields) == net


def test_of_every_model_is_known_whether_timm_has_it():
    have = set()
    for name in kerascnn.list_models():
        try:
            have.add(architecture(name, weights.form("timm", name)))
        except ValueError as error:
            assert str(error).startswith(f"timm has no {name}: save it with model.save_weights")
    minimal = {"tf_mobilenetv3_large_minimal_100", "tf_mobilenetv3_small_minimal_100"}
    with open(torch_golden.COUNTS, newline="") as lines:
        theirs = {row["name"] for row in csv.DictReader(lines) if row["source"] == "timm"}
    assert have == theirs | minimal


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("lenet5", {}, "timm has no lenet5: save it with model.save"),
        ("resnet20_cifar", {}, "timm has no resnet20_cifar"),
        ("alexnet", {}, "timm has no alexnet"),
        ("googlenet", {}, "timm has no googlenet"),
        ("resnet10", {}, "timm has no resnet10"),
        (
            "resnet18",
            {"padding": "same"},
            "resnet18 in this form is not in timm: resnet18 has padding='symmetric'. Make",
        ),
        ("resnet18", {"activation": "silu"}, "resnet18 has activation='relu'"),
        ("resnet18", {"pooling": "max"}, "resnet18 has pooling='avg'"),
        ("resnet18", {"depths": (1, 1, 1, 1)}, r"resnet18 has depths=\(2, 2, 2, 2\)"),
        ("mobilenet_v3_small", {}, "mobilenetv3_small_100 has bn_epsilon=1e-05; tf_mobilenetv3_small_100 has padding="),
    ],
)
def test_what_timm_cannot_hold_is_an_error_and_writes_nothing(name, fields, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        saving.save_timm(stand_in(name, fields), tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_not_of_the_zoo():
    with pytest.raises(ValueError, match="mine is no model of create_model"):
        saving.save_timm(keras.Sequential([keras.Input((4,))], name="mine"), "model.safetensors")


@pytest.fixture(scope="module")
def small():
    return filled("mobilenetv3_small_075", num_classes=2)[0]


def config(folder):
    return json.loads((folder / "config.json").read_text())


def test_the_metadata_and_the_files(small, tmp_path):
    saving.save_timm(small, str(tmp_path / "deep" / "folder"))
    assert sorted(os.listdir(tmp_path / "deep/folder")) == ["config.json", "model.safetensors"]
    with safetensors.safe_open(tmp_path / "deep/folder/model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt", "architecture": "mobilenetv3_small_075"}
    saving.save_timm(small, tmp_path / "alone.safetensors")
    assert sorted(os.listdir(tmp_path)) == ["alone.safetensors", "deep"]


def test_the_config_says_what_is_known(small, tmp_path):
    saving.save_timm(small, tmp_path)
    assert config(tmp_path) == {
        "architecture": "mobilenetv3_small_075",
        "num_classes": 2,
        "pretrained_cfg": {
            "num_classes": 2,
            "input_size": [3, SIDE, SIDE],
            "first_conv": "conv_stem",
            "classifier": "classifier",
        },
    }
    grey = build("mobilenetv3_small_075", input_shape=(None, None, 1), num_classes=0)
    saving.save_timm(grey, tmp_path)
    assert config(tmp_path) == {
        "architecture": "mobilenetv3_small_075",
        "num_classes": 0,
        "model_args": {"in_chans": 1},
        "pretrained_cfg": {"num_classes": 0, "input_size": [1, 224, 224]},
    }


def test_the_config_has_the_preprocessing_and_gives_it_back(small, tmp_path):
    told = data.Preprocessing(
        image_size=(SIDE, SIDE),
        channels=3,
        mean=(100.0, 110.0, 120.0),
        std=(50.0, 60.0, 70.0),
        class_names=("cat", "dog"),
        computed_from="photos",
        crop="center(fraction=0.9, interpolation='bicubic')",
    )
    saving.save_timm(small, tmp_path / "run", preprocessing=told)
    published = config(tmp_path / "run")["pretrained_cfg"]
    assert (published["crop_pct"], published["crop_mode"], published["interpolation"]) == (0.9, "center", "bicubic")
    again = transforms.preprocessing(tmp_path / "run")
    assert (again.crop, again.image_size, again.class_names) == (told.crop, told.image_size, told.class_names)
    np.testing.assert_allclose([again.mean, again.std], [told.mean, told.std], rtol=1e-12)


def test_the_crop_resize_is_timms_squash(small, tmp_path):
    told = data.Preprocessing((SIDE, SIDE), 3, (0.0,) * 3, (255.0,) * 3, ("0", "1"), "nothing")
    saving.save_timm(small, tmp_path, preprocessing=told)
    published = config(tmp_path)["pretrained_cfg"]
    assert (published["crop_pct"], published["crop_mode"], published["interpolation"]) == (1.0, "squash", "bilinear")
    assert "label_names" not in published


def test_a_mean_image_has_no_place_in_the_config(small, tmp_path):
    mean = np.zeros((SIDE, SIDE, 3), np.float32)
    told = data.Preprocessing((SIDE, SIDE), 3, (0.0,) * 3, (1.0,) * 3, ("0", "1"), "nothing", mean_image=mean)
    with pytest.raises(ValueError, match="timm has no mean image and no whitening"):
        saving.save_timm(small, tmp_path / "folder", preprocessing=told)
    saving.save_timm(small, tmp_path / "model.safetensors", preprocessing=told)


@pytest.mark.parametrize("limit", [1000, 100_000])
def test_a_full_disk_leaves_what_was_there(small, tmp_path, limit):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*folder \(.*\): give another path"):
            saving.save_timm(small, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(folder) == ["config.json"]
    assert (folder / "config.json").read_text() == "before"


def test_a_path_that_cannot_be(small, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "folder", tmp_path / "none" / "model.safetensors"):
        with pytest.raises(OSError, match=f"cannot write {path}"):
            saving.save_timm(small, path)


def test_any_model_by_our_own_names(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(3, name="d")], name="m")
    saving.save(model, tmp_path / "m.safetensors")
    tensors = safetensors.numpy.load_file(tmp_path / "m.safetensors")
    assert tensors.keys() == {"d/kernel", "d/bias"}
    np.testing.assert_array_equal(tensors["d/kernel"], model.layers[-1].kernel)
    with pytest.raises(ValueError, match=r"m\.keras: the name of a \.safetensors file is wanted"):
        saving.save(model, "m.keras")
    with pytest.raises(OSError, match=r"cannot write .*none.*: give another path"):
        saving.save(model, tmp_path / "none" / "m.safetensors")
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_file_of_our_own_says_what_model_it_is_of(small, tmp_path):
    saving.save(small, tmp_path / "m.safetensors")
    with safetensors.safe_open(tmp_path / "m.safetensors", "numpy") as file:
        told = file.metadata()
    assert told["variant"] == small.variant and json.loads(told["overrides"]) == small.overrides


CODE = """
import json, pathlib, sys
import numpy as np, torch
from tools import torch_golden

torch_golden.libraries()
import timm

torch.set_num_threads(2)
folder = pathlib.Path(sys.argv[1])
images = torch.from_numpy(np.load(folder / "images.npy").transpose(0, 3, 1, 2).copy()).double()
logits = {}
for path in sorted(folder.iterdir()):
    if not path.is_dir():
        continue
    config = json.loads((path / "config.json").read_text())
    made = timm.create_model(f"local-dir:{path}", pretrained=True)
    channels = config.get("model_args", {}).get("in_chans", 3)
    strict = timm.create_model(config["architecture"], num_classes=config["num_classes"], in_chans=channels)
    timm.models.load_checkpoint(strict, str(path / "model.safetensors"), strict=True)
    with torch.no_grad():
        both = [net.double().eval()(images[:, :channels]).flatten(1).numpy() for net in (made, strict)]
    np.testing.assert_array_equal(*both)
    logits[path.name] = both[0]
np.savez(folder / "logits.npz", **logits)
"""


TF = {"padding": "same", "bn_epsilon": 1e-3}
FORMS = [
    ("resnet18", {}),
    ("resnet18", {"num_classes": 7}),
    ("resnet18", {"num_classes": 0}),
    ("resnet18", {"grey": True}),
    ("resnet50", {"deep_stem": True}),
    ("resnet50", {"norm": "group"}),
    ("ecaresnet50d", {}),
    ("inception_v3", {}),
    ("legacy_xception", {}),
    ("nf_resnet26", {}),
    ("regnetx_002", {}),
    ("dpn48b", {}),
    ("repvgg_a0", {}),
    ("mobilenetv4_conv_small_035", {}),
    ("mnasnet_small", {}),
    ("ghostnet_050", {}),
    ("convnext_atto", {}),
    ("inception_next_atto", {}),
    ("seresnet18", {}),
    ("resnetv2_18", {}),
    ("resnetv2_50d_gn", {"num_classes": 3}),
    ("legacy_seresnet18", {}),
    ("densenet121", {}),
    ("vgg11", {}),
    ("vgg11", {"num_classes": 0}),
    ("mobilenetv1_100", {}),
    ("mobilenetv2_035", {}),
    ("mobilenetv3_small_100", {}),
    ("mobilenetv3_small_100", {"num_classes": 0}),
    ("mobilenetv3_small_100", TF),
    ("mobilenet_v3_large_minimal", TF),
    ("efficientnet_b0", {}),
    ("efficientnet_b0", {"grey": True}),
    ("efficientnet_b0", TF),
    ("efficientnet_lite0", {}),
    ("tf_efficientnetv2_b0", {}),
    ("mobilenetv4_conv_small", {}),
    ("mnasnet_100", {}),
    ("semnasnet_075", {}),
    ("ghostnet_100", {}),
]


@pytest.mark.slow
def test_timm_loads_it_strictly_and_gives_our_logits(double, tmp_path):
    python = os.environ.get("KERASCNN_TORCH_PYTHON")
    if not python:
        pytest.skip("set KERASCNN_TORCH_PYTHON to a Python that has torch, torchvision and timm")
    nets = os.environ.get("KERASCNN_TIMM_NETS")  # such as "vgg13 vgg16", to try others
    rows = [(net, {}) for net in nets.split()] if nets else FORMS
    images = torch_golden.synthetic_images(SIDE)
    np.save(tmp_path / "images.npy", images)
    expected = {}
    for net, fields in rows:
        fields = dict(fields)
        channels = 1 if fields.pop("grey", False) else 3
        model, _ = filled(net, input_shape=(SIDE, SIDE, channels), **fields)
        key = f"{len(expected):02}_{net}"
        saving.save_timm(model, tmp_path / key)
        expected[key] = np.asarray(model(images[..., :channels])).reshape(2, -1)
        del model
        gc.collect()  # large models hold themselves
    command = [python, "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "logits.npz") as theirs:
        assert sorted(theirs) == sorted(expected)
        distances = {key: np.abs(theirs[key] - ours).max() / theirs[key].std() for key, ours in expected.items()}
    print(distances)
    assert max(distances.values()) <= 1e-4, distances


def test_every_family_that_timm_has_is_tried():
    held = {registry.lookup(torch_golden.our_name(net)).family for net in TIMM}
    assert {registry.lookup(torch_golden.our_name(net)).family for net, _ in FORMS} == held
    assert {registry.lookup(torch_golden.our_name(net)).family for net in QUICK} | {"vgg"} == held
