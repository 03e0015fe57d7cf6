"""Data that cannot be used, in a whole run: named where it ends the run, listed in the report where it does not."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kerascnn.data import Preprocessing, open_source
from kerascnn.evaluate.accuracy import accuracy
from kerascnn.train import run
from kerascnn.train.inputs import Inputs
from kerascnn.train.recipe import BadData
from kerascnn.train.run_dir import RunDir
from recipes.digits_lenet5 import RECIPE

TINY = dataclasses.replace(
    RECIPE, epochs=1, batch_size=50, warmup_epochs=0, train_split="train[:-100]", test_split="train[-100:]", augment=""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """500 images in two classes; one of the first 400 and one of the last 100 are broken."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(500):
        path = root / ("a" if i < 250 else "b") / f"{i:03}.png"
        path.parent.mkdir(exist_ok=True)
        content = tf.io.encode_png(rng.integers(0, 256, [8, 8, 3], np.uint8)).numpy()
        path.write_bytes(content[:50] if i in (123, 456) else content)
    return root


def test_a_run_ends_with_the_name_of_what_it_cannot_use(folder, tmp_path):
    recipe = dataclasses.replace(TINY, data=str(folder), preprocess="unit")
    with pytest.raises(BadData, match=r"unusable data: .*a/123\.png cannot be read"):
        run(recipe, model_dir=tmp_path)


def test_a_run_that_skips_lists_it_in_the_report(folder, tmp_path):
    recipe = dataclasses.replace(TINY, data=str(folder), mix="mixup(alpha=0.2, mode='half')")
    result = run(recipe, model_dir=tmp_path, on_corrupt="skip")
    assert result.history[-1]["step"] == 8
    report = (tmp_path / "report.html").read_text()
    assert "a/123.png" in report and "b/456.png" in report


@pytest.fixture(scope="module")
def at_two_sizes(data_dir, tmp_path_factory):
    """Trained on 16x16 and evaluated on 24x24, from a net whose average over pixels takes both."""
    recipe = dataclasses.replace(
        RECIPE, model="resnet20_cifar", epochs=1, batch_size=64, warmup_epochs=0, image_size=16, test_image_size=24,
        train_split="train[:256]", test_split="test[:100]", average="ema(decay=0.5)",
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("sizes")
    return run(recipe, model_dir=folder, data_dir=data_dir, export_dir=folder / "export")


@pytest.mark.slow  # a recipe with two sizes, imagenet_resnet50_a3, is tried and exported by default
def test_evaluation_may_have_a_size_of_its_own(at_two_sizes, data_dir):
    result = at_two_sizes
    assert result.preprocessing.image_size == (24, 24)
    assert result.model.input_shape == (None, 24, 24, 1)
    found = accuracy(result.model, open_source("digits", data_dir), "test[:100]", result.preprocessing)
    assert found.top1 == pytest.approx(result.history[-1]["average_accuracy"])
    bundle = Preprocessing.load(result.bundle / "preprocessing.json")
    assert bundle == result.preprocessing


def test_training_images_have_the_other_size(data_dir, tmp_path):
    recipe = dataclasses.replace(RECIPE, image_size=16, test_image_size=24)
    inputs = Inputs(recipe, RunDir(tmp_path), data_dir=data_dir)
    images, *_ = next(iter(inputs.train_batches(seed=0, start_step=0, shard=(0, 1))))
    assert images.shape[1:] == (16, 16, 1)
    images, *_ = next(iter(inputs.test_batches(batch_size=32, shard=(0, 1))))
    assert images.shape[1:] == (24, 24, 1)


def test_a_mean_image_has_one_size(data_dir, tmp_path):
    recipe = dataclasses.replace(RECIPE, preprocess="mean_image", image_size=16, test_image_size=24)
    with pytest.raises(ValueError, match="mean_image"):
        Inputs(recipe, RunDir(tmp_path), data_dir=data_dir)
