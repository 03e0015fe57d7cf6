import os
import pathlib
import subprocess
import sys
import time

import pytest

from kerascnn import cli

ROOT = pathlib.Path(__file__).parent.parent


def kerascnn(*arguments, **options):
    """Runs the installed console script, from the checkout."""
    command = [os.path.join(os.path.dirname(sys.executable), "kerascnn"), *arguments]
    if not os.path.exists(command[0]):  # a checkout that is not installed
        command[:1] = [sys.executable, "-m", "kerascnn.cli"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)


def test_help_answers_at_once_and_without_tensorflow():
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = kerascnn("--help")
        seconds.append(time.perf_counter() - started)
    assert done.returncode == 0 and done.stderr == ""
    for name in (*cli.COMMANDS, "digits_resnet20", "digits_lenet5"):
        assert name in done.stdout
    assert min(seconds) < 0.3  # TensorFlow alone takes ten times as long


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_has_help(command):
    done = kerascnn(command, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert f"kerascnn {command}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "offer"),
    [
        (["lst"], "no command 'lst': did you mean list?"),
        (["train", "digits_resnet02"], "did you mean digits_resnet20"),
        (["train"], "name of a recipe"),
        (["train", "--epochs=3"], "name of a recipe"),
        (["train", "digits_resnet20", "--epoch=3"], "epochs"),
        (["train", "os"], "no recipe 'os'"),
        (["info", "resnet20_cifr"], "did you mean resnet20_cifar"),
        (["info"], "name of one model"),
        (["list", "resnet99*"], "no model matches 'resnet99*'"),
        (["list", "a", "b"], "one pattern"),
        (["list", "--famly=x"], "famly"),
        (["export"], "--run=MODEL_DIR"),
        (["export", "--rum=x"], "run"),
        (["predict", "x.png"], "--bundle=DIR"),
        (["predict", "--bundel=x", "x.png"], "bundle"),
    ],
)
def test_wrong_input_ends_with_2_and_one_line_that_says_what_to_type(arguments, offer):
    done = kerascnn(*arguments)
    assert done.returncode == 2
    assert offer in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_list_and_info():
    listed = kerascnn("list", "plain*_cifar")
    assert listed.returncode == 0 and listed.stderr == ""
    names = [line.split()[0] for line in listed.stdout.splitlines()[1:]]
    assert names == ["plain20_cifar", "plain32_cifar", "plain44_cifar", "plain56_cifar", "plain110_cifar"]
    told = kerascnn("info", "resnet20_cifar", env=os.environ | {"KERAS_BACKEND": "jax"}).stdout  # which will do, too
    for fact in ("1512.03385", "269,722 trainable", "40,551,040", "32x32x3", "stage3", "8x8x64"):
        assert fact in told


def test_where_recipes_are_found():
    assert cli.package("recipes") in ("kerascnn.recipes", "recipes")
    assert {"digits_resnet20", "digits_lenet5"} <= set(cli.names("recipes"))
    assert set(cli.COMMANDS) - {"train"} <= set(cli.names("tools"))
