"""Data that cannot be used, in a whole run: named where it ends the run, listed in the report where it does not."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kerascnn.train import run
from kerascnn.train.recipe import BadData
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
