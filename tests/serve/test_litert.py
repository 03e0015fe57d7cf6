"""LiteRT files say what the model says, in each precision as nearly as it can, and int8 is integers throughout."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerascnn import create_model, data, load_model
from kerascnn.blocks import LOWEST
from kerascnn.serve import fold, litert, parity
from kerascnn.serve.formats import FORMATS

PRECISIONS = FORMATS["litert"].precisions
INTEGERS = {"INT8", "INT32"}  # these are biases, paddings and axes


@pytest.fixture(scope="module")
def source(data_dir):
    return data.open_source("digits", data_dir)


@pytest.fixture(scope="module")
def preprocessing(run_dir):
    return data.Preprocessing.load(run_dir / "preprocessing.json")


@pytest.fixture(scope="module")
def reference(run_dir, preprocessing, source):
    return parity.collect(load_model(run_dir / "model.keras"), preprocessing, source)


@pytest.fixture(scope="module")
def contents(run_dir, preprocessing, source):
    folded = fold(load_model(run_dir / "model.keras"))
    calibration = parity.calibration(preprocessing, source)
    return {precision: litert.convert(folded, precision, calibration) for precision in PRECISIONS}


# Of a model that was not trained: its logits are near to each other.
NEAR = {"float32": (1e-4, 1.0), "float16": (0.02, 0.99), "dynamic": (0.4, 0.9), "int8": (0.8, 0.85)}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_says_what_the_model_says(precision, contents, reference):
    found = parity.compare(reference, litert.predict(contents[precision], reference.inputs))
    difference, agreement = NEAR[precision]
    assert found["images"] == 360
    assert found["max_difference"] < difference
    assert found["top1_agreement"] >= agreement


def test_what_each_precision_stores(contents):
    sizes = {precision: len(content) / len(contents["float32"]) for precision, content in contents.items()}
    assert 0.45 < sizes["float16"] < 0.6 and 0.2 < sizes["dynamic"] < 0.4 and 0.2 < sizes["int8"] < 0.4
    convolutions = {
        precision: set.union(*(types for kind, types in litert.operators(content) if kind == "CONV_2D"))
        for precision, content in contents.items()
    }
    assert convolutions["float32"] == convolutions["float16"] == {"FLOAT32"}
    assert convolutions["dynamic"] == {"FLOAT32", "INT8"}
    assert set.union(*(types for _, types in litert.operators(contents["float16"]))) == {"FLOAT32", "FLOAT16", "INT32"}


def test_int8_is_integers_throughout(contents):
    found = litert.operators(contents["int8"])
    assert [kind for kind, _ in found].count("CONV_2D") == 19
    assert all(types <= INTEGERS for _, types in found)
    assert not {"QUANTIZE", "DEQUANTIZE"} & {kind for kind, _ in found}


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_any_number_of_images(precision, contents, reference):
    several = litert.predict(contents[precision], reference.inputs[: litert.BATCH + 1])
    assert several.shape == (litert.BATCH + 1, 10) and several.dtype == np.float32
    for place in (0, litert.BATCH):
        alone = litert.predict(contents[precision], reference.inputs[place : place + 1], threads=1)
        np.testing.assert_allclose(alone[0], several[place], atol=1e-5)


def small(*layers, shape=(16, 16, 3)):
    """A model of the functions `layers`, and a layer of classes."""
    keras.utils.set_random_seed(0)
    images = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(images, keras.layers.Dense(4, name="logits")(x), name="small")


def images(model, count=32):
    cells = np.random.default_rng(0).normal(size=(count, 6, 6, model.input_shape[-1]))
    return tf.image.resize(cells, model.input_shape[1:3], "bicubic").numpy()


def far(model, precision):
    """How far the file is from the model, in standard deviations of the logits; and its operators."""
    inputs = images(model)
    content = litert.convert(model, precision, inputs)
    expected = model(inputs, training=False).numpy()
    found = np.abs(litert.predict(content, inputs) - expected).max() / expected.std()
    return found, [kind for kind, _ in litert.operators(content)]


def padded(above, below, value=LOWEST):
    margins = ((0, 0), (above, below), (above, below), (0, 0))
    return lambda x: keras.ops.pad(x, margins, constant_values=value)


conv = keras.layers.Conv2D
average = keras.layers.GlobalAveragePooling2D


@pytest.mark.parametrize(
    ("layers", "operator"),
    [
        ([lambda x: keras.layers.ReLU()(conv(8, 3)(x)), padded(1, 1), keras.layers.MaxPooling2D(3, 2)], "PAD"),
        ([conv(8, 3, activation="relu6"), padded(0, 1), keras.layers.MaxPooling2D(3, 2)], "PAD"),
        ([conv(8, 3), padded(1, 1), keras.layers.MaxPooling2D(3, 2)], "MIRROR_PAD"),
        ([conv(8, 3), padded(0, 1), keras.layers.MaxPooling2D(2, 2)], "MIRROR_PAD"),
        ([conv(8, 3), padded(1, 1, 0.5), keras.layers.MaxPooling2D(3, 2)], "PADV2"),  # this value may win
        (
            [
                lambda x: keras.layers.Concatenate()(
                    [conv(4, 3, activation="relu")(x), conv(4, 3, activation="relu")(x)]
                ),
                padded(1, 1),
                keras.layers.MaxPooling2D(3, 1),
            ],
            "PAD",
        ),
    ],
    ids=["relu", "relu6", "signed", "signed_2x2", "another_value", "concatenated"],
)
def test_padding_ahead_of_max_pooling_leaves_int8_its_steps(layers, operator):
    model = small(*layers, lambda x: average()(x))
    difference, kinds = far(model, "int8")
    assert difference < 0.15
    assert operator in kinds and len({"PAD", "PADV2", "MIRROR_PAD"} & set(kinds)) == 1
    assert far(model, "float32")[0] < 1e-5


def test_mirrored_pixels_never_win():
    pooled = [conv(8, 3), padded(1, 1), keras.layers.MaxPooling2D(3, 2), padded(0, 1), keras.layers.MaxPooling2D(2, 2)]
    model = small(*pooled, keras.layers.Flatten())
    suited, inputs = litert.suited(model, "int8"), images(model)
    assert "symmetric" in [getattr(operation, "mode", None) for operation in suited.operations]
    np.testing.assert_array_equal(suited(inputs), model(inputs))


def test_a_flattened_map_needs_no_look_at_the_batch():
    model = create_model("lenet5", input_shape=(28, 28, 1))
    difference, kinds = far(model, "float32")
    assert difference < 1e-5
    assert "RESHAPE" in kinds and not {"SHAPE", "STRIDED_SLICE", "PACK"} & set(kinds)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_an_operation_that_there_is_not_is_named(precision):
    def fractional(x):
        return keras.layers.Lambda(
            lambda x: tf.raw_ops.FractionalMaxPool(value=x, pooling_ratio=[1, 1.4, 1.4, 1])[0], output_shape=(10, 10, 4)
        )(x)

    model = small(conv(4, 3), fractional, average())
    with pytest.raises(ValueError, match=r"^small cannot be written for LiteRT, which has no tf\.FractionalMaxPool\.$"):
        litert.convert(model, precision, images(model))


def test_what_int8_leaves_in_floating_point_is_named():
    model = small(conv(4, 3), keras.ops.sin, average())
    assert far(model, "float32")[0] < 1e-5
    with pytest.raises(ValueError, match="small cannot be written in int8: LiteRT leaves SIN in floating point"):
        litert.convert(model, "int8", images(model))


def test_wrong_arguments_are_answered(monkeypatch):
    model = small(average())
    with pytest.raises(ValueError, match=r"no precision 'int16': did you mean int8"):
        litert.convert(model, "int16")
    for nothing in (None, np.zeros([0, 16, 16, 3], np.float32)):
        with pytest.raises(ValueError, match="int8 needs images to measure"):
            litert.convert(model, "int8", nothing)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    for call in (lambda: litert.convert(model), lambda: litert.predict(b"", images(model))):
        with pytest.raises(ValueError, match=r"litert needs ai_edge_litert: pip install 'kerascnn\[formats\]'"):
            call()


@pytest.mark.slow
def test_a_trained_model_keeps_its_classes_in_int8(data_dir, tmp_path):
    command = [sys.executable, "-m", "recipes.digits_resnet20", "--epochs=30"]
    subprocess.run([*command, f"--model_dir={tmp_path}", f"--data_dir={data_dir}"], check=True, capture_output=True)
    model, source = load_model(tmp_path / "model.keras"), data.open_source("digits", data_dir)
    preprocessing = data.Preprocessing.load(tmp_path / "preprocessing.json")
    reference = parity.collect(model, preprocessing, source)
    for precision in ("dynamic", "int8"):
        content = litert.convert(fold(model), precision, parity.calibration(preprocessing, source))
        assert parity.compare(reference, litert.predict(content, reference.inputs))["top1_agreement"] > 0.98
