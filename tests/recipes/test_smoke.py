"""Each recipe runs from its data to its export: two steps on made-up images in the form of its data set."""

import importlib
import json

import pytest

from kerascnn import cli
from kerascnn.train import main, run

# By default one of each family, and of each loss, mix and average that is on another road; the rest is slow. The first
# three are exported, too.
EXPORTED = ("imagenet_resnet50_a3", "imagenet_mobilenet_v2", "cifar10_fast")
QUICK = (
    "mnist_lenet5",
    "imagenet_alexnet",
    "imagenet_googlenet",
    "imagenet_densenet121",
    "imagenet_mobilenet_v3_large",
    "imagenet_efficientnet_b0",
    "cifar10_wrn28_10",
    "digits_vgg",
    "imagenet_resnet50_v2",
)
RECIPES = cli.names("recipes")


def recipe(name):
    return importlib.import_module(f"recipes.{name}").RECIPE


def end(main, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(*arguments)
    return ended.value.code


@pytest.mark.parametrize("name", [n if n in EXPORTED else pytest.param(n, marks=pytest.mark.slow) for n in RECIPES])
def test_a_recipe_runs_to_its_export(name, data_dir, tmp_path):
    argv = [name, "--smoke", f"--data_dir={data_dir}", f"--model_dir={tmp_path}"]
    assert end(main, recipe(name), argv) == 0
    assert (tmp_path / "checkpoints").is_dir() and (tmp_path / "report.html").exists()
    parity = json.loads((tmp_path / "export/1/parity.json").read_text("utf-8"))
    assert parity["files"]["saved_model.pb"]["max_difference"] < 1e-3


@pytest.mark.parametrize("name", QUICK)
def test_a_recipe_runs(name, data_dir, tmp_path):
    result = run(recipe(name).smoke(), model_dir=tmp_path, data_dir=data_dir)
    assert result.history[-1]["step"] == 2
    assert 0 <= result.history[-1]["test_accuracy"] <= 1
    assert (tmp_path / "model.keras").exists()


def test_no_recipe_is_forgotten():
    assert set(EXPORTED) | set(QUICK) <= set(RECIPES)
