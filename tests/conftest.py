"""What holds for every test."""

import os

# Before the first import of TensorFlow, here and in the processes that tests start: errors only.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Where TFDS keeps its files: the built-in digits, prepared once for all tests."""
    from kerascnn.data import open_source

    folder = tmp_path_factory.mktemp("tfds")
    open_source("digits", folder)
    return folder


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory, data_dir):
    """What a finished run leaves for others: `model.keras` (not trained) and `preprocessing.json`."""
    import keras
    import tensorflow as tf

    from kerascnn import create_model, data

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("run")
    source = data.open_source("digits", data_dir)
    preprocessing = data.measure(source, "train")
    model = create_model("resnet20_cifar", input_shape=(8, 8, 1))
    forward = tf.function(lambda images, training: model(images, training=training))
    for images, _ in data.pipeline(source, "train", batch_size=64, preprocess=preprocessing).take(30):
        forward(images, True)  # batch norm learns its statistics
    logits = forward(images, False)
    mean, deviation = tf.reduce_mean(logits, 0), tf.math.reduce_std(logits, 0)
    kernel, bias = model.get_layer("logits").weights
    kernel.assign(kernel / deviation)  # and every class gets its share
    bias.assign((bias - mean) / deviation)
    model.save(folder / "model.keras")
    preprocessing.save(folder / "preprocessing.json")
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, run_dir):
    """The export folder of `run_dir`, with one version in it."""
    from kerascnn import data, load_model, serve

    folder = tmp_path_factory.mktemp("bundle")
    preprocessing = data.Preprocessing.load(run_dir / "preprocessing.json")
    serve.export(load_model(run_dir / "model.keras"), folder, preprocessing)
    return folder
