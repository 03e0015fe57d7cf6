"""Holds the table "Who may import whom" of WORKSPACE.md against the code."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
RULED = {"tensorflow", "keras", "keras_cv", "numpy", "jax", "torch"}
WORDS = {"stdlib", "all above", "anything"}


def read_table(text: str) -> dict[str, set[str]]:
    """{part: what it may import} from the lines "| `part`, `part` | `name`, and `name` |"."""
    section = text.partition("\n## Who may import whom\n")[2].partition("\n## ")[0]
    table: dict[str, set[str]] = {}
    for line in section.splitlines():
        if not line.startswith("| `"):
            continue
        parts, allowed = (set(re.findall("`([^`]+)`", cell)) for cell in line.strip("|").split("|"))
        if "all above" in allowed:
            allowed |= set(table)
        table |= dict.fromkeys(parts, allowed)
    return table


TABLE = read_table((ROOT / "WORKSPACE.md").read_text("utf-8"))


def part_of(module: str) -> str | None:
    """The row that rules a module of ours ("kerascnn.data.decode" -> "data"), None for those of others."""
    names = module.split(".")
    if names[0] == "kerascnn" and names[1:2] in (["recipes"], ["tools"]):  # as the wheel names them
        del names[0]
    match names:
        case ["recipes", "experiments", *_]:
            return "recipes/experiments"
        case ["recipes" | "tools" | "tests" as folder, *_]:
            return folder
        case ["kerascnn", "models", family, *_] if (ROOT / f"kerascnn/models/{family}.py").exists():
            return "models/FAMILY"
        case ["kerascnn", name, *_] if name in TABLE or (ROOT / f"kerascnn/{name}.py").exists():
            return name
        case ["kerascnn", *_]:
            return "__init__"
    return None


def imported(tree: ast.Module, package: str):
    """(line, dots, absolute name) of each thing that the code imports, wherever it does so."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from ((node.lineno, 0, alias.name) for alias in names)
            case ast.ImportFrom(module, names, level):
                base = package.split(".")[: len(package.split(".")) + 1 - level] if level else []
                base += [module] if module else []
                yield from ((node.lineno, level, ".".join([*base, alias.name])) for alias in names)
            case ast.Call(
                ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"), [ast.Constant(name), *_]
            ):
                yield node.lineno, 0, name
            case ast.Attribute(ast.Name("keras"), "src"):
                yield node.lineno, 0, "keras.src"


def complaints(path: str, code: str) -> list[str]:
    """What a file imports though the table does not let it, a line of text each."""
    package, _, stem = path.removesuffix(".py").replace("/", ".").rpartition(".")
    part = part_of(package if stem == "__init__" else f"{package}.{stem}")
    if part not in TABLE:
        return [f"{path}: WORKSPACE.md's table of imports has no row for `{part}`"]
    allowed, found = TABLE[part], []
    for line, dots, name in imported(ast.parse(code), package):
        top = name.split(".")[0]
        other = part_of(name)
        if f"{name}.".startswith("keras.src."):
            fault = "it is private"
        elif dots and part not in {"recipes", "recipes/experiments", "tools"}:
            fault = "imports are absolute here"
        elif other == "tests" or (other == "tools" and part not in {"tools", "tests"}):
            fault = f"nothing imports {other}"
        elif other in {"recipes", "recipes/experiments", "tools"} and part != "tests" and not dots:
            fault = "the wheel has it elsewhere: import siblings relatively, find others by name"
        elif name == "kerascnn.__version__" or "anything" in allowed:
            continue
        elif other:
            same = other == part and part != "models/FAMILY"
            fault = None if same or other in allowed else "the table does not let it"
        elif top in RULED:
            fault = None if top in allowed else "the table does not let it"
        else:
            fault = "standard library only" if "stdlib" in allowed and top not in sys.stdlib_module_names else None
        if fault:
            found.append(f"{path}:{line}: {part} imports {name}: {fault}")
    return found


def modules() -> list[str]:
    folders = ("kerascnn", "recipes", "tools", "tests")
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_table_is_read():
    assert TABLE["blocks"] == {"keras", "layers", "initializers"}
    assert {"registry", "models", "serve", "keras"} <= TABLE["train"]
    names = set().union(*TABLE.values())
    assert names <= RULED | WORDS | set(TABLE), "WORKSPACE.md: the table names what is neither ruled nor a part"


@pytest.mark.parametrize("path", modules())
def test_imports(path):
    found = complaints(path, (ROOT / path).read_text("utf-8"))
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("kerascnn/registry.py", "import numpy"),
        ("kerascnn/registry.py", "import absl.flags"),
        ("kerascnn/blocks.py", "from kerascnn.registry import Spec"),
        ("kerascnn/blocks.py", "from . import layers"),
        ("kerascnn/blocks.py", "from kerascnn import create_model"),
        ("kerascnn/blocks.py", "import importlib\nimportlib.import_module('tensorflow')"),
        ("kerascnn/layers.py", "from keras.src import backend"),
        ("kerascnn/layers.py", "from keras import src"),
        ("kerascnn/layers.py", "import keras\nkeras.src.backend"),
        ("kerascnn/models/cifar_resnet.py", "import numpy as np"),
        ("kerascnn/models/cifar_resnet.py", "def build():\n    import tensorflow as tf"),
        ("kerascnn/models/cifar_resnet.py", "from kerascnn.models.lenet import build"),
        ("kerascnn/models/cifar_resnet.py", "from kerascnn.models import lenet"),
        ("kerascnn/data/decode.py", "from kerascnn import train"),
        ("kerascnn/serve/bundle.py", "from kerascnn.train import loop"),
        ("kerascnn/serve/bundle.py", "from kerascnn.evaluate import metrics"),
        ("kerascnn/train/loop.py", "import keras_cv"),
        ("kerascnn/train/loop.py", "import jax"),
        ("kerascnn/train/loop.py", "from kerascnn.tools import list"),
        ("kerascnn/cli.py", "from kerascnn import models"),
        ("kerascnn/cli.py", "from absl import app"),
        ("recipes/digits_lenet5.py", "import kerascnn"),
        ("recipes/digits_lenet5.py", "from recipes import digits_resnet20"),
        ("recipes/digits_lenet5.py", "from kerascnn.recipes import digits_resnet20"),
        ("recipes/experiments/one.py", "from ...tools import list"),
        ("recipes/experiments/one.py", "from tools import list"),
        ("tools/list.py", "from tools import info"),
        ("tools/list.py", "import tests.conftest"),
        ("tests/test_x.py", "from keras.src import backend"),
    ],
)
def test_finds(path, code):
    assert complaints(path, code)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("kerascnn/registry.py", "import dataclasses, difflib"),
        ("kerascnn/blocks.py", "import keras\nfrom keras import layers\nfrom kerascnn.layers import Scale"),
        (
            "kerascnn/models/__init__.py",
            "def model_info():\n    from kerascnn import counting\n    from kerascnn.models import lenet",
        ),
        (
            "kerascnn/models/cifar_resnet.py",
            "from kerascnn.registry import Spec\nfrom kerascnn.blocks import conv_norm",
        ),
        ("kerascnn/data/pipeline.py", "import keras_cv\nfrom kerascnn.data import decode\nimport tensorflow_datasets"),
        (
            "kerascnn/train/loop.py",
            "from kerascnn import __version__, report\nfrom kerascnn.models import create_model",
        ),
        ("kerascnn/cli.py", "from kerascnn import registry"),
        ("recipes/digits_lenet5.py", "from kerascnn.train import Recipe\nfrom .digits_resnet20 import RECIPE"),
        ("recipes/experiments/one.py", "import numpy, torch\nfrom ..digits_resnet20 import RECIPE"),
        ("tools/list.py", "import kerascnn\nfrom . import info"),
        ("tests/test_x.py", "from tools import info\nimport jax"),
    ],
)
def test_lets_pass(path, code):
    assert not complaints(path, code)


@pytest.mark.parametrize("module", ["kerascnn", "kerascnn.registry", "kerascnn.cli", "kerascnn.train"])
def test_import_loads_no_framework(module):
    code = f"import sys, {module}; print(*{{'tensorflow', 'keras', 'jax', 'numpy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("\n", "", 0)
