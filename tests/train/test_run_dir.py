import dataclasses
import json
import multiprocessing

import pytest

from kerascnn.train.recipe import RunFlags
from kerascnn.train.run_dir import AVERAGE, COLUMNS, RunDir
from recipes.digits_resnet20 import RECIPE


def row(epoch):
    return {column: epoch + 0.125 for column in COLUMNS} | {"epoch": epoch, "test_loss": float("nan")}


def _lock(path):
    with RunDir(path).lock():
        raise SystemExit(0)


def test_one_process_at_a_time(tmp_path):
    def other():
        process = multiprocessing.get_context("fork").Process(target=_lock, args=(tmp_path,))
        process.start()
        process.join()
        return process.exitcode

    with RunDir(tmp_path).lock():
        assert other() == 1
        with pytest.raises(ValueError, match="another process trains in"), RunDir(tmp_path).lock():
            pass
    assert other() == 0


def test_recipe_json_holds_recipe_flags_versions_and_commit(tmp_path):
    folder = RunDir(tmp_path / "deep" / "run")
    folder.write_recipe(RECIPE, RunFlags(seed=3, model_dir="deep/run"))
    written = json.loads((tmp_path / "deep" / "run" / "recipe.json").read_text())
    assert written["recipe"] == dataclasses.asdict(RECIPE)
    assert written["run"]["seed"] == 3 and "model_dir" not in written["run"]  # a folder may be moved
    assert {"python", "kerascnn", "tensorflow", "keras", "numpy"} <= written["versions"].keys()
    assert "commit" in written and "command" in written
    assert written["hardware"]["cpu"] and written["hardware"]["cores"] >= 1
    assert isinstance(written["hardware"]["gpus"], list)


def test_the_same_recipe_and_more_epochs_pass_but_nothing_else(tmp_path):
    folder = RunDir(tmp_path)
    folder.check(RECIPE)
    folder.write_recipe(RECIPE, RunFlags())
    folder.check(RECIPE)
    folder.check(dataclasses.replace(RECIPE, epochs=RECIPE.epochs + 1))
    with pytest.raises(ValueError, match=rf"holds a run with epochs={RECIPE.epochs}, not {RECIPE.epochs - 1}\."):
        folder.check(dataclasses.replace(RECIPE, epochs=RECIPE.epochs - 1))
    with pytest.raises(ValueError, match=r"augment='affine.*', not '', clip='', not 'agc'\..*--model_dir"):
        folder.check(dataclasses.replace(RECIPE, augment="", clip="agc"))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"recipe": 3}'])
def test_a_broken_recipe_json_is_named(text, tmp_path):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(ValueError, match=r"recipe\.json does not hold a recipe"):
        RunDir(tmp_path).check(RECIPE)


@pytest.mark.parametrize("text", ["epoch,step\n1,2\n", "\n".join([",".join(COLUMNS), "1,2,x"]), "\0"])
def test_broken_metrics_are_named(text, tmp_path):
    (tmp_path / "metrics.csv").write_text(text + "\n1\n")
    with pytest.raises(ValueError, match=r"metrics\.csv is not what a run writes"):
        RunDir(tmp_path).read_metrics(9)


def test_metrics_go_back_to_a_checkpoint(tmp_path):
    folder = RunDir(tmp_path)
    assert folder.read_metrics(9) == []
    folder.write_metrics([row(epoch) for epoch in (1, 2, 3)])
    back = folder.read_metrics(2)
    assert [one["epoch"] for one in back] == [1, 2]
    assert back[0]["train_loss"] == 1.125 and back[0]["test_loss"] != back[0]["test_loss"]
    assert folder.metrics.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_metrics_have_columns_for_an_average_where_there_is_one(tmp_path):
    folder = RunDir(tmp_path)
    folder.write_metrics([row(1) | dict.fromkeys(AVERAGE, 0.5)])
    header, _ = folder.metrics.read_text().splitlines()
    assert header.split(",")[7:10] == ["average_loss", "average_accuracy", "images_per_second"]
    assert folder.read_metrics(1)[0]["average_accuracy"] == 0.5
