"""Files of keras.applications: real ones that Keras writes here, in today's names and in those of published files."""

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading

import h5py
import keras
import numpy as np
import pytest

from kerascnn import registry
from kerascnn.weights import applications, catalog, keras_names
from tools import torch_golden
from tools.keras_golden import BARE, MINIMAL, create, published, wide

ALPHA = wide(0.25)
QUICK = [
    ("VGG16", 33, *BARE),
    ("MobileNet", 64, *ALPHA),
    ("MobileNetV3Small", 64, {}, {}),
]
SLOW = [
    ("VGG16", 224, {}, {}),
    ("VGG19", 224, {}, {}),
    *((f"ResNet{depth}", 65, {}, {}) for depth in ("50", "101", "152", "50V2", "101V2", "152V2")),
    ("InceptionV3", 75, {}, {}),
    ("Xception", 71, {}, {}),
    ("NASNetMobile", 65, {}, {}),
    ("NASNetLarge", 64, {}, {}),
    ("InceptionResNetV2", 75, {}, {}),
    *((f"DenseNet{depth}", 65, {}, {}) for depth in (121, 169, 201)),
    *(("MobileNet", 64, *wide(alpha)) for alpha in (0.5, 0.75, 1.0)),
    *(("MobileNetV2", 65, *wide(alpha)) for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    *((f"MobileNetV3{size}", 64, *wide(0.75)) for size in ("Small", "Large")),
    *((f"MobileNetV3{size}", 64, *MINIMAL) for size in ("Small", "Large")),
    ("MobileNetV3Large", 64, {}, {}),
    ("EfficientNetB0", 65, {}, {}),
    *((f"EfficientNetB{n}", 64, {}, {}) for n in range(1, 8)),
    *((f"EfficientNetV2{size}", 64, {}, {}) for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    *((f"ConvNeXt{size}", 64, {}, {}) for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
]
CASES = [
    pytest.param(*row, marks=marks, id="-".join((row[0], *map(str, (row[1], *row[2].values())))))
    for rows, marks in ((QUICK, ()), (SLOW, pytest.mark.slow))
    for row in rows
]

# How keras.applications prepares images from 0 to 255; EfficientNet, MobileNetV3 and ConvNeXt do it inside.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPARE = {
    "vgg": keras.applications.vgg16.preprocess_input,
    "resnet": keras.applications.resnet50.preprocess_input,
    "preact_resnet": keras.applications.resnet_v2.preprocess_input,
    "inception_v3": keras.applications.inception_v3.preprocess_input,
    "xception": keras.applications.xception.preprocess_input,
    "nasnet": keras.applications.nasnet.preprocess_input,
    "densenet": keras.applications.densenet.preprocess_input,
    "mobilenet": keras.applications.mobilenet.preprocess_input,
    "mobilenet_v3": keras.applications.mobilenet_v2.preprocess_input,  # `published` leaves its own out
    "efficientnet": lambda images: images,
    "convnext": lambda images: (images / 255 - MEAN) / STD,  # likewise
}


@pytest.fixture(autouse=True)
def fresh():
    yield
    keras.backend.clear_session()


def checkpoint(name, **fields):
    """The catalogue's row of a class."""
    return dataclasses.replace(catalog.find("keras:imagenet", keras_names.OURS[name]), **fields)


def load(model, known, path):
    """The way of kerascnn.weights."""
    return keras_names.assign(model, applications.tensors(known, path), path)


def saved(model, path):
    """The file that Keras writes of a model, as it stands in `model_weights`."""
    model.save(path)
    return path


def at_root(source, path):
    """The same weights at the root of a file, as the published ones have them."""
    with h5py.File(source) as old, h5py.File(path, "w") as new:
        for name in old["model_weights"]:
            old.copy(old["model_weights"][name], new, name)
        for name, value in old["model_weights"].attrs.items():
            new.attrs[name] = value
    return path


def written(tensors, path, rename=lambda layer, kind: (layer, f"{layer}/{kind}:0"), dtype="float32"):
    """A file as older versions of Keras wrote it, of arrays by (layer, kind)."""
    layers = {}
    for (layer, kind), tensor in tensors.items():
        name, weight = rename(layer, kind)
        layers.setdefault(name, {})[weight] = tensor
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in ("input_1", *layers)]
        file.create_group("input_1").attrs["weight_names"] = []
        for name in sorted(layers):
            group = file.require_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in layers[name]]
            for weight, tensor in layers[name].items():
                group.create_dataset(weight, data=np.asarray(tensor, dtype))
    return path


def as_published(model, path):
    """The quirk of EfficientNets' files: the variance is the deviation, by whose root Keras divides once more."""
    with h5py.File(path, "r+") as file:
        for layer in model.layers:
            if hasattr(layer, "adapt_mean"):
                file[f"{layer.name}/{layer.name}/variance"][...] = STD


def normalised(model):
    """A model whose preprocessing, if it has any inside, does what that of the published weights does."""
    for layer in model.layers:
        if hasattr(layer, "adapt_mean"):  # a Normalization that was not told its numbers
            layer.adapt_mean.assign(np.reshape(MEAN, layer.adapt_mean.shape))
            layer.adapt_variance.assign(np.reshape(np.square(STD), layer.adapt_variance.shape))
            layer.finalize_state()
    return model


@pytest.mark.parametrize(("name", "size", "theirs", "ours"), CASES)
def test_their_file_and_image_give_their_logits(tmp_path, name, size, theirs, ours):
    known, theirs = checkpoint(name), normalised(published(name, size, **theirs))
    path = at_root(saved(theirs, tmp_path / "saved.h5"), tmp_path / "published.h5")
    as_published(theirs, path)
    images = np.clip(127.5 + 60 * torch_golden.synthetic_images(size), 0, 255)
    prepare = PREPARE[registry.facts()[known.model]["family"]]
    expected = np.asarray(theirs(prepare(images.copy())))
    model = create(name, size, **ours)
    left = load(model, known, str(path))
    assert left == [
        f"normalization/{kind}" for kind in ("count", "mean", "variance") if name.startswith("EfficientNetB")
    ]
    inputs = (images / 255 - known.mean) / known.std
    if name.startswith("Eff"):  # deep ones multiply a rounding of the input until it decides, with made-up weights
        first = theirs.get_layer("stem_conv" if "V2" in name else "stem_conv_pad")
        inside = keras.Model(theirs.input, first.input)(images)
        np.testing.assert_allclose(inside, inputs, atol=1e-5)
        inputs = inside
    logits = np.asarray(model(inputs))
    assert np.ptp(expected, 0).std() > 0.01 * expected.std() > 0, "the logits tell the images apart"
    assert np.abs(logits - expected).max() <= 2e-4 * expected.std()


def test_every_class_is_tested():
    assert {row[0] for row in QUICK + SLOW} == set(keras_names.OURS)
    assert {registry.facts()[ours]["family"] for ours in keras_names.OURS.values()} == set(PREPARE)


@pytest.fixture(scope="module")
def mobile():
    """The weights of a small model of theirs, and of the same model its file."""
    return keras_names.tensors_of(published("MobileNet", 32, alpha=0.25))


def small(name="MobileNet"):
    return create(name, 32, **({"width": 0.25} if name == "MobileNet" else {}))


def assert_holds(model, tensors):
    """A model of ours holds weights of theirs."""
    other = small()
    keras_names.assign(other, tensors)
    for ours, expected in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_model_save_and_published_files_are_read_alike(tmp_path, mobile):
    theirs = published("MobileNet", 32, alpha=0.25)
    path = saved(theirs, tmp_path / "saved.h5")
    for file in (path, at_root(path, tmp_path / "published.h5"), written(mobile, tmp_path / "old.h5")):
        tensors = applications.read(str(file))
        assert list(tensors) == list(mobile), "in the order of the file"
        for key, tensor in tensors.items():
            np.testing.assert_array_equal(tensor, mobile[key])


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_other_floats_load_too(tmp_path, mobile, dtype):
    model = small()
    load(model, checkpoint("MobileNet"), str(written(mobile, tmp_path / "half.h5", dtype=dtype)))
    expected = mobile["conv1", "kernel"].astype(dtype).astype("float32")
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, expected)


def keras_1(layer, kind):
    """As in VGG's files."""
    return layer, f"{layer}_{ {'kernel': 'W', 'bias': 'b'}[kind] }_1:0"


def resnet(layer, kind):
    """As in ResNet50's: convolutions from Keras 1, the rest later, and another name of the last layer."""
    layer = layer.replace("predictions", "probs")
    return keras_1(layer, kind) if layer.endswith("_conv") else (layer, f"{layer}/{kind}:0")


def densenet(layer, kind):
    layer = re.sub(r"^conv1_(conv|bn)$", r"conv1/\1", layer).replace("predictions", "fc1000")
    return layer, f"{layer}/{kind}:0"


def mobilenet_v2(layer, kind):
    number, part, norm = re.fullmatch(r"(?:block_(\d+)|expanded_conv|\w+?)(?:_([a-z]+)(_BN)?)?", layer).groups()
    if part in keras_names.PARTS.values():
        number = number or 0
        layer = f"bn{number}_conv_{number}_bn_{part}" if norm else f"mobl{number}_conv_{number}_{part}"
    layer = layer.replace("predictions", "Logits")
    return layer, f"{layer}/{'depthwise_' if 'mobl' in layer and part == 'depthwise' else ''}{kind}:0"


def mobilenet_v3(layer, kind):
    layer = re.sub(r"^(expanded_conv(?:_\d+)?)_(?=[a-z])", r"\1/", layer).replace("excite_", "excite/")
    layer = layer.replace("_bn", "/BatchNorm").replace("logits", "Logits")
    layer = re.sub(r"^conv|(?<=excite/)conv", "Conv", layer)
    return layer, f"{layer}/{kind}:0"


# Layers and weights as files have them that Keras publishes, by what people report who opened them.
PUBLISHED = [
    ("VGG16", keras_1, {"block1_conv1/block1_conv1_W_1:0", "block5_conv3/block5_conv3_b_1:0"}),
    ("ResNet50", resnet, {"conv2_block1_1_conv/conv2_block1_1_conv_W_1:0", "probs/probs/kernel:0"}),
    ("DenseNet121", densenet, {"conv1/conv/conv1/conv/kernel:0", "conv1/bn/conv1/bn/gamma:0"}),
    (
        "MobileNetV2",
        mobilenet_v2,
        {
            "mobl0_conv_0_depthwise/mobl0_conv_0_depthwise/depthwise_kernel:0",
            "mobl16_conv_16_expand/mobl16_conv_16_expand/kernel:0",
            "bn1_conv_1_bn_project/bn1_conv_1_bn_project/beta:0",
            "Logits/Logits/kernel:0",
            "bn_Conv1/bn_Conv1/beta:0",
        },
    ),
    (
        "MobileNetV3Small",
        mobilenet_v3,
        {
            "Conv/Conv/kernel:0",
            "Conv/BatchNorm/Conv/BatchNorm/beta:0",
            "expanded_conv/depthwise/BatchNorm/expanded_conv/depthwise/BatchNorm/gamma:0",
            "expanded_conv_1/expand/expanded_conv_1/expand/kernel:0",
            "expanded_conv/squeeze_excite/Conv_1/expanded_conv/squeeze_excite/Conv_1/bias:0",
            "Conv_2/Conv_2/bias:0",
            "Logits/Logits/kernel:0",
        },
    ),
]


@pytest.mark.parametrize(("name", "rename", "holds"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_names_of_older_versions_of_keras(tmp_path, name, rename, holds):
    keys = [(layer, kind) for layer, kinds in applications._order(keras_names.OURS[name]) for kind in kinds]
    path = written({key: [i] for i, key in enumerate(keys)}, tmp_path / "old.h5", rename)
    with h5py.File(path) as file:
        assert holds <= set(_datasets(file))
    read = applications.tensors(checkpoint(name, bgr=False), str(path))
    read = {(layer, keras_names.kind_today(kind)): int(number[0]) for (layer, kind), number in read.items()}
    assert read == {key: i for i, key in enumerate(keys)}


def _datasets(file):
    names = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def numbered(layer, kind, numbers):
    layer = f"layer_{numbers.setdefault(layer, len(numbers))}"
    return layer, f"{layer}/{kind}:0"


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_a_published_file_goes_by_order_where_it_has_other_names(tmp_path, mobile):
    path = written(mobile, tmp_path / "other.h5", functools.partial(numbered, numbers={}))
    model, known = small(), checkpoint("MobileNet", md5=md5(path))
    assert load(model, known, str(path)) == []
    assert_holds(model, mobile)
    for wrong in (None, "0" * 32):
        with pytest.raises(
            ValueError, match=r"other\.h5 does not fit mobilenet_v1: it lacks conv1/kernel, .* no layer_0/"
        ):
            load(model, dataclasses.replace(known, md5=wrong), str(path))


@pytest.mark.parametrize("key", [("conv1", "kernel"), ("conv_pw_3_bn", "gamma")])
def test_an_order_that_is_not_theirs_loads_nothing(tmp_path, mobile, key):
    tensors = {k: v for k, v in mobile.items() if k != key}
    path = written(tensors, tmp_path / "less.h5", functools.partial(numbered, numbers={}))
    says = (
        "neither the names of its 5[45] layers with weights nor their order is that of keras.applications, which has 55"
    )
    with pytest.raises(ValueError, match=rf"less\.h5 does not fit mobilenet_v1: {says}"):
        load(small(), checkpoint("MobileNet", md5=md5(path)), str(path))


def test_minimal_and_wide_models_have_an_order_too():
    keys = [(layer, kind) for layer, kinds in applications._order("mobilenet_v3_small_minimal") for kind in kinds]
    assert keys[0] == ("conv", "kernel") and not any("squeeze" in layer for layer, _ in keys)
    assert keys == list(keras_names.tensors_of(published("MobileNetV3Small", 32, alpha=0.75, minimalistic=True)))


def test_names_in_parts(tmp_path, mobile):
    path = written(mobile, tmp_path / "parts.h5")
    with h5py.File(path, "r+") as file:
        names, root = list(file.attrs["layer_names"]), file.attrs
        del root["layer_names"]
        root["layer_names0"], root["layer_names1"], root["layer_names2"] = names[:9], names[9:10], names[10:]
        group = file["conv1_bn"].attrs
        names = list(group["weight_names"])
        del group["weight_names"]
        group["weight_names0"], group["weight_names1"] = names[:3], names[3:]
    assert list(applications.read(str(path))) == list(mobile)
    with h5py.File(path, "r+") as file:
        del file.attrs["layer_names1"]
    with pytest.raises(ValueError, match="it lacks conv_"):
        load(small(), checkpoint("MobileNet"), str(path))


def unnamed(file):
    del file.attrs["layer_names"]


def unlisted(file):
    del file["conv1"].attrs["weight_names"]


def replaced(value=None, **fields):
    def change(file):
        del file["conv1/conv1/kernel:0"]
        if isinstance(value, (h5py.ExternalLink, h5py.SoftLink)):
            file["conv1/conv1/kernel:0"] = value
        elif fields or value is not None:
            file["conv1"].create_dataset("conv1/kernel:0", data=value, **fields)

    return change


def twice(file):
    file["conv1"].attrs["weight_names"] = ["conv1/kernel:0", "conv1/kernel:0"]


def linked(link):
    def change(file):
        del file["conv1"]
        file["conv1"] = link

    return change


def outside(file):
    with open(f"{file.filename}.raw", "wb") as raw:
        raw.write(bytes(3 * 3 * 3 * 8 * 4))
    replaced(shape=(3, 3, 3, 8), dtype="f4", external=[(f"{file.filename}.raw", 0, h5py.h5f.UNLIMITED)])(file)


def virtual(file):
    del file["conv1/conv1/kernel:0"]
    layout = h5py.VirtualLayout((3, 3, 3, 8), "f4")
    layout[...] = h5py.VirtualSource(f"{file.filename}.other", "x", (3, 3, 3, 8))
    file["conv1"].create_virtual_dataset("conv1/kernel:0", layout)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (unnamed, "it has no model_weights"),
        (unlisted, "/conv1 has no attribute weight_names"),
        (twice, "conv1 has two weights that are its kernel"),
        (replaced(), "it has no conv1/kernel:0"),
        (replaced(b"text"), r"conv1/kernel:0 is of the type .*, which no weight can be made of"),
        (replaced(["text"], dtype=h5py.string_dtype()), "conv1/kernel:0 is of the type object, which no weight"),
        (replaced(np.zeros(3, "f4,i4")), "conv1/kernel:0 is of the type .*, which no weight can be made of"),
        (replaced(np.zeros(3, "c8")), "conv1/kernel:0 is of the type complex64, which no weight can be made of"),
        (replaced(shape=(2**40,), dtype="f4", chunks=(2**20,)), "conv1/kernel:0 claims 4398046511104 bytes"),
        (replaced(h5py.ExternalLink("/etc/hostname", "x")), "conv1/kernel:0 is a link to elsewhere"),
        (replaced(h5py.SoftLink("/conv_pw_1/conv_pw_1/kernel:0")), "conv1/kernel:0 is a link to elsewhere"),
        (linked(h5py.ExternalLink("other.h5", "/")), "conv1 is a link to elsewhere, which is never followed"),
        (linked(h5py.SoftLink("/conv_pw_1")), "conv1 is a link to elsewhere, which is never followed"),
        (linked(np.zeros(3)), "conv1 is no group"),
        (outside, "the numbers of conv1/kernel:0 are in another file, which is never followed"),
        (virtual, "the numbers of conv1/kernel:0 are in another file, which is never followed"),
        (lambda file: file["conv1"].create_group("conv1/x") and twice_named(file, "conv1/x"), "conv1/x is no array"),
        (lambda file: twice_named(file, "../conv1_bn/conv1_bn/gamma:0"), r"it has no \.\./conv1_bn"),
        (lambda file: twice_named(file, 7), "weight_names holds np.int64.7., which is no name"),
        (lambda file: twice_named(file, b"\xff"), "codec can't"),
    ],
)
def test_a_damaged_or_forged_file_is_named(tmp_path, mobile, change, says):
    path = written(mobile, tmp_path / "forged.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(ValueError, match=rf"{path} is damaged, or not a file of weights as .*: .*{says}"):
        applications.read(str(path))


def twice_named(file, name):
    file["conv1"].attrs["weight_names"] = [name]


def test_no_file_a_file_of_another_kind_and_a_part_of_one(tmp_path, mobile):
    path = tmp_path / "x.h5"
    with pytest.raises(FileNotFoundError, match=f"no weights file {path}"):
        applications.read(str(path))
    whole = written(mobile, tmp_path / "whole.h5").read_bytes()
    for content in (
        b"",
        b"\x80\x04pickle",
        *(whole[: int(len(whole) * part)] for part in np.linspace(0.001, 0.999, 20)),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path} is damaged, or not a file of weights"):
            applications.read(str(path))
    small().save_weights(tmp_path / "new.weights.h5")  # of Keras 3, which is another layout
    with pytest.raises(ValueError, match="it has no model_weights"):
        applications.read(str(tmp_path / "new.weights.h5"))


@pytest.mark.parametrize(
    ("kind", "value"), [("mean", (0.5, 0.5, 0.5)), ("variance", tuple(np.square(STD))), ("variance", (0.2,))]
)
def test_another_preprocessing_inside_is_an_error(tmp_path, kind, value):
    inside = {("normalization", "mean"): MEAN, ("normalization", "variance"): STD, ("normalization", "count"): 0}
    known = checkpoint("EfficientNetB0")
    assert set(applications.tensors(known, str(written(inside, tmp_path / "good.h5")))) == set(inside)
    path = written(inside | {("normalization", kind): value}, tmp_path / "bad.h5")
    with pytest.raises(ValueError, match=rf"bad\.h5: its normalization has the {kind} \[.*, but keras:imagenet of"):
        applications.tensors(known, str(path))


def test_what_takes_blue_first_takes_red_first(tmp_path):
    kernel = np.arange(2 * 2 * 3 * 4, dtype="float32").reshape(2, 2, 3, 4)
    tensors = {("conv1_conv", "kernel"): kernel, ("conv1_conv", "bias"): np.ones(4)}
    turned = applications.rgb(tensors, "conv1_conv")
    np.testing.assert_array_equal(turned["conv1_conv", "kernel"], kernel[:, :, ::-1])
    assert turned["conv1_conv", "bias"] is tensors["conv1_conv", "bias"]
    np.testing.assert_array_equal(applications.rgb(turned, "conv1_conv")["conv1_conv", "kernel"], kernel)
    for wrong in ("conv2", "bn"):
        with pytest.raises(ValueError, match=f"{wrong} is no convolution of an image of three channels"):
            applications.rgb(tensors | {("bn", "kernel"): np.ones((1, 1, 4, 4))}, wrong)
    path = written({("x", "kernel"): np.ones((1, 1, 4, 4))}, tmp_path / "x.h5")
    with pytest.raises(ValueError, match=r"x\.h5 does not fit resnet50: x is no convolution of an image"):
        applications.tensors(checkpoint("ResNet50"), str(path))


def damaged(tensors, rng):
    """A few weights dropped, renamed, transposed or reshaped, at random."""
    keys = list(tensors)
    for _ in range(rng.integers(1, 4)):
        key = keys.pop(rng.integers(len(keys)))
        layer, kind = key
        tensor = tensors.pop(key)
        match rng.choice(["drop", "layer", "kind", "swap", "shape", "cut"]):
            case "layer":
                tensors[f"{layer}_{rng.integers(9)}", kind] = tensor
            case "kind":
                tensors[layer, rng.choice(["kernel", "bias", "gamma", "beta", "mean"])] = tensor
            case "swap" if tensor.ndim > 1:
                tensors[key] = tensor.transpose(rng.permutation(tensor.ndim))
            case "shape":
                tensors[key] = tensor.reshape(rng.permutation([*tensor.shape, 1]))
            case "cut":
                tensors[key] = tensor[..., : rng.integers(tensor.shape[-1])]
    return tensors


def test_what_is_damaged_at_random_is_never_loaded(tmp_path, mobile):
    model = small()
    before = model.get_weights()
    refused = 0
    for seed in range(30):
        tensors = damaged(dict(mobile), np.random.default_rng(seed))
        if {key: tensor.shape for key, tensor in tensors.items()} == {key: t.shape for key, t in mobile.items()}:
            continue  # a square matrix transposed, or what came back to itself: no shape can tell
        with pytest.raises(ValueError, match=r"damaged\.h5 does not fit mobilenet_v1: (it lacks|the model has|other)"):
            load(model, checkpoint("MobileNet"), str(written(tensors, tmp_path / "damaged.h5")))
        refused += 1
    assert refused > 20
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class Files(http.server.BaseHTTPRequestHandler):
    """A server of /NAME and of /cut/NAME, which breaks off in the middle; its `files` are by name."""

    def do_GET(self):
        _, cut, name = self.path.rpartition("cut/")
        content = self.server.files.get(name.strip("/"))
        self.server.asked.append(self.path)
        if content is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(**files):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        server.files, server.asked = {name.replace("_h5", ".h5"): content for name, content in files.items()}, []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


# Keras reads KERAS_HOME when it is imported, so that this is another process. It says what became of each download.
DOWNLOADS = """
import dataclasses, json, os, sys
from kerascnn.weights import applications, catalog

known = catalog.find("keras:imagenet", "mobilenet_v1_025")
for url, md5 in json.loads(sys.argv[1]):
    try:
        told = applications.download(dataclasses.replace(known, url=url, md5=md5))
        told += f" {len(applications.read(told))}"
    except (OSError, ValueError) as error:
        told = f"{type(error).__name__}: {error}"
    print(json.dumps([told, sorted(os.listdir(os.path.join(os.environ["KERAS_HOME"], "models")))]))
"""


def test_downloads(tmp_path, mobile):
    content = written(mobile, tmp_path / "x.h5").read_bytes()
    right, wrong = hashlib.md5(content).hexdigest(), "0" * 32
    with serving(a_h5=content, b_h5=content, c_h5=content) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        asked = [
            (f"{url}/a.h5", right),  # fetched
            (f"{url}/a.h5", right),  # from the cache
            (f"{url}/b.h5", None),  # without a hash, as MobileNets are published
            (f"{url}/c.h5", wrong),
            (f"{url}/d.h5", right),  # 404
            (f"{url}/cut/c.h5", right),
            (f"{url}/cut/c.h5", None),
            ("http://127.0.0.1:9/e.h5", right),  # nobody answers
            (f"{url}/c.h5", right),
        ]
        done = subprocess.run(
            [sys.executable, "-c", DOWNLOADS, json.dumps(asked)],
            env=os.environ | {"KERAS_HOME": str(tmp_path / "home")},
            check=True,
            capture_output=True,
            text=True,
        )
    told = [json.loads(line) for line in done.stdout.splitlines()]  # and nothing but that: progress is no output
    home = tmp_path / "home/models"
    expected = [
        (f"{home}/a.h5 {len(mobile)}", ["a.h5"]),
        (f"{home}/a.h5 {len(mobile)}", ["a.h5"]),
        (f"{home}/b.h5 {len(mobile)}", ["a.h5", "b.h5"]),
        (rf"ValueError: {url}/c.h5 is damaged, or not .*: its hash is not {wrong}. It was removed", ["a.h5", "b.h5"]),
        (rf"OSError: {url}/d.h5 could not be downloaded: .* 404 .* put it into the folder models", ["a.h5", "b.h5"]),
        (rf"OSError: {url}/cut/c.h5 could not be downloaded: .*retrieval incomplete", ["a.h5", "b.h5"]),
        (rf"OSError: {url}/cut/c.h5 could not be downloaded: .*retrieval incomplete", ["a.h5", "b.h5"]),
        (r"OSError: http://127.0.0.1:9/e.h5 could not be downloaded: .*refused.* Connect to the", ["a.h5", "b.h5"]),
        (f"{home}/c.h5 {len(mobile)}", ["a.h5", "b.h5", "c.h5"]),
    ]
    for (said, files), (says, there) in zip(told, expected, strict=True):
        assert re.match(says, said) and files == there, said
    assert server.asked.count("/a.h5") == 1, "the second time it came from the cache"


def test_what_is_no_file_of_theirs_is_not_downloaded():
    with pytest.raises(ValueError, match=r"^keras:imagenet of resnet50 is no file of keras\.applications"):
        applications.download(checkpoint("ResNet50", url=None))
