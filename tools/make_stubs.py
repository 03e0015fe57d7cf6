"""Writes kerascnn/models/__init__.pyi, from which editors and mypy know the builder functions and their keywords.

    python -m tools.make_stubs

With --check it writes nothing, and exits with 1 where the file is not current.
"""

import ast
import inspect
import pathlib
import re
import subprocess
import sys
import typing

from kerascnn import models, registry

PATH = pathlib.Path(models.__file__).with_suffix(".pyi")


def stub():
    """Returns the text of the stub: the module's own public parts, and a function for each model."""
    module = ast.parse(pathlib.Path(models.__file__).read_text("utf-8"))
    parts = ["# Written by `python -m tools.make_stubs`.", "from typing import Any, Literal, TypedDict, Unpack"]
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            node.body = [node.body[0], ast.Expr(ast.Constant(...))]  # the docstring alone
            parts.append(ast.unparse(node))
        elif isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef):
            parts.append(ast.unparse(node))
    specs = {}
    for name in registry.list_models():
        spec = type(registry.lookup(name).spec)
        if spec not in specs:
            specs[spec] = f"_{spec.__name__}"
            fields = {"weights": "str | os.PathLike[str] | None"} | {
                # A module's rows are plain tuples to its users: families such as alexnet are hidden by their functions.
                field: re.sub(r"kerascnn\.models\.\w+\.\w+", "tuple[Any, ...]", inspect.formatannotation(hint))
                for field, hint in typing.get_type_hints(spec).items()
            }
            lines = "\n".join(f"    {field}: {hint}" for field, hint in fields.items() if field != "_")
            parts.append(f"class {specs[spec]}(TypedDict, total=False):\n{lines}")
        parts.append(f"def {name}(**fields: Unpack[{specs[spec]}]) -> keras.Model: ...")
    ruff = [sys.executable, "-m", "ruff"]
    text = "\n\n".join(parts)
    for command in (["check", "--fix-only", "--quiet"], ["format"]):  # unused imports go, the others are sorted
        arguments = [*ruff, *command, f"--stdin-filename={PATH}", "-"]
        text = subprocess.run(arguments, input=text, text=True, check=True, capture_output=True).stdout
    return text


def main():
    current = PATH.exists() and PATH.read_text("utf-8") == stub()
    if "--check" not in sys.argv:
        PATH.write_text(stub(), "utf-8")
    elif not current:
        sys.exit(f"{PATH} is not current: run python -m tools.make_stubs")


if __name__ == "__main__":
    main()
