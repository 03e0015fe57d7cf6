"""What a user gets: the wheel, installed into an empty environment, used from another folder."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]


def run(*command, cwd, code=0):
    """What a command writes to stdout. Fails, with all that it wrote, unless it exits with `code`."""
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "TF_CPP_MIN_LOG_LEVEL"}}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == code, f"{command} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def contents(wheel):
    return sorted(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the checkout, for building writes into it; and one in which an older build left something."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines() if line[:1] != "#"]
    copy = tmp_path_factory.mktemp("copy") / "tree"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", *ignored))
    stale = copy / "build/lib/kerascnn/stale.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    return copy


@pytest.fixture(scope="module")
def wheel(tree):
    run(sys.executable, "-m", "build", "--wheel", "--outdir", "dist", cwd=tree)
    (wheel,) = tree.glob("dist/*.whl")
    return wheel


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory):
    """A folder with an environment in `venv/` that has the wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", "venv", cwd=folder)
    run("venv/bin/python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    yield folder
    shutil.rmtree(folder / "venv")  # gigabytes, which pytest would keep after a failure


def test_wheel_holds_our_modules_and_nothing_else(tree, wheel):
    own = [path.relative_to(tree) for path in tree.glob("kerascnn/**/*") if path.is_file()]
    carried = [
        "kerascnn" / path.relative_to(tree) for name in ("recipes", "tools") for path in tree.glob(f"{name}/**/*.py")
    ]
    metadata = [
        name
        for name in contents(wheel)
        if name.split("/")[0] == f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info"
    ]
    assert contents(wheel) == sorted([*map(str, own), *map(str, carried), *metadata])
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_sdist_builds_the_same_wheel(tree, wheel):
    run(sys.executable, "-m", "build", "--outdir", "through_sdist", cwd=tree)
    (again,) = tree.glob("through_sdist/*.whl")
    assert contents(again) == contents(wheel)


def test_requirements_fit_together(place):
    assert "No broken requirements" in run("venv/bin/python", "-m", "pip", "check", cwd=place)


def test_command_from_another_folder(place):
    kerascnn = place / "venv/bin/kerascnn"
    usage = run(kerascnn, "--help", cwd=place)
    assert all(command in usage for command in ("list", "info", "train", "export", "predict"))
    assert "resnet20_cifar" in run(kerascnn, "list", cwd=place)
    assert "61,706" in run(kerascnn, "info", "lenet5", cwd=place)
    run(kerascnn, "train", "digits_resnet2", cwd=place, code=2)

    run(kerascnn, "train", "digits_resnet20", "--smoke", "--data_dir=data", "--model_dir=run", cwd=place)
    assert (place / "run/report.html").exists()
    run(kerascnn, "export", "--run=run", "--export_dir=bundle", cwd=place)
    run("venv/bin/python", "-m", "kerascnn.tools.digit_image", "--out=digit.png", cwd=place)
    assert "digit.png" in run(kerascnn, "predict", "--bundle=bundle", "digit.png", cwd=place)


def test_editable_install(place, tree):
    """Stands last: it takes the wheel's place in the environment."""
    run("venv/bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--editable", tree, cwd=place)
    code = "import kerascnn.recipes, kerascnn.tools.list as tool; print(kerascnn.recipes.__file__, tool.__file__)"
    assert run("venv/bin/python", "-c", code, cwd=place).count(str(tree)) == 2
    assert "resnet20_cifar" in run("venv/bin/kerascnn", "list", cwd=place)
