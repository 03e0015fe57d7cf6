"""The command line of a recipe, as a user types it: in processes of its own, since it ends them."""

import dataclasses
import importlib
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from kerascnn.train import Recipe
from recipes.digits_resnet20 import RECIPE


def recipe(*flags, **options):
    return subprocess.run(
        [sys.executable, "-m", "recipes.digits_resnet20", *flags], capture_output=True, text=True, **options
    )


@pytest.mark.parametrize(
    ("flag", "offer"),
    [
        ("--epoch=3", "epochs"),
        ("--epochs=many", "epochs"),
        ("--epochs=0", "epochs=0 is out of range"),
        ("--strategy=mirored", "did you mean mirrored?"),
        ("--precision=mixed_bfloat", "mixed_bfloat16"),
        ("--warmup_epochs=61", "warmup_epochs"),
        ("epochs=3", "--NAME=VALUE"),
    ],
)
def test_wrong_flags_end_with_2_before_tensorflow_is_imported(flag, offer):
    started = time.perf_counter()
    done = recipe(flag)
    assert done.returncode == 2
    assert offer in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert time.perf_counter() - started < 2.5  # importing TensorFlow alone takes longer


def test_help_shows_the_card_and_each_field_with_its_value_and_meaning():
    done = recipe("--help")
    assert done.returncode == 0 and done.stderr == ""
    assert "Expected:" in done.stdout
    for field in dataclasses.fields(Recipe):
        value = getattr(RECIPE, field.name)
        value = float(value) if field.type == "float" or field.type is float else value
        assert f"--{field.name}={'' if value is None else value}\n" in done.stdout
    for flag in ("data_dir", "model_dir", "strategy", "precision", "export_dir", "smoke", "seed"):
        assert f"--{flag}=" in done.stdout


@pytest.mark.parametrize(
    ("flag", "offer"),
    [
        ("--model=resnet20_cifr", "did you mean resnet20_cifar"),
        ("--model_args=activaton='relu'", "did you mean activation"),
        ("--model_args=import os", "key=value"),
        ("--model_args=num_classes=3", "comes from the data"),
        ("--data=digit", "did you mean digits?"),
        ("--augment=afine(degrees=3)", "affine"),
        ("--preprocess=std", "channel_mean_std"),
        ("--schedule=cosin", "cosine"),
        ("--test_split=validation", "train, test"),
        ("--batch_size=1438", "1437"),
    ],
)
def test_wrong_values_are_wrong_input_and_leave_no_run(flag, offer, data_dir, tmp_path):
    from kerascnn.train import run
    from kerascnn.train.recipe import WrongInput

    name, value = flag.removeprefix("--").split("=", 1)
    changed = dataclasses.replace(RECIPE, **{name: int(value) if name == "batch_size" else value})
    with pytest.raises(WrongInput) as error:
        run(changed, model_dir=tmp_path / "run", data_dir=data_dir)
    assert offer in str(error.value)
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_wrong_values_end_the_command_with_2(data_dir, tmp_path):
    done = recipe("--model=resnet20_cifr", f"--data_dir={data_dir}", f"--model_dir={tmp_path}/run")
    assert done.returncode == 2
    assert "did you mean resnet20_cifar" in done.stderr and done.stderr.count("\n") == 1


def test_a_model_dir_below_a_file_ends_with_2_and_says_what_to_do(data_dir, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    done = recipe(f"--data_dir={data_dir}", f"--model_dir={tmp_path}/file/run")
    assert done.returncode == 2
    assert f"{tmp_path}/file/run" in done.stderr and "--model_dir" in done.stderr and done.stderr.count("\n") == 1


def _run_as_nobody(target):
    from kerascnn.train import run
    from kerascnn.train.recipe import WrongInput

    if os.getuid() == 0:  # whom no file mode stops
        os.setuid(65534)
    try:
        run(RECIPE, model_dir=target)
    except WrongInput as error:
        raise SystemExit(0 if str(target) in str(error) and "--model_dir" in str(error) else str(error)) from None
    raise SystemExit("it ran")


def test_a_model_dir_that_the_user_may_not_write(tmp_path):
    importlib.import_module("kerascnn.train.loop")  # before the fork: the other user may not read this one's Python
    tmp_path.chmod(0o555)
    child = multiprocessing.get_context("fork").Process(target=_run_as_nobody, args=(tmp_path / "run",))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert not (tmp_path / "run").exists()


def test_defaults_of_the_dataclass_are_checked_where_it_is_made():
    with pytest.raises(ValueError, match=r"label_smoothing=1\.0 is out of range"):
        dataclasses.replace(RECIPE, label_smoothing=1.0)


def test_a_test_image_size_stands_beside_an_image_size():
    with pytest.raises(ValueError, match="test_image_size=64 is out of range: 1 or more beside an image_size"):
        dataclasses.replace(RECIPE, image_size=None, test_image_size=64)


def test_overrides_are_plain_values():
    made = dataclasses.replace(RECIPE, model_args="dropout=0.1, activation='silu', depths=(3, 3)")
    assert made.overrides() == {"dropout": 0.1, "activation": "silu", "depths": (3, 3)}
    assert dataclasses.replace(RECIPE, model_args="").overrides() == {}


def test_smoke_is_two_steps():
    smoke = RECIPE.smoke()
    assert (smoke.epochs, smoke.batch_size, smoke.train_split, smoke.test_split) == (1, 12, "train[:24]", "test[:15]")
    assert smoke.augment == RECIPE.augment and smoke.data == "digits"
    assert smoke.learning_rate == RECIPE.learning_rate * 12 / RECIPE.batch_size


def test_smoke_needs_no_data_and_takes_small_images():
    smoke = Recipe(
        model="resnet50", data="tfds:imagenet2012", epochs=9, batch_size=96, learning_rate=1, image_size=160,
        test_image_size=224,
    ).smoke()  # fmt: skip
    assert smoke.data == "synthetic:imagenet2012"
    assert smoke.image_size < smoke.test_image_size < 100


def test_a_smoke_run_fits_any_recipe():
    smoke = Recipe(
        model="lenet5", data="digits", epochs=90, batch_size=96, learning_rate=1, warmup_epochs=5, cooldown_epochs=10,
        accumulate=3,
    ).smoke()  # fmt: skip
    assert (smoke.epochs, smoke.warmup_epochs, smoke.cooldown_epochs) == (1, 1, 0)
    assert smoke.batch_size % smoke.accumulate == 0 and smoke.accumulate > 1
